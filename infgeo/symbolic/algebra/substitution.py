"""Substitution by name: the values of `.at(d=2, sigma_w=1)` of networks, kernels, metrics and programs."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sympy import Expr, Symbol

from infgeo.arguments import python_name
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.symbolic.algebra.naming import MEANINGS, PUBLIC, renamed


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
