"""Verdicts on existence: leading orders against the kernels, singular sets, domains, one and two dimensions."""

from __future__ import annotations

import pickle

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo import kernels
from infgeo.conventions import d, s, s_x, s_y, xy
from infgeo.errors import MetricDoesNotExist
from infgeo.symbolic.activations.catalogue import get
from infgeo.symbolic.algebra.conditions import in_words
from infgeo.symbolic.networks.existence import leading_distance
from tests.oracle import as_function, moment

LayerNorm, Residual, RMSNorm = infgeo.layers.LayerNorm, infgeo.layers.Residual, infgeo.layers.RMSNorm
z = sp.Symbol("z", real=True)
THIRD = sp.Rational(1, 3)
SCALES = {"weight_std": sp.Rational(4, 5), "bias_std": sp.Rational(3, 5)}
AT = sp.Rational(6, 5)  # |x|^2


def squared_distance(expr, gap, along):
    """|Phi(x) - Phi(y)|^2 at |x|^2 = 6/5 and |x - y| = gap, a mpf of the working precision."""
    k = sp.lambdify((s_x, s_y, xy), expr, "mpmath")
    here = mp.mpf(6) / 5
    r = mp.sqrt(here)
    norm, product = ((r + gap) ** 2, r * (r + gap)) if along else (here + gap**2, here)
    return mp.re(k(here, here, here) + k(norm, norm, norm) - 2 * k(here, norm, product))


CASES = [
    ("step", False, {}, 1),
    ("sign", False, {"depth": 2}, sp.Rational(1, 2)),
    ("step", False, {"depth": 3}, sp.Rational(1, 4)),
    (["erf", "step"], False, {}, 1),
    (["step", "erf"], False, {}, 1),
    (["step", "relu", "sign"], False, {}, sp.Rational(1, 2)),
    (["erf", Residual("step", skip=THIRD, branch=2)], False, {}, 1),
    ([RMSNorm(THIRD), "step", RMSNorm(THIRD), "gelu"], False, {}, 1),
    (sp.exp(-(z**2)) * sp.sign(z) + z, False, {}, 1),
    ("relu", True, {}, 1),
    ("abs", True, {"depth": 2}, 1),
    ("relu", True, {"depth": 3}, 1),
    (["erf", "relu"], True, {}, 1),
    (["relu", "erf"], True, {}, 1),
    (["identity", Residual("relu", skip=THIRD, branch=2), RMSNorm(THIRD)], True, {}, 1),
]


@pytest.mark.parametrize(("activation", "tangent", "options", "exponent"), CASES, ids=str)
def test_leading_order_is_that_of_the_kernel(activation, tangent, options, exponent):
    mlp = infgeo.MLP(activation, **SCALES, **options)
    kernel = mlp.ntk if tangent else mlp.kernel
    with pytest.raises(MetricDoesNotExist, match="jump") as caught:
        kernel.metric  # noqa: B018
    leading = caught.value.divergence
    assert leading.exponent == exponent
    assert pickle.loads(pickle.dumps(caught.value)).divergence == leading
    with mp.workdps(700):
        gap = mp.mpf(10) ** -100
        for coefficient, along in ((leading.across, False), (leading.along, True)):
            value = mp.mpf(sp.N(coefficient.subs({s: AT, d: 2}), 50))
            distance = squared_distance(kernel.expr.subs(d, 2), gap, along)
            assert value > 0
            # The next order is higher by gap^(1/4) at least.
            power = gap ** mp.mpf(float(exponent))  # a power of 1/2: exact
            assert abs(distance / power / value - 1) < mp.mpf(10) ** -20


@pytest.mark.parametrize("tangent", [False, True])
def test_leading_order_where_there_is_a_metric(tangent):
    mlp = infgeo.MLP(["erf", Residual("gelu", skip=THIRD), RMSNorm(THIRD)], **SCALES)
    leading, metric = leading_distance(mlp.layers, tangent=tangent), (mlp.ntk if tangent else mlp.kernel).metric
    assert leading.exponent == 2
    for ours, theirs in ((leading.across, metric.A), (leading.along, metric.h)):
        assert abs(sp.N((ours - theirs).subs(s, AT), 40)) < sp.Float("1e-30")


def test_homogeneous_features_do_not_separate_along_x():
    for name, tangent in (("sign", False), ("abs", True)):
        mlp = infgeo.MLP(name, bias_std=0)
        with pytest.raises(MetricDoesNotExist) as caught:
            (mlp.ntk if tangent else mlp.kernel).metric  # noqa: B018
        assert caught.value.divergence.along == 0


