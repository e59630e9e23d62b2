"""An activation: its expression, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sympy import (
    Abs,
    Derivative,
    DiracDelta,
    Dummy,
    Expr,
    I,
    Integral,
    Max,
    Min,
    Symbol,
    erf,
    im,
    nan,
    oo,
    simplify,
    zoo,
)
from sympy.core.function import AppliedUndef
from sympy.core.numbers import Integer, Rational

from infgeo import conventions as conv
from infgeo.arguments import shown
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.expressions import exact
from infgeo.symbolic.activations.terms import FACTOR_ONE, FACTOR_SIGN, Factor, Term, collect_terms, parse_terms
from infgeo.symbolic.algebra.limits import SMOOTH_ORDER
from infgeo.symbolic.algebra.naming import check_distinct, own_parameter

ZERO, ONE = Integer(0), Integer(1)


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
