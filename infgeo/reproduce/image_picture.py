"""The pictures of lines and planes through images: volume and predictions over training, and numbers of all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style
from infgeo.magnification import decision_boundary
from infgeo.reproduce import panels
from infgeo.reproduce.near_boundary import number_of
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
    parts: list[tuple[Any, Images, tuple[str, ...]]] = []
    for row in settings.rows:
        names = list(first.statistics[row.name]["probes"])
        lines, planes = ([n for n in names if n.startswith(kind)] for kind in ("line", "plane"))
        if len(row.layers) > 1:
            parts += [(_stages, row, (lines[0], str(at))) for at in (_drawn(row)[0], len(row.shown) - 1)]
        elif lines:
            parts.append((_line, row, tuple(lines[:2])))
        parts += [(_plane, row, (name,)) for name in planes]
    heights = [1.55] * len(parts)
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, sum(heights) + 1.75)
        stripes = figure.subfigures(len(parts) + 1, 1, height_ratios=[*heights, 1.75])
        for index, (draw, row, shown) in enumerate(parts):
            style.letter(draw(stripes[index], row, shown, first), style.LETTERS[index])
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


def _drawn(row: Images) -> list[int]:
    """Return the numbers of the records that are drawn."""
    return [index for index, epoch in enumerate(row.shown) if epoch >= row.first]


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


def _shared_limits(all_axes: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    low, high = style.limits(values, cut=0.0)
    for axes in all_axes:
        axes.set_ylim(low - 0.22 * (high - low), high + 0.5 * (high - low))


def _line(figure: Any, row: Images, names: Sequence[str], result: SeedResult) -> Any:
    """Draw volume along the line at each epoch shown, and along the control at the last one."""
    shown = [(names[0], at) for at in _drawn(row)] + [(name, len(row.shown) - 1) for name in names[1:]]
    axes_of_lines = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    curves = [_volume(result, row, name)[at] for name, at in shown]
    for axes, (name, at), values in zip(axes_of_lines, shown, curves, strict=True):
        control = ", one class" if name != names[0] else ""
        _along(axes, row, name, result, values, at, panels.epoch(row.shown[at]) + control)
    _shared_limits(axes_of_lines, curves)
    figure.supxlabel("position on the line", fontsize=7)
    axes_of_lines[0].set_ylabel(f"{TITLES[row.name]}\n{CENTRED}")
    return axes_of_lines[0]


def _stages(figure: Any, row: Images, chosen: Sequence[str], result: SeedResult) -> Any:
    """Draw volume along one line for each stage, from left to right, at one epoch."""
    name, at = chosen[0], int(chosen[1])
    all_axes = figure.subplots(1, len(row.layers), sharey=True, squeeze=False)[0]
    curves = [_volume(result, row, name, layer)[at] for layer in range(len(row.layers))]
    for index, (axes, values) in enumerate(zip(all_axes, curves, strict=True)):
        _along(axes, row, name, result, values, at, f"stage {index + 1}, {panels.epoch(row.shown[at])}")
    _shared_limits(all_axes, [_volume(result, row, name, layer) for layer in range(len(row.layers))])
    figure.supxlabel("position on the line", fontsize=7)
    all_axes[0].set_ylabel(CENTRED)
    return all_axes[0]


def _thumbnail(axes: Any, image: np.ndarray, where: tuple[float, float], alignment: tuple[float, float]) -> None:
    """Draw an image (C, H, W) with values in [0, 1]; `alignment` is the corner of it that is put there."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    shown = np.moveaxis(np.clip(image, 0, 1), 0, -1)
    drawn = OffsetImage(np.squeeze(shown), zoom=15 / image.shape[-1], cmap="gray_r", interpolation="nearest")
    box = AnnotationBbox(drawn, where, xycoords="axes fraction", box_alignment=alignment, pad=0.1)
    box.patch.set_linewidth(0.4)
    axes.add_artist(box)


def _plane(figure: Any, row: Images, names: Sequence[str], result: SeedResult) -> Any:
    """Draw volume on the plane at each epoch shown, on one scale, and the predictions at the end."""
    key, shown = f"{row.name}.{names[0]}", _drawn(row)
    volume = _volume(result, row, names[0])[shown]
    points, corners = result.arrays[f"{key}.coordinates"], result.arrays[f"{key}.corners"]
    shape = (row.plane_points, row.plane_points)
    x, y = points.reshape(*shape, 2)[0, :, 0], points.reshape(*shape, 2)[:, 0, 1]
    axes_of_maps = figure.subplots(1, len(shown) + 1, squeeze=False)[0]
    logits = [_logits(result, row, names[0], at) for at in shown]
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
    axes_of_maps[0].set_ylabel(f"{TITLES[row.name]}\n{names[0].removeprefix('plane ')}")
    return axes_of_maps[0]


