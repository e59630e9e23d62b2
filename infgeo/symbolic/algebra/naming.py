"""Symbols by their names: namesakes of the public symbols, parameters of activations, and `.at(d=2, sigma_w=1)`.

To SymPy `Symbol("s")` is not `Symbol("s", nonnegative=True)`: a metric written with the first would be constant. Every
expression of a user passes `by_name`.
"""

import keyword
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sympy import Expr, Symbol

from infgeo import conventions as conv
from infgeo.arguments import python_name
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.symbolic.algebra.graph import substituted, symbols_of

SCALES = (conv.sigma_w, conv.sigma_b)
PUBLIC = {
    conv.d: "the input dimension",
    conv.r: "|x|",
    conv.s: "|x|^2",
    conv.sigma_w: "the scale of the weights",
    conv.sigma_b: "the scale of the biases",
    conv.s_x: "|x|^2",
    conv.s_y: "|y|^2",
    conv.xy: "x.y",
}
MEANINGS = {symbol.name: meaning for symbol, meaning in PUBLIC.items()}
_COORDINATE = re.compile(r"x_[0-9]+")


def by_name(expr: Expr, known: Iterable[Symbol], owner: str) -> Expr:
    """Return an expression of a user in which namesakes of the `known` public symbols are these symbols.

    Its other symbols are parameters. Raises InvalidInput for a public symbol that is not known here, a name that is no
    name in Python, and two symbols of one name.
    """
    table = {symbol.name: symbol for symbol in known}
    expr = renamed(expr, table)
    normalised = {
        x: Symbol(python_name(x.name), **x._assumptions_orig) for x in symbols_of(expr) if x.name != python_name(x.name)
    }
    expr = substituted(expr, normalised) if normalised else expr
    free = {symbol for symbol in symbols_of(expr) if not isinstance(symbol, conv.Parameter)} - set(table.values())
    for name in sorted(symbol.name for symbol in free):
        if meaning := "a coordinate" if _COORDINATE.fullmatch(name) else MEANINGS.get(name):
            allowed = f"only {', '.join(table)} have a meaning here, and" if table else ""
            raise InvalidInput(
                f"{owner} = {expr} contains {name}, which stands for {meaning}: {allowed} other names are parameters;"
                " rename it, for example to alpha"
            )
        check_name(name, f"{owner} = {expr}")
    check_distinct(free, f"{owner} = {expr}")
    return expr


def renamed(expr: Expr, table: Mapping[str, Symbol]) -> Expr:
    """Return an expression with the symbols of a table in the place of their namesakes."""
    free = (symbol for symbol in symbols_of(expr) if not isinstance(symbol, conv.Parameter))
    namesakes = {symbol: table[symbol.name] for symbol in free if table.get(symbol.name, symbol) != symbol}
    return substituted(expr, namesakes) if namesakes else expr


