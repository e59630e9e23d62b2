"""A module as a function f(w, x) of its trained parameters and of points, and its derivatives by the parameters.

For a linear layer z = W h + b they are two factors: the outer product δ hᵀ with δ = ∂f/∂z, so that the share of W and b
in the tangent kernel of two points is (δ·δ')(h·h' + 1), without an array as large as W at each point (Novak,
Sohl-Dickstein & Schoenholz 2022, section 3.4).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from infgeo.arguments import instance, one_of, positive_integer, scalar
from infgeo.errors import InvalidInput
from infgeo.finite.differentiate import contradiction, load_forward_mode
from infgeo.finite.evaluation import derivable
from infgeo.finite.feature_map import FeatureMap, Source, checked_features
from infgeo.finite.inputs import as_points, float_dtype, points_for
from infgeo.finite.point_blocks import is_out_of_memory
from infgeo.finite.preflight import examine

Weights = dict[str, torch.Tensor]
Function = Callable[[Weights, torch.Tensor], torch.Tensor]  # (w, x (B, d)) -> (B, C)
Way = Callable[..., Weights]  # (f, w, x (B, d), r (R, C)) -> gradients (B, R, *shape) by name
_PROBED = 2  # points at which derivatives are held against differences


@contextmanager
def ready(source: Source) -> Iterator[Function]:
    """Give f(w, x), (B, d) -> (B, C); it may be called, also by torch's transforms, until the block is left."""
    load_forward_mode()
    features = source.feature_map
    with derivable(features.features, features.freeze), features.caller() as call:
        yield lambda w, x: features.flattened(lambda points: call(points, w))(x)


def of_parameters(
    module: Any,
    x: ArrayLike,
    name: str,
    layer: str | None,
    input_shape: Sequence[int] | None,
    freeze: bool,
    dtype: torch.dtype | None,
) -> tuple[Source, Weights, torch.Tensor]:
    """Return a checked module, its parameters that require a gradient, by name, and points as it takes them."""
    dtype = None if dtype is None else float_dtype(dtype)
    names = trained(module)
    checked_features(module, layer, freeze, dtype)
    points, shape = points_for(module, x, input_shape, dtype, name=name)
    with torch.inference_mode(False):
        given = dict(module.named_parameters())
        weights = {key: given[key].detach().clone().to(dtype or given[key].dtype) for key in names}
    feature_map = FeatureMap(module, shape, layer, freeze, dtype=dtype, shape_given=input_shape is not None)
    return examine(feature_map, points.reshape(-1, math.prod(shape))), weights, points


def trained(module: Any) -> tuple[str, ...]:
    """Return the names of the parameters that require a gradient, or raise InvalidInput where there are none."""
    instance(module, "module", nn.Module, "a torch module")
    if isinstance(module, torch.jit.ScriptModule):
        raise InvalidInput("module is a ScriptModule, whose parameters cannot be varied; pass the module it is made of")
    names = tuple(name for name, p in module.named_parameters() if p.requires_grad)
    if not names:
        raise InvalidInput(
            "module has no parameter that requires a gradient, and so no tangent kernel; call module.requires_grad_()"
        )
    return names


def cotangents(output: Any, values: torch.Tensor, names: Sequence[str]) -> tuple[torch.Tensor, float]:
    """Return sums (R, C) of the outputs, of which `values` (B, C) are some, and what their kernels are divided by."""
    width = values.shape[1]
    if isinstance(output, str):
        one_of(output, "output", names)
        return values.new_ones(width).diag(), float(width if output == "mean" else 1)
    if scalar(output) is not None:
        return values.new_ones(width).diag()[[positive_integer(output, "output", 0, maximum=width - 1)]], 1.0
    weights = as_points(output, "output")
    if weights.shape != (width,):
        raise InvalidInput(
            f"output has shape {tuple(weights.shape)}; pass {', '.join(map(repr, names))}, the index of one of the "
            f"{width} outputs, or {width} weights of a sum of them"
        )
    return weights.to(values)[None], 1.0


