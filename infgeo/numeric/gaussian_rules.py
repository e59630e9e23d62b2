"""Gaussian expectations of any activation by Gauss-Legendre panels, split at its kinks. Knows no closed form.

One variable: E[F(z)], z ~ N(0, v), for F = phi^2, phi'^2 and their derivatives in v as weights, since
d/dv E[F] = E[(t^2 - 1) F]/(2 v) and d^2/dv^2 E[F] = E[(t^4 - 6 t^2 + 3) F]/(4 v^2) with t = z/sqrt(v): nothing is
differentiated across a kink. Two variables: E[f(u) g(v)], the inner integral over v given u. A *level* sets the number
of nodes and panels; callers compare the results of two levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from sympy import Abs, Expr, Heaviside, Max, Min, Piecewise, Poly, Rational, Symbol, lambdify, oo, sign
from sympy.core.relational import Relational

from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NoClosedForm
from infgeo.symbolic.activation import Activation

_EDGES = (9.5, 19.0, 38.0)  # standard deviations; at 38 the density underflows
_TAIL = 1e-14


class PiecewiseFunction:
    """An activation and its derivative as functions of arrays, smooth between `kinks`, at values of its parameters."""

    def __init__(self, activation: Activation, parameters: Mapping[str, float]) -> None:
        """Find the kinks and the smooth expression between each two of them."""
        z = activation.symbol
        values = {symbol: Rational(repr(float(parameters[symbol.name]))) for symbol in activation.parameters}
        expr = activation.expr.subs(values)
        self.name = activation.name
        exact = sorted(_kinks(expr, z), key=float)
        self.kinks = np.array([float(kink) for kink in exact])
        ends = [-oo, *exact, oo]
        pieces = [_smooth_at(expr, z, _between(a, b)) for a, b in pairwise(ends)]
        jumps = [(b - a).subs(z, kink) for (a, b), kink in zip(pairwise(pieces), exact, strict=True)]
        self.jumps = any(abs(jump.evalf(20)) > 1e-15 for jump in jumps)
        self._functions = [[_as_function(part, z) for part in pieces]]
        self._functions.append([_as_function(part.diff(z), z) for part in pieces])
        self._functions.append([_as_function(part.diff(z, 2), z) for part in pieces])

    def __call__(self, z: np.ndarray, order: int = 0) -> np.ndarray:
        """Return phi, phi' or phi'' (order 0, 1, 2) of an array that holds no kink."""
        functions = self._functions[order]
        with np.errstate(all="ignore"):  # the pieces not taken may overflow
            if len(functions) == 1:
                return functions[0](z)
            return np.choose(np.searchsorted(self.kinks, z), [function(z) for function in functions])


def _kinks(expr: Expr, z: Symbol) -> set[Expr]:
    """Return where the expression is not smooth: the real roots of what its cases are decided by."""
    deciding: list[Expr] = []
    for part in expr.atoms(Max, Min):
        deciding += [a - b for i, a in enumerate(part.args) for b in part.args[:i]]
    deciding += [part.args[0] for part in expr.atoms(Abs, sign, Heaviside)]
    for case in expr.atoms(Piecewise):
        deciding += [
            relation.lhs - relation.rhs for _, condition in case.args for relation in condition.atoms(Relational)
        ]
    roots: set[Expr] = set()
    for part in deciding:
        if not part.has(z):
            continue
        if not part.is_polynomial(z):
            raise NoClosedForm(
                f"the kinks of the activation are at the roots of {part}, which are not known in advance"
            )
        roots |= set(Poly(part, z).real_roots())
    return roots


def _between(a: Expr, b: Expr) -> Expr:
    if a == -oo:
        return Rational(0) if b == oo else b - 1
    return a + 1 if b == oo else (a + b) / 2


def _smooth_at(expr: Expr, z: Symbol, point: Expr) -> Expr:
    """Return the smooth expression that `expr` is around a point that is no kink."""

    def value(part: Expr) -> float:
        return float(part.subs(z, point))

    def case(*pairs: Any) -> Expr:
        return next(part for part, condition in pairs if bool(condition.subs(z, point)))

    expr = expr.replace(Max, lambda *parts: max(parts, key=value)).replace(Min, lambda *parts: min(parts, key=value))
    expr = expr.replace(Abs, lambda part: part if value(part) > 0 else -part)
    expr = expr.replace(sign, lambda part: Rational(1) if value(part) > 0 else Rational(-1))
    expr = expr.replace(Heaviside, lambda part, _=0: Rational(int(value(part) > 0)))
    return expr.replace(Piecewise, case)


