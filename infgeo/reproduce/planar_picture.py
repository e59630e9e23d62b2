"""The picture of the planar networks: maps over training with the boundary, and the numbers of all seeds below."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style
from infgeo.magnification import decision_boundary
from infgeo.reproduce import panels
from infgeo.reproduce.claims import number_of
from infgeo.reproduce.panels import VOLUME
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import Planar, Rows

BINS = 12
TASKS = {"xor": "4 points", "noisy_xor": "400 points", "sinusoid": "sinusoid"}
Part = tuple[str, Planar, str]  # the name of the network, its settings, a layer


def picture(settings: Rows, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw a row of maps for each network and layer, of the first seed, and a row of statistics over all seeds."""
    named = zip(settings.names, settings.rows, strict=True)
    parts: list[Part] = [(name, row, layer) for name, row in named for layer in row.layers]
    labels = [_label(part, settings) for part in parts]
    columns = max(len(panels.drawn(row)) for row in settings.rows)
    top = len(parts) * min(1.5, 6.1 / (columns + 0.35)) + 0.2
    rows = style.LETTERS[: len(parts)] if len(parts) > 1 else labels
    curved = settings.rows[0].field == "ricci"
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, top + 1.75)
        upper, lower = figure.subfigures(2, 1, height_ratios=[top, 1.75])
        grids = upper.subplots(len(parts), columns, squeeze=False)
        for index, (part, label) in enumerate(zip(parts, labels, strict=True)):
            _maps(upper, grids[index], part, results[0])
            grids[index, 0].set_ylabel(label)
            style.letter(grids[index, 0], style.LETTERS[index])
        statistics = lower.subplots(1, 2 if curved else 3)
        if curved:
            _ricci(statistics[0], parts, rows, results, "near", "median $R$ near the boundary")
            _ricci(statistics[1], parts, rows, results, "rest", "median $R$ elsewhere")
        else:
            _against_distance(statistics[0], parts, rows, results)
            rest = [[r.statistics[name]["layers"][layer]["rest"] for r in results] for name, _, layer in parts]
            _over_training(statistics[1], parts, rows, [np.array(v) for v in rest], "decades that $|x|$ leaves")
            statistics[1].set_ylim(bottom=0)
            groups = []
            for index, (name, _, layer) in enumerate(parts):
                seeds = [r.statistics[name]["layers"][layer] for r in results]
                groups.append(
                    (rows[index], index, {w: [number_of(s, w, "band") for s in seeds] for w in ("before", "after")})
                )
            panels.before_and_after(statistics[2], groups, "band − rest (decades)")
        for index, axes in enumerate(statistics):
            style.letter(axes, style.LETTERS[len(parts) + index])
    return figure


def _label(part: Part, settings: Rows) -> str:
    _, row, layer = part
    if len(row.layers) > 1:
        return f"layer {layer.removeprefix('activation')}"
    repeated = [other.task for other in settings.rows].count(row.task) > 1
    return f"{TASKS[row.task]}, {row.widths[1]} units" if repeated else TASKS[row.task]


def _maps(figure: Any, row_of_axes: Any, part: Part, result: SeedResult) -> None:
    from matplotlib.colors import SymLogNorm

    name, row, layer = part
    shown = panels.drawn(row)
    values = result.arrays[f"{name}.{row.field}"][row.layers.index(layer)][shown]
    points, logits = result.arrays[f"{name}.points"], result.arrays[f"{name}.logits"][shown]
    axis, shape = np.linspace(-row.half_width, row.half_width, row.points), (row.points, row.points)
    for axes in row_of_axes[len(shown) :]:
        axes.set_visible(False)
    drawn = row_of_axes[: len(shown)]
    borders = [decision_boundary(points, scores, shape).polylines for scores in logits]
    titles = [panels.epoch(row.shown[index]) for index in shown]
    if row.field == "ricci":
        reach = 10 ** np.ceil(np.log10(np.nanpercentile(np.abs(values), 99)))
        norm = SymLogNorm(1.0, vmin=-reach, vmax=reach, base=10)
        bar = panels.maps(
            figure, drawn, (axis, axis), values, borders, titles, "$R$ (printed: $3R$)", norm, style.diverging()
        )
        bar.set_ticks([-reach, -1, 0, 1, reach], labels=[f"{t:g}".replace("-", "−") for t in (-reach, -1, 0, 1, reach)])
        bar.minorticks_off()
    else:
        panels.maps(figure, drawn, (axis, axis), values, borders, titles, VOLUME)
    for axes in drawn:
        axes.set_xticks([-row.half_width, row.half_width])
    drawn[0].set_yticks([-row.half_width, row.half_width])
    style.points(drawn[0], result.arrays[f"{name}.inputs"], result.arrays[f"{name}.labels"])


def _against_distance(axes: Any, parts: Sequence[Part], labels: Sequence[str], results: Sequence[SeedResult]) -> None:
    """Draw log volume, less its mean over the grid, against the distance to the trained boundary: mean over seeds."""
    edges = np.linspace(0, 0.4 * parts[0][1].half_width, BINS + 1)
    groups = []
    for (name, row, layer), label in zip(parts, labels, strict=True):
        found = []
        for arrays in (result.arrays for result in results):
            volume = arrays[f"{name}.log10_volume"][row.layers.index(layer)][[0, -1]]
            shape = (row.points, row.points)
            found.append(
                panels.by_distance(arrays[f"{name}.points"], arrays[f"{name}.logits"][-1], shape, volume, edges)
            )
        groups.append((label, [curve for curve in found if curve is not None]))
    words = ("distance to the boundary", panels.CENTRED)
    panels.curves_before_and_after(axes, (edges[1:] + edges[:-1]) / 2, groups, words)


def _over_training(
    axes: Any, parts: Sequence[Part], labels: Sequence[str], values: Sequence[np.ndarray], label: str
) -> None:
    """Draw numbers (seeds, epochs) of each part over training."""
    for index, (part, numbers) in enumerate(zip(parts, values, strict=True)):
        colour, marker, dash = style.LINES[index]
        mean, error = style.mean_and_interval(numbers)
        epochs = np.maximum(np.array(part[1].shown, dtype=float), 0.3)
        axes.errorbar(
            epochs, mean, yerr=error, color=colour, marker=marker, linestyle=dash, capsize=2, label=labels[index]
        )
    axes.set_xscale("log")
    last = max(part[1].shown[-1] for part in parts)
    ticks = {0.3: "0", 1: "1", 100: "100", 1000: "1\u2009000", 10_000: "10\u2009000"}
    axes.set_xticks([t for t in ticks if t <= last], labels=[text for t, text in ticks.items() if t <= last])
    axes.minorticks_off()
    axes.set(xlabel="epoch", ylabel=label)
    if len(parts) > 1:
        axes.legend()


def _ricci(
    axes: Any, parts: Sequence[Part], labels: Sequence[str], results: Sequence[SeedResult], where: str, label: str
) -> None:
    values = [
        np.array([found[where] for r in results if (found := r.statistics[name]["ricci"])]) for name, _, _ in parts
    ]
    known = [(p, t, v) for p, t, v in zip(parts, labels, values, strict=True) if len(v)]
    _over_training(axes, [p for p, _, _ in known], [t for _, t, _ in known], [v for _, _, v in known], label)
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
