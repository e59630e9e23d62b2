"""Kernels of coordinates, k(x_1 ... x_d, y_1 ... y_d), of no symmetry: their metric, and their conformal changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from sympy import DiracDelta, Expr, I, ImmutableDenseMatrix, Rational, Subs, Symbol, latex, nan, oo, zoo
from sympy.core.function import AppliedUndef

from infgeo.errors import InvalidInput, MetricDoesNotExist
from infgeo.expressions import exact
from infgeo.symbolic.algebra.normal_form import normal_form
from infgeo.symbolic.geometry.any_metric import Metric, checked_coordinates


@dataclass(frozen=True)
class CoordinateKernel:
    """A kernel k(x, y) that is any expression of the coordinates of two points.

        g_ij = d^2 k / dx_i dy_j at y = x

    Args:
        expr: a SymPy expression, symmetric in x and y; its other symbols are parameters.
        x, y: the coordinates of the two points, d distinct symbols each.
        simplify: as of `infgeo.Metric`; False is quick where kernels are long.

    Volume, R and all other tensors are those of `metric`, an `infgeo.Metric`. Rotation-invariant kernels have their
    geometry for every dimension at once: see `infgeo.Kernel`, whose `per_coordinate` gives an expression for here.

    Domain and limits: derivatives are taken as they are written, so that what is 0/0 at y = x, as in Matern kernels, is
    refused. That the kernel is positive semidefinite is not checked.

    Raises InvalidInput for an expression that is not real or not symmetric, or where x and y do not fit; `metric`
    MetricDoesNotExist where the derivatives are not finite, and InvalidInput where it is singular everywhere.

    Source: Burges 1999, Geometry and invariance in kernel based methods.

    Example:
        The kernel of a sphere in polar coordinates, of features (sin t cos u, sin t sin u, cos t).

        >>> from sympy import cos, sin, symbols
        >>> t, u, t2, u2 = symbols("t u t2 u2", real=True)
        >>> k = CoordinateKernel(sin(t) * sin(t2) * cos(u - u2) + cos(t) * cos(t2), (t, u), (t2, u2))
        >>> k.metric.matrix, k.metric.ricci_scalar
        (Matrix([
        [1,         0],
        [0, sin(t)**2]]), 2)
    """

    expr: Expr
    x: tuple[Symbol, ...]
    y: tuple[Symbol, ...]
    simplify: bool = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        x, y = checked_coordinates(self.x), checked_coordinates(self.y)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "expr", exact(self.expr, "kernel"))
        if len(x) != len(y) or set(x) & set(y):
            raise InvalidInput(f"x = {x} and y = {y} are the coordinates of two points: pass as many others for y")
        if self.expr.has(I, nan, oo, zoo, AppliedUndef):
            raise InvalidInput(f"kernel {self.expr} must be a real expression of {x} and {y}, of known functions")
        swapped = self.expr.xreplace(dict(zip((*x, *y), (*y, *x), strict=True)))
        if swapped != self.expr:
            point = {symbol: Rational(3 + i, 7) for i, symbol in enumerate(sorted(self.expr.free_symbols, key=str))}
            value = (swapped - self.expr).subs(point).evalf(30)
            if not value.is_number or abs(value) > Rational(1, 10**20):
                raise InvalidInput(f"kernel {self.expr} is not symmetric: it must stay the same when {x} become {y}")

    @cached_property
    def diagonal(self) -> Expr:
        """The value k(x, x)."""
        return self._at_coincidence(self.expr)

    @cached_property
    def metric(self) -> Metric:
        """The metric that the kernel induces, with its volume and curvature."""
        return Metric(
            [[self._at_coincidence(self.expr.diff(a, b)) for b in self.y] for a in self.x], self.x, self.simplify
        )

    def conformal(self, factor: object) -> CoordinateKernel:
        """Return the kernel c(x) c(y) k(x, y) for a `factor` c(x), an expression of x.

            g -> c^2 g + k(x, x) dc dc + c (dc dk(x, x) + dk(x, x) dc)/2

        Where k(x, x) = 1, as of Gaussian kernels, this is c^2 g + dc dc: a factor that is large near a decision
        boundary magnifies the space there.

        Source: Amari & Wu 1999, Improving support vector machine classifiers by modifying kernel functions.

        Example:
            >>> from sympy import exp, symbols
            >>> x, y = symbols("x y", real=True)
            >>> CoordinateKernel(exp(-((x - y) ** 2) / 2), (x,), (y,)).conformal(exp(-(x**2))).metric.matrix
            Matrix([[(4*x**2 + 1)*exp(-2*x**2)]])
        """
        return _Conformal.of(self, exact(factor, "factor"))

    def _at_coincidence(self, expr: Expr) -> Expr:
        value = expr.subs(list(zip(self.y, self.x, strict=True)))
        if value.has(nan, oo, -oo, zoo, DiracDelta, Subs):
            raise MetricDoesNotExist(
                f"the kernel {self.expr} has at y = x the derivative {value}: it is not twice differentiable there,"
                " as it is written; simplify it first, or take an infgeo.Kernel if it is rotation-invariant"
            )
        return self._clean(value)

    def _clean(self, expr: Expr) -> Expr:
        return normal_form(expr) if self.simplify else expr

    def __str__(self) -> str:
        return f"k({', '.join(map(str, (*self.x, *self.y)))}) = {self.expr}"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle k\left({', '.join(map(latex, (*self.x, *self.y)))}\right) = {latex(self.expr)}$"


@dataclass(frozen=True)
class _Conformal(CoordinateKernel):
    """A kernel that is c(x) c(y) times another one, whose metric follows from that one's."""

    kernel: CoordinateKernel = field(kw_only=True, compare=False, repr=False)
    factor: Expr = field(kw_only=True, compare=False, repr=False)

    @classmethod
    def of(cls, kernel: CoordinateKernel, factor: Expr) -> _Conformal:
        if set(kernel.y) & factor.free_symbols:
            raise InvalidInput(f"factor {factor} contains coordinates of y: pass a function of {kernel.x}")
        other = factor.xreplace(dict(zip(kernel.x, kernel.y, strict=True)))
        expr = factor * other * kernel.expr
        return cls(expr, kernel.x, kernel.y, kernel.simplify, kernel=kernel, factor=factor)

    @cached_property
    def metric(self) -> Metric:
        """The metric, by the formula of `conformal`."""
        c, value = self.factor, self.kernel.diagonal
        slope, radial = (ImmutableDenseMatrix([part.diff(a) for a in self.x]) for part in (c, value))
        matrix = c**2 * self.kernel.metric.matrix + value * slope * slope.T
        matrix += c / 2 * (slope * radial.T + radial * slope.T)
        return Metric(matrix.applyfunc(self._clean), self.x, self.simplify)
