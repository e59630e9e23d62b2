"""The quadrature route against the closed forms, and against mpmath where there are none."""

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import z
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NoClosedForm, NotConverged
from infgeo.numeric.quadrature import quadrature_geometry
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
        try:
            value, exact = (getattr(geo, quantity)(x) for geo in (by_rules, closed))
        except NotConverged:
            assert radius >= 1e3  # h/A = 1 + 2 u psi cancels there, and it says so
            continue
        assert radius < 1e4
        size = np.abs(exact).max() + (4 / np.linalg.norm(closed.metric(x)) if quantity == "ricci_scalar" else 0)
        assert np.abs(value - exact).max() <= 1e-9 * size


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


@pytest.mark.parametrize("name", ["tanh", "elu"])
def test_kernel_without_a_closed_form(name):
    phi = ACTIVATIONS[name]
    geo = infgeo.MLP(name, weight_std=1.0, bias_std=0.5).numeric(method="quadrature")
    p, q, c = 1.25, 0.25 + 0.05, 0.25 + 0.6 * 0.1 - 0.8 * 0.2

    def inner(u):
        mean, deviation = c / p * u, mpmath.sqrt(q - c * c / p)
        kink = -mean / deviation
        return mpmath.quad(lambda t: phi(mean + deviation * t) * mpmath.npdf(t), sorted({-9, kink, 9}))

    with mpmath.workdps(16):
        slow = mpmath.quad(lambda t: phi(mpmath.sqrt(p) * t) * inner(mpmath.sqrt(p) * t) * mpmath.npdf(t), [-9, 0, 9])
    assert abs(geo.kernel(X[:2])[0, 1] - float(slow)) < 1e-10


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
    for arguments in ({"method": "simpson"}, {"method": "quadrature", "backend": "torch"}):
        with pytest.raises(InvalidInput, match="method"):
            tanh.numeric(**arguments)
    with pytest.raises(ExpectationDiverges, match="variance"):
        infgeo.MLP(sp.exp(z**2)).numeric(1.0, 0.5, method="quadrature").kernel(X)
    with pytest.raises(MetricDoesNotExist, match="jump"):
        infgeo.MLP(sp.Heaviside(z - 1)).numeric(method="quadrature").metric(X)
    with pytest.raises(NoClosedForm, match="kinks"):
        infgeo.MLP(sp.Abs(sp.sin(z) + z / 2 - 1)).numeric(method="quadrature").metric(X)
    geo = tanh.numeric(method="quadrature")
    assert geo.tolerance == 1e-9 and infgeo.MLP("erf").numeric().tolerance is None
    single = X.astype(np.float32)
    assert geo.metric(single).dtype == np.float32
    monkeypatch.setattr(quadrature_geometry, "TOLERANCE", -1.0)
    with pytest.raises(NotConverged, match="differ by"):
        tanh.numeric(method="quadrature").kernel_diag(X)
