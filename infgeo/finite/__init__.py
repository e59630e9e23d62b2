"""Finite-width networks in torch: sampling, pullback geometry, Monte Carlo estimates. Knows no closed form."""

from infgeo.finite.expected import expected_metric
from infgeo.finite.functions_on import LevelSets, laplacian, level_sets, mesh_laplacian
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
from infgeo.finite.leaves import LeafDirections, LeafWalk, leaf_directions, walk_along_leaf
from infgeo.finite.linearized import Linearized, linearize
from infgeo.finite.montecarlo import FiniteEstimates, estimate
from infgeo.finite.output_metric import fisher
from infgeo.finite.pullback import pullback, pullback_slice
from infgeo.finite.sampled_network import SampledNetwork, sample_network
from infgeo.finite.tangent_kernel import ntk
from infgeo.finite.tangent_metric import ntk_metric
from infgeo.finite.volume_by_layer import LayerVolumes, volume_by_layer

__all__ = [
    "FiniteEstimates",
    "LayerVolumes",
    "LeafDirections",
    "LeafWalk",
    "LevelSets",
    "Linearized",
    "PathGeodesic",
    "Pullback",
    "SampledNetwork",
    "distance",
    "estimate",
    "expected_metric",
    "exponential",
    "fisher",
    "frechet_mean",
    "geodesic",
    "graph_path",
    "laplacian",
    "leaf_directions",
    "level_sets",
    "linearize",
    "log_volume",
    "logarithm",
    "mesh_laplacian",
    "metric",
    "ntk",
    "ntk_metric",
    "path_length",
    "pullback",
    "pullback_slice",
    "ricci_scalar",
    "sample_network",
    "volume_by_layer",
    "walk_along_leaf",
]
