"""Multilayer perceptrons: their distribution, their activations, and the geometry of the infinite-width limit."""

from __future__ import annotations

import copy
import math
import pickle

import mpmath
import pytest
import sympy
import torch
from torch import nn

import infgeo
from infgeo.errors import InvalidInput, UnknownActivation
from infgeo.finite import pullback
from infgeo.finite.geometry_at_points import PIECEWISE_LINEAR
from infgeo.finite.stack import as_stack
from infgeo.finite.torch_activation import NATIVE, ElementwiseActivation
from infgeo.training import activation_module, mlp
from infgeo.training.activation_modules import _MODULES

PARAMETERS = {
    "gabor": {"frequency": 1.3},
    "leaky_relu": {"alpha": 0.2},
    "rbf": {"gamma": 0.7},
    "scaled_erf": {"scale": 1.5},
    "scaled_gaussian": {"scale": 0.6},
    "sinusoid": {"amplitude": 2.0, "frequency": 0.9, "phase": 0.4},
}


def test_layers_have_names_and_sizes():
    model = mlp([784, 20, 30, 10], "gelu", "torch")
    assert [n for n, _ in model.named_children()] == ["hidden1", "activation1", "hidden2", "activation2", "readout"]
    assert type(model.activation1) is nn.GELU
    assert [tuple(p.shape) for p in model.parameters()] == [(20, 784), (20,), (30, 20), (30,), (10, 30), (10,)]
    assert tuple(model(torch.zeros(5, 784)).shape) == (5, 10)


@pytest.mark.parametrize("parametrisation", ["paper", "scripts", "torch"])
def test_a_seed_is_a_network_and_the_global_state_stays(parametrisation):
    before = torch.get_rng_state()
    first, again, other = (mlp([2, 8, 8, 2], "erf", parametrisation, seed=s) for s in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_torchs_parametrisation_is_what_torch_draws():
    with torch.random.fork_rng():
        torch.manual_seed(11)
        wanted = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 2))
    model = mlp([3, 7, 5, 2], "tanh", "torch", seed=11)
    for a, b in zip(model.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(a, b)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x), wanted(x))


def test_the_scripts_scale_the_biases_behind_the_first_layer():
    paper, scripts = (mlp([2, 8, 3, 2], "tanh", p, seed=5, dtype=torch.float64) for p in ("paper", "scripts"))
    x = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(scripts[:2](x), paper[:2](x))
    with torch.no_grad():
        paper.hidden2.bias *= 8**-0.5
        paper.readout.bias *= 3**-0.5
    torch.testing.assert_close(scripts(x), paper(x))


def test_the_papers_parametrisation_is_its_formula():
    model = mlp([3, 50, 20, 2], "erf", seed=1, dtype=torch.float64)
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
    first, second, last = model.hidden1, model.hidden2, model.readout
    h = torch.erf((x @ first.weight.T + first.bias) / math.sqrt(2)) / math.sqrt(50)
    h = torch.erf((h @ second.weight.T + second.bias) / math.sqrt(2)) / math.sqrt(20)
    torch.testing.assert_close(model(x), h @ last.weight.T + last.bias, rtol=1e-13, atol=1e-13)
    single = mlp([3, 50, 20, 2], "erf", seed=1)
    assert torch.equal(single.hidden2.weight, second.weight.float())


def test_the_papers_entries_are_standard_normal():
    values = torch.cat(
        [p.detach().flatten() for p in mlp([100, 200, 100], "relu", seed=5, dtype=torch.float64).parameters()]
    )
    count = len(values)
    assert abs(float(values.mean())) * math.sqrt(count) < 4
    assert abs(float(values.square().mean() - 1)) * math.sqrt(count / 2) < 4
    assert abs(float((values**4).mean() - 3)) * math.sqrt(count / 96) < 4


@pytest.mark.parametrize("name", infgeo.activations.available())
def test_every_activation_is_the_catalogues(name):
    """Values against mpmath at 30 digits, with and without a factor; so torch's own functions are held to them, too."""
    parameters = PARAMETERS.get(name, {})
    entry = infgeo.activations.get(name)
    values = {sympy.Symbol(k): sympy.Rational(v) for k, v in parameters.items()}
    expr = entry.expr.subs({s: values[sympy.Symbol(s.name)] for s in entry.expr.free_symbols if s != entry.symbol})
    points = [-30.0, -3.7, -1.1, -0.3, -1e-6, 1e-6, 0.4, 1.3, 5.2, 30.0]
    if name in ("exp",):
        points = points[:-1]
    z = torch.tensor(points, dtype=torch.float64)
    wanted = [mpmath.mpf(sympy.N(expr.subs(entry.symbol, sympy.Rational(p)), 30)) for p in points]
    plain, scaled = (activation_module(name, factor, parameters=parameters) for factor in (1.0, 0.25))
    for module, factor in ((plain, 1.0), (scaled, 0.25)):
        for got, value in zip(module(z).tolist(), wanted, strict=True):
            assert abs(got - factor * value) <= 1e-13 * abs(value) + 1e-15, (name, factor)
    assert type(plain) is _MODULES.get(name, ElementwiseActivation)
    assert type(scaled) is ElementwiseActivation and scaled.native == (name if name in NATIVE else "")


