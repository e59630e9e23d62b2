"""The picture of a validation report: theory and estimates against radius, errors against width."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from infgeo import figure_style as style
from infgeo.errors import InvalidInput
from infgeo.files import file_path, write_whole
from infgeo.report_text import listed
from infgeo.validation.findings import Findings

STYLES = {
    "metric_radial": (*style.LINES[0], r"radial, $A+sB$"),
    "metric_tangential": (*style.LINES[1], r"tangential, $A$"),
    "volume_element": (*style.LINES[2], r"$\sqrt{\det g}$"),
    "log_mean_det_metric": (*style.LINES[3], r"$\log\,\mathrm{E}[\det g]$"),
    "ricci_scalar": (*style.LINES[4], r"Ricci scalar $R$"),
    "log_volume_element": (*style.LINES[5], r"$\log\sqrt{\det g}$"),
    "kernel": ("#999999", "x", ":", "kernel"),
}
LEFT_PANELS = (
    (("metric_radial", "metric_tangential"), "eigenvalue of $g$"),
    (("volume_element",), r"volume element $\sqrt{\det g}$"),
    (("ricci_scalar",), "Ricci scalar $R$"),
)
FORMATS = (".png", ".pdf", ".svg")


def draw(report: Findings, path: str | os.PathLike[str] | None) -> Any:
    """Return the picture as a Figure; with `path` (.png at 200 dpi, .pdf or .svg) write it, whole or not at all.

    Left: lines are the theory at infinite width; points the estimates, extrapolated to infinite width, or at the widest
    one where there is no bias. Right: the spread between networks and the size of the bias against the width, with
    guides n^(-1/2) and 1/n, and every z against its normal quantile. Bars are two standard errors.

    Raises MissingExtra without matplotlib, InvalidInput for another ending or a report without comparisons.
    """
    style.require_matplotlib("drawing a report")
    ending = None if path is None else check_format(path)
    if "rule" in report.configuration:
        raise InvalidInput("the report of a learned geometry has no picture: print its table()")
    if not report.rows:
        raise InvalidInput("the report has no comparisons to draw: no width was completed")
    compared = {row.quantity for row in report.rows}
    left = [panel for panel in LEFT_PANELS if report.curve and compared & set(panel[0])]
    right = [_spread_panel, *([_bias_panel] if any(t.kind == "bias" for t in report.trends) else []), _z_panel]
    with style.house_style():
        width = style.DOUBLE_COLUMN if left else style.SINGLE_COLUMN
        figure = style.new_figure(width, 2.1 * max(len(left), len(right)))
        figure.suptitle(_title(report))
        columns = list(figure.subfigures(1, 2 if left else 1, squeeze=False)[0])
        if left:
            panels = columns[0].subplots(len(left), squeeze=False)[:, 0]
            for axes, (names, label) in zip(panels, left, strict=True):
                _radius_panel(axes, report, names, label)
            panels[-1].set_xlabel(r"radius $|x|$")
        for axes, draw_panel in zip(columns[-1].subplots(len(right)), right, strict=True):
            draw_panel(axes, report)
    if path is not None and ending is not None:
        write_whole(path, style.rendered(figure, [ending[1:]])[ending[1:]])
    return figure


def check_format(path: str | os.PathLike[str]) -> str:
    """Return the ending of `path`, or raise: InvalidInput for an unknown one, MissingExtra without matplotlib."""
    ending = file_path(path, "path").suffix.lower()
    if ending not in FORMATS:
        raise InvalidInput(f"cannot draw to {path}: the name must end in one of {', '.join(FORMATS)}")
    style.require_matplotlib("drawing a report")
    return ending


def _title(report: Findings) -> str:
    c = report.configuration
    scaled = r"/\sqrt{d}" if c["input_scale"] else ""
    state = "partial" if report.partial else "passed" if report.passed else "FAILED"
    if not c["activation"]:  # the layers differ
        return f"{c['depth']} layers, $d = {c['input_dim']}$: {state}"
    return (
        rf"$\phi(z) =$ {_formula(c)}, depth {c['depth']}, $d = {c['input_dim']}$,"
        rf" $\sigma_w = {listed(c['weight_std'])}{scaled}$, $\sigma_b = {c['bias_std']:g}$: {state}"
    )


def _formula(configuration: Mapping[str, Any]) -> str:
    """Return the activation as mathematics, or as plain text where matplotlib cannot set it (cases, for example)."""
    from matplotlib.mathtext import MathTextParser

    text = f"${configuration['activation_latex']}$"
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return str(configuration["activation"])
    return text


def _radius_panel(axes: Any, report: Findings, names: tuple[str, ...], label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    known = [name for name in names if any(row.quantity == name for row in report.rows)]
    radius = np.asarray(report.curve["radius"])
    for name in known:
        colour, marker, dash, text = STYLES[name]
        rows = [row for row in report.rows if row.quantity == name]
        widest = max((row.width for row in rows if row.width is not None), default=None)
        points = np.array([(row.radius, row.estimate, row.standard_error) for row in rows if row.width == widest])
        axes.plot(radius, report.curve[name], linestyle=dash, color=colour, zorder=1)
        bars = {"fmt": marker, "color": colour, "markerfacecolor": "white", "capsize": 2, "label": text, "zorder": 2}
        axes.errorbar(points[:, 0], points[:, 1], yerr=2 * points[:, 2], **bars)
    if radius[-1] > 3 * radius[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(label)
    values = np.concatenate([np.asarray(report.curve[name]) for name in known])
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
    elif not np.ptp(values) > 1e-9 * np.abs(values).max():  # a constant: no zoom into its rounding
        axes.set_ylim(*sorted((0.8 * values[0], 1.2 * values[0])) if values[0] else (-1.0, 1.0))
    if len(known) > 1:
        axes.legend()


def _width_axes(axes: Any, report: Findings) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    widths = np.asarray(report.widths_done, dtype=float)
    axes.set_xticks(widths, [f"{int(n)}" for n in widths])
    axes.set_xlim(widths[0] / 1.2, widths[-1] * 1.2)
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.set_xlabel("width $n$")


def _guide(axes: Any, report: Findings, start: float, power: float, text: str) -> None:
    """Draw start * (n / n_0)^power across the panel."""
    n = np.asarray(report.widths_done, dtype=float)
    axes.plot(n, start * (n / n[0]) ** power, "-", color="0.8", linewidth=3.0, zorder=0)
    middle = float(np.sqrt(n[0] * n[-1]))
    axes.annotate(
        text, (middle, start * (middle / n[0]) ** power), xytext=(2, 4), textcoords="offset points", color="0.4"
    )


def _spread_panel(axes: Any, report: Findings) -> None:
    """Draw the standard deviation between networks, geometric mean over the points, against n."""
    top = 0.0
    for name in dict.fromkeys(m.quantity for m in report.measurements):
        spread = _spread(report, name)
        if spread is None:
            continue
        colour, marker, dash, text = STYLES[name]
        axes.plot(*spread, marker=marker, linestyle=dash, color=colour, label=text)
        top = max(top, spread[1][0])
    _width_axes(axes, report)
    if top:
        _guide(axes, report, 1.6 * top, -0.5, "$n^{-1/2}$")
        low, high = axes.get_ylim()
        axes.set_ylim(low / 6, high)
        axes.legend(loc="lower left", ncols=2)
    axes.set_ylabel("spread between networks\n(relative)")


def _bias_panel(axes: Any, report: Findings) -> None:
    """Draw the size of the bias against n; arrows are upper limits, where it is below two standard errors."""
    from matplotlib.ticker import NullFormatter

    top = 0.0
    values: list[float] = []
    names = list(dict.fromkeys(trend.quantity for trend in report.trends if trend.kind == "bias"))
    for position, name in enumerate(names):
        widths, size, error = _bias(report, name)
        widths = widths * 1.09 ** (position - (len(names) - 1) / 2)  # side by side
        colour, marker, _, text = STYLES[name]
        seen = size > 2 * error
        style = {"color": colour, "markerfacecolor": "white", "capsize": 2, "label": text}
        axes.errorbar(widths[seen], size[seen], yerr=2 * error[seen], fmt=marker, **style)
        limit = (size + 2 * error)[~seen]
        axes.errorbar(widths[~seen], limit, yerr=0.35 * limit, uplims=True, fmt="none", color=colour, alpha=0.5)
        top = max([top, *(size * widths / widths[0])[seen]])
        values += [*size[seen], *limit]
    _width_axes(axes, report)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("|bias| (relative)")
    if top:
        _guide(axes, report, 1.3 * top, -1.0, "$1/n$")
        axes.legend(loc="upper right")
    else:
        axes.text(0.5, 0.92, "no bias resolved", transform=axes.transAxes, ha="center", color="0.4")
    if values:
        axes.set_ylim(min(*values, max(values) / 5) / 3, 5 * max(values))


def _spread(report: Findings, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    values: dict[int, list[float]] = {}
    for m in report.measurements:
        if m.quantity == name and m.standard_error > 0:
            unit = 1.0 if name.startswith("log") else abs(m.theory)
            if unit > 0:
                values.setdefault(m.width, []).append(m.standard_error * m.samples**0.5 / unit)
    if not values:
        return None
    widths = sorted(values)
    return np.array(widths), np.array([np.exp(np.mean(np.log(values[n]))) for n in widths])


def _bias(report: Findings, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return widths, |bias| and standard errors at the point that the trend of the bias is taken from."""
    point = next(trend.point for trend in report.trends if trend.kind == "bias" and trend.quantity == name)
    chosen = [m for m in report.measurements if (m.quantity, m.point) == (name, point) and m.other in (None, point)]
    width, bias, error, theory = np.array([(m.width, m.mean - m.theory, m.standard_error, m.theory) for m in chosen]).T
    unit = np.ones_like(theory) if name.startswith("log") else np.where(theory == 0, 1.0, np.abs(theory))
    return width, np.abs(bias) / unit, error / unit


def _z_panel(axes: Any, report: Findings) -> None:
    """Draw every z against the normal quantile it should have: the diagonal is what chance gives."""
    z = np.sort([row.z for row in report.rows if row.z is not None])
    axes.text(0.03, 0.92, f"{len(z)} comparisons\n(points share networks)", transform=axes.transAxes, va="top")
    if len(z):
        from scipy.special import ndtri

        expected = ndtri((np.arange(len(z)) + 0.5) / len(z))
        axes.plot(expected, z, ".", color=style.LINES[0][0], markersize=3)
        span = float(max(3.0, np.abs(expected).max()))
        axes.plot([-span, span], [-span, span], "-", color="0.6", linewidth=0.8, zorder=0)
    axes.set_xlabel("normal quantile")
    axes.set_ylabel("$z$")
