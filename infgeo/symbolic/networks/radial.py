"""The metric A I + B x x^T of features as a state of the fold, and the metric of the tangent kernel.

Of a kernel k(x, y) with k(x, x) = f(s), s = |x|^2, and metric A I + B x x^T:

    affine      f <- bias + weight f,  and f', A and B times weight
    activate    f <- m(f),  A <- m0(f) A,  B <- m0(f) B + 2 m0'(f) f'^2,  f' <- m'(f) f'
    over_norm   k(x, y) <- k(x, y) / sqrt(F(x) F(y)),  F = f / width + epsilon
    add         f, f', A and B add

with m = E[phi^2] and m0 = E[phi'^2] at variance f (see `dual`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from sympy import Expr, Integer

from infgeo.conventions import s
from infgeo.conventions import variance as v
from infgeo.symbolic.dual import Dual
from infgeo.symbolic.simplify import tidy

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


class KernelState(Protocol):
    """A state of a kernel that can be multiplied by another and divided by norms that are not its own."""

    f: Expr
    slope: Expr

    def affine(self, weight: Expr, bias: Expr) -> Self:
        """See `propagate`."""

    def activate(self, law: Dual) -> Self:
        """See `propagate`."""

    def add(self, branch: Self, skip: Expr = ONE) -> Self:
        """See `propagate`."""

    def divided(self, norm: Expr, norm_slope: Expr) -> Self:
        """Return the state of k(x, y) / sqrt(F(x) F(y))."""

    def times(self, other: Self) -> Self:
        """Return the state of the product of the kernels."""


K = TypeVar("K", bound=KernelState)


@dataclass(frozen=True)
class Tangent(Generic[K]):
    """The state of a kernel k, and that of what the layers so far add to it in the tangent kernel, theta.

    An affine map is trained, and its own part in the tangent kernel is the kernel of its output: after one,
    k + theta is the tangent kernel. So it is after the last layer, whose readout has unit variance.

        affine      theta <- weight theta
        activate    theta <- k' (k + theta),   k' = E[phi'(u) phi'(v)]
        add         theta <- skip theta + theta_branch + k_branch: a branch ends with an affine map
    """

    k: K
    theta: K

    def affine(self, weight: Expr, bias: Expr) -> Tangent[K]:
        """See the class."""
        return Tangent(self.k.affine(weight, bias), self.theta.affine(weight, ZERO))

    def activate(self, law: Dual) -> Tangent[K]:
        """See the class."""
        return Tangent(self.k.activate(law), self.k.activate(law.derivative).times(self.total))

    def over_norm(self, epsilon: Expr, width: Expr) -> Tangent[K]:
        """See `propagate`: theta is divided by what k is divided by."""
        norm = self.k.f + width * epsilon
        k, theta = (part.divided(norm, self.k.slope).affine(width, ZERO) for part in (self.k, self.theta))
        return Tangent(k, theta)

    def add(self, branch: Tangent[K], skip: Expr) -> Tangent[K]:
        """See the class."""
        return Tangent(self.k.add(branch.k, skip), self.theta.affine(skip, ZERO).add(branch.total))

    @property
    def total(self) -> K:
        """The state of the tangent kernel, after an affine map."""
        return self.k.add(self.theta)
