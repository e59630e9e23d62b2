"""The terms that Gaussian expectations are taken of, and expressions as sums of them.

A term is  coefficient * z^power * |z|^modulus * exp(-decay z^2 + slope z) * F(z)  with F one of

    1,   erf(scale (z - place)),   1 - erf(scale (z - place)),   delta(z - place),

where the scale may be oo, of which the error function is the sign of z - place. The complement of an error function
stands beside exponentials that grow on its other side, so that nothing overflows. Powers are whole numbers >= 0, and
moduli 0 or anything else. Sums of terms are closed under differentiation, but for the derivative of a delta function.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from sympy import (
    DiracDelta,
    Dummy,
    Expr,
    I,
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
from infgeo.symbolic.activations.pieces import Pieces, sign_of

ZERO, ONE, TWO = Integer(0), Integer(1), Integer(2)
QUADRATURE = "numeric(..., method='quadrature') integrates it"


@dataclass(frozen=True)
class Factor:
    """The factor F of a term: "one", "erf", "erfc" or "delta" (see the module), of `scale` and `place`."""

    kind: str = "one"
    scale: Expr = ZERO
    place: Expr = ZERO

    @property
    def is_step(self) -> bool:
        """Whether F jumps."""
        return self.scale in (oo, -oo)

    @property
    def expr(self) -> Expr:
        """F as a SymPy expression of `conventions.z`."""
        distance = conv.z - self.place
        if self.kind == "one":
            return ONE
        if self.kind == "delta":
            return DiracDelta(distance)
        value = sign(self.scale) * sign(distance) if self.is_step else erf(self.scale * distance)
        return value if self.kind == "erf" else 1 - value


FACTOR_ONE = Factor()


@dataclass(frozen=True)
class Term:
    """The product coefficient * z^power * |z|^modulus * exp(-decay z^2 + slope z) * factor(z)."""

    coefficient: Expr
    power: int = 0
    decay: Expr = ZERO
    slope: Expr = ZERO
    factor: Factor = FACTOR_ONE
    modulus: Expr = ZERO

    @property
    def key(self) -> tuple[int, Expr, Expr, Factor, Expr]:
        """All but the coefficient."""
        return self.power, self.decay, self.slope, self.factor, self.modulus

    def times(self, weight: Expr, **changes: Any) -> Term:
        """Return the term times a number, with other parts."""
        return replace(self, coefficient=weight * self.coefficient, **changes)

    def derivative(self) -> list[Term]:
        """Return d/dz of the term as terms."""
        if self.factor.kind == "delta":
            raise NoClosedForm(f"the derivative of a delta function (in {self.expr}) has no Gaussian expectation here")
        # z^m |z|^a is, up to a sign, a power m + a.
        lowered = {"power": self.power - 1} if self.power else {"power": 1, "modulus": self.modulus - 2}
        terms = [
            self.times(self.power + self.modulus, **lowered),
            self.times(self.slope),
            self.times(-2 * self.decay, power=self.power + 1),
        ]
        weight, decay, slope, factor = derivative_of_factor(self.factor)
        terms.append(self.times(weight, decay=self.decay + decay, slope=self.slope + slope, factor=factor).settled())
        return [term for term in terms if term.coefficient != 0]

    def settled(self) -> Term:
        """Return the term with what stands beside a delta function at its place, and sign(z) |z|^a as z |z|^(a - 1)."""
        t = self.factor.place
        if self.factor.kind == "delta":
            modulus = ZERO if t == 0 and self.modulus.is_positive else abs(t) ** self.modulus
            weight = t**self.power * modulus * exp(-self.decay * t**2 + self.slope * t)
            return Term(self.coefficient * weight, factor=self.factor)
        if self.modulus != 0 and self.factor.kind == "erf" and self.factor.is_step and t == 0:
            odd = (
                {"power": 1, "modulus": self.modulus - 1}
                if self.power % 2 == 0
                else {"power": self.power - 1, "modulus": self.modulus + 1}
            )
            return self.times(1 if self.factor.scale is oo else -1, factor=FACTOR_ONE, **odd)
        return self

    def reflected(self) -> Term:
        """Return the term as a function of -z."""
        factor, odd = self.factor, self.power % 2 == 1
        if factor.kind == "erfc":
            factor = replace(factor, scale=-factor.scale, place=-factor.place)
        elif factor.kind != "one":
            odd, factor = odd != (factor.kind == "erf"), replace(factor, place=-factor.place)
        return self.times(-1 if odd else 1, slope=-self.slope, factor=factor)

    @property
    def expr(self) -> Expr:
        """The term as a SymPy expression of `conventions.z`."""
        z = conv.z
        powers = z**self.power * abs(z) ** self.modulus
        return self.coefficient * powers * exp(-self.decay * z**2 + self.slope * z) * self.factor.expr


def derivative_of_factor(factor: Factor) -> tuple[Expr, Expr, Expr, Factor]:
    """Return (weight, decay, slope, new factor): F'(z) = weight exp(-decay z^2 + slope z) * new factor(z)."""
    if factor.kind == "one":
        return ZERO, ZERO, ZERO, FACTOR_ONE
    direction = ONE if factor.kind == "erf" else -ONE
    scale, place = factor.scale, factor.place
    if factor.is_step:
        return 2 * direction * (1 if scale is oo else -1), ZERO, ZERO, Factor("delta", place=place)
    weight = 2 * direction * scale / sqrt(pi) * exp(-((scale * place) ** 2))
    return weight, scale**2, 2 * scale**2 * place, FACTOR_ONE


