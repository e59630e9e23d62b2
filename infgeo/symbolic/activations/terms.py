"""The terms that Gaussian expectations are taken of, and expressions as sums of them.

A term is  coefficient * z^power * exp(-decay z^2 + slope z) * F(z)  with F one of 1, erf(scale z), the sign of z
(the limit scale -> oo of erf) and Dirac's delta. Sums of terms are closed under differentiation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sympy import (
    Abs,
    DiracDelta,
    Dummy,
    Expr,
    Heaviside,
    I,
    Max,
    Min,
    Piecewise,
    Poly,
    Pow,
    cos,
    cosh,
    erf,
    erfc,
    exp,
    expand,
    expand_complex,
    log,
    oo,
    pi,
    sign,
    sin,
    sinh,
    sqrt,
)
from sympy.core.numbers import Integer

from infgeo import conventions as conv
from infgeo.errors import NoClosedForm

ZERO, ONE = Integer(0), Integer(1)


@dataclass(frozen=True)
class Factor:
    """The non-elementary factor of a term: "one", "erf" (of `scale` z; `scale` oo is the sign of z) or "delta"."""

    kind: str = "one"
    scale: Expr = ZERO


FACTOR_ONE = Factor()
FACTOR_SIGN = Factor("erf", oo)
FACTOR_DELTA = Factor("delta")


@dataclass(frozen=True)
class Term:
    """The product coefficient * z^power * exp(-decay z^2 + slope z) * factor(z)."""

    coefficient: Expr
    power: int = 0
    decay: Expr = ZERO
    slope: Expr = ZERO
    factor: Factor = FACTOR_ONE

    def derivative(self) -> list[Term]:
        """Return d/dz of the term as terms; z^m delta(z) = 0 for m >= 1 is used."""
        if self.factor.kind == "delta":
            raise NoClosedForm(f"the derivative of a delta function (in {self}) has no Gaussian expectation here")
        rest = (self.decay, self.slope, self.factor)
        terms = [
            Term(self.coefficient * self.power, self.power - 1, *rest),
            Term(self.coefficient * self.slope, self.power, *rest),
            Term(-2 * self.coefficient * self.decay, self.power + 1, *rest),
        ]
        weight, decay, factor = derivative_of_factor(self.factor)
        if factor != FACTOR_DELTA or self.power == 0:
            terms.append(Term(self.coefficient * weight, self.power, self.decay + decay, self.slope, factor))
        return [term for term in terms if term.coefficient != 0]

    @property
    def expr(self) -> Expr:
        """The term as a SymPy expression of `conventions.z`."""
        z = conv.z
        if self.factor.kind == "delta":
            factor: Expr = DiracDelta(z)
        elif self.factor.kind == "erf":
            factor = sign(z) if self.factor.scale is oo else erf(self.factor.scale * z)
        else:
            factor = ONE
        return self.coefficient * z**self.power * exp(-self.decay * z**2 + self.slope * z) * factor


def derivative_of_factor(factor: Factor) -> tuple[Expr, Expr, Factor]:
    """Return (weight, decay, new factor) with F'(z) = weight * exp(-decay z^2) * new factor(z)."""
    if factor.kind == "one":
        return ZERO, ZERO, FACTOR_ONE
    if factor.scale is oo:
        return Integer(2), ZERO, FACTOR_DELTA
    return 2 * factor.scale / sqrt(pi), factor.scale**2, FACTOR_ONE


