"""The metric of a kernel whose derivatives at y = x are 0/0 or cancel, from the distance of features along lines.

With y = x + t (a x^ + b n), n a unit vector across x, the squared distance k(x, x) + k(y, y) - 2 k(x, y) is

    t^2 (A (a^2 + b^2) + B s a^2) + o(t^2)

if the kernel has a metric. The expansion in t along one line gives A, along another B; a third, opposite one, shows
whether the distance is that of a metric.
"""

import mpmath
from sympy import Dummy, Expr, Integer, Rational, Symbol, acos, asin, atan, atan2, count_ops, factor, radsimp, sqrt

from infgeo.conventions import s, s_x, s_y, xy
from infgeo.errors import MetricDoesNotExist, NoClosedForm
from infgeo.symbolic.algebra.limits import RADICALS_LIMIT
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.algebra.truncated_series import DIGITS, NEGLIGIBLE, Coefficient, Evaluator, Lost, Series

PRECISIONS = (5, 9)  # relative orders in t that are tried
# Across x; and two directions that differ in the sign of the radial part, where the values must agree.
ACROSS, ALONG = (Integer(0), Integer(1)), [(Rational(3 * sign, 5), Rational(4, 5)) for sign in (1, -1)]


def metric_along_lines(kernel: Expr) -> tuple[Expr, Expr]:
    """Return A and B of a kernel in s_x, s_y and xy, for s > 0.

    Raises MetricDoesNotExist with the leading order of the squared distance where that is larger than t^2, or where
    its second order is no quadratic form; NoClosedForm where the kernel has no expansion in t here.
    """
    for precision in PRECISIONS:
        try:
            return _found(kernel, precision)
        except Lost:
            continue
    raise NoClosedForm(f"the distance of features of the kernel {kernel} has no expansion at y = x here")


def _found(kernel: Expr, precision: int) -> tuple[Expr, Expr]:
    radius = Dummy("s", positive=True)
    with mpmath.workdps(DIGITS):
        A = _second_order(kernel, ACROSS, radius, precision)
        forward, backward = (_second_order(kernel, line, radius, precision) for line in ALONG)
        pairs = zip(forward.values, backward.values, strict=True)
        if any(abs(x - y) > NEGLIGIBLE ** Rational(1, 2) * abs(x) for x, y in pairs):
            raise MetricDoesNotExist(
                f"the distance of features of the kernel {kernel} is of first order at y = x, but differs between"
                " opposite directions: it comes from no metric"
            )
        B = (_short(forward.expr) - A.expr) * Rational(25, 9) / radius
    return _short(A.expr).xreplace({radius: s}), _short(B).xreplace({radius: s})


def _short(expr: Expr) -> Expr:
    """Return a result without roots in denominators, which cancel but for the lines they come from."""
    plain = count_ops(expr, visual=False) < RADICALS_LIMIT and not expr.has(atan, atan2, acos, asin)
    return factor(radsimp(factor(expr))) if plain else tidy(expr)


def _second_order(kernel: Expr, line: tuple[Expr, Expr], radius: Symbol, precision: int) -> Coefficient:
    """Return the coefficient of t^2 of the squared distance along a line, written out."""
    t, (a, b) = Dummy("t", positive=True), line
    inner = radius + a * t * sqrt(radius)
    end = radius + 2 * a * t * sqrt(radius) + (a**2 + b**2) * t**2
    parameters = sorted(kernel.free_symbols - {s_x, s_y, xy}, key=str)
    evaluator = Evaluator(precision, t, 1, [radius, *parameters], by_values=True)

    def at(p: Expr, q: Expr, c: Expr) -> Series:
        return evaluator.value(kernel.xreplace({s_x: p, s_y: q, xy: c}))

    here, there = at(radius, radius, radius), at(end, end, end)
    across = evaluator.multiply(evaluator.constant(Integer(-2)), at(radius, end, inner))
    distance = evaluator.add(here, there, across)
    if distance.order <= 2:
        raise Lost(f"the distance of features of {kernel}")
    if distance.lead < 2:
        leading = evaluator.written_out(distance.terms[distance.lead].expr).xreplace({radius: s})
        power = "" if distance.lead == 1 else f"^({distance.lead})"
        raise MetricDoesNotExist(
            f"the kernel {kernel} induces no metric: |Phi(x) - Phi(y)|^2 = ({tidy(leading)}) |x - y|{power} + ..."
            " for y - x orthogonal to x"
        )
    found = distance.terms.get(Integer(2), Coefficient(Integer(0), (mpmath.mpf(0),) * 2))
    return Coefficient(evaluator.written_out(found.expr), found.values)
