"""From measurements at every width to comparisons with the theory, trends in width, and a verdict."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from infgeo.finite import FiniteEstimates
from infgeo.validation.findings import Comparison, Trend
from infgeo.validation.inference import LinearFit, exponent, extrapolate, fit_p, holm, student_p
from infgeo.validation.simulate import NET_QUANTITIES, NETS, Pooled
from infgeo.validation.theory import Theory, log_determinant_factor

# Statistics whose expectation is known at every width of a one-layer network; all others carry a bias of O(1/n).
UNBIASED_AT_ONE_LAYER: tuple[str, ...] = ("kernel", "metric_radial", "metric_tangential", "log_mean_det_metric")
# Sums over independent units: their variance is exactly proportional to 1/n at one layer.
LINEAR_STATISTICS: tuple[str, ...] = ("kernel", "metric_radial", "metric_tangential")
# Means of these are means of a nearly log-normal number; the skewness that Student's t bears is limited for them.
LOG_NORMAL = {"log_mean_det_metric": 2.0, "volume_element": 1.0}  # log of the summand / log volume element
MOST_SKEWNESS = 0.25
MANY_POINTS = 8
RESOLVED = 5.0  # a bias of so many standard errors is resolved
STEEPEST_SPREAD = -0.75  # half-way between fluctuations of first order, n^(-1/2), and of second order, n^(-1)
ROUNDING = 1e-12
DETECTED = 5.0  # standard errors


@dataclass(frozen=True)
class WidthSeries:
    """One number over the ladder of widths: `mean`, `error` and `theory` (K,) on the scale on which they are compared.

    `log_scale`: the logs of the quantity are compared, and the rows show its exponential.
    """

    quantity: str
    point: int
    other: int | None
    widths: tuple[int, ...]
    mean: np.ndarray
    error: np.ndarray
    theory: np.ndarray
    dofs: np.ndarray
    log_scale: bool = False
    exact: bool = False
    note: str = ""

    @property
    def is_random(self) -> bool:
        """Whether the networks differ by more than rounding at every width."""
        return not self.exact and bool((self.error > ROUNDING * np.abs(self.mean)).all())

    @cached_property
    def fit(self) -> LinearFit:
        """The extrapolation to infinite width."""
        return extrapolate(self.widths, self.mean, self.error, self.dofs)


def usable(quantity: str, pooled: Mapping[int, Mapping[str, Pooled]]) -> dict[int, Pooled]:
    """Return the widths at which Student's t holds for the mean of a quantity, with what was measured there.

    If log X has the standard deviation t, then X has the skewness (e^(t^2) + 2) sqrt(e^(t^2) - 1), and the mean of m of
    them that over sqrt(m). Where this exceeds 1/4, at widths near the dimension, the mean and its standard error
    depend on a few large values, seen or not: p-values of 1e-4 would be too small by a factor of 5 and more.
    """
    result = {}
    for width in sorted(pooled):
        parts = pooled[width]
        if quantity in LOG_NORMAL:
            log_volume = parts["log_volume_element"]
            log_sd = LOG_NORMAL[quantity] * float(log_volume.standard_error.max()) * log_volume.samples**0.5
            growth = np.expm1(min(log_sd, 20.0) ** 2)
            if (growth + 3) * np.sqrt(growth / log_volume.samples) > MOST_SKEWNESS:
                continue
        result[width] = parts[quantity]
    return result


def series_of(
    theory: Theory, pooled: Mapping[int, Mapping[str, Pooled]], input_dim: int, depth: int
) -> list[WidthSeries]:
    """Return every number that is compared, over the widths that are done."""
    result = []
    for quantity, expected in theory.values.items():
        kept = usable(quantity, pooled)
        if not kept:
            continue
        widths, parts = tuple(kept), list(kept.values())
        log_scale = quantity == "volume_element"
        for point, other in _entries(quantity, len(expected)):
            at = (point,) if other is None else (point, other)
            mean = np.array([part.mean[at] for part in parts])
            error = np.array([part.standard_error[at] for part in parts])
            value = np.full(len(widths), expected[at])
            if quantity == "log_mean_det_metric" and depth == 1:
                value = value + [log_determinant_factor(width, input_dim) for width in widths]
            if log_scale:
                with np.errstate(divide="ignore"):
                    mean, error, value = np.log(mean), error / mean, np.log(value)
            dofs = np.array([part.samples - 1.0 for part in parts])
            known = parts[0].exact, parts[0].note
            result.append(WidthSeries(quantity, point, other, widths, mean, error, value, dofs, log_scale, *known))
    return result


def _entries(quantity: str, count: int) -> list[tuple[int, int | None]]:
    """Return the entries compared: all points; of a Gram matrix of many points, its diagonal and the next to it."""
    if quantity != "kernel":
        return [(i, None) for i in range(count)]
    return [(i, j) for i in range(count) for j in range(i, count) if count <= MANY_POINTS or j <= i + 1]


def compare(series: WidthSeries, radius: float, unbiased: bool) -> tuple[list[Comparison], list[Trend]]:
    """Return the comparisons of one number, and the check of the extrapolation they rest on."""

    def row(width: int | None, theory: float, mean: float, error: float, dof: float) -> Comparison:
        number = (theory, mean, error, dof, series.other, "", series.log_scale)
        return compared(series.quantity, series.point, radius, width, *number)

    if not series.is_random:
        return [_exact(series, radius)], []
    if unbiased:
        return list(map(row, series.widths, series.theory, series.mean, series.error, series.dofs)), []
    if len(series.widths) < 3:
        return [], []
    fit = series.fit
    found = row(None, series.theory[-1], fit.coefficients[0], fit.errors[0], fit.degrees_of_freedom[0])
    note = f"b = {fit.coefficients[1]:.3g} ± {fit.errors[1]:.2g} in b/n"
    p = fit_p(fit, series.dofs)
    return [found], [Trend(series.quantity, "fit", fit.residual_df, fit.chi2, p=p, point=series.point, note=note)]


def compared(
    quantity: str,
    point: int,
    radius: float,
    width: int | None,
    theory: float,
    mean: float,
    error: float,
    dof: float,
    other: int | None = None,
    note: str = "",
    log_scale: bool = False,
) -> Comparison:
    """Return the comparison of a mean that has `dof` degrees of freedom, not judged yet; of logs their exponentials."""
    z = float((mean - theory) / error)
    if log_scale:
        theory, mean = np.exp(theory), np.exp(mean)
        error = error * mean
    numbers = float(theory), float(mean), float(error), z, student_p(z, float(dof))
    return Comparison(quantity, point, radius, width, *numbers, True, other, note)


def _exact(series: WidthSeries, radius: float) -> Comparison:
    """Return the comparison of a number that does not vary between networks: equal up to rounding, or wrong."""
    gap = np.abs(series.mean - series.theory).max()
    agrees = bool(gap <= ROUNDING * max(1.0, float(np.abs(series.theory).max())))
    note = series.note or "the same in every network"
    theory, mean = float(series.theory[-1]), float(series.mean[-1])
    return Comparison(
        series.quantity, series.point, radius, None, theory, mean, 0.0, None, None, agrees, series.other, note
    )


def spread_trend(quantity: str, pooled: Mapping[int, Mapping[str, Pooled]], depth: int) -> Trend | None:
    """Return the exponent of n in the standard deviation between networks (geometric mean over points).

    Linear statistics of one layer follow the power law exactly: it is fitted as it is. All else has the variance
    v/n + w/n^2 + ...: log sd = a + b log n + c/n (+ e/n^2 from five widths on). That series needs w/v << n. Where v is
    small, as for R at points where its gradient in the fluctuations nearly vanishes, the spread falls as 1/n on the
    whole ladder, and no series in 1/n leads to b = -1/2: points whose spread falls more steeply than n^(-3/4) from the
    narrowest width to the widest are left out, with a note. A spread that falls too slowly is checked at every point.
    """
    kept = usable(quantity, pooled)
    widths, parts = list(kept), list(kept.values())
    linear = depth == 1 and quantity in LINEAR_STATISTICS
    corrections = 0 if linear else min(2, max(1, len(widths) - 3))
    if len(widths) < (2 if linear else 3):
        return None
    entries = np.ones(parts[0].mean.shape, dtype=bool)
    note = ""
    if not linear:
        # the sample size is the same at every width; where a spread is zero, it is left to `spread`
        with np.errstate(divide="ignore", invalid="ignore"):
            fall = np.log(parts[-1].standard_error / parts[0].standard_error) / np.log(widths[-1] / widths[0])
        entries = ~(fall < STEEPEST_SPREAD)
        if not entries.all():
            note = f"without {int((~entries).sum())} of {entries.size} points, where it still falls as 1/n"
    if not entries.any():
        return Trend(quantity, "spread", -0.5, note="not resolved: it falls as 1/n")
    logs, errors = (np.array(column) for column in zip(*(part.spread_at(entries) for part in parts), strict=True))
    if not np.isfinite(logs).all() or not (errors > 0).all():
        return None
    # From few batches an error comes out too small now and then; the shape of the distribution hardly depends on n.
    errors = np.maximum(errors, np.sqrt((errors**2).mean()))
    dofs = np.array([len(part.sizes) - 1.0 for part in parts])
    return tested(quantity, "spread", -0.5, *exponent(widths, logs, errors, dofs, corrections), note=note)


def tested(quantity: str, kind: str, expected: float, value: float, error: float, dof: float, **others: Any) -> Trend:
    """Return the trend of a number whose standard error has `dof` degrees of freedom, not judged yet."""
    z = (value - expected) / error
    return Trend(quantity, kind, expected, value, error, z, student_p(z, dof), **others)


def bias_trend(series: Sequence[WidthSeries]) -> Trend | None:
    """Return the exponent of n in the bias of one quantity, at the point where most widths resolve it.

    It is checked where four widths or more resolve the bias, so that the term c/n^2 can be fitted with it, and
    reported without a verdict otherwise.
    """
    random = [one for one in series if one.is_random]
    if not random:
        return None
    ratios = [np.abs(one.mean - one.theory) / one.error for one in random]
    counts = [int(np.argmin(ratio >= RESOLVED)) if (ratio < RESOLVED).any() else len(ratio) for ratio in ratios]
    best = max(range(len(random)), key=lambda i: (counts[i], ratios[i][0]))
    one, count = random[best], counts[best]
    bias = (one.mean - one.theory)[:count]
    if count < 3 or (np.sign(bias) != np.sign(bias[0])).any():
        note = f"not resolved: over {RESOLVED:g} standard errors at {count} of {len(one.widths)} widths"
        return Trend(one.quantity, "bias", -1.0, point=one.point, note=note)
    errors = one.error[:count] / np.abs(bias)
    corrections = 1 if count >= 4 else 0
    found = exponent(one.widths[:count], np.log(np.abs(bias)), errors, one.dofs[:count], corrections)
    note = f"resolved at n <= {one.widths[count - 1]}"
    trend = tested(one.quantity, "bias", -1.0, *found, point=one.point, note=note)
    if corrections:
        return trend
    return replace(trend, p=None, note="resolved at 3 widths only: shown, not checked (the 1/n^2 term is in it)")


def compare_nets(nets: FiniteEstimates, theory: Theory, radii: Sequence[float]) -> list[Comparison]:
    """Return comparisons of the infinite-width values with means over Sobol nets of `nets.width` units."""
    rows = []
    for name in NET_QUANTITIES:
        value = getattr(nets, name)
        if name not in theory.values or value is None or value.exact:
            continue
        mean, error, expected = value.mean.numpy(), value.standard_error.numpy(), theory.values[name]
        for i, radius in enumerate(radii):
            if error[i] > 0:
                note = f"{NETS} Sobol nets of {nets.width} units"
                rows.append(compared(name, i, radius, None, expected[i], mean[i], error[i], NETS - 1, note=note))
    return rows


def power_of(rows: Sequence[Comparison]) -> dict[str, float]:
    """Return the power by quantity, and for the coefficients A and B of g = A I + B x x^T.

    It is that of the point and width where it is smallest; where logs of a volume element or of det g are compared,
    errors of these themselves are meant. What is 0, or compared exactly, is left out.
    """
    tangential = {(row.point, row.width): row.theory for row in rows if row.quantity == "metric_tangential"}
    result: dict[str, float] = {}

    def put(name: str, error: float, size: float) -> None:
        if size != 0 and math.isfinite(error / size):
            result[name] = min(result.get(name, math.inf), DETECTED * error / abs(size))

    for row in rows:
        if row.z is None:
            continue
        put(row.quantity, row.standard_error, 1.0 if row.quantity.startswith("log_") else row.theory)
        if row.quantity == "metric_tangential":
            put("A", row.standard_error, row.theory)
        if row.quantity == "metric_radial" and (row.point, row.width) in tangential:
            difference = row.theory - tangential[row.point, row.width]
            if abs(difference) > ROUNDING * abs(row.theory):  # B = 0 for homogeneous activations, up to roundings
                put("B", row.standard_error, difference)
    return result


def verdict(
    rows: Sequence[Comparison], trends: Sequence[Trend], level: float
) -> tuple[tuple[Comparison, ...], tuple[Trend, ...], float | None]:
    """Mark what Holm's procedure rejects at the family-wise `level`; return all checks, and the least adjusted p."""
    checks: tuple[Comparison | Trend, ...] = (*rows, *trends)
    stands, adjusted = holm([check.p for check in checks if check.p is not None], level)
    remaining = iter(stands)
    judged_rows = tuple(row if row.p is None else replace(row, passed=next(remaining)) for row in rows)
    judged_trends = tuple(trend if trend.p is None else replace(trend, passed=next(remaining)) for trend in trends)
    return judged_rows, judged_trends, adjusted
