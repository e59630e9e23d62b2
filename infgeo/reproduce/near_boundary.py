"""The magnification near the decision boundary, as statistics of a seed and as claims over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from infgeo.magnification import Magnification, magnification
from infgeo.reproduce.claims import Claim, measured
from infgeo.tracking.measure import entropy

MEASURES = (
    ("band", "log₁₀ √det g near the boundary less that of the rest", 1),
    ("distance", "rank correlation of log √det g with the distance to the boundary", -1),
    ("entropy", "rank correlation of log √det g with the predictive entropy", 1),
)


def numbers_of(result: Magnification) -> dict[str, Any]:
    """Return the measures of a `Magnification` with their p-values, at equal |x| where that is defined."""
    numbers: dict[str, Any] = {"null": result.null, "moves": result.moves, "band_width": result.band_width}
    for name, _, _ in MEASURES:
        measure = getattr(result, name)
        if measure is not None:
            numbers[name] = {
                "value": measure.value,
                "p": measure.p,
                "at_equal_radius": measure.at_equal_radius,
                "p_at_equal_radius": measure.p_at_equal_radius,
            }
    return numbers


def before_and_after(volume: np.ndarray, distance: np.ndarray, **options: Any) -> dict[str, Any]:
    """Return the measures of the log volume (epochs, P) "before" and "after" training; options of `magnification`."""
    return {
        when: numbers_of(magnification(volume[at], distance, **options)) for when, at in (("before", 0), ("after", -1))
    }


def magnification_claims(where: str, seeds: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Return the claims on the magnification, from "before" and "after" of each seed (absent without a boundary)."""
    made = []
    for key, words, direction in MEASURES:
        before, after = ([number_of(s, when, key) for s in seeds] for when in ("before", "after"))
        gain = [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]
        p_within = [number_of(s, "after", key, "p") for s in seeds]
        made += [
            measured(f"{where}{key} before", f"{where}{words}, before training", before),
            measured(f"{where}{key} after", f"{where}{words}, after", after, direction, p_within),
            measured(f"{where}{key} change", f"{where}{words}: change by training", gain, direction),
        ]
    return made


def number_of(seed: Mapping[str, Any], when: str, key: str, number: str = "value") -> float | None:
    """Return a measure, or its "p", at equal |x| where that is defined; None without a boundary."""
    measure = seed.get(when, {}).get(key)
    if measure is None:
        return None
    at_equal_radius = {"value": "at_equal_radius", "p": "p_at_equal_radius"}[number]
    return measure[number] if measure["at_equal_radius"] is None else measure[at_equal_radius]


def entropy_of(logits: np.ndarray) -> np.ndarray:
    """Return the entropy (P,) of softmax(logits) (P, classes), in nats."""
    found: np.ndarray = entropy(torch.from_numpy(logits.astype(float))).numpy()
    return found
