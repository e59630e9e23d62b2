"""A rotation-invariant metric in polar coordinates: its tensors, radii, balls and spheres, and its distances.

dl^2 = h dr^2 + rho^2 dOmega^2,    h = A + s B,    rho = r sqrt(A)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from sympy import (
    Expr,
    ImmutableDenseNDimArray,
    Integer,
    KroneckerDelta,
    Rational,
    Symbol,
    cancel,
    exp,
    factor,
    fraction,
    gamma,
    hyper,
    nan,
    pi,
    sqrt,
)

from infgeo.conventions import r, s
from infgeo.errors import NoClosedForm
from infgeo.expressions import exact
from infgeo.shorthand import loaded
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.geometry.radial_integrals import along_radius, binomial_factors, without_moduli
from infgeo.symbols import coordinates

if TYPE_CHECKING:
    from infgeo import RadialGeodesic

_HALF = Rational(1, 2)
_NUMERIC = "take g.at(...) with a number for every symbol, and its distance(x, y)"


@dataclass(frozen=True)
class Embedding:
    """The profile curve of a surface of revolution with the metric of a plane through 0, as functions of r = |x|.

    `radius` is the distance from the axis, `slope` the derivative of the height; `signature` says whether the height is
    a coordinate of Euclidean space or, "minkowski", the time of R^(2,1), with dl^2 = dradius^2 - dheight^2.
    """

    radius: Expr
    slope: Expr
    signature: str

    @property
    def height(self) -> Expr:
        """The height above 0; raises NoClosedForm where its integral is not a known one."""
        return along_radius(self.slope.subs(r, sqrt(s)), "integrate slope over r")


class PolarForm:
    """What a rotation-invariant metric is in polar coordinates; `RadialMetric` has these methods."""

    A: Expr
    B: Expr
    program: Any
    dimension: Expr
    h: Expr
    volume_element: Expr
    sectional_curvature: Any

    @property
    def _alpha(self) -> Expr:
        return tidy(self.program.explicit("alpha"))

    def christoffel(self, dimension: int) -> ImmutableDenseNDimArray:
        """Return the Christoffel symbols, [k, i, j] is Gamma^k_ij, functions of x_1 ... x_d and s = |x|^2.

        Gamma^k_ij = p (x_j delta_ki + x_i delta_kj) + q x_k delta_ij + t x_i x_j x_k with p = A'/A, q = (B - A')/h,
        t = (B' - 2 p B)/h.
        """
        x, n = coordinates(dimension), range(dimension)
        p, q, t = self._connection
        delta = KroneckerDelta

        def entry(k: int, i: int, j: int) -> Expr:
            return p * (x[j] * delta(k, i) + x[i] * delta(k, j)) + x[k] * (q * delta(i, j) + t * x[i] * x[j])

        return ImmutableDenseNDimArray([entry(*index) for index in product(n, repeat=3)], (dimension,) * 3)

    @property
    def _connection(self) -> tuple[Expr, Expr, Expr]:
        A, B, h = self.A, self.B, self.h
        p = tidy(A.diff(s) / A)
        return p, tidy((B - A.diff(s)) / h), tidy((B.diff(s) - 2 * p * B) / h)

    def riemann(self, dimension: int) -> ImmutableDenseNDimArray:
        """Return the Riemann tensor, [l, i, j, k] is R^l_ijk, functions of x_1 ... x_d and s = |x|^2.

        R^l_ijk = K_tan (delta_lj g_ik - delta_lk g_ij) + E (x_l x_j g_ik + h x_i x_k delta_lj - x_l x_k g_ij
        - h x_i x_j delta_lk) with E = (K_rad - K_tan)/s; signs as in `infgeo.Metric`.
        """
        x, n = coordinates(dimension), range(dimension)
        (radial, tangential), h, delta = self.sectional_curvature, self.h, KroneckerDelta
        shear = tidy(cancel((radial - tangential) / s))

        def g(i: int, j: int) -> Expr:
            return self.A * delta(i, j) + self.B * x[i] * x[j]

        def half(m: int, i: int, j: int, k: int) -> Expr:
            turn = shear * (x[m] * x[j] * g(i, k) + h * x[i] * x[k] * delta(m, j))
            return tangential * delta(m, j) * g(i, k) + turn

        entries = [half(m, i, j, k) - half(m, i, k, j) for m, i, j, k in product(n, repeat=4)]
        return ImmutableDenseNDimArray(entries, (dimension,) * 4)

    @property
    def radial_distance(self) -> Expr:
        """The distance of x from 0, the integral of sqrt(h) over r, a function of r = |x|.

        Raises NoClosedForm, which names the numeric way, where the integral is not a known one.

        >>> import infgeo
        >>> infgeo.MLP("erf", weight_std=1, bias_std=0).metric.radial_distance
        sqrt(2)*r*hyper((1/2, 3/4), (3/2,), -2*r**2)/sqrt(pi)
        """
        return along_radius(sqrt(self.h), _NUMERIC)

    @property
    def ball_volume(self) -> Expr:
        """The volume of {|x| <= r}, 2 pi^(d/2)/Gamma(d/2) times the integral of sqrt(det g) r^(d - 1) over r.

        Raises NoClosedForm where the integral is not a known one.

        >>> import infgeo
        >>> infgeo.MLP("erf", weight_std=1, bias_std=0).metric.at(d=2).ball_volume
        log(2*r**2 + 1)
        """
        d = self.dimension
        sphere = 2 * pi ** (d / 2) / gamma(d / 2)
        numeric = "integrate volume_element r^(d - 1) over r"
        return tidy(sphere * along_radius(self.volume_element * s ** ((d - 1) / 2), numeric))

    @property
    def sphere_mean_curvature(self) -> Expr:
        """The mean curvature (rho'/rho)/sqrt(h) of the sphere |x| = r, 1/r in flat space; a function of r."""
        return tidy(without_moduli(tidy((1 + self._alpha) / sqrt(self.h)))).subs(s, r**2) / r

    @property
    def conformal_radius(self) -> Expr:
        """The radius c(r) ~ r in which the metric is conformal to the flat one: c'/c = sqrt(h)/rho.

        Raises NoClosedForm unless h/A is a power of a binomial in s.

        >>> import infgeo
        >>> infgeo.MLP("erf", weight_std=1, bias_std=0).metric.conformal_radius
        2*r/(sqrt(2*r**2 + 1) + 1)
        """
        found = binomial_factors(tidy(self.h / self.A))
        if found is None or found[:2] != (1, 0):
            raise NoClosedForm("log of the conformal radius is the integral of sqrt(h/A)/r, which is not a known one")
        power, z = -found[3] / 2, tidy(found[2]) * r**2
        root = sqrt(1 + z)
        known = {
            Integer(0): Integer(1),
            _HALF: 2 * exp(root - 1) / (1 + root),
            -_HALF: 2 / (1 + root),
            Integer(1): exp(z / 2),
            Integer(-1): 1 / root,
        }
        series = exp(power * z / 2 * hyper((1, 1, 1 - power), (2, 2), -z))
        return r * known.get(power, series)

    @property
    def embedding(self) -> Embedding:
        """The surface of revolution in R^3, or in R^(2,1) where h < (rho')^2, as for networks of one layer."""
        alpha = self._alpha
        eta = tidy(self.h / self.A)
        excess = tidy(eta - (1 + alpha) ** 2)
        sign = _sign(excess)
        if sign is None:
            raise NoClosedForm(
                f"h - (d rho/dr)^2 = {tidy(excess * self.A)} has no one sign: no one space has all of the surface"
            )
        slope, across = (without_moduli(sqrt(part)).subs(s, r**2) for part in (tidy(sign * excess * self.A), self.A))
        return Embedding(across * r, slope, "euclidean" if sign > 0 else "minkowski")

    def laplacian(self, f: Expr) -> Expr:
        """Return the Laplace-Beltrami operator of a function of s = |x|^2, r = |x| and coordinates x_1, x_2, ...

        (1/A) (flat Laplacian - (B/h) x.H x - c x.grad f), H the flat Hessian, at symbolic d; 2d/A of s in flat space.
        """
        f = exact(f, "f").subs(r, sqrt(s))
        x = sorted((symbol for symbol in f.free_symbols if _is_coordinate(symbol)), key=lambda symbol: symbol.name)
        d, (p, q, t) = self.dimension, self._connection
        first, mixed = [f.diff(one) for one in x], [f.diff(one, s) for one in x]
        along = sum((a * b for a, b in zip(x, first, strict=True)), Integer(0))
        across = sum((a * b for a, b in zip(x, mixed, strict=True)), Integer(0))
        flat = sum((f.diff(one, 2) for one in x), 4 * across + 4 * s * f.diff(s, 2) + 2 * d * f.diff(s))
        twice = sum((a * b * f.diff(a, b) for a in x for b in x), 4 * s * across + 4 * s**2 * f.diff(s, 2))
        twice += 2 * s * f.diff(s)
        shear = tidy(self.B / self.h)
        trace = 2 * p + d * q + t * s - shear * s * (2 * p + q + t * s)
        return tidy((flat - shear * twice - tidy(trace) * (along + 2 * s * f.diff(s))) / self.A)

    def distance(self, x: Any, y: Any) -> Any:
        """Return the length of the shortest path between x and y, (..., d), (..., d) -> (...), to 1e-12.

        Arguments:
            x, y: points, arrays of NumPy or, for first derivatives, tensors of torch; their shapes are broadcast.

        The metric must have numbers for its symbols: `g.at(sigma_w=1, sigma_b=1)`.

        Raises InvalidInput where it has symbols, does not exist at the points, or where circles around 0 shrink as |x|
        grows (beyond the equator of a sphere); NotConverged where the quadrature does not reach 1e-12.

        >>> import infgeo, numpy as np
        >>> g = infgeo.MLP("erf", weight_std=1, bias_std=0).metric
        >>> float(g.distance(np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])).round(12))
        0.840045601945
        """
        return loaded("infgeo.numeric.geodesics.radial", "distance")(self, x, y)

    def geodesic(self, x: Any, y: Any, way: str = "shortest") -> RadialGeodesic:
        """Return the geodesic from x to y: its length, velocities, `points(t)`, and how it passes 0; see `distance`.

        With `way` "around" it is the one that goes the other way round 0, where there is one.
        """
        found: RadialGeodesic = loaded("infgeo.numeric.geodesics.radial", "geodesic")(self, x, y, way)
        return found

    def exponential(self, x: Any, v: Any) -> Any:
        """Return where the geodesic from x with velocity v is after time 1, (..., d), (..., d) -> (..., d).

        Raises InvalidInput where it leaves the points where the metric exists, as where infinity is at a finite
        distance; see `distance` for the rest.
        """
        return loaded("infgeo.numeric.geodesics.radial", "exponential")(self, x, v)

    def logarithm(self, x: Any, y: Any) -> Any:
        """Return the velocity at x of the shortest geodesic to y, (..., d), (..., d) -> (..., d); see `distance`."""
        return loaded("infgeo.numeric.geodesics.radial", "logarithm")(self, x, y)


def _is_coordinate(symbol: Symbol) -> bool:
    head, _, number = symbol.name.partition("_")
    return head == "x" and number.isdigit()


def _sign(expr: Expr) -> int | None:
    """Return 1 or -1 where an expression has that sign, or is 0, from s = 0 to its first pole; None if not known."""
    positive = Symbol("s", positive=True)
    top, bottom = fraction(factor(expr.subs(s, positive)))
    start = bottom.subs(positive, 0)
    for sign in (1, -1):
        upper = top * (1 if bottom.is_nonnegative or start.is_positive else -1 if start.is_negative else nan)
        if (sign * upper).is_nonnegative:
            return sign
    return None
