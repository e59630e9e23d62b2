"""The pictures of lines and planes through images: volume with boundary over training, predictions, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style
from infgeo.magnification import decision_boundary
from infgeo.reproduce import panels
from infgeo.reproduce.near_boundary import entropy_of, number_of
from infgeo.reproduce.panels import VOLUME
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import ImageRows, Images

MOST_LINES = 4  # that are drawn; all count
BINS = 8
SHORT = {"distance": "$d$", "entropy": "$H$"}
TITLES = {
    "barlow_twins": "Barlow Twins",
    "simclr": "SimCLR",
    "digits": "digits",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
}


def picture(settings: ImageRows, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw the lines and planes of the first seed, and a row of statistics over all seeds."""
    first = results[0]
    parts: list[tuple[str, Images, list[str]]] = []
    for row in settings.rows:
        names = [key.removeprefix(f"{row.name}.").removesuffix(".log10_volume") for key in first.arrays
                 if key.startswith(f"{row.name}.") and key.endswith(".log10_volume")]  # fmt: skip
        lines = [n for n in names if n.startswith("line")][:MOST_LINES]
        parts += [("lines", row, lines)] if lines else []
        parts += [("plane", row, [n]) for n in names if n.startswith("plane")]
    heights = [1.75 if kind == "lines" else 1.65 for kind, _, _ in parts]
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, sum(heights) + 1.9)
        stripes = figure.subfigures(len(parts) + 1, 1, height_ratios=[*heights, 1.9])
        for index, (kind, row, names) in enumerate(parts):
            draw = _lines if kind == "lines" else _plane
            axes = draw(stripes[index], row, names, first)
            style.letter(axes, style.LETTERS[index])
        statistics = stripes[-1].subplots(1, 3, width_ratios=[1.1, 1, 1.2])
        _against_distance(statistics[0], settings, results)
        _measures(statistics[1], settings, results, ("band",), "band − rest (decades)")
        _measures(
            statistics[2],
            settings,
            results,
            ("distance", "entropy"),
            "rank correlation with\ndistance $d$, entropy $H$",
        )
        for index, axes in enumerate(statistics):
            style.letter(axes, style.LETTERS[len(parts) + index])
    return figure


def _lines(figure: Any, row: Images, names: Sequence[str], result: SeedResult) -> Any:
    """Draw volume along each line at each epoch shown, the final crossings, and the two images."""
    axes_of_lines = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    curves = {name: _centred(result.arrays[f"{row.name}.{name}.log10_volume"]) for name in names}
    low, high = style.limits(curves.values(), cut=0.0)
    span = high - low
    for axes, name in zip(axes_of_lines, names, strict=True):
        t = result.arrays[f"{row.name}.{name}.coordinates"][:, 0]
        logits = result.arrays[f"{row.name}.{name}.logits"][-1]
        for index, (epoch, v) in enumerate(zip(row.shown, curves[name], strict=True)):
            colour, _, dash = style.LINES[index]
            axes.plot(t, v, color=colour, linestyle=dash, label=f"epoch {epoch}")
        for crossing in decision_boundary(t, logits).polylines:
            axes.axvline(crossing[0, 0], color="0.4", linewidth=0.8, zorder=0)
        _name_stretches(axes, t, logits)
        axes.set(xlabel="$t$", xlim=(t[0], t[-1]), ylim=(low - 0.15 * span, high + 0.55 * span))
        for at, image in zip((0, 1), result.arrays[f"{row.name}.{name}.images"], strict=True):
            _thumbnail(axes, image, (0.02 + 0.96 * at, 0.97), (at, 1))
        axes.set_title(_classes(name))
    axes_of_lines[0].set_ylabel(f"{TITLES[row.name]}\n{VOLUME} − mean")
    axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, 1.0), handlelength=1.2, borderpad=0.1)
    return axes_of_lines[0]


def _centred(volume: np.ndarray) -> np.ndarray:
    """Return the volume (epochs, P) less its mean over the slice, NaN where it is not finite."""
    known = np.where(np.isfinite(volume), volume, np.nan).astype(float)
    counts = np.maximum(np.isfinite(known).sum(axis=1, keepdims=True), 1)
    centred: np.ndarray = known - np.nansum(known, axis=1, keepdims=True) / counts
    return centred


def _classes(name: str) -> str:
    """Return the classes that a slice goes through, in words."""
    return name.split(" ", 1)[1].replace("-", " to ") if name.startswith("line") else name.split(" ", 1)[1]


def _name_stretches(axes: Any, t: np.ndarray, logits: np.ndarray) -> None:
    """Name the predicted class below each stretch of the line."""
    winner = logits.argmax(axis=1)
    starts = np.flatnonzero(np.diff(winner, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(t)], strict=True):
        middle = (t[start] + t[stop - 1]) / 2
        axes.text(middle, 0.02, str(winner[start]), transform=axes.get_xaxis_transform(), ha="center", fontsize=6)


