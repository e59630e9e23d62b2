"""Kernels with exponentials of the variances, those of sines and exponentials, in forms that keep their digits."""

from __future__ import annotations

from sympy import Add, Expr, Integer, Mul, exp, expand

from infgeo.conventions import Delta, c, p, q
from infgeo.symbolic.primitives import exp_difference
from infgeo.symbolic.simplify import FACTOR_LIMIT, longer


def paired(expr: Expr) -> Expr:
    """Return `expr` with a (e^x - e^y) as a exp_difference(x, y, x - y): relatively accurate where x and y are close.

    Example:
        >>> from infgeo.conventions import variance
        >>> paired((1 - exp(-2 * variance)) / 2)
        exp_difference(0, -2*v, 2*v)/2
    """
    return expr.replace(lambda part: part.is_Add and part.has(exp), _paired_sum)


def _paired_sum(total: Expr) -> Expr:
    terms = [_split(term) for term in total.args]
    result: list[Expr] = []
    while terms:
        coefficient, exponent = terms.pop(0)
        opposite = [i for i, (other, x) in enumerate(terms) if x != exponent and _opposite(coefficient, other)]
        if not opposite:
            result.append(coefficient * exp(exponent))
            continue
        _, other = terms.pop(opposite[0])
        result.append(coefficient * exp_difference(exponent, other, expand(exponent - other)))
    return Add(*result)


def _opposite(left: Expr, right: Expr) -> bool:
    total = left + right
    return total == 0 or (not longer(total, FACTOR_LIMIT) and expand(total) == 0)


def _split(term: Expr) -> tuple[Expr, Expr]:
    """Return a and x with `term` = a e^x."""
    factors = Mul.make_args(term)
    exponents = [factor.args[0] for factor in factors if isinstance(factor, exp)]
    return Mul(*[factor for factor in factors if not isinstance(factor, exp)]), Add(Integer(0), *exponents)


def grows(kernel: Expr) -> bool:
    """Whether exponents of a kernel grow with the variances, and with them what rounding them costs."""
    return any(part.args[0].is_polynomial(p, q, c, Delta) for part in kernel.atoms(exp) if part.args[0].has(p, q, c))
