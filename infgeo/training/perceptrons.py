"""Multilayer perceptrons with named layers, in the paper's parametrisation or in torch's default."""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn

from infgeo.arguments import one_of, positive_integers, seed_integer
from infgeo.errors import InvalidInput
from infgeo.finite.inputs import float_dtype
from infgeo.training.activation_modules import activation_module

PARAMETRISATIONS = ("paper", "scripts", "torch")


def mlp(
    widths: Sequence[int],
    activation: object = "sigmoid",
    parametrisation: str = "paper",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    *,
    parameters: Mapping[str, float] | None = None,
) -> nn.Sequential:
    """Draw a multilayer perceptron x (..., d) -> logits (..., classes) as an nn.Sequential with named layers.

    The layers are "hidden1", "activation1", "hidden2", ..., "readout". With h⁰ = x,

        paper:  zˡ = Wˡ hˡ⁻¹ + bˡ,   hˡ = φ(zˡ)/√nₗ,   W, b ~ N(0, 1): the factor 1/√n is in the forward pass, so that
                "activation1", ... are the feature maps of the paper and the readout is scaled by 1/√n;
        scripts: the same, but behind the first layer zˡ = Wˡ hˡ⁻¹ + bˡ/√nₗ₋₁: the paper's scripts scale biases, too;
        torch:  hˡ = φ(zˡ),   W, b as `nn.Linear` draws them, U(−1/√m, 1/√m) for m inputs.

    Args:
        widths: [d, n₁, ..., n_L, classes], such as [2, 250, 2] or [784, 2000, 10]; at least one hidden layer.
        activation: a name of the catalogue, text such as "tanh(2*z)", or a SymPy expression.
        parametrisation: "paper", "scripts" or "torch".
        seed: 0 <= seed < 2^63; equal seeds give equal weights. No global random state is read or changed.
        dtype: torch.float32 or torch.float64. In the paper's parametrisation both are the same draw, rounded.
        parameters: values of the activation's own symbols, by name.

    Raises:
        InvalidInput: for a value outside its domain; UnknownActivation for an unknown name.

    Source: arXiv 2301.11375, section 3 (the features) and appendix on experiments (the initial values).

    >>> model = mlp([2, 8, 2], "sigmoid")
    >>> [name for name, _ in model.named_children()]
    ['hidden1', 'activation1', 'readout']
    >>> print(f"{model(torch.ones(2)).sum().item():.4f}")
    -0.3871
    """
    sizes = positive_integers(widths, "widths")
    if len(sizes) < 3:
        raise InvalidInput(
            f"widths is {sizes}; pass input dimension, at least one hidden width, and classes: [2, 250, 2]"
        )
    one_of(parametrisation, "parametrisation", PARAMETRISATIONS)
    dtype = float_dtype(torch.float32 if dtype is None else dtype)
    source = torch.Generator().manual_seed(seed_integer(seed, 63))
    paper = parametrisation != "torch"
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (columns, rows) in enumerate(pairwise(sizes[:-1]), start=1):
        layers[f"hidden{index}"] = _linear(columns, rows, paper, source, dtype)
        factor = 1.0 / math.sqrt(rows) if paper else 1.0
        layers[f"activation{index}"] = activation_module(activation, factor, parameters=parameters)
    layers["readout"] = _linear(sizes[-2], sizes[-1], paper, source, dtype)
    if parametrisation == "scripts":
        for name, layer in list(layers.items())[1:]:
            if isinstance(layer, nn.Linear):
                layers[name] = ScaledBias(layer)
    return nn.Sequential(layers)


class ScaledBias(nn.Module):
    """The linear layer h -> W h + b/√n of n inputs."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x + b/√n."""
        return nn.functional.linear(x, self.weight, self.bias * self.weight.shape[1] ** -0.5)


def _linear(columns: int, rows: int, paper: bool, source: torch.Generator, dtype: torch.dtype) -> nn.Linear:
    """Return a linear layer with entries N(0, 1), or U(−1/√m, 1/√m) for m columns as torch draws them."""
    layer = nn.utils.skip_init(nn.Linear, columns, rows, dtype=dtype)  # the constructor draws from the global state
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            if paper:
                parameter.copy_(torch.randn(parameter.shape, generator=source, dtype=torch.float64, device="cpu"))
            else:
                bound = 1.0 / math.sqrt(columns)
                parameter.uniform_(-bound, bound, generator=source)
    return layer