def collect_terms(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Add up the coefficients of terms that are otherwise equal, and drop those that vanish."""
    sums: dict[tuple[int, Expr, Expr, Factor, Expr], Expr] = {}
    for term in terms:
        sums[term.key] = sums.get(term.key, ZERO) + term.coefficient
    return tuple(Term(value, *key) for key, value in sums.items() if value.expand() != 0)


def differentiate(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Return the derivative of a sum of terms, as terms."""
    return collect_terms(part for term in terms for part in term.derivative())


def product_of_factors(left: Factor, right: Factor) -> tuple[tuple[Expr, Factor], ...] | None:
    """Return the product of two factors as a sum of weighted factors, or None where it is none.

    Raises NoClosedForm where the order of two places is not known.
    """
    if left == FACTOR_ONE or right == FACTOR_ONE:
        return ((ONE, left if right == FACTOR_ONE else right),)
    if not (left.is_step and right.is_step):
        return None
    # As steps 2 H(-+(z - t)) = 1 -+ sign(z - t) = erfc(+-oo (z - t)), and products of them.
    if left.kind == right.kind == "erf":
        flip = 1 if left.scale == right.scale else -1
        if left.place == right.place:
            return ((Integer(flip), FACTOR_ONE),)
        low, high = sorted((left.place, right.place), key=lambda place: sign_of(place - left.place))
        signs = ((ONE, FACTOR_ONE), (ONE, Factor("erf", oo, high)), (-ONE, Factor("erf", oo, low)))
        return tuple((flip * weight, factor) for weight, factor in signs)
    if left.kind == "erf":
        left, right = right, left
    if right.kind == "erf":
        # erfc times a sign: the sign is 1 - erfc.
        products = product_of_factors(left, Factor("erfc", right.scale, right.place)) or ()
        return ((ONE, left), *((-weight, factor) for weight, factor in products))
    order = sign_of(right.place - left.place)
    if left.scale == right.scale:
        below = left.scale is oo
        return ((TWO, left if (order >= 0) == below else right),)
    first, last = (left, right) if left.scale is oo else (right, left)  # z < first.place and z > last.place
    if sign_of(first.place - last.place) <= 0:
        return ()
    return ((TWO, first), (-TWO, Factor("erfc", oo, last.place)))


def product(left: Term, right: Term) -> tuple[Term, ...] | None:
    """Return the product of two terms as terms, or None where it is none."""
    factors = product_of_factors(left.factor, right.factor)
    if factors is None or "delta" in (left.factor.kind, right.factor.kind):
        return None
    return tuple(
        Term(
            weight * left.coefficient * right.coefficient,
            left.power + right.power,
            left.decay + right.decay,
            left.slope + right.slope,
            factor,
            left.modulus + right.modulus,
        ).settled()
        for weight, factor in factors
    )


def squared(terms: Iterable[Term]) -> tuple[Term, ...] | None:
    """Return the square of a sum of terms as terms, or None where it contains a product that is no term."""
    every = tuple(terms)
    products = [product(left, right) for left in every for right in every]
    if None in products:
        return None
    return collect_terms(term for part in products for term in part or ())


def parts_of(value: Expr) -> tuple[Expr, Expr]:
    """Return real and imaginary part, where symbols without assumptions, of a user's parameters, stand for numbers."""
    if not value.has(I):
        return value, ZERO
    plain = {symbol: Dummy(symbol.name, real=True) for symbol in value.free_symbols if symbol.is_real is None}
    back = {dummy: symbol for symbol, dummy in plain.items()}
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
    """Return `expr`, smooth on the interval it is given for, as a sum of terms (see the module's docstring)."""
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
        coefficient, power, modulus, exponent, factor = ONE, 0, ZERO, ZERO, FACTOR_ONE
        for part in _factors(summand):
            if not part.has(z):
                coefficient *= part
                continue
            base, degree = part.as_base_exp()
            if base == z and degree.is_Integer and degree >= 0:
                power += int(degree)
            elif isinstance(part, exp):
                exponent += part.args[0]
            elif base in (z, -z) and not degree.has(z) and not degree.is_Integer:
                modulus += degree  # real powers of z on pieces where z > 0, and of -z where z < 0
            elif isinstance(part, erf) and factor == FACTOR_ONE and part.args[0].is_polynomial(z):
                argument = Poly(part.args[0], z)
                if argument.degree() != 1:
                    raise NoClosedForm(f"activation {name}: {part} is outside the class; {QUADRATURE}")
                scale, shift = argument.all_coeffs()
                factor = Factor("erf", scale, -shift / scale)
            else:
                raise NoClosedForm(
                    f"activation {name}: the term {summand} is outside the class that is integrated in closed form"
                    " (powers of z or |z| * exp(quadratic) * at most one erf(a z + b), between kinks and jumps);"
                    f" {QUADRATURE} numerically"
                )
        polynomial = Poly(exponent, z) if exponent.is_polynomial(z) else None
        if polynomial is None or polynomial.degree() > 2:
            raise NoClosedForm(f"activation {name}: the exponent {exponent} is not a polynomial of degree 2 at most")
        coefficient *= exp(polynomial.coeff_monomial(1))
        decay, slope = -polynomial.coeff_monomial(z**2), polynomial.coeff_monomial(z)
        terms.append(Term(coefficient, power, decay, slope, factor, modulus))
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


def terms_of(pieces: Pieces, name: str) -> tuple[Term, ...]:
    """Return a function of pieces as a sum of terms; raises NoClosedForm naming the part that is not one.

    With f_0, ..., f_n between the places t_1, ..., t_n it is (f_0 + f_n)/2 + sum_i (f_i - f_(i-1))/2 sign(z - t_i);
    terms that may grow stand on their own interval alone.
    """
    parts = [parse_terms(part, name) for part in pieces.parts]
    if not pieces.places:
        _require_one_power(parts[0], name)
        return parts[0]
    common = set(parts[0]).intersection(*parts[1:])
    bounded = [[term.times(ONE / 2) for term in part if term not in common and not _may_grow(term)] for part in parts]
    found = [*common, *bounded[0], *bounded[-1]]
    for place, (left, right) in zip(pieces.places, pairwise(bounded), strict=True):
        jump = collect_terms([*right, *(term.times(-ONE) for term in left)])
        found += [_with_factor(term, Factor("erf", oo, place), name) for term in jump]
    last = len(parts) - 1
    for i, part in enumerate(parts):
        for term in part:
            if term in common or not _may_grow(term):
                continue
            # The steps 2 H(t_(i+1) - z) - 2 H(t_i - z), and 2 H(z - t_n).
            ends = [(ONE, -oo, last - 1)] if i == last else [(ONE, oo, i), (-ONE, oo, i - 1)][: 2 if i else 1]
            for weight, scale, j in ends:
                factor = Factor("erfc", scale, pieces.places[j])
                found.append(_with_factor(term.times(weight / 2), factor, name))
    return collect_terms(found)


def _may_grow(term: Term) -> bool:
    """Whether a term has the exponential of a linear function, which grows to one side."""
    return term.decay == 0 and term.slope != 0 and not term.slope.has(I)


def _with_factor(term: Term, factor: Factor, name: str) -> Term:
    if factor == FACTOR_ONE:
        return term
    if term.factor != FACTOR_ONE:
        raise NoClosedForm(
            f"activation {name}: the product of a step with {term.factor.expr} is outside the class that is integrated"
            f" in closed form; {QUADRATURE} numerically"
        )
    return replace(term, factor=factor).settled()


def _require_one_power(terms: tuple[Term, ...], name: str) -> None:
    """Raise NoClosedForm for a power z^n of symbolic n, whose sign is not known, in a sum, or where z^n is complex."""
    unknown = [term for term in terms if term.modulus != 0]
    if unknown and (len(terms) > 1 or not unknown[0].modulus.is_integer):
        raise NoClosedForm(
            f"activation {name}: z**({unknown[0].modulus}) is real for whole exponents alone, and is not integrated in"
            " a sum; write abs(z)**a, or give the exponent a value"
        )
