"""Kernels with exponentials of the variances, those of sines and exponentials, in forms that keep their digits."""

from __future__ import annotations

from collections import defaultdict

from sympy import Add, Expr, Integer, Mul, exp, expand

from infgeo.conventions import Delta, c, p, q
from infgeo.symbolic.graph import distinct, rebuilt
from infgeo.symbolic.primitives import exp_difference
from infgeo.symbolic.simplify import FACTOR_LIMIT, longer


def paired(expr: Expr) -> Expr:
    """Return `expr` with a (e^x - e^y) as a exp_difference(x, y, x - y): relatively accurate where x and y are close.

    Example:
        >>> from infgeo.conventions import variance
        >>> paired((1 - exp(-2 * variance)) / 2)
        exp_difference(0, -2*v, 2*v)/2
    """
    if not any(isinstance(part, exp) for part in distinct(expr)):
        return expr
    return rebuilt(expr, lambda part: _paired_sum(part) if part.is_Add and part.has(exp) else part)


def _paired_sum(total: Expr) -> Expr:
    terms = [_split(term) for term in total.args]
    written = [c if longer(c, FACTOR_LIMIT) else expand(c) for c, _ in terms]
    places: defaultdict[Expr, list[int]] = defaultdict(list)
    for i, coefficient in enumerate(written):
        places[coefficient].append(i)
    result: list[Expr] = []
    left = dict(enumerate(terms))
    for i, (coefficient, exponent) in enumerate(terms):
        if left.pop(i, None) is None:
            continue
        opposite = places.get(-written[i], ())
        partner = next((j for j in opposite if j in left and left[j][1] != exponent), None)
        if partner is None:
            result.append(coefficient * exp(exponent))
            continue
        _, other = left.pop(partner)
        result.append(coefficient * exp_difference(exponent, other, expand(exponent - other)))
    return Add(*result)


def _split(term: Expr) -> tuple[Expr, Expr]:
    """Return a and x with `term` = a e^x."""
    factors = Mul.make_args(term)
    exponents = [factor.args[0] for factor in factors if isinstance(factor, exp)]
    return Mul(*[factor for factor in factors if not isinstance(factor, exp)]), Add(Integer(0), *exponents)


def grows(kernel: Expr) -> bool:
    """Whether exponents of a kernel grow with the variances, and with them what rounding them costs."""
    exponents = (part.args[0] for part in distinct(kernel) if isinstance(part, exp))
    return any(x.is_polynomial(p, q, c, Delta) for x in exponents if x.has(p, q, c))
