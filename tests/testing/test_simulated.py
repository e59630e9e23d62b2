"""Simulated networks against kernels."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch

import infgeo
from infgeo.symbolic.networks.layers import Residual, RMSNorm
from infgeo.testing import agreement, check_kernel
from infgeo.testing.agreement import LEVEL, _deviations, _verdict, tangent_gram
from infgeo.testing.subject import Truth

ERF = infgeo.MLP("erf")


GEO = ERF.numeric(1.0, 0.5)


def plain(X, Y=None):
    return GEO.kernel(X, Y)


def test_simulation_catches_what_is_off_by_several_standard_errors():
    options = {"network": ERF, "weight_std": 1.0, "bias_std": 0.5, "raises": False, "skip": ["quadrature"]}
    assert check_kernel(plain, **options)["simulation"].status == "passed"
    wrong = check_kernel(lambda X, Y=None: plain(X, Y) * 1.03, **options)
    assert [check.name for check in wrong.failures] == ["simulation"]
    tangent = infgeo.MLP("relu").numeric(1.0, 0.5).ntk
    wrong = check_kernel(
        lambda X, Y=None: tangent(X, Y) * 0.9, **(options | {"network": infgeo.MLP("relu")}), kind="ntk"
    )
    assert [check.name for check in wrong.failures] == ["simulation"]
    deep = infgeo.MLP("relu", depth=2)
    numeric = deep.numeric(1.0, 0.5)
    wrong = check_kernel(lambda X, Y=None: numeric.kernel(X, Y) * 1.3, **(options | {"network": deep}))
    assert [check.name for check in wrong.failures] == ["simulation"]


def test_verdict_has_its_level():
    """Normal data around the truth are rejected about as often as stated; shifted by 6 errors they always are."""
    generator, level, runs = np.random.default_rng(0), LEVEL, 3000
    values = generator.normal(size=(runs, 1, 3, 3))
    outcomes = [_verdict(np.zeros((3, 3)), mean / 8, np.full((1, 3, 3), 1 / 8), (64,), 65) for mean in values]
    assert sum(measured > bound for measured, bound, _ in outcomes) <= 3  # Student's t expects more than this
    assert LEVEL == level == 1e-4
    measured, bound, _ = _verdict(np.full((3, 3), 6 / 8), values[0] / 8, np.full((1, 3, 3), 1 / 8), (64,), 65)
    assert measured > bound


def test_a_network_scaled_by_its_inputs_is_simulated_as_the_one_that_writes_it_out():
    """The square of exp(z) has tails too heavy at variance 1, and at 1/400 it has not."""
    options = {"input_dim": 400, "skip": ["metric", "gradient", "hessian", "quadrature"], "raises": False}
    scaled = check_kernel(infgeo.MLP("exp", bias_std=0, input_scale="fan_in").numeric(1.0), **options)
    written = check_kernel(infgeo.MLP("exp", bias_std=0).numeric(1 / 20), **options)
    assert scaled["simulation"].status == "passed"
    assert scaled["simulation"].measured == pytest.approx(written["simulation"].measured, rel=1e-6)


@pytest.mark.parametrize("input_scale", [None, "fan_in"])
@pytest.mark.parametrize(
    "layers",
    [
        ["relu", "erf"],
        ["relu", Residual("erf", skip=sympy.Symbol("g", positive=True), branch=2), "erf"],
        [RMSNorm(sympy.Rational(1, 3)), "relu", RMSNorm(2), "erf"],
    ],
)
def test_the_tails_are_judged_at_the_variances_of_the_layers(layers, input_scale, monkeypatch):
    """The variance of a layer is that of the kernel of the layers before it, in closed form."""
    seen, expected = [], []
    x = np.random.default_rng(0).normal(size=(1, 4))
    count = sum(not isinstance(layer, RMSNorm) for layer in layers)
    mlp = infgeo.MLP(layers, weight_std=[2, 1, 3][:count], bias_std=1, input_scale=input_scale)
    values = {symbol.name: 0.5 for symbol in mlp.parameters}
    monkeypatch.setattr(agreement, "_skewness", lambda _function, v, _order: seen.append(v) or 0.0)
    agreement._require_light_tails(Truth(mlp, "nngp", values), x, 1)
    for i, layer in enumerate(mlp.layers):
        if isinstance(layer, RMSNorm):
            continue
        preactivation = infgeo.layers.Dense("identity", layer.weight_std, layer.bias_std)
        before = infgeo.MLP([*mlp.layers[:i], preactivation], input_scale=input_scale)
        given = {name: values[name] for name in map(str, before.parameters)}
        expected.append(float(before.numeric(**given).kernel_diag(x)[0]))
    assert seen == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("depth", [1, 2])
def test_simulated_tangent_kernel_against_backpropagation_by_hand(depth):
    mlp = infgeo.MLP("erf", depth=depth)
    truth = Truth(mlp, "ntk", {"sigma_w": 1.3, "sigma_b": 0.6})
    network = infgeo.finite.sample_network(mlp, 2, 40, 7, weight_std=1.3, bias_std=0.6)
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    readout = torch.randn(40, generator=torch.Generator().manual_seed(7 ^ 0x5EED), dtype=torch.float64)
    with torch.no_grad():
        z, states = x @ network.weights[0].T + network.biases[0], [x]
        slopes = []
        for layer in range(depth):
            phi, slope = network.layers[layer].function.jet(z, order=1)
            phi, slope = phi.clone(), slope.clone()
            slopes.append(slope)
            states.append(phi)
            if layer + 1 < depth:
                z = phi @ network.weights[layer + 1].T + network.biases[layer + 1]
        expected = states[-1] @ states[-1].T / 40
        back = readout / 40**0.5 * slopes[-1]
        for layer in reversed(range(depth)):
            size = 1.0 if layer == 0 else 40.0
            expected += (back @ back.T) * (1.3**2 / size * states[layer] @ states[layer].T + 0.6**2)
            if layer:
                back = (back @ network.weights[layer]) * slopes[layer - 1]
    assert torch.allclose(tangent_gram(network, truth, x, 7), expected, rtol=1e-12)
    assert len(_deviations(network, truth)) == 2 * depth
