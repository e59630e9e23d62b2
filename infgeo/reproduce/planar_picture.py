"""The picture of the planar networks: maps of log volume over training with the boundary, and the numbers below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infgeo.magnification import decision_boundary
from infgeo.reproduce import planar, style
from infgeo.reproduce.near_boundary import number_of
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import Panels

VOLUME = r"$\log_{10}\sqrt{\det g}$"
BINS = 12


def picture(settings: Panels, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw a row of maps for each network and layer, of the first seed, and a row of statistics over all seeds."""
    rows = [(n, layer) for n, row in enumerate(settings.rows) for layer in planar.layers_of(row)]
    columns = max(len(row.shown) for row in settings.rows)
    top = 1.3 * len(rows) + 0.5
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, top + 1.95)
        maps, numbers = figure.subfigures(2, 1, height_ratios=[top, 1.95])
        panels = maps.subplots(len(rows), columns, squeeze=False)
        for index, (number, layer) in enumerate(rows):
            _maps(maps, panels[index], settings, number, layer, results[0])
            for axes in panels[index] if index == len(rows) - 1 else ():
                axes.set_xlabel("$x_1$")
            for axes in panels[index] if index and len({row.shown for row in settings.rows}) == 1 else ():
                axes.set_title("")
            style.letter(panels[index, 0], style.LETTERS[index])
        statistics = numbers.subplots(1, 3)
        _against_distance(statistics[0], settings, rows, results)
        _shares(statistics[1], settings, rows, results)
        _bands(statistics[2], settings, rows, results)
        for index, axes in enumerate(statistics):
            style.letter(axes, style.LETTERS[len(rows) + index])
    return figure


def _maps(figure: Any, panels: Any, settings: Panels, number: int, layer: str, result: SeedResult) -> None:
    from matplotlib.colors import Normalize

    row, name = settings.rows[number], planar.row_name(settings, number)
    probe = planar.grid_of(row)
    volume = result.arrays[f"{name}.log10_volume"][planar.layers_of(row).index(layer)]
    logits, points = result.arrays[f"{name}.logits"], result.arrays[f"{name}.points"]
    axis = np.linspace(-row.half_width, row.half_width, row.points)
    norm = Normalize(*style.limits(volume))
    for axes in panels[len(row.shown) :]:
        axes.set_visible(False)
    for axes, epoch, values, scores in zip(panels, row.shown, volume, logits, strict=False):
        image = style.field(axes, axis, axis, values.reshape(probe.shape), norm)
        style.boundary(axes, decision_boundary(points, scores, probe.shape).polylines)
        axes.set(xlim=(axis[0], axis[-1]), ylim=(axis[0], axis[-1]), xticks=[axis[0], 0, axis[-1]], yticks=[])
        axes.set_title(f"epoch {epoch:,}".replace(",", " "))
    if row.task != "sinusoid":
        inputs, labels = result.arrays[f"{name}.inputs"], result.arrays[f"{name}.labels"]
        style.points(panels[0], inputs, labels)
    panels[0].set_yticks([axis[0], 0, axis[-1]])
    panels[0].set_ylabel(f"{row_label(settings, number, layer)}\n$x_2$")
    style.shared_colourbar(figure, image, panels, VOLUME)


def row_label(settings: Panels, number: int, layer: str) -> str:
    """Return what a row of maps is called."""
    row = settings.rows[number]
    if len(row.widths) > 3:
        return f"layer {layer.removeprefix('activation')}"
    return {"xor": "4 points", "noisy_xor": "400 points", "sinusoid": "sinusoid"}[row.task]


def _against_distance(axes: Any, settings: Panels, rows: Sequence[tuple[int, str]], results: Any) -> None:
    """Draw log volume, less its mean over the grid, against the distance to the trained boundary: mean over seeds."""
    for index, (number, layer) in enumerate(rows):
        row, name = settings.rows[number], planar.row_name(settings, number)
        probe, at = planar.grid_of(row), planar.layers_of(row).index(layer)
        colour, marker, _ = style.LINES[index]
        edges = np.linspace(0, 0.5 * row.half_width, BINS + 1)
        curves: dict[int, list[np.ndarray]] = {0: [], -1: []}
        for result in results:
            points = result.arrays[f"{name}.points"]
            line = decision_boundary(points, result.arrays[f"{name}.logits"][-1], probe.shape)
            if not line:
                continue
            bins = np.digitize(line.distance(points), edges) - 1
            for when, found in curves.items():
                values = result.arrays[f"{name}.log10_volume"][at][when].astype(float)
                values = values - values[np.isfinite(values)].mean()
                found.append(np.array([values[bins == b].mean() if (bins == b).any() else np.nan for b in range(BINS)]))
        middle = (edges[1:] + edges[:-1]) / 2
        for when, dash, text in ((0, ":", "before"), (-1, "-", "after")):
            if not curves[when]:
                continue
            mean, error = style.mean_and_interval(np.array(curves[when]))
            words = text if len(rows) == 1 else row_label(settings, number, layer) if when else None
            axes.plot(middle, mean, dash, color=colour, marker=marker, label=words)
            axes.fill_between(middle, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xlabel("distance to the boundary")
    axes.set_ylabel(f"{VOLUME} − mean")
    axes.legend(fontsize=6, title=None if len(rows) == 1 else "after (dotted: before)", title_fontsize=6)


def _shares(axes: Any, settings: Panels, rows: Sequence[tuple[int, str]], results: Any) -> None:
    """Draw the decades that |x| does not explain, over training."""
    for index, (number, layer) in enumerate(rows):
        row, name = settings.rows[number], planar.row_name(settings, number)
        colour, marker, dash = style.LINES[index]
        values = np.array([r.statistics[name]["layers"][layer]["rest"] for r in results])
        mean, error = style.mean_and_interval(values)
        epochs = np.maximum(np.array(row.shown, dtype=float), 1)
        style.with_interval(axes, epochs, mean, error, colour, marker, dash, row_label(settings, number, layer))
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch (0 drawn at 1)")
    axes.set_ylabel(f"s.d. of {VOLUME}\nthat $|x|$ does not explain")
    if len(rows) > 1:
        axes.legend(fontsize=6)


def _bands(axes: Any, settings: Panels, rows: Sequence[tuple[int, str]], results: Any) -> None:
    """Draw the difference between the band at the boundary and the rest, before and after: each seed, and the mean."""
    for index, (number, layer) in enumerate(rows):
        name = planar.row_name(settings, number)
        colour, marker, _ = style.LINES[index]
        for offset, when in ((-0.18, "before"), (0.18, "after")):
            values = [number_of(r.statistics[name]["layers"][layer], when, "band") for r in results]
            known = np.array([v for v in values if v is not None])
            if not len(known):
                continue
            mean, error = style.mean_and_interval(known[:, None])
            face = "white" if when == "before" else colour
            axes.plot(np.full(len(known), index + offset), known, ".", color="0.6", markersize=3, zorder=1)
            axes.errorbar(
                [index + offset], mean, yerr=error, fmt=marker, color=colour, markerfacecolor=face, capsize=2,
                label=when if index == 0 else None,
            )  # fmt: skip
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_xticks(range(len(rows)), [row_label(settings, n, layer) for n, layer in rows])
    axes.set_ylabel(f"band − rest of {VOLUME}\nat equal $|x|$ (decades)")
    axes.legend(fontsize=6)
