"""Kernels whose closed form cancels: by Price's theorem there, against closed forms of 40 digits."""

import mpmath
import numpy as np
import pytest
import torch

import infgeo
from infgeo.numeric.source.kernel_range import kernel_range
from infgeo.symbolic.expectations.dual import dual

# Alone, apart, nearly parallel, nearly opposite, shorter, longer.
POINTS = np.array([[0.6, 0.8], [0.3, -0.4], [0.6, 0.800001], [-0.59, -0.81], [0.03, 0.02], [30.0, 20.0]])


def exact(network, name, points, **scales):
    with mpmath.workdps(40):
        found = getattr(network.numeric(backend="mpmath", **scales), name)(points)
        return np.array(found.tolist() if name != "kernel_diag" else list(found)).astype(float)


@pytest.mark.parametrize(
    ("name", "std", "bias"),
    [("elu", 3e-2, 0.0), ("elu", 3e-3, 0.0), ("selu", 3e-2, 0.0), ("exp(-abs(z)) - 1", 0.0, 0.02)],
)
def test_kernels_keep_their_digits_at_small_variances(name, std, bias):
    network, scales = infgeo.MLP(name), {"weight_std": std or 0.02, "bias_std": bias}
    geo = network.numeric(**scales)
    for function in ("kernel", "ntk"):
        right = exact(network, function, POINTS, **scales)
        norms = np.sqrt(np.diag(right))
        assert (abs(getattr(geo, function)(POINTS) - right) < 1e-12 * np.outer(norms, norms)).all()
    assert np.allclose(geo.kernel_diag(POINTS), exact(network, "kernel_diag", POINTS, **scales), rtol=1e-12, atol=0)


# The same and lengths of all sizes, with nearly coincident ones that are long.
SIZES = np.array([[0.03, 0.02], [0.6, 0.8], [3, -4], [300, 100], [-1000, 10], [600, 800], [600, 800.0001], [900, 1200]])


@pytest.mark.parametrize(
    ("name", "scale"), [("hardtanh", 1), ("hardswish", 1), ("softshrink", 1), ("max(0, z - 1)", 2)]
)
def test_kernels_of_kinks_keep_their_digits_at_all_variances(name, scale):
    network, scales = infgeo.MLP(name), {"weight_std": scale, "bias_std": 0.0}
    geo = network.numeric(**scales)
    for function in ("kernel", "ntk"):
        right = exact(network, function, SIZES, **scales)
        norms = np.sqrt(np.diag(right))
        assert (abs(getattr(geo, function)(SIZES) - right) < 1e-12 * np.outer(norms, norms)).all()
    assert np.allclose(geo.kernel_diag(SIZES), exact(network, "kernel_diag", SIZES, **scales), rtol=1e-12, atol=0)


def test_a_jump_keeps_its_digits_beside_another_length():
    network, scales = infgeo.MLP("hardshrink"), {"weight_std": 1.0, "bias_std": 0.0}
    right = exact(network, "kernel", SIZES, **scales)
    norms = np.sqrt(np.diag(right))
    assert (abs(network.numeric(**scales).kernel(SIZES) - right) < 1e-12 * np.outer(norms, norms)).all()


@pytest.mark.parametrize("name", ["elu", "hardtanh"])
def test_the_closed_form_goes_on_where_the_integral_ends(name):
    closed = kernel_range(dual(infgeo.MLP(name).layers[0].activation)).closed
    for bound in (x for x in closed if 1e-9 < x < 1e9):
        scales = np.sqrt(bound) * np.array([1 - 1e-9, 1 + 1e-9])
        below, above = (infgeo.MLP(name).numeric(weight_std=scale, bias_std=0.0).kernel(POINTS) for scale in scales)
        assert np.allclose(below, above, rtol=1e-8, atol=1e-12 * bound)


def test_at_the_origin_features_are_those_of_no_preactivation():
    geo = infgeo.MLP("elu").numeric(weight_std=0.01, bias_std=0.0)
    assert (geo.kernel(np.zeros((1, 2)), POINTS) == 0).all()
    shifted = infgeo.MLP("max(0, z + 1)").numeric(weight_std=1.0, bias_std=0.0)
    (found,) = shifted.kernel(np.zeros((1, 2)), np.zeros((1, 2)))
    assert found == 1
    (found,) = shifted.kernel(np.zeros((1, 2)), POINTS)
    for value, point in zip(found, POINTS, strict=True):
        size = mpmath.norm(point.tolist())
        mean = mpmath.quad(lambda t: (1 + size * t) * mpmath.npdf(t), [-1 / size, 0, 2, 12])  # noqa: B023
        assert value == pytest.approx(float(mean), rel=1e-12)


def test_gradients_at_parallel_points_are_those_beside_them():
    geo = infgeo.MLP("hardtanh").numeric(backend="torch", weight_std=1.0, bias_std=0.0)
    x, y = (
        torch.tensor([[0.6, 0.8], [300.0, 100.0]], dtype=torch.float64),
        torch.tensor([[0.3, 0.4]], dtype=torch.float64),
    )
    x.requires_grad_()
    (slope,) = torch.autograd.grad(geo.kernel(x, y).sum(), x)
    for i, step in ((0, 1e-5), (1, 1e-2)):
        for j in range(2):
            move = torch.zeros(2, 2, dtype=torch.float64)
            move[i, j] = step
            ahead, behind = (geo.kernel((x + sign * move).detach(), y).sum() for sign in (1, -1))
            assert float(slope[i, j]) == pytest.approx(float((ahead - behind) / (2 * step)), rel=1e-6)


def test_torch_and_jax_compute_it_too_and_its_gradient():
    jax = pytest.importorskip("jax")
    network, scales = infgeo.MLP("elu"), {"weight_std": 0.02, "bias_std": 0.0}
    X, Y = POINTS[:3], POINTS[4:]
    right = network.numeric(**scales).kernel(X, Y)
    geo = network.numeric(backend="torch", **scales)
    x = torch.tensor(X, requires_grad=True)
    value = geo.kernel(x, torch.tensor(Y))
    assert np.allclose(value.detach(), right, rtol=1e-13, atol=0)
    (slope,) = torch.autograd.grad(value.sum(), x)
    step = 1e-6 * np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    near = [network.numeric(**scales).kernel(X + sign * step, Y).sum() for sign in (1, -1)]
    assert (near[0] - near[1]) / 2e-6 == pytest.approx(float(slope[1, 1]), rel=1e-7)
    # Beyond variance 316 an integral as well, which jax compiles in a fifth of the time.
    hard = infgeo.MLP("max(-1, min(1, z))")
    with jax.enable_x64(True):
        found = jax.jit(hard.numeric(40.0, 0.0, backend="jax").kernel)(X, Y)
    assert np.allclose(found, hard.numeric(40.0, 0.0).kernel(X, Y), rtol=1e-12, atol=0)
