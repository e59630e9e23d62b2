"""The first-order shift of the metric in closed form: Gaussian weights that phi'(z_x)^2 tilts.

With the weights w and the bias as one vector of covariance S, x~ = (x, 1) and Var z_x = v, the factor exp(-a z_x^2)
makes the covariance S - t S x~ x~' S with t = 2a/(1 + 2av), and the mass 1/sqrt(1 + 2av). In it

    E[w w phi_a phi_b] = S E[phi_a phi_b] + A_a A_a E[phi''_a phi_b] + A_b A_b E[phi_a phi''_b]
                         + (A_a A_b + A_b A_a) E[phi'_a phi'_b],    A_a = S x~_a,

by Stein's lemma. A factor z_x^2 is minus the derivative in a, taken by a complex step. Arrays may be of NumPy or torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sympy import lambdify

from infgeo.conventions import c, p, q
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.analysis.unit_weights import pair_expectations, slope_tilts

_STEP = 1e-30  # of the decay, in the imaginary direction
_ROWS = 100  # of the training points, at once
_AT_ONCE = 2**14  # pairs of training points, times inputs: what the cache of a core holds


@dataclass(frozen=True)
class Pair:
    """E[phi phi], E[phi' phi'], E[phi'' phi] and E[phi phi''] as products of factors(p, q) and cores(p, q, c).

    The factor of E[phi'' phi] is one of p, that of E[phi phi''] one of q, and the others are numbers: they are taken
    after the sums.
    """

    factors: Callable[..., tuple]
    cores: Callable[..., tuple]


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """E[phi'(z_x)^2 w w h(w)] less E[phi'(z_x)^2 w w] E[h(w)], for h = sum_ab weights_ab phi(z_a) phi(z_b).

    Arguments:
        tilts: (coefficient, power, decay) of phi'^2.
        pair: E[phi phi], E[phi' phi'], E[phi'' phi], E[phi phi''], see `Pair`.
        variances: of the weights and of the bias, (d + 1,).
        scaled: training points times `variances`, (P, d + 1).
        own: the variances of their preactivations, (P,).
        strips: (first row, covariances, weights) of some rows and the columns from the first row on; pairs beside the
            diagonal stand for two.
        mean: E[h].
    """

    tilts: tuple[tuple[float, int, float], ...]
    pair: Pair
    variances: np.ndarray
    scaled: np.ndarray
    own: np.ndarray
    strips: tuple[tuple[int, np.ndarray, np.ndarray], ...]
    mean: float

    def metric(self, x: Any) -> Any:
        """Return the shift, (m, d) -> (m, d, d), for an array of NumPy or torch; there it is differentiable."""
        size = max(1, _AT_ONCE // (len(self.own) * min(len(self.own), _ROWS)))
        stack: Any = torch.cat if isinstance(x, torch.Tensor) else np.concatenate
        return stack([self._of_block(x[i : i + size]) for i in range(0, max(len(x), 1), size)])

    def _of_block(self, x: Any) -> Any:
        d = x.shape[-1]
        variances, scaled = _like(x, self.variances), _like(x, self.scaled)
        diagonal = _like(x, np.diag(self.variances[:d]))
        u = x * variances[:d]
        v, kx = (x * u).sum(-1) + variances[d], x @ scaled[:, :d].T + scaled[:, d]

        def tilted(a: complex) -> Any:
            mass, tau = (1 + 2 * a * v) ** -0.5, 2 * a / (1 + 2 * a * v)
            along = tau[:, None] * u
            covariance = diagonal - along[:, :, None] * u[:, None, :]
            features = scaled[:, :d] - kx[:, :, None] * along[:, None, :]
            value, outer = self._contracted(tau[:, None] * kx, kx, features)
            return mass[:, None, None] * ((value - self.mean)[:, None, None] * covariance + outer)

        total: Any = 0.0
        for coefficient, power, decay in self.tilts:
            if power == 0:
                total = total + coefficient * tilted(decay)
            else:
                total = total - coefficient / _STEP * tilted(decay + 1j * _STEP).imag
        return total

    def _contracted(self, moved: Any, kx: Any, features: Any) -> tuple[Any, Any]:
        """Return sum_ab weights_ab E[phi_a phi_b], (m,), and the rest of Stein's sum, (m, d, d)."""
        own = _like(kx, self.own) - moved * kx
        value: Any = 0.0
        outer: Any = 0.0
        for start, prior, weights in self.strips:
            rows, rest = slice(start, start + len(prior)), slice(start, None)
            w = _like(kx, weights)
            covariance = _like(kx, prior) - moved[:, rows, None] * kx[:, None, rest]
            both, slopes, first, last = self.pair.cores(own[:, rows, None], own[:, None, rest], covariance)
            of_both, of_slopes, of_first, of_last = self.pair.factors(own[:, rows], own[:, rest])
            left, right = features[:, rows], features[:, rest]
            value = value + of_both * (both.reshape(len(both), weights.size) @ _like(both, weights.ravel()))
            mixed = of_slopes * left.mT @ ((w * slopes) @ right)
            above = w * first
            below = above if last is first else w * last
            outer = outer + mixed + mixed.mT + left.mT @ ((above.sum(-1) * of_first)[..., None] * left)
            outer = outer + right.mT @ ((below.sum(-2) * of_last)[..., None] * right)
        return value, outer


def _like(x: Any, value: np.ndarray) -> Any:
    return torch.as_tensor(value, dtype=x.dtype, device=x.device) if isinstance(x, torch.Tensor) else value


def closed_form(activation: Activation, variances: np.ndarray, inputs: np.ndarray, weights: np.ndarray) -> ClosedForm:
    """Return the closed form for training points (P, d + 1), the last coordinate 1, and symmetric weights (P, P).

    Raises NoClosedForm for an activation that has none.
    """
    tilts = tuple((float(t.coefficient), t.power, float(t.decay)) for t in slope_tilts(activation))
    pair = _pair(activation)
    scaled = inputs * variances
    prior = scaled @ inputs.T
    own = prior.diagonal().copy()
    mean = float((weights * pair.factors(own, own)[0] * pair.cores(own[:, None], own, prior)[0]).sum())
    halved = 2 * np.triu(weights, 1) + np.diag(weights.diagonal())
    strips = []
    for i in range(0, len(own), _ROWS):
        rows, rest = slice(i, i + _ROWS), slice(i, None)
        strips.append((i, prior[rows, rest].copy(), halved[rows, rest].copy()))
    return ClosedForm(tilts, pair, variances, scaled, own, tuple(strips), mean)


@lru_cache(maxsize=64)
def _pair(activation: Activation) -> Pair:
    library = {name: _either(name, spelled) for name, spelled in (("sqrt", "sqrt"), ("exp", "exp"), ("atan", "arctan"))}
    library["atan2"] = _either("atan2", "arctan2")
    others = ((p, q, c), (p, q, c), (q, c), (p, c))
    parts = [
        e.as_independent(*symbols, as_Add=False)
        for e, symbols in zip(pair_expectations(activation), others, strict=True)
    ]
    factors, cores = zip(*parts, strict=True)
    return Pair(*(lambdify(on, of, [library, "math"], cse=True) for on, of in (([p, q], factors), ([p, q, c], cores))))


def _either(of_torch: str, of_numpy: str) -> Callable[..., Any]:
    """Return a function of numbers and of arrays of either library."""

    def function(*arguments: Any) -> Any:
        known = isinstance(arguments[0], torch.Tensor)
        return getattr(torch, of_torch)(*arguments) if known else getattr(np, of_numpy)(*arguments)

    return function
