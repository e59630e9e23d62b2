"""The quadrature route against the closed forms, and against mpmath where there are none."""

import subprocess
import sys
from contextlib import nullcontext

import jax
import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo.conventions import z
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NoClosedForm, NotConverged
from infgeo.numeric.geometry import laws_of
from infgeo.numeric.quadrature import gaussian_rules
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.numeric.runtime import normal_mean
from infgeo.symbolic.networks.layers import Residual, RMSNorm

X = np.array([[0.6, 0.8], [0.1, -0.2], [3.0, 4.0], [0.6, 0.80001], [-0.6, -0.8]])
NETWORKS = {
    "erf": infgeo.MLP("erf"),
    "erf 3": infgeo.MLP("erf", depth=3),
    "gelu 2": infgeo.MLP("gelu", depth=2),
    "relu 2": infgeo.MLP("relu", depth=2),
    "sin 2": infgeo.MLP("sin", depth=2),
    "gaussian": infgeo.MLP("gaussian"),
    "cube": infgeo.MLP("cube"),
    "leaky": infgeo.MLP(sp.Piecewise((z, z > 0), (sp.Symbol("alpha") * z, True))),
    "layers": infgeo.MLP(["erf", Residual("relu", branch=0.5), RMSNorm(0.3)]),
}
QUANTITIES = ["kernel", "ntk", "kernel_diag", "kernel_distance", "metric", "volume_element", "ricci_scalar"]


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", NETWORKS)
def test_against_the_closed_form(name, quantity):
    own = {"alpha": 0.2} if name == "leaky" else {}
    by_rules = NETWORKS[name].numeric(1.1, 0.5, method="quadrature", **own)
    closed = getattr(NETWORKS[name].numeric(1.1, 0.5, **own), quantity)(X)
    value = getattr(by_rules, quantity)(X)
    # Flat metrics have R = 0: then to rounding.
    assert np.abs(value - closed).max() <= 1e-9 * np.abs(closed).max() + 1e-13


@pytest.mark.parametrize("radius", [1e-3, 1e-1, 30.0, 1e3, 1e4])
def test_small_and_large_radii(radius):
    x = np.array([0.6, 0.8]) * radius
    by_rules, closed = (infgeo.MLP("erf").numeric(1.0, 0.5, method=m) for m in ("quadrature", "closed_form"))
    for quantity in ("metric", "ricci_scalar", "log_volume_element"):
        value, exact = (getattr(geo, quantity)(x) for geo in (by_rules, closed))
        size = np.abs(exact).max() + (4 / np.linalg.norm(closed.metric(x)) if quantity == "ricci_scalar" else 0)
        assert np.abs(value - exact).max() <= 1e-9 * size


@pytest.mark.parametrize("radius", [1.0, 3.0, 5.0])
def test_what_grows_is_followed_into_the_tails(radius):
    """Of sinh(z) most of E[phi^2] is where the density is small: at 2 sqrt(v) standard deviations."""
    x = np.array([[radius, 0.0], [0.3, 0.9 * radius]])
    by_rules, closed = (infgeo.MLP("sinh(z)").numeric(1.0, 0.5, method=m) for m in ("quadrature", "closed_form"))
    for quantity in ("kernel_diag", "kernel", "metric"):
        assert np.allclose(getattr(by_rules, quantity)(x), getattr(closed, quantity)(x), rtol=1e-9)
    function = PiecewiseFunction(infgeo.MLP("sinh(z)").activation, {})
    p, q, c = 9.0, 16.0, 3.0
    value = gaussian_rules.pair(function, p, q, c, p * q - c * c, 1)["product"]
    assert value == pytest.approx(np.exp((p + q) / 2) * np.sinh(c), rel=1e-12)


@pytest.mark.parametrize("text", ["exp(1/4 - z/2) - erf(2*z)"])
def test_slopes_that_are_gaussian_functions(text):
    """They vanish where exp(z^2), which would stand in a common denominator, overflows."""
    x = np.array([[3.0, 2.0, 1.0]])
    by_rules, closed = (infgeo.MLP(text).numeric(1.4, 0.5, method=m) for m in ("quadrature", "closed_form"))
    for quantity in ("metric", "ricci_scalar"):
        assert np.allclose(getattr(by_rules, quantity)(x), getattr(closed, quantity)(x), rtol=1e-8)


