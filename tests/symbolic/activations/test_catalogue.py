"""Every entry of the catalogue: its kernel against quadrature, its metric against the kernel, or a verdict."""

import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import Delta, c, p, q, s, s_x, s_y, xy, z
from infgeo.errors import InvalidInput, MetricDoesNotExist, NoClosedForm
from infgeo.symbolic.activations.catalogue import get
from tests.oracle import as_function, pair_moment

NUMERIC_ONLY = ("gelu_tanh", "logsigmoid", "mish", "sigmoid", "silu", "softplus", "softsign", "tanh", "tanhshrink")
MIXTURES = ("logsigmoid", "sigmoid", "silu", "softplus", "tanh", "tanhshrink")
JUMPS = ("hardshrink", "sign", "step")
CLOSED = [name for name in infgeo.activations.available() if name not in NUMERIC_ONLY]
KINKED = ("abs", "leaky_relu", "relu")
# Kernels with the bivariate normal distribution have 0/0 at coincidence.
PIECES = ("elu", "hardsigmoid", "hardswish", "hardtanh", "relu6", "selu", "softshrink")
NAMES = ("alpha", "amplitude", "frequency", "gamma", "phase", "scale")
VALUES = dict.fromkeys(NAMES, 0.3)
X = np.array([[0.5, -1.0], [1.2, 0.3], [-0.4, 0.2], [0.0, 0.0]])


def parameters(name):
    return {symbol.name: VALUES[symbol.name] for symbol in get(name).parameters}


def network(name, **scales):
    values = {symbol: sp.Rational(3, 10) for symbol in get(name).parameters}
    return infgeo.MLP(get(name).expr.subs(values), **scales)


@pytest.mark.parametrize("name", CLOSED)
def test_kernel_against_quadrature(name):
    gram = infgeo.MLP(name).numeric(0.8, 0.6, **parameters(name)).kernel(X)
    phi = as_function(network(name).activation.expr, z)
    pre = 0.36 + 0.64 * X @ X.T
    for i in range(len(X)):
        for j in range(i):
            kinks = [float(kink) for kink in get(name).kinks if not kink.free_symbols] or [0.0]
            exact = pair_moment(phi, phi, pre[i, i], pre[j, j], pre[i, j], kinks)
            assert abs(gram[i, j] - exact) < 1e-13 * (1 + abs(exact))


@pytest.mark.parametrize("name", [name for name in CLOSED if name not in (*JUMPS, *KINKED, *PIECES)])
def test_metric_is_the_mixed_derivative_of_the_kernel(name):
    mlp = network(name, weight_std=sp.Rational(4, 5), bias_std=sp.Rational(3, 5))
    k = mlp.kernel.expr
    slope = k.diff(xy)
    bend = slope.diff(xy) + 2 * slope.diff(s_x) + 2 * slope.diff(s_y) + 4 * k.diff(s_x, s_y)
    # A little off coincidence, where the roots of kinked powers have their limit: x and y of equal norm.
    gap = sp.Rational(1, 10**12) if "rectified" in name else 0
    at = {s_x: sp.Rational(6, 5), s_y: sp.Rational(6, 5), xy: sp.Rational(6, 5) - gap}
    for fast, slow in ((mlp.metric.A, slope), (mlp.metric.B, bend)):
        difference = sp.N(fast.subs(s, sp.Rational(6, 5)), 40) - sp.N(slow.subs(at), 40)
        assert abs(difference) < (sp.Float("1e-4", 10) if gap else sp.Float("1e-30", 10))


@pytest.mark.parametrize("name", CLOSED)
def test_float_metric_against_the_symbolic_one(name):
    if name in JUMPS:
        with pytest.raises(MetricDoesNotExist, match="jump"):
            infgeo.MLP(name).metric  # noqa: B018
        return
    mlp = network(name, weight_std=sp.Rational(4, 5), bias_std=sp.Rational(3, 5))
    geo = infgeo.MLP(name).numeric(0.8, 0.6, **parameters(name))
    for x in X:
        here = sp.Rational(float(x @ x))
        A, B, R = (
            float(sp.N(part.subs({s: here, sp.Symbol("d", integer=True, positive=True): 2}), 30))
            for part in (mlp.metric.A, mlp.metric.B, mlp.metric.ricci_scalar)
        )
        assert np.allclose(geo.metric(x), A * np.eye(2) + B * np.outer(x, x), rtol=1e-13, atol=0)
        assert abs(geo.ricci_scalar(x) - R) < 1e-12 * (1 + abs(R))


