"""The layers of a network, by their effect on single points and on pairs of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from infgeo.numeric.runtime.nearly_parallel import apart_after, determinant_after, determinant_of_sum
from infgeo.numeric.runtime.records import Array, Law, Pairs, Point

DIGITS_LEFT = 4e-4  # squared distances relative to squared norms that have 1e-12 after a subtraction
LEAST = 1e-6  # those, and determinants, of which the root has
NEAR_FEATURES = 2e-2  # those below which neighbours are computed without a subtraction, where some more digits are lost


@dataclass(frozen=True)
class Dense:
    """A layer with weights, features phi(W h + b): its law and the variances of weights and biases."""

    law: Law
    weight: Any
    bias: Any

    def point(self, xp: Any, h: Point, scalars: Sequence[Any], slope: bool) -> Point:
        """Return the features of single points; `slope` says whether the tangent kernel is asked for."""
        v, m0 = self.bias + self.weight * h.f, 1.0
        if slope and self.law.derivative_moment:  # where it is infinite, somebody else says so
            m0 = self.law.derivative_moment(v, *scalars)
        reached = (*h.reached, v)
        return Point(self.law.moment(v, *scalars), m0 * (v + self.weight * h.D), reached)

    def pairs(self, xp: Any, h: Pairs, scalars: Sequence[Any], wanted: str, rest: Sequence[Any]) -> Pairs:
        """Return the features of pairs; `wanted` as for `pairs_after`, `rest` are the layers that follow."""
        u = self.preactivations(h)
        law, is_last, distance = self.law, not rest, wanted == "distance"
        p = q = c = omega = delta = apart = Delta = None
        if not is_last:
            p, q = law.moment(u.p, *scalars), law.moment(u.q, *scalars)
        if not is_last or distance:
            delta, omega, apart = apart_after(xp, law, u, scalars)
            if distance and law.difference is None and xp.lib is not None and not law.neighbours:
                sizes = law.moment(u.p, *scalars) + law.moment(u.q, *scalars)
                delta = xp.lib.where((delta >= DIGITS_LEFT * sizes) | (u.delta == 0), delta, float("nan"))
        if not is_last or not distance:
            c = xp.kernel(law, u, scalars)
        after = Pairs(p, q, c, omega, delta, Delta)
        if not is_last:
            # Distances depend on Delta's last digits only after a normalisation, or what looks like a jump from afar.
            plain = distance and all(layer.law and not layer.law.steep for layer in rest)
            after = replace(after, Delta=determinant_after(xp, law, u, after, apart, scalars, plain))
        if law.neighbours and (distance or not is_last):
            delta, omega, Delta = law.neighbours.features(
                xp, law, u, (after.delta, after.omega, after.Delta), scalars,
                NEAR_FEATURES if distance else LEAST, strict=distance,
            )  # fmt: skip
            after = replace(after, delta=delta, omega=omega, Delta=Delta)
        if wanted == "ntk":
            after = replace(after, D=xp.derivative_kernel(law, u, scalars) * (u.c + self.weight * h.D))
        return after

    def preactivations(self, h: Pairs) -> Pairs:
        """Return the pairs W h + b."""
        w, b = self.weight, self.bias
        p, q, c = (b + w * part for part in (h.p, h.q, h.c))
        return Pairs(p, q, c, w * h.omega, w * h.delta, w * (w * h.Delta + b * h.delta))


@dataclass(frozen=True)
class Residual(Dense):
    """A residual block, features a h + c V phi(W h + b): also skip = a^2 and branch = c^2."""

    skip: Any
    branch: Any

    def point(self, xp: Any, h: Point, scalars: Sequence[Any], slope: bool) -> Point:
        """Return the features of single points; V is learned too."""
        inner = super().point(xp, h, scalars, slope)
        f = self.skip * h.f + self.branch * inner.f
        return Point(f, self.skip * h.D + self.branch * (inner.f + inner.D), inner.reached)

    def pairs(self, xp: Any, h: Pairs, scalars: Sequence[Any], wanted: str, rest: Sequence[Any]) -> Pairs:
        """Return the features of pairs."""
        inner = super().pairs(xp, h, scalars, wanted, rest)
        Delta = inner.Delta
        if Delta is not None:
            Delta = determinant_of_sum(xp, h, Delta, inner, self.skip, self.branch)
        if wanted == "ntk":
            inner = replace(inner, D=inner.c + inner.D)
        names = [part.name for part in fields(Pairs) if getattr(inner, part.name) is not None]
        sums = {name: self.skip * getattr(h, name) + self.branch * getattr(inner, name) for name in names}
        return replace(inner, **{**sums, "Delta": Delta})


@dataclass(frozen=True)
class RMSNorm:
    """Root mean square normalisation, features sqrt(unit) h / sqrt(|h|^2 + epsilon)."""

    epsilon: Any
    unit: Any
    law = None

    def point(self, xp: Any, h: Point, scalars: Sequence[Any], slope: bool) -> Point:
        """Return the features of single points."""
        norm = h.f + self.epsilon
        return Point(self.unit * xp.ratio(h.f, norm), xp.ratio(h.D + 0 * norm, norm), (*h.reached, norm))

    def pairs(self, xp: Any, h: Pairs, scalars: Sequence[Any], wanted: str, rest: Sequence[Any]) -> Pairs:
        """Return the features of pairs; |x - y|^2 from lengths and angle, without cancellation."""
        ratio, sqrt, where = xp.ratio, xp.sqrt, xp.where_nonnegative
        norm_p, norm_q = h.p + self.epsilon, h.q + self.epsilon
        product, both = norm_p * norm_q, sqrt(norm_p) * sqrt(norm_q)
        p, q, c = (self.unit * ratio(*pair) for pair in ((h.p, norm_p), (h.q, norm_q), (h.c, both)))
        omega = self.unit * ratio(self.epsilon * h.omega, product)
        omega = where(-product, p - q, omega)  # a zero vector without epsilon stays one
        Delta = self.unit * self.unit * ratio(h.Delta, product)
        lengths, radial = sqrt(p) * sqrt(q), ratio(omega, sqrt(p) + sqrt(q))
        angular = where(c, ratio(Delta, lengths + c), lengths - c)
        delta = radial * radial + 2 * angular
        # Near 0 directions mean nothing, and nothing cancels in the difference of scaled points.
        longer = ratio(h.omega, sqrt(norm_p) + sqrt(norm_q))
        plain = ratio(h.delta - longer * longer * (1 + ratio(self.epsilon + 0 * both, both)), both)
        delta = where(self.epsilon - 4 * (h.p + h.q) - 0 * both, self.unit * plain, delta)
        delta = delta + 0 * h.delta  # what was lost stays lost
        return Pairs(p, q, c, omega, delta, Delta, ratio(h.D + 0 * both, both))


def point_after(xp: Any, layers: Sequence[Any], s: Array, scalars: Sequence[Any], slope: bool = False) -> Point:
    """Return the features of single points with |x|^2 = s; `slope` says whether D is asked for."""
    h = Point(s, 0.0)
    for layer in layers:
        h = layer.point(xp, h, scalars, slope)
    return h


def pairs_after(xp: Any, layers: Sequence[Any], h: Pairs, scalars: Sequence[Any], wanted: str) -> Pairs:
    """Return the features of pairs: what is `wanted`, c for "kernel", c and D for "ntk", delta for "distance"."""
    for i, layer in enumerate(layers, start=1):
        h = layer.pairs(xp, h, scalars, wanted, layers[i:])
    return h
