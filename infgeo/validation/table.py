"""A validation report as text."""

from collections.abc import Sequence

from infgeo.report_text import align, listed
from infgeo.validation.findings import Comparison, Findings, Trend

TITLES = {
    "kernel": "kernel",
    "metric_radial": "metric, radial  A + sB",
    "metric_tangential": "metric, tangential  A",
    "log_mean_det_metric": "log E[det g]",
    "volume_element": "volume element",
    "log_volume_element": "log volume element",
    "ricci_scalar": "Ricci scalar R",
    "metric": "metric",
}
TRENDS = {
    "spread": "spread ~ n^",
    "bias": "bias ~ n^",
    "fit": "fit in 1/n, chi^2",
    "slope": "b of the bias b/n",
    "error": "spread / predicted",
    "metric": "whole metric, chi^2",
}
CHI_SQUARE = ("fit", "metric")


def table(report: Findings, every_row: bool = False) -> str:
    """Return the report as text: verdict, the worst comparison of every quantity (or all of them), and the trends."""
    parts = [_heading(report)]
    if report.rows:
        shown = report.rows if every_row else _worst_rows(report)
        title = "comparisons" if every_row else "worst comparison of each quantity (R > 0 on spheres)"
        parts.append(f"{title}\n" + _comparisons(shown, report, every_row))
    if report.trends:
        trends = report.trends if every_row else _worst_trends(report)
        parts.append("trends in width\n" + _trends(trends))
    if report.failures and not every_row:
        rows = [check for check in report.failures if isinstance(check, Comparison)]
        trends = [check for check in report.failures if isinstance(check, Trend)]
        listed = [_comparisons(rows[:20], report, every_row=True)] if rows else []
        listed += [_trends(trends[:20])] if trends else []
        parts.append("\n".join(["failed checks", *listed]))
    if report.power:
        names = [f"{TITLES.get(name, name)} {100 * value:.2g} %" for name, value in report.power.items()]
        parts.append("an error of a formula that would have been seen at 5 standard errors:\n  " + ", ".join(names))
    parts += [f"note: {note}" for note in report.notes]
    parts.append(_verdict(report))
    return "\n\n".join(parts)


def _heading(report: Findings) -> str:
    c = report.configuration
    radii = sorted({row.radius for row in report.rows})
    span = f", |x| from {radii[0]:.3g} to {radii[-1]:.3g}" if len(radii) > 1 else ""
    scaled = " / sqrt(d)" if c["input_scale"] else ""
    scales = f"sigma_w = {listed(c['weight_std'])}{scaled}, sigma_b = {c['bias_std']:g}"
    network = f"phi(z) = {c['activation']}, depth {c['depth']}, d = {c['input_dim']}, {scales}"
    if not c["activation"]:  # the layers differ
        network = f"{c['network']}, d = {c['input_dim']}"
    return (
        f"{network}\n"
        f"{len(report.points)} points{span}; {c['samples']} networks at each width n ="
        f" {', '.join(map(str, report.widths_done)) or '(none)'}; seed {c['seed']}"
    )


def _verdict(report: Findings) -> str:
    checks = len(report.rows) + sum(trend.p is not None for trend in report.trends)
    adjusted = "" if report.adjusted_p is None else f", smallest adjusted p = {report.adjusted_p:.2g}"
    rule = f"{checks} checks, family-wise level {report.level:g} (Holm){adjusted}"
    if report.partial:
        count = f"{len(report.failures)} failed" if report.failures else "none failed so far"
        return f"PARTIAL: interrupted; {rule}; {count}"
    if not report.rows:
        return "FAILED: nothing was compared"
    return f"PASSED: {rule}" if report.passed else f"FAILED: {len(report.failures)} of {rule}"


def _worst_rows(report: Findings) -> list[Comparison]:
    names = dict.fromkeys(row.quantity for row in report.rows)
    groups = [[row for row in report.rows if row.quantity == name] for name in names]
    return [min(group, key=lambda row: (row.passed, -abs(row.z or 0.0))) for group in groups]


def _comparisons(rows: Sequence[Comparison], report: Findings, every_row: bool) -> str:
    counts = {name: sum(row.quantity == name for row in report.rows) for name in {row.quantity for row in report.rows}}
    cells = [["quantity", *([] if every_row else ["checks"]), "|x|", "n", "theory", "estimate", "s.e.", "z", ""]]
    for row in rows:
        count = [] if every_row else [str(counts[row.quantity])]
        where = f"{row.radius:.3g}" if row.other in (None, row.point) else f"({row.point},{row.other})"
        width = str(row.width or ("any" if row.z is None else "oo"))
        z, state = "exact" if row.z is None else f"{row.z:+.2f}", "ok" if row.passed else "FAILED"
        numbers = _numbers(row.theory, row.estimate, row.standard_error)
        cells.append([TITLES.get(row.quantity, row.quantity), *count, where, width, *numbers, z, state])
    return align(cells, left=(0, len(cells[0]) - 1))


def _numbers(theory: float, estimate: float, error: float) -> tuple[str, str, str]:
    """Format to the second digit of the error: more digits say nothing."""
    if not 0 < error < float("inf") or not (1e-4 < abs(theory) < 1e5):
        return f"{theory:.6g}", f"{estimate:.6g}", f"{error:.2g}"
    digits = 0
    while round(error, digits) < 10 * 10.0**-digits and digits < 12:
        digits += 1
    return f"{theory:.{digits}f}", f"{estimate:.{digits}f}", f"{error:.{digits}f}"


def _worst_trends(report: Findings) -> list[Trend]:
    kinds = dict.fromkeys((trend.kind, trend.quantity) for trend in report.trends)
    groups = [[t for t in report.trends if (t.kind, t.quantity) == kind] for kind in kinds]
    worst = [min(group, key=lambda t: (t.passed, 1.0 if t.p is None else t.p)) for group in groups]
    return sorted(worst, key=lambda trend: list(TRENDS).index(trend.kind))


def _trends(trends: Sequence[Trend]) -> str:
    cells = [["quantity", "trend", "expected", "measured", "s.e.", "p", "", ""]]
    for trend in trends:
        value = "-" if trend.value is None else f"{trend.value:.{1 if trend.kind in CHI_SQUARE else 3}f}"
        expected = f"{trend.expected:.4g}" if trend.kind not in CHI_SQUARE else f"{trend.expected:g} (d.o.f.)"
        error = "" if trend.standard_error is None else f"{trend.standard_error:.3f}"
        p = "-" if trend.p is None else f"{trend.p:.2g}"
        state = ("shown" if trend.p is None else "ok") if trend.passed else "FAILED"
        note = f"point {trend.point}: {trend.note}" if trend.point is not None else trend.note
        title = TITLES.get(trend.quantity, trend.quantity)
        cells.append([title, TRENDS[trend.kind], expected, value, error, p, state, note])
    return align(cells, left=(0, 1, 6, 7))
