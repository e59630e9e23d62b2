"""The picture of learned geometry: the law and what networks do, as maps, and where the law stops to hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style
from infgeo.reproduce import panels
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import Rows

MAPS = {"posterior.law": "law of the posterior", "posterior.change": "sampled posterior, $n = {}$"}
DESCENT = {"descent.change": "gradient descent, $n = {}$"}
LADDERS = (
    ("slope", "width $n$", ("posterior", "step")),
    ("correlation", "width $n$", ("posterior", "step", "descent")),
    ("slope", "noise variance", ("noise",)),
    ("slope", "labels times", ("labels",)),
)
_DASHES = {"posterior": "-", "step": "--", "descent": ":"}


def picture(settings: Rows, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw three maps for each task, of the first seed, and below how slope and correlation go, over all seeds."""
    from matplotlib.colors import Normalize

    count, arrays = len(settings.rows), results[0].arrays
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, 1.75 * count + 1.9)
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.75 * count, 1.9])
        grids = upper.subplots(count, 3, squeeze=False)
        for index, (name, row) in enumerate(zip(settings.names, settings.rows, strict=True)):
            axis = np.linspace(-row.half_width, row.half_width, row.points)
            for maps, drawn in ((MAPS, grids[index, :2]), (DESCENT, grids[index, 2:])):
                fields = [arrays[f"{name}.{key}"] for key in maps]
                reach = float(np.abs(fields[0]).max())
                panels.maps(
                    upper, drawn, (axis, axis), fields, [[]] * len(maps), [t.format(row.shown) for t in maps.values()],
                    r"$n\,\delta\log\sqrt{\det g}$", Normalize(-reach, reach), style.diverging(),
                )  # fmt: skip
                for axes in drawn:
                    style.points(axes, arrays[f"{name}.inputs"], arrays[f"{name}.labels"])
            grids[index, 0].set_ylabel(name)
            style.letter(grids[index, 0], style.LETTERS[index])
        for index, (axes, ladder) in enumerate(zip(lower.subplots(1, 4), LADDERS, strict=True)):
            _ladder(axes, settings, results, *ladder)
            style.letter(axes, style.LETTERS[count + index])
    return figure


def _ladder(
    axes: Any, settings: Rows, results: Sequence[SeedResult], key: str, label: str, kinds: Sequence[str]
) -> None:
    """Draw a statistic of each task over a ladder: means over seeds with 95 % intervals."""
    for index, name in enumerate(settings.names):
        for kind in kinds:
            values = sorted(results[0].statistics[name][kind], key=float)
            numbers = [[r.statistics[name][kind][value][key] for value in values] for r in results]
            mean, error = style.mean_and_interval(np.array(numbers))
            colour, marker, _ = style.LINES[index]
            text = kind if len(kinds) == 3 else name
            axes.errorbar(
                [float(value) for value in values], mean, yerr=error, color=colour, marker=marker, capsize=2,
                linestyle=_DASHES.get(kind, "-"), label=None if index and text == kind else text,
            )  # fmt: skip
    axes.axhline(1, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xscale("log")
    if len(values) <= 4:
        axes.set_xticks([float(value) for value in values], labels=values)
        axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set(xlabel=label, ylabel=f"{key}, measured on law" if key == "slope" else "correlation with the law")
    if len(kinds) != 2:
        axes.legend(loc="lower right")
