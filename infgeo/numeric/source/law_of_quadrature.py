"""The law of an activation without closed form as source text: phi and its derivatives, and the places between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sympy as sp
from sympy import Expr, Mul, Poly, Symbol, cancel, cosh, exp, gcd_list, log, sinh, together

from infgeo.conventions import z
from infgeo.errors import ExpectationDiverges, InvalidInput, NoClosedForm
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction, between_places
from infgeo.numeric.source.names import public_name
from infgeo.numeric.source.printing import Backend, function_source
from infgeo.symbolic.algebra.primitives import where_nonnegative
from infgeo.symbolic.algebra.program import Program

if TYPE_CHECKING:
    from infgeo.symbolic.activations.activation import Activation

_NAMES = ("_phi", "_phi_prime", "_phi_second")
# What array libraries have no name for.
_WRITTEN = {
    sp.tan: lambda x: sp.sin(x) / sp.cos(x),
    sp.cot: lambda x: sp.cos(x) / sp.sin(x),
    sp.sec: lambda x: 1 / sp.cos(x),
    sp.csc: lambda x: 1 / sp.sin(x),
    sp.coth: lambda x: 1 / sp.tanh(x),
    sp.sech: lambda x: 1 / cosh(x),
    sp.csch: lambda x: 1 / sinh(x),
    sp.sinc: lambda x: sp.sin(x) / x,
}


def law_of_quadrature(activation: Activation, suffix: str, backend: Backend) -> list[str]:
    """Return the source of an activation's integrand and of the law made of it; raises as `integrand_source`."""
    of_variance = f"_INTEGRAND{suffix}.of_variance(_xp)"
    return [
        *integrand_source(activation, suffix, backend),
        f"_of_variance{suffix} = {f'remembered({of_variance})' if backend.exact_numbers else of_variance}",
        f"_LAW{suffix} = _INTEGRAND{suffix}.law(_xp)",
    ]


def integrand_source(activation: Activation, suffix: str, backend: Backend) -> list[str]:
    """Return the source of an activation between its places.

    Raises NoClosedForm where places are not known or a function has no form, ExpectationDiverges where E[phi^2] is
    infinite at a place.
    """
    if activation.parameters:
        name = public_name(activation.parameters[0].name)
        raise InvalidInput(
            f"activation {activation.name} is integrated numerically, for numbers alone: give {name} its value, for"
            f" example by .at({name}=1)"
        )
    function = PiecewiseFunction(activation, {})
    if function.no_kernel:
        raise ExpectationDiverges(function.no_kernel)
    growth = function.growth.get(0 if function.no_metric else 1, 0.0)
    sections = [
        function_source(
            f"{name}{suffix}",
            Program((), {"value": in_floats(between_places(activation.expr, activation.symbol, order))}),
            [activation.symbol],
            (),
            backend,
            f"phi{chr(39) * order} between its places",
        ).removeprefix("@remembered\n")
        for order, name in enumerate(_NAMES)
    ]
    places = tuple((float(place.start), float(place.step)) for place in function.places if not place.removable)
    power = round(6 / (1 - 2 * min(growth, 0.45))) if any(place.singular for place in function.places) else 1
    names = ", ".join(f"{name}{suffix}" for name in _NAMES)
    sections.append(
        f"_INTEGRAND{suffix} = Integrand(\n    {activation.name!r},\n    ({names}),\n    {places!r},\n    {power!r},\n"
        f"    {not function.no_metric},\n    {function.smooth},\n    {function.rate()!r},\n)"
    )
    return sections


def require_slope(activation: Activation) -> None:
    """Raise MetricDoesNotExist where E[phi'^2] is infinite."""
    PiecewiseFunction(activation, {}).require_metric()


