"""Functions of one variance as sums over arcs, roots and exponentials, each with one reduced quotient in v.

Integration by parts leaves sums of hundreds of terms with different powers of the same determinants 1 + 2 a v; as one
quotient for each irrational quantity they are short, and so are their derivatives.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Any

from sympy import QQ, Add, Expr, I, Mul, Pow, Rational, count_ops, factor, sqrt
from sympy.core.numbers import Integer

from infgeo.conventions import variance as v
from infgeo.symbolic.algebra.graph import distinct, is_long, symbols_of
from infgeo.symbolic.algebra.limits import FACTOR_LIMIT

# The bases of the inverse square roots, and the product of all other irrational quantities.
_Part = tuple[frozenset[Expr], Expr]
_Sum = dict[_Part, Any]
_UNIT: _Part = (frozenset(), Integer(1))


def gathered(expr: Expr) -> Expr:
    """Return a long function of v as a sum over its irrational parts, with one factored quotient in v for each.

    It is returned as it is where it is short, or divides by a sum of irrational parts.
    """
    if (not is_long(expr) and count_ops(expr, visual=False) <= FACTOR_LIMIT) or I in distinct(expr):
        return expr
    try:
        gathering = _Gathering(expr)
        parts = gathering.of(expr)
    except _NotASum:
        return expr
    field = gathering.field
    return Add(
        *[
            factor(field.to_sympy(value)) * other * Mul(*[1 / sqrt(base) for base in roots])
            for (roots, other), value in parts.items()
        ]
    )


class _NotASum(Exception):
    """The expression divides by a sum of irrational parts."""


class _Gathering:
    """Arithmetic of sums over irrational parts with coefficients in the field of rational functions."""

    def __init__(self, expr: Expr) -> None:
        self.field = QQ.frac_field(v, *sorted(symbols_of(expr) - {v}, key=str))
        self.known: dict[Expr, _Sum] = {}

    def of(self, expr: Expr) -> _Sum:
        if expr not in self.known:
            self.known[expr] = self._gathered(expr)
        return self.known[expr]

    def _gathered(self, expr: Expr) -> _Sum:
        if isinstance(expr, Add):
            total: _Sum = {}
            for part in expr.args:
                self._add(total, self.of(part))
            return total
        if isinstance(expr, Mul):
            return self._product(map(self.of, expr.args))
        if isinstance(expr, Pow) and expr.exp.is_Integer:
            return self._power(self.of(expr.base), int(expr.exp))
        if expr.is_Rational or expr.is_Symbol:
            return {_UNIT: self.field.from_sympy(expr)}
        if isinstance(expr, Pow) and expr.exp.is_Rational and expr.exp.q == 2 and expr.base.free_symbols:
            root = {(frozenset({expr.base}), Integer(1)): self.field.one}
            return self._times(root, self._power(self.of(expr.base), int(expr.exp + Rational(1, 2))))
        return {(frozenset(), expr): self.field.one}

    def _add(self, total: _Sum, other: _Sum) -> None:
        for part, value in other.items():
            added = total.get(part, self.field.zero) + value
            if added:
                total[part] = added
            else:
                total.pop(part, None)

    def _times(self, left: _Sum, right: _Sum) -> _Sum:
        total: _Sum = {}
        for (roots, other), x in left.items():
            for (roots_, other_), y in right.items():
                value = x * y
                for base in roots & roots_:
                    value /= self._rational(base)
                self._add(total, {(roots ^ roots_, other * other_): value})
        return total

    def _power(self, base: _Sum, exponent: int) -> _Sum:
        if exponent < 0:
            if len(base) != 1:
                raise _NotASum
            [((roots, other), value)] = base.items()
            for root in roots:
                value /= self._rational(root)
            return self._power({(roots, 1 / other): 1 / value}, -exponent)
        return self._product([base] * exponent)

    def _product(self, factors: Iterable[_Sum]) -> _Sum:
        return reduce(self._times, factors, {_UNIT: self.field.one})

    def _rational(self, base: Expr) -> Any:
        parts = self.of(base)
        if set(parts) != {_UNIT}:
            raise _NotASum
        return parts[_UNIT]
