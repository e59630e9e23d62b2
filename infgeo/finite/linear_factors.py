"""Gradients by the weights of linear layers as two factors each: what the layer gets, and what comes back to it.

For a layer z = W h + b it is the outer product δ hᵀ with δ = ∂f/∂z, so that the share of W and b in the tangent kernel
of two points is (δ·δ')(h·h' + 1), without an array as large as W at each point (Novak, Sohl-Dickstein & Schoenholz
2022, section 3.4).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from infgeo.finite.by_parameters import Function, Weights, probe_direction, probe_points
from infgeo.finite.point_blocks import is_out_of_memory


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer, and the names of its weight and its bias among the parameters, where they are."""

    module: nn.Linear
    weight: str | None
    bias: str | None


@dataclass
class _Listened:
    """What a layer got in one forward pass, and zeros that were added to what it gave; `calls` of it."""

    calls: int = 0
    inputs: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    zeros: torch.Tensor = field(default_factory=lambda: torch.empty(0))


@contextmanager
def _listening(layers: list[LinearLayer]) -> Iterator[list[_Listened]]:
    """Listen to the layers, and add zeros to what they give, by which it can be differentiated."""
    heard = [_Listened() for _ in layers]

    def listen(one: _Listened, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        one.calls += 1
        one.inputs, one.zeros = inputs[0].detach().clone(), torch.zeros_like(output, requires_grad=True)
        return output + one.zeros

    handles = [
        layer.module.register_forward_hook(lambda _module, inputs, output, one=one: listen(one, inputs, output))
        for layer, one in zip(layers, heard, strict=True)
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def factors(
    f: Function, w: Weights, layers: list[LinearLayer], x: torch.Tensor, r: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return what each layer gets, (B, m), and what comes back to it for each combination r (R, C), (B, R, n)."""
    if not layers:
        return []
    with torch.enable_grad(), _listening(layers) as heard:
        value = f(w, x)
        zeros = [one.zeros for one in heard]
        sent = [torch.autograd.grad(value, zeros, one.expand_as(value), retain_graph=True) for one in r]
    return [(one.inputs, torch.stack(rows, 1)) for one, rows in zip(heard, zip(*sent, strict=True), strict=True)]


def split(f: Function, w: Weights, module: nn.Module, x: torch.Tensor, width: int) -> tuple[list[LinearLayer], Weights]:
    """Return the linear layers whose gradients are outer products, and the other parameters that f depends on.

    Products are held against the gradients at some of the points x: layers that are called more than once, or for
    several positions of a point, and weights that are used elsewhere, too, are among the others.
    """
    points, (r, _) = probe_points(x), probe_direction(w, width)
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
            for layer, one in zip(layers, heard, strict=True)
            if one.calls == 1 and one.inputs.ndim == 2 and len(one.inputs) == len(points)
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
