"""Closed forms for one layer of finite width: covariance of the metric, and biases of volume and R of order 1/n."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from sympy import Dummy, Expr, Integer, sqrt

from infgeo.conventions import Delta, c, d, p, q, s
from infgeo.conventions import variance as v
from infgeo.display import Displayed
from infgeo.errors import NoClosedForm
from infgeo.symbolic.activations.terms import Term, differentiate, squared
from infgeo.symbolic.algebra.simplify import best, tidy
from infgeo.symbolic.analysis import unit_moments
from infgeo.symbolic.analysis.unit_moments import UnitMoments
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.expectations.expectation import expectation
from infgeo.symbolic.networks.network import MLP


@dataclass(frozen=True, repr=False)
class ShallowForms(Displayed):
    """What width n changes, for one layer, in s = |x|^2, d and the scales; all are multiplied by n, to leading order.

    With f = sigma_w^2 E[phi'^2] and F = E[phi'^4] as functions of v = sigma_b^2 + sigma_w^2 s, and derivatives of
    both in v: every moment E[phi'^4 w w w w] and E[phi'^3 phi'' w ...] is a derivative of F, by Stein's lemma. Results
    are sums of products of such moments, not multiplied out.

    Arguments:
        mlp: a network of dense layers. With several of them, or where E[phi'^4] has no closed form, formulas raise
            NoClosedForm.
    """

    mlp: MLP

    @cached_property
    def moments(self) -> UnitMoments:
        """The moments of one unit, by which all formulas are given."""
        if self.mlp.depth != 1:
            raise NoClosedForm(
                f"mlp is {self.mlp}; corrections of finite width have formulas in one layer alone: take values at"
                " points, infgeo.finite_width(mlp).at(x)"
            )
        (layer,) = self.mlp.with_weights
        fourth = None
        with suppress(NoClosedForm):  # whose remedy is that of kernels
            squares = squared(Dual("phi'", differentiate(layer.activation.terms)).terms)
            fourth = None if squares is None else squared(squares)
        if fourth is None:
            raise NoClosedForm(
                f"E[phi'^4] of activation {layer.activation.name} is outside the class that is integrated in closed"
                " form: take values at points, infgeo.finite_width(mlp).at(x)"
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
        return UnitMoments(
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
