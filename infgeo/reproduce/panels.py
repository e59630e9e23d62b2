"""Panels that the pictures of planar networks and of images share: what seeds say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infgeo import figure_style as style

VOLUME = r"$\log_{10}\sqrt{\det g}$"
_SIDES = (("before", -0.18), ("after", 0.18))


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
    if not curves:
        return
    colour, marker, _ = style.LINES[number]
    mean, error = style.mean_and_interval(np.array(curves))
    axes.plot(x, mean, "-" if when else ":", color=colour, marker=marker, label=label)
    axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)


def distance_axes(axes: Any, label: str) -> None:
    """Name the axes of log volume against the distance to the boundary."""
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xlabel(label)
    axes.set_ylabel(f"{VOLUME} − mean")


def before_and_after(
    axes: Any, groups: Sequence[tuple[str, int, Mapping[str, Sequence[float | None]]]], label: str
) -> None:
    """Draw a measure before and after training: each seed as a point, and the mean with its interval.

    A group is its name, the number of its line style, and {"before": values of the seeds, "after": the same}.
    """
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
                label=when if index == 0 else None,
            )  # fmt: skip
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xticks(range(len(groups)), [name for name, *_ in groups], fontsize=6)
    axes.set_ylabel(label)
    axes.legend(fontsize=6)
