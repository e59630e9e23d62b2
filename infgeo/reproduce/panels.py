"""Panels that the pictures of planar networks and of images share: maps over training, and what seeds say together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style
from infgeo.magnification import decision_boundary

VOLUME = r"$\log_{10}\sqrt{\det g}$"
CENTRED = f"{VOLUME} − mean"
_SIDES = (("before", -0.18), ("after", 0.18))


def maps(
    figure: Any,
    axes_of_maps: Sequence[Any],
    coordinates: tuple[np.ndarray, np.ndarray],
    values: Any,
    borders: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    label: str,
    norm: Any = None,
    colours: Any = style.SEQUENTIAL,
) -> Any:
    """Draw fields (P,) on a grid of these axes, on one scale of colours, with boundaries; return the colour bar."""
    from matplotlib.colors import Normalize

    x, y = coordinates
    norm = Normalize(*style.limits(values)) if norm is None else norm
    for axes, field, lines, title in zip(axes_of_maps, values, borders, titles, strict=True):
        image = style.field(axes, x, y, field.reshape(len(y), len(x)), norm, colours)
        style.boundary(axes, lines)
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xticks=[], yticks=[], title=title)
    return style.shared_colourbar(figure, image, axes_of_maps, label)


def epoch(number: int) -> str:
    """Return the title of a panel."""
    return f"epoch {number:,}".replace(",", "\u2009")


def drawn(row: Any) -> list[int]:
    """Return the numbers of the records that are drawn."""
    return [index for index, epoch in enumerate(row.shown) if epoch >= row.first]


def by_distance(
    points: np.ndarray,
    logits: np.ndarray,
    shape: tuple[int, ...] | None,
    volumes: Any,
    edges: np.ndarray,
    relative: bool = False,
) -> np.ndarray | None:
    """Return the mean of each of `volumes` (P,), less that of all, in bins of the distance to the boundary of `logits`.

    NaN for an empty bin; None where there is no boundary. `relative` takes the largest distance as the unit.
    """
    line = decision_boundary(points, logits, shape)
    if not line:
        return None
    distance = line.distance(points)
    bins = np.digitize(distance / distance.max() * (1 - 1e-12) if relative else distance, edges) - 1
    centred = [volume.astype(float) - finite_mean(volume) for volume in volumes]
    return np.array([[finite_mean(volume[bins == b]) for b in range(len(edges) - 1)] for volume in centred])


def finite_mean(values: np.ndarray) -> float:
    """Return the mean of what is finite, NaN where nothing is."""
    known = values[np.isfinite(values)].astype(float)
    return float(known.mean()) if len(known) else float("nan")


def curves_before_and_after(
    axes: Any, x: np.ndarray, groups: Sequence[tuple[str, Any]], labels: tuple[str, str], markers: bool = True
) -> None:
    """Draw curves (seeds, 2, n) of each group as means with 95 % intervals: dotted before training, solid after it."""
    for index, (name, curves) in enumerate(groups):
        colour, marker, _ = style.LINES[index]
        for at, (when, dash) in enumerate((("before", ":"), ("after", "-"))):
            if not len(curves):
                continue
            mean, error = style.mean_and_interval(np.array(curves)[:, at])
            label = when if len(groups) == 1 else name if at else None
            axes.plot(x, mean, dash, color=colour, marker=marker if markers else None, label=label)
            axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def before_and_after(
    axes: Any, groups: Sequence[tuple[str, int, Mapping[str, Sequence[float | None]]]], label: str
) -> None:
    """Draw a measure before and after training: each seed as a point, and the mean with its interval.

    A group is its name, the number of its line style, and {"before": values of the seeds, "after": the same}.
    """
    named: set[str] = set()
    for index, (_, number, seeds) in enumerate(groups):
        colour, marker, _ = style.LINES[number]
        for when, offset in _SIDES:
            known = np.array([v for v in seeds[when] if v is not None])
            if not len(known):
                continue
            mean, error = style.mean_and_interval(known[:, None])
            face = "white" if when == "before" else colour
            axes.plot(np.full(len(known), index + offset), known, ".", color="0.6", markersize=3, zorder=1)
            axes.errorbar(
                [index + offset], mean, yerr=error, fmt=marker, color=colour, markerfacecolor=face, capsize=2,
                label=None if when in named else when,
            )  # fmt: skip
            named.add(when)
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xticks(range(len(groups)), [name for name, *_ in groups])
    axes.set_ylabel(label)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))  # the legend stands above the points
    if named:
        axes.legend(loc="upper center", ncols=2)