def test_a_formula_that_is_no_number_where_the_activation_is_smooth():
    """E[(sin(z)/z)^2] at v = 12.82 by mpmath; one point twice, where the place of 0/0 must not count as a kink."""
    geo, x = infgeo.MLP("sin(z)/z").numeric(1.0, 0.5), np.array([[2.71041054, 0.28203689, -2.23049775]])
    with mpmath.workdps(20):
        v = mpmath.mpf(0.25) + sum(mpmath.mpf(t) ** 2 for t in x[0])
        wanted = 2 * mpmath.quad(lambda t: mpmath.sinc(t) ** 2 * mpmath.npdf(t, 0, mpmath.sqrt(v)), range(0, 45, 3))
    assert geo.kernel(x)[0, 0] == pytest.approx(float(wanted), rel=1e-9)


def as_array(value):
    if isinstance(value, list):
        value = [part.tolist() if isinstance(part, mpmath.matrix) else part for part in value]
    return np.array(value.tolist() if hasattr(value, "tolist") else value, float)


@pytest.mark.parametrize(
    ("backend", "phi"),
    [
        *(("torch", phi) for phi in ("mish", "softsign", "gelu_tanh")),
        ("mpmath", "softsign"),
        ("jax", "softsign"),
    ],
)
def test_other_backends(backend, phi):
    """NumPy's values are held to mpmath's tanh-sinh rule, those of torch and jax to NumPy's."""
    points = X if backend == "torch" else X[:2]
    mlp = infgeo.MLP(phi)
    expected, geo = mlp.numeric(1.1, 0.5), mlp.numeric(1.1, 0.5, backend=backend)
    array = {"torch": torch.tensor, "jax": np.array, "mpmath": lambda rows: rows.tolist()}[backend]
    # Integrals over pairs take mpmath seconds, and jax some to compile: test_derivatives has one.
    chosen = {
        "torch": QUANTITIES,
        "jax": ["kernel_diag", "metric"],
        "mpmath": ["kernel_diag", "metric", "ricci_scalar"],
    }
    context = jax.enable_x64(True) if backend == "jax" else nullcontext()
    with context:
        for quantity in chosen[backend]:
            value = as_array(getattr(geo, quantity)(array(points))).ravel()
            exact = np.ravel(getattr(expected, quantity)(points))
            assert np.abs(value - exact).max() <= 3e-9 * np.abs(exact).max() + 1e-13, quantity


@pytest.mark.slow
def test_kernel_in_mpmath():
    with mpmath.workdps(8):
        p, q, c = map(mpmath.mpf, (1.0, 0.8, 0.3))
        value = laws_of(infgeo.MLP("mish"), "mpmath")[0].kernel(p, q, c, p * q - c * c)
    exact = laws_of(infgeo.MLP("mish"), "numpy")[0].kernel(*(np.array([x]) for x in (1.0, 0.8, 0.3, 0.71)))[0]
    assert abs(float(value) - exact) <= 1e-7


@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_derivatives(backend):
    """Gradients by scales and points against differences; half the Hessian of the squared distance is the metric."""
    x, y = X[0], X[1]

    def value(weight, first):
        mlp = infgeo.MLP("mish").numeric(weight_std=weight)
        return float(mlp.kernel(first[None], y[None])[0, 0])

    h = 1e-4
    by_weight = (value(1 + h, x) - value(1 - h, x)) / (2 * h)
    by_point = [(value(1.0, x + h * e) - value(1.0, x - h * e)) / (2 * h) for e in np.eye(2)]
    if backend == "torch":
        weight, point = torch.tensor(1.0, dtype=torch.float64, requires_grad=True), torch.tensor(x, requires_grad=True)
        geo = infgeo.MLP("mish").numeric(weight_std=weight, backend="torch")
        geo.kernel(point[None], torch.tensor(y)[None]).sum().backward()
        found = weight.grad, point.grad
        moved = torch.tensor(x)

        def squared(z):
            return geo.kernel_distance(moved[None], z[None], squared=True).sum()

        half = torch.func.hessian(squared)(moved) / 2
        assert torch.allclose(half, geo.metric(moved), atol=1e-7, rtol=0)
    else:
        with jax.enable_x64(True):
            mlp = infgeo.MLP("mish")

            def kernel(weight, first):
                return mlp.numeric(weight_std=weight, backend="jax").kernel(first[None], y[None])[0, 0]

            found = jax.jit(jax.grad(kernel, argnums=(0, 1)))(1.0, x)
    assert abs(float(found[0]) - by_weight) < 1e-6
    assert np.abs(as_array(found[1]) - by_point).max() < 1e-6