def test_jumps_have_no_tangent_kernel():
    with pytest.raises(MetricDoesNotExist, match=r"E\[phi'\(u\)\^2\] is infinite"):
        infgeo.MLP(["erf", "step"]).ntk.metric  # noqa: B018


BOTH = "s = 0 and sigma_b = 0"
SMOOTH_VANISHING = ("cos", "cube", "gabor", "gaussian", "scaled_gaussian", "square", "z_erf")
VANISHING = (*SMOOTH_VANISHING, "rectified_cube", "rectified_square")
REGULAR = ("abs", "erf", "exp", "gelu", "identity", "leaky_relu", "probit", "relu", "scaled_erf", "sin")


@pytest.mark.parametrize("name", [*VANISHING, *REGULAR])
def test_singular_set(name):
    values = {symbol: sp.Rational(3, 10) for symbol in get(name).parameters}
    for depth in (1, 2):
        metric = infgeo.MLP(get(name).expr.subs(values), depth=depth).metric
        assert in_words(metric.singular_set) == (BOTH if name in VANISHING else "False")
    # Against the one thing it says: that E[phi'^2] falls to 0 with the variance, or does not.
    slope = as_function(sp.diff(get(name).expr.subs(values), z), z, "mpmath")
    if name not in ("abs", "relu", "leaky_relu"):
        assert (moment(lambda t: slope(t) ** 2, 1e-8) < 1e-6) == (name in VANISHING)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["erf", "square"], BOTH),
        (["square", Residual("erf")], BOTH),
        (["identity", Residual("square")], "False"),
        (["cos", "sin"], BOTH),
        # cos(0) = 1 gives the second layer a variance of its own, but the first has flattened its features.
        (["cos", "square"], BOTH),
        (["erf", RMSNorm(), "erf"], BOTH),
        (["erf", RMSNorm(1), "erf"], "False"),
        # The branch alone keeps the features from vanishing, and with them the slope of the square.
        (["erf", Residual("cos"), "square"], "False"),
    ],
    ids=str,
)
def test_singular_sets_of_layers(layers, words):
    assert in_words(infgeo.MLP(layers).metric.singular_set) == words


@pytest.mark.parametrize(("first_bias", "words"), [(0, "s = 0"), (1, "False")])
def test_equal_units_vanish_once_they_are_centred(first_bias, words):
    """exp(0) = 1 does not vanish; less its mean it is 0 in every unit, where the square has no slope."""
    mlp = infgeo.MLP(["exp", LayerNorm(1), "square"], weight_std=1, bias_std=[first_bias, 0])
    assert in_words(mlp.metric.singular_set) == words


def test_singular_sets_of_kernels():
    t = sp.Symbol("xy", real=True)
    assert in_words(kernels.polynomial(2).metric.singular_set) == "s = 0 and offset = 0"
    assert kernels.rbf(1).metric.singular_set is sp.false
    assert in_words(kernels.arc_cosine(2).metric.singular_set) == "s = 0"
    # A = 2 (s - 1)^2 degenerates on a sphere.
    metric = infgeo.RadialMetric.from_functions((s - 1) ** 2, sp.Integer(1))
    assert metric.singular_set == sp.Eq(s, 1)
    assert infgeo.Kernel(t + t**2).metric.singular_set is sp.false


def test_a_parameter_can_flatten_the_origin():
    amplitude, frequency, phase = get("sinusoid").parameters
    condition = infgeo.MLP("sinusoid", bias_std=0).metric.singular_set
    assert condition == sp.And(sp.Eq(s, 0), sp.Eq(amplitude * frequency * sp.cos(phase), 0))


