"""The second stage of a validation: the networks of every width, and the Sobol nets."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from infgeo.finite import FiniteEstimates
from infgeo.interruption import termination_as_interrupt
from infgeo.validation.batches import NETS, Pooled, run_width
from infgeo.validation.design import Design


@dataclass(frozen=True, eq=False)
class Simulated:
    """What was simulated: {width: {quantity: mean and spread}}, the nets, and whether the run was interrupted."""

    pooled: Mapping[int, Mapping[str, Pooled]]
    nets: FiniteEstimates | None = None
    partial: bool = False


def simulate(design: Design, executor: Executor | None, progress: Callable[[int, int], object] | None) -> Simulated:
    """Run the widths from narrow to wide, then the nets; an interrupt keeps the widths that are complete."""
    total = design.simulation.samples * len(design.widths) + (NETS if design.net_units else 0)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    pooled: dict[int, Mapping[str, Pooled]] = {}
    try:
        with termination_as_interrupt():
            for width in design.widths:
                pooled[width] = run_width(design.simulation, width, executor, advance)
            if not design.net_units:
                return Simulated(pooled)
            nets = design.simulation.run_nets(design.net_units, executor)
            advance(NETS)
            return Simulated(pooled, nets)
    except KeyboardInterrupt:
        return Simulated(pooled, partial=True)
