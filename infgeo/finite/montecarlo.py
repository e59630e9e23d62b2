"""Monte Carlo over independent networks of one width: replicate means with standard errors, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from infgeo.errors import InvalidInput
from infgeo.finite.inputs import (
    DEFAULT_MEMORY_BUDGET,
    as_points,
    checked_device,
    float_dtype,
    positive_integer,
    seed_integer,
    too_narrow,
)
from infgeo.finite.network import specify
from infgeo.finite.pullback import ONE_DIMENSION, PIECEWISE_LINEAR
from infgeo.finite.replicate import QUANTITIES, ReplicateTask, run_replicate
from infgeo.finite.statistics import RunningLogMean, RunningMean
from infgeo.results import Estimate

SAMPLERS = ("iid",)


@dataclass(frozen=True)
class FiniteEstimates:
    """Replicate means with standard errors at N points, for networks of one width.

    Each quantity is an `Estimate` whose `mean` and `standard_error` are float64 CPU tensors, or None when it was not
    asked for (and `metric_tangential` in one dimension, where there is no tangential direction). Shapes: `kernel`
    (N, N), `metric` (N, d, d), all others (N,). `log_mean_det_metric` is the log of the mean of det g; its standard
    error is the relative one of that mean.
    """

    width: int
    samples: int
    input_dim: int
    seed: int
    kernel: Estimate | None = None
    metric: Estimate | None = None
    metric_radial: Estimate | None = None
    metric_tangential: Estimate | None = None
    log_mean_det_metric: Estimate | None = None
    volume_element: Estimate | None = None
    log_volume_element: Estimate | None = None
    ricci_scalar: Estimate | None = None


def estimate(
    mlp: Any,
    x: Any,
    width: int,
    samples: int,
    sampler: str = "iid",
    executor: Executor | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    *,
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] | None = None,
    quantities: Sequence[str] | None = None,
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
    progress: Callable[[int, int], object] | None = None,
) -> FiniteEstimates:
    """Estimate kernel, metric, volume element and Ricci scalar over independent random networks.

    Every replicate is one network, measured at all points; means and standard errors run over replicates, so that the
    standard error is sqrt(sample variance / samples) and points of one run share their noise. R is positive on
    spheres. Replicate i draws from a seed that depends on (seed, width, i) only and replicates are summed in order:
    the result does not depend on the executor, and the same seed gives the same bits (for one machine, torch version
    and number of torch threads; worker processes use one thread each). A network whose metric has lost rank counts
    with det g = 0 and √det g = 0. Small networks run fastest with torch.set_num_threads(1) and a process pool.

    Args:
        mlp: an `infgeo.MLP`, or an object like it (see `sample_network`).
        x: points (N, d), float tensor or array-like.
        width: n >= 1; at least d for quantities that need the metric to have full rank.
        samples: number of networks, >= 2.
        sampler: "iid", independent Gaussian weights.
        executor: any concurrent.futures.Executor to run replicates on; by default they run here, one by one.
        device: torch device of the computation.
        dtype: torch.float64 (default) or torch.float32 for the networks; statistics are always float64.
        seed: 0 <= seed < 2^63.
        weight_std: σ_w where `mlp` leaves it symbolic; default 1.
        bias_std: σ_b where `mlp` leaves it symbolic; default 1.
        parameters: values of the activation's own free symbols, by name.
        quantities: names of the fields of `FiniteEstimates` to compute; default all.
        memory_budget: bytes that the intermediate arrays of one replicate may take, about.
        progress: called as progress(done, total) after every replicate.

    Raises:
        InvalidInput: for an argument outside its domain, by name.
        SingularMetric: when width < d, or a drawn network's metric loses rank at a point, and a quantity needs it.

    Source: arXiv 2301.11375, section 3. At one layer E[g] and E[kernel] are exact at any width, and E[det g] =
    n(n−1)…(n−d+1)/nᵈ times its infinite-width value; √det g and R are biased at O(1/n).
    """
    if sampler not in SAMPLERS:
        raise InvalidInput(f"sampler is {sampler!r}; available: {', '.join(SAMPLERS)}")
    points = as_points(x)
    if points.ndim != 2 or points.shape[0] == 0:
        shape = tuple(points.shape)
        raise InvalidInput(f"x has shape {shape}; pass points of shape (N, d), N >= 1 (one point: x[None])")
    dim = int(points.shape[1])
    width = positive_integer(width, "width")
    samples = positive_integer(samples, "samples", 2, "a standard error needs two replicates")
    wanted = _quantities(quantities)
    if width < dim and {"ricci_scalar", "log_volume_element", "log_mean_det_metric"} & set(wanted):
        raise too_narrow(width, dim)
    if executor is not None and not isinstance(executor, Executor):
        raise InvalidInput(f"executor is {executor!r}; pass a concurrent.futures.Executor or None")
    if progress is not None and not callable(progress):
        raise InvalidInput(f"progress is {progress!r}; pass a callable (done, total) or None")
    real = float_dtype(dtype)
    as_points(points.to(real), name=f"x in {real}")  # 1e39 is finite in float64 only
    specification = specify(mlp, weight_std, bias_std, parameters)
    task = ReplicateTask(
        specification=specification,
        x=points.to(device="cpu", dtype=torch.float64).contiguous().numpy(),
        width=width,
        seed=seed_integer(seed, 63),
        quantities=wanted,
        dtype=real,
        device=checked_device(device),
        memory_budget=positive_integer(memory_budget, "memory_budget"),
    )
    constant = _curvature_note(specification.piecewise_linear, dim) if "ricci_scalar" in wanted else ""

    running: dict[str, RunningMean | RunningLogMean] = {}
    for done, arrays in enumerate(_in_order(executor, partial(run_replicate, task), samples), start=1):
        for name, value in _values(arrays, wanted):
            if name not in running:
                running[name] = RunningLogMean() if name == "log_mean_det_metric" else RunningMean()
            running[name].add(value)
        if progress is not None:
            progress(done, samples)
    estimates = {name: mean.estimate() for name, mean in running.items()}
    if constant:
        zero = estimates["ricci_scalar"].mean
        estimates["ricci_scalar"] = Estimate(zero, torch.zeros_like(zero), samples, exact=True, note=constant)
    return FiniteEstimates(width, samples, dim, task.seed, **estimates)


def _quantities(names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return QUANTITIES
    given = (names,) if isinstance(names, str) else tuple(names)
    if not given or (unknown := [name for name in given if name not in QUANTITIES]):
        raise InvalidInput(f"quantities is {given and unknown}; choose from {', '.join(QUANTITIES)}")
    return tuple(name for name in QUANTITIES if name in given)


def _curvature_note(piecewise_linear: bool, dim: int) -> str:
    """Return why R is 0 in every replicate, or nothing."""
    if dim == 1:
        return ONE_DIMENSION
    return PIECEWISE_LINEAR if piecewise_linear else ""


def _values(arrays: dict[str, Any], wanted: tuple[str, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the quantities of one replicate, as float64 tensors."""
    log_determinant = torch.from_numpy(arrays["log_determinant"]) if "log_determinant" in arrays else None
    for name in wanted:
        if name in arrays:
            yield name, torch.from_numpy(arrays[name])
        elif log_determinant is not None:
            if name == "log_mean_det_metric":
                yield name, log_determinant
            elif name == "log_volume_element":
                yield name, 0.5 * log_determinant
            elif name == "volume_element":
                yield name, (0.5 * log_determinant).exp()


def _in_order(executor: Executor | None, function: Callable[[int], Any], count: int) -> Iterator[Any]:
    """Yield function(0), …, function(count − 1), with a bounded number of them in flight on `executor`."""
    if executor is None:
        yield from map(function, range(count))
        return
    ahead = 4 * (os.cpu_count() or 1)
    pending: deque[Future[Any]] = deque()
    try:
        for index in range(count):
            pending.append(executor.submit(function, index))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
