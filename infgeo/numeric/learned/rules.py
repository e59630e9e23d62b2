"""Rules of learning: to order 1/n they multiply the law of a unit's weights by 1 + (h(w) - E h)/n. What h is.

"posterior": readout N(0, I), Gaussian noise. With K_n = K + (phi phi' - K)/n for one unit more, the log likelihood of
the outputs changes by h/n with

    h(w) = (1/2) sum_ab M_ab phi(z_a) phi(z_b),   M = G^-1 Y Y' G^-1 - C G^-1,   G = K + noise.

"gradient_step", "gradient_flow": descent on (1/2) sum_ac (f_c(x_a) - y_ac)^2, all layers in NTK parametrisation. A unit
w with readout a moves by (1/sqrt(n)) S sum_a x~_a times the integral of a.r_a phi'_a over time, r = y - f. To leading
order the residuals of a flow are exp(-H t) (y - f_0), with the tangent kernel H of infinite width. Let T be the
integral of exp(-H t), N = Y Y' + C K the mean product of the first residuals, and U the integral of exp(-H t) N T(t);
for one step T = eta and U = 0. In the mean over the readout

    E[o(w')] - E[o(w)] = (1/n) E[(1/2) sum_ab (T N T)_ab D_a D_b o phi'_a phi'_b
        + sum_ab D_a o ((U - C T)_ab phi'_a phi_b + U_ab S_ab phi''_a phi'_b)],

D_a = (S x~_a).grad, S_ab = x~_a.S x~_b: in U are the readout that learns too, and the slopes that change on the way.
Integration by parts moves the derivatives from o to the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np
from scipy.special import gammainc

from infgeo.numeric.quadrature.piecewise import PiecewiseFunction

_AT_ONCE = 2**21  # weights times training points
_SERIES = 1e-2  # of what decays so little, differences would lose digits


@dataclass(frozen=True, eq=False)
class Rule:
    """The function h of a unit's weights.

    Arguments:
        function: phi and, for descent, three derivatives of it.
        inputs: the training points, with a last coordinate 1, (P, d + 1).
        matrix: M/2 of the posterior, T N T/2 of descent, (P, P).
        prior: for descent, the covariances S_ab of the preactivations, (P, P).
        drift: for descent, U - C T.
        turn: for a flow, U.
    """

    function: PiecewiseFunction
    inputs: np.ndarray
    matrix: np.ndarray
    prior: np.ndarray | None = None
    drift: np.ndarray | None = None
    turn: np.ndarray | None = None

    def __call__(self, w: np.ndarray) -> np.ndarray:
        """Return h at weights (N, d + 1)."""
        size = max(1, _AT_ONCE // len(self.inputs))
        return np.concatenate([self._of(w[i : i + size] @ self.inputs.T) for i in range(0, len(w), size)])

    def _of(self, z: np.ndarray) -> np.ndarray:
        phi, M, S = self.function(z), self.matrix, self.prior
        if S is None or self.drift is None:
            return _form(phi, M, phi)
        own, one, two, three = S.diagonal(), *(self.function(z, order) for order in (1, 2, 3))
        # (z_a - D_a) of phi'_a and of phi''_a.
        beta, gamma = z * one - own * two, z * two - own * three
        h = _form(beta, M, beta) - _form(one, M * S, one + 2 * gamma) + _form(two, M * S * S, two)
        h += _form(beta, self.drift, phi) - _form(one, self.drift * S, one)
        if self.turn is not None:
            h += _form(gamma, self.turn * S, one) - _form(two, self.turn * S * S, two)
        return h


def flow(tangent_kernel: np.ndarray, products: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Return T, the integral of exp(-H t) up to a time, and U, that of exp(-H t) N T(t), for H and N (P, P).

    A time may be infinite where H has full rank.
    """
    values, Q = np.linalg.eigh(tangent_kernel)
    values = np.maximum(values, 0.0)
    T = (Q * _powers(values, time, 0)) @ Q.T
    slow, fast = values[:, None], np.broadcast_to(values, (len(values),) * 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The integral of exp(-a t) (1 - exp(-b t))/b.
        direct = (_powers(slow, time, 0) - _powers(slow + fast, time, 0)) / fast
        if np.isinf(time):
            direct = 1 / (slow * (slow + fast))
    near = fast * time < _SERIES
    if near.any():
        terms = (
            (-fast[near]) ** (k - 1) / factorial(k) * _powers(slow, time, k).repeat(len(values), 1)[near]
            for k in range(1, 9)
        )
        direct[near] = sum(terms)
    return T, Q @ (direct * (Q.T @ products @ Q)) @ Q.T


def _powers(values: np.ndarray, time: float, k: int) -> np.ndarray:
    """Return the integral of t^k exp(-a t) up to a time, for a >= 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = gammainc(k + 1, values * time) * factorial(k) / values ** (k + 1)
    return np.where(values * time < 1e-17, time ** (k + 1) / (k + 1), whole)


def _form(left: np.ndarray, matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    result: np.ndarray = ((left @ matrix) * right).sum(-1)
    return result
