"""Kernels without closed form in both adapters: values, and gradients by the scales against differences."""

import numpy as np
import pytest

import infgeo

X = np.random.default_rng(3).normal(size=(6, 2))
STEP = 1e-5
# Mixtures, normal probabilities of two variables, and an integrand.
CASES = [
    ("tanh", "nngp"),
    ("tanh", "ntk"),
    ("hardtanh", "nngp"),
    pytest.param("hardtanh", "ntk", marks=pytest.mark.slow),
    pytest.param("mish", "nngp", marks=pytest.mark.slow),
]


def gram(phi, kind, weight_std, bias_std):
    geo = infgeo.MLP(phi, depth=2).numeric(weight_std, bias_std)
    return (geo.kernel if kind == "nngp" else geo.ntk)(X)


def slopes(phi, kind):
    """The derivatives by weight_std = 1.3 and bias_std = 0.4."""
    by_weight = gram(phi, kind, 1.3 + STEP, 0.4) - gram(phi, kind, 1.3 - STEP, 0.4)
    return by_weight / (2 * STEP), (gram(phi, kind, 1.3, 0.4 + STEP) - gram(phi, kind, 1.3, 0.4 - STEP)) / (2 * STEP)


@pytest.mark.parametrize(("phi", "kind"), CASES)
def test_gradients_in_scikit_learn(phi, kind):
    pytest.importorskip("sklearn")
    from infgeo.adapters.sklearn import InfiniteWidthKernel

    kernel = InfiniteWidthKernel(phi, depth=2, kind=kind, weight_std=1.3, bias_std=0.4)
    value, gradient = kernel(X, eval_gradient=True)
    by_weight, by_bias = slopes(phi, kind)
    assert np.abs(value - gram(phi, kind, 1.3, 0.4)).max() < 1e-14
    assert np.abs(gradient[..., 0] - 0.4 * by_bias).max() < 1e-8  # in the order of the names
    assert np.abs(gradient[..., 1] - 1.3 * by_weight).max() < 1e-8


@pytest.mark.parametrize(("phi", "kind"), CASES)
def test_gradients_in_gpytorch(phi, kind):
    torch = pytest.importorskip("torch")
    pytest.importorskip("gpytorch")
    from infgeo.adapters.gpytorch import InfiniteWidthKernel

    scales = {
        name: torch.tensor(value, dtype=torch.float64) for name, value in (("weight_std", 1.3), ("bias_std", 0.4))
    }
    kernel = InfiniteWidthKernel(phi, depth=2, kind=kind, **scales)
    value = kernel(torch.tensor(X)).to_dense()
    assert np.abs(value.detach().numpy() - gram(phi, kind, 1.3, 0.4)).max() < 1e-14
    value.sum().backward()
    for name, slope in zip(("weight_std", "bias_std"), slopes(phi, kind), strict=True):
        raw = getattr(kernel, f"raw_{name}")  # the scale is log(1 + exp(raw))
        assert abs(raw.grad.item() - slope.sum() * torch.sigmoid(raw).item()) < 1e-7
