"""Weights of the first layer with a standard deviation for each coordinate (automatic relevance determination).

With w_i ~ N(0, sigma_i^2) and Lambda = diag(sigma_i) the network at x is the one of unit weights at Lambda x; so are
its kernels, distances and R, and g(x) = Lambda g_1(Lambda x) Lambda. In NTK parametrisation w_i = sigma_i omega_i, and
what is trained is omega_i. Hidden layers that share the parameter have 1.
"""

from __future__ import annotations

from typing import Any


def are_several(value: Any) -> bool:
    """Return whether a value of a parameter is a list, a tuple or an array with axes."""
    return isinstance(value, (list, tuple)) or (getattr(value, "ndim", 0) or 0) > 0
