"""A claim of the paper as a number with an interval over seeds; those on the magnification near the boundary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import combine_pvalues

from infgeo.magnification import Magnification, magnification, over_seeds

HOLDS, FAILS, OPEN, SHOWN = "holds", "does not hold", "not significant", "described"
LEVEL = 0.05  # of the intervals over seeds, and of the tests
_SIDES = {1: "greater", -1: "less", 0: None}
MEASURES = {
    "band": "log₁₀ √det g near the boundary less that of the rest",
    "distance": "rank correlation of log √det g with the distance to the boundary",
    "entropy": "rank correlation of log √det g with the predictive entropy",
}

NUMBERS = ("value", "p", "at_equal_radius", "p_at_equal_radius")


@dataclass(frozen=True)
class Claim:
    """One claim, measured.

    `estimate` is the mean over seeds, `low` and `high` its 95 % interval (Student's t over seeds; None for one seed
    or an exact quantity), `values` what each seed gave, `missing` how many seeds did not have it. The claim is that the
    quantity is above 0 (direction 1) or below 0 (direction -1); direction 0 claims nothing, the number is only shown.
    `p` is that of the sign-flip test over seeds, and `p_within` that of the tests within each network, which move its
    volume against its boundary, combined over seeds (Fisher); None where there is none.

    `verdict` is "holds" where every seed has the quantity, the whole interval is on the claimed side and p is at most
    0.05; "does not hold" where the whole interval is on the other side; else "not significant"; "described" for
    direction 0. Networks are the independent units, so that seeds decide; `p_within` stands beside, for a smooth volume
    along a line has few independent shifts, and the test little power.
    """

    name: str
    statement: str
    estimate: float
    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()
    missing: int = 0
    direction: int = 0
    p: float | None = None
    p_within: float | None = None
    verdict: str = SHOWN

    def line(self) -> str:
        """Return the claim in one line."""
        parts = [f"{self.verdict:<15} {self.statement}: {self.estimate:.3g}"]
        if self.low is not None and self.high is not None:
            parts[0] += f" [{self.low:.3g}, {self.high:.3g}]"
        if self.direction:
            parts.append(f"claimed {'>' if self.direction > 0 else '<'} 0")
        parts += [f"{name} = {p:.2g}" for name, p in (("p", self.p), ("p within", self.p_within)) if p is not None]
        parts += [f"{self.missing} seed(s) without"] if self.missing else []
        return ", ".join(parts)


def measured(
    name: str,
    statement: str,
    values: Sequence[float | None],
    direction: int = 0,
    p_within: Sequence[float | None] = (),
) -> Claim:
    """Return the claim that `values`, one a seed, are on the side `direction` of 0; see `Claim`.

    None stands for a seed that has no such number (no boundary in view, for example): it is counted, and no claim holds
    then, because leaving seeds out would choose those that agree.
    """
    known = [float(v) for v in values if v is not None]
    missing = len(values) - len(known)
    if not known:
        return Claim(
            name, statement, math.nan, missing=missing, direction=direction, verdict=OPEN if direction else SHOWN
        )
    row = over_seeds([{name: v} for v in known], alternatives={name: _SIDES[direction]})[name]
    tested = [p for p in p_within if p is not None]
    within = float(combine_pvalues(tested, method="fisher").pvalue) if tested and direction else None
    verdict = judged(row.low, row.high, direction, row.p, missing)
    return Claim(name, statement, row.mean, row.low, row.high, row.values, missing, direction, row.p, within, verdict)


def judged(low: float | None, high: float | None, direction: int, p: float | None = None, missing: int = 0) -> str:
    """Return the verdict; see `Claim`. One seed alone decides nothing."""
    if direction == 0:
        return SHOWN
    if low is None or high is None:
        return OPEN
    if direction * low > 0 and direction * high > 0:
        return HOLDS if not missing and (p is None or p <= LEVEL) else OPEN
    return FAILS if direction * low < 0 and direction * high < 0 else OPEN


def exact(name: str, statement: str, value: float, holds: bool | None = None) -> Claim:
    """Return a claim on something exact, which holds or does not; None is for a number that claims nothing."""
    verdict = SHOWN if holds is None else HOLDS if holds else FAILS
    return Claim(name, statement, float(value), values=(float(value),), verdict=verdict)


def from_document(document: Mapping[str, Any]) -> Claim:
    """Return the claim that a JSON record holds."""
    numbers = {key: math.nan if value == "nan" else value for key, value in document.items()}
    return Claim(**(numbers | {"values": tuple(document["values"])}))


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
