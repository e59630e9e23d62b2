"""Kernels of coordinates, k(x_1 ... x_d, y_1 ... y_d), of no symmetry: their metric, and their conformal changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from sympy import DiracDelta, Expr, I, ImmutableDenseMatrix, Subs, Symbol, latex, nan, oo, zoo
from sympy.core.function import AppliedUndef

from infgeo.errors import InvalidInput, MetricDoesNotExist
from infgeo.expressions import exact
from infgeo.symbolic.algebra.normal_form import normal_form
from infgeo.symbolic.geometry.any_metric import Metric, checked_coordinates
from infgeo.symbolic.geometry.curvature_tensors import symmetric
from infgeo.symbolic.kernels.kernel import require_symmetric


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

    Derivatives are taken as written: 0/0 at y = x, as in Matern kernels, is refused. Definiteness is not checked.

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
        x, y = checked_coordinates(self.x), checked_coordinates(self.y)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "expr", exact(self.expr, "kernel"))
        if len(x) != len(y) or set(x) & set(y):
            raise InvalidInput(f"x = {x} and y = {y} are the coordinates of two points: pass as many others for y")
        if self.expr.has(I, nan, oo, zoo, AppliedUndef):
            raise InvalidInput(f"kernel {self.expr} must be a real expression of {x} and {y}, of known functions")
        require_symmetric(self.expr, dict(zip((*x, *y), (*y, *x), strict=True)), f"{x} become {y}")

    @cached_property
    def metric(self) -> Metric:
        """The metric that the kernel induces, with its volume and curvature."""
        n = len(self.x)
        entry = symmetric(n, lambda i, j: self._at_coincidence(self.expr.diff(self.x[i], self.y[j])))
        return Metric(ImmutableDenseMatrix(n, n, entry), self.x, self.simplify)

    def conformal(self, factor: object) -> CoordinateKernel:
        """Return the kernel c(x) c(y) k(x, y) for a `factor` c(x), an expression of x.

            g -> c^2 g + k(x, x) dc dc + c (dc dk(x, x) + dk(x, x) dc)/2

        Where k(x, x) = 1, as of Gaussian kernels, this is c^2 g + dc dc: a factor that is large near a decision
        boundary magnifies the space there.

        Source: Amari & Wu 1999, Improving support vector machine classifiers by modifying kernel functions.
        """
        c = exact(factor, "factor")
        if set(self.y) & c.free_symbols:
            raise InvalidInput(f"factor {c} contains coordinates of y: pass a function of {self.x}")
        return replace(self, expr=c * c.xreplace(dict(zip(self.x, self.y, strict=True))) * self.expr)

    def _at_coincidence(self, expr: Expr) -> Expr:
        value = expr.subs(list(zip(self.y, self.x, strict=True)))
        if value.has(nan, oo, -oo, zoo, DiracDelta, Subs):
            raise MetricDoesNotExist(
                f"the kernel {self.expr} has at y = x the derivative {value}, which is not finite as it is written;"
                " simplify it first, or take an infgeo.Kernel if it is rotation-invariant"
            )
        return normal_form(value) if self.simplify else value

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle k\left({', '.join(map(latex, (*self.x, *self.y)))}\right) = {latex(self.expr)}$"
