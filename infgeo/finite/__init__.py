"""Finite-width networks in torch: sampling, pullback geometry, Monte Carlo estimates. Knows no closed form."""

from infgeo.finite.geodesics import (
    PathGeodesic,
    distance,
    exponential,
    frechet_mean,
    geodesic,
    graph_path,
    logarithm,
    path_length,
)
from infgeo.finite.geometry_at_points import Pullback
from infgeo.finite.in_loss import log_volume, metric, ricci_scalar
from infgeo.finite.montecarlo import FiniteEstimates, estimate
from infgeo.finite.outputs import fisher
from infgeo.finite.pullback import pullback, pullback_slice
from infgeo.finite.sampled_network import SampledNetwork, sample_network

__all__ = [
    "FiniteEstimates",
    "PathGeodesic",
    "Pullback",
    "SampledNetwork",
    "distance",
    "estimate",
    "exponential",
    "fisher",
    "frechet_mean",
    "geodesic",
    "graph_path",
    "log_volume",
    "logarithm",
    "metric",
    "path_length",
    "pullback",
    "pullback_slice",
    "ricci_scalar",
    "sample_network",
]