@pytest.mark.parametrize("name", ["erf", "gelu", "sigmoid", "relu", "softplus", "elu", "sin"])
@pytest.mark.parametrize("shape", [[3, 40, 2], [3, 12, 40, 2]])
def test_the_fast_route_takes_it_and_agrees_with_torchs_derivatives(name, shape):
    model = mlp(shape, name, seed=2, dtype=torch.float64)
    features = model[:-1]
    assert as_stack(features).depth == len(shape) - 2
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fast = pullback(features, x)
    slow = pullback(lambda u: features(u), x)  # a callable: the general route
    torch.testing.assert_close(fast.metric, slow.metric, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(fast.ricci_scalar, slow.ricci_scalar, rtol=1e-9, atol=1e-9)
    layer = pullback(model, x, layer=f"activation{len(shape) - 2}")
    torch.testing.assert_close(fast.metric, layer.metric, rtol=1e-12, atol=1e-13)
    jacobian = torch.func.vmap(torch.func.jacrev(features))(x)
    torch.testing.assert_close(fast.metric, jacobian.mT @ jacobian, rtol=1e-12, atol=1e-13)
    assert (fast.note == PIECEWISE_LINEAR) == (name == "relu")


def test_activations_between_others_and_nested_are_taken():
    parts = mlp([2, 6, 6, 2], "erf", dtype=torch.float64)
    features = nn.Sequential(
        nn.Sequential(parts.hidden1, parts.activation1, nn.Tanh()), parts.hidden2, parts.activation2
    )
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert as_stack(features) is not None
    torch.testing.assert_close(pullback(features, x).ricci_scalar, pullback(lambda u: features(u), x).ricci_scalar)
    hooked = copy.deepcopy(parts)
    hooked.activation1.register_forward_hook(lambda *_: None)
    assert as_stack(hooked[:-1]) is None


@pytest.mark.parametrize(("name", "depth"), [("erf", 1), ("sigmoid", 1), ("erf", 2), ("tanh", 2)])
def test_the_initial_metric_is_that_of_infinite_width(name, depth):
    """z-scores over seeds. E[g] of one layer is exact at any width; deeper ones are biased at O(1/n)."""
    width, seeds = (64, 200) if depth == 1 else (400, 60)
    x = torch.tensor([[0.0, 0.0], [0.6, -0.3], [2.0, 1.0]], dtype=torch.float64)
    metrics = torch.stack(
        [
            pullback(mlp([2, *[width] * depth, 3], name, seed=s, dtype=torch.float64)[:-1], x).metric
            for s in range(seeds)
        ]
    )
    network = infgeo.MLP(name, depth=depth)
    method = {"sigmoid": "quadrature", "tanh": "quadrature"}.get(name)
    geometry = network.numeric(weight_std=1.0, bias_std=1.0, **({"method": method} if method else {}))
    wanted = torch.from_numpy(geometry.metric(x.numpy()))
    error = metrics.std(0) / math.sqrt(seeds)
    z = (metrics.mean(0) - wanted) / error
    assert float(z.abs().max()) < 4.5
    # ... and it would have seen a factor of 1 + 4 standard errors, below 15 % here
    assert float((4 * error / wanted.abs().clamp_min(0.05)).diagonal(dim1=-2, dim2=-1).max()) < 0.15


def test_copies_and_pickles_are_the_same_network():
    model = mlp([2, 5, 2], "erf(2*z) + z/7")
    x = torch.randn(3, 2)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(x), model(x))
    other = mlp([2, 5, 2], "erf(2*z) + z/7", seed=9)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))


def test_text_and_expressions_are_activations():
    z = sympy.Symbol("z")
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    for given in ("tanh(z)", sympy.tanh(z), "tanh"):
        assert type(activation_module(given)) is nn.Tanh
    assert torch.equal(activation_module("z**2/2")(x), x.square() / 2)
    assert "2*z" in repr(activation_module("erf(2*z)"))


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (([2, 2], "erf"), {}, r"widths is \[2, 2\]"),
        ((250, "erf"), {}, "widths is 250"),
        (("2,3,2", "erf"), {}, "widths is '2,3,2'"),
        (([2, 0, 2], "erf"), {}, r"widths\[1\] is 0"),
        (([2, 2.5, 2], "erf"), {}, r"widths\[1\] is 2.5"),
        (([2, 3, 2], "erf", "ntk"), {}, "parametrisation is 'ntk'; choose from 'paper', 'scripts', 'torch'"),
        (([2, 3, 2], "erf"), {"seed": -1}, "seed is -1"),
        (([2, 3, 2], "erf"), {"dtype": torch.float16}, "dtype is torch.float16"),
        (([2, 3, 2], "leaky_relu"), {}, "alpha"),
        (([2, 3, 2], "erf"), {"parameters": {"alpha": 1.0}}, "parameters name alpha"),
        (([2, 3, 2], "leaky_relu"), {"parameters": {"alpha": float("inf")}}, "alpha.*inf"),
    ],
)
def test_arguments_outside_their_domain(arguments, options, said):
    with pytest.raises(InvalidInput, match=said):
        mlp(*arguments, **options)


def test_an_unknown_activation_is_named_with_the_nearest():
    with pytest.raises(UnknownActivation, match="sigmoid"):
        mlp([2, 3, 2], "sigmoyd")
