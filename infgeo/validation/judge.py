"""The third stage of a validation: comparisons and trends of what was simulated, and the verdict on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from infgeo.validation import comparison
from infgeo.validation.design import Design
from infgeo.validation.findings import Comparison, Measurement, Trend
from infgeo.validation.inference import holm
from infgeo.validation.predicted import error_trend, measurements_of, metric_trends, slope_trend
from infgeo.validation.simulate import Simulated


@dataclass(frozen=True)
class Judgement:
    """Every check, marked as passed or failed, and the smallest p-value after Holm's correction."""

    rows: tuple[Comparison, ...] = ()
    trends: tuple[Trend, ...] = ()
    adjusted_p: float | None = None
    measurements: tuple[Measurement, ...] = ()


def judge(design: Design, simulated: Simulated) -> Judgement:
    """Compare what was simulated with the theory, and judge all checks together."""
    if not simulated.pooled:
        return Judgement()
    theory, pooled, predicted = design.theory, simulated.pooled, design.predicted
    series = comparison.series_of(theory, pooled, design.points.shape[1], design.layers)
    nets = simulated.nets
    rows_of_nets = [] if nets is None else comparison.compare_nets(nets, theory, design.radii)
    rows: list[Comparison] = []
    trends: list[Trend] = []
    if predicted and theory.metric is not None:
        trends += metric_trends(theory.metric, pooled, predicted)
    for quantity in theory.values:
        unbiased = design.layers == 1 and quantity in comparison.UNBIASED_AT_ONE_LAYER
        own = [one for one in series if one.quantity == quantity]
        for one in own:
            more_rows, more_trends = comparison.compare(one, design.radii[one.point], unbiased)
            rows += more_rows
            trends += more_trends
            if predicted and not unbiased and (slope := slope_trend(one, predicted)) is not None:
                trends.append(slope)
        rows += [row for row in rows_of_nets if row.quantity == quantity]
        if not any(one.is_random for one in own):
            continue
        candidates = [comparison.spread_trend(quantity, pooled, design.layers)]
        if predicted:
            candidates.append(error_trend(quantity, pooled, predicted))
        if not unbiased and len(own[0].widths) >= 3:
            candidates.append(comparison.bias_trend(own))
        trends += [trend for trend in candidates if trend is not None]
    return verdict(rows, trends, design.level, measurements_of(series, predicted))


def verdict(
    rows: Sequence[Comparison], trends: Sequence[Trend], level: float, measurements: tuple[Measurement, ...] = ()
) -> Judgement:
    """Mark what Holm's procedure rejects at the family-wise `level`."""
    checks: tuple[Comparison | Trend, ...] = (*rows, *trends)
    stands, adjusted = holm([check.p for check in checks if check.p is not None], level)
    remaining = iter(stands)
    judged_rows = tuple(row if row.p is None else replace(row, passed=next(remaining)) for row in rows)
    judged_trends = tuple(trend if trend.p is None else replace(trend, passed=next(remaining)) for trend in trends)
    return Judgement(judged_rows, judged_trends, adjusted, measurements)
