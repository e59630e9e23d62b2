"""What a validation has found, as plain values: comparisons, trends in width, and what they were made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
    value: float | None = None
    standard_error: float | None = None
    z: float | None = None
    p: float | None = None
    passed: bool = True
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
class Findings:
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
