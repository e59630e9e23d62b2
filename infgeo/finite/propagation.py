"""J and H of a batch of points, with their geometry: by matrix products through a stack, by torch for anything else."""

from collections.abc import Callable
from typing import Any

import torch

from infgeo.finite.differentiate import load_forward_mode
from infgeo.finite.feature_map import Source
from infgeo.finite.gauss_equation import LocalGeometry, by_gauss_equation, concatenate
from infgeo.finite.hessian_metric import gather
from infgeo.finite.point_blocks import in_blocks
from infgeo.finite.stack import Stack

_FASTEST_ARRAY = 2**23  # bytes of the largest array of the passes that are made at once, on a CPU
# What a block of points is turned into, from J (P, n, d) and H (P, n, d, d).
Reduction = Callable[[torch.Tensor, torch.Tensor | None], Any]


def deep_geometry(stack: Stack, x: torch.Tensor, ricci: bool, memory_budget: int) -> LocalGeometry:
    """Return the geometry of a stack of any depth at x (N, d), by the Gauss equation."""
    is_flat = stack.piecewise_linear
    second = ricci and stack.input_dim > 1 and not is_flat
    return concatenate(
        reduce_stack(stack, x, second, lambda j, h: by_gauss_equation(j, h, ricci, is_flat), memory_budget)
    )


def reduce_stack(stack: Stack, x: torch.Tensor, second: bool, reduction: Reduction, memory_budget: int) -> list[Any]:
    """Return `reduction` of J and (if `second`) H for consecutive blocks of x (N, d)."""
    n, d = max(len(w) for w in stack.weights), stack.input_dim
    channels = 1 + d + (d * (d + 1) // 2 + 2 * d * d if second else d)

    def block(points: torch.Tensor) -> Any:
        with torch.no_grad():
            return reduction(*propagate(stack, points, second))

    return in_blocks(block, x, memory_budget // (4 * 8 * n * channels))


def propagate(stack: Stack, x: torch.Tensor, second: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return J (P, n, d) and, if `second`, H (P, n, d, d) at x (P, d).

    The value, ∂_a and ∂_a ∂_b travel through a layer as rows of one matrix product; the activation acts by
    ∂_a φ(z) = φ' ∂_a z and ∂_a ∂_b φ(z) = φ' ∂_a ∂_b z + φ'' ∂_a z ∂_b z.
    """
    d = stack.input_dim
    order = 2 if second else 1
    i, j = torch.triu_indices(d, d, device=x.device)
    z = torch.addmm(stack.biases[0], x, stack.weights[0].T)
    dz = stack.weights[0].T[:, None, :].expand(d, x.shape[0], z.shape[1])  # (d, P, n)
    ddz: torch.Tensor | None = None  # of the first layer: 0
    for layer in range(stack.depth):
        value, *slopes = stack.activations[layer].jet(z, order)
        if second:
            curved = (dz[i] * dz[j]).mul_(slopes[1])
            ddz = curved if ddz is None else curved.addcmul_(ddz, slopes[0])
        dz = dz * slopes[0]
        # (z, dz, ddz) now hold the layer's output; its product with the next weights is the next preactivation
        if layer + 1 < stack.depth:
            state = torch.cat([value[None], dz, *([] if ddz is None else [ddz])])
            weight = stack.weights[layer + 1]
            state = (state.reshape(-1, state.shape[-1]) @ weight.T).reshape(*state.shape[:-1], weight.shape[0])
            z, dz, ddz = state[0] + stack.biases[layer + 1], state[1 : d + 1], state[d + 1 :] if second else None
    jacobian = dz.permute(1, 2, 0) * stack.scale
    if ddz is None:
        return jacobian, None
    hessian = (ddz * stack.scale).permute(1, 2, 0)[:, :, gather(d, 2).to(x.device)]
    return jacobian, hessian


def reduce_general(
    source: Source, x: torch.Tensor, second: bool, reduction: Reduction, memory_budget: int
) -> list[Any]:
    """Return `reduction` of J and (if `second`) H for consecutive blocks of x (N, d), by torch."""
    width, largest, way = source.width, source.largest, source.ways[second]
    d = x.shape[1]
    itemsize = x.element_size()
    directions = (d + 1) ** 2 if second else min(d, width) + 1
    derivatives = 8 * width * (4 * d * d + 6 * d + 8 if second else 4 * d + 8)
    per_point = 3 * itemsize * largest * directions + derivatives
    size = memory_budget // per_point
    chunk = None
    if size == 0:  # one point is too much: fewer directions at once
        outer = 2 if second else 1  # a value and its slope
        left = max(memory_budget - derivatives, memory_budget // 4)  # J and H alone may exceed the budget
        chunk = max(1, left // (3 * itemsize * largest * outer))
    if not second and not x.is_cuda:  # larger arrays leave the cache and cost fresh pages: slower on every CPU
        passes = max(1, _FASTEST_ARRAY // (itemsize * largest))
        size = min(size, passes // directions)
        chunk = chunk if size > 0 else min(chunk or passes, passes)
    with source.ready() as f:
        load_forward_mode()
        used = way or source.way(f, x, second)

        def block(points: torch.Tensor) -> Any:
            jacobian, hessian = used(f, points, second, chunk)
            with torch.no_grad():
                # log of a negative number has a value of NaN, and a derivative
                defined = torch.isfinite(f(points))[..., None]
                return reduction(torch.where(defined, jacobian, torch.nan), hessian)

        return in_blocks(block, x, size)
