"""The bivariate normal distribution function, which SymPy does not have."""

from typing import Any

import mpmath
from sympy import Add, Expr, Function, Integer, Rational, atan2, erf, exp, oo, pi, sqrt
from sympy.core.function import ArgumentIndexError

from infgeo.shorthand import loaded


class BivariateNormal(Function):
    r"""The probability Phi_2(h, k; rho) = P(X < h, Y < k) of standard normal X and Y of correlation rho.

    The correlation is given as an arc, rho = y / sqrt(x^2 + y^2) with x >= 0, which keeps the digits of 1 - rho^2 =
    x^2 / (x^2 + y^2); with three arguments it is rho itself. With phi the normal density and Phi its integral,

        d/dh Phi_2 = phi(h) Phi((k - rho h) / sqrt(1 - rho^2)),   d/drho Phi_2 = the density of (X, Y) at (h, k),

    Phi_2(0, 0; rho) = 1/4 + asin(rho) / (2 pi) and Phi_2(h, k; 0) = Phi(h) Phi(k). In terms of Owen's function T it is
    (Phi(h) + Phi(k))/2 - T(h, (k - rho h)/(h sqrt(1 - rho^2))) - T(k, (h - rho k)/(k sqrt(1 - rho^2))), less 1/2 where
    h and k have different signs. Source: Owen, Ann. Math. Statist. 27 (1956) 1075.

    Example:
        >>> from sympy import Symbol
        >>> BivariateNormal(0, 0, 1, Symbol("x", positive=True))
        atan(1/x)/(2*pi) + 1/4
        >>> BivariateNormal(1, -1, Rational(1, 2)).evalf(20)
        0.15487295185860278754
    """

    nargs = (3, 4)

    @classmethod
    def eval(cls, h: Expr, k: Expr, *arc: Expr) -> Expr | None:
        """Return what is known without an integral."""
        y, x = arc if len(arc) == 2 else (arc[0], sqrt(1 - arc[0] ** 2))
        if h == 0 and k == 0:
            return Rational(1, 4) + atan2(y, x) / (2 * pi)
        if y == 0:
            return normal(h) * normal(k)
        if x == 0 and y.is_positive and h == k:
            return normal(h)
        for one, other in ((h, k), (k, h)):
            if one == oo:
                return normal(other)
            if one == -oo:
                return Integer(0)
        return None

    @property
    def arc(self) -> tuple[Expr, Expr]:
        """The sine and the cosine of the arc, up to a common positive factor."""
        return (self.args[2], self.args[3]) if len(self.args) == 4 else (self.args[2], sqrt(1 - self.args[2] ** 2))

    def fdiff(self, argindex: int = 1) -> Expr:
        """Return the derivative by an argument."""
        h, k, *rest = self.args
        y, x = self.arc
        if argindex in (1, 2):
            h, k = (h, k) if argindex == 1 else (k, h)
            # Of the roots of sums of squares one is taken.
            return exp(-(h**2) / 2) / sqrt(2 * pi) * normal((k * sqrt(x**2 + y**2) - y * h) / x)
        square = x**2 + y**2
        exponent = -(h**2 * square - 2 * h * k * y * sqrt(square) + k**2 * square) / (2 * x**2)
        by_angle = exp(exponent) / (2 * pi)
        if len(rest) == 1:
            return by_angle / x
        if argindex == 3:
            return by_angle * x / square
        if argindex == 4:
            return -by_angle * y / square
        raise ArgumentIndexError(self, argindex)

    @staticmethod
    def _imp_(h: Any, k: Any, y: Any, x: Any = None) -> Any:
        """Return the function of numbers of mpmath, or of arrays: what `sympy.lambdify` takes."""
        x = (1 - y * y) ** 0.5 if x is None else x
        if any(isinstance(part, mpmath.mpf) for part in (h, k, y, x)):
            return bivariate_normal(h, k, y, x)
        arrays = loaded("infgeo.numeric.runtime.arrays.of_numpy", "NumpyArrays")()
        return loaded("infgeo.numeric.runtime.normal_tails", "bivariate_normal")(arrays, h, k, y, x)

    def _eval_is_extended_real(self) -> bool:
        return True

    def _eval_is_nonnegative(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> Expr | None:
        numbers = [part._to_mpmath(prec + 20) if part.is_number else None for part in (*self.args[:2], *self.arc)]
        if any(value is None for value in numbers):
            return None
        with mpmath.workprec(prec + 20):
            return Expr._from_mpmath(bivariate_normal(*numbers), prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        h, k = (printer._print(part) for part in self.args[:2])
        y, x = self.arc
        rho = printer._print(self.args[2] if len(self.args) == 3 else y / sqrt(x**2 + y**2))
        power = f"^{{{exp}}}" if exp else ""
        return rf"\Phi_{{2}}{power}\left({h}, {k}; {rho}\right)"


def normal(h: Expr) -> Expr:
    """Return the normal distribution function."""
    return Add(1, erf(h / sqrt(2))) / 2


def bivariate_normal(h: mpmath.mpf, k: mpmath.mpf, y: mpmath.mpf, x: mpmath.mpf) -> mpmath.mpf:
    """Return the function of numbers to the working precision: Phi(h) Phi(k) and an integral over the arc.

    With the density at the correlation cos w,
    Phi_2 = Phi(h) Phi(k) + (1/2 pi) int_w^(pi/2) exp(-(h - k)^2 / (2 sin^2 t) - h k / (2 cos^2(t/2))) dt,
    w = atan2(x, y); beyond pi/2 the exponent is that of -k at pi - t.
    """
    start, end = mpmath.atan2(x, y), mpmath.pi / 2

    def density(t: mpmath.mpf) -> mpmath.mpf:
        other, angle = (k, t) if t <= end else (-k, mpmath.pi - t)
        across = mpmath.sin(angle)
        if across == 0:
            return mpmath.exp(-h * other / 2) if h == other else mpmath.mpf(0)
        return mpmath.exp(-(((h - other) / across) ** 2) / 2 - h * other / (2 * mpmath.cos(angle / 2) ** 2))

    # The integrand changes where the angle to 0 or to pi is of such a size.
    changes = [t for size in (abs(h - k), abs(h + k)) for t in (size / 8, size / 2, 2 * size)]
    places = changes[:3] if start <= end else [mpmath.pi - t for t in changes[3:]]
    cuts = [start, *(t for t in places if min(start, end) < t < max(start, end)), end]
    integral = mpmath.quad(density, sorted(cuts)) * (1 if start <= end else -1)
    return mpmath.ncdf(h) * mpmath.ncdf(k) + integral / (2 * mpmath.pi)
