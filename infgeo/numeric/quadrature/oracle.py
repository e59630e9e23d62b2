"""Gaussian expectations by mpmath's tanh-sinh rule: what closed forms are held against. Knows no closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath


def moment(function: Callable[[Any], Any], variance: Any, kinks: Sequence[Any] = (0,)) -> Any:
    """Return E[f(z)] for z ~ N(0, variance), f a function of mpf, to the working precision less a few digits."""
    scale = mpmath.sqrt(variance)
    if scale == 0:
        return mpmath.mpf(function(mpmath.mpf(0)))
    edge = mpmath.sqrt(2 * mpmath.log(10) * mpmath.mp.dps) + 1
    inside = {kink / scale for kink in map(mpmath.mpf, kinks) if -edge < kink / scale < edge}
    points = [-edge, *sorted({mpmath.mpf(0), *inside}), edge]
    weight = 1 / mpmath.sqrt(2 * mpmath.pi)
    return weight * mpmath.quad(lambda t: function(scale * t) * mpmath.exp(-t * t / 2), points)
