"""The second stage of a validation: the networks of every width, and the Sobol nets."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from infgeo.finite import FiniteEstimates
from infgeo.interruption import termination_as_interrupt
from infgeo.validation.batches import NETS, Pooled, Simulation, run_width


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
    try:
        with termination_as_interrupt():
            for width in widths:
                pooled[width] = run_width(simulation, width, executor, advance)
            if not net_units:
                return Simulated(pooled)
            nets = simulation.run_nets(net_units, executor)
            advance(NETS)
            return Simulated(pooled, nets)
    except KeyboardInterrupt:
        return Simulated(pooled, partial=True)
