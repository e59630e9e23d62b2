"""Gradients of Gram matrices by the scales, against torch's forward differentiation of the closed forms."""

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

import infgeo
from infgeo.numeric.source.scale_gradient import scale_gradient
from infgeo.symbolic.networks.layers import Residual, RMSNorm

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # forward differentiation's own

X = np.random.default_rng(0).standard_normal((9, 3))
X[3], X[4], X[5], X[6], X[7] = 0, X[0], -X[1], 2 * X[2], X[0] * (1 + 1e-3)  # zero, equal, opposite, parallel, close
NETWORKS = {
    "erf": infgeo.MLP("erf"),
    "relu, 2 layers": infgeo.MLP("relu", depth=2),
    "gelu": infgeo.MLP("gelu"),
    "sign, 2 layers": infgeo.MLP("sign", depth=2),
    "user's": infgeo.MLP("a*z**2 + sin(z)"),
    "different layers": infgeo.MLP(["erf", "abs", "square"]),
    "residual and normalised": infgeo.MLP(
        [RMSNorm(0.2), "relu", Residual("erf", skip=0.5, branch=2), RMSNorm(0.1), "relu"]
    ),
    "fan-in": infgeo.MLP("erf", depth=2, input_scale="fan_in"),
}


def autodiff(mlp, values, name, method, *points):
    with forward_ad.dual_level():
        scalars = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
        scalars[name] = forward_ad.make_dual(scalars[name], torch.ones((), dtype=torch.float64))
        gram = getattr(mlp.numeric(backend="torch", **scalars), method)(*map(torch.tensor, points))
        return forward_ad.unpack_dual(gram).tangent.numpy()


@pytest.mark.parametrize("bias_std", [0.7, 0.0])
@pytest.mark.parametrize("method", ["kernel", "ntk"])
@pytest.mark.parametrize("name", NETWORKS)
def test_against_automatic_differentiation(name, method, bias_std):
    if name.startswith("sign") and method == "ntk":
        pytest.skip("a jump has no tangent kernel")
    mlp, names = NETWORKS[name], ["sigma_w", "sigma_b"]
    values = {symbol.name: 0.75 for symbol in mlp.parameters} | {"sigma_w": 1.1, "sigma_b": bias_std}
    smoothness = min(layer.activation.smoothness for layer in mlp.with_weights)
    # Where the kernel, or that of the derivative, has a kink, parallel pairs lose half of the digits.
    bound = 1e-8 if smoothness < (1 if method == "ntk" else 0) else 1e-12
    for points in ((X,), (X, X[::-1].copy())):
        found = scale_gradient(mlp, points[0], None if len(points) == 1 else points[1], values, names, method == "ntk")
        for part, scale in zip(found, names, strict=True):
            exact = autodiff(mlp, values, scale, method, *points)
            assert np.abs(part - exact).max() <= bound * max(np.abs(exact).max(), 1e-3)


def test_blocks_are_put_together():
    """More points than a block has: the same as fewer at a time, and symmetric."""
    points = np.random.default_rng(1).standard_normal((150, 4))
    mlp, values, names = infgeo.MLP("relu", depth=2), {"sigma_w": 1.3, "sigma_b": 0.2}, ["sigma_b", "sigma_w"]
    whole = scale_gradient(mlp, points, None, values, names, True)
    assert (whole == whole.transpose(0, 2, 1)).all()
    apart = scale_gradient(mlp, points[:70], points, values, names, True)
    assert np.allclose(whole[:, :70], apart, rtol=1e-10, atol=1e-12)
    assert np.allclose(whole[:, 3:4, 149:], scale_gradient(mlp, points[3:4], points[149:], values, names, True))