@pytest.mark.parametrize("backend", ["numpy", "torch", "mpmath"])
@pytest.mark.parametrize("depth", [1, 2])
def test_numbers_at_a_singular_point(backend, depth):
    """Metric and volume 0, its logarithm -inf, no curvature; regular points beside it are not touched."""
    torch = pytest.importorskip("torch")
    points = [[0.0, 0.0], [0.5, 0.1]]
    X = {"numpy": np.array, "torch": torch.DoubleTensor, "mpmath": list}[backend](points)
    geo = infgeo.MLP("square", depth=depth).numeric(1.0, 0.0, backend=backend)
    reference = infgeo.MLP("square", depth=depth).numeric(1.0, 0.0)
    other = np.array(points[1])
    assert not np.any(np.array(geo.metric(X)[0].tolist(), dtype=float))
    assert np.allclose(np.array(geo.metric(X)[1].tolist(), dtype=float), reference.metric(other), rtol=1e-6)
    for name, at_origin in (("volume_element", 0.0), ("log_volume_element", -np.inf), ("ricci_scalar", np.nan)):
        values = [float(value) for value in getattr(geo, name)(X)]
        assert np.array_equal(values[0], at_origin, equal_nan=True)
        assert np.isclose(values[1], getattr(reference, name)(other), rtol=1e-6, atol=1e-12)
    assert not np.isnan(float(infgeo.MLP("square", depth=depth).numeric(1.0, 0.1).ricci_scalar(np.zeros(2))))


def test_domain():
    growing = infgeo.MLP(sp.exp(z**2))
    v = growing.bias_std**2 + growing.weight_std**2 * s
    assert growing.domain == (v < sp.Rational(1, 4))
    assert growing.metric.domain == growing.domain
    assert "finite where" in str(growing.metric)
    assert "finite where s_x*sigma_w**2 + sigma_b**2 < 1/4" in growing.kernel.assumptions
    assert infgeo.MLP("erf").domain is sp.true
    # E[phi^2] = (1 - 4 v)^(-1/2) is what diverges there.
    assert growing.dual.m.subs(growing.dual.m.free_symbols.pop(), sp.Rational(1, 4)) is sp.zoo
    assert infgeo.MLP([sp.exp(-(z**2)), sp.exp(z**2)], weight_std=1, bias_std=THIRD).domain != sp.true


@pytest.mark.parametrize(
    ("layers", "options", "boundary"),
    [
        # E[exp(2 a z^2)] is finite for variances below 1/(4 a): 2 for a = 1/8, 4 for a = 1/16.
        (["exp(z**2/8)"], {}, 1),  # 1 + s = 2
        (["exp(z**2/8)"], {"input_scale": "fan_in"}, 4),  # 1 + s/4 = 2
        ([RMSNorm(1), "exp(z**2/8)"], {}, sp.Rational(4, 3)),  # 1 + 4 s/(s + 4) = 2
        ([RMSNorm(1), "exp(z**2/8)"], {"weight_std": sp.sqrt(2), "input_scale": "fan_in"}, 4),  # 1 + 2 s/(s + 4) = 2
        (["identity", RMSNorm(2), "exp(z**2/8)"], {"weight_std": [1, sp.Rational(6, 5)]}, sp.Rational(39, 11)),
        # The second bounds more than the first does, 1 + (1 - v/2)^(-1/2) = 4.
        (["exp(z**2/8)", "exp(z**2/16)"], {}, sp.Rational(7, 9)),
        # f = s/2 - s/(2 pi) without the mean, and f/(f + 1) = 1/2.
        (["relu", LayerNorm(1), "exp(z**2/2)"], {"bias_std": 0}, 2 * sp.pi / (sp.pi - 1)),
        (
            ["identity", Residual("identity", skip=2, branch=3), "exp(z**2/8)"],
            {"bias_std": [0, 0, 1]},
            sp.Rational(1, 13),
        ),
    ],
    ids=str,
)
def test_domain_of_layers(layers, options, boundary):
    """At d = 4, with the boundary by hand."""
    domain = infgeo.MLP(layers, **{"weight_std": 1, "bias_std": 1, **options}).domain.subs(d, 4)
    for side in (sp.Rational(99, 100), sp.Rational(101, 100)):
        assert bool(domain.subs(s, boundary * side)) == (side < 1)


def test_domain_of_a_growth_of_unknown_sign():
    a = sp.Symbol("a", real=True)
    domain = infgeo.MLP(sp.exp(a * z**2), variable=z, weight_std=1, bias_std=1).domain
    for value, inside in ((sp.Rational(1, 8), 1), (sp.Rational(1, 16), 3)):
        at = domain.subs(a, value)
        assert at.subs(s, inside * sp.Rational(99, 100)) == sp.true
        assert at.subs(s, inside * sp.Rational(101, 100)) == sp.false
    assert domain.subs({a: -1, s: 1000}) == sp.true