def _mixed(logits: np.ndarray) -> np.ndarray:
    """Return colours (P, 3): those of the classes in the proportions of their probabilities."""
    from matplotlib.colors import to_rgb

    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    colours = np.array([to_rgb(style.CLASSES[c]) for c in range(logits.shape[1])])
    mixed: np.ndarray = odds / odds.sum(axis=1, keepdims=True) @ colours
    return mixed


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
    for index, row in enumerate(settings.rows):
        for when, text in ((0, "before"), (-1, "after")):
            curves = [curve for r in results if (curve := _curve(r, row, when, edges)) is not None]
            one = len(settings.rows) == 1
            label = text if one else TITLES[row.name] if when else None
            panels.curve_over_seeds(axes, edges[:-1] + 0.5 / BINS, curves, index, when, label)
    panels.distance_axes(axes, "distance to the boundary, of its largest")


def _curve(result: SeedResult, row: Images, when: int, edges: np.ndarray) -> np.ndarray | None:
    """Return the mean over the slices of one seed (NaN where no point is), or None where none has a boundary."""
    curves = []
    for name, statistics in result.statistics[row.name]["probes"].items():
        if "after" not in statistics:
            continue
        points = result.arrays[f"{row.name}.{name}.coordinates"]
        shape = (row.plane_points, row.plane_points) if name.startswith("plane") else None
        distance = decision_boundary(points, _logits(result, row, name, -1), shape).distance(points)
        bins = np.minimum(np.digitize(distance / distance.max(), edges) - 1, len(edges) - 2)
        curves.append(panels.binned(_volume(result, row, name)[when], bins, len(edges) - 1))
    return np.array([panels.finite_mean(column) for column in np.array(curves).T]) if curves else None


def _bands(axes: Any, settings: Rows, results: Sequence[SeedResult]) -> None:
    """Draw the magnification of lines and of planes before and after training."""
    groups = []
    for number, row in enumerate(settings.rows):
        for kind, slices in (("line", row.lines), ("plane", row.planes)):
            seeds = [r.statistics[row.name][kind] for r in results]
            text = f"{kind}s" if len(settings.rows) == 1 else f"{TITLES[row.name].split()[0]}\n{kind}s"
            if slices:
                groups.append(
                    (text, number, {w: [number_of(s, w, "band") for s in seeds] for w in ("before", "after")})
                )
    panels.before_and_after(axes, groups, "band − rest (decades)")


def _contrast(axes: Any, row: Images, results: Sequence[SeedResult]) -> None:
    """Draw the contrast of the lines against the stage, before and after training."""
    stages = np.arange(1, len(row.layers) + 1)
    for when, text in ((0, "before"), (-1, "after")):
        curves = [np.mean([s["contrast"] for s in r.statistics[row.name]["probes"].values()], axis=0)[:, when]
                  for r in results]  # fmt: skip
        panels.curve_over_seeds(axes, stages, curves, 0, when, text)
    axes.set(xlabel="stage", ylabel="contrast (decades)", xticks=stages, ylim=(0, None))
    axes.legend()


def _spectra(axes: Any, settings: Rows, results: Sequence[SeedResult]) -> None:
    """Draw the singular values of the Jacobian at the images of the first slice, before and after training."""
    for index, row in enumerate(settings.rows):
        for when, text in ((0, "before"), (-1, "after")):
            values = np.array([r.arrays[f"{row.name}.spectra"][when] for r in results])
            logs = np.log10(np.maximum(values, values.max() * 1e-9)).mean(axis=1)  # over the images
            one = len(settings.rows) == 1
            mean, error = style.mean_and_interval(logs)
            x = np.arange(1, len(mean) + 1)
            colour = style.LINES[index][0]
            label = text if one else TITLES[row.name] if when else None
            axes.plot(x, mean, "-" if when else ":", color=colour, label=label)
            axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="singular value of $J$ at the images", ylabel=r"$\log_{10}\sigma$")
    axes.legend()