def check_name(name: str, owner: str) -> None:
    """Raise InvalidInput for the name of a parameter that is no name in Python: its values are passed by name."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InvalidInput(
            f"{owner}: the parameter name {name!r} is no name in Python; rename the parameter, for example to alpha"
        )


def check_distinct(free: Iterable[Symbol], owner: str) -> None:
    """Raise InvalidInput where two symbols look alike, but are two to SymPy: their assumptions differ."""
    seen: dict[str, Symbol] = {}
    for symbol in sorted(free, key=str):
        other = seen.setdefault(str(symbol), symbol)
        if other != symbol:
            raise InvalidInput(
                f"{owner} contains two symbols called {symbol} whose assumptions differ ({_assumed(other)} and"
                f" {_assumed(symbol)}): make one symbol and use it throughout, or rename one"
            )


def _assumed(symbol: Symbol) -> str:
    return ", ".join(f"{key}={value}" for key, value in symbol._assumptions_orig.items()) or "none"


def own_parameter(symbol: Symbol, owner: str) -> Symbol:
    """Return a parameter of an activation as it stands in formulas, under the name that Python gives it.

    Namesakes of public symbols become `conventions.Parameter`, so that
    they are printed and kept apart; only the scales, which an activation does not know, are refused.
    """
    name = python_name(symbol.name)
    check_name(name, owner)
    if symbol.is_commutative and (symbol.is_real is False or symbol.is_nonpositive):
        raise InvalidInput(
            f"{owner} contains {name}, which is not real, or not positive: make it with Symbol({name!r}, real=True), or"
            f" write -{name} with Symbol({name!r}, positive=True)"
        )
    if name in {scale.name for scale in SCALES}:
        raise InvalidInput(
            f"{owner} contains {name}, which stands for {MEANINGS[name]}: rename the parameter, for example to"
            " alpha; the scales are weight_std and bias_std of the network"
        )
    clashes = name in MEANINGS or name == conv.z.name or _COORDINATE.fullmatch(name)
    kind = conv.Parameter if clashes else type(symbol)
    return symbol if (kind, name) == (type(symbol), symbol.name) else kind(name, **symbol._assumptions_orig)


def assigned(
    values: Mapping[Any, Any] | None,
    named: Mapping[str, object],
    known: Iterable[Symbol],
    owner: str,
    variables: Mapping[Symbol, str] = MappingProxyType({}),
) -> dict[Symbol, Expr]:
    """Return symbol -> exact value of a substitution `.at(values, **named)`, checked.

    Args:
        values: symbols, or names, -> values.
        named: names -> values.
        known: the symbols that there are.
        owner: what is substituted into, for errors.
        variables: symbols by which the owner is differentiated, which stay, -> where their values can be put instead.
    """
    symbols = [*known, *variables]
    if values is not None and not isinstance(values, Mapping):
        raise InvalidInput(f"{values!r} must map symbols to values: .at({{infgeo.symbols.d: 2}}), or .at(d=2)")
    result: dict[Symbol, Expr] = {}
    for key, value in [*(values or {}).items(), *named.items()]:
        symbol = called(key, symbols, owner, variables)
        if symbol in result:
            raise InvalidInput(f"{symbol} is given twice, as {result[symbol]} and {value!r}: give it once")
        result[symbol] = _valid(symbol, value)
        for variable in sorted({symbol, *result[symbol].free_symbols} & set(variables), key=str):
            raise InvalidInput(
                f"{symbol} = {value}: {owner} is a function of {variable}, which stays; {variables[variable]}"
            )
    return result


def called(key: object, symbols: list[Symbol], owner: str, variables: Iterable[Symbol] = ()) -> Symbol:
    """Return the symbol that is meant by itself, by a namesake or by its name."""
    if isinstance(key, Symbol) and key in symbols:
        return key
    if not isinstance(key, (str, Symbol)):
        raise InvalidInput(f"{key!r} is neither a symbol nor the name of one: write .at(d=2)")
    name = python_name(key if isinstance(key, str) else key.name)
    found = [symbol for symbol in symbols if symbol.name == name]
    if len(found) > 1:
        raise InvalidInput(
            f"{name} is ambiguous: it is {MEANINGS.get(name, 'a symbol')}, and a parameter of the activation; pass"
            f" the symbol, .at({{infgeo.symbols.{name}: ...}}), or that of mlp.activation.parameters"
        )
    if not found:
        names = ", ".join(sorted({symbol.name for symbol in set(symbols) - set(variables)})) or "no others"
        raise InvalidInput(f"{owner} does not contain {name}: it has {names}")
    return found[0]


def _valid(symbol: Symbol, value: object) -> Expr:
    """Return the value of a symbol, exact, if it may have it."""
    result = renamed(exact(value, symbol.name), {public.name: public for public in PUBLIC})
    kinds = (
        ("real and finite", True, result.is_real if result.free_symbols else result.is_real and result.is_finite),
        ("an integer", symbol.is_integer, result.is_integer),
        ("> 0", symbol.is_positive, result.is_positive),
        (">= 0", symbol.is_nonnegative and not symbol.is_positive, result.is_nonnegative),
    )
    for what, required, holds in kinds:
        if required and (holds is False or (holds is None and result.is_number)):
            raise InvalidInput(f"{symbol} = {value} must be {what}")
    return result
