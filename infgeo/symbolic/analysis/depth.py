"""What depth does: fixed points of the variance and of correlations, the edge of chaos, and great circles.

With v the variance of a preactivation, m = E[phi^2], m0 = E[phi'^2], a network of equal layers iterates

    v <- sigma_b^2 + sigma_w^2 m(v),   A <- chi A,   chi = sigma_w^2 m0(v),   dv/ds <- sigma_w^2 m'(v) dv/ds,

so that at a fixed point v* the metric across x is multiplied by chi(v*) per layer: it dies out (ordered, chi < 1),
grows (chaotic, chi > 1) or neither (the edge of chaos). chi is not the slope sigma_w^2 m'(v*), which decides whether v*
attracts. Correlations c of two inputs at v* iterate c <- (sigma_b^2 + sigma_w^2 k(v*, v*, c v*))/v*: c = 1 is a fixed
point with the slope chi, and in the chaotic phase another one attracts.

Source: Poole et al. 2016, Exponential expressivity in deep neural networks through transient chaos (chi_1, curves);
Schoenholz et al. 2017, Deep information propagation (the depth scales).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sympy import And, Dummy, Expr, Float, Integer, Poly, Pow, cancel, false, log, solve, true
from sympy.logic.boolalg import Boolean

from infgeo.arguments import instance
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.shorthand import loaded
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.analysis.functions_of_depth import FunctionsOfDepth, functions_of_depth, sign_changes
from infgeo.symbolic.expectations.dual import dual
from infgeo.symbolic.networks.circle import Circle
from infgeo.symbolic.networks.layers import as_activation, checked_std
from infgeo.symbolic.networks.network import MLP


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
    otherwise the scales and the activation's parameters must be numbers: to 30 digits from 1e-12 to 1e12, of
    activations without a closed form to 9 digits from 1e-6 to 1e6. Depth acts on a network of any number of equal
    dense layers alike: that of `mlp` plays no part.

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
    weight, bias = mlp.weight_std**2, mlp.bias_std**2
    try:
        law, gap = mlp.dual, bias + weight * mlp.dual.m - v
    except NoClosedForm:
        functions = functions_of_depth(mlp)
        maps = functions.slope, functions.chi
        return tuple(
            # At 0, where phi vanishes, m is phi'^2 v: both maps are one.
            FixedPoint(root, *(Float(f(root), functions.digits) for f in (maps if root else maps[1:] * 2)))
            for root, _ in _roots_by_scan(mlp, functions)
        )
    found = _roots_of_polynomial(gap) if gap.is_polynomial(v) else None
    points = []
    for root, condition in _roots_by_scan(mlp, functions_of_depth(mlp)) if found is None else found:
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


@dataclass(frozen=True)
class CorrelationPoint:
    """A fixed point c* of the correlation of two inputs, with variances at their fixed point.

    Args:
        correlation: c*, from -1 to 1.
        slope: the factor of deviations from c* per layer: it attracts where this is below 1; chi at c* = 1.
    """

    correlation: Expr
    slope: Expr

    @property
    def attracts(self) -> Boolean:
        """Whether correlations near c* tend to it with depth (to first order)."""
        return self.slope < 1

    @property
    def depth_scale(self) -> Expr:
        """The number of layers over which c - c* changes by a factor e: 1/|log slope| (xi_c of Schoenholz et al.)."""
        return 1 / abs(log(self.slope))


def correlations(mlp: MLP) -> tuple[CorrelationPoint, ...]:
    """Return the fixed points of correlations with depth, in increasing order; the last is c = 1.

    Inputs have the variance v* that attracts (the first such one). Scales and parameters must be numbers; digits are
    those of `fixed_points`. Points are found where c <- C(c) crosses the diagonal between 400 values of c.

    Raises InvalidInput where no variance > 0 attracts, or layers differ.

    Example:
        >>> import infgeo
        >>> below, one = infgeo.analysis.correlations(infgeo.MLP("erf", weight_std=2, bias_std=0.3))
        >>> round(below.correlation, 6), round(below.depth_scale, 3), bool(one.attracts)
        (0.405601, 10.157, False)
    """
    _require_equal(mlp)
    found = [point for point in fixed_points(mlp) if point.attracts == true and point.variance.is_positive]
    if not found or found[0].variance.free_symbols:
        raise InvalidInput(
            f"correlations of {mlp} need a variance > 0 that attracts, and numbers for its scales: see fixed_points"
        )
    point = found[0]
    functions = functions_of_depth(mlp)
    variance = functions.number(point.variance)
    roots = sign_changes(lambda gap: functions.correlation(variance, 1 - gap) - 1 + gap, -6, 0)
    roots += [-root for root in sign_changes(lambda c: functions.correlation(variance, -c) + c, -6, 0)]
    below = [
        CorrelationPoint(Float(c, functions.digits), Float(functions.correlation_slope(variance, c), functions.digits))
        for c in sorted({1 - root for root in roots if root > 0} | {root for root in roots if root < 0})
    ]
    return (*below, CorrelationPoint(Integer(1), point.chi))


def great_circles(mlp: MLP) -> tuple[Circle, ...]:
    """Return the image of a great circle |x|^2 = s of inputs after each layer: its radius, length and curvature.

    Symbolic in s and in what the network leaves symbolic. Without a closed form results hold functions that have names
    alone, and have values where s is a number, `circle.length.subs(s, 1).evalf()`; parameters must be numbers then. Of
    the preactivations of the next layer q = sigma_b^2 + sigma_w^2 `radius_squared`, and squared curvatures are divided
    by sigma_w^2.

    Raises MetricDoesNotExist where E[phi''^2] is infinite: at kinks images of curves have no curvature.

    Example:
        >>> import infgeo
        >>> circle, = infgeo.analysis.great_circles(infgeo.MLP("erf", weight_std=1, bias_std=0))
        >>> circle.length, circle.curvature_squared
        (sqrt(2)/(sqrt(pi)*(2*s + 1)**(1/4)), pi*(3*s**2 + 2*s + 1)/(2*s*sqrt(2*s + 1)))
    """
    layers: Sequence[Any] = instance(mlp, "mlp", MLP, "an infgeo.MLP").layers
    try:
        _ = [layer.dual.m for layer in mlp.with_weights]
    except NoClosedForm:
        layers = loaded("infgeo.numeric.moment_functions", "layers_of_names")(mlp)
    state, images = Circle(), []
    for layer in layers:
        state = layer.apply(state)
        images.append(state)
    return tuple(images)


def _require_equal(mlp: MLP) -> None:
    instance(mlp, "mlp", MLP, "an infgeo.MLP")
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
    kept = [(root, condition) for root in roots if (condition := _holds(root)) != false]
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


def _roots_by_scan(mlp: MLP, functions: FunctionsOfDepth) -> list[tuple[Expr, Boolean]]:
    roots = sign_changes(functions.gap, functions.lowest, functions.highest)
    found: list[tuple[Expr, Boolean]] = [(Float(root, functions.digits), true) for root in roots]
    vanishes = mlp.activation.expr.subs(mlp.activation.symbol, 0) == 0
    return [(Integer(0), true), *found] if mlp.bias_std == 0 and vanishes else found
