"""Forms of one-dimensional formulas that keep their digits from tiny to huge variances.

What `Dual` and `recursion` produce are sums in which terms cancel: at large u = sigma_w^2 s (1 + 2 u psi of a
Gaussian), at small v = sigma_b^2 + u (1 - exp(-2v)), or near a zero of the formula (v - 1 at sigma_b = 1). What helps:

1. As a quotient of polynomials in v, roots and exponentials, reduced, the cancellation at large u is symbolic.
2. A short polynomial is written in u and the bias variance b, where the zero of v - 1 is one of u - (1 - b).
3. Where a polynomial vanishes with v, exponentials exp(x) are split into their Taylor polynomial and the rest,
   exp_residual(x, n), with n beyond the order to which it vanishes, so that no term exceeds the sum; for |x| < 1/2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd

from sympy import (
    Abs,
    Add,
    Dummy,
    Expr,
    Integer,
    Mul,
    Poly,
    Pow,
    Rational,
    Symbol,
    atan,
    atan2,
    cancel,
    cos,
    count_ops,
    erf,
    exp,
    factor_list,
    factorial,
    fraction,
    ilcm,
    rem,
    series,
    sin,
    sqrt,
    together,
)

from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.primitives import exp_residual, where_nonnegative
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.floats.power_series import power_series

HALF = Rational(1, 2)
LARGEST_ORDER = 6  # to which a polynomial is looked at for a zero at v = 0
TERMS = 20  # of power series
MOST_ROOTS = 6
SHORT = 60  # operations; longer polynomials stay in v


@dataclass(frozen=True)
class StableDual:
    """The functions of the variance v that `Dual` has, in stable forms, for layers that are not the first."""

    law: Dual

    @cached_property
    def parts(self) -> tuple[Expr, Expr, Expr, Expr, Expr, Expr]:
        """m, m', m'', m0, m0', m0'' as quotients."""
        parts = []
        for first in (self.law.m, self.law.m0):
            slope = as_quotient(as_quotient(first).diff(v))
            parts += [as_quotient(first), slope, as_quotient(slope.diff(v))]
        return tuple(parts)

    def written(self, expr: Expr) -> Expr:
        """Return a formula in v in its stable form."""
        return _Writer(v, Integer(0), Integer(0), lambda coefficient: coefficient).stable(expr)

    @cached_property
    def m0(self) -> Expr:
        """E[phi'^2]."""
        return self.written(as_quotient(self.law.m0))

    @cached_property
    def m(self) -> Expr:
        """E[phi^2]."""
        return self.written(self.parts[0])

    @cached_property
    def m_prime(self) -> Expr:
        """dm/dv."""
        return self.written(self.parts[1])

    @cached_property
    def m_second(self) -> Expr:
        """d2m/dv2."""
        return self.written(self.parts[2])

    @cached_property
    def psi(self) -> Expr:
        """m0'/m0."""
        return self.written(self.parts[4]) / self.m0

    @cached_property
    def psi_prime(self) -> Expr:
        """d(psi)/dv."""
        *_, f, slope, bend = self.parts
        return self.written(f * bend - slope**2) / self.m0**2

    @cached_property
    def mu(self) -> Expr:
        """m'/m0."""
        return self.m_prime / self.m0

    @cached_property
    def nu(self) -> Expr:
        """Mu - 1."""
        return self.written(self.parts[1] - self.parts[3]) / self.m0

    @cached_property
    def nu_prime(self) -> Expr:
        """d(nu)/dv."""
        _, rise, second, f, slope, _ = self.parts
        return self.written(second * f - rise * slope) / self.m0**2


@lru_cache(maxsize=64)
def stable_dual(law: Dual) -> StableDual:
    """Return the stable forms of a law, written once."""
    return StableDual(law)


def first_layer(law: Dual, u: Symbol, bias: Expr, let: Callable[[Expr], Expr]) -> tuple[Expr, Expr, Expr]:
    """Return psi = f'/f, eta = 1 + 2 u psi and d(u psi)/du of f = E[phi'^2] at v = bias + u, in stable forms.

    With h = f + 2 u f' and J = f f' + u (f f'' - f'^2) they are f'/f, h/f and J/f^2. `let` binds coefficients such as
    1 - sigma_b^2 to names, so that nothing takes them apart again.
    """
    b = Dummy("b", nonnegative=True)  # stands for the bias, so that numbers and symbols take the same path
    writer = _Writer(u, b, bias, let)

    def parts(f: Expr) -> list[Expr]:
        slope = as_quotient(f.diff(v))
        J = f * slope + u * (f * as_quotient(slope.diff(v)) - slope**2)
        return [writer.stable(part) for part in (f, slope, f + 2 * u * slope, J)]

    f = as_quotient(law.m0)
    forms = parts(f)
    if f.has(atan, atan2) and f.subs(v, 0) == 0:
        # Arcs do not cancel symbolically: at small v all of it as power series.
        polynomial, near = cut_power_series(f)
        forms = [where_nonnegative(near, *pair) for pair in zip(parts(polynomial), forms, strict=True)]
    f, slope, h, J = forms
    return slope / f, h / f, J / f**2


def cut_power_series(f: Expr) -> tuple[Expr, Expr]:
    """Return the power series of `f` at v = 0, cut, and a condition >= 0 under which what is cut off is below 1e-20."""
    try:
        lead, coefficients = power_series(f, v, TERMS)
        polynomial = Add(*[value * v ** (lead + i) for i, value in enumerate(coefficients)])
    except NoClosedForm:
        x = Dummy("x")
        polynomial = series(f.xreplace({v: x}), x, 0, TERMS).removeO().xreplace({x: v})
        coefficients = [polynomial.coeff(v, power) for power in range(TERMS)]
    before, last = [i for i, value in enumerate(coefficients) if value != 0][-2:]  # one in two may be 0
    ratio = Abs(cancel(coefficients[last] / coefficients[before])) ** Rational(1, last - before)
    return polynomial, Rational(1, 12) - ratio * v


def as_quotient(expr: Expr) -> Expr:
    """Return a formula as one quotient."""
    if closed(expr):
        return tidy(expr)
    named = Named(expr)
    numerator, denominator = named.quotient()
    return (numerator / denominator).xreplace(named.back)


def closed(expr: Expr) -> bool:
    """Return whether a formula is left as it is: no rational function of v, roots and exponentials, or too long."""
    if expr.has(atan, atan2, erf, sin, cos) or not expr.has(v):
        return True
    # Sums over many determinants have no common denominator of any use.
    return len({part.base for part in expr.atoms(Pow) if part.exp.is_Rational and part.exp.q == 2}) > MOST_ROOTS


class Named:
    """A formula with names in the place of its exponentials and roots, of which it is a rational function."""

    def __init__(self, expr: Expr) -> None:
        exponentials = _exponentials(expr)
        self.exponents = {name: cancel(part.args[0] / power) for part, (name, power) in exponentials.items()}
        named = expr.xreplace({part: name**power for part, (name, power) in exponentials.items()})
        powers = {part for part in named.atoms(Pow) if part.exp.is_Rational and part.exp.q == 2 and part.base.has(v)}
        bases = sorted({part.base for part in powers}, key=str)
        self.roots = {base: Dummy(f"r{i}", positive=True) for i, base in enumerate(bases)}
        self.expr = named.xreplace({part: self.roots[part.base] ** (2 * part.exp) for part in powers})
        self.back = {name: exp(x) for name, x in self.exponents.items()}
        self.back |= {name: sqrt(base) for base, name in self.roots.items()}

    def quotient(self) -> tuple[Expr, Expr]:
        """Return numerator and denominator, roots to the power 1 at most; the denominator, a product, is divided out.

        A greatest common divisor in all symbols takes long; denominators of expectations are powers of sums 1 + 2 a v.
        """
        top, bottom = fraction(together(self.expr))
        for base, name in self.roots.items():
            top, bottom = (rem(Poly(part, name), Poly(name**2 - base, name)).as_expr() for part in (top, bottom))
        numerator, denominator = Poly(top, v), Integer(1)
        for part in Mul.make_args(bottom):
            if not part.has(v) or part.free_symbols & set(self.roots.values()):
                denominator *= part
                continue
            content, factors = factor_list(part)
            denominator *= content
            for divisor, power in factors:
                while power and divisor.has(v):
                    quotient, rest = numerator.div(Poly(divisor, v))
                    if not rest.is_zero:
                        break
                    numerator, power = quotient, power - 1
                denominator *= divisor**power
        return numerator.as_expr(), denominator


def _exponentials(expr: Expr) -> dict[Expr, tuple[Symbol, int]]:
    """Return the exponentials of `expr` as powers of as few as possible: proportional exponents share one."""
    groups: list[tuple[Expr, list[tuple[Expr, Rational]]]] = []
    for part in sorted(expr.atoms(exp), key=str):
        argument = cancel(part.args[0])
        for leader, members in groups:
            ratio = cancel(argument / leader)
            if ratio.is_Rational:
                members.append((part, ratio))
                break
        else:
            groups.append((argument, [(part, Integer(1))]))
    named = {}
    for i, (leader, members) in enumerate(groups):
        scale = ilcm(1, *(ratio.q for _, ratio in members))
        unit = Rational(gcd(*(int(ratio * scale) for _, ratio in members)), scale)
        # Of exponentials that grow the inverse is named, and cancels between quotients before anything overflows.
        unit = -unit if (unit * leader).is_nonnegative else unit
        name = Dummy(f"E{i}", positive=True)
        named.update({part: (name, int(ratio / unit)) for part, ratio in members})
    return named


@dataclass(frozen=True)
class _Writer:
    """Writes formulas in v = b + u and u in forms accurate for all u, b >= 0 (see the module's docstring)."""

    u: Symbol
    b: Symbol
    bias: Expr
    let: Callable[[Expr], Expr]

    def stable(self, expr: Expr) -> Expr:
        """Return a formula in its stable form; those with arcs, waves or error functions come back as they are."""
        if not closed(expr):
            named = Named(expr)
            numerator, denominator = named.quotient()
            expr = (self.polynomial(numerator, named.exponents) / denominator).xreplace(named.back)
        return expr.xreplace({self.b: self.bias})

    def polynomial(self, polynomial: Expr, exponents: dict[Symbol, Expr]) -> Expr:
        """Return a polynomial in v, u and the names of exponentials and roots, in the form that loses least."""
        content, rest = _monomial(polynomial, (v, *exponents))
        plain = self.by_powers(rest)
        used = {name: x for name, x in exponents.items() if rest.has(name)}
        order = _order(rest, self.u, used) if used else 0
        if not order or any(x.subs(v, 0) != 0 for x in used.values()):
            return content * plain
        residuals: dict[Symbol, Expr] = {}
        near = Integer(0)
        for coefficient, x in _exponential_terms(rest, used):
            near += coefficient * _taylor(x, order + 1)
            if x != 0:
                name = Dummy(real=True)
                residuals[name] = exp_residual(x, Integer(order + 1))
                near += coefficient * name
        top, bottom = fraction(together(near))
        near = self.by_powers(top).xreplace(residuals) / bottom
        size = Add(*(Abs(x) for x in used.values()))
        return content * where_nonnegative(HALF - size, near, plain)

    def by_powers(self, polynomial: Expr) -> Expr:
        """Return a polynomial in v and u = v - b as a sum over powers of v, a short one over those of u."""
        in_v = self.collected(polynomial.xreplace({self.u: v - self.b}), v)
        if count_ops(in_v, visual=False) > SHORT:
            return in_v
        return self.collected(polynomial.xreplace({v: self.b + self.u}), self.u)

    def collected(self, polynomial: Expr, symbol: Symbol) -> Expr:
        """Return a polynomial as a sum over powers of a symbol, coefficients that are sums of parameters bound."""
        terms = []
        for (power,), coefficient in Poly(polynomial, symbol).terms():
            value = coefficient.xreplace({self.b: self.bias})
            constant = not value.is_number and isinstance(value, Add) and not value.atoms(Dummy)
            terms.append((self.let(value) if constant else value) * symbol**power)
        return Add(*terms)


def _monomial(polynomial: Expr, symbols: tuple[Symbol, ...]) -> tuple[Expr, Expr]:
    """Return the powers of the symbols that divide a polynomial, and what is left."""
    present = [symbol for symbol in symbols if polynomial.has(symbol)]
    if not present:
        return Integer(1), polynomial
    terms = Poly(polynomial, *present).monoms()
    content = Mul(*[symbol ** min(powers) for symbol, powers in zip(present, zip(*terms, strict=True), strict=True)])
    return content, cancel(polynomial / content) if content != 1 else polynomial


def _order(polynomial: Expr, u: Symbol, exponents: dict[Symbol, Expr]) -> int:
    """Return the order to which a polynomial vanishes at v = u = 0 without bias; 0 too where it is beyond the limit."""
    terms = _exponential_terms(polynomial.xreplace({u: v}), exponents)
    taylor = [(coefficient, _taylor(x, LARGEST_ORDER + 1)) for coefficient, x in terms]
    if all(part.is_polynomial(v) for pair in taylor for part in pair):
        top = sum((Poly(coefficient, v) * Poly(part, v) for coefficient, part in taylor), Poly(0, v))
    else:
        top = Poly(fraction(together(Add(*[coefficient * part for coefficient, part in taylor])))[0], v)
    order = min(power for (power,) in top.monoms()) if not top.is_zero else 0
    return order if order <= LARGEST_ORDER else 0


def _exponential_terms(polynomial: Expr, exponents: dict[Symbol, Expr]) -> list[tuple[Expr, Expr]]:
    """Return the pairs (c, x) of a polynomial in the names of exponentials, which is the sum of c exp(x)."""
    names = list(exponents)
    terms = Poly(polynomial, *names).terms()
    return [(c, Add(*[k * exponents[name] for k, name in zip(ks, names, strict=True)])) for ks, c in terms]


def _taylor(x: Expr, count: int) -> Expr:
    return Add(*[x**k / factorial(k) for k in range(count)])
