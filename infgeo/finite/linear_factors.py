"""Gradients by the weights of linear layers as two factors each: what the layer gets, and what comes back to it.

For a layer z = W h + b it is the outer product δ hᵀ with δ = ∂f/∂z, so that the share of W and b in the tangent kernel
of two points is (δ·δ')(h·h' + 1), without an array as large as W at each point (Novak, Sohl-Dickstein & Schoenholz
2022, section 3.4).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from infgeo.finite.by_parameters import Function, Weights, probe
from infgeo.finite.point_blocks import is_out_of_memory


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