def collect_terms(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Add up the coefficients of terms that are otherwise equal, and drop those that vanish."""
    sums: dict[tuple[int, Expr, Expr, Factor], Expr] = {}
    for term in terms:
        key = (term.power, term.decay, term.slope, term.factor)
        sums[key] = sums.get(key, ZERO) + term.coefficient
    return tuple(Term(value, *key) for key, value in sums.items() if value.expand() != 0)


def differentiate(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Return the derivative of a sum of terms, as terms."""
    return collect_terms(part for term in terms for part in term.derivative())


def squared(terms: Iterable[Term]) -> tuple[Term, ...] | None:
    """Return the square of a sum of terms as terms, or None where it contains a product that is no term."""
    every, products = tuple(terms), []
    for left in every:
        for right in every:
            factors = {left.factor, right.factor} - {FACTOR_ONE}
            if FACTOR_DELTA in factors or (
                left.factor == right.factor and left.factor not in (FACTOR_ONE, FACTOR_SIGN)
            ):
                return None
            if len(factors) > 1:
                return None
            both = left.factor == right.factor  # the square of a sign is 1
            factor = FACTOR_ONE if both or not factors else factors.pop()
            rest = (left.power + right.power, left.decay + right.decay, left.slope + right.slope)
            products.append(Term(left.coefficient * right.coefficient, *rest, factor))
    return collect_terms(products)


def parts_of(value: Expr) -> tuple[Expr, Expr]:
    """Return real and imaginary part, where symbols without assumptions, of a user's parameters, stand for numbers."""
    plain = {symbol: Dummy(symbol.name, real=True) for symbol in value.free_symbols if symbol.is_real is None}
    back = {dummy: symbol for symbol, dummy in plain.items()}
    if not value.has(I):
        return value, ZERO
    real, imaginary = expand_complex(value.xreplace(plain)).as_real_imag()
    return real.xreplace(back), imaginary.xreplace(back)


def conjugated(value: Expr) -> Expr:
    """Return the complex conjugate, where symbols without assumptions stand for real numbers."""
    real, imaginary = parts_of(value)
    return real - I * imaginary


def real_part(value: Expr) -> Expr:
    """Return the real part, where symbols without assumptions stand for real numbers."""
    return parts_of(value)[0]


def parse_terms(expr: Expr, name: str) -> tuple[Term, ...]:
    """Return `expr`, smooth on the half line it is given for, as a sum of terms (see the module's docstring)."""
    z = conv.z
    rewritten = expr.replace(erfc, lambda a: 1 - erf(a))
    # 2^z is an exponential too.
    rewritten = rewritten.replace(
        lambda part: isinstance(part, Pow) and part.exp.has(z) and not part.base.has(z) and part.base.is_positive,
        lambda part: exp(part.exp * log(part.base)),
    )
    for function in (sin, cos, sinh, cosh):
        rewritten = rewritten.replace(function, lambda a, f=function: f(a).rewrite(exp))
    expanded = expand(rewritten, power_exp=False)
    terms = []
    for summand in expanded.as_ordered_terms() if expanded != 0 else []:
        coefficient, power, exponent, factor = ONE, 0, ZERO, FACTOR_ONE
        for part in _factors(summand):
            if not part.has(z):
                coefficient *= part
                continue
            base, degree = part.as_base_exp()
            if base == z and degree.is_Integer and degree >= 0:
                power += int(degree)
            elif isinstance(part, exp):
                exponent += part.args[0]
            elif isinstance(part, erf) and factor == FACTOR_ONE and not (part.args[0] / z).has(z):
                factor = Factor("erf", part.args[0] / z)
            else:
                if part.has(Max, Min, Abs, Heaviside, sign, Piecewise):
                    raise NoClosedForm(
                        f"activation {name}: the kink of {part} away from 0 leads to the bivariate normal distribution"
                        " function, which SymPy does not have; numeric(..., method='quadrature') integrates it"
                    )
                raise NoClosedForm(
                    f"activation {name}: the term {summand} is outside the class that is integrated in closed form"
                    " (polynomial * exp(quadratic) * at most one erf(a z), or a kink at 0);"
                    " numeric(..., method='quadrature') integrates it numerically"
                )
        polynomial = Poly(exponent, z) if exponent.is_polynomial(z) else None
        if polynomial is None or polynomial.degree() > 2:
            raise NoClosedForm(f"activation {name}: the exponent {exponent} is not a polynomial of degree 2 at most")
        coefficient *= exp(polynomial.coeff_monomial(1))
        terms.append(Term(coefficient, power, -polynomial.coeff_monomial(z**2), polynomial.coeff_monomial(z), factor))
    return collect_terms(terms)


def _factors(summand: Expr) -> list[Expr]:
    factors: list[Expr] = []
    for part in summand.as_ordered_factors():
        base, degree = part.as_base_exp()
        if isinstance(base, exp):
            part = exp(expand(base.args[0] * degree))
        if isinstance(base, erf) and degree.is_Integer and degree > 1:
            factors.extend([base] * int(degree))
        else:
            factors.append(part)
    return factors
