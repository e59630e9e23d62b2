"""Integrals over radii, for integrands that are a power of s = |x|^2 times one power of a binomial in s."""

from collections.abc import Callable

from sympy import (
    Abs,
    Expr,
    Integer,
    Mul,
    Poly,
    Pow,
    Rational,
    asinh,
    atan,
    expand_power_base,
    factor,
    hyper,
    log,
    sqrt,
)

from infgeo.conventions import r, s
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.simplify import tidy

HALF = Rational(1, 2)
# (p, q) -> 2F1(p, q; q + 1; -z), where it is elementary
_HYPERGEOMETRIC: dict[tuple[Expr, Expr], Callable[[Expr], Expr]] = {
    (Integer(1), Integer(1)): lambda z: log(1 + z) / z,
    (Integer(1), HALF): lambda z: atan(sqrt(z)) / sqrt(z),
    (HALF, HALF): lambda z: asinh(sqrt(z)) / sqrt(z),
    (-HALF, HALF): lambda z: (sqrt(1 + z) + asinh(sqrt(z)) / sqrt(z)) / 2,
}


def binomial_factors(expr: Expr) -> tuple[Expr, Expr, Expr, Expr] | None:
    """Return (C, mu, u, p) with expr = C s^mu (1 + u s)^-p, or None for another function of s."""
    constant, power, rate, exponent = Integer(1), Integer(0), Integer(0), Integer(0)
    for base, e in _powers(expr):
        if base == s:
            power += e
            continue
        if not (base.has(s) or e.has(s)):
            constant *= base**e
            continue
        if e.has(s) or not base.is_polynomial(s) or Poly(base, s).degree() != 1:
            return None
        slope, start = Poly(base, s).all_coeffs()
        if start == 0:
            constant, power = constant * slope**e, power + e
            continue
        found = tidy(slope / start)
        if rate not in (0, found) and tidy(rate - found) != 0:
            return None
        constant, rate, exponent = constant * start**e, found, exponent - e
    return constant, power, rate, exponent


def without_moduli(expr: Expr) -> Expr:
    """Return an expression with |f(s)| as f or -f, whichever it is at s = 0: both are one until f vanishes."""

    def rule(part: Expr) -> Expr:
        sign = part.subs(s, 0)
        return part if sign.is_nonnegative else -part if sign.is_negative else Abs(part)

    return expr.replace(Abs, rule)


def _powers(expr: Expr) -> list[tuple[Expr, Expr]]:
    """Return the bases and exponents of the factors of a product, with roots taken apart."""
    found = []
    for part in Mul.make_args(expand_power_base(without_moduli(expr), force=True)):
        base, e = part.as_base_exp()
        inner = factor(base) if base.has(s) else base
        if isinstance(inner, Mul | Pow):
            found += [(b, f * e) for b, f in _powers(inner)]
        else:
            found.append((inner, e))
    return found


def along_radius(integrand: Expr, numeric: str) -> Expr:
    """Return the integral from 0 to r of a function of s = t^2 over t, as a function of r.

    With m = 2 mu + 1 it is C r^m/m 2F1(p, m/2; m/2 + 1; -u r^2). Raises NoClosedForm for other integrands; `numeric`
    says what to do then.
    """
    found = binomial_factors(integrand)
    if found is None or (found[1] * 2 + 1).is_positive is False:
        raise NoClosedForm(f"the integral of {integrand} over r, s = r^2, is not a known one: {numeric}")
    constant, mu, rate, p = found
    m = 2 * mu + 1
    if rate == 0 or p == 0:
        return tidy(constant / m) * r**m
    if p == m / 2 + 1:
        return tidy(constant / m) * r**m * (1 + rate * r**2) ** (-m / 2)
    z = tidy(rate) * r**2
    known = _HYPERGEOMETRIC.get((p, m / 2))
    closed = known(z) if known else hyper((p, m / 2), (m / 2 + 1,), -z)
    return tidy(constant / m) * r**m * closed