def _as_function(expr: Expr, z: Symbol) -> Callable[[np.ndarray], np.ndarray]:
    function = lambdify(z, expr, ["scipy", "numpy"], cse=True)
    return lambda x: function(x) + np.zeros_like(x)


@lru_cache(maxsize=16)
def _legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(nodes)


def _panels(breaks: np.ndarray, edge: float, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights for N(0, 1), (rows, k), each row split at its breaks and at every second unit."""
    rows = len(breaks)
    grid = np.broadcast_to(np.linspace(-edge, edge, round(edge) + 1), (rows, round(edge) + 1))
    edges = np.sort(np.concatenate([grid, np.clip(breaks, -edge, edge)], axis=1), axis=1)
    pieces = 2 ** (level // 2)
    fine = edges[:, :-1, None] + np.diff(edges, axis=1)[:, :, None] * np.arange(pieces + 1) / pieces
    low, high = fine[..., :-1].reshape(rows, -1), fine[..., 1:].reshape(rows, -1)
    x, w = _legendre(16 + 8 * (level % 2))
    half = ((high - low) / 2)[..., None]
    nodes = (low[..., None] + half * (x + 1)).reshape(rows, -1)
    return nodes, (half * w).reshape(rows, -1) * np.exp(-np.square(nodes) / 2) / np.sqrt(2 * np.pi)


def _breaks(function: PiecewiseFunction, reach: float) -> np.ndarray:
    """Return the kinks, and points at distances 1, 2, 4, ... of them and of 0, where activations vary."""
    centres = np.concatenate([[0.0], function.kinks])
    steps = 2.0 ** np.arange(0, max(1, np.ceil(np.log2(max(reach, 1.0)))))
    around = centres[:, None] + np.concatenate([-steps, [0.0], steps])
    return np.unique(around[np.abs(around) < reach])


def moments(function: PiecewiseFunction, v: float, level: int) -> dict[str, float]:
    """Return E[F], and its first and second derivative in v, for F = phi^2 (m) and phi'^2 (m0)."""
    if function.jumps:
        raise MetricDoesNotExist(f"activation {function.name} has a jump: E[phi'^2] is infinite, so there is no metric")
    if v <= 0:
        raise InvalidInput(
            "the metric by quadrature needs preactivations of positive variance: give a bias, or drop x = 0"
        )
    t, w = _nodes(function, v, level)
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
) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes t and weights that reach as far as the integrand in z, by default phi^2, is felt.

    `more` are breaks besides.
    """
    scale = np.sqrt(v)
    for edge in _EDGES:
        breaks = _breaks(function, edge * scale)
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
    if v <= 0:
        return float(function(np.zeros(1), order)[0] ** 2)
    t, w = _nodes(function, v, level)
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
    along, across = c / p, np.sqrt(max(Delta, 0.0) / p)
    t, w = _nodes(function, p, level, _crossings(function, along, across, np.sqrt(p)))
    u = np.sqrt(p) * t
    f = function(u, order)
    if across <= 1e-150 * np.sqrt(p):
        g = function(along * u, order)
        return _pair_sums(f, g, w)
    edge = _EDGES[0]
    breaks = (_breaks(function, edge * (across + abs(along) * np.abs(u).max()))[None, :] - along * u[:, None]) / across
    nodes, weights = _panels(breaks, edge, level)
    g = function(along * u[:, None] + across * nodes, order)
    return _pair_sums(f[:, None], g, w[:, None] * weights)


def _crossings(function: PiecewiseFunction, along: float, across: float, scale: float) -> np.ndarray | None:
    """Return points around those u at which the mean of v crosses a kink: the inner integral varies quickly there."""
    if not len(function.kinks) or along == 0 or across <= 1e-150 * scale:
        return None
    width = across / abs(along)
    if width > scale:
        return None
    steps = width * 2.0 ** np.arange(-1, max(1, np.ceil(np.log2(scale / width))))
    return (function.kinks[:, None] / along + np.concatenate([-steps, [0.0], steps])).ravel()


def _pair_sums(f: np.ndarray, g: np.ndarray, w: np.ndarray) -> dict[str, float]:
    difference = f - g
    return {
        "product": float((f * g * w).sum()),
        "square": float((difference * difference * w).sum()),
        "fall": float((difference * (f + g) * w).sum()),
    }
