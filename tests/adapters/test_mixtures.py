"""Kernels of mixtures in both adapters: values, and gradients by the scales against differences."""

import numpy as np
import pytest

import infgeo

X = np.random.default_rng(3).normal(size=(6, 2))
STEP = 1e-5


def gram(kind, weight_std, bias_std):
    geo = infgeo.MLP("tanh", depth=2).numeric(weight_std, bias_std)
    return (geo.kernel if kind == "nngp" else geo.ntk)(X)


def slopes(kind):
    """The derivatives by weight_std = 1.3 and bias_std = 0.4."""
    by_weight = gram(kind, 1.3 + STEP, 0.4) - gram(kind, 1.3 - STEP, 0.4)
    return by_weight / (2 * STEP), (gram(kind, 1.3, 0.4 + STEP) - gram(kind, 1.3, 0.4 - STEP)) / (2 * STEP)


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_gradients_in_scikit_learn(kind):
    pytest.importorskip("sklearn")
    from infgeo.adapters.sklearn import InfiniteWidthKernel

    kernel = InfiniteWidthKernel("tanh", depth=2, kind=kind, weight_std=1.3, bias_std=0.4)
    value, gradient = kernel(X, eval_gradient=True)
    by_weight, by_bias = slopes(kind)
    assert np.abs(value - gram(kind, 1.3, 0.4)).max() < 1e-14
    assert np.abs(gradient[..., 0] - 0.4 * by_bias).max() < 1e-8  # in the order of the names
    assert np.abs(gradient[..., 1] - 1.3 * by_weight).max() < 1e-8


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_gradients_in_gpytorch(kind):
    torch = pytest.importorskip("torch")
    pytest.importorskip("gpytorch")
    from infgeo.adapters.gpytorch import InfiniteWidthKernel

    scales = {
        name: torch.tensor(value, dtype=torch.float64) for name, value in (("weight_std", 1.3), ("bias_std", 0.4))
    }
    kernel = InfiniteWidthKernel("tanh", depth=2, kind=kind, **scales)
    value = kernel(torch.tensor(X)).to_dense()
    assert np.abs(value.detach().numpy() - gram(kind, 1.3, 0.4)).max() < 1e-14
    value.sum().backward()
    for name, slope in zip(("weight_std", "bias_std"), slopes(kind), strict=True):
        raw = getattr(kernel, f"raw_{name}")  # the scale is log(1 + exp(raw))
        assert abs(raw.grad.item() - slope.sum() * torch.sigmoid(raw).item()) < 1e-7
