"""What the formulas mean: asymptotics, the sign of the curvature, and what depth does to variances and circles."""

from infgeo.symbolic.analysis.curvature_sign import CurvatureSign, curvature_sign
from infgeo.symbolic.analysis.depth import (
    CorrelationPoint,
    EdgeOfChaos,
    FixedPoint,
    correlations,
    edge_of_chaos,
    fixed_points,
    great_circles,
)
from infgeo.symbolic.analysis.expansions import Expansion, large_norm, small_norm
from infgeo.symbolic.analysis.learned_metric import learned_metric
from infgeo.symbolic.analysis.network_metric import NetworkMetric, network_metric
from infgeo.symbolic.networks.circle import Circle

__all__ = [
    "Circle",
    "CorrelationPoint",
    "CurvatureSign",
    "EdgeOfChaos",
    "Expansion",
    "FixedPoint",
    "NetworkMetric",
    "correlations",
    "curvature_sign",
    "edge_of_chaos",
    "fixed_points",
    "great_circles",
    "large_norm",
    "learned_metric",
    "network_metric",
    "small_norm",
]
