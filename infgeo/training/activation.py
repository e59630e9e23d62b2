"""Activations of trained networks as torch modules, by name, expression or module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite.activation import TorchActivation, torch_activation
from infgeo.finite.inputs import real_number

# Torch's own modules where they are the catalogue's function to the last digit, and faster.
_TORCH: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class ElementwiseActivation(nn.Module):
    """An activation of the catalogue, or any SymPy expression of one symbol, applied elementwise."""

    def __init__(self, function: TorchActivation) -> None:
        """Hold φ."""
        super().__init__()
        self.function = function

    def extra_repr(self) -> str:
        """Show the expression."""
        return str(self.function.expr)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return φ(z)."""
        return self.function(z)


def activation_factory(activation: Any, parameters: Mapping[str, float] | None = None) -> Callable[[], nn.Module]:
    """Return a function that makes a new module of `activation` at each call.

    Args:
        activation: a name of `infgeo.activations`, an expression of `z` as text, one of its entries, a SymPy expression
            of one symbol, a torch module (copied at each call), or a function without arguments that returns one.
        parameters: values of the activation's own free symbols, by name ({"alpha": 0.1} of "leaky_relu").

    Raises:
        InvalidInput: for an unknown name, a missing or unknown parameter, and anything else.

    >>> activation_factory("gelu")(), activation_factory("erf")()
    (GELU(approximate='none'), ElementwiseActivation(erf(sqrt(2)*z/2)))
    """
    given = {str(name): real_number(value, f"parameters[{name!r}]") for name, value in (parameters or {}).items()}
    if isinstance(activation, str) and activation in _TORCH and not given:
        return _TORCH[activation]
    if isinstance(activation, nn.Module):
        return lambda: copy.deepcopy(activation)
    if isinstance(activation, type) and issubclass(activation, nn.Module):
        return activation
    if callable(activation) and not hasattr(activation, "free_symbols") and not hasattr(activation, "expr"):
        return lambda: _made_by(activation)
    import infgeo  # the catalogue belongs to the symbolic side, which is loaded where a name asks for it

    entry = infgeo.MLP(activation).activation
    unknown = sorted(set(given) - {s.name for s in entry.expr.free_symbols if s != entry.symbol})
    if unknown:
        raise InvalidInput(f"parameters name {', '.join(unknown)}, which the activation {entry.expr} does not contain")
    function = torch_activation(entry.expr, entry.symbol, tuple(sorted(given.items())))
    return lambda: ElementwiseActivation(function)


def _made_by(factory: Callable[[], Any]) -> nn.Module:
    module = factory()
    if not isinstance(module, nn.Module):
        raise InvalidInput(
            f"activation() returned {type(module).__name__}; pass a name, a torch module, or a function that makes one"
        )
    return module
