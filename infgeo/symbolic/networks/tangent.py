"""The tangent kernel as a state of the fold, made of any state of kernels that can be multiplied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from sympy import Expr

from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.networks.radial import ZERO, Radial
from infgeo.symbolic.networks.separation import Separation

K = TypeVar("K", Radial, Separation)


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
