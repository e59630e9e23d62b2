"""The metric of the tangent kernel: mixed derivatives of the kernel, the limit of infinite width, creases."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import infgeo
from infgeo.errors import InvalidInput, MetricDoesNotExist
from infgeo.finite import linearize, ntk, ntk_metric, pullback
from tests.finite.test_tangent_kernel import X2, Network


def network(activation=nn.GELU):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), activation(), nn.LayerNorm(6), nn.Linear(6, 3)).double()


def mixed_derivatives(model, x, weights):
    """∂_μ ∂'_ν of the kernel of each of several sums of outputs, summed, all by plain autograd."""
    parameters = list(model.parameters())

    def kernel(a, b):
        total = 0.0
        for row in weights:
            left, right = (torch.autograd.grad(model(p[None])[0] @ row, parameters, create_graph=True) for p in (a, b))
            total = total + sum((one * other).sum() for one, other in zip(left, right, strict=True))
        return total

    return torch.autograd.functional.hessian(kernel, (x, x.clone()))[0][1]


@pytest.mark.parametrize("budget", [2**28, 1])
def test_metric_is_the_mixed_derivative_of_the_kernel(budget):
    model, weights = network(), torch.eye(3, dtype=torch.float64)
    trace = torch.stack([mixed_derivatives(model, x, weights) for x in X2])
    torch.testing.assert_close(ntk_metric(model, X2, memory_budget=budget), trace, rtol=1e-10, atol=1e-12)
    one = torch.stack([mixed_derivatives(model, x, weights[1:2]) for x in X2[:2]])
    torch.testing.assert_close(ntk_metric(model, X2[:2], output=1, memory_budget=budget), one, rtol=1e-10, atol=1e-12)
    mean = ntk_metric(model, X2[0], output="mean", memory_budget=budget)
    torch.testing.assert_close(mean, trace[0] / 3, rtol=1e-10, atol=1e-12)
    rows = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    slices = ntk_metric(model, X2, directions=rows, memory_budget=budget)
    torch.testing.assert_close(slices, rows @ trace @ rows.T, rtol=1e-10, atol=1e-12)


class Recurrent(nn.Module):
    """What torch cannot batch over points."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(1, 3, batch_first=True)

    def forward(self, x):
        return self.cell(x[..., None])[0][:, -1]


@pytest.mark.parametrize("budget", [2**28, 1])
def test_recurrent_modules(budget):
    torch.manual_seed(0)
    model = Recurrent().double()
    wanted = torch.stack([mixed_derivatives(model, x, torch.eye(3, dtype=torch.float64)) for x in X2])
    torch.testing.assert_close(ntk_metric(model, X2, memory_budget=budget), wanted, rtol=1e-10, atol=1e-12)


def test_operations_without_rules_of_torch_by_parameters():
    torch.manual_seed(0)
    first = nn.utils.parametrizations.weight_norm(nn.Linear(2, 6))
    model = nn.Sequential(first, nn.GroupNorm(2, 6), nn.PReLU(6), nn.Linear(6, 2)).double()
    for p in model[1:3].parameters():
        nn.init.normal_(p)
    wanted = torch.stack([mixed_derivatives(model, x, torch.eye(2, dtype=torch.float64)) for x in X2])
    torch.testing.assert_close(ntk_metric(model, X2), wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(linearize(model)(X2), model(X2))


def test_points_of_several_axes_and_few_directions_at_a_time():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 2)).double()
    x = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    whole = ntk_metric(model, x, input_shape=(1, 5, 5))
    parameters = sum(p.numel() for p in model.parameters())
    torch.testing.assert_close(ntk_metric(model, x, input_shape=(1, 5, 5), memory_budget=8 * 4 * 7 * parameters), whole)
    features = pullback(linearize(model).tangent_features, x[:1], input_shape=(1, 5, 5))
    torch.testing.assert_close(features.metric, whole[:1])


def test_wide_networks_have_the_metric_of_infinite_width():
    torch.manual_seed(0)
    found = np.stack([ntk_metric(Network(64, 1, 1.3, 0.4), X2).numpy() for _ in range(16)])
    radial = infgeo.MLP("erf", weight_std=1.3, bias_std=0.4).ntk.metric.numeric()
    z = (found.mean(0) - radial.metric(X2.numpy())) / (found.std(0, ddof=1) / math.sqrt(16))
    assert np.abs(z).max() < 4


def test_relu_has_the_metric_of_a_piece_and_none_in_the_limit():
    model, x = network(nn.ReLU)[:2], X2[:1]
    model.append(nn.Linear(6, 3).double())
    torch.testing.assert_close(ntk_metric(model, x)[0], mixed_derivatives(model, x[0], torch.eye(3).double()))
    near = x + torch.tensor([[1e-6, 2e-6]], dtype=torch.float64)
    k = ntk(model, torch.cat([x, near]), output="trace")
    squared, (v,) = k[0, 0] + k[1, 1] - 2 * k[0, 1], near - x
    torch.testing.assert_close(squared, v @ ntk_metric(model, x)[0] @ v, rtol=1e-3, atol=0.0)
    with pytest.raises(MetricDoesNotExist):
        infgeo.MLP("relu").ntk.metric  # noqa: B018


class NoRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()


class Sine(nn.Module):
    def forward(self, x):
        return NoRule.apply(x)


def test_what_has_no_second_derivatives_is_refused():
    model = nn.Sequential(nn.Linear(2, 4), Sine(), nn.Linear(4, 2)).double()
    twin = nn.Sequential(model[0], infgeo.training.activation_module("sin"), model[2])
    torch.testing.assert_close(ntk(model, X2), ntk(twin, X2))  # by plain autograd, a point after the other
    with pytest.raises(InvalidInput, match="no second derivatives of the module by parameters and points"):
        ntk_metric(model, X2)
    with pytest.raises(InvalidInput, match="directions has shape"):
        ntk_metric(twin, X2, directions=[1.0, 2.0])
