"""A claim of the paper as a number with an interval over seeds, and what the run says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOLDS, FAILS, OPEN, SHOWN = "holds", "does not hold", "not significant", "described"
LEVEL = 0.05  # of both the intervals over seeds and the permutation tests


@dataclass(frozen=True)
class Claim:
    """One claim, measured.

    `estimate` is the mean over seeds, `low` and `high` its 95 % interval (Student's t over seeds; None for one seed
    or an exact quantity), `values` what each seed gave. The claim is that the quantity is above `null` (direction 1) or
    below it (direction -1); direction 0 claims nothing and the number is only shown. `p` is the p-value of the
    permutation tests, combined over seeds (Fisher), None where there is none. `verdict` is "holds" if the whole
    interval is on the claimed side and p <= 0.05 (where there is one), "does not hold" if the whole interval is on the
    other side, else "not significant"; "described" for direction 0.
    """

    name: str
    statement: str
    estimate: float
    low: float | None
    high: float | None
    values: tuple[float, ...]
    null: float
    direction: int
    p: float | None
    verdict: str

    def line(self) -> str:
        """Return the claim in one line."""
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3g}, {self.high:.3g}]"
        p = "" if self.p is None else f", p = {self.p:.2g}"
        against = f", claimed {'>' if self.direction > 0 else '<'} {self.null:g}" if self.direction else ""
        return f"{self.verdict:<15} {self.statement}: {self.estimate:.3g}{interval}{against}{p}"


def over_seeds(
    name: str,
    statement: str,
    values: Sequence[float],
    *,
    null: float = 0.0,
    direction: int = 1,
    p_values: Sequence[float] | None = None,
) -> Claim:
    """Return the claim that the mean of `values`, one a seed, is on the claimed side of `null`.

    Seeds that gave no number (NaN: no boundary in view, for example) make the claim "not significant": they are part
    of the run, and leaving them out would choose the seeds that agree.
    """
    import numpy as np
    from scipy.stats import combine_pvalues, t

    known = np.asarray(values, dtype=float)
    mean = float(known.mean()) if len(known) else math.nan
    low = high = None
    if len(known) > 1:
        error = float(known.std(ddof=1)) / math.sqrt(len(known))
        reach = float(t.ppf(1 - LEVEL / 2, len(known) - 1)) * error
        low, high = mean - reach, mean + reach
    p = None
    if p_values is not None and len(p_values):
        p = float(combine_pvalues(np.clip(np.asarray(p_values, dtype=float), 1e-300, 1.0), method="fisher").pvalue)
    verdict = judged(mean, low, high, null, direction, p)
    return Claim(name, statement, mean, low, high, tuple(map(float, known)), null, direction, p, verdict)


def judged(
    mean: float, low: float | None, high: float | None, null: float, direction: int, p: float | None = None
) -> str:
    """Return the verdict on a mean with its interval; see `Claim`. One seed alone decides nothing."""
    if direction == 0:
        return SHOWN
    if low is None or high is None or not math.isfinite(mean):
        return OPEN
    if direction * (low - null) > 0 and direction * (high - null) > 0:
        return HOLDS if p is None or p <= LEVEL else OPEN
    return FAILS if direction * (low - null) < 0 and direction * (high - null) < 0 else OPEN


def exact(name: str, statement: str, value: float, holds: bool, null: float = 0.0) -> Claim:
    """Return a claim on something exact, which holds or does not."""
    return Claim(name, statement, float(value), None, None, (float(value),), null, 0, None, HOLDS if holds else FAILS)


def described(name: str, statement: str, value: float) -> Claim:
    """Return a number that is shown and claims nothing."""
    return Claim(name, statement, float(value), None, None, (float(value),), 0.0, 0, None, SHOWN)


def from_document(document: Mapping[str, object]) -> Claim:
    """Return the claim that a JSON record holds."""
    fields = dict(document)
    fields["values"] = tuple(map(float, fields["values"]))  # type: ignore[call-overload]
    return Claim(**fields)  # type: ignore[arg-type]