def gradients_at(f: Function, w: Weights, point: torch.Tensor, r: torch.Tensor) -> Weights:
    """Return the gradients by w of r f at a point (d,), for each r of (R, C): arrays (R, *shape) by name."""
    back = torch.func.vjp(lambda weights: f(weights, point[None])[0], w)[1]
    return torch.func.vmap(lambda one: back(one)[0])(r)


def gradients(f: Function, w: Weights, x: torch.Tensor, r: torch.Tensor) -> Weights:
    """Return the same at points x (B, d) together, (B, R, *shape)."""
    return torch.func.vmap(lambda point: gradients_at(f, w, point, r))(x)


def stacked(of_point: Callable[[torch.Tensor], Weights], x: torch.Tensor) -> Weights:
    """Return what `of_point` gives for each point in turn, as vmap does for all together."""
    found = [of_point(point) for point in x]
    return {name: torch.stack([one[name] for one in found]) for name in found[0]}


def _plain_gradients(f: Function, w: Weights, x: torch.Tensor, r: torch.Tensor) -> Weights:
    """Return the same by plain autograd: slower, and it asks least of the module."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in w.items()}
    found = {name: value.new_zeros(len(x), len(r), *value.shape) for name, value in w.items()}
    with torch.enable_grad():
        for i, point in enumerate(x):
            value = f(leaves, point[None])[0]
            for k, one in enumerate(r):
                rows = torch.autograd.grad(value, list(leaves.values()), one, retain_graph=True, allow_unused=True)
                for name, row in zip(w, rows, strict=True):
                    if row is not None:
                        found[name][i, k] = row
    return found


_WAYS: tuple[Way, ...] = (gradients, _plain_gradients)


def inner(found: Weights, v: Weights) -> torch.Tensor:
    """Return the products (B, R) of gradients (B, R, *shape) with a direction v of the parameters."""
    return torch.stack([rows.reshape(*rows.shape[:2], -1) @ v[name].flatten() for name, rows in found.items()]).sum(0)


def some(x: torch.Tensor) -> torch.Tensor:
    """Return some of the points x (N, d), or 0 where there are none."""
    return x[:_PROBED] if len(x) else x.new_zeros(1, x.shape[1])


def probe(f: Function, w: Weights, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Weights]:
    """Return some of the points x (N, d), one sum (1, C) of outputs and a direction as large as the parameters."""
    few = some(x)
    generator = torch.Generator().manual_seed(0)
    v = {}
    for name, value in w.items():
        size = value.square().mean().sqrt()
        drawn = torch.randn(value.shape, generator=generator, device="cpu").to(value)
        v[name] = drawn * torch.where(size > 0, size, 1.0)
    output = f(w, few)[0]
    return few, torch.cos(torch.arange(len(output), dtype=output.dtype, device=output.device))[None], v


def way_to_gradients(f: Function, w: Weights, x: torch.Tensor) -> Way:
    """Return the way to the gradients by w, held against differences of the values at some of the points x (N, d)."""
    few, r, v = probe(f, w, x)
    d = x.shape[1]  # rows are points, how far along the direction, and the direction of all these

    def values(rows: torch.Tensor) -> torch.Tensor:
        moved = [
            f({name: value + (row[d] - 1) * v[name] for name, value in w.items()}, row[None, :d]) @ r[0] for row in rows
        ]
        return torch.stack(moved)

    at = torch.cat([few, few.new_ones(len(few), 1)], 1)
    along = torch.zeros_like(at)
    along[:, d] = 1
    found, first_error = None, None
    for way in _WAYS:
        slopes = partial(_along, way, f, w, r, v)
        try:
            found = contradiction(slopes, values, at, along, (0.3, 0.45), 0.0)
        except Exception as error:  # torch has no one exception for what it cannot batch
            if is_out_of_memory(error):
                raise
            first_error = first_error or error
            continue
        if not found:
            return way
    refuse_contradiction(found, "by its parameters")
    said = (str(first_error).splitlines() or [""])[0]
    raise InvalidInput(
        f"torch cannot differentiate the module by its parameters; it says first: {type(first_error).__name__}: "
        f"{said}; write that operation in differentiable torch operations"
    ) from first_error


def _along(way: Way, f: Function, w: Weights, r: torch.Tensor, v: Weights, rows: torch.Tensor) -> torch.Tensor:
    return inner(way(f, w, rows[:, : rows.shape[1] // 2 - 1], r), v)


def refuse_contradiction(found: tuple[float, float, str] | None, what: str) -> None:
    """Raise InvalidInput where differences contradict a derivative."""
    if found:
        raise InvalidInput(
            f"torch's derivative of the module {what} is not that of its values: {found[0]:.6g} where they change by "
            f"{found[1]:.6g}, {found[2]}; something in it is hidden from autograd (detach, no_grad, numpy, round) or "
            "has a wrong derivative rule: write it in differentiable torch operations"
        )


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer, and the names of its weight and its bias among the parameters, where they are."""

    module: nn.Linear
    weight: str | None
    bias: str | None


