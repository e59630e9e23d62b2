"""Replicates of a Monte Carlo run: draw networks, measure their geometry at every point, hand back values.

A network of one hidden layer is not held as a whole: its units come in blocks and leave as sums
(`unit_sums`). The halves of each network, networks themselves, give the correction of the bias of O(1/n).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from infgeo.errors import SingularMetric
from infgeo.finite.gauss_equation import LocalGeometry
from infgeo.finite.inputs import rank_deficient
from infgeo.finite.routes import local_geometry
from infgeo.finite.running_mean import replicate_seed
from infgeo.finite.sampled_network import NetworkSpecification, SampledNetwork, draw
from infgeo.finite.samplers import block_units, first_layer, principal_axes
from infgeo.finite.stack import as_stack
from infgeo.finite.stack_geometry import measure_again, prefers_gram
from infgeo.finite.unit_sums import UNITS_AT_ONCE, UnitSums, add_gram, geometry_of, sum_units, total

QUANTITIES = (
    "kernel",
    "metric",
    "metric_radial",
    "metric_tangential",
    "log_mean_det_metric",
    "volume_element",
    "log_volume_element",
    "ricci_scalar",
)
# Functions of means over units that are not linear: biased at O(1/n).
CORRECTED = ("volume_element", "log_volume_element", "ricci_scalar")


@dataclass(frozen=True)
class ReplicateTask:
    """What every replicate of one run shares. Arrays are NumPy's, which pickle by value between processes."""

    specification: NetworkSpecification
    x: Any  # (N, d) float64
    width: int
    seed: int
    quantities: tuple[str, ...]
    dtype: torch.dtype
    device: str
    memory_budget: int
    sampler: str = "iid"
    bias_correction: bool = False

    @property
    def input_dim(self) -> int:
        """Number d of coordinates."""
        return int(self.x.shape[1])

    @cached_property
    def is_sum(self) -> bool:
        """Whether all that is asked for follows from sums over independent units."""
        return self.specification.is_one_layer and not (self.order == 2 and prefers_gram(self.width, self.input_dim))

    @property
    def order(self) -> int:
        """The order of derivatives: 0 for the kernel alone, 2 where R is not 0 by construction, 1 for the metric."""
        if not set(self.quantities) - {"kernel"}:
            return 0
        curved = "ricci_scalar" in self.quantities and self.input_dim > 1
        return 2 if curved and not self.specification.piecewise_linear else 1

    @cached_property
    def block(self) -> int:
        """Number of units that share a seed."""
        return block_units(self.sampler, self.input_dim) if self.is_sum else self.width

    @property
    def blocks(self) -> int:
        """Number of blocks of a network."""
        return -(-self.width // self.block)

    @cached_property
    def half(self) -> int:
        """Number of units in the first half of a network, 0 where there is no correction of the bias."""
        if not self.bias_correction or not set(CORRECTED) & set(self.quantities):
            return 0
        half = self.block * (self.blocks // 2) if self.blocks > 1 else self.width // 2
        return half if min(half, self.width - half) >= self.input_dim else 0

    @property
    def parts(self) -> list[slice]:
        """The units of the whole network and, where its bias is corrected, of its halves."""
        halves = [slice(0, self.half), slice(self.half, self.width)] if self.half else []
        return [slice(0, self.width), *halves]

    @cached_property
    def axes(self) -> Any:
        """Directions for the coordinates of a Sobol sequence, an array (k, k), or None."""
        if self.sampler != "sobol":
            return None
        spec = self.specification
        axes = principal_axes(torch.from_numpy(self.x), spec.first_scale(self.input_dim), spec.bias_std)
        return None if axes is None else axes.numpy()

    @property
    def where(self) -> dict[str, Any]:
        """Keyword arguments of the tensors."""
        return {"dtype": self.dtype, "device": self.device}

    def points(self) -> torch.Tensor:
        """Return x in the dtype and on the device of the run."""
        return torch.from_numpy(self.x).to(**self.where)

    def units(self, index: int, block: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the weights (u, d) and biases (u,) of a block of the first layer of replicate `index`."""
        seed = replicate_seed(self.seed, self.width, index * self.blocks + block)
        count = min(self.block, self.width - block * self.block)
        spec, d = self.specification, self.input_dim
        axes = None if self.axes is None else torch.from_numpy(self.axes)
        for w, b in first_layer(self.sampler, seed, count, d, spec.bias_std > 0, self.dtype, axes):
            yield w.mul_(spec.first_scale(d)).to(self.device), b.mul_(spec.bias_std).to(self.device)

    def whole_block(self, index: int, block: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all weights (u, d) and biases (u,) of a block at once."""
        w, b = zip(*self.units(index, block), strict=True)
        return (w[0], b[0]) if len(w) == 1 else (torch.cat(w), torch.cat(b))


# Undefined where the metric has no full rank; det g and √det g are 0 there, and the metric itself is what it is.
NEED_FULL_RANK = ("log_volume_element", "ricci_scalar")


def run_blocks(task: ReplicateTask, index: int, blocks: tuple[int, int]) -> dict[int, UnitSums]:
    """Return the sums over a range of blocks of replicate `index`, apart for each half (0 and 1) of its units."""
    parts: dict[int, list[UnitSums]] = {}
    for block in range(*blocks):
        half = int(0 < task.half <= block * task.block)
        units = ((w[None], b[None]) for w, b in task.units(index, block))
        parts.setdefault(half, []).append(_summed(task, units))
    return {half: total(part).cpu() for half, part in parts.items()}


def _summed(task: ReplicateTask, units: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> UnitSums:
    wants_kernel = "kernel" in task.quantities
    with torch.no_grad():
        return sum_units(
            task.specification.first.function, units, task.points(), wants_kernel, task.order, task.memory_budget
        )


def run_replicates(task: ReplicateTask, first: int, last: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the values of replicates first ... last − 1, each of one block, as float64 CPU tensors (M, ...)."""
    if not task.is_sum:
        for index in range(first, last):
            yield _on_cpu(_measure(task, index))
        return
    step = max(1, min(UNITS_AT_ONCE // task.width, task.memory_budget // (64 * task.width * (task.input_dim + 1))))
    for start in range(first, last, step):
        drawn = [task.whole_block(index, 0) for index in range(start, min(start + step, last))]
        w, b = (torch.stack(column) for column in zip(*drawn, strict=True))
        parts = task.parts[1:] or task.parts
        yield finish(task, start, [_summed(task, iter([(w[:, part], b[:, part])])) for part in parts])


def finish(task: ReplicateTask, first: int, parts: Sequence[UnitSums]) -> dict[str, torch.Tensor]:
    """Return the values (M, ...) of one-layer replicates from the sums over their halves (or over all of them)."""
    result: dict[str, torch.Tensor] = {}
    whole = total(parts)
    if whole.kernel is not None:
        result["kernel"] = whole.kernel / whole.units
    if whole.packed is not None:
        measured = [whole, *parts] if len(parts) > 1 else [whole]
        means = torch.stack([p.packed / p.units for p in measured if p.packed is not None])  # (1 or 3, M, rows, N)
        pieces, networks, rows, count = means.shape
        ricci, epsilon = "ricci_scalar" in task.quantities, torch.finfo(task.dtype).eps
        flat = means.permute(2, 0, 1, 3).reshape(rows, -1)
        found, ill = geometry_of(flat, task.input_dim, task.order, ricci, epsilon, task.memory_budget)
        ill = ill.reshape(pieces, networks, count)
        for m in ill.any(dim=2).any(dim=0).nonzero()[:, 0].tolist():
            network = whole_network(task, first + m)
            for k in ill[:, m].any(dim=1).nonzero()[:, 0].tolist():
                marked = ill[k, m].nonzero()[:, 0]
                part, into = as_stack(sub_network(network, task.parts[k])), (k * networks + m) * count + marked
                assert part is not None
                with torch.no_grad():
                    measure_again(part, task.points(), marked, found, into, task.memory_budget)
        geometry, *halves = (_piece(found, k, networks, count) for k in range(pieces))
        result |= _values(task, first, geometry, halves)
    return _on_cpu(result)


def _piece(found: LocalGeometry, k: int, networks: int, count: int) -> LocalGeometry:
    """Return the part of `found` that belongs to the whole networks (k = 0) or a half, with axes (M, N, ...)."""
    here, d = slice(k * networks * count, (k + 1) * networks * count), found.metric.shape[-1]
    curvature = found.ricci_scalar
    return LocalGeometry(
        found.metric[here].reshape(networks, count, d, d),
        found.log_determinant[here].reshape(networks, count),
        None if curvature is None else curvature[here].reshape(networks, count),
    )


def whole_network(task: ReplicateTask, index: int) -> SampledNetwork:
    """Return the network of replicate `index` with all its weights; the sampler has drawn the first layer."""
    spec, d = task.specification, task.input_dim
    size = 4 * 8 * (d + 1) * task.width
    if task.blocks > 1 and size > task.memory_budget:
        raise SingularMetric(
            f"in replicate {index} of width {task.width}, the metric is ill-conditioned at a point, and sums over units"
            f" do not resolve it; all weights at once would: raise memory_budget to {size}, or use a smaller width or"
            " points of smaller norm"
        )
    if not spec.is_one_layer:
        network = draw(spec, d, task.width, replicate_seed(task.seed, task.width, index), **task.where)
        if task.sampler != "iid":
            network.weights[0].data, network.biases[0].data = task.whole_block(index, 0)
        return network
    weight, bias = zip(*(task.whole_block(index, block) for block in range(task.blocks)), strict=True)
    return SampledNetwork(spec.layers, [torch.cat(weight)], [torch.cat(bias)])


def sub_network(network: SampledNetwork, units: slice) -> SampledNetwork:
    """Return the network made of some of the units of every layer: one of that width, with weights rescaled for it."""
    if units == slice(0, network.width):
        return network
    ratio = (network.width / (units.stop - units.start)) ** 0.5
    first, *others = network.weights
    weights = [first.detach()[units], *(w.detach()[units, units] * ratio for w in others)]
    biases = [b.detach()[units] for b in network.biases]
    readouts = [v.detach()[units, units] * ratio for v in network.readouts]
    return SampledNetwork(network.layers, weights, biases, readouts)


def _measure(task: ReplicateTask, index: int) -> dict[str, torch.Tensor]:
    network, x = whole_network(task, index), task.points()
    result: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        if "kernel" in task.quantities:
            gram = x.new_zeros(1, x.shape[0], x.shape[0])
            add_gram(gram, lambda at: network(at).T, x, max(1, task.memory_budget // (8 * 8 * network.width)))
            result["kernel"] = gram
        if task.order:
            ricci = "ricci_scalar" in task.quantities
            found = [local_geometry(sub_network(network, part), x, ricci, task.memory_budget) for part in task.parts]
            geometry, *halves = (_piece(one, 0, 1, x.shape[0]) for one in found)
            result |= _values(task, index, geometry, halves)
    return result


def _values(
    task: ReplicateTask, first: int, geometry: LocalGeometry, halves: Sequence[LocalGeometry]
) -> dict[str, torch.Tensor]:
    """Return what is asked for of M networks, from their geometry with axes (M, N, ...)."""
    wanted, x = task.quantities, task.points().to(geometry.metric.device)
    singular = torch.isinf(geometry.log_determinant)
    if any(name in wanted for name in NEED_FULL_RANK) and bool(singular.any()):
        network, point = (int(i) for i in singular.nonzero()[0])
        error = rank_deficient(int(singular[network].sum()), (point,), x[point], task.width)
        raise SingularMetric(f"in replicate {first + network} of width {task.width}, {error}")
    result: dict[str, torch.Tensor] = {"metric": geometry.metric, "log_mean_det_metric": geometry.log_determinant}
    if "metric_radial" in wanted or "metric_tangential" in wanted:
        direction = radial_direction(x).to(torch.float64)
        radial = ((geometry.metric @ direction[:, :, None])[..., 0] * direction).sum(dim=-1)
        result["metric_radial"] = radial
        if x.shape[1] > 1:
            trace = torch.diagonal(geometry.metric, dim1=-2, dim2=-1).sum(dim=-1)
            result["metric_tangential"] = (trace - radial) / (x.shape[1] - 1)
    functions = _functions(geometry)
    result |= functions
    if len(halves) == 2:
        # b/n in the whole and b/m in a part of m units: what to add so that b cancels
        excess = task.width * (1 / task.half + 1 / (task.width - task.half)) / 2 - 1
        parts = [_functions(half) for half in halves]
        for name, value in functions.items():
            if name != "ricci_scalar" or task.order == 2:
                result[f"corrected {name}"] = value + (value - (parts[0][name] + parts[1][name]) / 2) / excess
    return {name: value for name, value in result.items() if name.removeprefix("corrected ") in wanted}


def _functions(geometry: LocalGeometry) -> dict[str, torch.Tensor]:
    log_volume = 0.5 * geometry.log_determinant
    result = {"volume_element": log_volume.exp(), "log_volume_element": log_volume}
    return result if geometry.ricci_scalar is None else result | {"ricci_scalar": geometry.ricci_scalar}


def _on_cpu(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.to(device="cpu", dtype=torch.float64) for name, value in values.items()}


def radial_direction(x: torch.Tensor) -> torch.Tensor:
    """Return x/|x| of shape (N, d), and the first basis vector where x = 0."""
    largest = x.abs().amax(dim=-1, keepdim=True)
    first = torch.zeros_like(x)
    first[:, 0] = 1.0
    scaled = torch.where(largest > 0, x / largest, first)  # so that |x|² neither over- nor underflows
    return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
