"""XOR, the sinusoid and its deep sibling: networks of two inputs, whose geometry is measured on a grid.

What is compared is the paper's claim in both directions. Symmetry: the share of the variance of log √det g that |x| alone
explains, which is 1 at infinite width, before and after training. Magnification: log √det g against the distance to the
decision boundary of the trained network and against its predictive entropy, again before and after, so that what a
radial law would give anyway cancels.

Source: arXiv 2301.11375, section 4 and appendix on experiments. Figure 1 is the sinusoid with [2, 250, 2]; the deep
network [2, 8, 8, 8, 2] is shown layer by layer in the appendix. Architectures, learning rates, numbers of epochs and
the grid of 40 × 40 points are those of the authors' published scripts; which epochs are shown, and the region around
XOR, are chosen here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import infgeo
from infgeo.errors import InfgeoError
from infgeo.magnification import agreement, decision_boundary, magnification, symmetry
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.seeds import Place, check_stop
from infgeo.reproduce.settings import Panels, Planar
from infgeo.tracking import GeometryTracker, Probe, grid
from infgeo.training import Task, TrainingResult, mlp, noisy_xor, sinusoid, train, xor

QUANTITIES = ("log10_volume", "predictions", "entropy")


def task_of(settings: Planar, seed: int) -> Task:
    """Return the task, its points drawn from `seed` where they are random."""
    if settings.task == "xor":
        return xor()
    return {"noisy_xor": noisy_xor, "sinusoid": sinusoid}[settings.task](seed=seed)


def layers_of(settings: Planar) -> tuple[str, ...]:
    """Return the names of the hidden layers' features."""
    return tuple(f"activation{i + 1}" for i in range(len(settings.widths) - 2))


def grid_of(settings: Planar) -> Probe:
    """Return the grid on which the geometry is measured."""
    return grid((-settings.half_width, settings.half_width), points=settings.points)


def law(settings: Planar, depth: int, points: np.ndarray) -> np.ndarray | None:
    """Return log₁₀ √det g (P,) of the infinitely wide network, or None where it cannot be evaluated.

    It depends on |x| alone, so that it is evaluated at some radii and interpolated between.
    """
    radius = np.hypot(*points.T)
    at = np.linspace(0.0, radius.max(), 33)
    network = infgeo.MLP(settings.activation, depth=depth, weight_std=1, bias_std=1)
    try:
        geometry = network.numeric(method="auto")
        values = geometry.log_volume_element(np.stack((at, np.zeros_like(at)), -1))
    except InfgeoError:
        return None
    from scipy.interpolate import CubicSpline

    curve: np.ndarray = CubicSpline(at, np.asarray(values) / np.log(10))(radius)
    return curve


def measure(settings: Panels, seed: int, place: Place) -> SeedResult:
    """Train each network of the figure and measure it."""
    start = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    statistics: dict[str, Any] = {}
    for number, row in enumerate(settings.rows):
        name = row_name(settings, number)
        made, numbers = _measure_row(row, seed, place, f"{number}")
        arrays |= {f"{name}.{key}": value for key, value in made.items()}
        statistics[name] = numbers
    return SeedResult(seed, arrays, statistics, time.perf_counter() - start)


def row_name(settings: Panels, number: int) -> str:
    """Return the name of a row: its task, numbered where tasks repeat."""
    name = settings.rows[number].task
    return name if [row.task for row in settings.rows].count(name) == 1 else f"{name}{number + 1}"


def _measure_row(row: Planar, seed: int, place: Place, label: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    task = task_of(row, seed)
    model = mlp(row.widths, row.activation, seed=seed)
    layers, probe = layers_of(row), grid_of(row)
    batches = -(-len(task.inputs) // (row.recipe.batch_size or len(task.inputs)))
    steps = [epoch * batches for epoch in row.shown]
    result, history = trained(model, task, row.recipe, seed, place, label, probe, layers, steps)
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
        "points": points,
        "inputs": task.inputs.numpy(),
        "labels": task.labels.numpy(),
    }
    known = [value for value in laws.values() if value is not None]
    if len(known) == len(laws):
        arrays["law"] = np.stack(known).astype(np.float32)
    return arrays, numbers


def trained(
    model: Any,
    task: Task,
    recipe: Any,
    seed: int,
    place: Place,
    label: str,
    probes: Any,
    layers: Sequence[str],
    steps: Sequence[int],
    **options: Any,
) -> tuple[TrainingResult, Any]:
    """Train with a tracker at `steps`, from the checkpoint if there is one; return the result and the history.

    Raises KeyboardInterrupt where the training was interrupted: what it had is in its checkpoint and its records.
    """
    checkpoint, records = place.checkpoint(seed, label), place.records(seed, label)
    if not (checkpoint.exists() and records.exists()):  # half of what a run needs to go on is none
        checkpoint.unlink(missing_ok=True)
        records.unlink(missing_ok=True)
    model.to(place.device)
    loss = options.pop("loss", None)
    tracker = GeometryTracker(model, at=probes, features=list(layers), every=sorted(set(steps)), path=records, **options)
    result = train(
        model,
        task.to(place.device),
        recipe,
        seed=seed,
        callbacks=(tracker, check_stop),
        checkpoint=checkpoint,
        loss=loss,
    )
    if result.interrupted:
        tracker.close()
        raise KeyboardInterrupt
    history = tracker.history
    tracker.close()
    missing = sorted(set(steps) - set(history.steps.tolist()))
    if missing:
        raise InfgeoError(f"{Path(records).name} lacks the steps {missing}; remove {place.folder} and start again")
    return result, history


def statistics_of(
    probe: Probe,
    volume: np.ndarray,
    logits: np.ndarray,
    entropy: np.ndarray,
    law_here: np.ndarray | None,
    half_width: float,
    seed: int,
) -> dict[str, Any]:
    """Return the statistics of one layer's log₁₀ volume (epochs, P), with the boundary of the trained network."""
    points = probe.coordinates.numpy()
    line = decision_boundary(points, logits, probe.shape)
    shares = [symmetry(points, v, within=half_width).share for v in volume]
    found: dict[str, Any] = {"symmetry": shares, "boundary_length": line.length}
    if law_here is not None:
        found["agreement_with_law"] = [agreement(v, law_here).r2_shifted for v in (volume[0], volume[-1])]
    if not line:  # one class everywhere: nothing to be near to
        return found
    distance = line.distance(points)
    for when, v in (("before", volume[0]), ("after", volume[-1])):
        result = magnification(v, distance, entropy=entropy, points=points, shape=probe.shape, seed=seed)
        found[when] = magnification_numbers(result)
    return found


def magnification_numbers(result: Any) -> Mapping[str, Any]:
    """Return the measures of a `Magnification` with their p-values, at equal |x| where that is defined."""
    numbers: dict[str, Any] = {"null": result.null, "moves": result.moves, "band_width": result.band_width}
    for name in ("band", "distance", "entropy"):
        measure = getattr(result, name)
        if measure is not None:
            numbers[name] = {
                "value": measure.value,
                "p": measure.p,
                "at_equal_radius": measure.at_equal_radius,
                "p_at_equal_radius": measure.p_at_equal_radius,
            }
    return numbers
