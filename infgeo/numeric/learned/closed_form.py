"""The first-order shift of the metric in closed form: Gaussian weights that phi'(z_x)^2 tilts.

With the weights w and the bias as one vector of covariance S, x~ = (x, 1) and Var z_x = v, the factor exp(-a z_x^2)
makes the covariance S - t S x~ x~' S with t = 2a/(1 + 2av), and the mass 1/sqrt(1 + 2av). In it

    E[w w phi_a phi_b] = S E[phi_a phi_b] + A_a A_a E[phi''_a phi_b] + A_b A_b E[phi_a phi''_b]
                         + (A_a A_b + A_b A_a) E[phi'_a phi'_b],    A_a = S x~_a,

by Stein's lemma. A factor z_x^2 is minus the derivative in a, taken by a complex step. Arrays may be of NumPy or torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from sympy import Expr, Symbol, lambdify

from infgeo.conventions import c, p, q
from infgeo.numeric.learned.libraries import library, like
from infgeo.numeric.learned.pair_sums import pair_sums
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.gram.fast import thread_count
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.analysis.unit_weights import pair_expectations, slope_tilts

_STEP = 1e-30  # of the decay, in the imaginary direction
AT_ONCE = 2**14  # pairs of training points, times inputs: larger arrays cost three times as much a number
_FEWEST_ROWS = 8  # of pairs at once
_FEW = 2**25  # pairs, times inputs, below which nothing is compiled
_COMPILED_AT_ONCE = 16, 2**21  # inputs, which read a row of pairs together, and numbers


LIBRARY = {
    "sqrt": lambda x: x**0.5,
    "atan": lambda x: library(x).arctan(x),
}


@dataclass(frozen=True, eq=False)
class TiltedForm:
    """E[phi'(z_x)^2 w w h(w)] less E[phi'(z_x)^2 w w] E[h(w)], for h a sum over pairs of training points.

    Arguments:
        tilts: (coefficient, power, decay) of phi'^2.
        variances: of the weights and of the bias, (d + 1,).
        scaled: training points times `variances`, (P, d + 1).
        own: the variances of their preactivations, (P,).
        mean: E[h].
    """

    tilts: tuple[tuple[float, int, float], ...]
    variances: np.ndarray
    scaled: np.ndarray
    own: np.ndarray
    mean: float

    def metric(self, x: Any) -> Any:
        """Return the shift, (m, d) -> (m, d, d), for an array of NumPy or torch; there it is differentiable."""
        raise NotImplementedError

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Return half the derivative of the shift, (m, d) -> (m, d, d, d), by forward differentiation."""
        import torch

        points, parts = torch.from_numpy(x), []
        for direction in torch.eye(x.shape[1], dtype=points.dtype):
            with warnings.catch_warnings():  # torch's own use of torch.jit.script, when it loads its rules
                warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
                along = direction.expand_as(points).clone()
                parts.append(torch.func.jvp(self.metric, (points,), (along,))[1] / 2)
        return torch.stack(parts, -1).numpy()

    def _of_block(self, x: Any, contracted: Callable[..., tuple[Any, Any]]) -> Any:
        """Return the shift, from what returns E[h] under a tilt, (m,), and the rest of Stein's sum, (m, d, d)."""
        d = x.shape[-1]
        variances, scaled = like(x, self.variances), like(x, self.scaled)
        diagonal = like(x, np.diag(self.variances[:d]))
        u = x * variances[:d]
        v, kx = (x * u).sum(-1) + variances[d], x @ scaled[:, :d].T + scaled[:, d]

        def tilted(a: complex) -> Any:
            mass, tau = (1 + 2 * a * v) ** -0.5, 2 * a / (1 + 2 * a * v)
            along = tau[:, None] * u
            covariance = diagonal - along[:, :, None] * u[:, None, :]
            features = scaled[:, :d] - kx[:, :, None] * along[:, None, :]
            value, outer = contracted(tau[:, None] * kx, kx, features)
            return mass[:, None, None] * ((value - self.mean)[:, None, None] * covariance + outer)

        total: Any = 0.0
        for coefficient, power, decay in self.tilts:
            if power == 0:
                total = total + coefficient * tilted(decay)
            else:
                total = total - coefficient / _STEP * tilted(decay + 1j * _STEP).imag
        return total


