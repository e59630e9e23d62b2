"""What the formulas mean: asymptotics, the sign of the curvature, fixed points of depth, and the edge of chaos."""

from infgeo.symbolic.analysis import (
    CurvatureSign,
    EdgeOfChaos,
    Expansion,
    FixedPoint,
    curvature_sign,
    edge_of_chaos,
    fixed_points,
    large_norm,
    small_norm,
)

__all__ = [
    "CurvatureSign",
    "EdgeOfChaos",
    "Expansion",
    "FixedPoint",
    "curvature_sign",
    "edge_of_chaos",
    "fixed_points",
    "large_norm",
    "small_norm",
]
