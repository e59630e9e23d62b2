"""The pictures of lines and planes through images: volume and predictions over training, and numbers of all seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from infgeo import figure_style as style
from infgeo.magnification import decision_boundary
from infgeo.reproduce import panels
from infgeo.reproduce.claims import number_of
from infgeo.reproduce.panels import CENTRED
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import Images, Rows

BINS = 8
TITLES = {
    "barlow_twins": "Barlow Twins",
    "simclr": "SimCLR",
    "digits": "digits",
    "patches": "patches",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "relu_mlp": "perceptron",
    "relu_resnet": "ResNet",
}


def picture(settings: Rows, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw the lines and planes of the first seed, and a row of statistics over all seeds."""
    first = results[0]
    parts: list[tuple[Any, Images, Any]] = []
    for row in settings.rows:
        names = list(first.statistics[row.name]["probes"])
        lines, planes = ([n for n in names if n.startswith(kind)] for kind in ("line", "plane"))
        shown, last = panels.drawn(row), len(row.shown) - 1
        if len(row.layers) > 1:
            parts += [(_lines, row, [(lines[0], layer, at) for layer in range(len(row.layers))])
                      for at in (shown[0], last)]  # fmt: skip
        elif lines:
            parts.append((_lines, row, [(lines[0], 0, at) for at in shown] + [(name, 0, last) for name in lines[1:2]]))
        parts += [(_plane, row, name) for name in planes]
    several = len(settings.rows) > 1
    heights = [1.7 if several else 1.55] * len(parts)
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, sum(heights) + 1.75)
        stripes = figure.subfigures(len(parts) + 1, 1, height_ratios=[*heights, 1.75])
        for index, (draw, row, shown) in enumerate(parts):
            style.letter(draw(stripes[index], row, shown, first), style.LETTERS[index])
            if several:
                stripes[index].suptitle(TITLES[row.name], fontsize=style.RC["font.size"], fontweight="bold")
        staged = len(settings.rows[0].layers) > 1
        statistics = stripes[-1].subplots(1, 2 if staged else 3, squeeze=False)[0]
        if staged:
            _contrast(statistics[0], settings.rows[0], results)
        else:
            _against_distance(statistics[0], settings, results)
            _bands(statistics[1], settings, results)
        _spectra(statistics[-1], settings, results)
        for index, axes in enumerate(statistics):
            style.letter(axes, style.LETTERS[len(parts) + index])
    return figure


def _volume(result: SeedResult, row: Images, name: str, layer: int = -1) -> np.ndarray:
    """Return the log volume (epochs, P) of a probe less its mean over the slice, NaN where it is not finite."""
    volume = result.arrays[f"{row.name}.{name}.log10_volume"][layer].astype(float)
    return np.array([np.where(np.isfinite(v), v, np.nan) - panels.finite_mean(v) for v in volume])


def _logits(result: SeedResult, row: Images, name: str, at: int) -> np.ndarray:
    """Return the logits (P, classes) after the record `at`, or of the readout."""
    logits: np.ndarray = result.arrays[f"{row.name}.{name}.logits"]
    return logits[at] if len(logits) == len(row.shown) else logits[-1]


def _along(axes: Any, row: Images, name: str, result: SeedResult, values: np.ndarray, at: int, title: str) -> None:
    """Draw values along a line, coloured by the predicted class, with its end points and its midpoint."""
    from matplotlib.collections import LineCollection

    key, classes = f"{row.name}.{name}", result.statistics[row.name]["classes"]
    t, logits = result.arrays[f"{key}.coordinates"][:, 0], _logits(result, row, name, at)
    winner = logits.argmax(axis=1)
    corners = np.stack((t, values), -1)
    pieces = list(np.stack((corners[:-1], corners[1:]), 1))
    segments = LineCollection(pieces, colors=[style.CLASSES[c] for c in winner[1:]], linewidth=1.8)
    axes.add_collection(segments)
    for crossing in decision_boundary(t, logits).polylines:
        axes.axvline(crossing[0, 0], color="0.4", linewidth=0.7, zorder=0)
    starts = np.flatnonzero(np.diff(winner, prepend=-1))
    stops = [*starts[1:], len(t)]
    for start, stop in zip(starts, stops, strict=True):
        if stop - start > len(t) / 6:
            where = np.clip((t[start] + t[stop - 1]) / 2, 0.12, 0.88)
            text, colour = classes[winner[start]], style.CLASSES[winner[start]]
            below = axes.get_xaxis_transform()
            axes.text(where, 0.03, text, color=colour, transform=below, ha="center", fontweight="bold")
    ends = result.arrays[f"{key}.images"]
    for position, image in ((0, ends[0]), (0.5, (ends[0] + ends[1]) / 2), (1, ends[1])):
        _thumbnail(axes, image, (0.02 + 0.96 * position, 0.98), (position, 1))
    axes.set(xlim=(t[0], t[-1]), xticks=[0, 0.5, 1], title=title)
    axes.set_xticklabels(["0", "0.5", "1"])


