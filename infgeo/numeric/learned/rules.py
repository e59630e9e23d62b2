"""Rules of learning: to order 1/n they multiply the law of a unit's weights by 1 + (h(w) - E h)/n. What h is.

"posterior": readout N(0, I), Gaussian noise. With K_n = K + (phi phi' - K)/n for one unit more, the log likelihood of
the outputs changes by h/n with

    h(w) = (1/2) sum_ab M_ab phi(z_a) phi(z_b),   M = G^-1 Y Y' G^-1 - C G^-1,   G = K + noise.

"gradient_step": one step of gradient descent at rate eta on (1/2) sum_ac (f_c(x_a) - y_ac)^2, all layers in NTK
parametrisation, moves a unit by (eta/sqrt(n)) S sum_a (y_a - f_a).a phi'(z_a) x~_a. In the mean over the readout

    E[o(w')] - E[o(w)] = (1/n) E[-eta C sum_a D_a o phi_a phi'_a + (eta^2/2) sum_ab N_ab D_a D_b o phi'_a phi'_b],

N = Y Y' + C K, D_a = (S x~_a).grad, and integration by parts moves the derivatives from o to the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infgeo.numeric.quadrature.piecewise import PiecewiseFunction

_AT_ONCE = 2**21  # weights times training points


@dataclass(frozen=True, eq=False)
class Rule:
    """The function h of a unit's weights.

    Arguments:
        function: phi and, for a step, three derivatives of it.
        inputs: the training points, with a last coordinate 1, (P, d + 1).
        matrix: M/2 of the posterior, eta^2 N/2 of a step, (P, P).
        prior: for a step, the covariances of the preactivations, (P, P).
        first: for a step, eta C.
    """

    function: PiecewiseFunction
    inputs: np.ndarray
    matrix: np.ndarray
    prior: np.ndarray | None = None
    first: float = 0.0

    def __call__(self, w: np.ndarray) -> np.ndarray:
        """Return h at weights (N, d + 1)."""
        size = max(1, _AT_ONCE // len(self.inputs))
        return np.concatenate([self._of(w[i : i + size] @ self.inputs.T) for i in range(0, len(w), size)])

    def _of(self, z: np.ndarray) -> np.ndarray:
        phi, N, K = self.function(z), self.matrix, self.prior
        if K is None:
            return _form(phi, N, phi)
        own, one, two, three = K.diagonal(), *(self.function(z, order) for order in (1, 2, 3))
        first = (z * phi * one - own * (one**2 + phi * two)).sum(-1)
        beta = z * one - own * two
        mixed = one + 2 * (z * two - own * three)
        return _form(beta, N, beta) - _form(one, N * K, mixed) + _form(two, N * K * K, two) - self.first * first


def _form(left: np.ndarray, matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    result: np.ndarray = ((left @ matrix) * right).sum(-1)
    return result
