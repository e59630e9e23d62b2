"""Linearised modules: their kernel, what gradient descent makes of them, and how they are kept."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite import linearize, ntk


def network(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 8), nn.Linear(8, 2)).double()
    model[3].weight = nn.Parameter(model[3].weight.detach(), requires_grad=False)
    model[1].running_mean.uniform_()
    return model.eval()


X = torch.tensor([[0.3, -0.4], [1.0, 0.2], [-0.5, 2.0]], dtype=torch.float64)
FAR = torch.tensor([[0.1, 0.9], [-1.5, 0.3]], dtype=torch.float64)


def moved(model, seed=1):
    torch.manual_seed(seed)
    linear = linearize(model)
    with torch.no_grad():
        for value in linear.delta:
            value.normal_()
    return linear


def test_it_is_the_first_order_expansion_and_keeps_the_kernel():
    model = network()
    linear = moved(model)
    torch.testing.assert_close(linearize(model)(X), model(X))
    step, shifted = 1e-6, copy.deepcopy(model)
    trained = [p for p in shifted.parameters() if p.requires_grad]
    with torch.no_grad():
        for p, delta in zip(trained, linear.delta, strict=True):
            p += step * delta
        slope = (shifted(X) - model(X)) / step
        torch.testing.assert_close(linear(X) - model(X), slope, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ntk(linear, X, FAR), ntk(model, X, FAR), rtol=1e-12, atol=1e-12)


def test_gradient_descent_is_kernel_regression():
    """f_T(x) = f_0(x) + Θ(x, X) Θ⁻¹ (1 - (1 - ηΘ)^T) (y - f_0(X)) for the loss |f(X) - y|²/2, all outputs together."""
    model, steps, rate = network(), 60, 0.02
    y = torch.tensor([[1.0, 0.0], [-1.0, 2.0], [0.5, 0.5]], dtype=torch.float64)
    linear = linearize(model)
    optimizer = torch.optim.SGD(linear.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        ((linear(X) - y).square().sum() / 2).backward()
        optimizer.step()

    def matrix(left, right):
        return ntk(model, left, right).transpose(1, 2).reshape(2 * len(left), 2 * len(right))

    theta = matrix(X, X)
    values, vectors = torch.linalg.eigh(theta)
    assert rate * values[-1] < 2
    learned = (1 - (1 - rate * values) ** steps) / values
    with torch.no_grad():
        change = vectors @ (learned * (vectors.T @ (y - model(X)).flatten()))
        expected = model(FAR) + (matrix(FAR, X) @ change).reshape(2, 2)
        assert (linear(FAR) - model(FAR)).abs().max() > 0.1
        torch.testing.assert_close(linear(FAR), expected, rtol=1e-10, atol=1e-10)


def test_it_is_kept_and_copied():
    model = network()
    linear = moved(model)
    again = linearize(network(seed=5))
    file = io.BytesIO()
    torch.save(linear.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    for other in (again, copy.deepcopy(linear), pickle.loads(pickle.dumps(linear))):
        assert torch.equal(other(X), linear(X))
    before = linear(X)
    with torch.no_grad():
        model[0].weight.zero_()
    assert not linearize(network().train(), freeze=True).base.training
    linear.train()
    assert torch.equal(linear(X), before)  # neither the module nor the mode counts
    assert linear.training
    assert [p.shape for p in linear.parameters() if p.requires_grad] == [p.shape for p in linear.delta]
    assert len(linear.delta) == 7


def test_attention_with_and_without_a_graph():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True).double().eval()
    linear, x = moved(model), torch.randn(3, 2, 4, dtype=torch.float64)
    with torch.no_grad():
        plain = linear(x)
    torch.testing.assert_close(linear(x), plain)
    assert linear(x).shape == model(x).shape


class Stateful(nn.Module):
    """Has a weight of an old weight norm, keeps what it computed, and counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.linear = nn.utils.weight_norm(nn.Linear(2, 4))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.calls += 1
        self.last = torch.cdist(self.linear(x).unflatten(1, (2, 2)), self.linear.weight).flatten(1)
        return self.last


def test_state_and_rules_that_torch_lacks():
    torch.manual_seed(0)
    model = Stateful().double()
    model(X)  # `last` belongs to a graph, and torch copies no such tensor
    linear, step = moved(model), 1e-6
    rows = linear.tangent_features(X).reshape(3, -1, 16)
    with torch.no_grad():
        slope = linear(X) - model(X)
        torch.testing.assert_close(rows @ torch.cat([d.flatten() for d in linear.delta]), slope)
        for p, delta in zip(model.parameters(), linear.delta, strict=True):
            p += step * delta
        shifted = model(X)
        for p, delta in zip(model.parameters(), linear.delta, strict=True):
            p -= 2 * step * delta
        torch.testing.assert_close((shifted - model(X)) / (2 * step), slope, rtol=1e-6, atol=1e-6)
    assert int(linear.base.calls) == 1
    assert copy.deepcopy(linear)(X).shape == slope.shape


def test_tangent_features_of_recurrent_modules():
    """torch cannot batch their gradients by the parameters: they are taken point by point."""
    torch.manual_seed(0)
    model = nn.GRUCell(2, 3).double()
    rows = linearize(model).tangent_features(X).reshape(9, -1)
    torch.testing.assert_close((rows @ rows.T).reshape(3, 3, 3, 3).transpose(1, 2), ntk(model, X))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Tanh(), "no parameter"),
        (torch.sin, "torch module"),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout()), "training mode"),
        (nn.LazyLinear(2), "has no shape yet"),
        (nn.Linear(2, 2).half(), "float16"),
    ],
)
def test_what_cannot_be_linearised_is_refused(module, words):
    with pytest.raises(InvalidInput, match=words):
        linearize(module)
