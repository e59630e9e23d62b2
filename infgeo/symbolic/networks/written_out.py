"""Metrics written out as A(s) and B(s): that of the tangent kernel, and that of networks which centre their features.

The tangent kernel's is differentiated under the expectations: the metrics of E[phi(u) phi(v)] and E[phi'(u) phi'(v)]
are those of phi and phi', so that E[phi'^2] and E[phi''^2] must be finite, and no more. Sums and products of kernels
follow the product rule at y = x, where the gradient of a symmetric kernel in one argument is half that of its diagonal
(see `networks.tangent`).
"""

from __future__ import annotations

from collections.abc import Sequence

from infgeo.errors import SingularMetric
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.geometry.metric import RadialMetric
from infgeo.symbolic.kernels.radial import Radial
from infgeo.symbolic.networks.existence import degenerate_at_origin, domain_of, require_metric
from infgeo.symbolic.networks.layers import Layer
from infgeo.symbolic.networks.propagate import propagate
from infgeo.symbolic.networks.tangent import Tangent


def written_out(layers: Sequence[Layer], tangent: bool = False) -> RadialMetric:
    """Return the metric of a network's kernel, or of its tangent kernel, as functions of s = |x|^2.

    Raises MetricDoesNotExist where E[phi'^2] (a jump), or for the tangent kernel E[phi''^2] (a kink), is infinite;
    SingularMetric for features that do not depend on |x|.
    """
    require_metric(layers, tangent)
    total = propagate(layers, Tangent()).total if tangent else propagate(layers, Radial())
    if tidy(total.along) == 0:
        raise SingularMetric(
            "the features do not depend on |x|, so that the metric is degenerate along x: use a norm with epsilon > 0,"
            " or a layer with a bias before it"
        )
    # E[phi'^2] vanishes at x = 0 with both metrics.
    return RadialMetric.from_functions(tidy(total.A), tidy(total.B), domain_of(layers), degenerate_at_origin(layers))
