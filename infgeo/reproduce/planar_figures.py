"""XOR, the sinusoid and its deep sibling: networks of two inputs, whose geometry is measured on a grid.

What is measured is the paper's claim in both parts. Symmetry: the share of the variance of log √det g that |x| alone
explains, 1 at infinite width, and the standard deviation of the rest, 0 at infinite width, before and after training.
Random networks fluctuate as 1/√n: at width 250 the share is near 1 before training, at width 8 it is not, and the rest
is the telling number. Magnification: log √det g against the distance to the decision boundary of the trained network
and against its predictive entropy, at equal |x|, before and after training.

Source: arXiv 2301.11375, section 4 and appendix on experiments. Figure 1 is the sinusoid with [2, 250, 2]; the deep
network [2, 8, 8, 8, 2] is shown layer by layer in the appendix. Architectures, learning rates, numbers of epochs and
the grid of 40 × 40 points are those of the authors' published scripts; which epochs are shown, and the region around
XOR, are chosen here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev

import infgeo
from infgeo.magnification import agreement, decision_boundary, symmetry
from infgeo.reproduce.claims import Claim, measured
from infgeo.reproduce.near_boundary import before_and_after, magnification_claims
from infgeo.reproduce.planar_picture import picture as picture
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import Panels, Planar
from infgeo.reproduce.training_run import trained
from infgeo.tracking import Probe, grid
from infgeo.training import Task, mlp, noisy_xor, sinusoid, xor


def task_of(settings: Planar, seed: int) -> Task:
    """Return the task, its points drawn from `seed` where they are random."""
    if settings.task == "xor":
        return xor()
    return {"noisy_xor": noisy_xor, "sinusoid": sinusoid}[settings.task](seed=seed)


def grid_of(settings: Planar) -> Probe:
    """Return the grid on which the geometry is measured."""
    return grid((-settings.half_width, settings.half_width), points=settings.points)


def law(settings: Planar, depth: int, points: np.ndarray) -> np.ndarray:
    """Return log₁₀ √det g (P,) of the network of infinite width, with the scales of the paper's parametrisation.

    It depends on |x|² alone, smoothly: it is evaluated at nine values, and interpolated between them.
    """
    square = (points**2).sum(axis=1)
    network = infgeo.MLP(settings.activation, depth=depth, weight_std=1, bias_std=1)
    geometry = network.numeric()

    def at(s: np.ndarray) -> np.ndarray:
        radius = np.sqrt(np.maximum(s, 0.0))
        values: np.ndarray = geometry.log_volume_element(np.stack((radius, np.zeros_like(radius)), -1)) / np.log(10)
        return values

    curve: np.ndarray = Chebyshev.interpolate(at, 8, domain=[0.0, square.max()])(square)
    return curve


def measure(settings: Panels, seed: int, place: Place) -> SeedResult:
    """Train each network of the figure and measure it."""
    start = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    statistics: dict[str, Any] = {}
    for name, row in zip(settings.names, settings.rows, strict=True):
        made, numbers = _measure_row(row, seed, place, name)
        arrays |= {f"{name}.{key}": value for key, value in made.items()}
        statistics[name] = numbers
    return SeedResult(seed, arrays, statistics, time.perf_counter() - start)


def _measure_row(row: Planar, seed: int, place: Place, label: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    task = task_of(row, seed)
    model = mlp(row.widths, row.activation, seed=seed)
    layers, probe = row.layers, grid_of(row)
    result, history = trained(model, task, row.recipe, seed, place, label, probe, layers, row.shown)
    volume = {layer: history.quantity("log10_volume", layer) for layer in layers}
    logits, entropy = history.quantity("logits"), history.quantity("entropy")
    points = probe.coordinates.numpy()
    laws = {layer: law(row, depth, points) for depth, layer in enumerate(layers, 1)}
    numbers = {
        "accuracy": result.accuracy,
        "test_accuracy": result.test_accuracy,
        "loss": result.losses[-1],
        "layers": {
            layer: statistics_of(probe, volume[layer], logits[-1], entropy[-1], laws[layer], row.half_width, seed)
            for layer in layers
        },
    }
    arrays = {
        "log10_volume": np.stack(list(volume.values())).astype(np.float32),  # (layers, epochs, points)
        "logits": logits.astype(np.float32),
        "entropy": entropy.astype(np.float32),
        "law": np.stack(list(laws.values())).astype(np.float32),
        "points": points,
        "inputs": task.inputs.numpy(),
        "labels": task.labels.numpy(),
    }
    return arrays, numbers


def statistics_of(
    probe: Probe,
    volume: np.ndarray,
    logits: np.ndarray,
    entropy: np.ndarray,
    law_here: np.ndarray,
    half_width: float,
    seed: int,
) -> dict[str, Any]:
    """Return the statistics of one layer's log₁₀ volume (epochs, P), with the boundary of the trained network."""
    points = probe.coordinates.numpy()
    line = decision_boundary(points, logits, probe.shape)
    radial = [symmetry(points, v, within=half_width) for v in volume]
    found: dict[str, Any] = {
        "share": [result.share for result in radial],
        "rest": [result.spread for result in radial],
        "law_variation": float(np.ptp(law_here)),
        "agreement_with_law": [agreement(v, law_here).r2_shifted for v in (volume[0], volume[-1])],
        "boundary_length": line.length,
    }
    if not line:  # one class everywhere: nothing to be near to
        return found
    distance = line.distance(points)
    found |= before_and_after(volume, distance, entropy=entropy, points=points, shape=probe.shape, seed=seed)
    return found


