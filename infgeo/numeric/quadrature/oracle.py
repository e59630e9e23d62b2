"""Gaussian expectations by numerical integration: the oracle that closed forms are held against. Knows no closed form.

One variable: mpmath's tanh-sinh rule, to the working precision. Two variables: composite Gauss-Legendre panels in
float64, about 1e-13. Both split the line at the kinks of the activation, a pair also where v crosses one as u varies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Max, Min, Piecewise, Symbol, lambdify

_EDGE = 9.5  # standard deviations that float64 can see
_PANELS, _NODES = 6, 24


def as_function(expr: Expr, symbol: Symbol, library: str = "scipy") -> Callable[[Any], Any]:
    """Return an activation as a function of arrays ("scipy") or of mpf ("mpmath")."""
    if library == "scipy" and expr.has(Max, Min):  # SymPy 1.13 prints maxima of arrays that NumPy does not take
        expr = expr.rewrite([Max, Min], Piecewise)
    return lambdify(symbol, expr, library)


def moment(function: Callable[[Any], Any], variance: Any, kinks: Sequence[Any] = (0,)) -> Any:
    """Return E[f(z)] for z ~ N(0, variance), f a function of mpf, to the working precision less a few digits."""
    scale = mpmath.sqrt(variance)
    if scale == 0:
        return mpmath.mpf(function(mpmath.mpf(0)))
    edge = mpmath.sqrt(2 * mpmath.log(10) * mpmath.mp.dps) + 1
    inside = {kink / scale for kink in map(mpmath.mpf, kinks) if -edge < kink / scale < edge}
    points = [-edge, *sorted({mpmath.mpf(0), *inside}), edge]
    weight = 1 / mpmath.sqrt(2 * mpmath.pi)
    return weight * mpmath.quad(lambda t: function(scale * t) * mpmath.exp(-t * t / 2), points)


def pair_moment(
    left: Callable, right: Callable, p: float, q: float, c: float, kinks: Sequence[float] = (0.0,)
) -> float:
    """Return E[f(u) g(v)] for (u, v) ~ N(0, [[p, c], [c, q]]), p > 0, for functions of arrays."""
    along, across = c / np.sqrt(p), np.sqrt(max(q - c * c / p, 0.0))
    outer, outer_weights = _panels(np.array([[kink / np.sqrt(p) for kink in kinks]]))
    outer, outer_weights = outer[0], outer_weights[0]
    if across == 0:
        inner = right(along * outer)
    else:
        breaks = (np.array(kinks)[None, :] - along * outer[:, None]) / across
        nodes, weights = _panels(breaks)
        inner = (right(along * outer[:, None] + across * nodes) * weights).sum(axis=1)
    return float((left(np.sqrt(p) * outer) * inner * outer_weights).sum())


def _panels(breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights for N(0, 1), (rows, nodes), each row split at its breaks (rows, k)."""
    rows = len(breaks)
    inner = np.sort(np.clip(breaks, -_EDGE, _EDGE), axis=1)
    edges = np.concatenate([np.full((rows, 1), -_EDGE), inner, np.full((rows, 1), _EDGE)], axis=1)
    fractions = np.linspace(0, 1, _PANELS + 1)
    fine = edges[:, :-1, None] + np.diff(edges, axis=1)[:, :, None] * fractions
    low, high = fine[..., :-1].reshape(rows, -1), fine[..., 1:].reshape(rows, -1)
    x, w = np.polynomial.legendre.leggauss(_NODES)
    half = ((high - low) / 2)[..., None]
    nodes = (low[..., None] + half * (x + 1)).reshape(rows, -1)
    weights = (half * w).reshape(rows, -1) * np.exp(-np.square(nodes) / 2) / np.sqrt(2 * np.pi)
    return nodes, weights
