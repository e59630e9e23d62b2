"""Panels that the pictures of planar networks and of images share: maps over training, and what seeds say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style

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


def binned(values: np.ndarray, bins: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of the finite values (P,) in each of `count` bins, less that of all; NaN for an empty bin."""
    values = values.astype(float)
    centred = values - finite_mean(values)
    return np.array([finite_mean(centred[bins == b]) for b in range(count)])


def finite_mean(values: np.ndarray) -> float:
    """Return the mean of what is finite, NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def curve_over_seeds(
    axes: Any, x: np.ndarray, curves: Sequence[np.ndarray], number: int, when: int, label: str | None
) -> None:
    """Draw the mean over seeds of curves with its 95 % interval: dotted before training (0), solid after it (-1)."""
    if not len(curves):
        return
    colour, marker, _ = style.LINES[number]
    mean, error = style.mean_and_interval(np.array(curves))
    axes.plot(x, mean, "-" if when else ":", color=colour, marker=marker, label=label)
    axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)


def distance_axes(axes: Any, label: str) -> None:
    """Name the axes of log volume against the distance to the boundary."""
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    axes.set(xlabel=label, ylabel=CENTRED)
    legend(axes)


def legend(axes: Any) -> None:
    """Draw the legend, where there is anything to name."""
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
