"""The metric of the neural tangent kernel, differentiated under the expectations.

With Theta^1 = K^1 and, per layer, k + k' Theta (k' = E[phi' phi']), the product rule at y = x gives

    metric(k + k' Theta) = metric(k) + m0 metric(Theta) + theta metric(k') + 2 (dm0/ds) (dtheta/ds) x x^T,

theta = Theta(x, x), since the gradient of a symmetric kernel in one argument is half that of its diagonal. The metrics
of k and k' are moment recursions, those of phi and phi': E[phi'^2] and E[phi''^2] must be finite, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Expr, Integer

from infgeo.conventions import s
from infgeo.conventions import variance as v
from infgeo.errors import MetricDoesNotExist
from infgeo.symbolic.dual import Dual
from infgeo.symbolic.metric import RadialMetric
from infgeo.symbolic.simplify import tidy


def tangent_metric(duals: Sequence[Dual], weight: Expr, bias: Expr, first: Expr) -> RadialMetric:
    """Return the metric of the tangent kernel of a network; arguments as for `recursion.metric_program`.

    Raises MetricDoesNotExist where E[phi'^2] (a jump) or E[phi''^2] (a kink) is infinite.
    """
    variance, rate = bias + first * s, first
    A, B = first, Integer(0)
    theta, dtheta = variance, first
    theta_A, theta_B = first, Integer(0)
    for layer, law in enumerate(duals, start=1):
        at = {v: variance}
        m0, dm0 = law.m0.xreplace(at), tidy(law.m0.diff(v)).xreplace(at) * rate
        m00, dm00 = (part.xreplace(at) for part in _second_moment(law))
        derivative_A, derivative_B = m00 * A, m00 * B + 2 * dm00 * rate**2
        A, B = m0 * A, m0 * B + 2 * dm0 * rate
        theta_A = A + m0 * theta_A + theta * derivative_A
        theta_B = B + m0 * theta_B + theta * derivative_B + 2 * dm0 * dtheta
        m, m_prime = law.m.xreplace(at), law.m_prime.xreplace(at)
        theta, dtheta = m + m0 * theta, m_prime * rate + dm0 * theta + m0 * dtheta
        if layer < len(duals):
            variance, rate = bias + weight * m, weight * m_prime * rate
            A, B, theta_A, theta_B = (weight * part for part in (A, B, theta_A, theta_B))
            theta, dtheta = bias + weight * theta, weight * dtheta
    return RadialMetric.from_functions(tidy(theta_A), tidy(theta_B))


def _second_moment(law: Dual) -> tuple[Expr, Expr]:
    """Return E[phi''^2] and its derivative in the variance."""
    try:
        moment = law.derivative.m0
    except MetricDoesNotExist:
        raise MetricDoesNotExist(
            f"the NTK of {law.name} induces no metric: phi' jumps, so E[phi'(u) phi'(v)] falls linearly with the angle"
            " between x and y; the NTK has a cusp ~ |x - y| at y = x and no second derivative there"
        ) from None
    return moment, tidy(moment.diff(v))
