"""The leading order of the distance of features as a state of the fold: that of a metric, or of what has none.

The squared distance of features, D^2 = k(x, x) + k(y, y) - 2 k(x, y), is C |x - y|^gamma to leading order, with a C
of the direction: gamma = 2 where there is a metric. A jump J of phi separates a pair of preactivations of variance v
and determinant Delta = p q - c^2 with probability sqrt(Delta)/(pi v), which makes

    D^2 = J^2 sqrt(Delta) / (pi v),   Delta = (v A - [along x] s (v'^2 - v B)) |x - y|^2  or  v C |x - y|^gamma,

so that gamma halves, and a second jump halves it again. A layer without a jump multiplies C by E[phi'^2].
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer, pi, sqrt

from infgeo.conventions import s
from infgeo.conventions import variance as v
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.expectations.dual import Dual

ZERO, ONE, TWO = Integer(0), Integer(1), Integer(2)


@dataclass(frozen=True)
class Separation:
    """A state of the fold: squared norm f of features, f', and the leading order of their squared distance."""

    f: Expr = s
    slope: Expr = ONE
    exponent: Expr = TWO
    across: Expr = ONE
    along: Expr = ONE

    def affine(self, weight: Expr, bias: Expr) -> Separation:
        """See `propagate`."""
        scaled = (weight * part for part in (self.across, self.along))
        return Separation(bias + weight * self.f, weight * self.slope, self.exponent, *scaled)

    def activate(self, law: Dual) -> Separation:
        """See `propagate`."""
        at = {v: self.f}
        f, slope = law.m.xreplace(at), law.m_prime.xreplace(at) * self.slope
        if law.jump == 0:
            m0 = law.m0.xreplace(at)
            cross = 2 * s * tidy(law.m0.diff(v)).xreplace(at) * self.slope**2 if self.exponent == 2 else ZERO
            return Separation(f, slope, self.exponent, m0 * self.across, m0 * self.along + cross)
        angular = s * self.slope**2 if self.exponent == 2 else ZERO
        squares = (self.f * self.across, self.f * self.along - angular)
        across, along = (law.jump**2 * sqrt(tidy(square)) / (pi * self.f) for square in squares)
        return Separation(f, slope, self.exponent / 2, across, along)

    def over_norm(self, epsilon: Expr, width: Expr) -> Separation:
        """See `propagate`."""
        return self.divided(self.f + width * epsilon, self.slope).affine(width, ZERO)

    def add(self, branch: Separation, skip: Expr = ONE) -> Separation:
        """See `propagate`."""
        old = self.affine(skip, ZERO)
        lowest = min(old.exponent, branch.exponent)
        leading = [part for part in (old, branch) if part.exponent == lowest]
        across, along = sum((part.across for part in leading), ZERO), sum((part.along for part in leading), ZERO)
        return Separation(old.f + branch.f, old.slope + branch.slope, lowest, across, along)

    def divided(self, norm: Expr, norm_slope: Expr) -> Separation:
        """Return the state of k(x, y) / sqrt(F(x) F(y)) for F = `norm` with derivative `norm_slope`."""
        g = norm_slope / norm
        cross = s * (self.f * g**2 - 2 * self.slope * g) if self.exponent == 2 else ZERO
        slope = (self.slope - self.f * g) / norm
        return Separation(self.f / norm, slope, self.exponent, self.across / norm, (self.along + cross) / norm)

    def times(self, other: Separation) -> Separation:
        """Return the state of the product of the kernels."""
        total = self.affine(other.f, ZERO).add(other.affine(self.f, ZERO))
        cross = 2 * s * self.slope * other.slope if total.exponent == 2 else ZERO
        slope = self.slope * other.f + self.f * other.slope
        return Separation(self.f * other.f, slope, total.exponent, total.across, total.along + cross)

    @classmethod
    def none(cls) -> Separation:
        """Return the state of the kernel 0."""
        return cls(ZERO, ZERO, TWO, ZERO, ZERO)
