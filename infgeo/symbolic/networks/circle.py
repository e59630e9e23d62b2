"""A great circle of inputs, |x|^2 = s, through the layers: the length and the bend of its image.

Features at two points of the circle have a covariance C(t) that depends on the angle t between the points alone. So the
curve has the squared radius q = C(0), the squared speed g = -C''(0), and the squared acceleration a = C''''(0); speed
and acceleration are orthogonal, and the squared extrinsic curvature is a/g^2. With k the kernel of the activation,
d^2 k/dc^2 = E[phi'' phi''], so that a layer phi(W h + b) makes of them

    affine      q <- bias + weight q,   g <- weight g,   a <- weight a
    activate    a <- m0 a + 3 m2 g^2,   g <- m0 g,   q <- m,   m2 = E[phi''^2]

Source: Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos, eq. 8 to 10, where
q is at its fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer, sqrt

from infgeo.conventions import s
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.expectations.dual import Dual


@dataclass(frozen=True)
class Circle:
    """The image of a great circle of inputs; the start is the circle itself.

    Args:
        radius_squared: q = |h|^2, a mean over units.
        speed_squared: g = |dh/dt|^2 for the angle t.
        acceleration_squared: a = |d^2h/dt^2|^2.
    """

    radius_squared: Expr = s
    speed_squared: Expr = s
    acceleration_squared: Expr = s

    @property
    def length(self) -> Expr:
        """The length over that of the circle of inputs."""
        return tidy(sqrt(self.speed_squared / s))

    @property
    def curvature_squared(self) -> Expr:
        """The squared extrinsic curvature, 1/s at the start."""
        return tidy(self.acceleration_squared / self.speed_squared**2)

    @property
    def turns(self) -> Expr:
        """The length of the curve of unit tangents over 2 pi: 1 at the start."""
        return tidy(sqrt(self.acceleration_squared / self.speed_squared))

    def affine(self, weight: Expr, bias: Expr) -> Circle:
        """See the module."""
        q, g, a = (weight * part for part in self._parts)
        return Circle(bias + q, g, a)

    def activate(self, law: Dual) -> Circle:
        """See the module."""
        q, g, a = self._parts
        m, m0, m2 = (part.subs(v, q) for part in (law.m, law.m0, law.derivative.m0))
        return Circle(m, m0 * g, m0 * a + 3 * m2 * g**2)

    def over_norm(self, epsilon: Expr, width: Expr) -> Circle:
        """All features of a circle have one norm."""
        return self.affine(1 / (self.radius_squared / width + epsilon), Integer(0))

    def centred(self) -> Circle:
        """Refuse what takes means over units."""
        raise NoClosedForm("great circles go through dense, residual and RMS-normalised layers alone")

    def add(self, branch: Circle, skip: Expr) -> Circle:
        """Covariances of independent branches add."""
        return Circle(*(skip * old + new for old, new in zip(self._parts, branch._parts, strict=True)))

    @property
    def _parts(self) -> tuple[Expr, Expr, Expr]:
        return self.radius_squared, self.speed_squared, self.acceleration_squared
