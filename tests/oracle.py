"""Gaussian expectations over one variable by mpmath, over two by composite Gauss-Legendre panels, about 1e-13.

They are split at the kinks of the activation, a pair also where v crosses one as u varies, and know no closed form.
"""

import numpy as np
from sympy import Max, Min, Piecewise, lambdify

from infgeo.numeric.quadrature.oracle import moment

__all__ = ["as_function", "moment", "pair_moment"]

_EDGE = 9.5  # standard deviations that float64 can see
_PANELS, _NODES = 6, 24


def as_function(expr, symbol, library="scipy"):
    """Return an activation as a function of arrays ("scipy") or of mpf ("mpmath")."""
    if library == "scipy" and expr.has(Max, Min):  # SymPy 1.13 prints maxima of arrays that NumPy does not take
        expr = expr.rewrite([Max, Min], Piecewise)
    return lambdify(symbol, expr, library)


def pair_moment(left, right, p, q, c, kinks=(0.0,)):
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


def _panels(breaks):
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
