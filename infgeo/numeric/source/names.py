"""Names of parameters in emitted code: what users call them in signatures, and names that nothing else has inside."""

from __future__ import annotations

import builtins
import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sympy import Expr, Symbol

from infgeo.conventions import d
from infgeo.numeric.source.of_formula import Formula
from infgeo.symbolic.algebra.naming import SCALES
from infgeo.symbolic.networks.layers import RMSNorm

if TYPE_CHECKING:
    from infgeo.symbolic.networks.layers import Layer
    from infgeo.symbolic.networks.network import MLP

# Words that formulas, or the functions around them, use. All their other names are shorter or have a digit or _.
_OURS = {
    *("Delta", "omega", "delta", "near", "far", "special", "like", "self"),
    *("math", "torch", "jax", "jnp", "mpmath", "scalars"),
    *dir(builtins),
}
_WORD = re.compile(r"[A-Za-z]{3,}")
_PREFIX = "own_"


def public_name(name: str) -> str:
    """Return what the user calls the parameter that is called `name` in formulas of `in_code`."""
    return name.removeprefix(_PREFIX)


@lru_cache(maxsize=64)
def in_code(mlp: MLP | Formula) -> Any:
    """Return a network, or formulas, of any dimension whose parameters are called like nothing else in emitted code.

    Example:
        >>> import infgeo
        >>> in_code(infgeo.MLP("alpha*z + c*z**2")).parameters
        (sigma_w, sigma_b, alpha, own_c)
    """
    new = {symbol: _own(symbol) for symbol in mlp.parameters if not _is_free(symbol)}
    if isinstance(mlp, Formula):
        return mlp.renamed(new)
    if not new:
        return mlp if mlp.dimension == d else type(mlp)(list(mlp.layers), input_scale=mlp.input_scale)
    return type(mlp)([_renamed(layer, new) for layer in mlp.layers], input_scale=mlp.input_scale)


def _is_free(symbol: Symbol) -> bool:
    plain = _WORD.fullmatch(symbol.name) and symbol.name not in _OURS and type(symbol) is Symbol
    return symbol in SCALES or bool(plain)


def _own(symbol: Symbol) -> Symbol:
    return Symbol(f"{_PREFIX}{symbol.name}", **symbol._assumptions_orig)


def _renamed(layer: Layer, new: dict[Symbol, Symbol]) -> Layer:
    parts: dict[str, object] = {
        name: part.xreplace(new) for name, part in vars(layer).items() if isinstance(part, Expr)
    }
    if not isinstance(layer, RMSNorm):
        parts["activation"] = replace(layer.activation, expr=layer.activation.expr.xreplace(new))
    return replace(layer, **parts)  # type: ignore[arg-type]
