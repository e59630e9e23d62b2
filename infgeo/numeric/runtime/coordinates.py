"""Weights of the first layer with a standard deviation for each coordinate (automatic relevance determination).

With w_i ~ N(0, sigma_i^2) and Lambda = diag(sigma_i) the network at x is the one of unit weights at Lambda x; so are
its kernels, distances and R, and g(x) = Lambda g_1(Lambda x) Lambda. In NTK parametrisation w_i = sigma_i omega_i, and
what is trained is omega_i. Hidden layers that share the parameter have 1.
"""

from __future__ import annotations

from typing import Any

from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.records import Array


def are_several(value: Any) -> bool:
    """Return whether a value of a parameter is a list, a tuple or an array with axes."""
    return isinstance(value, (list, tuple)) or (getattr(value, "ndim", 0) or 0) > 0


def in_unit_coordinates(xp: Any, name: str, scales: Array, X: Array) -> Array:
    """Return Lambda x of points (..., d); raises InputError unless there are d scales."""
    if len(scales) != xp.dimension(X):
        raise InputError(
            f"{name} has {len(scales)} values, and points have {int(xp.dimension(X))} coordinates: pass one for each,"
            " or a number"
        )
    with xp.quiet():
        stretched = xp.scaled(X, scales)
    return xp.points(stretched)  # which looks for what has overflowed
