"""Expansions against the functions they stand for, fixed points and the edge of chaos against deep networks."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from scipy.special import ndtr

import infgeo
from infgeo import analysis
from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput, MetricDoesNotExist, NoClosedForm
from infgeo.symbolic.activations.catalogue import get
from infgeo.symbolic.analysis.functions_of_depth import functions_of_depth

z = sp.Symbol("z", real=True)
HALF = sp.Rational(1, 2)
SMOOTH = (
    "cos",
    "cube",
    "erf",
    "exp",
    "gaussian",
    "gelu",
    "probit",
    "rectified_cube",
    "scaled_erf",
    "sin",
    "square",
    "z_erf",
)
FLAT = ("abs", "identity", "leaky_relu", "rbf", "relu")


def network(name, **options):
    values = {symbol: sp.Rational(3, 10) for symbol in get(name).parameters}
    return infgeo.MLP(get(name).expr.subs(values), **options)


def value(expr, at, dimension=3):
    return mp.mpf(sp.N(expr.subs({s: at, d: dimension}), 60, maxn=3000))


@pytest.mark.parametrize("bias", [0, HALF])
@pytest.mark.parametrize("name", SMOOTH)
def test_small_norm(name, bias):
    """What is left after n terms falls like the next power: ten times closer, that many more digits."""
    metric = network(name, weight_std=sp.Rational(4, 5), bias_std=bias).metric
    expansion = analysis.small_norm(metric, terms=3)
    for exact, series in ((metric.A, expansion.A), (metric.B, expansion.B), (metric.ricci_scalar, expansion.R)):
        with mp.workdps(50):
            errors = [abs(value(exact - series, at)) for at in (sp.Rational(1, 10**8), sp.Rational(1, 10**9))]
            first = abs(value(series, sp.Rational(1, 10**8)))
            assert errors[0] <= mp.mpf("1e-16") * first
            assert errors[1] == 0 or errors[0] / errors[1] > mp.mpf("0.99")


def test_small_norm_of_deep_networks_and_kernels():
    """R(0) = d (d - 1) (B - 2 A') / A^2 does not vanish at depth 2."""
    metric = infgeo.MLP("erf", depth=2, weight_std=1, bias_std=HALF).metric
    R = analysis.small_norm(metric, terms=1).R
    assert R.subs(d, 3) != 0
    assert abs(value(metric.program.explicit("R"), sp.Rational(1, 10**12)) / value(R, 0) - 1) < mp.mpf("1e-10")
    assert analysis.small_norm(infgeo.kernels.rbf(1).metric).R == 0


@pytest.mark.parametrize(
    "layers",
    [
        ["erf", "gelu", "sin"],
        ["gaussian", "gaussian"],
        ["relu", "erf"],
    ],
    ids=str,
)
def test_small_norm_of_deep_networks_by_their_programs(layers):
    """What is left after two terms falls like the square of s."""
    metric = infgeo.MLP(layers, weight_std=1, bias_std=1).metric
    expansion = analysis.small_norm(metric, terms=2)
    for name, series in (("A", expansion.A), ("B", expansion.B), ("R", expansion.R)):
        for at, bound in ((sp.Rational(1, 10**6), mp.mpf("1e-9")), (sp.Rational(1, 10**8), mp.mpf("1e-13"))):
            exact = mp.mpf(metric.program.evaluate(name, {s: at, d: sp.Integer(3)}, 60))
            assert abs(value(series, at) / exact - 1) < bound


def test_coefficients_too_long_to_be_written_are_refused():
    metric = infgeo.MLP("gelu", depth=3, weight_std=1, bias_std=1).metric
    with pytest.raises(NoClosedForm, match="ask for fewer terms"):
        analysis.small_norm(metric, terms=4)


@pytest.mark.parametrize("name", FLAT)
def test_flat_networks_have_flat_expansions(name):
    mlp = network(name)
    assert analysis.small_norm(mlp.metric).R == analysis.large_norm(mlp).R == 0
    assert analysis.curvature_sign(mlp.metric) == analysis.CurvatureSign("zero", True)


@pytest.mark.parametrize("bias", [0, HALF])
@pytest.mark.parametrize("name", [*SMOOTH, "gabor"])
def test_large_norm(name, bias):
    """The quotient with the exact function tends to 1, at twice the distance by a factor 1.3 faster at least."""
    mlp = network(name, weight_std=sp.Rational(4, 5), bias_std=bias)
    leading = analysis.large_norm(mlp)
    exponential = name in ("cos", "exp", "sin")
    points = (sp.Integer(100), sp.Integer(200)) if exponential else (sp.Integer(10) ** 10, sp.Integer(2 * 10**10))
    for exact, term in zip((mlp.metric.A, mlp.metric.B, mlp.metric.ricci_scalar), vars(leading).values(), strict=True):
        with mp.workdps(50):
            first, second = (abs(value(exact, at) / value(term, at) - 1) for at in points)
            assert first < (0.1 if exponential else 1e-4)
            assert second <= first / 1.3 or second < mp.mpf("1e-40")


Residual, RMSNorm = infgeo.layers.Residual, infgeo.layers.RMSNorm
DEEP = {
    "erf": {"activation": "erf", "depth": 3},
    "gelu without bias": {"activation": "gelu", "depth": 2, "bias_std": 0},
    "square": {"activation": "square", "depth": 2},
    "gaussian": {"activation": "exp(-z**2)", "depth": 2},
    "growing, then saturating": {"activation": ["relu", "erf", "square"]},
    "saturating, then periodic": {"activation": ["erf", "sin"]},
    "residual": {"activation": ["erf", Residual("erf", 1, HALF)]},
    "residual that grows": {"activation": ["identity", Residual("erf")]},
    "norm": {"activation": ["erf", RMSNorm(HALF), "erf"]},
    "norm of the input": {"activation": [RMSNorm(1), "erf"]},
}


@pytest.mark.parametrize("name", DEEP)
def test_large_norm_of_deep_networks(name):
    """Against the program of the metric at two distances: the quotient tends to 1."""
    options = {"weight_std": sp.Rational(6, 5), "bias_std": sp.Rational(2, 5)} | DEEP[name]
    mlp = infgeo.MLP(**options)
    leading = analysis.large_norm(mlp)
    for letter, term in vars(leading).items():
        errors = []
        for exponent in (10, 20):
            at = {s: sp.Integer(10) ** exponent, d: sp.Integer(3)}
            errors.append(abs(term.subs(at).evalf(40) / mlp.metric_program.evaluate(letter, at, 90) - 1))
        assert errors[0] < 1e-3, letter
        assert errors[1] < 1e-4 * errors[0] or errors[1] < 1e-25, letter


def test_large_norm_with_symbols_and_of_flat_networks():
    sigma_w, sigma_b = infgeo.conventions.sigma_w, infgeo.conventions.sigma_b
    A = analysis.large_norm(infgeo.MLP("erf", depth=2)).A
    expected = 2 * sp.sqrt(2) * sigma_w**3 / (sp.pi**2 * sp.sqrt(s) * sp.sqrt(2 * sigma_b**2 + 2 * sigma_w**2 + 1))
    assert sp.simplify(A - expected) == 0
    assert analysis.large_norm(infgeo.MLP("relu", depth=3)) == analysis.Expansion(sigma_w**6 / 8, 0, 0)


@pytest.mark.parametrize("metric_or_mlp", ["depth", "cusp"])
def test_what_has_no_expansion_says_so(metric_or_mlp):
    if metric_or_mlp == "depth":
        with pytest.raises(NoClosedForm, match=r"B of this network .* decays faster than every power"):
            analysis.large_norm(infgeo.MLP("sin", depth=2, weight_std=1, bias_std=0))
        with pytest.raises(NoClosedForm, match="an exponential grows faster"):
            analysis.large_norm(infgeo.MLP("exp", depth=2))
    else:
        metric = infgeo.RadialMetric.from_functions(1 + sp.sqrt(s), sp.Integer(0))
        with pytest.raises(NoClosedForm, match="no power series"):
            analysis.small_norm(metric)
    with pytest.raises(InvalidInput, match="terms is 0"):
        analysis.small_norm(infgeo.MLP("erf").metric, 0)


SIGNS = [("erf", {}, None, "negative", True), ("exp", {}, None, "negative", True)]
SIGNS += [("gelu", {"weight_std": 1, "bias_std": 1}, 2, "mixed", False)]
SIGNS += [("square", {"weight_std": 1, "bias_std": 0}, 2, "zero", True)]


@pytest.mark.parametrize(("name", "options", "dimension", "sign", "proved"), SIGNS)
def test_sign_of_the_curvature(name, options, dimension, sign, proved):
    mlp = infgeo.MLP(name, **options)
    found = analysis.curvature_sign(mlp.metric, dimension)
    assert (found.sign, found.proved) == (sign, proved)
    geo = mlp.numeric()
    radii = np.sqrt(np.geomspace(1e-6, 1e3, 300) if name != "exp" else np.geomspace(1e-6, 10, 300))
    R = geo.ricci_scalar(radii[:, None] * np.eye(dimension or 4)[0])
    changes = int(np.sum(np.diff(np.sign(R)) != 0))
    assert changes == len(found.changes)
    for root in found.changes:
        around = geo.ricci_scalar(np.sqrt(root * np.array([[0.999], [1.001]])) * np.eye(dimension)[0])
        assert around[0] * around[1] < 0


def test_symbols_that_leave_the_sign_open():
    assert analysis.curvature_sign(infgeo.MLP("square").metric).sign == "undecided"
    with pytest.raises(InvalidInput, match="a line has no curvature"):
        analysis.curvature_sign(infgeo.MLP("erf").metric, 1)


NUMBERS = [
    ("erf", HALF, HALF),
    ("relu", 1, 1),
    ("identity", HALF, 1),
    ("hermite_2", HALF, sp.Rational(1, 4)),
]


@pytest.mark.parametrize(("name", "weight", "bias"), NUMBERS)
def test_deep_networks_arrive_at_an_attracting_fixed_point(name, weight, bias):
    points = analysis.fixed_points(infgeo.MLP(name, weight_std=weight, bias_std=bias))
    attracting = [point for point in points if point.attracts]
    assert len(attracting) == 1
    point = attracting[0]
    x = np.sqrt((float(point.variance) * 1.01 - float(bias) ** 2) / float(weight) ** 2) * np.array([1.0, 0.0])
    deep, deeper = (infgeo.MLP(name, depth=n, weight_std=weight, bias_std=bias).numeric() for n in (30, 31))
    reached = float(bias) ** 2 + float(weight) ** 2 * deep.kernel_diag(x)
    assert abs(reached - float(point.variance)) < 1e-5 * float(point.variance)
    # Across x the metric is multiplied by chi.
    growth = deeper.metric(x)[1, 1] / deep.metric(x)[1, 1]
    assert abs(growth - float(point.chi)) < 1e-5 * float(point.chi)
    assert point.phase == ("chaotic" if growth > 1 else "ordered")
    assert abs(float(point.depth_scale) * abs(np.log(growth)) - 1) < 1e-3


def test_fixed_points_in_closed_form():
    (point,) = analysis.fixed_points(infgeo.MLP("relu"))
    sigma_w, sigma_b = infgeo.MLP("relu").weight_std, infgeo.MLP("relu").bias_std
    assert sp.simplify(point.variance - sigma_b**2 / (1 - sigma_w**2 / 2)) == 0
    assert point.condition.subs(sigma_w, 1) == sp.true
    assert point.condition.subs(sigma_w, 2) == sp.false
    assert point.chi == sigma_w**2 / 2
    # v = sigma_b^2 + 3 sigma_w^2 v^2 has two roots, or none.
    square = analysis.fixed_points(infgeo.MLP("square"))
    assert [sp.simplify(root.variance * 6 * sigma_w**2 - 1) ** 2 for root in square] == [
        sp.simplify(1 - 12 * sigma_b**2 * sigma_w**2)
    ] * 2 or len(square) == 2
    assert not analysis.fixed_points(infgeo.MLP("square", weight_std=1, bias_std=1))


def test_all_fixed_points_are_found():
    """v = v^3/3 ... has three for z + z^3 at small scales: 0 and one that repels; sigma_b = 0 keeps 0."""
    points = analysis.fixed_points(infgeo.MLP("cube", weight_std=HALF, bias_std=0))
    assert [bool(point.attracts) for point in points] == [True, False]
    assert points[0].variance == 0
    assert abs(points[1].variance - 1 / sp.sqrt(15 * HALF**2)) < sp.Float("1e-25", 30)
    (origin,) = analysis.fixed_points(infgeo.MLP("erf", weight_std=1, bias_std=0))
    assert (origin.variance, origin.phase) == (0, "ordered")
    assert sp.simplify(origin.chi - 2 / sp.pi) == 0


@pytest.mark.parametrize("name", ["erf", "gelu", "gaussian", "sin", "probit", "relu"])
def test_edge_of_chaos(name):
    """On the curve the variance stays and so does the metric across x, layer by layer."""
    curve = analysis.edge_of_chaos(name)
    at = next(x for x in (sp.Rational(1, 2), 1, 2, 5, 100) if curve.bias_variance.subs(v, x) >= 0)
    weight, bias = curve.at(at)
    mlp = infgeo.MLP(name, weight_std=sp.sqrt(weight), bias_std=sp.sqrt(bias))
    chi = weight * mlp.dual.m0.subs(v, at)
    assert abs(sp.N(chi - 1, 30)) < sp.Float("1e-25", 30)
    assert abs(sp.N(bias + weight * mlp.dual.m.subs(v, at) - at, 30)) < sp.Float("1e-25", 30)
    x = np.sqrt(float((at - bias) / weight)) * np.array([1.0, 0.0])
    shallow, deep = (
        infgeo.MLP(name, depth=n).numeric(float(sp.sqrt(weight)), float(sp.sqrt(bias))).metric(x)[1, 1] for n in (1, 9)
    )
    assert abs(deep / shallow - 1) < 1e-9


def test_edge_of_chaos_of_erf_as_by_hand():
    curve = analysis.edge_of_chaos("erf")
    assert sp.simplify(curve.weight_variance - sp.pi / 2 * sp.sqrt(1 + 2 * v)) == 0
    by_hand = v - sp.sqrt(1 + 2 * v) * sp.asin(v / (1 + v))
    for at in (sp.Rational(1, 3), 4):
        assert abs(sp.N((curve.bias_variance - by_hand).subs(v, at), 40)) < sp.Float("1e-30", 40)
    relu = analysis.edge_of_chaos("relu")
    assert (relu.weight_variance, relu.bias_variance) == (2, 0)


def test_points_off_the_curve_and_jumps_are_refused():
    with pytest.raises(InvalidInput, match=r"sigma_b\^2 = .* < 0"):
        analysis.edge_of_chaos("probit").at(1)
    with pytest.raises(MetricDoesNotExist):
        analysis.edge_of_chaos("step")
    with pytest.raises(InvalidInput, match="give numbers for sigma_b, sigma_w"):
        analysis.fixed_points(infgeo.MLP("erf"))
    with pytest.raises(InvalidInput, match="layers that differ"):
        analysis.fixed_points(infgeo.MLP(["erf", "relu"]))
    with pytest.raises(InvalidInput, match="every variance is a fixed point"):
        analysis.fixed_points(infgeo.MLP("relu", weight_std=sp.sqrt(2), bias_std=0))


def test_correlations_of_kinks_away_from_0():
    """The kernel of hard tanh holds bivariate normal distributions: E[phi(v) | u] is an integral of P(v > y | u)."""
    kernel = functions_of_depth(infgeo.MLP("hardtanh", weight_std=3, bias_std=HALF)).kernel
    nodes, weights = np.polynomial.legendre.leggauss(60)
    outside = 8 + 7 * nodes  # from 1 to 15, in units of which u has the deviation 2
    u, mass = np.concatenate([-outside, nodes, outside]), np.concatenate([7 * weights, weights, 7 * weights])
    mass = mass * np.exp(-(u**2) / 8) / np.sqrt(8 * np.pi)
    for correlation in (0.3, -0.9):
        spread = 2 * np.sqrt(1 - correlation**2)
        given = ndtr((correlation * u[:, None] - nodes) / spread) @ weights - 1
        expected = mass @ (np.clip(u, -1, 1) * given)
        assert float(kernel(mp.mpf(4), mp.mpf(4 * correlation))) == pytest.approx(expected, rel=1e-10)
    opposite = -(mass @ np.clip(u, -1, 1) ** 2)
    assert float(kernel(mp.mpf(4), mp.mpf(-4))) == pytest.approx(opposite, rel=1e-10)


def test_curvature_that_oscillates_at_large_norm_has_no_leading_term():
    with pytest.raises(NoClosedForm, match="no expansion at large variance"):
        analysis.large_norm(infgeo.MLP("exp(z)*sin(z)", weight_std=1, bias_std=0))
