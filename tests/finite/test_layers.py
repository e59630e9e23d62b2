"""Sampled networks of general layers: their draws, and their mean against the infinite-width kernel."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import infgeo
from infgeo.errors import InvalidInput
from infgeo.finite.sampled_network import NumericLayer, SampledNetwork
from infgeo.symbolic.networks.layers import Dense, Residual, RMSNorm

X = np.array([[0.4, -0.9], [1.1, 0.3], [-0.2, 0.7]])
NETWORKS = {
    "different": infgeo.MLP(["erf", "relu"], weight_std=[1.2, 0.8], bias_std=[0.3, 0.6]),
    "residual": infgeo.MLP(["erf", Residual("relu", skip=0.7, branch=1.3)], weight_std=1.1, bias_std=0.4),
    "norm": infgeo.MLP([RMSNorm(0.5), "erf", RMSNorm(0.1), "sin"], weight_std=0.9, bias_std=0.5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_mean_kernel_extrapolates_to_the_infinite_one(name):
    """The mean kernel is biased at O(1/n): 2 k_2n - k_n is not, to the next order; z-scores from the replicates."""
    mlp = NETWORKS[name]
    theory = mlp.numeric().kernel(X)
    narrow, wide = (
        infgeo.finite.estimate(mlp, X, width, 400, seed=3, quantities=["kernel"]).kernel for width in (128, 256)
    )
    mean = (2 * wide.mean - narrow.mean).numpy()
    error = np.sqrt(4 * wide.standard_error.numpy() ** 2 + narrow.standard_error.numpy() ** 2)
    assert np.abs((mean - theory) / error).max() < 4
    assert (error / np.abs(theory).max()).max() < 0.02  # the comparison has power


def test_rms_norm_is_that_of_torch():
    net = infgeo.finite.sample_network(infgeo.MLP(["erf", RMSNorm(0.25)], weight_std=1, bias_std=1), 2, 50, 0)
    plain = infgeo.finite.sample_network(infgeo.MLP("erf", weight_std=1, bias_std=1), 2, 50, 0)
    x = torch.tensor(X)
    features = plain(x) * 50**0.5
    expected = torch.nn.functional.rms_norm(features, (50,), eps=0.25) / 50**0.5
    assert torch.allclose(net(x), expected, rtol=1e-13, atol=0)


def test_layer_norm_is_that_of_torch():
    plain = infgeo.finite.sample_network(infgeo.MLP("erf", weight_std=1, bias_std=1), 2, 50, 0)
    norm = NumericLayer("layer_norm", None, (("epsilon", 0.25),))
    net = SampledNetwork((*plain.layers, norm), list(plain.weights), list(plain.biases))
    features = plain(torch.tensor(X)) * 50**0.5
    expected = torch.nn.functional.layer_norm(features, (50,), eps=0.25) / 50**0.5
    assert torch.allclose(net(torch.tensor(X)), expected, rtol=1e-13, atol=1e-16)


def test_equal_layers_draw_what_one_activation_draws():
    one = infgeo.finite.sample_network(infgeo.MLP("relu", depth=2), 2, 20, 5)
    many = infgeo.finite.sample_network(infgeo.MLP(["relu", Dense("relu")]), 2, 20, 5)
    assert torch.equal(one(torch.tensor(X)), many(torch.tensor(X)))


def test_pullback_and_validation_follow_the_layers():
    mlp = infgeo.MLP(["erf", Residual("erf", branch=0.5), RMSNorm(0.2)], weight_std=1, bias_std=0.5)
    report = infgeo.validate(mlp, input_dim=2, points=X, widths=(64, 128, 256), samples=64, seed=1)
    assert report.passed, report.table()
    wrong = infgeo.MLP(["erf", Residual("erf", branch=2), RMSNorm(0.2)], weight_std=1, bias_std=0.5)
    estimate = infgeo.finite.estimate(mlp, X, 256, 64, seed=1, quantities=["metric"]).metric
    z = (estimate.mean.numpy() - wrong.numeric().metric(X)) / estimate.standard_error.numpy()
    assert np.abs(z).max() > 5  # another branch scale is told apart
    assert "Residual" in report.table()


def test_refused_values():
    mlp = infgeo.MLP(["erf", "relu"], weight_std=[1, 2])
    with pytest.raises(InvalidInput, match="weight_std"):
        infgeo.finite.sample_network(mlp, 2, 10, 0, weight_std=3.0)
    with pytest.raises(InvalidInput, match="tau"):
        infgeo.finite.sample_network(mlp, 2, 10, 0, parameters={"tau": 1.0})
    leaky = infgeo.MLP(["leaky_relu", RMSNorm()])
    with pytest.raises(InvalidInput, match="alpha"):
        infgeo.finite.sample_network(leaky, 2, 10, 0)


def test_threads_give_the_bits_of_one() -> None:
    mlp = infgeo.MLP(["erf", RMSNorm(0.5)], weight_std=1, bias_std=1)
    alone = infgeo.finite.estimate(mlp, X, 16, 24, quantities=["ricci_scalar"]).ricci_scalar
    with ThreadPoolExecutor(4) as threads:
        other = infgeo.finite.estimate(mlp, X, 16, 24, quantities=["ricci_scalar"], executor=threads).ricci_scalar
    assert torch.equal(alone.mean, other.mean) and torch.equal(alone.standard_error, other.standard_error)