@dataclass(frozen=True, eq=False)
class ClosedForm(TiltedForm):
    """For h = sum_ab sum_i weights_iab f_i(z_a) g_i(z_b); that of the posterior has phi for f and g.

    Arguments:
        factors, cores: the sums over i of weights times E[f g], E[f' g'], E[f'' g], E[f g''] are factors(p, q) times
            cores(p, q, c, *weights). The third factor is one of p, the last one of q, and two are numbers: they are
            taken after the sums over pairs.
        compile: what returns the sums over pairs compiled, or None.
        strips: (first row, covariances (r, c), weights (i, r, c)) of some rows and the columns from the first row on;
            pairs beside the diagonal stand for two.
    """

    factors: Callable[..., tuple]
    cores: Callable[..., tuple]
    compile: Callable[[], Callable[..., Any] | None]
    strips: tuple[tuple[int, np.ndarray, np.ndarray], ...]

    def metric(self, x: Any) -> Any:
        """Return the shift, (m, d) -> (m, d, d), for an array of NumPy or torch; there it is differentiable."""
        if sums := self._compiled(x):
            most, numbers = _COMPILED_AT_ONCE
            size = max(1, min(most, numbers // self.scaled.size))
            blocks = [x[i : i + size] for i in range(0, len(x), size)]
            with ThreadPoolExecutor(thread_count(None, NumpyArrays())) as pool:
                return np.concatenate(
                    list(pool.map(lambda x: self._of_block(x, partial(self._contracted_by, sums)), blocks))
                )
        size = max(1, AT_ONCE // max(prior.size for _, prior, _ in self.strips))
        return library(x).concatenate(
            [self._of_block(x[i : i + size], self._contracted) for i in range(0, max(len(x), 1), size)]
        )

    def _compiled(self, x: Any) -> Callable[..., Any] | None:
        """Return the compiled sums where they are worth it; they have real numbers alone, and no derivatives."""
        pairs = len(x) * sum(weights.size for _, _, weights in self.strips)
        plain = isinstance(x, np.ndarray) and not any(power for _, power, _ in self.tilts)
        return self.compile() if plain and pairs > _FEW else None

    def _contracted(self, moved: Any, kx: Any, features: Any) -> tuple[Any, Any]:
        """Return the sum of weights times E[f g] and the rest of Stein's sum."""
        own = like(kx, self.own) - moved * kx
        value: Any = 0.0
        outer: Any = 0.0
        for start, prior, weights in self.strips:
            rows, rest = slice(start, start + len(prior)), slice(start, None)
            w = like(kx, weights)
            covariance = like(kx, prior) - moved[:, rows, None] * kx[:, None, rest]
            parts = self.cores(own[:, rows, None], own[:, None, rest], covariance, *w)
            both, slopes, first, last = (part if np.ndim(part) else 0 * w[0] for part in parts)  # a sum may be empty
            of_both, of_slopes, of_first, of_last = self.factors(own[:, rows], own[:, rest])
            left, right = features[:, rows], features[:, rest]
            value = value + of_both * both.sum((-1, -2))
            mixed = of_slopes * left.mT @ (slopes @ right)
            outer = outer + mixed + mixed.mT + left.mT @ ((first.sum(-1) * of_first)[..., None] * left)
            outer = outer + right.mT @ ((last.sum(-2) * of_last)[..., None] * right)
        return value, outer

    def _contracted_by(self, sums: Callable[..., Any], moved: Any, kx: Any, features: Any) -> tuple[Any, Any]:
        """Return the same from compiled sums."""
        own, columns = self.own - moved * kx, np.ascontiguousarray(features.mT)
        value, across = np.zeros(len(kx)), np.empty_like(columns)
        first, last = np.zeros((2, *kx.shape))
        for start, prior, weights in self.strips:
            sums(start, prior, weights, kx, moved, own, columns, value, first, last, across)
        of_both, of_slopes, of_first, of_last = self.factors(own, own)
        mixed = of_slopes * across @ features
        total = of_first * first + of_last * last
        return of_both * value, mixed + mixed.mT + (columns * total[:, None, :]) @ features


def closed_form(activation: Activation, variances: np.ndarray, inputs: np.ndarray, weights: np.ndarray) -> ClosedForm:
    """Return the closed form for training points (P, d + 1), the last coordinate 1, and symmetric weights (P, P).

    Raises NoClosedForm for an activation that has none.
    """
    halved = 2 * np.triu(weights, 1) + np.diag(weights.diagonal())
    return summed(activation, variances, inputs, halved[None], _pair(activation))


Pair = tuple[Callable[..., tuple], Callable[..., tuple], Callable[..., Any]]  # factors, cores and what compiles them


def summed(
    activation: Activation, variances: np.ndarray, inputs: np.ndarray, weights: np.ndarray, pair: Pair
) -> ClosedForm:
    """Return the closed form for weights (i, P, P) that are 0 below the diagonal."""
    tilts = tuple((float(t.coefficient), t.power, float(t.decay)) for t in slope_tilts(activation))
    factors, cores, compiled = pair
    scaled = inputs * variances
    prior = scaled @ inputs.T
    own = prior.diagonal().copy()
    strips, mean, i = [], 0.0, 0
    while i < len(own):
        rows, rest = slice(i, i + max(_FEWEST_ROWS, AT_ONCE // (len(own) - i))), slice(i, None)
        strips.append((i, prior[rows, rest].copy(), weights[:, rows, rest].copy()))
        mean += float(
            np.sum(factors(own, own)[0] * cores(own[rows, None], own[rest], *strips[-1][1:2], *strips[-1][2])[0])
        )
        i = rows.stop
    return ClosedForm(tilts, variances, scaled, own, mean, factors, cores, compiled, tuple(strips))


@lru_cache(maxsize=64)
def _pair(activation: Activation) -> Pair:
    """Return the parts of the closed form of a posterior."""
    others = ((p, q, c), (p, q, c), (q, c), (p, c))
    pairs = zip(pair_expectations(activation), others, strict=True)
    factors, cores = zip(*(expr.as_independent(*symbols, as_Add=False) for expr, symbols in pairs), strict=True)
    weight = Symbol("w0")
    return pair_of(factors, tuple(weight * core for core in cores), (weight,))


def pair_of(factors: Sequence[Expr], cores: Sequence[Expr], weights: tuple[Symbol, ...]) -> Pair:
    """Return `factors` and `cores`, functions of arrays of either library, and what compiles sums of the cores."""
    of_points, of_pairs = (
        lambdify(on, of, [LIBRARY, "math"], cse=True) for on, of in (([p, q], factors), ([p, q, c, *weights], cores))
    )
    return of_points, of_pairs, partial(pair_sums, tuple(cores), weights)
