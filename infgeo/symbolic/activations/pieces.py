"""An activation as smooth expressions between places: its kinks and jumps, which may be symbols of known order.

Maxima, moduli, signs, steps and cases are resolved from the inside out. What decides among them (the difference of the
arguments of a maximum, the argument of a modulus) changes its sign at its roots, which become places; between two
places its sign is that at a point between them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

from sympy import (
    Abs,
    And,
    Expr,
    FiniteSet,
    Heaviside,
    Integer,
    Max,
    Min,
    Or,
    Piecewise,
    Poly,
    S,
    factor,
    factor_list,
    oo,
    sign,
    solveset,
    true,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from infgeo.conventions import z
from infgeo.errors import NoClosedForm

SWITCHES = (Abs, Heaviside, Max, Min, Piecewise, sign)
ZERO, ONE = Integer(0), Integer(1)


@dataclass(frozen=True)
class Pieces:
    """A function of z: `parts[i]` between `places[i - 1]` and `places[i]`, which increase."""

    places: tuple[Expr, ...]
    parts: tuple[Expr, ...]

    @property
    def intervals(self) -> tuple[tuple[Expr, Expr], ...]:
        """The ends of the interval of each part."""
        return tuple(pairwise((-oo, *self.places, oo)))

    def merged(self) -> Pieces:
        """Return the pieces without places at which nothing changes."""
        places, parts = [], [self.parts[0]]
        for place, part in zip(self.places, self.parts[1:], strict=True):
            if part != parts[-1] and (part - parts[-1]).expand() != 0:
                places.append(place)
                parts.append(part)
        return Pieces(tuple(places), tuple(parts))


def pieces_of(expr: Expr) -> Pieces:
    """Return a function of `conventions.z` as pieces without maxima, moduli, signs, steps and cases.

    Raises NoClosedForm where places are not known, or not their order.

    Example:
        >>> from sympy import Abs
        >>> pieces_of(Abs(Abs(z) - 1))
        Pieces(places=(-1, 0, 1), parts=(-z - 1, z + 1, 1 - z, z - 1))
    """
    return _pieces(expr).merged()


def sign_of(expr: Expr) -> int:
    """Return the sign of a number or of an expression whose sign follows from its symbols; raises NoClosedForm."""
    if expr in (oo, -oo):
        return 1 if expr == oo else -1
    for form in (expr, factor(expr)):
        for holds, value in ((form.is_positive, 1), (form.is_negative, -1), (form.is_zero, 0)):
            if holds:
                return value
    raise NoClosedForm(
        f"the sign of {expr} is not known, on which the order of the kinks depends: give its symbols values, or the"
        " assumption positive=True"
    )


def _pieces(expr: Expr) -> Pieces:
    if not expr.has(z) or not expr.has(*SWITCHES):
        return Pieces((), (expr,))
    if isinstance(expr, Piecewise):
        *cases, (last, _) = expr.args
        result = _pieces(last)
        for value, condition in reversed(cases):
            result = _where(_pieces_of_condition(condition), _pieces(value), result)
        return result
    parts = [_pieces(part) for part in (expr.args[:1] if isinstance(expr, Heaviside) else expr.args)]
    if isinstance(expr, Max | Min):
        return _extreme(parts, 1 if isinstance(expr, Max) else -1)
    if isinstance(expr, Abs):
        return _extreme([parts[0], _map(lambda part: -part, parts[0])], 1)
    if isinstance(expr, sign):
        return _where(parts[0], _constant(ONE), _constant(-ONE))
    if isinstance(expr, Heaviside):
        return _where(parts[0], _constant(ONE), _constant(ZERO))
    return _map(expr.func, *parts)


def _constant(value: Expr) -> Pieces:
    return Pieces((), (value,))


def _pieces_of_condition(condition: Boolean) -> Pieces:
    """Return what is positive where a condition holds, ends aside."""
    if condition == true:
        return _constant(ONE)
    if isinstance(condition, And | Or):
        return _extreme(map(_pieces_of_condition, condition.args), 1 if isinstance(condition, Or) else -1)
    if not isinstance(condition, Relational) or condition.rel_op not in ("<", "<=", ">", ">="):
        raise NoClosedForm(f"the condition {condition} is made of other than <, <=, > and >=")
    difference = condition.lhs - condition.rhs
    return _pieces(difference if condition.rel_op.startswith(">") else -difference)


def _map(function: Callable[..., Expr], *arguments: Pieces) -> Pieces:
    """Return a function of several pieces, piece by piece."""
    places = _sorted({place for argument in arguments for place in argument.places})
    cuts = pairwise((-oo, *places, oo))
    return Pieces(places, tuple(function(*(_within(argument, *cut) for argument in arguments)) for cut in cuts))


def _within(argument: Pieces, low: Expr, high: Expr) -> Expr:
    """Return the expression between two neighbouring places of a finer division."""
    for part, end in zip(argument.parts, argument.places, strict=False):
        if high == end or (high != oo and sign_of(end - high) >= 0):
            return part
    return argument.parts[-1]


def _where(deciding: Pieces, yes: Pieces, no: Pieces) -> Pieces:
    """Return `yes` where `deciding` is positive, else `no`."""
    return _chosen(lambda d, a, b, low, high: a if _sign_between(d, low, high) > 0 else b, deciding, yes, no)


def _extreme(values: Iterable[Pieces], direction: int) -> Pieces:
    """Return the largest (direction 1) or the smallest (-1) of several."""

    def choose(d: Expr, a: Expr, b: Expr, low: Expr, high: Expr) -> Expr:
        rate = factor(d / z)
        if not rate.has(z) and rate.free_symbols and not (rate.is_positive or rate.is_negative or rate.is_zero):
            # Of max(a z, b z) the order is not known, but the value is: (a + b) z / 2 + |a - b| |z| / 2.
            return (a + b + direction * Abs(rate) * (z if sign_of(_between(low, high)) > 0 else -z)) / 2
        return a if direction * _sign_between(d, low, high) >= 0 else b

    return reduce(lambda left, right: _chosen(choose, _map(operator.sub, left, right), left, right), values)


def _chosen(choose: Callable[..., Expr], deciding: Pieces, *values: Pieces) -> Pieces:
    """Return what is chosen among `values` wherever the sign of `deciding` is one."""
    fine = _map(lambda *parts: parts[0], deciding, *values)
    places: list[Expr] = list(fine.places)
    for part, (low, high) in zip(fine.parts, fine.intervals, strict=True):
        for root in roots(part):
            if (low == -oo or sign_of(root - low) > 0) and (high == oo or sign_of(high - root) > 0):
                places.append(root)
    ordered = _sorted(set(places))
    parts = [
        choose(_within(deciding, low, high), *(_within(value, low, high) for value in values), low, high)
        for low, high in pairwise((-oo, *ordered, oo))
    ]
    return Pieces(ordered, tuple(parts))


def _sorted(places: set[Expr]) -> tuple[Expr, ...]:
    ordered: list[Expr] = []
    for place in sorted(places, key=str):
        signs = [sign_of(place - other) for other in ordered]
        if 0 not in signs:
            ordered.insert(sum(value > 0 for value in signs), place)
    return tuple(ordered)


def _between(low: Expr, high: Expr) -> Expr:
    if low == -oo:
        return ZERO if high == oo else high - 1
    return low + 1 if high == oo else (low + high) / 2


def _sign_between(expr: Expr, low: Expr, high: Expr) -> int:
    """Return the sign of a function without roots between two places."""
    if expr.is_positive or expr.is_negative:
        return 1 if expr.is_positive else -1
    return sign_of(expr.subs(z, _between(low, high)))


def roots(expr: Expr) -> Sequence[Expr]:
    """Return the real roots of a smooth function of z; raises NoClosedForm where they are not known."""
    if not expr.has(z) or expr.is_positive or expr.is_negative:
        return []
    if expr.is_polynomial(z):
        found: list[Expr] = []
        for part, _ in factor_list(expr)[1]:
            polynomial = Poly(part, z)
            if polynomial.degree() == 1:
                slope, constant = polynomial.all_coeffs()
                found.append(-constant / slope)
            elif polynomial.degree() > 1 and not part.free_symbols - {z}:
                found += [root for root, _ in polynomial.real_roots(multiple=False)]
            elif polynomial.degree() > 1:
                raise NoClosedForm(f"the kinks at the roots of {part} are not known: give its symbols values")
        return found
    if not expr.free_symbols - {z}:
        found_set = solveset(expr, z, S.Reals)
        if isinstance(found_set, FiniteSet) or found_set is S.EmptySet:
            return list(found_set)
    raise NoClosedForm(f"the kinks at the roots of {expr} are not known in closed form, or are not finitely many")