@pytest.mark.parametrize("name", NUMERIC_ONLY)
def test_entries_without_a_closed_form_say_so(name):
    with pytest.raises(NoClosedForm):
        infgeo.MLP(name).kernel  # noqa: B018
    assert infgeo.MLP(name).numeric().method == ("mixture" if name in MIXTURES else "quadrature")


@pytest.mark.parametrize(
    ("name", "degree"),
    [("relu", 1), ("leaky_relu", 1), ("square", 2), ("rectified_cube", 3), ("step", 0), ("sign", 0), ("gelu", None)],
)
def test_homogeneity_is_derived(name, degree):
    assert get(name).homogeneity == degree


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_hermite_polynomials_are_orthonormal(degree):
    """E[He_n(u) He_n(v)] / n! = c^n at unit variances (Mehler)."""
    dual = infgeo.MLP(f"hermite_{degree}").dual
    assert sp.expand(dual.kernel.subs({p: 1, q: 1, Delta: 1 - c**2}) - c**degree) == 0


def test_rbf_features_have_the_rbf_kernel():
    kernel = infgeo.MLP("rbf", weight_std=1, bias_std=0).kernel.expr
    gamma = get("rbf").parameters[0]
    assert sp.simplify(kernel - sp.exp(-gamma * (s_x + s_y - 2 * xy))) == 0
    assert infgeo.MLP("rbf").metric.is_flat


SAME = [("rectified_power_0", "step"), ("rectified_power_1", "relu"), ("rectified_power_3", "rectified_cube")]


@pytest.mark.parametrize(("family", "entry"), [*SAME, ("power_2", "square")])
def test_families_contain_the_entries(family, entry):
    assert sp.simplify(get(family).expr - get(entry).expr) == 0


@pytest.mark.parametrize("name", ["hermite_0", "hermite_21", "power_99999999999999999999"])
def test_numbers_of_families_are_bounded(name):
    with pytest.raises(InvalidInput, match="the number must be from"):
        get(name)


def test_parameters_are_held_to_their_domain():
    with pytest.raises(InvalidInput, match=r"gamma = -1\.0 must be finite and > 0"):
        infgeo.MLP("rbf").numeric(gamma=-1.0)


def test_entries_can_be_simulated():
    """torch evaluates what SymPy holds, closed form or not."""
    for name in infgeo.activations.available():
        net = infgeo.finite.sample_network(infgeo.MLP(name), 2, 5, 0, parameters=parameters(name))
        assert net(__import__("torch").tensor(X)).shape == (4, 5)


SMOOTHNESS = {"step": -1, "sign": -1, "relu": 0, "abs": 0, "leaky_relu": 0, "elu": 1, "rectified_square": 1}
SMOOTHNESS |= {"rectified_cube": 2, "rectified_power_5": 4, "hardshrink": -1, "selu": 0, "softsign": 1}
SMOOTHNESS |= dict.fromkeys(("hardsigmoid", "hardswish", "hardtanh", "relu6", "softshrink"), 0)
PLACES = {"hardsigmoid": (-3, 3), "hardswish": (-3, 3), "hardtanh": (-1, 1), "relu6": (0, 6)}
PLACES |= dict.fromkeys(("hardshrink", "softshrink"), (-sp.Rational(1, 2), sp.Rational(1, 2)))
EVEN = ("abs", "cos", "gabor", "gaussian", "scaled_gaussian", "square", "z_erf")
ODD = (
    "cube",
    "erf",
    "hardshrink",
    "hardtanh",
    "identity",
    "scaled_erf",
    "sign",
    "sin",
    "softshrink",
    "softsign",
    "tanh",
)
ODD += ("tanhshrink",)


@pytest.mark.parametrize("name", [*infgeo.activations.available(), "rectified_power_5", "hermite_3"])
def test_kinks_and_parity_are_derived(name):
    entry = get(name)
    assert entry.smoothness == SMOOTHNESS.get(name, sp.oo)
    assert entry.kinks == PLACES.get(name, (0,) if name in SMOOTHNESS else ())
    assert entry.parity == ("even" if name in EVEN else "odd" if name in (*ODD, "hermite_3") else None)
    # By numbers: the activation on both sides of 0.
    values = {symbol: sp.Rational(3, 10) for symbol in entry.parameters}
    right, left = (sp.N(entry.expr.subs(values).subs(z, x)) for x in (sp.Rational(7, 5), -sp.Rational(7, 5)))
    assert (abs(right - left) < 1e-12) == (entry.parity == "even")
    assert (abs(right + left) < 1e-12) == (entry.parity == "odd")
