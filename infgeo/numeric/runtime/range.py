"""Where double precision keeps its digits: how large and how small what the layers reach becomes at each point.

Formulas multiply up to four variances, so all of them must lie between the fourth roots of the smallest and the largest
number of the format. Lengths of points say little of that: after some layers with scales of 100, or of 1/100, variances
leave every format at points of length 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from infgeo.numeric.runtime.arrays.library import in_words
from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.layers import point_after
from infgeo.numeric.runtime.records import Array

REMEDY = (
    "rescale the points, weight_std or bias_std, pass float64 points if these are float32, or take backend='mpmath'"
    " with many digits (mpmath.mp.dps)"
)


def out_of_range(
    xp: Any, layers: Sequence[Any], X: Array, scalars: Sequence[Any], wanted: str, variances: tuple | None = None
) -> Any:
    """Return at which points digits are lost, or None where none are; raises InputError where that is known.

    Args:
        xp: the array library.
        layers: those of the network.
        X: points (..., d).
        scalars: the activations' parameters.
        wanted: what must be a number of the points' format: the features' "kernel", with the tangent kernel ("ntk"),
            or nothing ("metric"): results of single points are looked at themselves.
        variances: between which numbers all variances must lie for formulas to keep their digits, where it is narrower.
    """
    if xp.lib is None:  # every number is one of mpmath's
        return None
    x = xp.double(X)
    with xp.quiet():
        s = xp.sum_squares(x)
        h = point_after(xp, layers, s, scalars, wanted == "ntk")
        last = {"kernel": h.f, "ntk": h.f + h.D, "metric": 1.0}[wanted] + 0 * s
        work, given = xp.lib.finfo(x.dtype), xp.lib.finfo(X.dtype)
        low, high = 0 * last + math.inf, 0 * last
        for part in (*h.reached, last):
            part = xp.lib.where((abs(X).sum(-1) == 0) & (part == 0), 1.0, xp.lib.where(part == part, part, math.inf))
            low, high = xp.lib.minimum(low, part), xp.lib.maximum(high, part)
        lost = ~((low >= float(work.tiny) ** 0.25) & (high <= float(work.max) ** 0.25))
        if variances:
            lost = lost | (low < variances[0]) | (high > variances[1])
        for layer, part in zip(layers, h.reached if wanted != "metric" else (), strict=False):
            if layer.law is not None and layer.law.between:
                low, high = xp.lib.minimum(low, part), xp.lib.maximum(high, part)
                lost = lost | (part < layer.law.between[0]) | (part > layer.law.between[1])
        if wanted in ("kernel", "ntk"):  # other results are looked at themselves
            held = (last >= float(given.tiny)) & (last <= float(given.max))
            lost = lost | ~(held | ((abs(X).sum(-1) == 0) & (last == 0)))
    known = xp.known(lost)
    if known is None:
        return lost
    if not bool(known.any()):
        return None
    at = known.reshape(-1)
    with xp.quiet():
        spread = (xp.known(part + 0 * s).reshape(-1) for part in (abs(X).sum(-1), low, high))
        size, low, high = (float(part[at][0]) for part in spread)
    raise InputError(
        f"at a point with coordinates up to {in_words(size)} what the layers reach goes from {in_words(low)} to"
        f" {in_words(high)}: {X.dtype} does not keep the digits; {REMEDY}"
    )


def marked(xp: Any, result: Array, *lost: Any) -> Any:
    """Return a result, not a number where digits are lost and no error could say so: in a transformation."""
    for part in lost:
        if part is not None:
            result = xp.lib.where(part.reshape(part.shape + (1,) * (result.ndim - part.ndim)), math.nan, result)
    return result


def check_apart(xp: Any, X: Array, Y: Array, delta: Array) -> None:
    """Raise InputError where the squared difference of two points vanishes in the format, and they differ."""
    near = xp.known(delta < float(xp.lib.finfo(delta.dtype).tiny) * 1e8)
    X, Y = xp.known(X), xp.known(Y)
    if near is None or X is None or Y is None or near.ndim > 2 or not bool(near.any()):
        return
    rows, columns = xp.lib.where(near)
    step = max(1, 2**20 // X.shape[1])
    for start in range(0, len(rows), step):
        i, j = rows[start : start + step], columns[start : start + step]
        apart = (X[i] != Y[j]).any(-1)
        if bool(apart.any()):
            raise InputError(
                f"X[i] and Y[j] for i, j = {int(i[apart][0])}, {int(j[apart][0])} differ by so little that the square"
                f" vanishes in {delta.dtype}: {REMEDY}"
            )


def rooted(xp: Any, squares: Array, squared: bool, like: Array) -> Any:
    """Return distances, or their squares, in the points' format; raises InputError where they are no numbers of it."""
    result = squares if squared else xp.sqrt(squares)
    limits = xp.lib.finfo(like.dtype)
    lost = (squares > 0) & (result < float(limits.tiny)) | ~(result <= float(limits.max))
    known = xp.known(lost)
    if known is not None and bool(known.any()):
        value = float(xp.known(result)[known][0])
        if math.isnan(value):
            raise InputError(
                "points are so near to each other that their distance is lost where kernels are subtracted: this"
                " activation has no other form; take method='quadrature' or backend='mpmath'"
            )
        raise InputError(
            f"a distance{' squared' * squared} of {in_words(value)} leaves the range of {like.dtype}: {REMEDY}"
        )
    return result
