"""Every emitted float function against 50 digits over its domain: the bounds of the documentation, in ulp."""

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import z
from infgeo.errors import InvalidInput
from infgeo.numeric.certificates.accuracy import measure, ulps

QUANTITIES = ["metric", "volume_element", "log_volume_element", "ricci_scalar", "kernel_diag"]
SCALES = [(1.3, 0.7), (0.02, 0.0), (30.0, 5.0)]


def points(dimension, low, high, count=40, seed=0):
    """Random directions and an axis, radii spaced logarithmically and linearly, and the origin."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    axis = np.zeros((6, dimension))
    axis[:, -1] = np.geomspace(10.0**low, 10.0**high, 6)
    near = directions[:10] * np.linspace(0, 3, 10)[:, None]
    return np.concatenate([directions * np.geomspace(10.0**low, 10.0**high, count)[:, None], near, axis])


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", ["erf", "relu"])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_depth_one_within_eight_ulp(name, quantity, dimension):
    for weight_std, bias_std in SCALES:
        for decades, dtype in (((-8, 8), np.float64), ((-150, 145), np.float64), ((-8, 8), np.float32)):
            X = points(dimension, *decades).astype(dtype)
            result = measure(infgeo.MLP(name), quantity, X, weight_std, bias_std)
            assert result.worst <= 8, result
            assert result.count > 0


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "depth"), [("erf", 2), ("erf", 3), ("relu", 3)])
def test_deep_networks(name, depth, backend):
    for quantity, bound in (("metric", 16), ("volume_element", 16), ("ricci_scalar", 128), ("kernel_diag", 16)):
        result = measure(infgeo.MLP(name, depth=depth), quantity, points(3, -8, 8), 1.3, 0.7, backend=backend)
        assert result.worst <= bound, result


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("name", ["erf", "relu"])
def test_no_nan_and_no_warning_at_the_edges(name, depth):
    geo = infgeo.MLP(name, depth=depth).numeric(1.3, 0.7)
    X = np.array([[0.0, 0.0], [1e-300, 0.0], [5e-324, 0.0], [1e150, -1e150], [0.0, 1e150], [1e-150, 1e-150]])
    for quantity in QUANTITIES:
        assert np.isfinite(getattr(geo, quantity)(X)).all(), quantity


def test_gaussian_and_gelu_metrics():
    for expr, decades, bound in ((sp.exp(-(z**2) / 2), 8, 16), (z * (1 + sp.erf(z / sp.sqrt(2))) / 2, 3, 16)):
        result = measure(infgeo.MLP(expr), "volume_element", points(2, -8, decades), 1.3, 0.7)
        assert result.worst <= bound, result


def test_the_reference_agrees_with_the_symbolic_result():
    """The mpmath backend is the reference above; here it meets the explicit formula at depth 2."""
    mlp = infgeo.MLP("erf", depth=2, weight_std=sp.Rational(13, 10), bias_std=sp.Rational(7, 10))
    with mpmath.workdps(40):
        value = mlp.numeric(backend="mpmath").ricci_scalar([mpmath.mpf(3) / 2, mpmath.mpf(2)])
        from infgeo.conventions import d, s

        exact = sp.N(mlp.metric.ricci_scalar.subs({s: sp.Rational(25, 4), d: 2}), 40)
        assert abs(value - mpmath.mpf(str(exact))) < mpmath.mpf(10) ** -35


def test_ulps_counts_what_it_should():
    assert ulps(np.float32(1.5), mpmath.mpf(1.5)) == 0
    assert ulps(np.float64("nan"), mpmath.mpf(1)) == float("inf")
    assert ulps(np.float64(1e-300), mpmath.mpf(0)) == float("inf")


def test_mpmath_is_not_measured_against_itself():
    with pytest.raises(InvalidInput, match="mpmath"):
        measure(infgeo.MLP("erf"), "metric", points(2, 0, 1), backend="mpmath")
