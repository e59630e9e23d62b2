"""One layer at nearly infinite width: Sobol nets in place of independent units, for the metric and what is biased."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

from infgeo.finite import FiniteEstimates, estimate
from infgeo.validation.batches import Simulation
from infgeo.validation.comparison import compared
from infgeo.validation.findings import Comparison
from infgeo.validation.theory import Theory

NETS = 32
MOST_DIMENSIONS = 12
QUANTITIES = ("metric_radial", "metric_tangential", "volume_element", "log_volume_element", "ricci_scalar")


def run_nets(simulation: Simulation, units: int, executor: Executor | None) -> FiniteEstimates:
    """Return means over 32 scrambled nets of `units` units.

    A net is no random network: its bias is of second order in its own error, far below the standard error.
    """
    return estimate(
        simulation.network,
        simulation.points,
        units,
        NETS,
        "sobol",
        executor,
        seed=simulation.seed,
        quantities=tuple(name for name in QUANTITIES if name in simulation.quantities),
        bias_correction=False,
        **simulation.scales,
    )


def compare_nets(nets: FiniteEstimates, theory: Theory, radii: Sequence[float], units: int) -> list[Comparison]:
    """Return comparisons of the infinite-width values with means over nets."""
    rows = []
    for name in QUANTITIES:
        value = getattr(nets, name)
        if name not in theory.values or value is None or value.exact:
            continue
        mean, error, expected = value.mean.numpy(), value.standard_error.numpy(), theory.values[name]
        for i, radius in enumerate(radii):
            if error[i] > 0:
                row = compared(name, i, radius, None, expected[i], mean[i], error[i], NETS - 1)
                rows.append(replace(row, note=f"{NETS} Sobol nets of {units} units"))
    return rows
