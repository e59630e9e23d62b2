"""The magnification near the decision boundary, as statistics of a seed and as claims over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from infgeo.magnification import Magnification, magnification
from infgeo.reproduce.claims import Claim, measured
from infgeo.tracking.measure import entropy

MEASURES = {
    "band": "log₁₀ √det g near the boundary less that of the rest",
    "distance": "rank correlation of log √det g with the distance to the boundary",
    "entropy": "rank correlation of log √det g with the predictive entropy",
}

NUMBERS = ("value", "p", "at_equal_radius", "p_at_equal_radius")


def numbers_of(result: Magnification) -> dict[str, Any]:
    """Return the measures of a `Magnification` with their p-values, at equal |x| where that is defined."""
    numbers: dict[str, Any] = {"null": result.null, "moves": result.moves, "band_width": result.band_width}
    for name in MEASURES:
        measure = getattr(result, name)
        if measure is not None:
            numbers[name] = {key: getattr(measure, key) for key in NUMBERS}
    return numbers


def before_and_after(volume: np.ndarray, distance: np.ndarray, **options: Any) -> dict[str, Any]:
    """Return the measures of the log volume (epochs, P) "before" and "after" training; options of `magnification`."""
    return {
        when: numbers_of(magnification(volume[at], distance, **options)) for when, at in (("before", 0), ("after", -1))
    }


def band_claims(where: str, seeds: Sequence[Mapping[str, Any]]) -> list[Claim]:
    """Return the claim that training magnifies the band at the boundary, and the measures beside it.

    The numbers are "before" and "after" of each seed, absent without a boundary.
    """
    before, after = ([number_of(s, when, "band") for s in seeds] for when in ("before", "after"))
    gain = [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]
    words = MEASURES["band"]
    beside = [
        measured(f"{where}{key} {when}", f"{where}{text}, {when} training", [number_of(s, when, key) for s in seeds])
        for key, text in MEASURES.items()
        for when in ("before", "after")
    ]
    p_within = [number_of(s, "after", "band", "p") for s in seeds]
    return [measured(f"{where}band change", f"{where}{words}: change by training", gain, 1, p_within), *beside]


def number_of(seed: Mapping[str, Any], when: str, key: str, number: str = "value") -> float | None:
    """Return a measure, or its "p", at equal |x| where that is defined; None without a boundary."""
    measure = seed.get(when, {}).get(key)
    if measure is None or measure["at_equal_radius"] is None:
        return measure and measure[number]
    return measure[{"value": "at_equal_radius", "p": "p_at_equal_radius"}[number]]


def entropy_of(logits: np.ndarray) -> np.ndarray:
    """Return the entropy (P,) of softmax(logits) (P, classes), in nats."""
    return entropy(torch.from_numpy(logits.astype(float))).numpy()
