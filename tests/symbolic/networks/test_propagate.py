"""The states of the fold against each other: plain and logarithmic."""

from __future__ import annotations

import pytest
from sympy import Rational

import infgeo
from infgeo.conventions import d, s, sigma_b, sigma_w
from infgeo.layers import Residual, RMSNorm
from infgeo.symbolic.kernels.radial import Radial
from infgeo.symbolic.networks.propagate import propagate

AT = {s: Rational(7, 3), d: 5, sigma_w: Rational(5, 4), sigma_b: Rational(1, 2)}
NETWORKS = {
    "erf": {"activation": "erf", "depth": 3},
    "a growing factor": {"activation": "exp(z) + z", "depth": 2, "weight_std": Rational(1, 2), "bias_std": 1},
    "mixed": {"activation": ["erf", "relu"], "weight_std": [1, 2], "bias_std": 0},
    "residual": {"activation": ["erf", Residual("gelu", skip=2, branch=Rational(1, 3)), RMSNorm(1), "relu"]},
    "fan-in after a norm": {"activation": [RMSNorm(1), "gaussian", "gelu"], "input_scale": "fan_in"},
    "centred": {"activation": ["exp(z/2)", RMSNorm(1), infgeo.layers.LayerNorm(1), Residual("gelu", skip=2), "erf"]},
    "fan-in": {"activation": ["z**2", "sin"], "input_scale": "fan_in", "bias_std": 0},
}


def close(x, y):
    return abs(x - y) <= 1e-18 * (abs(x) + abs(y))


@pytest.mark.parametrize("name", NETWORKS)
def test_logarithmic_quantities_are_the_plain_metric(name):
    """A and B by A <- m0 A, B <- m0 B + 2 m0' f'^2 as they stand, against the program that people read."""
    mlp = infgeo.MLP(**NETWORKS[name])
    plain = propagate(mlp.layers, Radial())
    for output, value in (("A", plain.A), ("B", plain.B)):
        assert close(mlp.metric_program.evaluate(output, AT, 20), value.xreplace(AT).evalf(20)), output


def test_a_layer_of_a_users_own_is_one_method():
    """Anything with `apply` is a layer: two dense ones in one."""
    erf, relu = infgeo.MLP(["erf", "relu"], weight_std=1, bias_std=1).layers

    class Both:
        def apply(self, state):
            return relu.apply(erf.apply(state))

    assert propagate([Both()], Radial()) == propagate([erf, relu], Radial())


def test_widths_are_filled_in_by_the_network():
    """Of the input, d coordinates; of hidden features, whose squared norms are means, 1: wherever a layer came from."""
    norm = infgeo.MLP([RMSNorm(1), "erf"]).layers[0]
    assert norm.width == d and infgeo.MLP(["erf", norm, "erf"]).layers[1].width == 1
    first, second = infgeo.MLP("erf", depth=2, input_scale="fan_in").layers
    assert first.width == d and second.width == 1 and first == second
