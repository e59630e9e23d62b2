"""An activation and its decomposition into the terms that Gaussian expectations are taken of.

A term is  coefficient * z^power * exp(-decay z^2 + slope z) * F(z)  with F one of 1, erf(scale z), the sign of z
(the limit scale -> oo of erf) and Dirac's delta. Sums of terms are closed under differentiation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sympy import (
    Abs,
    Derivative,
    DiracDelta,
    Dummy,
    Expr,
    Heaviside,
    I,
    Integral,
    Max,
    Min,
    Piecewise,
    Poly,
    Pow,
    Symbol,
    cos,
    cosh,
    erf,
    erfc,
    exp,
    expand,
    expand_complex,
    im,
    log,
    nan,
    oo,
    pi,
    sign,
    simplify,
    sin,
    sinh,
    sqrt,
    zoo,
)
from sympy.core.function import AppliedUndef
from sympy.core.numbers import Integer, Rational

from infgeo import conventions as conv
from infgeo.arguments import shown
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.expressions import exact
from infgeo.symbolic.algebra.limits import SMOOTH_ORDER
from infgeo.symbolic.algebra.naming import check_distinct, own_parameter

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


@dataclass(frozen=True)
class Activation:
    """An activation function: a SymPy expression of `symbol`, where it is from, and what follows from the expression.

    Args:
        name: its name in the catalogue, or the text of a user's expression.
        expr: the expression, in `conventions.z`; other free symbols are parameters.
        source: paper or page the definition is from.
    """

    name: str
    expr: Expr
    source: str = ""

    @property
    def symbol(self) -> Symbol:
        """The variable of the expression."""
        return conv.z

    @cached_property
    def parameters(self) -> tuple[Symbol, ...]:
        """The free symbols of the expression besides its variable, sorted by name."""
        return tuple(sorted(self.expr.free_symbols - {conv.z}, key=lambda symbol: symbol.name))

    @cached_property
    def sides(self) -> tuple[Expr, Expr]:
        """The expressions that the activation has on z < 0 and on z > 0."""
        positive = Dummy("z", positive=True)
        right = _homogeneous(self.expr.xreplace({conv.z: positive}).doit(), positive).xreplace({positive: conv.z})
        left = _homogeneous(self.expr.xreplace({conv.z: -positive}).doit(), positive).xreplace({positive: -conv.z})
        return left, right

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The activation as a sum of terms; raises NoClosedForm naming the part that is not one."""
        left, right = self.sides
        left_terms, right_terms = parse_terms(left, self.name), parse_terms(right, self.name)
        if set(left_terms) == set(right_terms):
            return right_terms
        half = Rational(1, 2)
        even = [Term(half * t.coefficient, t.power, t.decay, t.slope, t.factor) for t in (*left_terms, *right_terms)]
        jump = collect_terms(
            Term(weight * t.coefficient, t.power, t.decay, t.slope, t.factor)
            for weight, side in ((half, right_terms), (-half, left_terms))
            for t in side
        )
        for term in jump:
            if term.factor != FACTOR_ONE:
                raise NoClosedForm(
                    f"activation {self.name}: the product of a step with {erf(term.factor.scale * conv.z)} is outside"
                    " the class that is integrated in closed form"
                )
        signs = [Term(t.coefficient, t.power, t.decay, t.slope, FACTOR_SIGN) for t in jump]
        return collect_terms(even + signs)

    @cached_property
    def smoothness(self) -> Expr:
        """The number of continuous derivatives at 0: -1 for a jump, 0 for a kink, oo for a smooth activation.

        Kinks and jumps elsewhere are outside the class of terms and not looked for.
        """
        left, right = self.sides
        for order in range(-1, SMOOTH_ORDER):
            if simplify(right - left) == 0:
                return oo
            if simplify(right.subs(conv.z, 0) - left.subs(conv.z, 0)) != 0:
                return Integer(order)
            left, right = left.diff(conv.z), right.diff(conv.z)
        return oo

    @property
    def kinks(self) -> tuple[Expr, ...]:
        """The points where some derivative jumps: () or (0,)."""
        return () if self.smoothness is oo else (ZERO,)

    @cached_property
    def parity(self) -> str | None:
        """Return "even", "odd", or None where the activation is neither."""
        left, right = self.sides
        mirrored = left.subs(conv.z, -conv.z)
        for name, sign_ in (("even", 1), ("odd", -1)):
            if simplify(right - sign_ * mirrored) == 0:
                return name
        return None

    @cached_property
    def homogeneity(self) -> Expr | None:
        """The degree a with phi(t z) = t^a phi(z) for t > 0, or None where there is none."""
        try:
            powers = {term.power for term in self.terms}
            plain = all(t.decay == 0 and t.slope == 0 and _scale_free(t.factor) for t in self.terms)
        except NoClosedForm:
            return None
        return Integer(powers.pop()) if plain and len(powers) == 1 else None

    def __str__(self) -> str:
        """Return the formula."""
        return f"phi(z) = {self.expr}"


