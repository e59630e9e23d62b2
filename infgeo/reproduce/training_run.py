"""Training with a tracker beside it, that goes on where it was interrupted."""

import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from infgeo.errors import InfgeoError
from infgeo.reproduce.seed_runs import Place, check_stop
from infgeo.tracking import GeometryTracker, History
from infgeo.training import Recipe, Task, TrainingResult, train

QUANTITIES = ("log10_volume", "predictions", "entropy")


def trained(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    seed: int,
    place: Place,
    label: str,
    probes: Any,
    layers: Sequence[str],
    epochs: Sequence[int],
    *,
    loss: Any = None,
    quantities: Sequence[str] = QUANTITIES,
    **options: Any,
) -> tuple[TrainingResult, History, dict[str, float]]:
    """Train with a tracker that records after these `epochs`, from the checkpoint if there is one.

    The arguments are those of `train` and `GeometryTracker`, which takes the `options`; `label` tells the networks of a
    seed apart. Besides the result and what was recorded, the seconds of a step and of a record are returned; a training
    that was resumed counts the steps of its last part alone.

    Raises KeyboardInterrupt where the training was interrupted: what it had is in its checkpoint and its records.
    """
    checkpoint, records = (place.folder / f"seed-{seed}-{label}.{ending}" for ending in ("pt", "records"))
    if not (checkpoint.exists() and records.exists()):  # half of what a run needs to go on is none
        checkpoint.unlink(missing_ok=True)
        records.unlink(missing_ok=True)
    model.to(place.device)
    _, batches = recipe.batches(len(task.inputs))
    due = sorted({epoch * batches for epoch in epochs})
    tracker = GeometryTracker(
        model, at=probes, features=list(layers), every=due, quantities=quantities, path=records, **options
    )

    made: list[tuple[int, float]] = []  # the steps of this call, and when they ended

    def report(step: int, _steps: int) -> None:
        if place.progress is not None:
            place.progress(seed, label, step // batches, recipe.epochs)

    result = train(
        model,
        task.to(place.device),
        recipe,
        seed=seed,
        callbacks=(tracker, check_stop, lambda step, _: made.append((step, time.perf_counter()))),
        checkpoint=checkpoint,
        progress=report,
        loss=loss,
    )
    history = tracker.history
    tracker.close()
    if result.interrupted:
        raise KeyboardInterrupt
    missing = sorted(set(due) - set(history.steps.tolist()))
    if missing:
        raise InfgeoError(f"{records} lacks the steps {missing}; remove {place.folder} and start again")
    costs = {}
    if made:
        (first, start), (last, end) = made[min(2, len(made) - 2)], made[-1]  # the first steps prepare what the rest use
        recorded = history.costs[history.steps > first].sum()
        costs = {"seconds_a_step": float(end - start - recorded) / max(1, last - first)}
        costs["seconds_a_record"] = float(history.costs[-1])
    return result, history, costs
