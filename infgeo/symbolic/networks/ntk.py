"""The metric of the neural tangent kernel, differentiated under the expectations.

The metrics of E[phi(u) phi(v)] and of E[phi'(u) phi'(v)] are those of phi and phi': E[phi'^2] and E[phi''^2] must be
finite, and no more. Sums and products of kernels follow the product rule at y = x, where the gradient of a symmetric
kernel in one argument is half that of its diagonal (see `networks.tangent`).
"""

from collections.abc import Sequence

from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.geometry.metric import RadialMetric
from infgeo.symbolic.networks.existence import degenerate_at_origin, domain_of, require_metric, require_radius
from infgeo.symbolic.networks.layers import Layer
from infgeo.symbolic.networks.propagate import propagate
from infgeo.symbolic.networks.tangent import Tangent


def tangent_metric(layers: Sequence[Layer]) -> RadialMetric:
    """Return the metric of the tangent kernel of a network.

    Raises MetricDoesNotExist where E[phi'^2] (a jump) or E[phi''^2] (a kink) is infinite, SingularMetric for features
    that do not depend on |x|.
    """
    require_metric(layers, tangent=True)
    total = propagate(layers, Tangent()).total
    A, B = tidy(total.A), tidy(total.B)
    require_radius(layers, A, B)
    # E[phi'^2] vanishes at x = 0 with both metrics.
    return RadialMetric.from_functions(A, B, domain_of(layers), degenerate_at_origin(layers))
