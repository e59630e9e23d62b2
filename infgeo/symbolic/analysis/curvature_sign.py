"""The sign of the Ricci scalar of a metric."""

from dataclasses import dataclass

import mpmath
from sympy import Dummy

from infgeo.arguments import instance, positive_integer
from infgeo.conventions import d, s
from infgeo.symbolic.algebra.graph import evaluated
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.analysis.functions_of_depth import sign_changes
from infgeo.symbolic.geometry.metric import RadialMetric


@dataclass(frozen=True)
class CurvatureSign:
    """The sign of the Ricci scalar over s = |x|^2 > 0, at d >= 2.

    Args:
        sign: "zero", "negative" or "positive" (0 at isolated points included), "mixed", or "undecided".
        proved: whether it follows from the formula; otherwise it was read off at 400 values of s from 1e-8 to 1e8.
        changes: the values of s at which R changes sign, to 15 digits.
    """

    sign: str
    proved: bool
    changes: tuple[float, ...] = ()


def curvature_sign(metric: RadialMetric, dimension: int | None = None) -> CurvatureSign:
    """Return the sign of the Ricci scalar of a metric over all of s > 0.

    Symbols take every value of their domain; where that does not decide it and s is the only one left, R is evaluated.

    Args:
        metric: the metric.
        dimension: the input dimension, at least 2; None stands for every d >= 2.

    Example:
        >>> import infgeo
        >>> infgeo.analysis.curvature_sign(infgeo.MLP("erf").metric)
        CurvatureSign(sign='negative', proved=True, changes=())
        >>> infgeo.analysis.curvature_sign(infgeo.MLP("sin", weight_std=1, bias_std=0).metric, 2).sign
        'mixed'
    """
    instance(metric, "metric", RadialMetric, "the metric of a network, as infgeo.MLP(...).metric")
    if dimension is not None:
        dimension = positive_integer(dimension, "dimension", 2, "a line has no curvature")
    if metric.is_flat:
        return CurvatureSign("zero", True)
    more = Dummy("k", integer=True, nonnegative=True)
    R = metric.ricci_scalar.subs(d, more + 2 if dimension is None else dimension)
    if dimension == 2 and R.is_zero:
        return CurvatureSign("zero", True)
    for form in (R, tidy(R)):
        if form.is_nonpositive or form.is_nonnegative:
            return CurvatureSign("negative" if form.is_nonpositive else "positive", True)
    if R.free_symbols - {s}:
        return CurvatureSign("undecided", False)
    program = metric.program.select(["R"])

    def value(x: mpmath.mpf) -> mpmath.mpf:
        known = {s: x, d: mpmath.mpf(dimension or 2)}
        for symbol, expr in program.bindings:
            known[symbol] = evaluated(expr, known)
        return evaluated(program.outputs["R"], known)

    changes = sign_changes(value, -8, 8)
    if changes:
        return CurvatureSign("mixed", False, tuple(float(x) for x in changes))
    return CurvatureSign("negative" if value(mpmath.mpf(1)) < 0 else "positive", False)
