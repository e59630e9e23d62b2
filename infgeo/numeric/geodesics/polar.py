"""Pairs of points in any dimension, in polar coordinates of the plane that they span with 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from infgeo.numeric.geodesics.slopes import library_of, like, numbers

CENTRE = 1e-30  # of the other radius, if that is below 1: stands for the radius 0, in the direction of the other point
_NEAR = 0.5  # of |y - x| over the larger of |x| and |y|: below, differences are taken of the points


@dataclass(frozen=True)
class Polar:
    """One end of a pair: log |x|, the unit vector along x, and the one across it towards the other end.

    `at_centre` tells where the point is 0; `across` is 0 where the other end is on the same line.
    """

    log_radius: Any
    along: Any
    across: Any
    at_centre: np.ndarray


def polar(x: Any, y: Any) -> tuple[Polar, Polar, Any, Any]:
    """Return both ends of pairs x, y (P, d), distinct and not both 0, log |y|/|x| and the angles between them."""
    lib = library_of(x)
    lengths = norm(x), norm(y)
    centres = tuple(numbers(length) == 0 for length in lengths)
    first, second = (
        lib.where(like(centre, x) > 0, CENTRE * lib.where(other < 1, other, 1.0), length)
        for length, other, centre in zip(lengths, lengths[::-1], centres, strict=True)
    )
    difference = y - x
    gap = norm(difference)
    larger = lib.where(first > second, first, second)
    near = gap < _NEAR * larger
    exact = (difference / larger[:, None] * ((x + y) / larger[:, None])).sum(-1) / (first / larger) ** 2
    ratio = lib.where(near, lib.log1p(lib.where(near, exact, 0 * exact)) / 2, lib.log(second) - lib.log(first))
    along = x / first[:, None], y / second[:, None]
    on = [like(centre, x)[:, None] > 0 for centre in centres]
    along = lib.where(on[0], along[1], along[0]), lib.where(on[1], along[0], along[1])
    ends, angle = [], None
    for sign, unit, other, length, centre in zip((1, -1), along, along[::-1], (second, first), centres, strict=True):
        # of the other point, over its norm; of the difference, where that is short
        across = lib.where(near[:, None], sign * difference / length[:, None], other)
        across = across - unit * (unit * across).sum(-1)[:, None]
        size = norm(across)
        angle = lib.arctan2(size, (unit * other).sum(-1)) if angle is None else angle
        own = first if sign == 1 else second
        across = lib.where(size[:, None] > 0, across / lib.where(size > 0, size, 1.0)[:, None], 0.0)
        ends.append(Polar(lib.log(own), unit, across, centre))
    lone = like(centres[0] | centres[1], x) > 0
    return ends[0], ends[1], ratio, lib.where(lone, 0 * ratio, angle)


def norm(x: Any) -> Any:
    """Return |x| of vectors (..., d) without overflow or underflow; its derivative at 0 is 0."""
    lib, known = library_of(x), numbers(x)
    largest = np.abs(known).max(-1)
    scale = like(np.where(largest > 0, largest, 1.0), x)
    squares = ((x / scale[..., None]) ** 2).sum(-1)
    return scale * lib.where(squares > 0, lib.sqrt(lib.where(squares > 0, squares, 1.0)), 0 * squares)
