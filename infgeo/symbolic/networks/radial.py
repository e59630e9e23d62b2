"""The metric A I + B x x^T of features as a state of the fold.

Of a kernel k(x, y) with k(x, x) = f(s), s = |x|^2, and metric A I + B x x^T:

    affine      f <- bias + weight f,  and f', A and B times weight
    activate    f <- m(f),  A <- m0(f) A,  B <- m0(f) B + 2 m0'(f) f'^2,  f' <- m'(f) f'
    over_norm   k(x, y) <- k(x, y) / sqrt(F(x) F(y)),  F = f / width + epsilon
    add         f, f', A and B add

with m = E[phi^2] and m0 = E[phi'^2] at variance f (see `dual`).
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer

from infgeo.conventions import s
from infgeo.conventions import variance as v
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.expectations.dual import Dual

ZERO, ONE = Integer(0), Integer(1)


@dataclass(frozen=True)
class Radial:
    """Squared norm f, its derivative `slope` and the metric A I + B x x^T of a kernel; the start is k = x.y."""

    f: Expr = s
    slope: Expr = ONE
    A: Expr = ONE
    B: Expr = ZERO

    def affine(self, weight: Expr, bias: Expr) -> Radial:
        """See the module."""
        return Radial(bias + weight * self.f, weight * self.slope, weight * self.A, weight * self.B)

    def activate(self, law: Dual) -> Radial:
        """See the module."""
        m, m_prime, m0, m0_prime = (
            part.xreplace({v: self.f}) for part in (law.m, law.m_prime, law.m0, tidy(law.m0.diff(v)))
        )
        return Radial(m, m_prime * self.slope, m0 * self.A, m0 * self.B + 2 * m0_prime * self.slope**2)

    def over_norm(self, epsilon: Expr, width: Expr) -> Radial:
        """See the module."""
        return self.divided(self.f + width * epsilon, self.slope).affine(width, ZERO)

    def add(self, branch: Radial, skip: Expr = ONE) -> Radial:
        """See the module."""
        old = self.affine(skip, ZERO)
        return Radial(old.f + branch.f, old.slope + branch.slope, old.A + branch.A, old.B + branch.B)

    def divided(self, norm: Expr, norm_slope: Expr) -> Radial:
        """Return the state of k(x, y) / sqrt(F(x) F(y)) for F = `norm` with derivative `norm_slope`."""
        g = norm_slope / norm
        B = (self.B - 2 * self.slope * g + self.f * g**2) / norm
        return Radial(self.f / norm, (self.slope - self.f * g) / norm, self.A / norm, B)

    def times(self, other: Radial) -> Radial:
        """Return the state of the product of the kernels, of metric f1 g2 + f2 g1 + 2 f1' f2' x x^T."""
        return Radial(
            self.f * other.f,
            self.slope * other.f + self.f * other.slope,
            self.f * other.A + other.f * self.A,
            self.f * other.B + other.f * self.B + 2 * self.slope * other.slope,
        )

    @classmethod
    def none(cls) -> Radial:
        """Return the state of the kernel 0."""
        return cls(ZERO, ZERO, ZERO)
