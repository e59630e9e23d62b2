"""The tangent kernel of modules: brute force, memory, the limit of infinite width, and what is refused."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import infgeo
from infgeo.errors import InvalidInput
from infgeo.finite import fisher, ntk
from infgeo.finite.preflight import _Made


def gradients(model, x):
    """J (C, P) at one point, by plain autograd, output by output."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for value in model(x[None])[0].flatten():
        found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(found, parameters, strict=True)]
            )
        )
    return torch.stack(rows)


def brute_force(model, X, Y):
    left, right = (torch.stack([gradients(model, x) for x in points]) for points in (X, Y))
    return torch.einsum("xcp,ydp->xycd", left, right)


class Tied(nn.Module):
    """One weight in two layers, and one that is used outside its layer, too."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.second.weight = self.first.weight

    def forward(self, x):
        h = torch.tanh(self.second(torch.tanh(self.first(x))))
        return self.last(h) + x @ self.last.weight.T


class Branching(nn.Module):
    """What torch.func cannot batch: it asks for values."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.stack([z.tanh() if z.sum() > 0 else z.sin() for z in self.first(x)]))


class Scaled(nn.Module):
    """A parameter that is one number."""

    def __init__(self):
        super().__init__()
        self.scale, self.last = nn.Parameter(torch.tensor(0.5)), nn.Linear(3, 2)

    def forward(self, x):
        return self.last(torch.sin(x)) * self.scale


class Determinant(nn.Linear):
    """What torch batches wrongly in reverse mode (2.13), and not point by point."""

    def forward(self, x):
        matrices = super().forward(x).unflatten(-1, (3, 3))
        return torch.stack((torch.linalg.det(matrices), matrices.sum(dim=(-2, -1))), -1)


def called_twice():
    layer, norm = nn.Linear(3, 3), nn.BatchNorm1d(3).eval()
    return nn.Sequential(layer, norm, nn.Tanh(), layer, norm, nn.Linear(3, 2)).eval()


def dense():
    model = nn.Sequential(nn.Linear(3, 6), nn.GELU(), nn.LayerNorm(6), nn.Linear(6, 6, bias=False), nn.Linear(6, 2))
    model[0].bias.requires_grad_(False)
    model[4].weight.requires_grad_(False)
    return model


def convolutional():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 3)
    ).eval()
    model[1].running_mean.uniform_()
    return model


MODELS = {
    "dense": (dense, (3,)),
    "convolutional": (convolutional, (1, 6, 6)),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True).eval(),
        (2, 4),
    ),
    "tied": (Tied, (3,)),
    "branching": (Branching, (3,)),
    "scaled": (Scaled, (3,)),
    "determinant": (lambda: Determinant(3, 9), (3,)),
    "called twice": (called_twice, (3,)),
}


@pytest.mark.parametrize("name", MODELS)
def test_kernel_is_that_of_plain_autograd_whatever_fits(name):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model = make().double()
    X, Y = torch.randn(3, *shape, dtype=torch.float64), torch.randn(2, *shape, dtype=torch.float64)
    state = copy.deepcopy(model.state_dict())
    weights = torch.linspace(-1, 1, model(X).flatten(1).shape[1], dtype=torch.float64)
    full, across = brute_force(model, X, X), brute_force(model, X, Y)
    trace = across.diagonal(dim1=2, dim2=3).sum(-1)
    for other, output, expected, budget in (
        (None, "full", full, 2**28),
        (None, "full", full, 10**4),  # bytes
        (None, "full", full, 1),
        (None, "trace", full.diagonal(dim1=2, dim2=3).sum(-1), 10**4),
        (Y, "full", across, 10**4),
        (Y, "mean", trace / len(weights), 2**28),
        (Y, "trace", trace, 1),
        (Y, 1, across[..., 1, 1], 1),
        (Y, weights, weights @ across @ weights, 2**28),
    ):
        found = ntk(model, X, other, output=output, input_shape=shape, memory_budget=budget)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("output", ["full", "trace"])
def test_no_array_is_larger_than_the_budget(output):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 30, 3), nn.Tanh(), nn.Conv1d(30, 50, 3), nn.Flatten(), nn.Linear(200, 4))
    X = torch.randn(20, 1, 8)
    parameters = sum(p.numel() for p in model.parameters())
    for budget in (2**19, 2**16):  # J of some points fits, and that of none
        assert budget < 4 * 4 * parameters * len(X) / 3
        with _Made(torch.zeros(1)) as made:
            found = ntk(model, X, output=output, input_shape=(1, 8), memory_budget=budget)
        assert 4 * made.numbers <= max(budget, 8 * found.numel())
        torch.testing.assert_close(found, ntk(model, X, output=output, input_shape=(1, 8)), rtol=1e-4, atol=1e-4)