@pytest.mark.parametrize("scale", [1e-3, 1e-2, 1.0, 10.0, 1e2, 1e3])
@pytest.mark.parametrize("phi", ["mish", "softsign", "gelu_tanh"])
def test_kernels_at_all_scales(phi, scale):
    """Against Gauss-Legendre panels that are split at breaks and refined until they agree."""
    expr = infgeo.MLP(phi).layers[0].activation
    function = PiecewiseFunction(expr, {})
    x = scale * np.array([[1.0, 0.0], [0.3, 0.9], [0.9999, 1e-2], [-1.0, 1e-3]])
    value = infgeo.MLP(phi).numeric(1.0, 0.0).kernel(x)
    for i, j in ((0, 1), (0, 2), (0, 3), (1, 2)):
        p, q, c = x[i] @ x[i], x[j] @ x[j], x[i] @ x[j]
        across = x[i, 0] * x[j, 1] - x[i, 1] * x[j, 0]
        exact = gaussian_rules.pair(function, p, q, c, across**2, 3)["product"]
        norm = np.sqrt(value[i, i] * value[j, j])
        assert abs(value[i, j] - exact) < 1e-9 * norm


@pytest.mark.parametrize("phi", ["softsign", "mish", "tanh"])
def test_distances_of_neighbours(phi):
    """To first order |v| of the metric, to the second the mean over both ends."""
    geo, x = infgeo.MLP(phi).numeric(1.0, 0.5, method="quadrature"), np.array([0.6, 0.8])
    for size in (1e-4, 1e-7, 1e-10):
        y = x + size * np.array([0.3, -0.7])
        v = y - x
        expected = np.sqrt(v @ geo.metric((x + y) / 2) @ v)
        assert abs(geo.kernel_distance(x[None], y[None])[0, 0] / expected - 1) < max(1e-9, size**2)


def test_emitted_file_checks_itself(tmp_path):
    path = tmp_path / "mish.py"
    path.write_text(infgeo.emit(infgeo.MLP("mish")))
    result = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "integrated numerically, to 1e-09 of each expectation's size" in path.read_text()


