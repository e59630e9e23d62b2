"""Where a metric exists, where it degenerates, and how features separate where there is none.

The tangent kernel contains E[phi' phi'], to which a kink of phi is a jump. What a layer does to distances stands in
`kernels.radial`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sympy import And, Eq, Expr, Or, count_ops, factor, false, sqrt, true
from sympy.logic.boolalg import Boolean

from infgeo.conventions import s, z
from infgeo.conventions import variance as v
from infgeo.errors import MetricDoesNotExist, NoClosedForm, SingularMetric
from infgeo.symbolic.activations.terms import real_part
from infgeo.symbolic.algebra.limits import PRINTED_LIMIT
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.kernels.radial import ZERO, Radial
from infgeo.symbolic.networks.layers import Layer, Weighted
from infgeo.symbolic.networks.propagate import propagate
from infgeo.symbolic.networks.tangent import Tangent


@dataclass(frozen=True)
class Divergence:
    """The leading order |Phi(x) - Phi(y)|^2 = coefficient |x - y|^exponent of features that have no metric.

    Args:
        exponent: 1, 1/2, 1/4, ... of jumps, 2 a + 1 of |z|^a; 2 would be a metric.
        across, along: the coefficient, in s = |x|^2, for y - x orthogonal and parallel to x; where `along` is 0, as for
            homogeneous activations without bias, features change at a higher order in that direction.
    """

    exponent: Expr
    across: Expr
    along: Expr


def leading_distance(layers: Sequence[Layer], tangent: bool = False) -> Divergence:
    """Return the leading order of the squared distance of the features, or of those of the tangent kernel.

    Where there is a metric, the exponent is 2 and the coefficients are A and A + s B. Raises MetricDoesNotExist where
    the tangent kernel itself is infinite.
    """
    total = propagate(layers, Tangent()).total if tangent else propagate(layers, Radial())
    return Divergence(total.exponent, tidy(total.A), tidy(total.along))


def require_metric(layers: Sequence[Layer], tangent: bool = False) -> None:
    """Raise MetricDoesNotExist, with the leading order of the distance, unless the features have a metric."""
    laws = [layer.dual for layer in layers if isinstance(layer, Weighted)]
    broken = next((law for law in laws if law.jumps), None)
    if tangent:
        if broken is not None:
            raise MetricDoesNotExist(
                f"the NTK of {broken.name} does not exist: phi jumps by {_heights(broken)}, so that E[phi'(u)^2] is"
                " infinite"
            )
        broken = next((law for law in laws if law.derivative.jumps), None)
    elif broken is None:
        broken = next((law for law in laws if law.cusp), None)
    if broken is None:
        for law in laws:
            assert law.m0 is not None  # raises where it is infinite
        return
    if tangent:
        reason = (
            f"the NTK of {broken.name} induces no metric: phi' jumps by {_heights(broken.derivative)}, so that"
            " E[phi'(u) phi'(v)] falls linearly with the angle between x and y and the NTK has a cusp at y = x"
        )
    else:
        cusp = None if broken.jumps else broken.cusp
        what = f"has a jump of {_heights(broken)}" if cusp is None else f"grows like |z|^({cusp[0]}) from 0"
        reason = f"{broken.name} {what}: E[phi'(u)^2] is infinite, so its kernel induces no Riemannian metric"
    try:
        leading = leading_distance(layers, tangent)
    except NoClosedForm:
        raise MetricDoesNotExist(reason) from None
    power = "" if leading.exponent == 1 else f"^({leading.exponent})"
    known = count_ops(leading.across) <= PRINTED_LIMIT  # longer ones are left to the attributes of the exception
    coefficient = str(leading.across) if known else "C"
    raise MetricDoesNotExist(
        f"{reason}: |Phi(x) - Phi(y)|^2 = ({coefficient}) |x - y|{power} + ... for y - x orthogonal to x,"
        f" s = |x|^2{'' if known else ', with C in the attribute divergence of this exception'}",
        leading,
    )


def _heights(law: Dual) -> str:
    return " and ".join(f"{jump} at {place}" for place, jump in law.jumps.items())


def require_radius(layers: Sequence[Layer], A: Expr, B: Expr) -> None:
    """Raise SingularMetric where a normalisation with epsilon = 0 leaves features that do not depend on |x|."""
    if any(getattr(layer, "epsilon", None) == 0 for layer in layers) and tidy(A + s * B) == 0:
        raise SingularMetric(
            "the features do not depend on |x|, so that the metric is degenerate along x: use a norm with epsilon > 0,"
            " or a layer with a bias before it"
        )


@dataclass(frozen=True)
class _Domain:
    """A state of the fold: squared norm of features, and the conditions under which expectations are finite."""

    f: Expr
    conditions: tuple[Boolean, ...] = ()
    mean: Expr = ZERO

    def affine(self, weight: Expr, bias: Expr) -> _Domain:
        return replace(self, f=bias + weight * self.f, mean=ZERO)

    def activate(self, law: Dual) -> _Domain:
        m, mean = law.m.xreplace({v: self.f}), law.mean.xreplace({v: self.f})
        conditions = (*self.conditions, *(symbol > bound for symbol, bound in law.least_exponents.items()))
        if (growth := law.growth) is not None:
            conditions += (self.f < 1 / (4 * growth) if growth.is_positive else 4 * growth * self.f < 1,)
        return _Domain(m, conditions, mean)

    def over_norm(self, epsilon: Expr, width: Expr) -> _Domain:
        norm = (self.f + width * epsilon) / width
        return replace(self, f=self.f / norm, mean=self.mean / sqrt(norm))

    def centred(self) -> _Domain:
        return replace(self, f=self.f - self.mean**2, mean=ZERO)

    def add(self, branch: _Domain, skip: Expr) -> _Domain:
        return _Domain(skip * self.f + branch.f, branch.conditions, sqrt(skip) * self.mean + branch.mean)


def domain_of(layers: Sequence[Layer], squared_norm: Expr = s) -> Boolean:
    """Return the condition on |x|^2 and the scales under which every expectation is finite; true without one."""
    laws = [layer.dual if isinstance(layer, Weighted) else None for layer in layers]
    growing = [i for i, law in enumerate(laws) if law and (law.growth is not None or law.least_exponents)]
    return And(*propagate(layers[: growing[-1] + 1], _Domain(squared_norm)).conditions) if growing else true


@dataclass(frozen=True)
class _Origin:
    """A state of the fold at x = 0: whether the features vanish there, their metric does, and all units are equal."""

    silent: Boolean = true
    flat: Boolean = false
    equal: Boolean = true

    def affine(self, weight: Expr, bias: Expr) -> _Origin:
        silent = And(self.silent, Eq(sqrt(bias), 0))
        return _Origin(silent, self.flat, silent)

    def activate(self, law: Dual) -> _Origin:
        flat = Or(self.flat, And(self.silent, _vanishes_at_origin(law.derivative)))
        return _Origin(And(self.silent, _vanishes_at_origin(law)), flat, self.equal)

    def over_norm(self, epsilon: Expr, width: Expr) -> _Origin:
        return replace(self, flat=Or(self.flat, And(self.silent, Eq(epsilon, 0))))

    def centred(self) -> _Origin:
        return replace(self, silent=self.equal)

    def add(self, branch: _Origin, skip: Expr) -> _Origin:
        parts = zip((self.silent, self.flat, self.equal), (branch.silent, branch.flat, branch.equal), strict=True)
        return _Origin(*(And(*pair) for pair in parts))


def degenerate_at_origin(layers: Sequence[Layer]) -> Boolean:
    """Return the condition on the scales and parameters under which the metric of a network vanishes at x = 0.

    A preactivation of positive variance has E[phi'^2] > 0, so that a network's metric is degenerate only where a
    variance is 0, which is x = 0 without bias, and phi'(0) = 0 there.
    """
    return propagate(layers, _Origin()).flat


def _vanishes_at_origin(law: Dual) -> Boolean:
    """Return whether both one-sided limits of a sum of terms at z = 0 vanish."""
    # Of the sign of z itself the mean of the limits is 0; sines are terms with complex coefficients.
    values = (
        t.coefficient * t.factor.expr.subs(z, 0)
        for t in law.terms
        if t.power == 0 and t.modulus == 0 and t.factor.kind != "delta"
    )
    return And(Eq(factor(real_part(sum(values, ZERO))), 0), Eq(law.jumps.get(ZERO, ZERO), 0))
