"""Sums over one unit's weights: what learning shifts, for any activation, with errors.

Up to three dimensions and without kinks trapezoidal rules, which converge exponentially, else scrambled Sobol nets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from infgeo.errors import ExpectationDiverges, InvalidInput, NoClosedForm, NotConverged
from infgeo.numeric.learned.rules import Rule
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.expectations.dual import dual

GRIDS = ((0.3, 6.5), (0.25, 8.0))  # step and edge of trapezoidal rules, in standard deviations
MOST_GRID = 3  # dimensions
_NOTHING = 1e-6  # a shift that may be the error alone, as where symmetry makes it 0
_REPLICATES = 8
_LOG2_NODES = 15  # of each replicate
_MOST_NUMBERS = 2**26  # in the nodes of all replicates
_MOST_DIMENSIONS = 21201  # of Sobol sequences in SciPy
_AT_ONCE = 2**22  # numbers


@dataclass(frozen=True, eq=False)
class UnitSums:
    """Cov(o(w), h(w)) over w ~ N(0, variances), for functions o that depend on the input, by several sets of nodes.

    Kernel and metric come with their errors.

    Arguments:
        function: phi and its derivatives.
        weights: of each set of nodes, (N, d + 1), the bias last.
        factors: of each set, the weight of a node times h less its mean, (N,).
        is_grid: whether the sets are two trapezoidal rules, of which the second is finer, and not independent nets.
    """

    function: PiecewiseFunction
    weights: tuple[np.ndarray, ...]
    factors: tuple[np.ndarray, ...]
    is_grid: bool

    def metric(self, x: np.ndarray, layer: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the shift of the metric, (m, d, d), and its error."""
        return combined(self._moments(x, 2), self.is_grid)

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Return the shift of half the derivative of the metric, (m, d, d, d)."""
        return combined(self._moments(x, 3), self.is_grid)[0]

    def kernel(self, x: np.ndarray, y: np.ndarray, layer: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the shift of the kernel, (m, k), and its error."""
        result = np.zeros((len(self.weights), len(x), len(y)))
        for i, w, factor in self._blocks(len(x) + len(y)):
            left, right = (self._of(w, points, 0) for points in (x, y))
            result[i] += (left.T * factor) @ right
        return combined(result, self.is_grid)

    def _moments(self, x: np.ndarray, order: int) -> np.ndarray:
        """Return the covariances of h with phi'^2 w w (order 2) or phi' phi'' w w w (order 3), (sets, m, d, ...)."""
        m, d = x.shape
        result = np.zeros((len(self.weights), m * d, d ** (order - 1)))
        for i, w, factor in self._blocks(m * (d + 3) + d ** (order - 1)):
            slope = self._of(w, x, 1)
            of_point = slope * (slope if order == 2 else self._of(w, x, 2))
            w = w[:, :d]
            powers = w if order == 2 else (w[:, :, None] * w[:, None, :]).reshape(len(w), -1)
            result[i] += ((of_point.T * factor)[:, None, :] * w.T).reshape(m * d, len(w)) @ powers
        return result.reshape(len(result), m, *(d,) * order)

    def _of(self, w: np.ndarray, x: np.ndarray, order: int) -> np.ndarray:
        return self.function(w[:, :-1] @ x.T + w[:, -1:], order)

    def _blocks(self, size: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
        count = max(1, _AT_ONCE // max(1, size))
        return [
            (i, w[start : start + count], factor[start : start + count])
            for i, (w, factor) in enumerate(zip(self.weights, self.factors, strict=True))
            for start in range(0, len(w), count)
        ]


def unit_sums(function: PiecewiseFunction, variances: np.ndarray, rule: Rule) -> UnitSums:
    """Return sums over weights and bias of these variances, with the function h of a rule of learning."""
    alive = np.flatnonzero(variances)
    if len(alive) > _MOST_DIMENSIONS:
        raise InvalidInput(
            f"X has {len(variances) - 1} coordinates, and nets have at most {_MOST_DIMENSIONS - 1}: pass fewer of them"
        )
    is_grid = len(alive) <= MOST_GRID and not function.places
    sets = [grid(len(alive), *size) for size in GRIDS] if is_grid else [net(len(alive), r) for r in range(_REPLICATES)]
    weights, factors = [], []
    for nodes, mass in sets:
        w = np.zeros((len(nodes), len(variances)))
        w[:, alive] = nodes * np.sqrt(variances[alive])
        h = rule(w)
        weights.append(w)
        factors.append(mass * (h - (mass * h).sum()))
    return UnitSums(function, tuple(weights), tuple(factors), is_grid)


def combined(values: np.ndarray, is_grid: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return value and error of a result for every set, (sets, m, ...)."""
    if is_grid:
        error = np.abs(values[1] - values[0])
        rest = tuple(range(1, error.ndim))  # each point by itself
        gaps, sizes = error.max(rest, initial=0), np.abs(values[1]).max(rest, initial=0)
        if (gaps > np.maximum(0.1 * sizes, _NOTHING)).any():
            worst = int(np.argmax(gaps - 0.1 * sizes))
            raise NotConverged(
                f"two rules for the shift by learning at point {worst} differ by {gaps[worst]:.1g}, its size is"
                f" {sizes[worst]:.1g}: pass points of smaller norm, or smaller scales"
            )
        return values[1], error
    return values.mean(0), values.std(0, ddof=1) / len(values) ** 0.5


def grid(dimensions: int, step: float, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a trapezoidal rule for N(0, 1) in a ball."""
    line = step * np.arange(-int(edge / step), int(edge / step) + 1)
    nodes = np.stack(np.meshgrid(*[line] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)
    squares = np.square(nodes).sum(1)
    mass = np.exp(-squares[squares < edge**2] / 2)
    return nodes[squares < edge**2], mass / mass.sum()


def net(dimensions: int, seed: int, log2_nodes: int = _LOG2_NODES) -> tuple[np.ndarray, np.ndarray]:
    """Return a scrambled net for N(0, 1)."""
    from scipy.stats import qmc  # seconds to import, and closed forms do without

    most = (_MOST_NUMBERS // _REPLICATES // dimensions).bit_length() - 1
    points = qmc.Sobol(dimensions, rng=np.random.default_rng(seed)).random_base2(min(log2_nodes, most))
    return ndtri(np.clip(points, 2.0**-60, 1 - 2.0**-53)), np.full(len(points), 1 / len(points))


def require_fourth_moments(activation: Activation, variances: np.ndarray) -> None:
    """Raise ExpectationDiverges where phi grows like exp(a z^2) and E[phi^4] is infinite."""
    try:
        growth = dual(activation).growth
    except NoClosedForm:
        return
    if growth is not None and growth.is_positive and variances.size and 8 * float(growth) * variances.max() >= 1:
        raise ExpectationDiverges(
            f"activation {activation.name} grows like exp({growth} z^2), and E[phi^4] is infinite at variance"
            f" {variances.max():g} of z: pass smaller scales or points, below {1 / (8 * float(growth)):g}"
        )
