"""What the formulas mean: asymptotics, the sign of the curvature, fixed points of depth, and the edge of chaos.

With v the variance of a preactivation, m = E[phi^2], m0 = E[phi'^2], a network of equal layers iterates

    v <- sigma_b^2 + sigma_w^2 m(v),   A <- chi A,   chi = sigma_w^2 m0(v),   dv/ds <- sigma_w^2 m'(v) dv/ds,

so that at a fixed point v* the metric across x is multiplied by chi(v*) per layer: it dies out (ordered, chi < 1),
grows (chaotic, chi > 1) or neither (the edge of chaos). chi is not the slope sigma_w^2 m'(v*), which decides whether v*
attracts.

Source: Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos (chi_1);
Schoenholz et al. 2017, Deep information propagation (the depth scale).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
from sympy import And, Dummy, Expr, Float, Integer, Poly, Pow, cancel, false, lambdify, log, solve, true
from sympy.logic.boolalg import Boolean

from infgeo.arguments import instance, positive_integer
from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput
from infgeo.symbolic.algebra.graph import evaluated
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.analysis.expansions import Expansion, leading_of_layer, leading_terms, terms_at_origin
from infgeo.symbolic.analysis.learned_metric import learned_metric
from infgeo.symbolic.expectations.dual import dual
from infgeo.symbolic.geometry.metric import RadialMetric
from infgeo.symbolic.networks.layers import Dense, as_activation, checked_std
from infgeo.symbolic.networks.network import MLP

__all__ = [
    "CurvatureSign",
    "EdgeOfChaos",
    "Expansion",
    "FixedPoint",
    "curvature_sign",
    "edge_of_chaos",
    "fixed_points",
    "large_norm",
    "learned_metric",
    "small_norm",
]

_METRIC = "the metric of a network, as infgeo.MLP(...).metric"
_NETWORK = "an infgeo.MLP"


def small_norm(metric: RadialMetric, terms: int = 2) -> Expansion:
    """Return A, B and R as power series at x = 0, `terms` terms each, in s = |x|^2.

    R(0) = d (d - 1) (B(0) - 2 A'(0)) / A(0)^2, which is 0 for one layer. Where the metric vanishes at x = 0, R begins
    with a negative power.

    Args:
        metric: any `RadialMetric` whose A and B are power series in s there.
        terms: number of terms, at least 1; a term may be 0.

    Raises NoClosedForm where A or B is no power series at s = 0, or a coefficient of a deep network is too long to be
    written out; InvalidInput for `terms` < 1.

    Example:
        >>> import infgeo
        >>> infgeo.analysis.small_norm(infgeo.MLP("erf", weight_std=1, bias_std=0).metric).R
        pi*s**2*(d - 1)*(d + 2)/2 - pi*s*(d - 1)*(d + 2)/2
    """
    instance(metric, "metric", RadialMetric, _METRIC)
    return terms_at_origin(metric, positive_integer(terms, "terms", maximum=100))


def large_norm(mlp: MLP) -> Expansion:
    """Return the leading terms of A, B and R of a network for s = |x|^2 -> oo.

    They are c s^a, for one dense layer also c s^a exp(b s): the quotient with the function they stand for tends to 1.

    Raises NoClosedForm where there is no such term, with the reason: beyond one dense layer, what grows or decays like
    an exponential.

    Example:
        >>> import infgeo
        >>> infgeo.analysis.large_norm(infgeo.MLP("erf", weight_std=1, bias_std=0)).R
        -sqrt(2)*pi*sqrt(s)*(d - 1)*(d + 2)/4
        >>> infgeo.analysis.large_norm(infgeo.MLP(["erf", "relu"], weight_std=1, bias_std=0)).A
        sqrt(2)/(2*pi*sqrt(s))
    """
    layer = instance(mlp, "mlp", MLP, _NETWORK).layers[0]
    if len(mlp.layers) == 1 and isinstance(layer, Dense):
        return leading_of_layer(layer.dual.m0, *layer.variances)
    return leading_terms(mlp.metric_program)


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
    instance(metric, "metric", RadialMetric, _METRIC)
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
    name = "R"
    program = metric.program.select([name])

    def value(x: mpmath.mpf) -> mpmath.mpf:
        known = {s: x, d: mpmath.mpf(dimension or 2)}
        for symbol, expr in program.bindings:
            known[symbol] = evaluated(expr, known)
        return evaluated(program.outputs[name], known)

    changes = _sign_changes(value, -8, 8)
    if changes:
        return CurvatureSign("mixed", False, tuple(float(x) for x in changes))
    return CurvatureSign("negative" if value(mpmath.mpf(1)) < 0 else "positive", False)


@dataclass(frozen=True)
class FixedPoint:
    """A fixed point v* = sigma_b^2 + sigma_w^2 m(v*) of the variance, and what depth does to the metric there.

    Args:
        variance: v*.
        slope: sigma_w^2 m'(v*), the factor of deviations from v* per layer: it attracts where this is below 1.
        chi: sigma_w^2 m0(v*), the factor of A per layer (chi_1 of Poole et al. 2016).
        condition: the condition on the scales under which it exists.
    """

    variance: Expr
    slope: Expr
    chi: Expr
    condition: Boolean = true

    @property
    def attracts(self) -> Boolean:
        """Whether the variance of nearby inputs tends to v* with depth (to first order)."""
        return self.slope < 1

    @property
    def phase(self) -> str:
        """The depth limit of the metric: "ordered" (A -> 0), "chaotic" (A -> oo), "critical", or "undecided"."""
        excess = self.chi - 1
        names = ((excess.is_zero, "critical"), (excess.is_negative, "ordered"), (excess.is_positive, "chaotic"))
        return next((name for holds, name in names if holds), "undecided")

    @property
    def depth_scale(self) -> Expr:
        """The number of layers over which A changes by a factor e: 1/|log chi| (Schoenholz et al. 2017)."""
        return 1 / abs(log(self.chi))


def fixed_points(mlp: MLP) -> tuple[FixedPoint, ...]:
    """Return the fixed points of the variance with depth, in increasing order.

    In closed form where m(v) is a polynomial of degree 2 at most (ReLU, identity, square, Hermite polynomials, ...);
    otherwise to 30 digits, for which the scales and the activation's parameters must be numbers, from 1e-12 to 1e12.
    Depth acts on a network of any number of equal dense layers alike: that of `mlp` plays no part.

    Raises InvalidInput for layers that differ, and where numbers are needed, naming the symbols.

    Example:
        >>> import infgeo
        >>> infgeo.analysis.fixed_points(infgeo.MLP("relu"))[0].variance
        -2*sigma_b**2/(sigma_w**2 - 2)
        >>> point = infgeo.analysis.fixed_points(infgeo.MLP("erf", weight_std=2, bias_std=1))[0]
        >>> point.phase, round(point.chi, 6)
        ('ordered', 0.935148)
    """
    _require_equal(mlp)
    weight, bias, law = mlp.weight_std**2, mlp.bias_std**2, mlp.dual
    gap = bias + weight * law.m - v
    exact = _roots_of_polynomial(gap) if gap.is_polynomial(v) else None
    found: list[tuple[Expr, Boolean]] = exact if exact is not None else _roots_by_scan(mlp, gap)
    points = []
    for root, condition in found:
        slope, chi = (tidy((weight * part).subs(v, root)) for part in (law.m_prime, law.m0))
        if root.is_Float:
            slope, chi = slope.evalf(30), chi.evalf(30)
        points.append(FixedPoint(root, slope, chi, condition))
    return tuple(points)


@dataclass(frozen=True)
class EdgeOfChaos:
    """The scales at which chi = 1, as a curve with the fixed point v as its parameter.

    Args:
        weight_variance: sigma_w^2 = 1/m0(v).
        bias_variance: sigma_b^2 = v - m(v)/m0(v); a point of the curve exists where this is >= 0.
    """

    weight_variance: Expr
    bias_variance: Expr

    @property
    def condition(self) -> Boolean:
        """The condition on v for a point of the curve."""
        return self.bias_variance >= 0

    def at(self, variance: object) -> tuple[Expr, Expr]:
        """Return (sigma_w^2, sigma_b^2) of the point with fixed point v = `variance`."""
        at = checked_std(variance, "variance", zero_allowed=False)
        values = [part.subs(v, at) for part in (self.weight_variance, self.bias_variance)]
        if (values[1] >= 0) == false:
            raise InvalidInput(f"v = {variance} is no fixed point at the edge of chaos: sigma_b^2 = {values[1]} < 0")
        return values[0], values[1]


def edge_of_chaos(activation: object) -> EdgeOfChaos:
    """Return the edge of chaos of an activation: a name, or a SymPy expression of one symbol.

    sigma_w^2 E[phi'^2] = 1 and v = sigma_b^2 + sigma_w^2 E[phi^2] solved for the scales; free symbol v > 0.

    Raises MetricDoesNotExist for a jump, NoClosedForm where the moments have none.

    Example:
        >>> import infgeo
        >>> curve = infgeo.analysis.edge_of_chaos("relu")
        >>> curve.weight_variance, curve.bias_variance
        (2, 0)
        >>> infgeo.analysis.edge_of_chaos("erf").weight_variance
        pi*sqrt(2*v + 1)/2
    """
    law = dual(as_activation(activation))
    return EdgeOfChaos(tidy(1 / law.m0), tidy(v - tidy(law.m / law.m0)))


def _require_equal(mlp: MLP) -> None:
    instance(mlp, "mlp", MLP, _NETWORK)
    if not mlp.is_plain:
        raise InvalidInput(f"{mlp} has layers that differ: fixed points of depth are those of equal dense layers")


def _roots_of_polynomial(gap: Expr) -> list[tuple[Expr, Boolean]] | None:
    """Return the roots v >= 0 of a polynomial of degree 2 at most with their conditions, None for higher degrees."""
    polynomial = Poly(gap, v)
    if polynomial.is_zero:
        raise InvalidInput("every variance is a fixed point: sigma_b = 0 and sigma_w^2 E[phi^2] = v")
    if polynomial.degree() > 2:
        return None
    free = Dummy("v")  # without the sign, which would hide the root 0
    roots = [tidy(cancel(root)) for root in solve(gap.xreplace({v: free}), free)]
    kept = []
    for root in roots:
        condition = _holds(root)
        if condition != false:
            kept.append((root, condition))
    return sorted(kept, key=lambda pair: pair[0]) if all(root.is_number for root, _ in kept) else kept


def _holds(root: Expr) -> Boolean:
    """Return the condition that a root is real, finite and >= 0."""
    if root.is_number:
        return true if root.is_real and root >= 0 else false
    if radicands := [part.base for part in root.atoms(Pow) if part.exp.is_Rational and part.exp.q == 2]:
        # Both roots of v = a + b v + c v^2 with a, c >= 0 have one sign, that of 1 - b; it is left to the reader.
        return And(*[base >= 0 for base in radicands])
    numerator, denominator = root.as_numer_denom()
    if (-numerator).is_nonnegative:
        numerator, denominator = -numerator, -denominator
    if numerator.is_zero or (numerator.is_nonnegative and denominator.is_positive):
        return true
    return denominator > 0 if numerator.is_nonnegative else And(root >= 0)


def _roots_by_scan(mlp: MLP, gap: Expr) -> list[tuple[Expr, Boolean]]:
    if free := sorted(symbol.name for symbol in gap.free_symbols - {v}):
        raise InvalidInput(
            f"the fixed points of {mlp.activation.name} have no closed form: give numbers for {', '.join(free)}"
        )
    function = lambdify(v, gap, "mpmath")
    # Beyond the domain of activations that grow like exp(a z^2) there is no variance.
    growth = mlp.dual.growth
    top = 12.0 if growth is None or not growth.is_positive else float(mpmath.log10(1 / (4 * mpmath.mpf(growth)))) - 1e-9
    roots = _sign_changes(function, -12, top)
    found: list[tuple[Expr, Boolean]] = [(Float(root, 30), true) for root in roots]
    zero = mlp.bias_std == 0 and mlp.dual.m.subs(v, 0) == 0
    return [(Integer(0), true), *found] if zero else found


def _sign_changes(function: Callable[[mpmath.mpf], mpmath.mpf], low: float, high: float) -> list[mpmath.mpf]:
    """Return the zeros at which `function` changes sign between 10^low and 10^high, by a scan and bisection."""
    with mpmath.workdps(40):
        count = 400
        grid = [mpmath.mpf(10) ** (low + (high - low) * mpmath.mpf(i) / count) for i in range(count + 1)]
        values = [mpmath.re(function(x)) for x in grid]
        zeros = [x for x, y in zip(grid, values, strict=True) if y == 0]
        for i in range(count):
            if values[i] * values[i + 1] < 0:
                zeros.append(mpmath.findroot(lambda x: mpmath.re(function(x)), grid[i : i + 2], solver="anderson"))
        return sorted(zeros)
