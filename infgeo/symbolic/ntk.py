"""The metric of the neural tangent kernel, differentiated under the expectations.

With D the tangent kernel of the features (0 for the input), a dense layer does, with k' = E[phi'(u) phi'(v)],

    K = sigma_w^2 k + sigma_b^2,   D <- k' (K + sigma_w^2 D),   k <- E[phi(u) phi(v)],

a residual block D <- skip^2 D + branch^2 (E[phi(u) phi(v)] + k' (K + sigma_w^2 D)), a norm divides D by what it divides
k by, and the tangent kernel is k + D after the last layer. The metrics of k and k' are moment recursions, those of phi
and phi': E[phi'^2] and E[phi''^2] must be finite, and no more. Sums and products of kernels follow the product rule
at y = x, where the gradient of a symmetric kernel in one argument is half that of its diagonal f:

    metric(k1 k2) = f1 metric(k2) + f2 metric(k1) + 2 f1' f2' x x^T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Expr, Integer

from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.symbolic.dual import Dual
from infgeo.symbolic.existence import degenerate_at_origin, domain_of, require_metric
from infgeo.symbolic.layers import Layer, Residual, RMSNorm
from infgeo.symbolic.metric import RadialMetric
from infgeo.symbolic.simplify import tidy

ZERO, ONE = Integer(0), Integer(1)


@dataclass(frozen=True)
class _State:
    """Squared norm f and metric A I + B x x^T of a kernel with f'; the start is k = x.y."""

    f: Expr = s
    rate: Expr = ONE
    A: Expr = ONE
    B: Expr = ZERO

    def affine(self, weight: Expr, bias: Expr) -> _State:
        return _State(bias + weight * self.f, weight * self.rate, weight * self.A, weight * self.B)

    def plus(self, other: _State) -> _State:
        return _State(self.f + other.f, self.rate + other.rate, self.A + other.A, self.B + other.B)

    def times(self, other: _State) -> _State:
        """Return the state of the product of the kernels."""
        return _State(
            self.f * other.f,
            self.rate * other.f + self.f * other.rate,
            self.f * other.A + other.f * self.A,
            self.f * other.B + other.f * self.B + 2 * self.rate * other.rate,
        )

    def over_norm(self, norm: Expr, norm_rate: Expr) -> _State:
        """Return the state of k(x, y) / sqrt(F(x) F(y)) for F = `norm` with derivative `norm_rate`."""
        g = norm_rate / norm
        B = (self.B - 2 * self.rate * g + self.f * g**2) / norm
        return _State(self.f / norm, (self.rate - self.f * g) / norm, self.A / norm, B)


def tangent_metric(layers: Sequence[Layer], fan_in: bool = False) -> RadialMetric:
    """Return the metric of the tangent kernel of a network; arguments as for `recursion.metric_program`.

    Raises MetricDoesNotExist where E[phi'^2] (a jump) or E[phi''^2] (a kink) is infinite.
    """
    require_metric(layers, fan_in, tangent=True)
    k, theta = _State(), _State(ZERO, ZERO, ZERO)
    scale = 1 / d if fan_in else ONE
    for i, layer in enumerate(layers):
        if isinstance(layer, RMSNorm):
            on_input = i == 0
            norm = k.f + (d * layer.epsilon if on_input else layer.epsilon)
            k, theta = k.over_norm(norm, k.rate), theta.over_norm(norm, k.rate)
            k = k.affine(d, ZERO) if on_input else k
            continue
        weight, bias = scale * layer.weight_std**2, layer.bias_std**2
        scale = ONE
        inner = k.affine(weight, bias)
        after, slopes = _through(layer.dual, inner)
        learned = slopes.times(inner.plus(theta.affine(weight, ZERO)))
        if isinstance(layer, Residual):
            skip, branch = layer.skip**2, layer.branch**2
            theta = theta.affine(skip, ZERO).plus(after.plus(learned).affine(branch, ZERO))
            k = k.affine(skip, ZERO).plus(after.affine(branch, ZERO))
        else:
            k, theta = after, learned
    total = k.plus(theta)
    # E[phi'^2] vanishes at x = 0 with both metrics.
    limits = domain_of(layers, fan_in), degenerate_at_origin(layers)
    return RadialMetric.from_functions(tidy(total.A), tidy(total.B), *limits)


def _through(law: Dual, inner: _State) -> tuple[_State, _State]:
    """Return the states of E[phi(u) phi(v)] and E[phi'(u) phi'(v)] for the kernel of the preactivations."""

    def state(moment: Expr, slope: Expr, energy: Expr, energy_slope: Expr) -> _State:
        f, rate, m0, dm0 = (part.xreplace({v: inner.f}) for part in (moment, slope, energy, energy_slope))
        return _State(f, rate * inner.rate, m0 * inner.A, m0 * inner.B + 2 * dm0 * inner.rate**2)

    m0, dm0 = law.m0, tidy(law.m0.diff(v))
    m00 = law.derivative.m0
    dm00 = tidy(m00.diff(v))
    return state(law.m, law.m_prime, m0, dm0), state(m0, dm0, m00, dm00)
