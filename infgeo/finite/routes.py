"""From a feature map to numbers at points: the fastest route that applies, in blocks that fit the budget."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from infgeo.errors import InvalidInput
from infgeo.finite import gauss_equation
from infgeo.finite.differentiate import FORWARD, load_forward_mode
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.feature_map import FeatureMap, Source
from infgeo.finite.gauss_equation import LocalGeometry, by_gauss_equation, concatenate
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET
from infgeo.finite.output_metric import Curved, curved, rooted
from infgeo.finite.point_blocks import in_blocks
from infgeo.finite.sampled_network import SampledNetwork
from infgeo.finite.stack import as_stack, is_piecewise_linear
from infgeo.finite.stack_geometry import Reduction, deep_geometry, reduce_stack, shallow_geometry

_FASTEST_ARRAY = 2**23  # bytes of the largest array of the passes that are made at once, on a CPU


def local_geometry(
    network: SampledNetwork, x: torch.Tensor, ricci: bool, memory_budget: int = DEFAULT_MEMORY_BUDGET
) -> LocalGeometry:
    """Return metric, log determinant and (if asked for) R of a sampled network at x (N, d), by the fastest route."""
    features, n = FeatureMap(network, (x.shape[1],)), network.width
    source = Source(features, as_stack(network), n, n, is_piecewise_linear(network), ways=(FORWARD, FORWARD))
    return measured(source, x, ricci, memory_budget)


@plain_torch()
def measured(source: Source, x: torch.Tensor, ricci: bool, memory_budget: int) -> LocalGeometry:
    """Return metric, log determinant and (if asked for) R at x (N, d)."""
    d = x.shape[1]
    if x.shape[0] == 0:
        empty = torch.empty(0, dtype=torch.float64, device=x.device)
        return LocalGeometry(empty.reshape(0, d, d), empty, empty if ricci else None)
    flat = source.flat or source.invertible(d)
    second = ricci and d > 1 and source.width >= d and not flat
    if source.form is not None and second:
        return concatenate(bent(source, x, Curved.local, memory_budget))
    if second and 4 * 8 * source.width * d * d > memory_budget and (source.stack is None or source.stack.depth > 1):
        return _by_pairs(source, x, memory_budget)
    as_many = ricci and source.readout is None and source.invertible(d)
    if source.stack is not None and source.form is None and not as_many:
        with torch.no_grad():
            if source.stack.depth == 1:
                return shallow_geometry(source.stack, x, ricci, memory_budget, readout=source.readout)
            return deep_geometry(source.stack, x, ricci, memory_budget)
    return concatenate(reduced(source, x, second, lambda j, h: by_gauss_equation(j, h, ricci, flat), memory_budget))


@plain_torch()
def reduced(source: Source, x: torch.Tensor, second: bool, reduction: Reduction, memory_budget: int) -> list[Any]:
    """Return `reduction` of J and (if `second`) H for consecutive blocks of x (N, d), by the route that applies."""
    if x.shape[0] == 0:
        jacobian = x.new_empty(0, source.width, x.shape[1])
        return [reduction(jacobian, jacobian.new_empty(*jacobian.shape, x.shape[1]) if second else None)]
    if (form := source.form) is not None:
        return _in_blocks(source, x, second, lambda f, j, h: reduction(rooted(form, f, j), h), memory_budget)
    return _reduced(source, x, second, reduction, memory_budget)


def _reduced(source: Source, x: torch.Tensor, second: bool, reduction: Reduction, memory_budget: int) -> list[Any]:
    """Return the same, for features of a flat metric."""
    if source.stack is not None:
        return reduce_stack(source.stack, x, second, reduction, memory_budget)
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


@plain_torch()
def bent(source: Source, x: torch.Tensor, reduction: Callable[[Curved], Any], memory_budget: int) -> list[Any]:
    """Return `reduction` of the curvature for blocks of x (N, d), in a metric of the outputs that is not flat."""
    form, needed = source.form, 64 * x.shape[1] ** 4
    assert form is not None
    if needed > memory_budget:
        raise InvalidInput(
            f"curvature of {x.shape[1]} coordinates takes {needed:.1e} bytes a point in a metric of the outputs that "
            f"varies, and memory_budget is {memory_budget}: measure a slice (pullback_slice), or pass a larger one"
        )
    return _in_blocks(source, x, True, lambda f, j, h: reduction(curved(form, f, j, h)), memory_budget)


@plain_torch()
def transverse_ricci(source: Source, x: torch.Tensor, memory_budget: int) -> torch.Tensor:
    """Return R (N,) of slices across leaves, along the r principal directions; 0 for r < 2, NaN where J is none."""
    form = source.form

    def block(f: torch.Tensor, j: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        whole = j if form is None else rooted(form, f, j)
        rank = gauss_equation.spectrum(whole).rank
        value = torch.where(rank < 0, torch.nan, 0.0).to(torch.float64)
        for r in sorted(set(rank.tolist()) - {-1, 0, 1}):
            at = rank == r
            e = torch.linalg.svd(whole[at].double(), full_matrices=False)[2][:, :r].mT.to(j)
            first, second = j[at] @ e, e.mT[:, None] @ h[at] @ e[:, None]
            of_slice = (
                by_gauss_equation(first, second, True) if form is None else curved(form, f[at], first, second).local()
            )
            assert of_slice.ricci_scalar is not None
            value[at] = of_slice.ricci_scalar
        return value

    return torch.cat(_in_blocks(source, x, True, block, memory_budget))


def _in_blocks(
    source: Source, x: torch.Tensor, second: bool, reduction: Callable[..., Any], memory_budget: int
) -> list[Any]:
    """Return `reduction` of outputs, J and H (None unless `second`) for blocks of x (N, d)."""
    n, d = source.width, x.shape[1]
    per_point = 8 * (16 * source.largest + 4 * n * (n + d) + second * (4 * n * d * d + 8 * d**4 + 3 * d * d * n * n))

    def block(points: torch.Tensor) -> Any:
        with torch.no_grad(), source.ready() as f:
            outputs = f(points)
        both = _reduced(source, points, second, lambda j, h: (j, h), memory_budget)
        j, h = zip(*both, strict=True)
        return reduction(outputs, torch.cat(j), torch.cat(h) if second else None)

    return in_blocks(block, x, memory_budget // per_point)


def _by_pairs(source: Source, x: torch.Tensor, memory_budget: int) -> LocalGeometry:
    """Return the geometry with R, without ever holding H, of n d² numbers a point: pair by pair of frame vectors.

    R = |Σ_a II_aa|² − Σ_ab |II_ab|² in an orthonormal frame, with II_ab from second derivatives along e_a and e_b.
    """
    n, d = source.width, x.shape[1]
    pairs = torch.triu_indices(d, d, 1, device=x.device).T
    size = memory_budget // (8 * (12 * n + 30 * max(source.largest, d)))
    first = concatenate(reduced(source, x, False, lambda j, _: by_gauss_equation(j, None, False), memory_budget))
    with source.ready() as f:
        whole, across = source.way(f, x, False), source.way(f, x, True)

        def curvature(point: torch.Tensor) -> torch.Tensor:
            tangent = gauss_equation.frame(whole(f, point, False)[0])
            e, q = tangent.inverse[0].T.to(x.dtype), tangent.q[0]  # row a of e is e_a

            def form(rows: torch.Tensor) -> torch.Tensor:
                """Return II_ab (B, n) for pairs (a, b), and II_aa for single a."""
                k = rows.shape[1]
                zero = point.new_zeros(len(rows), k)
                _, h = across(lambda t: f(point + (t[..., None] * e[rows]).sum(dim=1)), zero, True)
                assert h is not None
                second = h[:, :, 0, k - 1].to(torch.float64)
                return second - (second @ q) @ q.T

            own = torch.cat([form(rows) for rows in torch.arange(d, device=x.device)[:, None].split(max(1, size))])
            mixed = sum(in_blocks(lambda rows: form(rows).square().sum(), pairs, size))
            value = own.sum(dim=0).square().sum() - own.square().sum() - 2 * mixed
            return torch.where(tangent.singular[0], torch.nan, value)

        return LocalGeometry(first.metric, first.log_determinant, torch.stack([curvature(p) for p in x.split(1)]))


@plain_torch()
def sectional(source: Source, x: torch.Tensor, u: torch.Tensor, v: torch.Tensor, memory_budget: int) -> torch.Tensor:
    """Return the sectional curvature (N,) of the planes of u and v (N, d) at x (N, d)."""
    d = x.shape[1]
    if x.shape[0] == 0:
        return torch.empty(0, dtype=torch.float64, device=x.device)
    if source.form is not None:
        each = zip(x.split(1), u.split(1), v.split(1), strict=True)
        planes = [(point, partial(Curved.sectional_curvature, u=a, v=b)) for point, a, b in each]
        return torch.cat([part for point, plane in planes for part in bent(source, point, plane, memory_budget)])
    rows = torch.cat([x, u, v], dim=1)
    with source.ready() as f:
        whole, across = source.way(f, x, False), source.way(f, x, True)
        per_point = 8 * (source.width * (2 * d + 12) + 3 * source.largest * (min(d, source.width) + 10))

        def block(part: torch.Tensor) -> torch.Tensor:
            at, first, second = part.split(d, dim=1)

            def plane(t: torch.Tensor) -> torch.Tensor:
                return f(at + t[:, :1] * first + t[:, 1:] * second)

            jacobian, _ = whole(f, at, False)
            along, curvature = across(plane, at.new_zeros(len(at), 2), True)
            assert curvature is not None
            return gauss_equation.sectional_curvature(jacobian, along, curvature)

        return torch.cat(in_blocks(block, rows, memory_budget // per_point))