def _thumbnail(axes: Any, image: np.ndarray, where: tuple[float, float], alignment: tuple[float, float]) -> None:
    """Draw an image (C, H, W), its values stretched to [0, 1]; `alignment` is the corner of it that is put there."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    shown = np.moveaxis(image.astype(float), 0, -1)
    shown = (shown - shown.min()) / max(float(np.ptp(shown)), 1e-12)
    picture = OffsetImage(np.squeeze(shown), zoom=15 / image.shape[-1], cmap="gray_r", interpolation="nearest")
    box = AnnotationBbox(picture, where, xycoords="axes fraction", box_alignment=alignment, pad=0.1)
    box.patch.set_linewidth(0.4)
    axes.add_artist(box)


def _plane(figure: Any, row: Images, names: Sequence[str], result: SeedResult) -> Any:
    """Draw volume on the plane at each epoch shown, on one scale, and entropy and classes at the end."""
    from matplotlib.colors import Normalize

    key = f"{row.name}.{names[0]}"
    volume, logits = result.arrays[f"{key}.log10_volume"], result.arrays[f"{key}.logits"]
    points, corners = result.arrays[f"{key}.coordinates"], result.arrays[f"{key}.corners"]
    shape = (row.plane_points, row.plane_points)
    x, y = points.reshape(*shape, 2)[0, :, 0], points.reshape(*shape, 2)[:, 0, 1]
    maps = figure.subplots(1, len(row.shown) + 1, squeeze=False)[0]
    centred = _centred(volume)
    norm = Normalize(*style.limits(centred))
    for axes, epoch, v, whole in zip(maps, row.shown, centred, volume, strict=False):
        image = style.field(axes, x, y, v.reshape(shape), norm)
        centre = panels.finite_mean(whole)
        axes.set_title(f"epoch {epoch}")
        axes.set_xlabel(f"mean {centre:.1f}")
    style.shared_colourbar(figure, image, maps[:-1], f"{VOLUME} − mean")
    entropy = style.field(maps[-1], x, y, entropy_of(logits[-1]).reshape(shape), Normalize(vmin=0), "cividis")
    style.shared_colourbar(figure, entropy, maps[-1:], "entropy (nats)")
    maps[-1].set_title("predictions")
    _name_regions(maps[-1], points, logits[-1])
    border = decision_boundary(points, logits[-1], shape).polylines
    for index, axes in enumerate(maps):
        if len(logits) == len(row.shown) and index < len(row.shown):
            style.boundary(axes, decision_boundary(points, logits[index], shape).polylines)
        elif index == len(maps) - 1 or index == len(row.shown) - 1:
            style.boundary(axes, border)
        axes.plot(*corners.T, "o", color="black", markerfacecolor="white", markersize=3, zorder=6)
        axes.set(xticks=[], yticks=[], xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    for corner, image_here in zip(corners, result.arrays[f"{key}.images"], strict=True):
        share = (corner - (x[0], y[0])) / (x[-1] - x[0], y[-1] - y[0])
        at = (float(share[0]), float(share[1]))
        _thumbnail(maps[0], image_here, at, (round(at[0]), round(at[1])))
    maps[0].set_ylabel(f"{TITLES[row.name]}\nplane {_classes(names[0])}")
    return maps[0]


def _name_regions(axes: Any, points: np.ndarray, logits: np.ndarray) -> None:
    """Write each predicted class at the point where it is surest, away from the edge."""
    low, high = points.min(axis=0), points.max(axis=0)
    inside = (np.abs(points - (low + high) / 2) < 0.44 * (high - low)).all(axis=1)
    points, logits = points[inside], logits[inside]
    winner = logits.argmax(axis=1)
    top = np.sort(logits, axis=1)
    margin = top[:, -1] - top[:, -2]
    for label in np.unique(winner):
        chosen = np.flatnonzero(winner == label)
        if len(chosen) > len(winner) // 100:
            x, y = points[chosen[margin[chosen].argmax()]]
            axes.text(x, y, str(label), color="white", fontsize=7, ha="center", va="center", zorder=7, clip_on=True)


def _against_distance(axes: Any, settings: ImageRows, results: Sequence[SeedResult]) -> None:
    """Draw volume, less its mean over the slice, against the distance in units of the largest one of the slice."""
    edges = np.linspace(0, 1, BINS + 1)
    for index, row in enumerate(settings.rows):
        for when, text in ((0, "before"), (-1, "after")):
            curves = [curve for r in results if (curve := _curve(r, row, when, edges)) is not None]
            label = f"{TITLES[row.name]}, {text}" if len(settings.rows) > 1 else text
            panels.curve_over_seeds(axes, edges[:-1] + 0.5 / BINS, curves, index, when, label)
    panels.distance_axes(axes, "distance to the boundary / its maximum")
    axes.legend(fontsize=6)


def _curve(result: SeedResult, row: Images, when: int, edges: np.ndarray) -> np.ndarray | None:
    """Return the mean over the slices of one seed (NaN where no point is), or None where none has a boundary."""
    curves = []
    for name, statistics in result.statistics[row.name]["probes"].items():
        if "after" not in statistics:
            continue
        key = f"{row.name}.{name}"
        shape = (row.plane_points, row.plane_points) if name.startswith("plane") else None
        points = result.arrays[f"{key}.coordinates"]
        distance = decision_boundary(points, result.arrays[f"{key}.logits"][-1], shape).distance(points)
        bins = np.minimum(np.digitize(distance / distance.max(), edges) - 1, len(edges) - 2)
        curves.append(panels.binned(result.arrays[f"{key}.log10_volume"][when], bins, len(edges) - 1))
    return np.array([panels.finite_mean(column) for column in np.array(curves).T]) if curves else None


def _measures(
    axes: Any, settings: ImageRows, results: Sequence[SeedResult], measures: Sequence[str], label: str
) -> None:
    """Draw measures of the magnification before and after training."""
    groups = []
    for number, row in enumerate(settings.rows):
        for kind, slices in (("line", row.lines), ("plane", row.planes)):
            seeds = [r.statistics[row.name][kind] for r in results]
            for measure in measures if slices else ():
                text = f"{kind}s" if len(measures) == 1 else f"{kind}\n{SHORT[measure]}"
                values = {when: [number_of(s, when, measure) for s in seeds] for when in ("before", "after")}
                groups.append((text, number, values))
    panels.before_and_after(axes, groups, label)
