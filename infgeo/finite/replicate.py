"""One replicate of a Monte Carlo run: draw a network, measure its geometry at every point, hand back arrays."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from infgeo.errors import SingularMetric
from infgeo.finite.inputs import rank_deficient
from infgeo.finite.layered import LayeredNetwork
from infgeo.finite.network import NetworkSpecification, SampledNetwork, draw
from infgeo.finite.pullback import local_geometry
from infgeo.finite.statistics import replicate_seed

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
# Undefined where the metric has no full rank; det g and √det g are 0 there, and the metric itself is what it is.
NEED_FULL_RANK = ("log_volume_element", "ricci_scalar")


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


def run_replicate(task: ReplicateTask, index: int) -> dict[str, Any]:
    """Return the float64 NumPy arrays of replicate `index`; the log determinant stands for both volume elements."""
    if multiprocessing.parent_process() is not None:
        # One thread per worker process: more would compete, and OpenMP's threads do not survive a fork.
        torch.set_num_threads(1)
    x = torch.from_numpy(task.x).to(device=task.device, dtype=task.dtype)
    seed = replicate_seed(task.seed, task.width, index)
    network = draw(task.specification, x.shape[1], task.width, seed, task.dtype, task.device)
    result: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        if "kernel" in task.quantities:
            result["kernel"] = kernel(network, x, task.memory_budget)
        if set(task.quantities) - {"kernel"}:
            result |= _geometry(task, network, x, index)
    return {name: numpy.asarray(value.to(device="cpu", dtype=torch.float64)) for name, value in result.items()}


def _geometry(
    task: ReplicateTask, network: SampledNetwork | LayeredNetwork, x: torch.Tensor, index: int
) -> dict[str, torch.Tensor]:
    wanted = task.quantities
    geometry = local_geometry(network, x, "ricci_scalar" in wanted, task.memory_budget)
    singular = torch.isinf(geometry.log_determinant)
    if any(name in wanted for name in NEED_FULL_RANK) and bool(singular.any()):
        first = int(singular.nonzero()[0])
        error = rank_deficient(int(singular.sum()), (first,), x[first], task.width)
        raise SingularMetric(f"in replicate {index} of width {task.width}, {error}")
    result: dict[str, torch.Tensor] = {}
    if "metric" in wanted:
        result["metric"] = geometry.metric
    if "metric_radial" in wanted or "metric_tangential" in wanted:
        direction = radial_direction(x).to(torch.float64)
        radial = torch.einsum("pi,pij,pj->p", direction, geometry.metric, direction)
        result["metric_radial"] = radial
        if x.shape[1] > 1:
            trace = torch.diagonal(geometry.metric, dim1=-2, dim2=-1).sum(dim=-1)
            result["metric_tangential"] = (trace - radial) / (x.shape[1] - 1)
    if {"log_mean_det_metric", "volume_element", "log_volume_element"} & set(wanted):
        result["log_determinant"] = geometry.log_determinant
    if geometry.ricci_scalar is not None:
        result["ricci_scalar"] = geometry.ricci_scalar
    return result


def radial_direction(x: torch.Tensor) -> torch.Tensor:
    """Return x/|x| of shape (N, d), and the first basis vector where x = 0."""
    largest = x.abs().amax(dim=-1, keepdim=True)
    first = torch.zeros_like(x)
    first[:, 0] = 1.0
    scaled = torch.where(largest > 0, x / largest, first)  # so that |x|² neither over- nor underflows
    return scaled / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)


def kernel(network: SampledNetwork | LayeredNetwork, x: torch.Tensor, memory_budget: int) -> torch.Tensor:
    """Return the Gram matrix Φ(x_i)·Φ(x_j) of shape (N, N), in blocks of units (one layer) or of points (more)."""
    count, n = x.shape[0], network.width
    total = x.new_zeros(count, count)
    if isinstance(network, SampledNetwork) and network.depth == 1:
        units = max(1, memory_budget // (4 * 8 * count))
        for w, b in zip(network.weights[0].split(units), network.biases[0].split(units), strict=True):
            values = network.activation(torch.addmm(b, x, w.T))
            total.addmm_(values, values.T, alpha=1.0 / n)
        return total
    points = max(1, memory_budget // (8 * 8 * n))
    for i in range(0, count, points):
        rows = network(x[i : i + points])
        for j in range(0, i + 1, points):
            columns = rows if j == i else network(x[j : j + points])
            block = rows @ columns.T
            total[i : i + points, j : j + points] = block
            total[j : j + points, i : i + points] = block.T
    return total
