"""Geometry with derivatives by the parameters."""

import numpy as np
import pytest
import torch
from torch import nn

import infgeo
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import log_volume, metric, pullback, pullback_slice, ricci_scalar


def network(d=2, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(d, 12), nn.Tanh(), nn.Linear(12, 9), nn.Tanh()).double()


X = torch.tensor([[0.3, -0.4], [1.0, 0.2], [0.0, 0.0]], dtype=torch.float64)
FUNCTIONS = {"metric": metric, "log_volume": log_volume, "ricci_scalar": ricci_scalar}
NAMES = {"metric": "metric", "log_volume": "log_volume_element", "ricci_scalar": "ricci_scalar"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_the_pullback(name):
    model = network()
    torch.testing.assert_close(
        FUNCTIONS[name](model, X), getattr(pullback(model, X), NAMES[name]), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(FUNCTIONS[name](model, X[0]), getattr(pullback(model, X[0]), NAMES[name]))  # one point
    layer = FUNCTIONS[name](model, X[None], layer="1")
    torch.testing.assert_close(layer[0], getattr(pullback(model, X, layer="1"), NAMES[name]), rtol=1e-10, atol=1e-12)


def normalised(norm):
    return [nn.Linear(2, 12), nn.Unflatten(1, (3, 4)), norm, nn.Flatten(), nn.Linear(12, 5)]


@pytest.mark.parametrize(
    "parts",
    [
        normalised(nn.LayerNorm(4)),
        normalised(nn.InstanceNorm1d(3)),
        [nn.Linear(2, 6), nn.SiLU(), nn.Linear(6, 5)],
        [nn.Linear(2, 12), nn.GLU(), nn.Linear(6, 5)],
    ],
    ids=["layer norm", "instance norm", "SiLU", "GLU"],
)
def test_curvature_where_torch_has_no_rule_or_a_wrong_one(parts):
    torch.manual_seed(0)
    model = nn.Sequential(*parts).double()
    wanted = pullback(model, X).ricci_scalar
    assert wanted.abs().min() > 1e-3
    inside = torch.func.grad_and_value(lambda x: ricci_scalar(model, x).sum())(X)[1]
    torch.testing.assert_close(inside, wanted.sum(), rtol=1e-9, atol=0)
    for graph in (True, False):
        torch.testing.assert_close(ricci_scalar(model, X, create_graph=graph), wanted, rtol=1e-9, atol=0)
    assert torch.autograd.gradcheck(lambda x: ricci_scalar(model, x), X[:1].clone().requires_grad_())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_points_give_no_numbers(name):
    model = network()
    found = FUNCTIONS[name](model, X[:0])
    assert found.shape == getattr(pullback(model, X[:0]), NAMES[name]).shape
    (found.sum() + FUNCTIONS[name](model, X).sum()).backward()
    assert torch.isfinite(model[0].weight.grad).all()


class Centred(nn.Linear):
    """Sees the batch in training mode, without a layer that says so."""

    def forward(self, x):
        h = super().forward(x).tanh()
        return h - h.mean(0) if self.training else h


def test_another_mode_is_looked_at_anew():
    torch.manual_seed(0)
    model = Centred(2, 5).double().eval()
    before = log_volume(model, X)
    with pytest.raises(InvalidInput, match="depend on the other points"):
        log_volume(model.train(), X)
    assert torch.equal(log_volume(model.eval(), X), before)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slices_cost_their_directions(name):
    model, directions = network(d=30), torch.randn(2, 30, dtype=torch.float64)
    x = torch.randn(4, 30, dtype=torch.float64)
    found = FUNCTIONS[name](model, x, directions=directions)
    for point, value in zip(x, found, strict=True):
        wanted = pullback_slice(model, [[0.0, 0.0]], point, directions)
        torch.testing.assert_close(value, getattr(wanted, NAMES[name])[0], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_by_parameters_and_points_are_those_of_differences(name):
    model = network()
    weight = model[0].weight.detach().clone().requires_grad_()
    x = X[:2].clone().requires_grad_()

    def value(w, points):
        return FUNCTIONS[name](lambda p: torch.func.functional_call(model, {"0.weight": w}, (p,)), points)

    assert torch.autograd.gradcheck(value, (weight, x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inside_torch_func(name):
    model = network()
    parameters = {key: p.detach() for key, p in model.named_parameters()}

    def loss(values):
        return FUNCTIONS[name](lambda p: torch.func.functional_call(model, values, (p,)), X).square().sum()

    found = torch.func.grad(loss)(parameters)
    FUNCTIONS[name](model, X).square().sum().backward()
    for key, p in model.named_parameters():
        torch.testing.assert_close(found[key], torch.zeros_like(p) if p.grad is None else p.grad)


@pytest.mark.parametrize("thin", [1.0, 1e-3, 1e-6])
def test_volumes_of_thin_metrics(thin):
    """Where squares lose digits, the Jacobian is factored and not the metric."""
    model = network()
    with torch.no_grad():
        model[0].weight[:, 1] = model[0].weight[:, 0] + thin * model[0].weight[:, 1]
    wanted = pullback(model, X).log_volume_element
    torch.testing.assert_close(log_volume(model, X), wanted, rtol=0, atol=1e-11 / thin)
    log_volume(model, X).sum().backward()
    assert torch.isfinite(model[0].weight.grad).all()


def test_a_penalty_trains():
    """Descent on the variance of log volume makes the metric more even; the module stays as it is otherwise."""
    model = network().float()
    x = torch.randn(32, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    spread = []
    for _ in range(40):
        optimizer.zero_grad()
        penalty = log_volume(model, x).var()
        penalty.backward()
        optimizer.step()
        spread.append(penalty.item())
    assert spread[-1] < 0.2 * spread[0] and model.training


def test_images_and_convolutions():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 20)).double()
    x, directions = torch.randn(2, 1, 6, 6).double(), torch.randn(2, 1, 6, 6).double()
    found = log_volume(model, x, directions=directions, input_shape=(1, 6, 6))
    wanted = pullback_slice(model, [[0.0, 0.0]], x[1], directions, input_shape=(1, 6, 6)).log_volume_element[0]
    assert found.shape == (2,) and found[1].item() == pytest.approx(wanted.item(), rel=1e-10)
    found.sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    assert not log_volume(model, x, directions=directions, input_shape=(1, 6, 6), create_graph=False).requires_grad


def test_autocast_is_not_heeded():
    model, x = network().float(), X.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = log_volume(model, x)
    assert found.dtype == torch.float32 and torch.equal(found, log_volume(model, x))


class OldFunction(torch.autograd.Function):
    """Without what torch.func needs: plain autograd alone differentiates it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, slope):
        return slope * (1 - ctx.saved_tensors[0].tanh() ** 2)


def test_without_a_graph_only_numbers_are_given():
    linear = nn.Linear(2, 5).double()

    def features(x):
        return OldFunction.apply(linear(x))

    with pytest.raises(InvalidInput, match="create_graph=False"):
        log_volume(features, X)
    wanted = pullback(nn.Sequential(linear, nn.Tanh()), X).log_volume_element
    torch.testing.assert_close(log_volume(features, X, create_graph=False), wanted)


class Hidden(nn.Module):
    def forward(self, x):
        return torch.cat((x, x.detach() ** 2), -1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: log_volume(nn.Linear(2, 1).double(), X), SingularMetric, "3 of 3 points, of 1 features"),
        (lambda: ricci_scalar(nn.Linear(2, 1).double(), X), SingularMetric, "no full rank"),
        (lambda: log_volume(lambda x: x * 0, X), SingularMetric, "no full rank"),
        (lambda: log_volume(nn.Sequential(nn.Linear(2, 4), nn.Dropout()).double(), X), InvalidInput, "training mode"),
        (
            lambda: log_volume(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)).double(), X),
            InvalidInput,
            "training mode",
        ),
        (lambda: metric(network(), np.zeros((3, 2))), InvalidInput, "pass a tensor"),
        (lambda: metric(network(), X, directions=torch.ones(2, 3)), InvalidInput, "directions"),
        (lambda: metric(network(), X, layer="9"), InvalidInput, "9"),
        (lambda: metric(Hidden(), X), InvalidInput, "not those of its values"),
        (lambda: metric(3, X), InvalidInput, "callable"),
    ],
)
def test_what_has_no_such_geometry(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_derivatives_are_held_against_differences_once(monkeypatch):
    calls = []
    original = infgeo.finite.in_loss.choose
    monkeypatch.setattr(infgeo.finite.in_loss, "choose", lambda *a: calls.append(1) or original(*a))
    model = network()
    for _ in range(3):
        log_volume(model, X)
    assert len(calls) == 1
    ricci_scalar(model, X)
    assert len(calls) == 2