def _homogeneous(expr: Expr, positive: Symbol) -> Expr:
    """Return an expression in which Max(a z, b z), for z > 0, is (a + b + |a - b|) z / 2."""

    def apart(part: Expr, sign_: int) -> Expr:
        rates = [argument / positive for argument in part.args]
        if len(rates) != 2 or any(rate.has(positive) for rate in rates):
            return part
        return positive * (rates[0] + rates[1] + sign_ * Abs(rates[0] - rates[1])) / 2

    for function, sign_ in ((Max, 1), (Min, -1)):
        expr = expr.replace(function, lambda *args, f=function, s=sign_: apart(f(*args), s))
    return expr


def _scale_free(factor: Factor) -> bool:
    return factor == FACTOR_ONE or factor == FACTOR_SIGN


def from_expression(expr: object, variable: Symbol | None = None) -> Activation:
    """Return the activation of a user's SymPy expression.

    The variable is the expression's one free symbol, or `variable`, or the symbol named z where there are several.
    Its other symbols are parameters, see `naming.own_parameter`.
    Raises InvalidInput for an expression without a variable, for one whose variable is not clear, for complex or
    undefined parts, and for two parameters of one name.
    """
    if not isinstance(expr, Expr):
        raise InvalidInput(f"activation = {shown(expr)} must be a name, text, a SymPy expression, or a list of these")
    result = exact(expr, "activation")
    free = result.free_symbols
    if not free:
        raise InvalidInput(f"activation {result} is a constant: write an expression of one symbol, for example erf(z)")
    if variable is None:
        named = [symbol for symbol in free if symbol.name == "z"]
        if len(free) > 1 and len(named) != 1:
            names = ", ".join(sorted(symbol.name for symbol in free))
            raise InvalidInput(
                f"activation {result} has several symbols ({names}): say which is the variable with variable=..."
            )
        variable = named[0] if named else next(iter(free))
    elif variable not in free:
        raise InvalidInput(f"activation {result} does not contain the variable {variable}")
    own = {symbol: own_parameter(symbol, f"activation {result}") for symbol in free - {variable}}
    check_distinct(own.values(), f"activation {result}")
    result = result.xreplace(own | {variable: conv.z})
    if pending := result.atoms(Derivative, Integral):
        raise InvalidInput(f"activation {result} contains {min(map(str, pending))}, not evaluated: call .doit() on it")
    if not result.is_commutative:
        raise InvalidInput(f"activation {result} contains symbols that do not commute: it must be a real function")
    if result.has(I):
        raise InvalidInput(f"activation {result} is complex: it must be real for real z")
    if result.has(DiracDelta):
        raise InvalidInput(f"activation {result} contains a delta function, which has no values: it is no function")
    if undefined := result.atoms(AppliedUndef):
        raise InvalidInput(f"activation {result} contains the undefined function {min(map(str, undefined))}")
    if result.free_symbols == {conv.z}:
        _require_real(result)
    return Activation(str(result), result, "user-defined")


def _require_real(expr: Expr) -> None:
    """Raise InvalidInput for an expression of z that is complex, or infinite or undefined at more than one of six z."""
    undefined = []
    for point in (Rational(n, 35) for n in (-49, 49, -5, 5, -217, 217)):
        try:
            value = expr.subs(conv.z, point).evalf()
        except Exception as error:  # SymPy's comparisons of what is complex or infinite raise errors of many kinds
            value = nan if "NaN" in str(error) else I
        if value.is_number and value.has(I) and abs(im(value)) > Rational(1, 10**9):
            raise InvalidInput(f"activation {expr} is complex, at z = {point}: it must be real for real z")
        if value.has(nan, zoo, oo, -oo):
            undefined.append(point)
    if len(undefined) > 1:
        raise InvalidInput(f"activation {expr} is infinite or undefined, at z = {undefined[0]}: it must be finite")


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
