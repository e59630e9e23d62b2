"""Expansions of a metric and its Ricci scalar at |x| -> 0 and |x| -> oo.

At 0, A and B are power series in s and R is the quotient of two, with C = B - 2 A' and h = A + s B:

    R = (d - 1) (2 P_rad + (d - 2) h P_tan) / (A h)^2,   P_tan = A C - s A'^2,
    P_rad = (A + s A') (A (C + s C') - s C A') - 2 s (A A' + s A A'' - s A'^2) (A' + C).

At oo, A = f(v), v = sigma_b^2 + u, u = sigma_w^2 s, of one layer is a sum of powers of v and exponentials of it, and

    B = 2 sigma_w^2 f',  h = f + 2 u f',  J = f f' + u (f f'' - f'^2),
    R = -sigma_w^2 (d - 1) u f' (4 J + (d - 2) f' h) / (f h)^2.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import (
    Add,
    Dummy,
    Expr,
    Integer,
    Mul,
    O,
    Poly,
    Rational,
    Symbol,
    atan,
    atan2,
    count_ops,
    exp,
    expand,
    factor,
    factorial,
    nan,
    oo,
    powsimp,
    series,
    sqrt,
    zoo,
)
from sympy.core.function import PoleError

from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.simplify import best, proved_nonnegative, tidy
from infgeo.symbolic.geometry.metric import RadialMetric

ZERO = Integer(0)
LONGEST = 400  # operations: longer coefficients are not factored


@dataclass(frozen=True)
class Expansion:
    """Expansions of A, B and the Ricci scalar R, expressions in s = |x|^2."""

    A: Expr
    B: Expr
    R: Expr


def at_origin(metric: RadialMetric, terms: int) -> Expansion:
    """Return the first `terms` terms of A, B and R at s = 0; see `analysis.small_norm`."""
    # Each power of s that A or h begins with takes one from the precision of R, four times.
    extra = 2
    while True:
        count = terms + extra
        A, B = (_taylor(part, count) for part in (metric.A, metric.B))
        if any(x != 0 for x in A[:2]) or extra > 8:
            break
        extra += 2
    names_A, names_B = ([Dummy(f"{letter}{i}") for i in range(count)] for letter in "AB")
    coefficients = dict(zip((*names_A, *names_B), (*A, *B), strict=True))
    series_A, series_B = (
        Add(*[name * s**i for i, name in enumerate(names) if coefficients[name] != 0]) for names in (names_A, names_B)
    )
    numerator, denominator = _curvature(series_A, series_B)
    lead = _valuation(denominator, coefficients)
    top = _coefficients(numerator, 0, lead + terms + 2, coefficients)
    bottom = _coefficients(denominator, lead, terms + 2, coefficients)
    begin = next((i for i, x in enumerate(top) if x != 0), None)
    if begin is None:
        R = ZERO
    else:
        quotient: list[Expr] = []
        for i in range(terms):
            known = sum((quotient[j] * bottom[i - j] for j in range(i)), ZERO)
            here = top[begin + i] if begin + i < len(top) else ZERO
            quotient.append(_short((here - known) / bottom[0]))
        R = Add(*[x * s ** (begin - lead + i) for i, x in enumerate(quotient)])
    return Expansion(_published(A, terms), _published(B, terms), R)


def _published(coefficients: list[Expr], terms: int) -> Expr:
    """Return `terms` terms of a power series from the first that does not vanish."""
    begin = next((i for i, x in enumerate(coefficients) if x != 0), 0)
    return Add(*[x * s**i for i, x in enumerate(coefficients[: begin + terms])])


def _taylor(expr: Expr, count: int) -> list[Expr]:
    """Return the first coefficients of a power series in s."""
    coefficients, derivative = [], expr
    for i in range(count):
        value = derivative.subs(s, 0)
        if value.has(nan, zoo, oo):
            return _series_coefficients(expr, count)
        coefficients.append(tidy(value / factorial(i)))
        derivative = derivative.diff(s)
    return coefficients


def _series_coefficients(expr: Expr, count: int) -> list[Expr]:
    t = Dummy("t", positive=True)
    expanded = expand(series(expr.xreplace({s: t}), t, 0, count).removeO())
    if not expanded.is_polynomial(t):
        raise NoClosedForm(f"{expr} is no power series in s = |x|^2 at x = 0")
    return [tidy(expanded.coeff(t, i)) for i in range(count)]


def _curvature(A: Expr, B: Expr) -> tuple[Poly, Poly]:
    """Return numerator and denominator of R, polynomials in s."""
    dA = A.diff(s)
    C, h = B - 2 * dA, A + s * B
    tangential = A * C - s * dA**2
    bend = A * dA + s * A * dA.diff(s) - s * dA**2
    radial = (A + s * dA) * (A * (C + s * C.diff(s)) - s * C * dA) - 2 * s * bend * (dA + C)
    numerator = (d - 1) * (2 * radial + (d - 2) * h * tangential)
    return Poly(expand(numerator), s), Poly(expand((A * h) ** 2), s)


def _coefficients(polynomial: Poly, begin: int, count: int, values: dict[Symbol, Expr]) -> list[Expr]:
    found = (polynomial.coeff_monomial(s**i).xreplace(values) for i in range(begin, begin + count))
    return [ZERO if vanishes(x) else x for x in found]


def vanishes(expr: Expr) -> bool:
    """Whether an expression of parameters is 0: by its form, or to 60 digits at two points."""
    if expr.is_zero is not None:
        return bool(expr.is_zero)
    free = sorted(expr.free_symbols, key=str)
    points = ({x: Rational(7 + 3 * i, 5 + i + shift) for i, x in enumerate(free)} for shift in (0, 2))
    return all(abs(expr.subs(point).evalf(60, maxn=200)) < Rational(1, 10**50) for point in points)


def _short(expr: Expr) -> Expr:
    """Return a coefficient in a short form."""
    return ZERO if vanishes(expr) else best(tidy(expr), factor(expr) if count_ops(expr) < LONGEST else expr)


def _valuation(polynomial: Poly, values: dict[Symbol, Expr]) -> int:
    for i in range(polynomial.degree() + 1):
        if not vanishes(polynomial.coeff_monomial(s**i).xreplace(values)):
            return i
    raise NoClosedForm("the metric is degenerate everywhere near x = 0: it has no curvature")


def at_infinity(m0: Expr, weight: Expr, bias: Expr) -> Expansion:
    """Return the leading terms of A, B and R of one layer at s -> oo, from m0 = E[phi'^2] at variance v."""
    for order in (8, 14, 24):
        f = weight * _expansion(m0, order)
        u = v - bias
        slope = f.diff(v)
        h = expand(f + 2 * u * slope)
        J = expand(f * slope + u * (f * slope.diff(v) - slope**2))
        numerator = expand(-weight * (d - 1) * u * slope * (4 * J + (d - 2) * slope * h))
        lead_f, lead_h = _leading(f), _leading(h)
        if slope == 0:
            return Expansion(_in_s(lead_f, weight, bias), ZERO, ZERO)
        lead_R = _leading(numerator)
        if 0 not in (lead_f, lead_h, lead_R):
            R = lead_R / (lead_f * lead_h) ** 2
            A, B, R = (_in_s(part, weight, bias) for part in (lead_f, 2 * weight * _leading(slope), R))
            return Expansion(A, B, R)
    raise NoClosedForm(f"the expansion of E[phi'(z)^2] = {m0} at large variance leaves the curvature undecided")


def _expansion(m0: Expr, order: int) -> Expr:
    """Return m0 as a sum of powers of v, each times an exponential of v or not, to relative order v^(-order/2)."""
    t = Dummy("t", positive=True)
    total = ZERO
    expanded = powsimp(expand(m0), combine="exp") if m0.has(exp) else m0
    for summand in Add.make_args(expanded):
        growing: list[Expr] = []
        rest: list[Expr] = []
        for part in Mul.make_args(summand):
            unbounded = isinstance(part, exp) and part.args[0].is_polynomial(v) and part.has(v)
            (growing if unbounded else rest).append(part)
        algebraic = Mul(*rest).replace(atan2, _as_atan).subs(v, 1 / t**2)
        try:
            powers = expand(series(factor(algebraic), t, 0, order).removeO())
        except (NotImplementedError, ValueError, TypeError, PoleError) as error:
            raise NoClosedForm(f"{summand} has no expansion at large variance") from error
        if powers.has(O) or not all(_is_power(term, t) for term in Add.make_args(powers)):
            raise NoClosedForm(f"{summand} has no expansion in powers at large variance")
        total += Mul(*growing) * powers.subs(t, 1 / sqrt(v))
    return expand(total)


def _as_atan(y: Expr, x: Expr) -> Expr:
    if not proved_nonnegative(x):
        raise NoClosedForm(f"atan2({y}, {x}) has no expansion at large variance: the sign of {x} is not known")
    return atan(y / x)


def _is_power(term: Expr, t: Symbol) -> bool:
    return not (term / t ** term.as_coeff_exponent(t)[1]).has(t)


def _leading(expr: Expr) -> Expr:
    """Return the leading term of a sum of c v^a exp(b v), as v -> oo; 0 for an empty sum."""
    groups: dict[tuple[Expr, Expr], Expr] = {}
    for term in Add.make_args(powsimp(expand(expr), combine="exp")):
        rate, plain = ZERO, []
        for part in Mul.make_args(term):
            if isinstance(part, exp) and part.has(v):
                linear = expand(part.args[0])
                rate += linear.coeff(v, 1)
                plain.append(exp(linear.coeff(v, 0)))
            else:
                plain.append(part)
        coefficient, power = Mul(*plain).as_coeff_exponent(v)
        groups[rate, power] = groups.get((rate, power), ZERO) + coefficient
    for rate, power in sorted(groups, key=lambda key: (_comparable(key[0]), _comparable(key[1])), reverse=True):
        value = groups[rate, power]
        if not vanishes(value):
            return _short(value) * v**power * exp(rate * v)
    return ZERO


def _comparable(expr: Expr) -> float:
    """Return a number in the order of a coefficient; symbols are taken at 1, which decides between positive ones."""
    return float(expr.subs(dict.fromkeys(expr.free_symbols, 1)))


def _in_s(term: Expr, weight: Expr, bias: Expr) -> Expr:
    """Return a leading term c v^a exp(b v) for v = bias + weight s: v^a by its leading term, the exponential exact."""
    growing = [part for part in Mul.make_args(powsimp(term, combine="exp")) if isinstance(part, exp) and part.has(v)]
    rest = Mul(*[part for part in Mul.make_args(powsimp(term, combine="exp")) if part not in growing])
    coefficient, power = rest.as_coeff_exponent(v)
    exponential = Mul(*growing).xreplace({v: bias + weight * s})
    return tidy(factor(coefficient) * (weight * s) ** power) * exponential
