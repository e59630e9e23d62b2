"""Values that estimates and comparisons are reported in: frozen, and made without any array library."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo estimate with its standard error.

    `mean` and `standard_error` have equal shape, in the arrays of whoever made them: `infgeo.finite` fills them with
    torch tensors, float64 on the CPU. `samples` is the number of independent
    replicates they come from (so the degrees of freedom are samples - 1). `exact` says that every replicate gave the
    same value by construction (the Ricci scalar of a piecewise linear network), and `note` says why.
    """

    mean: Any
    standard_error: Any
    samples: int
    exact: bool = False
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """One number of the theory against its estimate from simulated networks.

    `point` is the index of the input (for an off-diagonal kernel entry `other` is the second one), `radius` its norm.
    `width` is None where the estimate is extrapolated to infinite width. `z` = (estimate - theory) / standard error
    (for the volume element the logs are compared), `p` its two-sided p-value with Student's t. Both are None where the
    comparison is exact: no spread between the networks, by construction.
    """

    quantity: str
    point: int
    radius: float
    width: int | None
    theory: float
    estimate: float
    standard_error: float
    z: float | None
    p: float | None
    passed: bool
    other: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Trend:
    """How a quantity depends on the width n.

    kind "spread": exponent of n in the standard deviation between networks, expected -1/2.
    kind "bias": exponent of n in the bias, expected -1; only checked where it is resolved (`p` None otherwise).
    kind "fit": chi^2 of the extrapolation in 1/n at one point, expected the degrees of freedom; `standard_error` and
    `z` are None.
    kind "slope": the coefficient b of b/n at one point, expected as predicted for one layer.
    kind "error": the spread between networks over the predicted one, expected 1.
    kind "metric": chi^2 of the whole metric at one point, with predicted covariance; expected the degrees of freedom.
    """

    quantity: str
    kind: str
    expected: float
    value: float | None
    standard_error: float | None
    z: float | None
    p: float | None
    passed: bool
    point: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Measurement:
    """A replicate mean at one width: what comparisons and trends are made of, kept for pictures and for reuse.

    `predicted_mean` and `predicted_error` are theory's for one layer of this width, to order 1/n (exact for the metric
    and det g), None where there is no prediction: their differences to `theory` are bias and standard error.
    """

    quantity: str
    point: int
    width: int
    samples: int
    mean: float
    standard_error: float
    theory: float
    other: int | None = None
    predicted_mean: float | None = None
    predicted_error: float | None = None


@dataclass(frozen=True)
class ValidationReport:
    """The outcome of `infgeo.validate`. Lengths and scales are those of the inputs; R is positive on spheres.

    `configuration` holds everything that the run can be repeated from (with versions), `points` the inputs,
    `curve` the theory against radius (name -> values; "radius" among them), `level` the family-wise error level of
    the verdict and `adjusted_p` the smallest p-value after Holm's correction. `partial` says that the run was
    interrupted; `widths_done` are then fewer than `configuration["widths"]`. `power` is the smallest relative error of
    each formula that this run would have detected at 5 standard errors, by quantity and for A and B.
    """

    configuration: Mapping[str, Any]
    points: tuple[tuple[float, ...], ...]
    rows: tuple[Comparison, ...]
    trends: tuple[Trend, ...]
    measurements: tuple[Measurement, ...] = field(repr=False)
    curve: Mapping[str, tuple[float, ...]] = field(repr=False)
    level: float
    adjusted_p: float | None
    widths_done: tuple[int, ...]
    partial: bool = False
    notes: tuple[str, ...] = ()
    power: Mapping[str, float] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[Comparison | Trend, ...]:
        """The checks that failed."""
        checks: tuple[Comparison | Trend, ...] = (*self.rows, *self.trends)
        return tuple(check for check in checks if not check.passed)

    @property
    def passed(self) -> bool:
        """Whether every check passed, and all that was asked for was checked: a partial run has not passed."""
        return bool(self.rows) and not self.failures and not self.partial

    def table(self, every_row: bool = False) -> str:
        """Return the report as text: the worst comparison of each quantity, or every row."""
        from infgeo.validation.table import table

        return table(self, every_row)

    def to_json(self) -> str:
        """Return the report as a strict JSON document (RFC 8259: no NaN; what is not finite is a string)."""
        document = {"passed": self.passed, "failures": len(self.failures), **asdict(self)}
        return json.dumps(json_safe(document), allow_nan=False, indent=1)

    def plot(self, path: Any) -> None:
        """Write a picture to `path` (.png, .pdf or .svg): theory and estimates against radius, errors against width.

        Raises MissingExtra without matplotlib (`pip install 'infgeo[plot]'`).
        """
        from infgeo.validation.picture import draw

        draw(self, path)

    def __str__(self) -> str:
        """Return the short table."""
        return self.table()


def json_safe(value: Any) -> Any:
    """Return `value` with non-finite floats replaced by the strings JSON can carry ("nan", "inf", "-inf")."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
