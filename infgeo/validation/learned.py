"""Validation of `infgeo.learned`: the shift by learning against networks that learn, on a ladder of widths."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from math import ceil, log10
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from infgeo.arguments import fraction, positive_integer, seed_integer
from infgeo.errors import InvalidInput
from infgeo.finite.deep_learning import DeepLearningTask
from infgeo.finite.learning import LearningTask, added
from infgeo.finite.sampled_network import specify
from infgeo.numeric.learned.geometry import LearnedGeometry, has_smooth_slope
from infgeo.validation import comparison
from infgeo.validation.design import checked_points, checked_widths, default_points
from infgeo.validation.report import ValidationReport, configuration_of, judged

WIDTHS = (128, 256, 512, 1024)
BATCHES = 32
SAMPLES = 4096
_FEWEST_EFFECTIVE = 100  # networks of a width; where fewer are left, chains sample the posterior


def validate_learned(
    learned: LearnedGeometry,
    points: ArrayLike | None,
    widths: Iterable[int] | None,
    samples: int | None,
    seed: int,
    level: float,
    progress: Callable[[int, int], object] | None,
) -> ValidationReport:
    """Compare n times the simulated shift of metric, kernel, volume and R, extrapolated to large n, with theory.

    Of several layers these are the shifts of each, without R. At width n it is the coefficient of 1/n, with a remainder
    that falls as 1/n: see `infgeo.validate`.
    """
    d, seed, level = learned.inputs.shape[1], seed_integer(seed, 62), fraction(level, "level")
    x = default_points(d, seed)[::2] / 2 if points is None else checked_points(points, d)
    rungs = checked_widths(WIDTHS if widths is None else widths, d, metric=True)
    if len(rungs) < 3:
        raise InvalidInput(f"widths is {rungs}: shifts are extrapolated; pass three or more, for example {WIDTHS}")
    count = positive_integer(SAMPLES if samples is None else samples, "samples", 8 * BATCHES)
    specification = specify(learned.mlp)
    inputs, labels, at = (torch.from_numpy(part) for part in (learned.inputs, learned.labels, x))
    data = (specification, inputs, labels, at, learned.noise_variance)
    mean_field = learned.parametrisation == "mean_field"
    rate, flows = learned.time or learned.learning_rate or 0.0, learned.time is not None
    if rate == np.inf:
        raise InvalidInput(
            "time is inf, and simulated networks learn for a finite one: pass a learned geometry of such a time"
        )
    task = LearningTask(*data, rate, mean_field, flows)
    if learned.mlp.depth > 1:
        smooth = all(has_smooth_slope(layer.activation) for layer in learned.mlp.with_weights)
        task = DeepLearningTask(*data, smooth=smooth)
    expected, errors = _theory(learned, x)
    largest = max(float(np.abs(value).max()) for name, value in expected.items() if name.startswith("volume_shift"))
    if not mean_field and largest > rungs[0]:
        raise InvalidInput(
            f"widths is {rungs}: n times the shift of log sqrt det g reaches {largest:.2g}, and first order says"
            f" nothing at n = {rungs[0]}; pass widths from {10 ** ceil(log10(4 * largest))} on, or a larger"
            " noise_variance"
        )
    found: list[dict[str, np.ndarray]] = []
    effective: list[float] = []
    chained: list[int] = []
    for width in rungs:
        seeds = [
            int(np.random.SeedSequence((seed, width, batch)).generate_state(1, np.uint64)[0] >> np.uint64(2))
            for batch in range(BATCHES)
        ]
        parts = []
        for number, one in enumerate(seeds, start=1):
            parts.append(task.sums(width, count // BATCHES, one))
            if progress is not None:
                progress(len(found) * BATCHES + number, len(rungs) * BATCHES)
        total: Any = reduce(added, parts)
        if learned.rule == "posterior":
            effective.append(float(total["weight", ""] ** 2 / total["square", ""]))
            if not effective[-1] >= _FEWEST_EFFECTIVE:  # weights that overflow make it no number
                chained.append(width)
                parts = [task.sums_by_chains(width, count // BATCHES, one) for one in seeds]
                total = reduce(added, parts)
        # Jackknife: without one batch after the other.
        others = [{key: value - one[key] for key, value in total.items()} for one in parts]
        whole, *rest = (task.changes(width, sums) for sums in (total, *others))
        pseudo = {name: [BATCHES * whole[name] - (BATCHES - 1) * part[name] for part in rest] for name in expected}
        found.append({name: torch.stack(values).numpy() for name, values in pseudo.items()})
    rows, trends = [], []
    radii = np.linalg.norm(x, axis=1)
    for series in _series(found, expected, errors, rungs).values():
        for one in series:
            more_rows, more_trends = comparison.compare(one, float(radii[one.point]), unbiased=False)
            rows += more_rows
            trends += more_trends
        if (trend := comparison.bias_trend(series)) is not None:
            trends.append(trend)
    kept = [f"of {count} networks likelihoods leave {min(effective):.0f} or more"] if effective else []
    kept += [f"Hamiltonian Monte Carlo at n = {', '.join(map(str, chained))}"] if chained else []
    return judged(
        rows,
        trends,
        level,
        x,
        configuration=configuration_of(learned.mlp, specification, d)
        | {"rule": learned.rule, "kind": learned.kind, "samples": count, "seed": seed, "widths": rungs}
        | {"effective_samples": tuple(effective)},
        measurements=(),
        curve={},
        widths_done=rungs,
        notes=(
            f"shifts by learning, rule {learned.rule!r}, times n; {len(learned.inputs)} training points, theory in"
            + "; ".join([f" {learned.kind}", *kept]),
        ),
    )


def _theory(learned: LearnedGeometry, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the shifts by name, of several layers with their number, and the errors of those that have one."""
    values, errors = {}, {}
    for layer in range(1, learned.mlp.depth + 1):
        suffix = f" of layer {layer}" if learned.mlp.depth > 1 else ""
        for method in ("metric", "kernel", "volume_shift"):
            name = f"{method.removesuffix('_shift')}_shift{suffix}"
            values[name] = getattr(learned, method)(x, layer=layer)
            errors[name] = learned.standard_error(x, method, layer=layer)
    # Of one layer; where its phi' jumps, part of the curvature is in creases.
    if learned.mlp.depth == 1 and x.shape[1] > 1 and has_smooth_slope(learned.mlp.activation):
        values["ricci_shift"] = learned.ricci_shift(x)
    return values, errors


def _series(
    found: list[dict[str, np.ndarray]],
    expected: dict[str, np.ndarray],
    errors: dict[str, np.ndarray],
    widths: tuple[int, ...],
) -> dict[str, list[Any]]:
    """Return every number that is compared, over the widths: of symmetric arrays each entry once."""
    result: dict[str, list[Any]] = {}
    for name, theory in expected.items():
        kind = name.split(" ")[0]
        for at in np.ndindex(theory.shape):
            if at[-2:] != tuple(sorted(at[-2:])) and kind in ("metric_shift", "kernel_shift"):
                continue
            batches = np.stack([part[name][(slice(None), *at)] for part in found])
            error = batches.std(axis=1, ddof=1) / BATCHES**0.5
            if name in errors:
                error = np.hypot(error, errors[name][at])
            point, other = at[0], at[1] if kind == "kernel_shift" else None
            label = f"{kind} {at[1] + 1}{at[2] + 1}{name[len(kind) :]}" if kind == "metric_shift" else name
            series = comparison.WidthSeries(
                label, point, other, widths, batches.mean(axis=1), error, np.full(len(widths), theory[at]),
                np.full(len(widths), BATCHES - 1.0),
            )  # fmt: skip
            result.setdefault(label, []).append(series)
    return result