@pytest.mark.parametrize(("a", "raises"), [(0.5, False), (-0.1, False), (-0.3, True)])
def test_growth_of_unknown_sign_is_decided_by_its_value(a, raises):
    """E[exp(-2 a z^2)] at variance 1 is finite for a > -1/4."""
    scale = sp.Symbol("a", real=True)
    geo = infgeo.MLP(sp.exp(-scale * z**2), variable=z).numeric(1.0, 0.0, a=a)
    x = np.array([[1.0, 0.0]])
    if raises:
        with pytest.raises(infgeo.errors.ExpectationDiverges, match=r"variance 0\.8333"):
            geo.kernel_diag(x)
    else:
        assert np.isclose(geo.kernel_diag(x), 1 / np.sqrt(1 + 4 * a))


SMOOTH = [name for name in infgeo.activations.available() if name in {*VANISHING, *REGULAR, "rbf", "sinusoid"}]


@pytest.mark.parametrize("name", SMOOTH)
def test_one_and_two_dimensions(name):
    """In polar coordinates g = h dr^2 + rho^2 dangle^2, and K = -(rho'/sqrt(h))' / (rho sqrt(h)); a line is flat."""
    values = {symbol: sp.Rational(3, 10) for symbol in get(name).parameters}
    metric = infgeo.MLP(get(name).expr.subs(values), **SCALES).metric
    assert metric.ricci_scalar.subs(d, 1) == 0
    A, h = (sp.lambdify(s, part, "mpmath") for part in (metric.A, metric.A + s * metric.B))
    with mp.workdps(40):
        r = mp.sqrt(mp.mpf("0.7"))

        def turning(r):
            return mp.diff(lambda t: t * mp.sqrt(A(t**2)), r) / mp.sqrt(h(r**2))

        K = -mp.diff(turning, r) / (r * mp.sqrt(A(r**2) * h(r**2)))
        R = mp.mpf(sp.N(metric.ricci_scalar.subs({d: 2, s: sp.Rational(7, 10)}), 30))
        assert abs(R - 2 * K) < mp.mpf("1e-15") * (1 + abs(R))
        volume = mp.mpf(sp.N(metric.volume_element.subs({d: 1, s: sp.Rational(7, 10)}), 30))
        assert abs(volume - mp.sqrt(h(mp.mpf("0.7")))) < mp.mpf("1e-25")
    geo = infgeo.MLP(get(name).expr.subs(values), **SCALES).numeric()
    line = np.array([[0.7], [-2.0]])
    assert np.allclose(geo.metric(line)[:, 0, 0], [float(h(x**2)) for x in line[:, 0]], rtol=1e-12)
    assert not np.any(geo.ricci_scalar(line))


@pytest.mark.parametrize(
    ("text", "phi"),
    [
        ("abs(z)**(1/4)", lambda t: np.abs(t) ** 0.25),
        ("sign(z)*abs(z)**(1/3)", np.cbrt),
        ("relu(z)**(2/5) - z", lambda t: np.maximum(t, 0) ** 0.4 - t),
    ],
)
def test_leading_order_of_what_is_too_steep_at_zero(text, phi):
    with pytest.raises(MetricDoesNotExist, match="grows like") as caught:
        _ = infgeo.MLP(text, weight_std=1, bias_std=1).metric
    leading = caught.value.divergence
    step = 1e-7
    # Across x both variances are 2 at |x| = 1: u - v = step N, and (u + v)/2 is independent of it.
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    t = np.concatenate([np.linspace(-20, 20, 40_001), np.geomspace(20, 3 / step, 20_001)])
    t = np.unique(np.concatenate([t, -t]))

    def at(gap):
        difference = phi(gap * (t + 0.5)) - phi(gap * (t - 0.5))
        return np.trapezoid(difference**2 * np.exp(-((gap * t) ** 2) / 4), gap * t) / np.sqrt(4 * np.pi)

    value = sum(w * at(abs(x) * step) for x, w in zip(nodes, weights, strict=True)) / np.sqrt(2 * np.pi)
    expected = float(leading.across.subs(s, 1)) * step ** float(leading.exponent)
    assert value == pytest.approx(expected, rel=0.01)


def test_leading_order_where_the_second_moment_is_not_elementary():
    with pytest.raises(MetricDoesNotExist, match=r"grows like \|z\|\^\(1/4\)"):
        _ = infgeo.MLP("relu(z)**(1/4) + sin(z)").metric
    with pytest.raises(MetricDoesNotExist, match=r"log\(1/\|x - y\|\)"):
        _ = infgeo.MLP("sqrt(abs(z))").metric
