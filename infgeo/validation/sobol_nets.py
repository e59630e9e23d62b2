"""One layer at nearly infinite width: Sobol nets in place of independent units, for the metric and what is biased."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from infgeo.finite import estimate
from infgeo.results import Comparison
from infgeo.validation.simulation import Simulation
from infgeo.validation.statistics import student_p
from infgeo.validation.theory import Theory

NETS = 32
MOST_DIMENSIONS = 12
QUANTITIES = ("metric_radial", "metric_tangential", "volume_element", "log_volume_element", "ricci_scalar")


def compare_nets(
    simulation: Simulation,
    theory: Theory,
    radii: list[float],
    units: int,
    executor: Executor | None,
    advance: Callable[[int], object],
) -> list[Comparison]:
    """Return comparisons of the infinite-width values with means over 32 scrambled nets of `units` units.

    A net is no random network: its bias is of second order in its own error, far below the standard error.
    """
    names = tuple(name for name in QUANTITIES if name in theory.values)
    got = estimate(
        simulation.network,
        simulation.points,
        units,
        NETS,
        "sobol",
        executor,
        seed=simulation.seed,
        quantities=names,
        bias_correction=False,
        **simulation.scales,
    )
    advance(NETS)
    rows = []
    for name in names:
        value = getattr(got, name)
        if value.exact:
            continue
        mean, error = value.mean.numpy(), value.standard_error.numpy()
        expected = np.asarray(theory.values[name])
        for i, radius in enumerate(radii):
            if not error[i] > 0:
                continue
            z = float((mean[i] - expected[i]) / error[i])
            row = Comparison(
                name,
                i,
                radius,
                None,
                float(expected[i]),
                float(mean[i]),
                float(error[i]),
                z,
                student_p(z, NETS - 1),
                True,
            )
            rows.append(replace(row, note=f"{NETS} Sobol nets of {units} units"))
    return rows
