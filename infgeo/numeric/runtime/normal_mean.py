"""Expectations over a normal variable of functions that are smooth between known places, by Gauss-Legendre rules.

A place b stands for a kink, a jump or a pole, or for a point around which the function varies over a width w. From each
place nodes t = b +- w (e^y - 1) go halfway to the next one, so that they are dense where the function varies and sparse
far away. A *level* sets the number of nodes and how many standard deviations they reach; results of two levels are
compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from infgeo.numeric.runtime.errors import DoesNotExist, NotAgreed
from infgeo.numeric.runtime.records import Array

# Nodes on a side of a place, and standard deviations: no two levels cut the same tails off.
LEVELS = ((32, 9.5), (48, 11.5), (72, 13.5), (108, 19.0), (162, 27.0), (243, 38.0))
AGREEMENT = 1e-9
LEAST_ULP = 64  # units in the last place, where that is more than the tolerance
FINER = 1  # the first level inside a transformation, where levels cannot be raised
FEW_PLACES = 6  # beyond them intervals are short, and half the nodes do
VISIBLE = 7.5  # standard deviations beyond which what happens at a place is not seen
LEAST_WIDTH = 1e-10


@lru_cache(maxsize=16)
def gauss_legendre(n: int) -> tuple[list[float], list[float]]:
    """Return the nodes and weights of the n-th rule on (0, 1), by Newton's method."""
    nodes, weights = [], []
    for k in range(n):
        x = math.cos(math.pi * (k + 0.75) / (n + 0.5))
        for _ in range(6):
            before, value = 1.0, x
            for j in range(2, n + 1):
                before, value = value, ((2 * j - 1) * x * value - (j - 1) * before) / j
            slope = n * (x * value - before) / (x * x - 1)
            x -= value / slope
        nodes.append((1 - x) / 2)
        weights.append(1 / ((1 - x * x) * slope * slope))
    return nodes, weights


def normal_mean(
    xp: Any, function: Callable, places: Sequence[Array], width: Array, level: int, power: float = 1.0
) -> tuple[Any, ...]:
    """Return E[f(t)], t ~ N(0, 1), for each f that `function` returns.

    Args:
        xp: the array library.
        function: of arrays (..., nodes), it returns a tuple of such.
        places: arrays (...), in standard deviations.
        width: an array (...), over which the functions vary at the places.
        level: see `LEVELS`.
        power: y grows like this power of the nodes: more than 1 where functions are singular at places.
    """
    count, edge = LEVELS[level]
    count //= 1 if len(places) <= FEW_PLACES else 2
    like = sum(0 * place for place in places) + 0 * width
    b = xp.in_order([xp.lib.clip(place + like, -edge, edge) for place in places])
    x, weights = (xp.row(part, like) for part in gauss_legendre(count))
    middles = [(left + right) / 2 for left, right in pairwise(b)]
    total: list[Any] = []
    for place, low, high in zip(b, [like - edge, *middles], [*middles, like + edge], strict=True):
        inside = abs(place) < VISIBLE
        unit = xp.lib.where(inside, width + like, edge + like)
        n = 1.0 if power == 1 else xp.lib.where(inside, power + like, 1 + like)[..., None]
        for sign, length in ((-1, place - low), (1, high - place)):
            reach = xp.lib.log1p(length / unit)[..., None]
            y = reach * x**n
            t = place[..., None] + sign * unit[..., None] * xp.lib.expm1(y)
            slope = unit[..., None] * xp.lib.exp(y) * reach * (n * x ** (n - 1))
            weight = slope * weights * xp.lib.exp(-t * t / 2) / math.sqrt(2 * math.pi)
            sums = [(part * weight).sum(-1) for part in function(t)]
            total = [old + new for old, new in zip(total, sums, strict=True)] if total else sums
    return tuple(total)


def agreed(xp: Any, compute: Callable[[int], tuple], sizes: Callable, what: str) -> tuple:
    """Return what `compute` gives once two levels agree; inside a transformation NaN where they do not.

    Args:
        xp: the array library; the rules of mpmath look after themselves.
        compute: it returns a tuple of arrays of a level.
        sizes: of such a tuple, what the errors are relative to.
        what: the expectation, for messages.

    Raises NotAgreed in the end, DoesNotExist where values grow without bounds.
    """
    before, first = compute(0), 1
    if xp.lib is None:
        return before
    if xp.known(before[0]) is None:
        before, first = compute(FINER), FINER + 1
    for level in range(first, len(LEVELS)):
        values = compute(level)
        with xp.quiet():
            bounds = [
                max(AGREEMENT, LEAST_ULP * float(xp.lib.finfo(x.dtype).eps)) * size + float(xp.lib.finfo(x.dtype).tiny)
                for x, size in zip(values, sizes(values), strict=True)
            ]
            gaps = [abs(new - old) for new, old in zip(values, before, strict=True)]
            lost = [~(gap <= bound) for gap, bound in zip(gaps, bounds, strict=True)]
        known = [xp.known(part) for part in lost]
        if any(part is None for part in known):
            return tuple(xp.lib.where(part, math.nan, value) for part, value in zip(lost, values, strict=True))
        if not any(bool(part.any()) for part in known):
            return values
        last = before[0], values[0]
        before = values
    old, new = (xp.known(part)[known[0]] for part in last)
    if bool((~((abs(new) <= 2 * abs(old)) & (new - new == 0))).any()):
        raise DoesNotExist(f"{what} does not converge at these points: use smaller scales or points")
    raise NotAgreed(
        f"{what} by quadrature: the last two rules differ by more than {AGREEMENT:g} of its size; use smaller points or"
        " scales, or another method where there is one"
    )
