"""An activation: its expression, and what follows from it."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from sympy import (
    And,
    Derivative,
    DiracDelta,
    Expr,
    I,
    Integer,
    Integral,
    Lambda,
    Piecewise,
    Rational,
    Symbol,
    im,
    nan,
    oo,
    simplify,
    zoo,
)
from sympy.core.function import AppliedUndef

from infgeo import conventions as conv
from infgeo.arguments import shown
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.expressions import exact
from infgeo.symbolic.activations.pieces import Pieces, pieces_of
from infgeo.symbolic.activations.terms import FACTOR_ONE, Term, terms_of
from infgeo.symbolic.algebra.limits import SMOOTH_ORDER
from infgeo.symbolic.algebra.naming import check_distinct, own_parameter


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
    def pieces(self) -> Pieces:
        """The smooth expressions between the kinks and jumps; raises NoClosedForm where these are not known."""
        try:
            return pieces_of(self.expr)
        except NoClosedForm as error:
            raise NoClosedForm(f"activation {self.name}: {error}") from None

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The activation as a sum of terms; raises NoClosedForm naming the part that is not one."""
        return terms_of(self.pieces, self.name)

    @cached_property
    def smoothness(self) -> Expr:
        """The number of continuous derivatives: -1 with a jump, 0 with a kink, oo for a smooth activation."""
        return min((order for _, order in self._orders), default=oo)

    @property
    def kinks(self) -> tuple[Expr, ...]:
        """The points where some derivative jumps, in their order."""
        return tuple(place for place, _ in self._orders)

    @cached_property
    def _orders(self) -> tuple[tuple[Expr, Expr], ...]:
        """The places with the number of derivatives that are continuous there."""
        neighbours = zip(self.pieces.places, pairwise(self.pieces.parts), strict=True)
        return tuple((place, _continuity(right - left, place)) for place, (left, right) in neighbours)

    @cached_property
    def parity(self) -> str | None:
        """Return "even", "odd", or None where the activation is neither."""
        mirrored = pieces_of(self.expr.xreplace({conv.z: -conv.z}))
        if mirrored.places != self.pieces.places:
            return None
        for vanishes in (lambda expr: expr == 0, lambda expr: simplify(expr) == 0):  # the first loads no more of SymPy
            for name, sign in (("even", 1), ("odd", -1)):
                if all(vanishes(a - sign * b) for a, b in zip(self.pieces.parts, mirrored.parts, strict=True)):
                    return name
        return None

    @cached_property
    def homogeneity(self) -> Expr | None:
        """The degree a with phi(t z) = t^a phi(z) for t > 0, or None where there is none."""
        try:
            powers = {term.power + term.modulus for term in self.terms}
            plain = all(
                t.decay == t.slope == t.factor.place == 0 and (t.factor.is_step or t.factor == FACTOR_ONE)
                for t in self.terms
            )
        except NoClosedForm:
            return None
        return powers.pop() if plain and len(powers) == 1 else None

    def __str__(self) -> str:
        return f"phi(z) = {self.expr}"


def _continuity(difference: Expr, place: Expr) -> Expr:
    """Return the number of derivatives that are continuous at a place where the function changes by `difference`."""
    for order in range(-1, SMOOTH_ORDER):
        if simplify(difference.subs(conv.z, place)) != 0:
            return Integer(order)
        difference = difference.diff(conv.z)
    return oo


def from_expression(expr: object, variable: Symbol | None = None) -> Activation:
    """Return the activation of a user's SymPy expression.

    The variable is the expression's one free symbol, or `variable`, or the symbol named z where there are several; of a
    Lambda its own.
    Its other symbols are parameters, see `naming.own_parameter`.
    Raises InvalidInput for an expression without a variable, for one whose variable is not clear, for complex or
    undefined parts, and for two parameters of one name.
    """
    if not isinstance(expr, Expr):
        raise InvalidInput(f"activation = {shown(expr)} must be a name, text, a SymPy expression, or a list of these")
    result = exact(expr, "activation")
    if isinstance(result, Lambda) and len(result.variables) == 1:
        variable, result = variable or result.variables[0], result.expr
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
    _require_cases(result)
    if result.free_symbols == {conv.z}:
        _require_real(result)
    return Activation(str(result), result, "user-defined")


def _require_cases(expr: Expr) -> None:
    """Raise InvalidInput for cases that leave out an interval of z: SymPy has no value there."""
    for cases in expr.atoms(Piecewise):
        with suppress(NoClosedForm):  # where the conditions are none that `pieces` knows
            covered = pieces_of(Piecewise(*((1, condition) for _, condition in cases.args), (0, True)))
            for (low, high), part in zip(covered.intervals, covered.parts, strict=True):
                if part == 0:
                    raise InvalidInput(
                        f"activation {expr} has no case for {And(low < conv.z, conv.z < high)}: let its last one be"
                        " (value, True)"
                    )


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
