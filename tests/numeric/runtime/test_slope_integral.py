"""Kernels whose closed form cancels at small variances: by Price's theorem there, against closed forms of 40 digits."""

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


def test_the_closed_form_goes_on_where_the_integral_ends():
    bound = kernel_range(dual(infgeo.MLP("elu").layers[0].activation)).integral_below
    scales = np.sqrt(bound) * np.array([1 - 1e-9, 1 + 1e-9])
    below, above = (infgeo.MLP("elu").numeric(weight_std=scale, bias_std=0.0).kernel(POINTS) for scale in scales)
    assert np.allclose(below / scales[0] ** 2, above / scales[1] ** 2, rtol=1e-8, atol=1e-12)


def test_at_the_origin_features_vanish():
    geo = infgeo.MLP("elu").numeric(weight_std=0.01, bias_std=0.0)
    assert (geo.kernel(np.zeros((1, 2)), POINTS) == 0).all()


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
    with jax.enable_x64(True):
        of_jax = network.numeric(backend="jax", **scales)
        assert np.allclose(of_jax.kernel(X, Y), right, rtol=1e-12, atol=0)
