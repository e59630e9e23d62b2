"""Finite-width random networks: the description that is sampled from, and the sampled feature map as a module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch

from infgeo import conventions
from infgeo.arguments import checked_depth, positive_integer, real_number, seed_integer, values_by_name
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.finite.activation import TorchActivation, torch_activation
from infgeo.finite.inputs import checked_device, float_dtype
from infgeo.finite.layered import LayeredNetwork, NumericLayer, draw_layers
from infgeo.finite.samplers import generator, normals


@dataclass(frozen=True)
class NetworkSpecification:
    """Everything numbers are drawn from: an activation, a depth and numeric scales. Small, hashable, picklable."""

    expr: Any
    symbol: Any
    parameters: tuple[tuple[str, float], ...]
    depth: int
    weight_std: float
    bias_std: float
    fan_in: bool = False
    layers: tuple[NumericLayer, ...] = ()  # where they differ; the fields before are then those of the first

    @property
    def piecewise_linear(self) -> bool:
        """Whether the network is a piecewise linear function of its input: flat off its kinks."""
        if not self.layers:
            return self.activation.piecewise_linear
        return all(layer.kind != "rms_norm" and layer.function.piecewise_linear for layer in self.layers)

    @property
    def activation(self) -> TorchActivation:
        """The activation in torch, compiled once per process."""
        return torch_activation(self.expr, self.symbol, self.parameters)

    def first_scale(self, input_dim: int) -> float:
        """Return the standard deviation of the weights of the first layer."""
        return self.weight_std / math.sqrt(input_dim) if self.fan_in else self.weight_std


def specify(
    mlp: Any,
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] | None = None,
) -> NetworkSpecification:
    """Return the numeric description of `mlp`, with a value for every symbol that it leaves open.

    A scale that `mlp` leaves symbolic takes `weight_std` / `bias_std`, by default 1 (the values of
    `infgeo.conventions`); other free symbols take `parameters`. Raises InvalidInput for a missing, unknown,
    conflicting or invalid value.
    """
    for attribute in ("activation", "depth", "weight_std", "bias_std"):
        if not hasattr(mlp, "layers") and not hasattr(mlp, attribute):
            raise InvalidInput(f"mlp is {mlp!r}, which has no attribute {attribute!r}; pass an infgeo.MLP")
    layers = getattr(mlp, "layers", None)
    if layers and len(set(layers)) > 1:
        return _specify_layers(layers, getattr(mlp, "input_scale", None), weight_std, bias_std, parameters)
    expr, symbol = exact(mlp.activation.expr, "mlp.activation.expr"), mlp.activation.symbol
    given = values_by_name(parameters)
    free = {s.name for s in expr.free_symbols if s != symbol}
    scales = (exact(mlp.weight_std, "mlp.weight_std"), exact(mlp.bias_std, "mlp.bias_std"))
    known = free | {s.name for scale in scales for s in scale.free_symbols}
    if unknown := sorted(set(given) - known):
        raise InvalidInput(
            f"parameters name {', '.join(unknown)}, which the network does not contain; it has "
            f"{', '.join(sorted(known)) or 'no free symbols'}"
        )
    if missing := sorted(free - set(given)):
        raise InvalidInput(
            f"activation {expr} has parameters without a value: {', '.join(missing)}; "
            f"pass parameters={{{', '.join(f'{m!r}: ...' for m in missing)}}}"
        )
    scaling = getattr(mlp, "input_scale", None)
    if scaling not in (None, "fan_in"):
        raise InvalidInput(f"mlp.input_scale is {scaling!r}; finite networks know None and 'fan_in'")
    return NetworkSpecification(
        expr=expr,
        symbol=symbol,
        parameters=tuple(sorted((k, v) for k, v in given.items() if k in free)),
        depth=checked_depth(mlp.depth, "mlp.depth"),
        weight_std=_scale(scales[0], conventions.sigma_w, "weight_std", weight_std, given),
        bias_std=_scale(scales[1], conventions.sigma_b, "bias_std", bias_std, given),
        fan_in=scaling == "fan_in",
    )


def _specify_layers(
    layers: Any,
    scaling: str | None,
    weight_std: float | None,
    bias_std: float | None,
    parameters: Mapping[str, float] | None,
) -> NetworkSpecification:
    """Return the numeric description of layers that differ; arguments as for `specify`."""
    given = values_by_name(parameters)
    free: set[str] = set()
    for layer in layers:
        if layer.kind not in _SCALES:
            raise InvalidInput(f"{layer} is not simulated yet: networks are sampled of Dense, Residual and RMSNorm")
        free |= {s.name for name in _SCALES[layer.kind] for s in getattr(layer, name).free_symbols}
        if layer.kind != "rms_norm":
            free |= {s.name for s in layer.activation.expr.free_symbols if s != layer.activation.symbol}
    values = dict(given)
    for symbol, name, value, default in (
        (conventions.sigma_w, "weight_std", weight_std, conventions.DEFAULT_WEIGHT_STD),
        (conventions.sigma_b, "bias_std", bias_std, conventions.DEFAULT_BIAS_STD),
    ):
        if value is not None and symbol.name not in free:
            raise InvalidInput(f"{name}={value!r} given, but the layers fix it; drop the argument")
        strict = name == "weight_std"
        values.setdefault(
            symbol.name, real_number(default if value is None else value, name, minimum=0.0, strict=strict)
        )
    if unknown := sorted(set(given) - free):
        raise InvalidInput(f"parameters name {', '.join(unknown)}; the layers have {', '.join(sorted(free)) or 'none'}")
    if missing := sorted(free - set(values)):
        raise InvalidInput(f"the layers have parameters without a value: {', '.join(missing)}; pass them in parameters")
    numeric = []
    for layer in layers:
        scales = []
        for name in _SCALES[layer.kind]:
            expr = exact(getattr(layer, name), name)
            number = expr.subs({s: sympy.Rational(values[s.name]) for s in expr.free_symbols})
            scales.append((name, real_number(number, f"{name} = {expr}", minimum=0.0, strict=name == "weight_std")))
        activation = None
        if layer.kind != "rms_norm":
            names = sorted(s.name for s in layer.activation.expr.free_symbols if s != layer.activation.symbol)
            own = tuple((name, values[name]) for name in names)
            activation = (layer.activation.expr, layer.activation.symbol, own)
        numeric.append(NumericLayer(layer.kind, activation, tuple(scales)))
    first = next(layer for layer in numeric if layer.activation is not None)
    assert first.activation is not None
    return NetworkSpecification(
        *first.activation,
        depth=sum(layer.kind != "rms_norm" for layer in numeric),
        weight_std=dict(first.scales)["weight_std"],
        bias_std=dict(first.scales)["bias_std"],
        fan_in=scaling == "fan_in",
        layers=tuple(numeric),
    )


_SCALES = {
    "dense": ("weight_std", "bias_std"),
    "residual": ("weight_std", "bias_std", "skip", "branch"),
    "rms_norm": ("epsilon",),
}


def _scale(expr: Any, symbol: Any, name: str, value: float | None, parameters: Mapping[str, float]) -> float:
    """Return the number that the scale `expr` of the network stands for."""
    strict = name == "weight_std"
    if value is not None:
        value = real_number(value, name, minimum=0.0, strict=strict)
    if not expr.free_symbols:
        number = real_number(expr, f"mlp.{name}", minimum=0.0, strict=strict)
        if value is not None and value != number:
            raise InvalidInput(f"{name}={value!r} given, but the network fixes it to {expr}; drop the argument")
        return number
    if value is not None and expr.is_Symbol:
        return value
    default = conventions.DEFAULT_WEIGHT_STD if strict else conventions.DEFAULT_BIAS_STD
    values = {symbol.name: default if value is None else value, **parameters}
    if missing := sorted({s.name for s in expr.free_symbols} - set(values)):
        raise InvalidInput(f"{name} = {expr} needs a value for {', '.join(missing)}; pass it in parameters")
    number = expr.subs({s: sympy.Rational(values[s.name]) for s in expr.free_symbols})
    return real_number(number, f"{name} = {expr}", minimum=0.0, strict=strict)


class SampledNetwork(torch.nn.Module):
    """A fully connected random feature map, x (..., d) -> Φ(x) (..., n), Φ = φ(z_L)/√n.

    `weights[l]` has shape (n, d) at the first layer and (n, n) after it, `biases[l]` has shape (n,).
    """

    def __init__(self, activation: TorchActivation, weights: list[torch.Tensor], biases: list[torch.Tensor]) -> None:
        """Hold the given arrays as parameters."""
        super().__init__()
        self.activation = activation
        self.weights = torch.nn.ParameterList(weights)
        self.biases = torch.nn.ParameterList(biases)

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.weights)

    @property
    def width(self) -> int:
        """Number n of units in each layer."""
        return int(self.weights[0].shape[0])

    @property
    def input_dim(self) -> int:
        """Number d of input coordinates."""
        return int(self.weights[0].shape[1])

    def extra_repr(self) -> str:
        """Show the activation and the sizes."""
        return f"{self.activation}, input_dim={self.input_dim}, width={self.width}, depth={self.depth}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return Φ(x) of shape (..., n)."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = self.activation(torch.nn.functional.linear(x, weight, bias))
        return x / math.sqrt(self.width)


def draw(
    specification: NetworkSpecification,
    input_dim: int,
    width: int,
    seed: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> SampledNetwork | LayeredNetwork:
    """Draw one network, always in float64 on the CPU, so that dtype and device do not change the draw."""
    numbers = generator(seed)
    if specification.layers:
        where = {"device": device, "dtype": dtype}
        return draw_layers(specification.layers, specification.fan_in, input_dim, width, numbers, **where)
    weights, biases = [], []
    for layer in range(specification.depth):
        columns = input_dim if layer == 0 else width
        scale = specification.weight_std
        if layer > 0 or specification.fan_in:
            scale /= math.sqrt(columns)
        weight = normals(numbers, width, columns).mul_(scale)
        bias = normals(numbers, width).mul_(specification.bias_std)
        weights.append(weight.to(device=device, dtype=dtype))
        biases.append(bias.to(device=device, dtype=dtype))
    return SampledNetwork(specification.activation, weights, biases)


def sample_network(
    mlp: Any,
    input_dim: int,
    width: int,
    seed: int,
    *,
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> SampledNetwork | LayeredNetwork:
    """Draw a random network of finite width as a torch module x (..., d) -> Φ(x) (..., n).

    z₁ = W₁x + b₁ with W₁ ~ N(0, σ_w²) (no 1/√d unless mlp.input_scale is "fan_in"), z_{l+1} = W φ(z_l) + b with
    W ~ N(0, σ_w²/n), every b ~ N(0, σ_b²), and Φ = φ(z_L)/√n. Networks whose layers differ, residual blocks and norms
    follow mlp.layers (see `infgeo.layers`).

    Args:
        mlp: an `infgeo.MLP`, or any object with `activation.expr`, `activation.symbol`, `depth`, `weight_std` and
            `bias_std`.
        input_dim: d >= 1.
        width: n >= 1, of every hidden layer.
        seed: 0 <= seed < 2^32. No global random state is read or changed.
        weight_std: σ_w where `mlp` leaves it symbolic; default 1.
        bias_std: σ_b where `mlp` leaves it symbolic; default 1.
        parameters: values of the activation's own free symbols, by name.
        dtype: torch.float64 or torch.float32; the same draw, rounded.
        device: where the module lives; the same draw on every device.

    Raises:
        InvalidInput: for a value outside its domain, or a symbol without a value.

    Source: arXiv 2301.11375, section 3.
    """
    return draw(
        specify(mlp, weight_std, bias_std, parameters),
        positive_integer(input_dim, "input_dim"),
        positive_integer(width, "width"),
        seed_integer(seed, 32),
        float_dtype(dtype),
        checked_device(device),
    )
