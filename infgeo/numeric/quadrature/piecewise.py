"""An activation as a function of arrays that is smooth between places that are known: its kinks, jumps and poles.

Quadrature splits its panels there. The places are roots of what cases, powers, logarithms and inverse functions depend
on; where they cannot be found, the activation is refused. They are finitely many, or periodic (floor, tan, |sin z|).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from sympy import Expr, Rational, Symbol, lambdify, oo

from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NoClosedForm, NotConverged
from infgeo.symbolic.activations.activation import Activation

# Functions without singularities on the real line.
_ENTIRE: tuple[type, ...] = (
    sp.exp,
    sp.sin,
    sp.cos,
    sp.sinh,
    sp.cosh,
    sp.tanh,
    sp.sech,
    sp.erf,
    sp.erfc,
    sp.erfi,
    sp.atan,
    sp.asinh,
)
_ENTIRE += (sp.sinc, sp.airyai, sp.airybi, sp.Si, sp.fresnels, sp.fresnelc)
_MOST = 400  # places within reach
_FIRST = 2  # places of a periodic set that are looked at on either side of 0
_CLOSE = 1e-6  # distance of a place within which infinite values are looked at again
_NEAR, _NEARER = Rational(1, 10**100), Rational(1, 10**200)
_DIGITS = 1200  # second derivatives of (exp(z) - 1)/z lose 600 at that distance
_SCAN = np.linspace(-40.05, 40.0, 8011)
_REMEDY = "write it with kinks at roots of polynomials, or periodic ones such as those of floor(z) and sin(z)"


@dataclass(frozen=True)
class Places:
    """The point `start`, or with a `step` all of start + k step; `singular` where it is more than a kink or a jump.

    It is `removable` where the activation is smooth and only its formula is 0/0, as sin(z)/z at 0.
    """

    start: Expr
    step: Expr = sp.S.Zero
    singular: bool = False
    removable: bool = False

    def within(self, reach: float) -> np.ndarray:
        """Return the places between -reach and reach."""
        start, step = float(self.start), float(self.step)
        if step == 0:
            return np.array([start] if abs(start) < reach else [])
        first, last = np.ceil((-reach - start) / step), np.floor((reach - start) / step)
        if last - first > _MOST:
            raise NotConverged(
                f"an activation has {last - first:.0f} kinks, jumps or poles within reach of its preactivations, more"
                f" than {_MOST}: use smaller scales or points"
            )
        return start + step * np.arange(first, last + 1)


class PiecewiseFunction:
    """An activation and its derivatives as functions of arrays, smooth between its places, at values of parameters.

    `no_metric` says why E[phi'^2] is infinite, `no_kernel` why E[phi^2] is; both are "" where they are finite.
    """

    def __init__(self, activation: Activation, parameters: Mapping[str, float]) -> None:
        """Find the places and the smooth expression between each two of them."""
        z = activation.symbol
        values = {symbol: Rational(repr(float(parameters[symbol.name]))) for symbol in activation.parameters}
        self.name, self._z, self._expr = activation.name, z, activation.expr.subs(values)
        self.places = _places(self._expr, z, self.name)
        self._periodic = any(place.step != 0 for place in self.places)
        finite = sorted({place.start for place in self.places}, key=float)
        if self._periodic:
            self._starts, self._pieces = [], [_in_cases(self._expr)]
        else:
            self._starts = finite
            ends = [-oo, *finite, oo]
            self._pieces = [_smooth_at(self._expr, z, _between(a, b)) for a, b in pairwise(ends)]
        self._at = np.array([float(start) for start in self._starts])
        self._functions: dict[int, list[Callable[[np.ndarray], np.ndarray]]] = {}
        self.no_metric, self.no_kernel = "", ""
        self.smooth = True  # phi' has no jumps, and phi'' has limits
        self.growth: dict[int, float] = {}  # a where a derivative of this order grows like |dz|^-a, 0 for a logarithm
        self._exact: dict[tuple[int, int], Callable[[Any], Any]] = {}
        self.places = tuple(self._examined(place) for place in self.places)

    @property
    def kinks(self) -> np.ndarray:
        """The places, of periodic ones those up to 40."""
        reach = 40.0 if self._periodic else np.inf
        return self.breaks(reach)

    def breaks(self, reach: float, singular: bool = False) -> np.ndarray:
        """Return the places, or the singular ones, between -reach and reach."""
        found = [place.within(reach) for place in self.places if place.singular or not singular]
        return np.unique(np.concatenate(found)) if found else np.array([])

    def require_kernel(self) -> None:
        """Raise ExpectationDiverges where E[phi^2] is infinite."""
        if self.no_kernel:
            raise ExpectationDiverges(self.no_kernel)

    def require_metric(self) -> None:
        """Raise MetricDoesNotExist where E[phi'^2] is infinite."""
        if self.no_metric:
            raise MetricDoesNotExist(f"{self.no_metric}, so there is no metric")

    def rate(self) -> float:
        """Return a where phi grows like exp(a z^2), 0 where it grows less; raises ExpectationDiverges for more."""
        rates = []
        for size in (10**3, 10**4):
            with suppress(OverflowError):  # beyond what mpmath's exponents hold
                found = [self._in_mpmath(piece, 0)(mpmath.mpf(end * size)) for piece, end in ((0, -1), (-1, 1))]
                sizes = [abs(value) for value in found if mpmath.isfinite(value) and abs(value) > 1]
                rates.append(max((mpmath.log(value) for value in sizes), default=mpmath.mpf(0)) / size**2)
        if len(rates) < 2 or rates[1] > max(1e-3, 1.1 * rates[0]):
            raise ExpectationDiverges(f"activation {self.name} grows faster than any exp(a z^2): E[phi^2] is infinite")
        return float(rates[1]) if rates[1] >= 1e-3 else 0.0

    def __call__(self, z: np.ndarray, order: int = 0) -> np.ndarray:
        """Return phi, phi' or phi'' (order 0, 1, 2) of an array that holds none of the places, or 0 alone."""
        if order not in self._functions:
            self._functions[order] = [_as_function(_derivative(part, self._z, order), self._z) for part in self._pieces]
        functions = self._functions[order]
        with np.errstate(all="ignore"):  # the pieces not taken may overflow
            if len(functions) == 1:
                result = functions[0](z)
            else:
                result = np.choose(np.searchsorted(self._at, z), [function(z) for function in functions])
        lost = ~np.isfinite(result)
        return self._exactly(z, result, lost, order) if lost.any() else result

    def _exactly(self, z: np.ndarray, result: np.ndarray, lost: np.ndarray, order: int) -> np.ndarray:
        """Return `result` with what floats lose, such as 0/0 at a place and inf/inf, in 60 digits.

        What is infinite away from the places is; at a place where it grows the value is none, and 0 is taken.
        """
        places = self.breaks(float(np.abs(z[lost]).max()) + 1)
        for index in zip(*np.nonzero(lost), strict=True):
            point = float(z[index])
            distance = np.abs(places - point).min(initial=np.inf)
            if distance > _CLOSE and np.isinf(result[index]):
                continue
            if distance == 0 and order in self.growth:
                result[index] = 0.0
                continue
            function = self._in_mpmath(int(np.searchsorted(self._at, point)), order)
            with mpmath.workdps(60):
                beside = mpmath.mpf(10) ** -20 if distance == 0 else 0  # the limit from the left
                result[index] = _real(function(point - beside), self.name, point)
        return result

    def _in_mpmath(self, piece: int, order: int) -> Callable[[Any], Any]:
        if (piece, order) not in self._exact:
            self._exact[piece, order] = lambdify(self._z, _derivative(self._pieces[piece], self._z, order), "mpmath")
        return self._exact[piece, order]

    def _examined(self, place: Places) -> Places:
        """Find out how the activation behaves at a place: where phi, phi' and phi'' have limits it is not singular."""
        count = sorted(range(-_FIRST, _FIRST + 1), key=abs) if place.step != 0 else range(1)
        limits = [self._look_at(place.start + k * place.step) for k in count]
        return replace(place, singular=place.singular and not all(limits), removable=place.removable and all(limits))

    def _look_at(self, point: Expr) -> bool:
        """Note what has no expectation because of a point; return whether phi, phi' and phi'' have limits there."""
        indices = (int(np.searchsorted(self._at, float(point), side)) for side in ("left", "right"))
        sides = tuple(zip(indices, (-1, 1), strict=True))
        left, right = ([self._limit(point, piece, sign, order) for order in range(3)] for piece, sign in sides)
        where, energy = f"activation {self.name} {{}} at z = {point}: E[phi{{}}^2] is infinite", ("", "'")
        for order, what in enumerate(("is unbounded", "has a slope that is unbounded")):
            growth = max(left[order][1], right[order][1])
            if left[order][0] is None or right[order][0] is None:
                self.growth[order] = max(self.growth.get(order, 0.0), growth)
            if growth >= 0.49 and order == 0:
                self.no_kernel = self.no_kernel or where.format(what, energy[0])
            if growth >= 0.49:
                self.no_metric = self.no_metric or where.format(what, energy[1])
        (a, _), (b, _) = left[0], right[0]
        if 0 in self.growth:
            self.no_metric = self.no_metric or where.format("is unbounded", energy[1])
        elif abs(b - a) > 1e-12 * max(1, abs(a)):
            self.no_metric = self.no_metric or where.format("has a jump", energy[1])
        limits = all(limit is not None for limit, _ in (*left, *right))
        slopes = left[1][0], right[1][0]
        self.smooth = (
            self.smooth
            and limits
            and not self.no_metric
            and abs(slopes[1] - slopes[0]) <= 1e-12 * max(1, abs(slopes[0]))
        )
        return limits

    def _limit(self, point: Expr, piece: int, sign: int, order: int) -> tuple[Any, float]:
        """Return the limit at a place from one side, or None and the exponent with which it grows."""
        function = self._in_mpmath(piece, order)
        with mpmath.workdps(_DIGITS):
            here = mpmath.mpf(sp.N(point, _DIGITS))
            steps = [here + sign * mpmath.mpf(h.p) / h.q for h in (_NEAR, _NEARER)]
            try:
                first, second = (_real(function(x), self.name, float(x)) for x in steps)
            except InvalidInput:
                raise
            except (OverflowError, ValueError, ZeroDivisionError, MemoryError):
                return None, np.inf
            if abs(second) > 100 and abs(second) > mpmath.mpf(1.2) * abs(first):
                return None, float(mpmath.log(abs(second) / abs(first)) / mpmath.log(_NEAR / _NEARER))
            if abs(second - first) > mpmath.mpf(10) ** -6 * (1 + abs(second)):
                raise NoClosedForm(f"activation {self.name} has no limit at z = {point}: quadrature does not take it")
            return second, 0.0


def _real(value: Any, name: str, point: float) -> Any:
    if isinstance(value, mpmath.mpc) and value.imag == 0:
        value = value.real
    if isinstance(value, mpmath.mpc) or not mpmath.isfinite(value):
        raise InvalidInput(
            f"activation {name} is no real number at z = {point:g}: it must be real for real z, but for isolated points"
        )
    return value


def _places(expr: Expr, z: Symbol, name: str) -> tuple[Places, ...]:
    """Return where the expression is not smooth."""
    found: dict[Places, None] = {}
    for part in sp.preorder_traversal(expr):
        for deciding, singular in _deciding(part, z, name):
            for place in _roots(deciding, z, name):
                found[Places(place.start, place.step, singular, part.is_Pow and bool(part.exp.is_Integer))] = None
        if isinstance(part, (sp.floor, sp.ceiling, sp.frac, sp.Mod)) and part.has(z):
            inner = part.args[0] / part.args[1] if isinstance(part, sp.Mod) else part.args[0]
            slope = inner.diff(z)
            if slope.has(z) or slope == 0:
                raise NoClosedForm(f"activation {name}: the jumps of {part} are not at equal distances; {_REMEDY}")
            found[Places(-inner.subs(z, 0) / slope, abs(1 / slope))] = None
    return tuple(found)


def _deciding(part: Expr, z: Symbol, name: str) -> list[tuple[Expr, bool]]:
    """Return the expressions at whose roots a part may not be smooth, and whether it is singular there."""
    if not part.has(z) or part == z or isinstance(part, (sp.Add, sp.Mul, *_ENTIRE)):
        return []
    if isinstance(part, (sp.Max, sp.Min)):
        return [(a - b, False) for i, a in enumerate(part.args) for b in part.args[:i]]
    if isinstance(part, (sp.Abs, sp.sign, sp.Heaviside)):
        return [(part.args[0], False)]
    if isinstance(part, sp.Piecewise):
        relations = [
            relation for _, condition in part.args for relation in condition.atoms(sp.core.relational.Relational)
        ]
        return [(relation.lhs - relation.rhs, False) for relation in relations]
    if isinstance(part, sp.Pow):
        plain = not part.base.has(z) or (part.exp.is_Integer and part.exp.is_positive)
        return [] if plain else [(part.base, True)]
    if isinstance(part, sp.log):
        return [(part.args[0], True)]
    if isinstance(part, (sp.asin, sp.acos, sp.atanh)):
        return [(1 - part.args[0] ** 2, True)]
    if isinstance(part, sp.acosh):
        return [(part.args[0] - 1, True)]
    if isinstance(part, (sp.tan, sp.sec)):
        return [(sp.cos(part.args[0]), True)]
    if isinstance(part, (sp.cot, sp.csc)):
        return [(sp.sin(part.args[0]), True)]
    if isinstance(part, (sp.coth, sp.csch)):
        return [(part.args[0], True)]
    whole = isinstance(part, (sp.besselj, sp.besseli)) and part.args[0].is_Integer
    if whole or isinstance(part, (sp.floor, sp.ceiling, sp.frac, sp.Mod)) or not isinstance(part, Expr):
        return []
    raise NoClosedForm(f"activation {name}: the singular points of {part} are not known, and quadrature needs them")


def _roots(expr: Expr, z: Symbol, name: str) -> list[Places]:
    """Return the real roots."""
    if not expr.has(z) or expr.is_positive or expr.is_negative:
        return []
    if isinstance(expr, sp.Mul):
        return [place for factor in expr.args for place in _roots(factor, z, name)]
    if isinstance(expr, sp.Pow) and expr.exp.is_positive:
        return _roots(expr.base, z, name)
    if isinstance(expr, sp.Abs):
        return _roots(expr.args[0], z, name)
    if expr.is_polynomial(z):
        return [Places(root) for root in set(sp.Poly(expr, z).real_roots())]
    try:
        found = _listed(sp.solveset(expr, z, sp.S.Reals))
    except (NotImplementedError, ValueError, TypeError, AttributeError, RecursionError):
        found = None
    if found is None or not _complete(expr, z, found):
        raise NoClosedForm(
            f"activation {name}: its kinks, jumps or poles are at the roots of {expr}, which are not known in advance;"
            f" {_REMEDY}"
        )
    return found


def _listed(roots: Any) -> list[Places] | None:
    """Return a set of SymPy's as places; None where it is described and not listed."""
    if roots is sp.S.EmptySet:
        return []
    if isinstance(roots, sp.FiniteSet):
        return [Places(root) for root in roots] if all(root.is_comparable for root in roots) else None
    if isinstance(roots, sp.Union):
        parts = [_listed(part) for part in roots.args]
        return None if any(part is None for part in parts) else [place for part in parts if part for place in part]
    if isinstance(roots, sp.ImageSet) and roots.base_set is sp.S.Integers:
        n, value = roots.lamda.variables[0], roots.lamda.expr
        step = value.diff(n)
        return [Places(value.subs(n, 0), abs(step))] if step.is_comparable and step != 0 else None
    return None


def _complete(expr: Expr, z: Symbol, found: list[Places]) -> bool:
    """Return whether the roots are roots, and there is one wherever the sign changes on a grid."""
    with np.errstate(all="ignore"):
        values = _as_function(_in_cases(expr), z)(_SCAN)
        spacing = _SCAN[1] - _SCAN[0]
        changes = _SCAN[:-1][(values[:-1] * values[1:] < 0)]
    near = [place.within(41.0) for place in found]
    known = np.concatenate(near) if near else np.array([])
    return all(known.size and np.abs(known - x).min() <= 2 * spacing for x in changes)


def _between(a: Expr, b: Expr) -> Expr:
    if a == -oo:
        return Rational(0) if b == oo else b - 1
    return a + 1 if b == oo else (a + b) / 2


def _smooth_at(expr: Expr, z: Symbol, point: Expr) -> Expr:
    """Return the smooth expression that `expr` is around a point that is none of its places."""

    def value(part: Expr) -> float:
        return float(part.subs(z, point))

    def case(*pairs: Any) -> Expr:
        return next(part for part, condition in pairs if bool(condition.subs(z, point)))

    expr = expr.replace(sp.Piecewise, case)
    expr = expr.replace(sp.Max, lambda *parts: max(parts, key=value))
    expr = expr.replace(sp.Min, lambda *parts: min(parts, key=value))
    expr = expr.replace(sp.Abs, lambda part: part if value(part) > 0 else -part)
    expr = expr.replace(sp.sign, lambda part: Rational(1) if value(part) > 0 else Rational(-1))
    return expr.replace(sp.Heaviside, lambda part, _=0: Rational(int(value(part) > 0)))


def _in_cases(expr: Expr) -> Expr:
    """Return an expression with its cases as Piecewise and its steps as floors."""

    def either(condition: Any, yes: Expr, no: Expr) -> Expr:
        return sp.Piecewise((yes, condition), (no, True))

    def extreme(parts: tuple[Expr, ...], sign: int) -> Expr:
        result, *rest = parts
        for part in rest:
            result = either(sign * (part - result) > 0, part, result)
        return result

    expr = expr.replace(sp.Mod, lambda a, b: a - b * sp.floor(a / b)).replace(sp.frac, lambda a: a - sp.floor(a))
    expr = expr.replace(sp.ceiling, lambda a: -sp.floor(-a))
    expr = expr.replace(sp.Max, lambda *parts: extreme(parts, 1)).replace(sp.Min, lambda *parts: extreme(parts, -1))
    expr = expr.replace(sp.Abs, lambda a: either(a > 0, a, -a))
    expr = expr.replace(sp.sign, lambda a: either(a > 0, sp.S.One, sp.S.NegativeOne))
    return expr.replace(sp.Heaviside, lambda a, _=0: either(a > 0, sp.S.One, sp.S.Zero))


def _derivative(expr: Expr, z: Symbol, order: int) -> Expr:
    """Return a derivative between the places, where steps are constants."""
    steps = {step: sp.Dummy("n", real=True) for step in expr.atoms(sp.floor)}
    return expr.xreplace(steps).diff(z, order).xreplace({name: step for step, name in steps.items()})


def between_places(expr: Expr, z: Symbol, order: int) -> Expr:
    """Return a derivative of an activation between its places, with cases as Piecewise and steps as floors."""
    return _derivative(_in_cases(expr), z, order)


def _as_function(expr: Expr, z: Symbol) -> Callable[[np.ndarray], np.ndarray]:
    function = lambdify(z, expr, ["scipy", "numpy"], cse=True)
    return lambda x: function(x) + np.zeros_like(x)
