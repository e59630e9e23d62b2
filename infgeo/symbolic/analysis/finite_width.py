"""Closed forms for one layer of finite width: covariance of the metric, and biases of volume and R of order 1/n."""

from dataclasses import dataclass
from functools import cached_property

from sympy import Dummy, Expr, Integer, sqrt

from infgeo.arguments import instance
from infgeo.conventions import Delta, c, d, p, q, s
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.symbolic.activations.terms import Term, differentiate, squared
from infgeo.symbolic.algebra.simplify import best, tidy
from infgeo.symbolic.analysis import unit_moments
from infgeo.symbolic.analysis.unit_moments import UnitMoments
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.expectations.expectation import expectation
from infgeo.symbolic.networks.network import MLP


@dataclass(frozen=True)
class FiniteWidth:
    """What width n changes, for one layer, in s = |x|^2, d and the scales; all are multiplied by n, to leading order.

    With f = sigma_w^2 E[phi'^2] and F = E[phi'^4] as functions of v = sigma_b^2 + sigma_w^2 s, and derivatives of
    both in v: every moment E[phi'^4 w w w w] and E[phi'^3 phi'' w ...] is a derivative of F, by Stein's lemma. Results
    are sums of products of such moments, not multiplied out.
    """

    moments: UnitMoments

    @cached_property
    def metric_covariance(self) -> dict[str, Expr]:
        """The covariances of the metric's entries times n, exact at every n; keys as `unit_moments` says."""
        return unit_moments.metric_covariance(self.moments, d)

    @cached_property
    def log_volume_bias(self) -> Expr:
        """The bias of log sqrt det g times n."""
        return unit_moments.log_volume(self.moments, d)[0]

    @cached_property
    def log_volume_variance(self) -> Expr:
        """The variance of log sqrt det g times n."""
        return unit_moments.log_volume(self.moments, d)[1]

    @cached_property
    def volume_bias(self) -> Expr:
        """The relative bias of sqrt det g times n."""
        return unit_moments.volume_bias(self.moments, d)

    @cached_property
    def ricci_bias(self) -> Expr:
        """The bias of R times n; R is positive on spheres."""
        return unit_moments.ricci_bias(self.moments, d)

    def determinant_moments(self, n: int, dimension: int) -> tuple[Expr, Expr]:
        """The moments E[det g] and E[(det g)^2] over the infinite-width det g and its square: exact at width n."""
        first, second = unit_moments.determinant_moments(self.moments, Integer(n), dimension)
        return first, second.subs(d, dimension)


def finite_width(mlp: MLP) -> FiniteWidth:
    """Return the corrections of finite width of a network of one layer.

    Args:
        mlp: an `infgeo.MLP` of depth 1.

    Raises:
        InvalidInput: for deeper networks; `infgeo.finite_width_at` has their corrections at points.
        NoClosedForm: E[phi'^4] has none; `infgeo.finite_width_at` integrates it numerically.

    >>> import infgeo
    >>> corrections = finite_width(infgeo.MLP("erf", weight_std=1, bias_std=0))
    >>> corrections.metric_covariance["off-diagonal"]
    4/(pi**2*sqrt(4*s + 1))
    """
    instance(mlp, "mlp", MLP, "an infgeo.MLP of depth 1")
    if len(mlp.layers) != 1:
        raise InvalidInput(
            f"mlp is {mlp}; finite-width corrections in closed form are those of one layer without norms: pass one, or"
            " take infgeo.finite_width_at(mlp, x), which carries them through dense layers"
        )
    (layer,) = mlp.with_weights
    slope = Dual("phi'", differentiate(layer.activation.terms))
    squares = squared(slope.terms)
    fourth = None if squares is None else squared(squares)
    if fourth is None:
        raise NoClosedForm(
            f"E[phi'^4] of activation {layer.activation.name} is outside the class that is integrated in closed form;"
            " infgeo.finite_width_at(mlp, x) integrates it numerically"
        )
    weight, bias = layer.variances
    f = [layer.dual.m0]
    F = [tidy(expectation(fourth, (Term(Integer(1)),)).subs({p: v, q: v, c: v, Delta: 0}))]
    for _ in range(3):
        f.append(f[-1].diff(v))
        F.append(F[-1].diff(v))
    u, b = Dummy("u", nonnegative=True), Dummy("b", nonnegative=True)  # sigma_w^2 s and sigma_b^2, v = b + u

    def moment(expr: Expr) -> Expr:
        # For erf F + 2 u F' is F (1 + 4 b)/(1 + 4 v): a quotient in b and v, where u and v make a sum.
        shorter = best(tidy(expr), tidy(expr.xreplace({u: v - b})), tidy(expr.xreplace({v: b + u})))
        return shorter.xreplace({v: b + u}).xreplace({b: bias, u: weight * s})

    slope = weight * sqrt(s)
    h = weight * moment(f[0] + 2 * u * f[1])
    return FiniteWidth(
        UnitMoments(
            variance=weight,
            f=weight * moment(f[0]),
            h=h,
            root=sqrt(h),
            aa={
                0: moment(F[0]),
                2: weight * moment(F[0] + 2 * u * F[1]),
                4: weight**2 * moment(3 * F[0] + 12 * u * F[1] + 4 * u**2 * F[2]),
            },
            ac={
                1: slope * moment(F[1]) / 2,
                3: slope * weight * moment(3 * F[1] + 2 * u * F[2]) / 2,
                5: slope * weight**2 * moment(15 * F[1] + 20 * u * F[2] + 4 * u**2 * F[3]) / 2,
            },
            c={1: slope * moment(f[1]), 3: slope * weight * moment(3 * f[1] + 2 * u * f[2])},
            cc={},
        )
    )
