"""The design of a run: where to look, at which widths, and with how many networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite.inputs import as_points, positive_integer

RADII = (0.3, 4.0, 8)  # first, last, number: from the nearly linear to the saturated regime at unit scales


def default_points(input_dim: int, seed: int) -> np.ndarray:
    """Return 8 points (8, d) with |x| in geometric progression from 0.3 to 4, in directions drawn from the seed."""
    directions = np.random.default_rng(seed).standard_normal((RADII[2], input_dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * np.geomspace(*RADII)[:, None]


def checked_points(points: Any, input_dim: int) -> np.ndarray:
    """Return points as a float64 array (N, d), or raise InvalidInput naming value and remedy."""
    array = as_points(points, input_dim, "points").to(device="cpu").double().numpy()
    if array.ndim != 2 or len(array) == 0:
        raise InvalidInput(f"points has shape {array.shape}; pass at least one point, as an array (N, {input_dim})")
    return np.ascontiguousarray(array)


def default_widths(input_dim: int, depth: int) -> tuple[int, ...]:
    """Return a ladder of widths, each twice the one before.

    The expansion in 1/n has terms (d^2/n)^k: the ladder starts near 12 d^2, and not below 64. Deep networks cost n^2
    and have a shorter one. Above d = 18 the start is 4096, for the sake of the time it takes.
    """
    first = 64
    while first < min(12 * input_dim**2, 4096):
        first *= 2
    if depth > 1:
        first, rungs = min(first, 512), 5
    else:
        rungs = 6 if input_dim <= 4 else 4
    return tuple(first * 2**k for k in range(rungs))


def checked_widths(widths: Iterable[Any], input_dim: int, metric: bool) -> tuple[int, ...]:
    """Return the widths in increasing order; raises for what is no width, and SingularMetric for width < d."""
    try:
        given = list(widths)
    except TypeError:
        raise InvalidInput(f"widths is {widths!r}; pass a sequence of integers, for example (128, 256, 512)") from None
    result = tuple(sorted({positive_integer(width, "widths") for width in given}))
    if not result:
        raise InvalidInput("widths is empty; pass a sequence of integers, for example (128, 256, 512)")
    if metric and result[0] < input_dim:
        raise SingularMetric(
            f"width {result[0]} < input dimension {input_dim}: the metric of such a network is singular everywhere; "
            f"use widths >= {input_dim}, and far above {input_dim**2} for the curvature"
        )
    return result


def default_samples(input_dim: int, depth: int, widths: tuple[int, ...], points: int) -> int:
    """Return the number of networks at each width, from a rough model of the time they take (never from a clock)."""
    d = input_dim
    if depth == 1:
        # microseconds: the calls, the monomials of the weights, and their products with functions of the points
        costs = [700 + n * d * (d + 1) * (d + 2) / 6 * (3e-3 + 5e-5 * points) for n in widths]
    else:
        costs = [1000 + n * n * (0.02 + 1e-4 * points * (1 + d + d * (d + 1) / 2) * (depth - 1)) for n in widths]
    return int(min(2500, max(32, 30e6 / sum(costs))))
