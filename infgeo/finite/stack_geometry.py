"""The geometry of fully connected stacks by matrix products: of one layer from sums over units, else from J and H.

With Φ_j = c φ(z_j) (c = 1/√n for sampled networks) the sums of `unit_sums` have the coefficients
a_j = c² φ'(z_j)² and c_j = c² φ'(z_j) φ''(z_j): matrix products of these with the monomials of the weights.

In high dimension T is larger than the network, and the same norms are sums over pairs of units: with g = L Lᵀ and
v_j = L⁻¹ w_j,  ‖T‖² = Σ_jk c_j c_k (v_j·v_k)³  and  tr T = Σ_j c_j |v_j|² v_j.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from infgeo.finite.gauss_equation import LocalGeometry, by_gauss_equation, concatenate
from infgeo.finite.point_blocks import in_blocks
from infgeo.finite.stack import Stack
from infgeo.finite.unit_sums import Factor, bytes_per_point, gather, geometry_of_sums, ill_conditioned, sum_units

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


def prefers_gram(n: int, d: int) -> bool:
    """Return whether sums over pairs of units cost less per point than the tensor T does."""
    tensor = n * d * (d + 1) * (d + 2) / 6 + 4 * d**4  # whitening T runs at memory speed, hence the factor
    return n * n * (d + 3) + n * d * d < tensor


def shallow_geometry(
    stack: Stack,
    x: torch.Tensor,
    ricci: bool,
    memory_budget: int,
    gram: bool | None = None,
    readout: torch.Tensor | None = None,
) -> LocalGeometry:
    """Return the geometry of one hidden layer at x (N, d); `gram` forces or forbids the pair form of R.

    With `readout` V (C, n) also V Φ(x), (N, C), from the same pass over the units.
    """
    (weight,), (bias,), (activation,) = stack.weights, stack.biases, stack.activations
    n, d = weight.shape
    curved = ricci and d > 1 and not stack.piecewise_linear
    gram = curved and (prefers_gram(n, d) if gram is None else gram)
    order = 2 if curved and not gram else 1
    read = 0 if readout is None else len(readout)
    epsilon = torch.finfo(weight.dtype).eps

    def measure(block: torch.Tensor) -> LocalGeometry:
        units = iter([(weight[None], bias[None])])
        packed = sum_units(activation, units, block, False, order, memory_budget // 2, readout).packed
        assert packed is not None
        sums = packed[0]
        geometry, factor = geometry_of_sums(sums[read:].mul_(stack.scale**2), d, order, ricci, epsilon)
        if gram:
            geometry = replace(geometry, ricci_scalar=_ricci_from_pairs(stack, block, factor, memory_budget))
        if readout is not None:
            geometry = replace(geometry, output=(sums[:read] * stack.scale).T)
        ill = ill_conditioned(factor, epsilon).nonzero()[:, 0]
        measure_again(stack, block, ill, geometry, ill, memory_budget)
        return geometry

    return concatenate(in_blocks(measure, x, memory_budget // 2 // (bytes_per_point(d, order) + 16 * read)))


def measure_again(
    stack: Stack,
    x: torch.Tensor,
    rows: torch.Tensor,
    geometry: LocalGeometry,
    into: torch.Tensor,
    budget: int,
) -> None:
    """Measure points x[rows], where g is ill-conditioned, by the route whose condition number is that of J.

    Puts log det g and R into these rows of `geometry`, and decides which are singular: zero rows of J stay so in QR.
    """
    if len(rows):
        again = deep_geometry(stack, x[rows.to(x.device)], geometry.ricci_scalar is not None, budget)
        geometry.log_determinant[into] = again.log_determinant.to(into.device)
        if geometry.ricci_scalar is not None and again.ricci_scalar is not None:
            geometry.ricci_scalar[into] = again.ricci_scalar.to(into.device)


def _ricci_from_pairs(stack: Stack, x: torch.Tensor, factor: Factor, budget: int) -> torch.Tensor:
    """Return R by sums over pairs of units, in blocks of points and of rows of the n × n Gram matrix."""
    weight, bias, activation = stack.weights[0], stack.biases[0], stack.activations[0]
    n, d = weight.shape
    values = []
    points = max(1, budget // 4 // (8 * n * (2 * d + n)))
    units = max(1, min(n, budget // 4 // (8 * 3 * n * points)))
    w = weight.to(torch.float64).T[:, :, None]
    for p in range(0, x.shape[0], points):
        block = slice(p, p + points)
        part = Factor(factor.lower[..., block], factor.singular[block], factor.smallest_pivot[block])
        v = part.solve_(w.repeat(1, 1, part.singular.shape[0])).permute(2, 0, 1).contiguous()  # (P, d, n)
        _, (scale, c) = activation.products(torch.addmm(bias, x[block], weight.T))
        c = c.to(torch.float64) * (scale * stack.scale**2)  # (P, n)
        norm = torch.zeros(c.shape[0], dtype=torch.float64, device=x.device)
        for u in range(0, n, units):
            inner = v[:, :, u : u + units].mT @ v
            cubes = inner.square().mul_(inner)
            norm += (c[:, u : u + units] * (cubes @ c[:, :, None])[..., 0]).sum(dim=-1)
        trace = (v @ (c * v.square().sum(dim=1))[:, :, None])[..., 0]
        values.append(norm - trace.square().sum(dim=-1))
    return torch.cat(values)
