"""Finite-width random networks: the numbers that they are drawn from, and the sampled feature map as a module."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import sympy
import torch

from infgeo.arguments import checked_depth, items, positive_integer, real_number, seed_integer, shown, values_by_name
from infgeo.conventions import DEFAULT_BIAS_STD, DEFAULT_WEIGHT_STD
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.finite.inputs import checked_device, float_dtype
from infgeo.finite.samplers import check_sampler, first_layer, generator, normals
from infgeo.finite.torch_activation import TorchActivation, torch_activation, without_values

# Kind of layer -> the names of its scales.
_SCALES = {
    "dense": ("weight_std", "bias_std"),
    "residual": ("weight_std", "bias_std", "skip", "branch"),
    "rms_norm": ("epsilon",),
    "layer_norm": ("epsilon",),
}


@dataclass(frozen=True)
class NumericLayer:
    """One layer with numbers for its scales; `kind` is one of `_SCALES`. Small, hashable, picklable.

    Args:
        kind: what the layer does, as the layers of a network say it.
        activation: (expression, variable, values of its parameters), None for a norm.
        scales: weight_std, bias_std, and for a residual block skip and branch, by name; for a norm epsilon.
    """

    kind: str
    activation: tuple[Any, Any, tuple[tuple[str, float], ...]] | None
    scales: tuple[tuple[str, float], ...]

    @property
    def function(self) -> TorchActivation:
        """The activation in torch, compiled once per process."""
        assert self.activation is not None
        return torch_activation(*self.activation)


@dataclass(frozen=True)
class NetworkSpecification:
    """Everything numbers are drawn from: the layers, and whether the input's weights are divided by √d.

    With `coordinate_scales` σ_i they are drawn with weight_std σ_i in coordinate i.
    """

    layers: tuple[NumericLayer, ...]
    fan_in: bool = False
    coordinate_scales: tuple[float, ...] | None = None

    @property
    def first(self) -> NumericLayer:
        """The first layer with weights."""
        return next(layer for layer in self.layers if layer.activation is not None)

    @property
    def weight_std(self) -> float:
        """The scale of the weights of the first layer, before a division by √d."""
        return dict(self.first.scales)["weight_std"]

    @property
    def bias_std(self) -> float:
        """The scale of the biases of the first layer."""
        return dict(self.first.scales)["bias_std"]

    @property
    def parameters(self) -> tuple[tuple[str, float], ...]:
        """The values of the parameters of the first layer's activation."""
        assert self.first.activation is not None
        return self.first.activation[2]

    @property
    def depth(self) -> int:
        """Number of layers with weights."""
        return sum(layer.activation is not None for layer in self.layers)

    @property
    def is_one_layer(self) -> bool:
        """Whether the network is one dense layer: features are then independent."""
        return len(self.layers) == 1 and self.first.kind == "dense"

    @property
    def has_equal_layers(self) -> bool:
        """Whether one activation and its scales describe the network."""
        return len(set(self.layers)) == 1 and self.first.kind == "dense"

    @property
    def piecewise_linear(self) -> bool:
        """Whether the network is a piecewise linear function of its input: flat off its kinks."""
        return are_piecewise_linear(self.layers)

    def first_scale(self, input_dim: int) -> Any:
        """Return the standard deviation of the weights of the first layer, or those of each coordinate as a tensor."""
        scale = self.weight_std / math.sqrt(input_dim) if self.fan_in else self.weight_std
        if self.coordinate_scales is None:
            return scale
        if len(self.coordinate_scales) != input_dim:
            raise InvalidInput(
                f"weight_std has {len(self.coordinate_scales)} values, and points have {input_dim} coordinates; pass"
                " one for each, or a number"
            )
        return scale * torch.tensor(self.coordinate_scales, dtype=torch.float64, device="cpu")


