"""Near, nearly parallel and opposite points, where kernels would be subtracted: against mpmath at 40 digits."""

import mpmath
import numpy as np
import pytest
import torch

import infgeo
from infgeo.layers import Dense, RMSNorm

X = np.array([[0.7, -0.4], [0.3, 1.1]])


def exact(mlp, name, *points):
    with mpmath.workdps(40):
        rows = [[[mpmath.mpf(float(x)) for x in point] for point in part] for part in points]
        return np.array([float(value) for value in getattr(mlp.numeric(backend="mpmath"), name)(*rows)])


NEAR = [
    ("max(-1, min(1, z))", 1.0),
    ("elu", 1.0),
    ("exp(-abs(z))", 1.0),
    ("abs(abs(z) - 1)", 1.0),
    ("z*max(0, z + 1)", 40.0),
]


@pytest.mark.parametrize(("text", "length"), NEAR)
def test_distances_of_near_points(text, length):
    mlp = infgeo.MLP(text, weight_std=1.3, bias_std=0.4)
    x = length * X[:1]
    for step in (1e-2, 1e-8):
        y = x + step * length * np.array([[0.3, 0.5]])
        truth = exact(mlp, "kernel_distance", x, y)
        np.testing.assert_allclose(mlp.numeric().kernel_distance(x, y).ravel(), truth, rtol=1e-12)
        found = mlp.numeric(backend="torch").kernel_distance(torch.tensor(x), torch.tensor(y))
        np.testing.assert_allclose(found.numpy().ravel(), truth, rtol=1e-12)


@pytest.mark.parametrize("step", [1e-3, 1e-5])
def test_derivatives_of_distances_lose_digits_as_documented(step):
    """Relative errors of about 1e-16/|x - y|^2, see docs/reference/limits.md."""
    mlp, h = infgeo.MLP("hardtanh", weight_std=1, bias_std=0.5), mpmath.mpf("1e-15")
    x, y = [1.0, 1 + 0.3 * step], [1 + step, 1.0]
    with mpmath.workdps(40):
        distance = mlp.numeric(backend="mpmath").kernel_distance
        ahead, back = (
            distance([[x[0] + sign * h, mpmath.mpf(x[1])]], [list(map(mpmath.mpf, y))])[0, 0] for sign in (1, -1)
        )
        truth = float((ahead - back) / (2 * h))
    point = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    mlp.numeric(backend="torch").kernel_distance(point, torch.tensor([y], dtype=torch.float64)).sum().backward()
    assert abs(float(point.grad[0, 0]) / truth - 1) < 1e-14 / step**2


@pytest.mark.parametrize("text", ["max(-1, min(1, z))", "exp(-abs(z))"])
def test_deep_tangent_kernels_of_near_points(text):
    mlp = infgeo.MLP(text, depth=2, weight_std=1.3, bias_std=0.4)
    for step in (1e-3, 1e-7):
        y = X[:1] + step * np.array([[0.3, 0.5]])
        np.testing.assert_allclose(mlp.numeric().ntk(X[:1], y).ravel(), exact(mlp, "ntk", X[:1], y), rtol=2e-13)


@pytest.mark.parametrize("text", ["elu", "softshrink"])
def test_distances_that_are_angles(text):
    mlp = infgeo.MLP([Dense(text, 1.03, 0.3), RMSNorm(epsilon=0.01)])
    for y in (X[:1] * (1 + 1e-5), X[:1] + 1e-6):
        truth = exact(mlp, "kernel_distance", X[:1], y)
        np.testing.assert_allclose(mlp.numeric().kernel_distance(X[:1], y).ravel(), truth, rtol=1e-12)


def test_what_vanishes_up_to_many_deviations_is_seen_or_refused():
    mlp = infgeo.MLP("softshrink", weight_std=1.0, bias_std=0.0)
    x, y = np.array([[0.6, 0.8]]), np.array([[0.6 + 3e-7, 0.8 - 7e-7]])
    found = mlp.numeric().kernel_distance(0.05 * x, 0.05 * y)
    np.testing.assert_allclose(found.ravel(), exact(mlp, "kernel_distance", 0.05 * x, 0.05 * y), rtol=1e-12)
    with pytest.raises(infgeo.errors.InvalidInput, match="lost where kernels are subtracted"):
        mlp.numeric().kernel_distance(0.03 * x, 0.03 * y)


def test_parallel_points_of_what_is_nearly_linear():
    # Clipped nowhere, up to e^-50: the angle between the features is 0, and ReLU's tangent kernel feels its root.
    mlp = infgeo.MLP([Dense("max(-1, min(1, z))", 0.1, 0), Dense("relu", 1, 0)])
    x, y = X[:1], 1.5 * X[:1]
    np.testing.assert_allclose(mlp.numeric().ntk(x, y).ravel(), exact(mlp, "ntk", x, y), rtol=1e-14)


def test_even_activations_take_opposite_points_to_the_same_features():
    geo = infgeo.MLP("abs(abs(z) - 1)", weight_std=0.9, bias_std=0).numeric()
    for length in (0.1, 1.0, 5.0):
        x = length * X
        np.testing.assert_allclose(np.diag(geo.kernel(x, -x)), geo.kernel_diag(x), rtol=1e-13)
        np.testing.assert_allclose(np.diag(geo.kernel_distance(x, -x)), 0, atol=0)


@pytest.mark.parametrize("text", ["max(0, z) - max(0, -z)/5", "selu"])
def test_torch_integrates_in_double_precision(text):
    mlp = infgeo.MLP(text)
    in_torch, in_numpy = mlp.numeric(backend="torch", method="quadrature"), mlp.numeric(method="quadrature")
    np.testing.assert_allclose(in_torch.ntk(torch.tensor(X)).numpy(), in_numpy.ntk(X), rtol=1e-13)
