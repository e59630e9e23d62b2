"""The kernel and the tangent kernel of a network at a pair of inputs, as a state of the fold.

With p, q and c the kernel of the features at (x, x), (y, y) and (x, y), and theta their tangent kernel at (x, y):

    affine      p, q, c <- bias + weight (p, q, c),  theta <- weight theta
    activate    c <- E[phi(u) phi(v)],  theta <- E[phi'(u) phi'(v)] (c + theta),  p, q <- m(p), m(q)
    over_norm   p, q, c over F_x, F_y, sqrt(F_x F_y), theta as c,  F_x = p / width + epsilon
    centred     k(x, y) <- k(x, y) - mean(x) mean(y),  the means of the units at x and y
    add         p, q and c add,  theta <- skip theta + theta_branch + c_branch

An affine map is trained: after one, its own part in the tangent kernel is c, and the tangent kernel is c + theta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Expr, Integer, sqrt

from infgeo.conventions import c, p, q, s_x, s_y, xy
from infgeo.conventions import variance as v
from infgeo.symbolic.algebra.graph import substituted
from infgeo.symbolic.algebra.printed_kernels import arcs_together, published_kernel
from infgeo.symbolic.algebra.program import Names, Program
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.networks.propagate import Layer, propagate

ZERO = Integer(0)


@dataclass(frozen=True)
class Pair:
    """See the module; `theta` is None where the tangent kernel is not wanted, and the start is k = x.y.

    Where `law` is given, p and q are the variances of preactivations, of which the features' are taken when a layer
    asks for them: the last one's are not part of the kernel.
    """

    names: Names
    p: Expr = s_x
    q: Expr = s_y
    c: Expr = xy
    theta: Expr | None = None
    law: Dual | None = None
    means: tuple[Expr, Expr] = (ZERO, ZERO)

    def affine(self, weight: Expr, bias: Expr) -> Pair:
        """See the module."""
        p, q = (bias + weight * norm for norm in self.norms())
        return Pair(self.names, p, q, bias + weight * self.c, None if self.theta is None else weight * self.theta)

    def activate(self, law: Dual) -> Pair:
        """See the module."""
        names = self.names
        names.layer += 1
        at = {
            symbol: names.numbered(symbol.name, value, **symbol.assumptions0)
            for symbol, value in zip((p, q, c), (self.p, self.q, self.c), strict=True)
        }
        theta = None
        if self.theta is not None:
            slopes = substituted(published_kernel(law.derivative_kernel), at)
            theta = slopes * (names.numbered("Theta", at[c] + self.theta) if self.theta != 0 else at[c])
        return Pair(names, at[p], at[q], substituted(published_kernel(law.kernel), at), theta, law)

    def over_norm(self, epsilon: Expr, width: Expr) -> Pair:
        """See the module."""
        (at_x, at_y), means = self.norms(), self.unit_means()
        F_x, F_y = (norm + width * epsilon for norm in (at_x, at_y))
        both = sqrt(F_x) * sqrt(F_y)  # not of the product: the root of a square would be its modulus
        theta = None if self.theta is None else width * self.theta / both
        means = sqrt(width / F_x) * means[0], sqrt(width / F_y) * means[1]
        return Pair(self.names, width * at_x / F_x, width * at_y / F_y, width * self.c / both, theta, means=means)

    def centred(self) -> Pair:
        """See the module; the tangent kernel stays, see `networks.tangent`."""
        (at_x, at_y), (x, y) = self.norms(), self.unit_means()
        return Pair(self.names, at_x - x**2, at_y - y**2, self.c - x * y, self.theta)

    def add(self, branch: Pair, skip: Expr) -> Pair:
        """See the module."""
        old, new, means = self.norms(), branch.norms(), self.unit_means()
        p, q, c = (skip * part + other for part, other in zip((*old, self.c), (*new, branch.c), strict=True))
        known = self.theta is not None and branch.theta is not None
        theta = skip * self.theta + branch.theta + branch.c if known else None
        return Pair(self.names, p, q, c, theta, means=(sqrt(skip) * means[0], sqrt(skip) * means[1]))

    def norms(self) -> tuple[Expr, Expr]:
        """Return the kernel of the features at (x, x) and (y, y)."""
        if self.law is None:
            return self.p, self.q
        return self.law.m.xreplace({v: self.p}), self.law.m.xreplace({v: self.q})

    def unit_means(self) -> tuple[Expr, Expr]:
        """Return the mean of the units at x and y; a branch, which ends with an affine map, has none."""
        if self.law is None:
            return self.means
        return self.law.mean.xreplace({v: self.p}), self.law.mean.xreplace({v: self.q})


def kernel_program(layers: Sequence[Layer], tangent: bool) -> Program:
    """Return k^L, or the tangent kernel, as a program in |x|^2, |y|^2 and x.y with named values.

    Of layer l, p_l, q_l and c_l are the variances and the covariance of the preactivations at x and y, and Theta_l is
    their tangent kernel, c_l in the first layer.
    """
    names = Names()
    features = propagate(layers, Pair(names, theta=ZERO if tangent else None))
    tangent_kernel = None if features.theta is None else arcs_together(features.c + features.theta)
    output = {"kernel": features.c} if tangent_kernel is None else {"ntk": tangent_kernel}
    return Program(tuple(names.bindings), output)