def are_piecewise_linear(layers: tuple[NumericLayer, ...]) -> bool:
    """Return whether layers are linear between kinks."""
    return all(layer.activation is not None and layer.function.piecewise_linear for layer in layers)


def specify(
    mlp: Any,
    weight_std: float | Sequence[float] | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] | None = None,
) -> NetworkSpecification:
    """Return the numeric description of `mlp`, with a value for every symbol that it leaves open.

    A scale that `mlp` leaves symbolic takes `weight_std` / `bias_std`, by default those of `infgeo.conventions`; other
    free symbols take `parameters`. Several values of `weight_std` are those of the coordinates in a first dense layer
    that leaves it open; other layers that do have 1.
    """
    if isinstance(weight_std, list | tuple) or getattr(weight_std, "ndim", 0) > 0:
        scales = [real_number(v, f"weight_std[{i}]", 0.0, True) for i, v in enumerate(items(weight_std, "weight_std"))]
        first = _layers_of(mlp)[0]
        if first.kind != "dense" or str(first.weight_std) != "sigma_w":
            raise InvalidInput(
                f"weight_std is {shown(weight_std)}; pass a number: scales of coordinates are for a first dense layer"
                " with the weight_std sigma_w"
            )
        return replace(specify(mlp, 1.0, bias_std, parameters), coordinate_scales=tuple(scales))
    layers, given = _layers_of(mlp), values_by_name(parameters)
    exprs = [(name, getattr(layer, name)) for layer in layers for name in _SCALES[layer.kind]]
    open_scales = {symbol.name for _, expr in exprs for symbol in expr.free_symbols}
    own = {name for layer in layers for name in _parameters_of(layer)}
    if unknown := sorted(set(given) - open_scales - own):
        raise InvalidInput(
            f"parameters name {', '.join(unknown)}, which the network does not contain; it has "
            f"{', '.join(sorted(open_scales | own)) or 'no free symbols'}"
        )
    if missing := sorted(own - set(given)):
        expressions = dict.fromkeys(str(layer.activation.expr) for layer in layers if _parameters_of(layer))
        raise without_values(", ".join(expressions), missing)
    scaling = getattr(mlp, "input_scale", None)
    if scaling not in (None, "fan_in"):
        raise InvalidInput(f"mlp.input_scale is {scaling!r}; finite networks know None and 'fan_in'")
    chosen: dict[str, Any] = {"weight_std": weight_std, "bias_std": bias_std}
    left_open = {name for name, expr in exprs if expr.free_symbols}
    numeric = tuple(_numeric(layer, chosen, left_open, given) for layer in layers)
    return NetworkSpecification(numeric, scaling == "fan_in")


def _layers_of(mlp: Any) -> tuple[Any, ...]:
    """Return the layers of `mlp`, or those that activation, depth and scales stand for."""
    if getattr(mlp, "layers", None):
        if unknown := [layer for layer in mlp.layers if layer.kind not in _SCALES]:
            raise InvalidInput(f"{unknown[0]} is not simulated; networks are sampled of {', '.join(_SCALES)} layers")
        return tuple(mlp.layers)
    for attribute in ("activation", "depth", "weight_std", "bias_std"):
        if not hasattr(mlp, attribute):
            raise InvalidInput(f"mlp is {mlp!r}, which has no attribute {attribute!r}; pass an infgeo.MLP")
    activation = SimpleNamespace(expr=exact(mlp.activation.expr, "mlp.activation.expr"), symbol=mlp.activation.symbol)
    scales = {name: exact(getattr(mlp, name), f"mlp.{name}") for name in ("weight_std", "bias_std")}
    one = SimpleNamespace(kind="dense", activation=activation, **scales)
    return (one,) * checked_depth(mlp.depth, "mlp.depth")


def _parameters_of(layer: Any) -> list[str]:
    if not hasattr(layer, "activation"):
        return []
    return sorted(s.name for s in layer.activation.expr.free_symbols if s != layer.activation.symbol)