def claims(settings: Panels, results: Sequence[SeedResult]) -> list[Claim]:
    """Return both parts of the claim for each row and layer."""
    made: list[Claim] = []
    for name, row in zip(settings.names, settings.rows, strict=True):
        seeds = [r.statistics[name] for r in results]
        prefix = f"{name}, " if len(settings.rows) > 1 else ""
        accuracy = "test_accuracy" if seeds[0]["test_accuracy"] is not None else "accuracy"
        made.append(
            measured(f"{prefix}{accuracy}", f"{prefix}{accuracy.replace('_', ' ')}", [s[accuracy] for s in seeds])
        )
        for layer in row.layers:
            where = f"{prefix}layer {layer.removeprefix('activation')}, " if len(row.widths) > 3 else prefix
            made += layer_claims(where, [s["layers"][layer] for s in seeds])
    return made


def layer_claims(where: str, layers: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Return the claims on one layer, from its statistics in each seed."""

    def symmetry_claim(key: str, words: str, direction: int) -> list[Claim]:
        first, last = [s[key][0] for s in layers], [s[key][-1] for s in layers]
        gain = [b - a for a, b in zip(first, last, strict=True)]
        return [
            measured(f"{where}{key} before", f"{where}{words} before training", first),
            measured(f"{where}{key} after", f"{where}{words} after", last),
            measured(f"{where}{key} change", f"{where}{words}: change by training", gain, direction),
        ]

    law_r2 = "R² of log √det g with the law of infinite width (offset free)"
    return [
        *(
            measured(f"{where}law {when}", f"{where}{law_r2}, {words}", [s["agreement_with_law"][at] for s in layers])
            for at, when, words in ((0, "before", "before training"), (1, "after", "after"))
        ),
        *symmetry_claim("share", "share of Var(log √det g) that |x| explains", -1),
        *symmetry_claim("rest", "decades of log₁₀ √det g that |x| does not explain", 1),
        *magnification_claims(where, layers),
    ]


def notes(settings: Panels) -> list[str]:
    """Return what a reader must know beside the numbers."""
    return [
        "At infinite width |x| explains all of log √det g: the share is 1 and the rest 0.",
        "Measures of magnification are at equal |x|; the boundary is that of the trained network, also for the numbers "
        "before training. The band holds the tenth of the grid that is nearest to the boundary.",
    ]
