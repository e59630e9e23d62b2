"""Kernels of the field as `infgeo.Kernel` objects, at symbolic parameters by default."""

from infgeo.symbolic.kernels import (
    arc_cosine,
    exponential_dot_product,
    linear,
    matern,
    polynomial,
    rational_quadratic,
    rbf,
)

__all__ = [
    "arc_cosine",
    "exponential_dot_product",
    "linear",
    "matern",
    "polynomial",
    "rational_quadratic",
    "rbf",
]