def _numeric(
    layer: Any, chosen: Mapping[str, float | None], left_open: set[str], given: Mapping[str, float]
) -> NumericLayer:
    """Return a layer with numbers; a chosen scale is for the layers that leave it open, if there are any."""

    def number(name: str) -> float:
        expr = getattr(layer, name)
        is_chosen = bool(expr.free_symbols) or name not in left_open
        return _scale(expr, name, chosen.get(name) if is_chosen else None, given)

    scales = tuple((name, number(name)) for name in _SCALES[layer.kind])
    if not hasattr(layer, "activation"):
        return NumericLayer(layer.kind, None, scales)
    own = tuple((name, given[name]) for name in _parameters_of(layer))
    return NumericLayer(layer.kind, (layer.activation.expr, layer.activation.symbol, own), scales)


def _scale(expr: Any, name: str, value: float | None, parameters: Mapping[str, float]) -> float:
    strict = name == "weight_std"
    if value is not None:
        value = real_number(value, name, minimum=0.0, strict=strict)
    if not expr.free_symbols:
        number = real_number(expr, f"mlp.{name}", minimum=0.0, strict=strict)
        if value is not None and value != number:
            raise InvalidInput(f"{name}={value!r} given, but the network fixes it to {expr}; drop the argument")
        return number
    symbol = {"weight_std": "sigma_w", "bias_std": "sigma_b"}.get(name, "")
    if value is not None and expr.is_Symbol and (expr.name == symbol or expr.name not in parameters):
        return value
    defaults = {"sigma_w": DEFAULT_WEIGHT_STD, "sigma_b": DEFAULT_BIAS_STD}
    values = defaults | ({symbol: value} if value is not None else {}) | dict(parameters)
    if missing := sorted({s.name for s in expr.free_symbols} - set(values)):
        raise InvalidInput(f"{name} = {expr} needs a value for {', '.join(missing)}; pass it in parameters")
    number = expr.subs({s: sympy.Rational(values[s.name]) for s in expr.free_symbols})
    return real_number(number, f"{name} = {expr}", minimum=0.0, strict=strict)


class Sized:
    """The sizes of what has `weights`, arrays of shape (rows, columns) of its layers in order."""

    weights: Any

    @property
    def depth(self) -> int:
        """Number of layers with weights."""
        return len(self.weights)

    @property
    def width(self) -> int:
        """Number n of units in the last layer."""
        return int(self.weights[-1].shape[0])

    @property
    def input_dim(self) -> int:
        """Number d of input coordinates."""
        return int(self.weights[0].shape[1])


