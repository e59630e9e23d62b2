"""The picture of the planar networks: maps of log volume over training with the boundary, and the numbers below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style
from infgeo.magnification import decision_boundary
from infgeo.reproduce import panels
from infgeo.reproduce.near_boundary import number_of
from infgeo.reproduce.panels import VOLUME
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import Panels

BINS = 12


def picture(settings: Panels, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw a row of maps for each network and layer, of the first seed, and a row of statistics over all seeds."""
    rows = [(n, layer) for n, row in enumerate(settings.rows) for layer in row.layers]
    columns = max(len(row.shown) for row in settings.rows)
    top = 1.3 * len(rows) + 0.5
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, top + 1.95)
        maps, numbers = figure.subfigures(2, 1, height_ratios=[top, 1.95])
        grids = maps.subplots(len(rows), columns, squeeze=False)
        for index, (number, layer) in enumerate(rows):
            _maps(maps, grids[index], settings, number, layer, results[0])
            for axes in grids[index] if index == len(rows) - 1 else ():
                axes.set_xlabel("$x_1$")
            for axes in grids[index] if index and len({row.shown for row in settings.rows}) == 1 else ():
                axes.set_title("")
            style.letter(grids[index, 0], style.LETTERS[index])
        statistics = numbers.subplots(1, 3)
        _against_distance(statistics[0], settings, rows, results)
        _shares(statistics[1], settings, rows, results)
        _bands(statistics[2], settings, rows, results)
        for index, axes in enumerate(statistics):
            style.letter(axes, style.LETTERS[len(rows) + index])
    return figure


def _maps(figure: Any, row_of_axes: Any, settings: Panels, number: int, layer: str, result: SeedResult) -> None:
    from matplotlib.colors import Normalize

    row, name = settings.rows[number], settings.names[number]
    shape = (row.points, row.points)
    volume = result.arrays[f"{name}.log10_volume"][row.layers.index(layer)]
    logits, points = result.arrays[f"{name}.logits"], result.arrays[f"{name}.points"]
    axis = np.linspace(-row.half_width, row.half_width, row.points)
    norm = Normalize(*style.limits(volume))
    for axes in row_of_axes[len(row.shown) :]:
        axes.set_visible(False)
    for axes, epoch, values, scores in zip(row_of_axes, row.shown, volume, logits, strict=False):
        image = style.field(axes, axis, axis, values.reshape(shape), norm)
        style.boundary(axes, decision_boundary(points, scores, shape).polylines)
        axes.set(xlim=(axis[0], axis[-1]), ylim=(axis[0], axis[-1]), xticks=[axis[0], 0, axis[-1]], yticks=[])
        axes.set_title(f"epoch {epoch:,}".replace(",", " "))
    if row.task != "sinusoid":
        inputs, labels = result.arrays[f"{name}.inputs"], result.arrays[f"{name}.labels"]
        style.points(row_of_axes[0], inputs, labels)
    row_of_axes[0].set_yticks([axis[0], 0, axis[-1]])
    row_of_axes[0].set_ylabel(f"{row_label(settings, number, layer)}\n$x_2$")
    style.shared_colourbar(figure, image, row_of_axes, VOLUME)


def row_label(settings: Panels, number: int, layer: str) -> str:
    """Return what a row of maps is called."""
    row = settings.rows[number]
    if len(row.widths) > 3:
        return f"layer {layer.removeprefix('activation')}"
    return {"xor": "4 points", "noisy_xor": "400 points", "sinusoid": "sinusoid"}[row.task]


def _against_distance(axes: Any, settings: Panels, rows: Sequence[tuple[int, str]], results: Any) -> None:
    """Draw log volume, less its mean over the grid, against the distance to the trained boundary: mean over seeds."""
    for index, (number, layer) in enumerate(rows):
        row, name = settings.rows[number], settings.names[number]
        at, shape = row.layers.index(layer), (row.points, row.points)
        edges = np.linspace(0, 0.5 * row.half_width, BINS + 1)
        curves: dict[int, list[np.ndarray]] = {0: [], -1: []}
        for result in results:
            points = result.arrays[f"{name}.points"]
            line = decision_boundary(points, result.arrays[f"{name}.logits"][-1], shape)
            if not line:
                continue
            bins = np.digitize(line.distance(points), edges) - 1
            for when, found in curves.items():
                found.append(panels.binned(result.arrays[f"{name}.log10_volume"][at][when], bins, BINS))
        for when, text in ((0, "before"), (-1, "after")):
            words = text if len(rows) == 1 else row_label(settings, number, layer) if when else None
            panels.curve_over_seeds(axes, (edges[1:] + edges[:-1]) / 2, curves[when], index, when, words)
    panels.distance_axes(axes, "distance to the boundary")
    axes.legend(fontsize=6, title=None if len(rows) == 1 else "after (dotted: before)", title_fontsize=6)


def _shares(axes: Any, settings: Panels, rows: Sequence[tuple[int, str]], results: Any) -> None:
    """Draw the decades that |x| does not explain, over training."""
    for index, (number, layer) in enumerate(rows):
        row, name = settings.rows[number], settings.names[number]
        colour, marker, dash = style.LINES[index]
        values = np.array([r.statistics[name]["layers"][layer]["rest"] for r in results])
        mean, error = style.mean_and_interval(values)
        epochs = np.maximum(np.array(row.shown, dtype=float), 1)
        label = row_label(settings, number, layer)
        axes.errorbar(epochs, mean, yerr=error, color=colour, marker=marker, linestyle=dash, capsize=2, label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch (0 drawn at 1)")
    axes.set_ylabel(f"s.d. of {VOLUME}\nthat $|x|$ does not explain")
    if len(rows) > 1:
        axes.legend(fontsize=6)


def _bands(axes: Any, settings: Panels, rows: Sequence[tuple[int, str]], results: Any) -> None:
    """Draw the difference between the band at the boundary and the rest, before and after training."""
    groups = []
    for index, (number, layer) in enumerate(rows):
        seeds = [r.statistics[settings.names[number]]["layers"][layer] for r in results]
        values = {when: [number_of(s, when, "band") for s in seeds] for when in ("before", "after")}
        groups.append((row_label(settings, number, layer), index, values))
    panels.before_and_after(axes, groups, f"band − rest of {VOLUME}\nat equal $|x|$ (decades)")
