"""The tangent kernel as a state of the fold, made of the states of two kernels that can be multiplied."""

from __future__ import annotations

from dataclasses import dataclass, field

from sympy import Expr

from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.kernels.radial import ZERO, Radial


@dataclass(frozen=True)
class Tangent:
    """The state of a kernel k, and that of what the layers so far add to it in the tangent kernel, theta.

    Sums and products of kernels follow the product rule at y = x, where the gradient of a symmetric kernel in one
    argument is half that of its diagonal. An affine map is trained, and its own part in the tangent kernel is the
    kernel of its output: after one, k + theta is the tangent kernel. So it is after the last layer, whose readout has
    unit variance.

        affine      theta <- weight theta
        activate    theta <- k' (k + theta),   k' = E[phi'(u) phi'(v)]
        over_norm   theta is divided by what k is divided by
        centred     theta stays: the gradient of the mean over n units is of order 1/n
        add         theta <- skip theta + theta_branch + k_branch: a branch ends with an affine map
    """

    k: Radial = field(default_factory=Radial)
    theta: Radial = field(default_factory=Radial.none)

    def affine(self, weight: Expr, bias: Expr) -> Tangent:
        """See the class."""
        return Tangent(self.k.affine(weight, bias), self.theta.affine(weight, ZERO))

    def activate(self, law: Dual) -> Tangent:
        """See the class."""
        return Tangent(self.k.activate(law), self.k.activate(law.derivative).times(self.total))

    def over_norm(self, epsilon: Expr, width: Expr) -> Tangent:
        """See the class."""
        norm = self.k.f + width * epsilon
        return Tangent(*(part.divided(norm, self.k.slope).scaled(width) for part in (self.k, self.theta)))

    def centred(self) -> Tangent:
        """See the class."""
        return Tangent(self.k.centred(), self.theta)

    def add(self, branch: Tangent, skip: Expr) -> Tangent:
        """See the class."""
        return Tangent(self.k.add(branch.k, skip), self.theta.scaled(skip).add(branch.total))

    @property
    def total(self) -> Radial:
        """The state of the tangent kernel, after an affine map."""
        return self.k.add(self.theta)
