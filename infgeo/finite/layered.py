"""Networks whose layers differ: numeric layers, and the sampled feature map as a module (its geometry by autodiff)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from infgeo.finite.activation import TorchActivation, torch_activation
from infgeo.finite.samplers import normals


@dataclass(frozen=True)
class NumericLayer:
    """One layer with numbers for its scales; `kind` is "dense", "residual" or "rms_norm". Small, hashable, picklable.

    Arguments:
        kind: what the layer does, as the layers of a network say it.
        activation: (expression, variable, values of its parameters), None for a norm.
        scales: weight_std, bias_std, and for a residual block skip and branch, by name; for a norm epsilon.
    """

    kind: str
    activation: tuple[Any, Any, tuple[tuple[str, float], ...]] | None = None
    scales: tuple[tuple[str, float], ...] = field(default=())

    @property
    def function(self) -> TorchActivation:
        """The activation in torch, compiled once per process."""
        assert self.activation is not None
        return torch_activation(*self.activation)


class LayeredNetwork(torch.nn.Module):
    """A random feature map of general layers, x (..., d) -> Φ(x) (..., n), Φ = h/√n after the last layer.

    `weights` and `biases` hold the arrays of the layers that have any, in order; `readouts` those V of residual blocks.
    """

    def __init__(
        self,
        layers: tuple[NumericLayer, ...],
        weights: list[torch.Tensor],
        biases: list[torch.Tensor],
        readouts: list[torch.Tensor],
    ) -> None:
        """Hold the given arrays as parameters."""
        super().__init__()
        self.layers = layers
        self.weights, self.biases = torch.nn.ParameterList(weights), torch.nn.ParameterList(biases)
        self.readouts = torch.nn.ParameterList(readouts)

    @property
    def depth(self) -> int:
        """Number of layers with weights."""
        return len(self.weights)

    @property
    def width(self) -> int:
        """Number n of units in each layer."""
        return int(self.weights[0].shape[0])

    @property
    def input_dim(self) -> int:
        """Number d of input coordinates."""
        return int(self.weights[0].shape[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return Φ(x) of shape (..., n)."""
        weights, readouts = zip(self.weights, self.biases, strict=True), iter(self.readouts)
        for layer in self.layers:
            scales = dict(layer.scales)
            if layer.kind == "rms_norm":
                x = x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + scales["epsilon"])
                continue
            value = layer.function(torch.nn.functional.linear(x, *next(weights)))
            if layer.kind == "residual":
                value = scales["skip"] * x + scales["branch"] * torch.nn.functional.linear(value, next(readouts))
            x = value
        return x / math.sqrt(self.width)


def draw_layers(
    layers: tuple[NumericLayer, ...],
    fan_in: bool,
    input_dim: int,
    width: int,
    numbers: numpy.random.Generator,
    **where: Any,
) -> LayeredNetwork:
    """Draw one network: weight and bias of each layer, then the readout of a residual block."""
    weights: list[torch.Tensor] = []
    biases: list[torch.Tensor] = []
    readouts: list[torch.Tensor] = []

    def normal(*shape: int, scale: float) -> torch.Tensor:
        return normals(numbers, *shape).mul_(scale).to(**where)

    for layer in layers:
        if layer.kind == "rms_norm":
            continue
        scales, columns = dict(layer.scales), width if weights else input_dim
        by_size = 1.0 / math.sqrt(columns) if weights or fan_in else 1.0
        weights.append(normal(width, columns, scale=scales["weight_std"] * by_size))
        biases.append(normal(width, scale=scales["bias_std"]))
        if layer.kind == "residual":
            readouts.append(normal(width, width, scale=1.0 / math.sqrt(width)))
    return LayeredNetwork(layers, weights, biases, readouts)
