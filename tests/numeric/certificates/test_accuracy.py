"""Every function of |x| against mpmath over the range of the promise, and beyond: right, or one clear error."""

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import d, s, z
from infgeo.errors import InvalidInput
from infgeo.numeric.certificates.accuracy import REFUSED, measure, point_error

QUANTITIES = ["metric", "volume_element", "log_volume_element", "ricci_scalar", "kernel_diag"]
SCALES = [(1.3, 0.7), (0.02, 0.0), (30.0, 5.0)]
BACKENDS = ["numpy", "torch"]


def points(dimension, low, high, count=20, seed=0):
    """Random directions and an axis, radii spaced logarithmically and linearly, and the origin."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    axis = np.zeros((3, dimension))
    axis[:, -1] = np.geomspace(10.0**low, 10.0**high, 3)
    near = directions[:5] * np.linspace(0, 3, 5)[:, None]
    return np.concatenate([directions * np.geomspace(10.0**low, 10.0**high, count)[:, None], near, axis])


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", ["erf", "relu"])
@pytest.mark.parametrize("dimension", [1, 3])
def test_one_layer(name, quantity, dimension):
    for weight_std, bias_std in SCALES:
        for dtype, bound in ((np.float64, 1e-12), (np.float32, 1e-5)):
            X = points(dimension, -6, 6).astype(dtype)
            assert measure(infgeo.MLP(name), quantity, X, weight_std, bias_std) <= bound


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "depth"), [("erf", 2), ("erf", 3), ("relu", 3)])
def test_deep_networks(name, depth, backend):
    for quantity in QUANTITIES:
        assert measure(infgeo.MLP(name, depth=depth), quantity, points(3, -6, 6), 1.3, 0.7, backend=backend) <= 1e-12


@pytest.mark.parametrize("name", ["erf", "relu", "cos", "gaussian", "exp", "cube"])
@pytest.mark.parametrize("depth", [1, 2])
def test_right_or_one_clear_error_at_the_edges(name, depth):
    values = {"sigma_w": 1.0, "sigma_b": 0.5}
    sizes = (5e-324, 1e-300, 1e-150, 1e-30, 1e-9, 1e9, 1e30, 1e150, 1e300)
    X = np.array([[size * x for x in (0.6, 0.8)] for size in (*sizes, 0.0)])
    mlp = infgeo.MLP(name, depth=depth)
    if name == "exp":  # mpmath keeps all digits of towers of exponentials
        X = X[np.abs(X).max(axis=1) < 2]
    for quantity in QUANTITIES[:4]:
        for x in X:
            error = point_error(mlp, quantity, "numpy", values, x[None])
            assert error is None or error == REFUSED or error <= 1e-12, (quantity, x, error)


def test_gaussian_and_gelu_metrics():
    for expr in (sp.exp(-(z**2) / 2), z * (1 + sp.erf(z / sp.sqrt(2))) / 2):
        assert measure(infgeo.MLP(expr), "volume_element", points(2, -6, 6), 1.3, 0.7) <= 1e-12


def test_the_reference_agrees_with_the_symbolic_result():
    """The mpmath backend is the reference above; here it meets the explicit formula at depth 2."""
    mlp = infgeo.MLP("erf", depth=2, weight_std=sp.Rational(13, 10), bias_std=sp.Rational(7, 10))
    with mpmath.workdps(40):
        value = mlp.numeric(backend="mpmath").ricci_scalar([mpmath.mpf(3) / 2, mpmath.mpf(2)])
        exact = sp.N(mlp.metric.ricci_scalar.subs({s: sp.Rational(25, 4), d: 2}), 40)
        assert abs(value - mpmath.mpf(str(exact))) < mpmath.mpf(10) ** -35


def test_near_a_zero_an_error_is_relative_to_the_terms_that_meet_there():
    """R of a third Hermite polynomial is 0 at sigma_b = 1, x = 0, and -1e-17 of a term is what rounding leaves."""
    values = {"sigma_w": 1.0, "sigma_b": 1.0}
    x = np.array([[1e-5, 2e-5]])
    assert point_error(infgeo.MLP("hermite_3", depth=2), "ricci_scalar", "numpy", values, x) <= 1e-12


def test_what_is_refused_everywhere_has_no_error():
    with pytest.raises(InvalidInput, match="no value at these points"):
        measure(infgeo.MLP("erf"), "ricci_scalar", np.array([[1e200, 0.0]]), 1.0, 0.0)


def test_mpmath_is_not_measured_against_itself():
    with pytest.raises(InvalidInput, match="mpmath"):
        measure(infgeo.MLP("erf"), "metric", points(2, 0, 1), backend="mpmath")
