"""The picture of learned geometry: the law and what networks do, as maps, and where the law stops to hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import Rows

MAPS = (
    ("posterior.law", "law of the posterior"),
    ("posterior.change", "sampled posterior"),
    ("descent.change", "gradient descent"),
)
_KINDS = (("posterior", "posterior", "o", "-"), ("step", "one step", "s", "--"), ("descent", "descent", "^", ":"))


def picture(settings: Rows, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw three maps for each task, of the first seed, and below how slope and correlation go, over all seeds."""
    from matplotlib.colors import Normalize

    count = len(settings.rows)
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, 1.75 * count + 1.9)
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.75 * count, 1.9])
        panels = upper.subplots(count, 3, squeeze=False)
        for index, (name, row) in enumerate(zip(settings.names, settings.rows, strict=True)):
            axis = np.linspace(-row.half_width, row.half_width, row.points)
            for axes, (key, title) in zip(panels[index], MAPS, strict=True):
                values = results[0].arrays[f"{name}.{key}"]
                own = values if key.startswith("descent") else results[0].arrays[f"{name}.posterior.law"]
                reach = float(np.abs(own).max())
                field = values.reshape(row.points, row.points)
                image = style.field(axes, axis, axis, field, Normalize(-reach, reach), style.diverging())
                style.points(axes, results[0].arrays[f"{name}.inputs"], results[0].arrays[f"{name}.labels"])
                axes.set(xticks=[], yticks=[], title=title if key.endswith("law") else f"{title}, $n = {row.shown}$")
                if key != "posterior.law":
                    label = r"$n\,\delta\log\sqrt{\det g}$"
                    style.shared_colourbar(upper, image, [axes], label if key.startswith("descent") else "")
            panels[index, 0].set_ylabel({"xor": "XOR"}.get(name, name))
            style.letter(panels[index, 0], style.LETTERS[index])
        axes = lower.subplots(1, 4)
        _ladder(axes[0], settings, results, ("posterior", "step"), "slope", "width $n$")
        axes[0].set_ylabel("slope on the law")
        _ladder(axes[1], settings, results, ("posterior", "step", "descent"), "correlation", "width $n$")
        axes[1].set_ylabel("correlation with the law")
        _ladder(axes[2], settings, results, ("noise",), "slope", f"noise variance, $n = {settings.rows[0].shown}$")
        _ladder(axes[3], settings, results, ("labels",), "slope", f"labels times, $n = {settings.rows[0].shown}$")
        for index, one in enumerate(axes):
            style.letter(one, style.LETTERS[count + index])
        handles = [
            axes[1].plot([], [], color="0.3", marker=marker, linestyle=dash, label=label)[0]
            for _, label, marker, dash in _KINDS
        ]
        axes[1].legend(handles=handles, loc="lower right")
        axes[2].legend(loc="lower right")
    return figure


def _ladder(
    axes: Any, settings: Rows, results: Sequence[SeedResult], kinds: Sequence[str], key: str, label: str
) -> None:
    """Draw a statistic of each task over a ladder: means over seeds with 95 % intervals."""
    styles = {kind: (marker, dash) for kind, _, marker, dash in _KINDS}
    for index, name in enumerate(settings.names):
        for kind in kinds:
            values = sorted(results[0].statistics[name][kind], key=float)
            mean, error = style.mean_and_interval(
                np.array([[r.statistics[name][kind][value][key] for value in values] for r in results])
            )
            marker, dash = styles.get(kind, styles["posterior"])
            axes.errorbar(
                [float(value) for value in values], mean, yerr=error, color=style.LINES[index][0], marker=marker,
                linestyle=dash, capsize=2, label={"xor": "XOR"}.get(name, name),
            )  # fmt: skip
    axes.axhline(1, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xscale("log")
    if len(values) <= 4:
        axes.set_xticks([float(value) for value in values], labels=values)
        axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