class SampledNetwork(Sized, torch.nn.Module):
    """A random feature map, x (..., d) -> Φ(x) (..., n), Φ = h/√n with h the output of the last layer.

    `weights` and `biases` hold the arrays of the layers that have any, in order: W of shape (n, d) at the first and
    (n, n) after it, b of shape (n,). `readouts` holds those V (n, n) of residual blocks.
    """

    def __init__(
        self,
        layers: tuple[NumericLayer, ...],
        weights: list[torch.Tensor],
        biases: list[torch.Tensor],
        readouts: list[torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.weights, self.biases = torch.nn.ParameterList(weights), torch.nn.ParameterList(biases)
        self.readouts = torch.nn.ParameterList(readouts or [])

    def extra_repr(self) -> str:
        """Show the activations and the sizes."""
        names = dict.fromkeys(layer.kind if layer.activation is None else str(layer.function) for layer in self.layers)
        return f"{', '.join(names)}, input_dim={self.input_dim}, width={self.width}, depth={self.depth}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return Φ(x) of shape (..., n)."""
        weights, readouts = zip(self.weights, self.biases, strict=True), iter(self.readouts)
        for layer in self.layers:
            scales = dict(layer.scales)
            if layer.activation is None:
                x = x - x.mean(dim=-1, keepdim=True) if layer.kind == "layer_norm" else x
                x = x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + scales["epsilon"])
                continue
            value = layer.function(torch.nn.functional.linear(x, *next(weights)))
            if layer.kind == "residual":
                value = scales["skip"] * x + scales["branch"] * torch.nn.functional.linear(value, next(readouts))
            x = value
        return x / math.sqrt(self.width)


def draw(
    specification: NetworkSpecification,
    input_dim: int,
    width: int,
    seed: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    sampler: str = "iid",
) -> SampledNetwork:
    """Draw one network, in float64 on the CPU, so that dtype and device do not change the draw."""
    numbers = generator(seed)
    weights: list[torch.Tensor] = []
    biases: list[torch.Tensor] = []
    readouts: list[torch.Tensor] = []

    def normal(*shape: int, scale: Any) -> torch.Tensor:
        return normals(numbers, *shape).mul_(scale).to(device=device, dtype=dtype)

    for layer in specification.layers:
        if layer.activation is None:
            continue
        scales, columns = dict(layer.scales), width if weights else input_dim
        scale = scales["weight_std"] / math.sqrt(columns) if weights else specification.first_scale(input_dim)
        if weights or sampler == "iid":
            weights.append(normal(width, columns, scale=scale))
            biases.append(normal(width, scale=scales["bias_std"]))
        else:
            units = first_layer(sampler, seed, width, input_dim, scales["bias_std"] > 0, torch.float64)
            w, b = (torch.cat(parts) for parts in zip(*units, strict=True))
            weights.append((w * scale).to(device=device, dtype=dtype))
            biases.append((b * scales["bias_std"]).to(device=device, dtype=dtype))
        if layer.kind == "residual":
            readouts.append(normal(width, width, scale=1.0 / math.sqrt(width)))
    return SampledNetwork(specification.layers, weights, biases, readouts)


def sample_network(
    mlp: Any,
    input_dim: int,
    width: int,
    seed: int,
    *,
    weight_std: float | Sequence[float] | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    sampler: str = "iid",
) -> SampledNetwork:
    """Draw a random network of finite width as a torch module x (..., d) -> Φ(x) (..., n).

    z₁ = W₁x + b₁ with W₁ ~ N(0, σ_w²) (no 1/√d unless mlp.input_scale is "fan_in"), z_{l+1} = W φ(z_l) + b with
    W ~ N(0, σ_w²/n), every b ~ N(0, σ_b²), and Φ = φ(z_L)/√n. Residual blocks and norms follow mlp.layers (see
    `infgeo.layers`).

    Args:
        mlp: an `infgeo.MLP`, or any object with `activation.expr`, `activation.symbol`, `depth`, `weight_std` and
            `bias_std`.
        input_dim: d >= 1.
        width: n >= 1, of every hidden layer.
        seed: 0 <= seed < 2^32. No global random state is read or changed.
        weight_std, bias_std: σ_w and σ_b where `mlp` leaves them symbolic; default 1. Several σ_w, one for each
            coordinate, are those of the first layer; other layers that leave σ_w open then have 1.
        parameters: values of the activation's own free symbols, by name.
        dtype: torch.float64 or torch.float32; the same draw, rounded.
        device: where the module lives; the same draw on every device.
        sampler: how the units of the first layer are drawn, see `infgeo.finite.samplers`: "iid", "antithetic",
            "orthogonal" or "sobol".

    Raises:
        InvalidInput: for a value outside its domain, or a symbol without a value.

    Source: arXiv 2301.11375, section 3.
    """
    check_sampler(sampler, positive_integer(input_dim, "input_dim"))
    return draw(
        specify(mlp, weight_std, bias_std, parameters),
        positive_integer(input_dim, "input_dim"),
        positive_integer(width, "width"),
        seed_integer(seed, 32),
        float_dtype(dtype),
        checked_device(device),
        sampler,
    )
