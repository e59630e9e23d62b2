"""The simulated side: replicate means at every width, in independent batches that can run in other processes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from infgeo.finite import FiniteEstimates, estimate
from infgeo.finite.reduction import Workers
from infgeo.interruption import termination_as_interrupt
from infgeo.processes import cores, process_context, worker_pool

BATCHES = 16
# One layer at nearly infinite width: Sobol nets in place of independent units, for the metric and what is biased.
NETS = 32
MOST_NET_DIMENSIONS = 12
NET_QUANTITIES = ("metric_radial", "metric_tangential", "volume_element", "log_volume_element", "ricci_scalar")


@dataclass(frozen=True)
class Simulation:
    """What is simulated at every width: a network with numbers for its scales, at fixed points.

    `network` carries the few attributes that `infgeo.finite` reads, so that it travels light between processes.
    """

    network: Any
    points: np.ndarray  # (N, d)
    samples: int
    seed: int
    quantities: tuple[str, ...]
    scales: Mapping[str, Any]

    @property
    def batch_sizes(self) -> list[int]:
        """Sizes of the batches, each at least 2."""
        count = max(1, min(BATCHES, self.samples // 4))
        return [self.samples // count + (i < self.samples % count) for i in range(count)]

    def run_batch(
        self, width: int, batch: int, progress: Callable[[int, int], object] | None = None
    ) -> FiniteEstimates:
        """Return the estimates of one batch; its seed is made of (seed, batch), and `estimate` mixes in the width."""
        seed = int(np.random.SeedSequence((self.seed, batch)).generate_state(1, np.uint64)[0] >> np.uint64(1))
        options = {"seed": seed, "quantities": self.quantities, "progress": progress, **self.scales}
        return estimate(self.network, self.points, width, self.batch_sizes[batch], bias_correction=False, **options)

    def run_nets(self, units: int, executor: Executor | None) -> FiniteEstimates:
        """Return means over 32 scrambled Sobol nets of `units` units.

        A net is no random network: its bias is of second order in its own error, far below the standard error.
        """
        quantities = tuple(name for name in NET_QUANTITIES if name in self.quantities)
        options = {"seed": self.seed, "quantities": quantities, **self.scales}
        return estimate(self.network, self.points, units, NETS, "sobol", executor, bias_correction=False, **options)


@contextmanager
def simulation_pool(jobs: int | None) -> Iterator[Executor | None]:
    """Yield an executor with `jobs` processes (default: one for each core at hand), or None for one job."""
    jobs = min(cores() if jobs is None else jobs, BATCHES)  # no more than there are batches
    if jobs == 1:
        yield None
        return
    with worker_pool(jobs, process_context([__name__])) as pool:
        yield pool


@dataclass(frozen=True)
class Pooled:
    """One quantity at one width: mean and standard error over all replicates, and the spread between networks.

    `mean` and `standard_error` have the quantity's shape; of logs of means the standard error is relative. `exact` and
    `note` as in `finite.Estimate`. `squares` (batches, ...) are sums of squares within the batches, of `sizes` networks
    each, and `unit` what the spread is measured in: the mean where it is relative, else 1.
    """

    mean: np.ndarray
    standard_error: np.ndarray
    samples: int
    exact: bool
    note: str
    squares: np.ndarray
    sizes: np.ndarray
    unit: np.ndarray

    def spread_at(self, entries: np.ndarray) -> tuple[float, float]:
        """Return the mean of log sd over some of the entries, a mask of the quantity's shape, and its standard error.

        The entries of one batch come from the same networks; so the error is taken from batch to batch, of the mean
        over entries of (variance in the batch / variance), which is the linear response of the log to each batch. It
        makes no assumption about tails.
        """
        freedom, within = self.sizes - 1, self.squares[:, entries]
        variance = within.sum(axis=0) / freedom.sum()
        random = variance > 0
        if not random.any() or len(freedom) < 2:
            return -np.inf, np.inf
        ratios = (within[:, random] / freedom[:, None] / variance[random]).mean(axis=1)
        log_sd = 0.5 * np.log(variance[random]) - np.log(self.unit[entries][random])
        # weights freedom / sum: the pooled variance is the weighted mean of the batches' variances
        weights = freedom / freedom.sum()
        error = 0.5 * np.sqrt((weights**2 * (ratios - 1) ** 2).sum() * len(freedom) / (len(freedom) - 1))
        return float(log_sd.mean()), float(error)


def run_width(
    simulation: Simulation, width: int, executor: Executor | None, advance: Callable[[int], object]
) -> dict[str, Pooled]:
    """Simulate all batches of one width and pool them; `advance(k)` is told of every k replicates done."""
    sizes = simulation.batch_sizes
    if executor is None:
        batches = [simulation.run_batch(width, i, lambda _done, _total: advance(1)) for i in range(len(sizes))]
    else:
        batches = []
        for found in Workers(executor).in_order(partial(simulation.run_batch, width), range(len(sizes))):
            advance(sizes[len(batches)])
            batches.append(found)
    return {
        name: pool([getattr(batch, name) for batch in batches], logs=name == "log_mean_det_metric")
        for name in simulation.quantities
        if getattr(batches[0], name) is not None
    }


def pool(estimates: list[Any], logs: bool) -> Pooled:
    """Pool batches of one quantity (Chan's update of means and sums of squares).

    `logs`: the means are logs of means and the standard errors relative; they are pooled on a common scale.
    """
    sizes = np.array([e.samples for e in estimates], dtype=float)
    means = np.stack([np.asarray(e.mean, dtype=float) for e in estimates])
    errors = np.stack([np.asarray(e.standard_error, dtype=float) for e in estimates])
    shift = means.max(axis=0) if logs else np.zeros_like(means[0])
    if logs:
        means = np.exp(means - shift)
        errors = errors * means
    count = sizes.sum()
    column = sizes.reshape(-1, *(1,) * (means.ndim - 1))
    mean = (column * means).sum(axis=0) / count
    within = errors**2 * column * (column - 1)
    squares = within.sum(axis=0) + (column * (means - mean) ** 2).sum(axis=0)
    error = np.sqrt(squares / (count - 1) / count)
    unit = mean if logs else np.ones_like(mean)
    if logs:
        mean, error = shift + np.log(mean), error / mean
    first = estimates[0]
    return Pooled(mean, error, int(count), first.exact, first.note, within, sizes, unit)


@dataclass(frozen=True, eq=False)
class Simulated:
    """What was simulated: {width: {quantity: mean and spread}}, the nets, and whether the run was interrupted."""

    pooled: Mapping[int, Mapping[str, Pooled]]
    nets: FiniteEstimates | None = None
    partial: bool = False


def simulate(
    simulation: Simulation,
    widths: Sequence[int],
    net_units: int,
    executor: Executor | None,
    progress: Callable[[int, int], object] | None,
) -> Simulated:
    """Run the widths from narrow to wide, then nets (0 units: none); an interrupt keeps the complete widths."""
    total = simulation.samples * len(widths) + (NETS if net_units else 0)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    pooled: dict[int, Mapping[str, Pooled]] = {}
    nets = None
    try:
        with termination_as_interrupt():
            for width in widths:
                pooled[width] = run_width(simulation, width, executor, advance)
            if net_units:
                nets = simulation.run_nets(net_units, executor)
                advance(NETS)
    except KeyboardInterrupt:
        return Simulated(pooled, partial=True)
    return Simulated(pooled, nets)
