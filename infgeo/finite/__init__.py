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
from infgeo.finite.montecarlo import FiniteEstimates, estimate
from infgeo.finite.pullback import Pullback, pullback
from infgeo.finite.sampled_network import SampledNetwork, sample_network
from infgeo.finite.slices import pullback_slice

__all__ = [
    "FiniteEstimates",
    "PathGeodesic",
    "Pullback",
    "SampledNetwork",
    "distance",
    "estimate",
    "exponential",
    "frechet_mean",
    "geodesic",
    "graph_path",
    "logarithm",
    "path_length",
    "pullback",
    "pullback_slice",
    "sample_network",
]
