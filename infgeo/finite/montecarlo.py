"""Monte Carlo over independent networks of one width: replicate means with standard errors, in bounded memory."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from types import NoneType
from typing import Any

import torch
from numpy.typing import ArrayLike

from infgeo.arguments import flag, function, instance, positive_integer, seed_integer, words
from infgeo.checkpoint_file import CheckpointFile
from infgeo.display import Displayed
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite.evaluation import threads
from infgeo.finite.geometry_at_points import ONE_DIMENSION, PIECEWISE_LINEAR
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, as_points, checked_device, float_dtype, too_narrow
from infgeo.finite.reduction import SECONDS, Reduction, Workers, describe, items_of, run_item, run_pickled
from infgeo.finite.replicate import CORRECTED, QUANTITIES, ReplicateTask
from infgeo.finite.running_mean import Estimate
from infgeo.finite.sampled_network import specify
from infgeo.finite.samplers import check_sampler
from infgeo.interruption import termination_as_interrupt


@dataclass(frozen=True, repr=False)
class FiniteEstimates(Displayed):
    """Replicate means with standard errors at N points, for networks of one width.

    Each quantity is an `Estimate` whose `mean` and `standard_error` are float64 CPU tensors, or None when it was not
    asked for (and `metric_tangential` in one dimension, where there is no tangential direction). Shapes: `kernel`
    (N, N), `metric` (N, d, d), all others (N,). `log_mean_det_metric` is the log of the mean of det g; its standard
    error is the relative one of that mean. `corrected` has volume_element, log_volume_element and ricci_scalar without
    their bias of O(1/n), where that can be had; `notes` say why where it cannot, and what became of lost workers.
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
    sampler: str = "iid"
    corrected: Mapping[str, Estimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def estimate(
    mlp: Any,
    x: ArrayLike,
    width: int,
    samples: int,
    sampler: str = "iid",
    executor: Executor | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    *,
    weight_std: float | Sequence[float] | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] | None = None,
    quantities: Sequence[str] | None = None,
    bias_correction: bool = True,
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> FiniteEstimates:
    """Estimate kernel, metric, volume element and Ricci scalar over independent random networks.

    Every replicate is one network, measured at all points; the standard error is sqrt(sample variance / samples), with
    Student's t of samples − 1 degrees of freedom for intervals, and points of one run share their noise. A network
    whose metric has lost rank counts with det g = 0 and √det g = 0. R is positive on spheres.

    Networks of one layer are sums over units, drawn in blocks with seeds of their own, and never all held. The same
    seed gives the same bits for any executor (for one machine, torch and NumPy version), also when a worker dies and
    its work is done again.

    With θ_n the value of a network and θ' the mean over its two halves, networks of n/2 units themselves (deep ones are
    halved in every layer), the correction 2 θ_n − θ' of Richardson has no bias of O(1/n), and nearly the same noise.

    Args:
        mlp: an `infgeo.MLP`, or an object like it (see `sample_network`).
        x: points (N, d), float tensor or array-like.
        width: n >= 1; at least d for quantities that need the metric to have full rank.
        samples: number of networks, >= 2.
        sampler: how the units of the first layer, each of them Gaussian, depend on one another. "iid": not at all, as
            in networks of width n. The others integrate over the limit of infinite width: "antithetic" (opposite
            directions, complementary radii), "orthogonal" (orthogonal directions in groups, independent radii), "sobol"
            (scrambled nets, the most precise in few dimensions; widths that are powers of 2).
        executor: any concurrent.futures.Executor to work on: processes, Dask (`Client.get_executor()`), MPI, ...
        device: torch device of the computation.
        dtype: torch.float64 (default) or torch.float32 for units and networks; sums and statistics are always float64.
        seed: 0 <= seed < 2^63.
        weight_std, bias_std: σ_w and σ_b where `mlp` leaves them symbolic; default 1. Several σ_w are those of the
            coordinates in the first layer, see `sample_network`.
        parameters: values of the activation's own free symbols, by name.
        quantities: names of the fields of `FiniteEstimates` to compute; default all.
        bias_correction: whether to compute `corrected`.
        memory_budget: bytes that intermediate arrays of one worker may take, about; for one layer at any width.
        checkpoint: a file to go on from if it is there, and to write every 10 s, on Ctrl-C or SIGTERM and at the end.
        progress: called as progress(done, total) in networks, or in blocks of units where networks have several.

    Raises:
        InvalidInput: for an argument outside its domain, by name; for a checkpoint that is damaged or of another run.
        SingularMetric: when width < d, or a drawn network's metric loses rank at a point, and a quantity needs it.

    Source: arXiv 2301.11375, section 3. At one layer E[g] and E[kernel] are exact at any width, and E[det g] =
    n(n−1)…(n−d+1)/nᵈ times its infinite-width value; √det g and R are biased at O(1/n). Orthogonal rows: Yu et al.
    2016, arXiv 1610.09072. Scrambled nets: Owen 1995.
    """
    points = as_points(x)
    if points.ndim != 2 or points.shape[0] == 0:
        shape = tuple(points.shape)
        raise InvalidInput(f"x has shape {shape}; pass points of shape (N, d), N >= 1 (one point: x[None])")
    dim = int(points.shape[1])
    check_sampler(sampler, dim)
    width = positive_integer(width, "width")
    samples = positive_integer(samples, "samples", 2, "a standard error needs two replicates")
    given = QUANTITIES if quantities is None else words(quantities, "quantities", QUANTITIES)
    wanted = tuple(name for name in QUANTITIES if name in given)
    if {"ricci_scalar", "log_volume_element", "log_mean_det_metric"} & set(wanted):
        if width < dim:
            raise too_narrow(width, dim)
        if sampler == "antithetic" and (width + 1) // 2 < dim:
            raise SingularMetric(
                f"width {width} of the antithetic sampler has {(width + 1) // 2} pairs of units in opposite directions,"
                f" fewer than {dim} coordinates: g has no inverse; use width >= {2 * dim - 1}, or sampler='iid'"
            )
    instance(executor, "executor", (Executor, NoneType), "a concurrent.futures.Executor or None")
    function(progress, "progress", "a callable (done, total)")
    bias_correction = flag(bias_correction, "bias_correction")
    real = float_dtype(dtype)
    as_points(points.to(real), name=f"x in {real}")  # 1e39 is finite in float64 only
    specification = specify(mlp, weight_std, bias_std, parameters)
    specification.first_scale(dim)  # refuses other than `dim` scales of coordinates
    task = ReplicateTask(
        specification=specification,
        x=points.to(device="cpu", dtype=torch.float64).contiguous().numpy(),
        width=width,
        seed=seed_integer(seed, 63),
        quantities=wanted,
        dtype=real,
        device=checked_device(device),
        memory_budget=positive_integer(memory_budget, "memory_budget"),
        sampler=sampler,
        # of deep networks only the first layer is a Sobol net
        bias_correction=bias_correction and (sampler != "sobol" or not specification.is_one_layer),
    )
    reduction = Reduction(task, items_of(task, samples))
    run, file = describe(reduction, samples), CheckpointFile(checkpoint, "estimate", SECONDS)
    file.resume(run, reduction.restore)
    workers = Workers(executor)
    with threads(1), termination_as_interrupt():  # sums in torch's products depend on their number
        try:
            work = partial(run_item if executor is None else run_pickled, task)
            for result in workers.in_order(work, reduction.items[reduction.done :]):
                reduction.add(result)
                if file.due(reduction.done):
                    file.save(reduction.done, run, reduction.state())
                if progress is not None:
                    progress(*reduction.progress)
        finally:
            file.save(reduction.done, run, reduction.state())
    return _estimates(task, samples, reduction, bias_correction, workers.lost)


def _estimates(
    task: ReplicateTask, samples: int, reduction: Reduction, correct: bool, notes: tuple[str, ...]
) -> FiniteEstimates:
    raw: dict[str, Estimate] = {}
    corrected: dict[str, Estimate] = {}
    for key, mean in reduction.means.items():
        name = key.removeprefix("corrected ")
        value = mean.estimate()
        if name == key:
            raw[name] = value
        elif bool(torch.isfinite(value.mean).all()):
            corrected[name] = value
    for name in (n for n in CORRECTED if correct and n in raw and n not in corrected):
        if name == "ricci_scalar" and task.order < 2:
            continue
        if not task.bias_correction:
            reason = "the bias of a Sobol net does not fall as 1/n, and is of second order in its standard error"
        elif not task.half:
            reason = f"half of {task.width} units are fewer than {task.input_dim} coordinates"
        else:
            reason = "half of a network has lost rank"
        notes = (*notes, f"{name} is not corrected: {reason}")
    if "ricci_scalar" in raw and task.order < 2:
        reason = ONE_DIMENSION if task.input_dim == 1 else PIECEWISE_LINEAR
        zero = raw["ricci_scalar"].mean
        raw["ricci_scalar"] = Estimate(zero, torch.zeros_like(zero), samples, exact=True, note=reason)
    return FiniteEstimates(
        task.width, samples, task.input_dim, task.seed, **raw, sampler=task.sampler, corrected=corrected, notes=notes
    )