def _lines(figure: Any, row: Images, chosen: Sequence[tuple[str, int, int]], result: SeedResult) -> Any:
    """Draw volume along lines, one panel each: (name of the line, number of the layer, number of the record)."""
    panels_of_lines = figure.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
    curves = [_volume(result, row, name, layer)[at] for name, layer, at in chosen]
    for axes, (name, layer, at), values in zip(panels_of_lines, chosen, curves, strict=True):
        title = panels.epoch(row.shown[at]) + (", one class" if name != chosen[0][0] else "")
        title = f"stage {layer + 1}, {title}" if len(row.layers) > 1 else title
        _along(axes, row, name, result, values, at, title)
    low, high = style.limits(curves, cut=0.0)
    panels_of_lines[0].set_ylim(low - 0.22 * (high - low), high + 0.5 * (high - low))  # of all: the axis is shared
    figure.supxlabel("position on the line", fontsize=style.RC["font.size"])
    panels_of_lines[0].set_ylabel(CENTRED)
    return panels_of_lines[0]


def _thumbnail(axes: Any, image: np.ndarray, where: tuple[float, float], alignment: tuple[float, float]) -> None:
    """Draw an image (C, H, W) with values in [0, 1]; `alignment` is the corner of it that is put there."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    shown = np.moveaxis(np.clip(image, 0, 1), 0, -1)
    drawn = OffsetImage(np.squeeze(shown), zoom=15 / image.shape[-1], cmap="gray_r", interpolation="nearest")
    box = AnnotationBbox(drawn, where, xycoords="axes fraction", box_alignment=alignment, pad=0.1)
    box.patch.set_linewidth(0.4)
    axes.add_artist(box)


def _plane(figure: Any, row: Images, name: str, result: SeedResult) -> Any:
    """Draw volume on the plane at each epoch shown, on one scale, and the predictions at the end."""
    key, shown = f"{row.name}.{name}", panels.drawn(row)
    volume = _volume(result, row, name)[shown]
    points, corners = result.arrays[f"{key}.coordinates"], result.arrays[f"{key}.corners"]
    shape = (row.plane_points, row.plane_points)
    x, y = points.reshape(*shape, 2)[0, :, 0], points.reshape(*shape, 2)[:, 0, 1]
    axes_of_maps = figure.subplots(1, len(shown) + 1, squeeze=False)[0]
    logits = [_logits(result, row, name, at) for at in shown]
    borders = [decision_boundary(points, scores, shape).polylines for scores in logits]
    titles = [panels.epoch(row.shown[at]) for at in shown]
    panels.maps(figure, axes_of_maps[:-1], (x, y), volume, borders, titles, CENTRED)
    predicted = axes_of_maps[-1]
    colours = _mixed(logits[-1]).reshape(*shape, 3)
    predicted.imshow(colours, origin="lower", extent=(x[0], x[-1], y[0], y[-1]), aspect="auto", interpolation="nearest")
    style.boundary(predicted, borders[-1])
    predicted.set(xticks=[], yticks=[], xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), title="predictions")
    _name_regions(predicted, points, logits[-1], result.statistics[row.name]["classes"])
    for axes in axes_of_maps:
        axes.set_aspect("auto")
        axes.plot(*corners[[0, 1, 2, 0]].T, "-", color="black", linewidth=0.5, zorder=5)
    images = result.arrays[f"{key}.images"]
    for corner, image in zip(corners, images, strict=True):
        share = (corner - (x[0], y[0])) / (x[-1] - x[0], y[-1] - y[0])
        at = (float(share[0]), float(share[1]))
        _thumbnail(axes_of_maps[0], image, at, (round(at[0]), round(at[1])))
    axes_of_maps[0].set_ylabel(name.removeprefix("plane "))
    return axes_of_maps[0]


def _mixed(logits: np.ndarray) -> np.ndarray:
    """Return colours (P, 3): those of the classes in the proportions of their probabilities."""
    from matplotlib.colors import to_rgb

    return softmax(logits, axis=1) @ np.array([to_rgb(style.CLASSES[c]) for c in range(logits.shape[1])])


def _name_regions(axes: Any, points: np.ndarray, logits: np.ndarray, classes: Sequence[str]) -> None:
    """Write each predicted class at the point where it is surest, away from the edge."""
    low, high = points.min(axis=0), points.max(axis=0)
    inside = (np.abs(points - (low + high) / 2) < 0.36 * (high - low)).all(axis=1)
    points, logits = points[inside], logits[inside]
    winner, top = logits.argmax(axis=1), np.sort(logits, axis=1)
    margin = top[:, -1] - top[:, -2]
    for label in np.unique(winner):
        chosen = np.flatnonzero(winner == label)
        if len(chosen) > len(winner) // 50:
            x, y = points[chosen[margin[chosen].argmax()]]
            axes.text(x, y, classes[label], ha="center", va="center", zorder=7, clip_on=True, fontweight="bold")


def _against_distance(axes: Any, settings: Rows, results: Sequence[SeedResult]) -> None:
    """Draw volume, less its mean over the slice, against the distance in units of the largest one of the slice."""
    edges = np.linspace(0, 1, BINS + 1)
    groups = []
    for row in settings.rows:
        curves = [curve for result in results if (curve := _curves(result, row, edges)) is not None]
        groups.append((TITLES[row.name], curves))
    words = ("distance to the boundary, of its largest", CENTRED)
    panels.curves_before_and_after(axes, edges[:-1] + 0.5 / BINS, groups, words)


def _curves(result: SeedResult, row: Images, edges: np.ndarray) -> np.ndarray | None:
    """Return the means (2, bins) over the slices of one seed (NaN where no point is), or None without a boundary."""
    curves = []
    for name in result.statistics[row.name]["probes"]:
        points, logits = result.arrays[f"{row.name}.{name}.coordinates"], _logits(result, row, name, -1)
        shape = (row.plane_points, row.plane_points) if name.startswith("plane") else None
        curve = panels.by_distance(points, logits, shape, _volume(result, row, name)[[0, -1]], edges, relative=True)
        curves += [] if curve is None else [curve]
    if not curves:
        return None
    return np.apply_along_axis(panels.finite_mean, 0, np.array(curves))


def _bands(axes: Any, settings: Rows, results: Sequence[SeedResult]) -> None:
    """Draw the magnification of lines and of planes before and after training."""
    groups = []
    by_row = [(("line", row.lines), ("plane", row.planes)) for row in settings.rows]
    kinds = {kind for parts in by_row for kind, slices in parts if slices}
    for number, (row, parts) in enumerate(zip(settings.rows, by_row, strict=True)):
        for kind, slices in parts:
            seeds = [r.statistics[row.name][kind] for r in results]
            # Where rows have both kinds, colours tell the rows apart.
            text = TITLES[row.name] if len(settings.rows) > 1 and len(kinds) == 1 else f"{kind}s"
            if slices:
                groups.append(
                    (text, number, {w: [number_of(s, w, "band") for s in seeds] for w in ("before", "after")})
                )
    panels.before_and_after(axes, groups, "band − rest (decades)")


def _contrast(axes: Any, row: Images, results: Sequence[SeedResult]) -> None:
    """Draw the contrast of the lines against the stage, before and after training."""
    stages = np.arange(1, len(row.layers) + 1)
    probes = [result.statistics[row.name]["probes"].values() for result in results]
    contrast = [np.mean([s["contrast"] for s in found], axis=0)[:, [0, -1]].T for found in probes]
    panels.curves_before_and_after(axes, stages, [("", contrast)], ("stage", "contrast (decades)"))
    axes.set(xticks=stages, ylim=(0, None))


def _spectra(axes: Any, settings: Rows, results: Sequence[SeedResult]) -> None:
    """Draw the singular values of the Jacobian at the images of the first slice, before and after training."""
    groups = []
    for row in settings.rows:
        values = np.array([result.arrays[f"{row.name}.spectra"] for result in results])  # (seeds, 2, images, n)
        groups.append((TITLES[row.name], np.log10(np.maximum(values, values.max() * 1e-9)).mean(axis=2)))
    most = max(curves.shape[-1] for _, curves in groups)
    padded = [
        (name, np.pad(c, ((0, 0), (0, 0), (0, most - c.shape[-1])), constant_values=np.nan)) for name, c in groups
    ]
    words = ("singular value of $J$ at the images", r"$\log_{10}\sigma$")
    panels.curves_before_and_after(axes, np.arange(1, most + 1), padded, words, markers=False)
