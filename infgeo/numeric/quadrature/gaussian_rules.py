"""Gaussian expectations of any activation by Gauss-Legendre panels, split at its kinks. Knows no closed form.

One variable: E[F(z)], z ~ N(0, v), for F = phi^2, phi'^2 and their derivatives in v as weights, since
d/dv E[F] = E[(t^2 - 1) F]/(2 v) and d^2/dv^2 E[F] = E[(t^4 - 6 t^2 + 3) F]/(4 v^2) with t = z/sqrt(v): nothing is
differentiated across a kink. Two variables: E[f(u) g(v)], the inner integral over v given u. A *level* sets the number
of nodes and panels; callers compare the results of two levels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from infgeo.errors import ExpectationDiverges, InvalidInput
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction

_EDGES = (9.5, 19.0, 38.0)  # standard deviations; at 38 the density underflows
_TAIL = 1e-14
_HALVINGS = 24  # of the distance to a place where phi is bounded, and no power series
_AT_ONCE = 2**21  # nodes of pairs


@lru_cache(maxsize=16)
def _legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(nodes)


def _panels(breaks: np.ndarray, edge: float, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights for N(0, 1), (rows, k), each row split at its breaks and at every second unit."""
    rows = len(breaks)
    grid = np.broadcast_to(np.linspace(-edge, edge, round(edge) + 1), (rows, round(edge) + 1))
    edges = np.sort(np.concatenate([grid, np.clip(breaks, -edge, edge)], axis=1), axis=1)
    edges = np.unique(edges)[None, :] if rows == 1 else edges  # the nodes of an empty panel are at a break
    pieces = 2 ** (level // 2)
    fine = edges[:, :-1, None] + np.diff(edges, axis=1)[:, :, None] * np.arange(pieces + 1) / pieces
    low, high = fine[..., :-1].reshape(rows, -1), fine[..., 1:].reshape(rows, -1)
    x, w = _legendre(16 + 8 * (level % 2))
    half = ((high - low) / 2)[..., None]
    nodes = (low[..., None] + half * (x + 1)).reshape(rows, -1)
    return nodes, (half * w).reshape(rows, -1) * np.exp(-np.square(nodes) / 2) / np.sqrt(2 * np.pi)


def _breaks(function: PiecewiseFunction, reach: float, order: int) -> np.ndarray:
    """Return the places, and points at distances 1, 2, 4, ... of finitely many and of 0, where activations vary.

    Towards a singular place distances halve, until what is left of the integral of phi^2, or phi'^2, is negligible.
    """
    places = function.breaks(reach)
    centres = np.concatenate([[0.0], places if len(places) <= 4 else places[:0]])
    steps = 2.0 ** np.arange(0, max(1, np.ceil(np.log2(max(reach, 1.0)))))
    around = centres[:, None] + np.concatenate([-steps, [0.0], steps])
    growth = function.growth.get(order)
    halvings = _HALVINGS if growth is None else 47 / (1 - 2 * growth)  # 2^-47 = 1e-14
    small = min(reach, 1.0) * 2.0 ** -np.arange(1.0, halvings)
    towards = function.breaks(reach, singular=True)[:, None] + np.concatenate([-small, small])
    found = np.concatenate([around.ravel(), places, towards.ravel()])
    return np.unique(found[np.abs(found) < reach])


def moments(function: PiecewiseFunction, v: float, level: int) -> dict[str, float]:
    """Return E[F], and its first and second derivative in v, for F = phi^2 (m) and phi'^2 (m0)."""
    function.require_metric()
    if v <= 0:
        raise InvalidInput(
            "the metric by quadrature needs preactivations of positive variance: give a bias, or drop x = 0"
        )
    t, w = _nodes(function, v, level, order=1)
    z = np.sqrt(v) * t
    first, second = (t * t - 1) / (2 * v), ((t * t - 6) * t * t + 3) / (4 * v * v)
    result: dict[str, float] = {}
    for name, order in (("m", 0), ("m0", 1)):
        F = np.square(function(z, order)) * w
        result |= {name: F.sum(), f"{name}_1": (first * F).sum(), f"{name}_2": (second * F).sum()}
    return {name: float(value) for name, value in result.items()}


def _nodes(
    function: PiecewiseFunction,
    v: float,
    level: int,
    more: np.ndarray | None = None,
    integrand: Callable[[np.ndarray], np.ndarray] | None = None,
    order: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes t and weights that reach as far as the integrand in z, by default phi^2, is felt.

    `more` are breaks besides.
    """
    scale = np.sqrt(v)
    for edge in _EDGES:
        breaks = _breaks(function, edge * scale, order)
        breaks = breaks if more is None else np.concatenate([breaks, more])
        t, w = _panels(breaks[None, :] / scale, edge, level)
        with np.errstate(all="ignore"):
            mass = (np.square(function(scale * t[0])) if integrand is None else integrand(scale * t[0])) * w[0]
        if not np.isfinite(mass).all():
            break
        if mass[np.abs(t[0]) > 0.9 * edge].sum() <= _TAIL * mass.sum():
            return t[0], w[0]
    what = "phi(z)^2" if integrand is None else "phi'(z)^4"
    raise ExpectationDiverges(
        f"E[{what}] of activation {function.name} does not converge at variance {v:g}: use smaller scales or points"
    )


def diagonal(function: PiecewiseFunction, v: float, level: int, order: int = 0) -> float:
    """Return E[phi^2] or E[phi'^2]."""
    function.require_metric() if order else function.require_kernel()
    if v <= 0:
        return float(function(np.zeros(1), order)[0] ** 2)
    t, w = _nodes(function, v, level, order=order)
    return float((np.square(function(np.sqrt(v) * t, order)) * w).sum())


def pair(
    function: PiecewiseFunction, p: float, q: float, c: float, Delta: float, level: int, order: int = 0
) -> dict[str, float]:
    """Return E[f(u) f(v)], E[(f(u) - f(v))^2] and E[f(u)^2 - f(v)^2] for f = phi or phi'."""
    if p < q:
        swapped = pair(function, q, p, c, Delta, level, order)
        return swapped | {"fall": -swapped["fall"]}
    if p <= 0:
        return {"product": float(function(np.zeros(1), order)[0]) ** 2, "square": 0.0, "fall": 0.0}
    function.require_metric() if order else function.require_kernel()
    along, across = c / p, np.sqrt(max(Delta, 0.0) / p)
    scale = np.sqrt(p)
    one_variable = across <= 1e-150 * scale
    crossings = _crossings(function, along, across, scale)
    if one_variable and along != 0:
        crossings = _breaks(function, _EDGES[-1] * scale * abs(along), order) / along
    t, w = _nodes(function, p, level, crossings, order=order)
    u = scale * t
    f = function(u, order)
    if one_variable:
        return _pair_sums(f, function(along * u, order), w)
    outermost = np.abs(_nodes(function, q, level, order=order)[0]).max()
    edge = min(e for e in _EDGES if e > outermost)  # which holds the mass of phi(v)^2, and more so given u
    places = _breaks(function, edge * (across + abs(along) * np.abs(u).max()), order)
    rows = max(1, _AT_ONCE // (40 * 2 ** (level // 2) * (len(places) + round(edge))))
    total = {"product": 0.0, "square": 0.0, "fall": 0.0}
    for i in range(0, len(u), rows):
        part = slice(i, i + rows)
        nodes, weights = _panels((places[None, :] - along * u[part, None]) / across, edge, level)
        g = function(along * u[part, None] + across * nodes, order)
        sums = _pair_sums(f[part, None], g, w[part, None] * weights)
        total = {name: value + sums[name] for name, value in total.items()}
    return total


def _crossings(function: PiecewiseFunction, along: float, across: float, scale: float) -> np.ndarray | None:
    """Return points around those u at which the mean of v crosses a kink: the inner integral varies quickly there."""
    if along == 0 or across <= 1e-150 * scale:
        return None
    kinks = function.breaks(_EDGES[0] * scale * abs(along))
    if not len(kinks):
        return None
    width = across / abs(along)
    if width > scale:
        return None
    steps = width * 2.0 ** np.arange(-1, max(1, np.ceil(np.log2(scale / width))))
    return (kinks[:, None] / along + np.concatenate([-steps, [0.0], steps])).ravel()


def _pair_sums(f: np.ndarray, g: np.ndarray, w: np.ndarray) -> dict[str, float]:
    difference = f - g
    return {
        "product": float((f * g * w).sum()),
        "square": float((difference * difference * w).sum()),
        "fall": float((difference * (f + g) * w).sum()),
    }