ACTIVATIONS = {
    "tanh": mpmath.tanh,
    "silu": lambda t: t / (1 + mpmath.exp(-t)),
    "softplus": lambda t: mpmath.log(1 + mpmath.exp(t)),
    "elu": lambda t: t if t > 0 else mpmath.expm1(t),
    "shifted": lambda t: max(t - 1, mpmath.mpf(0)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_metric_and_curvature_without_a_closed_form(name):
    """One layer, d = 2: R = 2 K_rad = -4 u f' J / (f h)^2 from f(q) = sigma_w^2 E[phi'^2], derivatives by mpmath."""
    phi = ACTIVATIONS[name]
    mlp = infgeo.MLP(sp.Max(z - 1, 0) if name == "shifted" else name)
    geo = mlp.numeric(1.0, 0.5, method="quadrature")
    kink = {"elu": 0, "shifted": 1}.get(name)

    def slope(t):
        if name == "elu":
            return mpmath.mpf(1) if t > 0 else mpmath.exp(t)
        return mpmath.mpf(t > 1) if name == "shifted" else mpmath.diff(phi, t)

    def energy(q):
        ends = [-12, -4, 0, 4, 12] if kink is None else sorted({-12, -4, kink / mpmath.sqrt(q), 4, 12})
        density = lambda t: slope(mpmath.sqrt(q) * t) ** 2 * mpmath.npdf(t)  # noqa: E731
        return mpmath.quad(density, ends)

    with mpmath.workdps(30):
        u = mpmath.mpf("1.0")
        q = u + mpmath.mpf("0.25")
        f, f1, f2 = (
            mpmath.diff(energy, q, order, h=mpmath.mpf(10) ** -6) if order else energy(q) for order in range(3)
        )
        h = f + 2 * u * f1
        J = f * f1 + u * (f * f2 - f1**2)
        R = float(-4 * u * f1 * J / (f * h) ** 2)
        x = np.array([0.6, 0.8])
        metric = float(f) * np.eye(2) + 2 * float(f1) * np.outer(x, x)
    assert np.allclose(geo.metric(x), metric, rtol=1e-8)
    assert abs(geo.ricci_scalar(x) - R) < 1e-6 * abs(R)  # differences of step 1e-6 are right to about 1e-7


def test_curvature_of_tanh_against_simulated_networks():
    mlp = infgeo.MLP("tanh", weight_std=1, bias_std=0.5)
    estimate = infgeo.finite.estimate(mlp, X[:2], 2000, 40, seed=0, quantities=["metric"]).metric
    geo = mlp.numeric(method="quadrature")
    score = (estimate.mean.numpy() - geo.metric(X[:2])) / estimate.standard_error.numpy()
    assert np.abs(score).max() < 4.5


def test_refusals(monkeypatch):
    tanh = infgeo.MLP("tanh")
    with pytest.raises(NoClosedForm, match="outside the class"):
        tanh.numeric(method="closed_form")
    with pytest.raises(InvalidInput, match="method"):
        tanh.numeric(method="simpson")
    with pytest.raises(ExpectationDiverges, match="is infinite"):
        infgeo.MLP(sp.exp(z**2)).numeric(1.0, 0.5, method="quadrature").kernel(X)
    for tower in (sp.exp(z**4), sp.exp(sp.exp(z)), sp.exp(sp.exp(sp.exp(z)))):
        with pytest.raises(ExpectationDiverges, match="faster than any"):
            infgeo.MLP(tower).numeric(0.01, 0.0, method="quadrature")
    with pytest.raises(MetricDoesNotExist, match="jump"):
        infgeo.MLP(sp.Heaviside(z - 1)).numeric(method="quadrature").metric(X)
    with pytest.raises(NoClosedForm, match="kinks"):
        infgeo.MLP(sp.Abs(sp.sin(z) + z / 2 - 1)).numeric(method="quadrature").metric(X)
    geo = tanh.numeric(method="quadrature")
    assert geo.tolerance == 1e-9 and infgeo.MLP("erf").numeric().tolerance is None
    single = X.astype(np.float32)
    assert geo.metric(single).dtype == np.float32
    monkeypatch.setattr(normal_mean, "AGREEMENT", -1.0)
    monkeypatch.setattr(normal_mean, "LEAST_ULP", -1)
    with pytest.raises(NotConverged, match="differ by"):
        tanh.numeric(method="quadrature").kernel_diag(X)


@pytest.mark.parametrize("second", ["tanh", "mish"])
def test_constant_variances_after_a_normalisation(second):
    """RMSNorm without epsilon makes every variance of the next layer one number."""
    mlp = infgeo.MLP(["erf", RMSNorm(), second], weight_std=1.0, bias_std=0.5)
    eps = infgeo.MLP(["erf", RMSNorm(1e-9), second], weight_std=1.0, bias_std=0.5)
    for quantity in ("kernel", "metric", "ricci_scalar"):
        value, near = (getattr(m.numeric(), quantity)(X) for m in (mlp, eps))
        assert np.abs(value - near).max() <= 1e-6 * np.abs(near).max()


def test_points_at_zero_and_small_variances():
    geo = infgeo.MLP("mish").numeric(1.0, 0.0)
    assert geo.kernel(np.zeros((1, 2)))[0, 0] == 0
    torch_geo = infgeo.MLP("mish").numeric(1.0, 0.0, backend="torch")
    assert float(torch_geo.kernel(torch.zeros(1, 2, dtype=torch.float64))) == 0
    with pytest.raises(InvalidInput, match="does not keep the digits"):
        geo.ricci_scalar(np.array([1e-4, 0.0]))  # derivatives of moments would have lost them


def test_distances_of_large_points():
    """K(x, x) + K(y, y) - 2 K(x, y) keeps its digits for points that are far apart."""
    geo = infgeo.MLP("mish").numeric(1.0, 0.5)
    x, y = 100 * np.array([[1.0, 2.0]]), 100 * np.array([[1.0, 2.3]])
    K = geo.kernel(np.concatenate([x, y]))
    expected = np.sqrt(K[0, 0] + K[1, 1] - 2 * K[0, 1])
    assert abs(geo.kernel_distance(x, y)[0, 0] / expected - 1) < 1e-9
