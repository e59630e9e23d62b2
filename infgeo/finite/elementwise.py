"""An activation as a torch module: the catalogue's expression, forward by torch's own function where there is one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from infgeo.finite.torch_activation import TorchActivation

# Name in the catalogue -> torch's function, faster than the compiled expression. The tests hold them to be equal.
# (torch's softplus is not here: it becomes the identity above 20.)
NATIVE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class ElementwiseActivation(nn.Module):
    """The map z -> factor · φ(z), elementwise, with the derivatives of φ at hand.

    `infgeo.finite` recognises it: stacks of nn.Linear and of these take the fast routes of `pullback`.
    """

    def __init__(self, activation: TorchActivation, factor: float = 1.0, native: str = "") -> None:
        """Hold φ, a constant factor, and the name in `NATIVE` under which torch has φ, if it has it."""
        super().__init__()
        self.activation, self.factor, self.native = activation, factor, native

    @property
    def piecewise_linear(self) -> bool:
        """Whether φ'' = 0 away from kinks."""
        return self.activation.piecewise_linear

    def extra_repr(self) -> str:
        """Show φ and the factor."""
        values = "".join(f", {name}={value:g}" for name, value in self.activation.parameters)
        return f"{self.activation.expr}{values}, factor={self.factor:g}"

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return factor · φ(z)."""
        value: torch.Tensor = NATIVE.get(self.native, self.activation)(z)
        return value if self.factor == 1.0 else value * self.factor

    def jet(self, z: torch.Tensor, order: int = 2) -> tuple[torch.Tensor, ...]:
        """Return factor · φ(z), its first derivative and, for order 2, its second."""
        return tuple(part * self.factor for part in self.activation.jet(z, order))

    def products(self, z: torch.Tensor, order: int = 2, valued: bool = False) -> tuple[tuple[float, torch.Tensor], ...]:
        """Return the products of `TorchActivation.products` with the factor in them."""
        found = self.activation.products(z, order, valued)
        first = [(constant * self.factor, value) for constant, value in found[: int(valued)]]
        return (*first, *((constant * self.factor**2, part) for constant, part in found[int(valued) :]))