def in_floats(expr: Expr) -> Expr:
    """Return a function of z that neither overflows nor turns into 0/0 where the function itself does not.

    Exponentials exp(a z) grow on one side: there it is written with exp(-|a z|), quotients reduced.

    Example:
        >>> in_floats(exp(z) / (1 + exp(z))).args[1]
        1/(1 + exp(-where_nonnegative(z, z, 0)))
    """
    for function, written in _WRITTEN.items():
        expr = expr.replace(function, written)
    expr = expr.replace(sp.Piecewise, _chosen)
    expr = expr.replace(lambda part: isinstance(part, cosh | sinh) and part.has(z), lambda part: part.rewrite(exp))
    expr = expr.replace(_is_wave, lambda part: exp(_rest(part)) * exp(_linear(part) * z))
    rates = {part: _linear(part) for part in expr.atoms(exp) if _is_wave(part) and _linear(part).is_number}
    if not rates:
        return expr
    unit = abs(next(iter(rates.values())))
    if not all((rate / unit).is_Rational for rate in rates.values()):
        return expr
    unit *= gcd_list([rate / unit for rate in rates.values()])
    sides = []
    for sign, part in ((1, where_nonnegative(z, z, 0)), (-1, where_nonnegative(z, 0, z))):
        E = sp.Dummy("E", positive=True)
        known = {old: E ** (-sign * rate / unit) for old, rate in rates.items()}
        side = _reduced(expr.xreplace(known), E, sign * unit * z)
        sides.append(side.xreplace({E: exp(-sign * unit * z)}).xreplace({z: part}))
    return where_nonnegative(z, *sides)


def _is_wave(part: Expr) -> bool:
    """Whether it is exp(a z + b), a != 0: a Gaussian function exp(-z^2 + a z) stays whole."""
    return isinstance(part, exp) and part.has(z) and not _rest(part).has(z)


def _linear(part: Expr) -> Expr:
    """Return a in exp(a z + b)."""
    return part.args[0].expand().coeff(z, 1)


def _rest(part: Expr) -> Expr:
    """Return b in exp(a z + b)."""
    return (part.args[0] - _linear(part) * z).expand()


def _reduced(expr: Expr, E: Symbol, distance: Expr) -> Expr:
    """Return an expression with quotients of polynomials in E reduced, and log of E^k ... as -k `distance` + ..."""
    if not expr.has(E):
        return expr
    inner: dict[Expr, Expr] = {}

    def masked(part: Expr) -> Expr:
        if part == E or not part.has(E, exp):
            return part
        if isinstance(part, sp.Add | Mul) or (part.is_Pow and part.exp.is_Integer):
            return part.func(*map(masked, part.args))
        return inner.setdefault(part, sp.Dummy())

    outside = masked(expr)
    if outside.has(E):
        numerator, denominator = sp.fraction(cancel(together(outside)))
        outside = numerator / denominator
    back = {}
    for part, name in inner.items():
        arguments = [_reduced(argument, E, distance) for argument in part.args]
        new = part.func(*arguments)
        if isinstance(new, log):
            numerator, denominator = sp.fraction(together(new.args[0]))
            if numerator.is_polynomial(E) and denominator.is_polynomial(E):
                powers = [min(n for (n,) in Poly(side, E).monoms()) for side in (numerator, denominator)]
                over, under = (sp.expand(side / E**n) for side, n in zip((numerator, denominator), powers, strict=True))
                new = log(over / under) - (powers[0] - powers[1]) * distance
        back[name] = new
    return outside.xreplace(back)


def _chosen(*pairs: tuple[Expr, sp.Basic]) -> Expr:
    """Return cases as choices by signs."""
    *cases, (result, _) = pairs
    for value, condition in reversed(cases):
        result = _where(condition, value, result)
    return result


def _where(condition: sp.Basic, yes: Expr, no: Expr) -> Expr:
    if condition in (sp.true, sp.false):
        return yes if condition == sp.true else no
    if isinstance(condition, sp.Eq | sp.Ne):  # at single points
        return no if isinstance(condition, sp.Eq) else yes
    if isinstance(condition, sp.Not):
        return _where(condition.args[0], no, yes)
    if isinstance(condition, sp.ITE):
        first, then, otherwise = condition.args
        return _where(first, _where(then, yes, no), _where(otherwise, yes, no))
    if isinstance(condition, sp.And):
        first, *rest = condition.args
        return _where(first, _where(sp.And(*rest), yes, no), no)
    if isinstance(condition, sp.Or):
        first, *rest = condition.args
        return _where(first, yes, _where(sp.Or(*rest), yes, no))
    if not isinstance(condition, sp.core.relational.Relational) or condition.rel_op not in ("<", "<=", ">", ">="):
        raise NoClosedForm(f"the condition {condition} is made of other than <, <=, > and >=")
    difference = condition.lhs - condition.rhs
    return where_nonnegative(difference if condition.rel_op.startswith(">") else -difference, yes, no)
