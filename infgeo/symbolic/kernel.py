"""Rotation-invariant kernels as expressions of |x|^2, |y|^2 and x.y, and the metric they induce by definition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sympy import Expr, Symbol, latex, nan, oo, zoo

from infgeo.conventions import s, s_x, s_y, xy
from infgeo.errors import MetricDoesNotExist
from infgeo.symbolic.metric import RadialMetric, assumptions_of
from infgeo.symbolic.simplify import tidy


@dataclass(frozen=True)
class Kernel:
    """A kernel k(x, y) = expr, an expression of the three `symbols` |x|^2, |y|^2 and x.y."""

    expr: Expr

    @property
    def symbols(self) -> tuple[Symbol, Symbol, Symbol]:
        """The symbols that stand for |x|^2, |y|^2 and x.y."""
        return s_x, s_y, xy

    @property
    def assumptions(self) -> str:
        """What the symbols of the expression stand for, in words."""
        return assumptions_of(self.expr.free_symbols)

    @cached_property
    def metric(self) -> RadialMetric:
        """The induced metric g = d^2 k / dx dy at y = x (Burges 1999)."""
        return metric_by_definition(self.expr)

    def __str__(self) -> str:
        """Return the formula and what its symbols stand for."""
        return f"k(x, y) = {self.expr}\n  ({self.assumptions})"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle k(x, y) = {latex(self.expr)}$"


def metric_by_definition(expr: Expr) -> RadialMetric:
    r"""Return the metric \partial_x \partial_y k at y = x of a kernel that is smooth at coincidence.

    With k a function of |x|^2, |y|^2 and t = x.y:  A = k_t  and  B = k_tt + 2 k_xt + 2 k_yt + 4 k_xy.
    Raises MetricDoesNotExist where a derivative diverges; kernels with a kink at coincidence whose divergences cancel
    (ReLU) need the route under the expectation, which `MLP.kernel.metric` takes.
    """
    slope = expr.diff(xy)
    bend = slope.diff(xy) + 2 * slope.diff(s_x) + 2 * slope.diff(s_y) + 4 * expr.diff(s_x, s_y)
    coincidence = {s_x: s, s_y: s, xy: s}
    A, B = (part.subs(coincidence) for part in (slope, bend))
    if A.has(zoo, oo, nan) or B.has(zoo, oo, nan):
        raise MetricDoesNotExist(f"the second derivatives of the kernel {expr} diverge at y = x")
    return RadialMetric.from_functions(tidy(A), tidy(B))