class Network(nn.Module):
    """NTK parametrisation: standard normal parameters, scales in the forward pass, a readout of unit variance."""

    def __init__(self, width, depth, weight_std, bias_std):
        super().__init__()
        sizes = [2] + [width] * depth
        self.weights = nn.ParameterList(torch.randn(n, m).double() for m, n in pairwise(sizes))
        self.biases = nn.ParameterList(torch.randn(n).double() for n in sizes[1:])
        self.readout = nn.Parameter(torch.randn(1, width).double())
        self.scales = (weight_std, bias_std)

    def forward(self, x):
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            fan = weight.shape[1] if layer else 1
            x = torch.erf((self.scales[0] * x @ weight.T / math.sqrt(fan) + self.scales[1] * bias) / math.sqrt(2))
        return x @ self.readout.T / math.sqrt(len(self.readout.T))


X2 = torch.tensor([[0.3, -0.4], [1.0, 0.2], [-0.5, 2.0]], dtype=torch.float64)


def replicates(width, depth, count):
    torch.manual_seed(width)
    return np.stack([ntk(Network(width, depth, 1.3, 0.4), X2, output="trace").numpy() for _ in range(count)])


def test_wide_networks_have_the_kernel_of_infinite_width():
    """One layer has its kernel in the mean at every width; the spread is that of a mean over units."""
    spread = {}
    for depth, width, count in ((1, 8, 16), (1, 128, 16), (2, 128, 16)):
        found = replicates(width, depth, count)
        limit = infgeo.MLP("erf", depth=depth).numeric(weight_std=1.3, bias_std=0.4).ntk(X2.numpy())
        spread[depth, width] = found.std(0, ddof=1)
        z = (found.mean(0) - limit) / (spread[depth, width] / math.sqrt(count))
        assert np.abs(z[np.triu_indices(3)]).max() < 4
    assert 2.8 < np.mean(spread[1, 8] / spread[1, 128]) < 5.6  # 4


def test_options_of_pullback():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Dropout(), nn.Linear(4, 3))
    hidden = ntk(model, X2.float(), layer="1", freeze=True)
    torch.testing.assert_close(hidden, brute_force(model[:2], X2.float(), X2.float()).double())
    assert model.training
    precise = ntk(model.eval().half(), X2.numpy(), dtype=torch.float64)
    torch.testing.assert_close(precise, brute_force(copy.deepcopy(model).double(), X2, X2))
    predictions = nn.Sequential(model.double(), fisher(nn.Identity()))
    torch.testing.assert_close(ntk(fisher(model), X2), brute_force(predictions, X2, X2))
    coarse = nn.Sequential(model, Coarse())
    torch.testing.assert_close(ntk(coarse, X2), brute_force(model, X2, X2), rtol=1e-5, atol=1e-6)
    assert ntk(model, X2[:0], X2).shape == (0, 3, 3, 3)


class Coarse(nn.Module):
    """In float32, as norms of language models are."""

    def forward(self, x):
        return x.float()


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x) + self.layer(x).detach()


NET = nn.Linear(2, 3).double()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ntk(nn.Linear(2, 3).double().requires_grad_(False), X2), "no parameter that requires a gradient"),
        (lambda: ntk(lambda x: x, X2), "torch module"),
        (lambda: ntk(torch.jit.script(NET), X2), "ScriptModule"),
        (lambda: ntk(NET, X2[0]), r"X has shape \(2,\); pass N points"),
        (lambda: ntk(NET, X2, X2[:, :1]), "Y has shape"),
        (lambda: ntk(NET, X2, X2.float()), "Y is torch.float32"),
        (lambda: ntk(NET, X2.int()), "X has dtype"),
        (lambda: ntk(NET, X2, output=3), "output is 3"),
        (lambda: ntk(NET, X2, output="sum"), "choose from 'full', 'trace', 'mean'"),
        (lambda: ntk(NET, X2, output=[1.0, 2.0]), "3 weights of a sum"),
        (lambda: ntk(nn.Sequential(NET, nn.Dropout()), X2), "training mode"),
        (lambda: ntk(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), X2.float()), "training mode"),
        (lambda: ntk(nn.LSTM(2, 3).double(), X2), "must be a real tensor"),
        (lambda: ntk(Hidden().double(), X2), "not that of its values"),
        (lambda: ntk(NET, 1e200 * X2), "not finite at"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_one_error_that_says_what_to_do(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