@contextmanager
def _listening(layers: list[LinearLayer]) -> Iterator[list[list[tuple[torch.Tensor, torch.Tensor]]]]:
    """Listen to the layers: what each got in each call, and zeros added to what it gave, to differentiate by."""
    heard: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in layers]

    def listen(calls: list[Any], _module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        calls.append((inputs[0].detach().clone(), torch.zeros_like(output, requires_grad=True)))
        return output + calls[-1][1]

    with ExitStack() as stack:
        for layer, calls in zip(layers, heard, strict=True):
            stack.callback(layer.module.register_forward_hook(partial(listen, calls)).remove)
        yield heard


def factors(
    f: Function, w: Weights, layers: list[LinearLayer], x: torch.Tensor, r: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return what each layer gets, (B, m), and what comes back to it for each combination r (R, C), (B, R, n)."""
    if not layers:
        return []
    with torch.enable_grad(), _listening(layers) as heard:
        value = f(w, x)
        got, zeros = zip(*(calls[0] for calls in heard), strict=True)
        sent = [torch.autograd.grad(value, zeros, one.expand_as(value), retain_graph=True) for one in r]
    return [(h, torch.stack(rows, 1)) for h, rows in zip(got, zip(*sent, strict=True), strict=True)]


def split(f: Function, w: Weights, module: nn.Module, x: torch.Tensor) -> tuple[list[LinearLayer], Weights]:
    """Return the linear layers whose gradients are outer products, and the other parameters that f depends on.

    Products are held against the gradients at some of the points x: layers that are called more than once, or for
    several positions of a point, and weights that are used elsewhere, too, are among the others.
    """
    points, r, _ = probe(f, w, x)
    named = [(name, part) for name, part in module.named_modules() if type(part) is nn.Linear]
    keys = [[key if key in w else None for key in (f"{name}.weight", f"{name}.bias")] for name, _ in named]
    layers = [LinearLayer(part, *pair) for (_, part), pair in zip(named, keys, strict=True) if any(pair)]
    leaves = {name: value.detach().clone().requires_grad_() for name, value in w.items()}
    try:
        with torch.enable_grad(), _listening(layers) as heard:
            total = (f(leaves, points) @ r[0]).sum()
            rows = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        true = {name: row for name, row in zip(w, rows, strict=True) if row is not None}
        once = [
            layer
            for layer, calls in zip(layers, heard, strict=True)
            if len(calls) == 1 and calls[0][0].ndim == 2 and len(calls[0][0]) == len(points)
        ]
        found = factors(f, w, once, points, r)
    except Exception as error:  # hooks that do not fit, or what plain autograd cannot
        if is_out_of_memory(error):
            raise
        return [], w

    def agrees(name: str | None, product: torch.Tensor) -> bool:
        slack = torch.finfo(product.dtype).eps ** 0.5
        return name is None or bool((true[name] - product).abs().max() <= slack * true[name].abs().max())

    kept = [
        layer
        for layer, (h, sent) in zip(once, found, strict=True)
        if agrees(layer.weight, sent[:, 0].T @ h) and agrees(layer.bias, sent[:, 0].sum(0))
    ]
    in_layers = {name for layer in kept for name in (layer.weight, layer.bias)}
    return kept, {name: w[name] for name in true if name not in in_layers}
