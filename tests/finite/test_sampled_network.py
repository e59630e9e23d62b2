"""Sampled networks: their distribution, their fast routes against the general one, and what is refused."""

from __future__ import annotations

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo import conventions
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import pullback, sample_network
from infgeo.finite.sampled_network import NumericLayer, SampledNetwork, specify
from infgeo.finite.stack import as_stack
from infgeo.finite.stack_geometry import prefers_gram, shallow_geometry
from infgeo.finite.unit_sums import cholesky
from infgeo.symbolic.networks.layers import Dense, Residual, RMSNorm
from tests.finite.twins import ERF, GELU, RELU, SILU, StandIn, Z, christoffel_ricci, general_geometry, network, points

CASES = [(ERF, 1), (sp.tanh(Z), 1), (GELU, 1), (SILU, 2), (ERF, 2), (sp.tanh(Z), 3), (sp.sin(Z) + Z / 3, 4)]


@pytest.mark.parametrize(("expr", "depth"), CASES)
@pytest.mark.parametrize("d", [2, 3, 5])
def test_fast_routes_agree_with_automatic_differentiation(expr: sp.Expr, depth: int, d: int) -> None:
    net = sample_network(network(expr, depth), d, 40, seed=7)
    x = torch.cat([points(4, d, seed=d), torch.zeros(1, d, dtype=torch.float64), points(2, d, seed=1, scale=1e-8)])
    fast, general = pullback(net, x), general_geometry(net, x, True, 2**28)
    torch.testing.assert_close(fast.metric, general.metric, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(2 * fast.log_volume_element, general.log_determinant, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fast.ricci_scalar, general.ricci_scalar, rtol=1e-10, atol=1e-10)
    assert fast.ricci_scalar.abs().min() > 1e-6  # the comparison compares something


@pytest.mark.parametrize(("depth", "d"), [(1, 2), (1, 3), (2, 2), (2, 3)])
def test_christoffel_twin(depth: int, d: int) -> None:
    net = sample_network(network(ERF, depth), d, 12, seed=3)
    x = points(2, d, seed=2)
    twin = torch.stack([christoffel_ricci(net, p) for p in x])
    torch.testing.assert_close(pullback(net, x).ricci_scalar, twin.detach(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("n", "d"), [(30, 2), (25, 8), (60, 20)])
def test_tensor_and_pair_form_agree(n: int, d: int) -> None:
    net = sample_network(network(ERF), d, n, seed=5)
    x = points(4, d, seed=6, scale=0.3)
    stack = as_stack(net)
    tensor = shallow_geometry(stack, x, True, 2**28, gram=False)
    for budget in (2**28, 2**14):
        pairs = shallow_geometry(stack, x, True, budget, gram=True)
        torch.testing.assert_close(tensor.ricci_scalar, pairs.ricci_scalar, rtol=1e-10, atol=1e-10)
    general = general_geometry(net, x, True, 2**28)
    torch.testing.assert_close(tensor.ricci_scalar, general.ricci_scalar, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(tensor.log_determinant, general.log_determinant, rtol=1e-10, atol=1e-10)


def test_the_cheaper_form_is_chosen() -> None:
    assert not prefers_gram(250, 2) and not prefers_gram(10_000, 10)
    assert prefers_gram(300, 100) and prefers_gram(100, 50)


def test_memory_budget_changes_blocks_not_values() -> None:
    net = sample_network(network(ERF, 1), 3, 50, seed=1)
    x = points(33, 3, seed=1)
    whole, blocks = pullback(net, x), pullback(net, x, memory_budget=3000)
    torch.testing.assert_close(whole.ricci_scalar, blocks.ricci_scalar, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(whole.metric, blocks.metric, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("d", [1, 2, 5, 16, 17, 24])
def test_cholesky_with_points_last(d: int) -> None:
    j = points(9 * (d + 3), d, seed=8).reshape(9, d + 3, d) * torch.logspace(-80, 60, d, dtype=torch.float64)
    g = j.mT @ j
    factor = cholesky(g.permute(1, 2, 0), 2.2e-16)
    assert not factor.singular.any()
    lower = torch.linalg.cholesky(g)
    torch.testing.assert_close(
        factor.log_determinant,
        torch.linalg.slogdet(j.mT @ j)[1] if d < 3 else 2 * torch.diagonal(lower, dim1=1, dim2=2).log().sum(-1),
        rtol=1e-12,
        atol=1e-11,
    )
    b = points(9 * d, 4, seed=9).reshape(9, d, 4)
    got = factor.solve_(b.permute(1, 2, 0).contiguous()).permute(2, 0, 1)
    torch.testing.assert_close(got, torch.linalg.solve_triangular(lower, b, upper=False), rtol=1e-9, atol=0)
    if d > 1:
        j[3, :, d - 1] = j[3, :, 0]
        factor = cholesky((j.mT @ j).permute(1, 2, 0), 2.2e-16)
        assert factor.singular.tolist() == [False] * 3 + [True] + [False] * 5
        assert ((factor.smallest_pivot < 1e-12) == factor.singular).all()


def test_metrics_of_the_plane_that_have_no_factor_are_singular_and_the_rest_is_exact() -> None:
    inf, nan, big, small = math.inf, math.nan, 1e160, 1e-160
    rows = [(0, 0, 0), (0, 0, 1), (inf, 0, 1), (1, 0, inf), (inf, inf, inf), (nan, 0, 1), (1, 1, 1)]
    rows += [(big, 0.5, small), (small, 0.5, big), (big, 0.5 * big, big), (small, 0.5 * small, small), (1, -0.9, 1)]
    a, b, c = torch.tensor(rows, dtype=torch.float64).T
    factor = cholesky(torch.stack((torch.stack((a, b)), torch.stack((b, c)))), 2.2e-16)
    assert factor.singular.tolist() == [True] * 7 + [False] * 5 and torch.isfinite(factor.lower).all()
    expected = [
        math.log(0.75),
        math.log(0.75),
        math.log(0.75) + 2 * math.log(big),
        math.log(0.75) + 2 * math.log(small),
    ]
    expected.append(math.log(0.19))
    torch.testing.assert_close(factor.log_determinant[7:].tolist(), expected, rtol=1e-14, atol=1e-13)
    assert (factor.log_determinant[:7] == -inf).all()


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("expr", [RELU, Z, sp.Max(Z / 10, Z)], ids=str)
def test_piecewise_linear_networks_are_exactly_flat(depth: int, expr: sp.Expr) -> None:
    result = pullback(sample_network(network(expr, depth), 3, 60, seed=2), points(20, 3))
    assert result.ricci_scalar.tolist() == [0.0] * 20
    assert result.is_flat_by_construction and "off the kinks" in result.note
    assert torch.isfinite(result.log_volume_element).all()


def test_singular_networks_say_what_is_wrong() -> None:
    narrow = pullback(sample_network(network(), 3, 2, seed=0), points(4, 3))
    assert narrow.metric.shape == (4, 3, 3)
    for name in ("ricci_scalar", "log_volume_element"):
        with pytest.raises(SingularMetric, match="width 2 < input dimension 3"):
            getattr(narrow, name)
    for depth in (1, 2):
        for expr in (ERF, RELU):
            far = 1e6 * torch.ones(1, 3, dtype=torch.float64) if expr == ERF else torch.zeros(1, 3, dtype=torch.float64)
            net = sample_network(network(expr, depth, bias_std=sp.Integer(0)), 3, 5, seed=1)
            if expr == RELU:
                with torch.no_grad():
                    net.biases[0].fill_(-1.0)  # every unit inactive at the origin
            with pytest.raises(SingularMetric, match=r"singular at 1 point.*saturated, inactive"):
                _ = pullback(net, far).ricci_scalar


def test_distribution_of_the_draw() -> None:
    net = sample_network(network(ERF, 3), 400, 500, seed=11, weight_std=1.7, bias_std=0.6)
    for layer, columns in enumerate((400, 500, 500)):
        expected = 1.7 / (1 if layer == 0 else math.sqrt(500))
        w, b = net.weights[layer].detach(), net.biases[layer].detach()
        assert w.shape == (500, columns)
        for values, std in ((w.flatten(), expected), (b, 0.6)):
            m = values.numel()
            assert abs(float(values.mean()) / std) * math.sqrt(m) < 4
            assert abs(float(values.square().mean()) / std**2 - 1) * math.sqrt(m / 2) < 4
    x = points(5, 400)
    hidden = x
    for w, b in zip(net.weights, net.biases, strict=True):
        hidden = torch.erf((hidden @ w.T + b) / math.sqrt(2))
    torch.testing.assert_close(net(x), hidden / math.sqrt(500), rtol=1e-12, atol=1e-14)


def test_fan_in_scale_of_the_first_layer() -> None:
    @dataclass(frozen=True)
    class FanIn(StandIn):
        input_scale: Any = "fan_in"

    plain = network(ERF, 2)
    scaled = FanIn(plain.activation, 2)
    a, b = (sample_network(m, 9, 6, seed=1) for m in (plain, scaled))
    torch.testing.assert_close(a.weights[0] / 3, b.weights[0], rtol=1e-15, atol=0)
    assert torch.equal(a.weights[1], b.weights[1]) and torch.equal(a.biases[0], b.biases[0])
    with pytest.raises(InvalidInput, match="input_scale is 'other'"):
        sample_network(FanIn(plain.activation, 2, input_scale="other"), 9, 6, seed=1)


@pytest.mark.parametrize("name", infgeo.activations.available())
@pytest.mark.parametrize("depth", [1, 2])
def test_every_activation_of_the_catalogue(name: str, depth: int) -> None:
    mlp = infgeo.MLP(name, depth=depth)
    free = mlp.activation.expr.free_symbols - {mlp.activation.symbol}
    net = sample_network(mlp, 2, 40, seed=3, weight_std=1.2, bias_std=0.7, parameters={s.name: 0.3 for s in free})
    x = points(4, 2, seed=2)
    fast, general = pullback(net, x), general_geometry(net, x, True, 2**28)
    torch.testing.assert_close(fast.metric, general.metric, rtol=1e-12, atol=1e-14)
    if name in ("sign", "step"):
        # Piecewise constant features: the metric vanishes almost everywhere.
        assert not fast.metric.any()
        with pytest.raises(SingularMetric, match="too few units"):
            _ = fast.ricci_scalar
        return
    torch.testing.assert_close(fast.ricci_scalar, general.ricci_scalar, rtol=1e-9, atol=1e-9)
    assert general.ricci_scalar is not None
    assert fast.is_flat_by_construction == (not general.ricci_scalar.any())


def test_overflow_is_not_silent() -> None:
    net = sample_network(network(sp.exp(Z)), 2, 10, seed=1)
    with pytest.raises(SingularMetric, match="overflowing"):
        _ = pullback(net, [[1e3, 1e3]]).ricci_scalar


def test_seeds_and_global_state() -> None:
    state = torch.get_rng_state()
    a, b, c = (sample_network(network(), 3, 20, seed=s) for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.weights[0], b.weights[0]) and not torch.equal(a.weights[0], c.weights[0])
    single = sample_network(network(), 3, 20, seed=5, dtype=torch.float32)
    assert torch.equal(single.weights[0], a.weights[0].float())
    x = points(4, 3)
    for twin in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert torch.equal(pullback(twin, x).ricci_scalar, pullback(a, x).ricci_scalar)


def test_float32_network_gives_float32_accuracy() -> None:
    x = points(20, 3, seed=3)
    double = pullback(sample_network(network(), 3, 100, seed=4), x)
    single = pullback(sample_network(network(), 3, 100, seed=4, dtype=torch.float32), x.float())
    assert single.ricci_scalar.dtype == torch.float64
    torch.testing.assert_close(single.ricci_scalar, double.ricci_scalar, rtol=1e-3, atol=1e-3)
    assert not torch.equal(single.ricci_scalar, double.ricci_scalar)


def test_ill_conditioned_one_layer_metrics_take_the_safer_route() -> None:
    net = sample_network(network(), 2, 40_000, seed=4)
    x = torch.tensor([[3e3, 4e3], [0.3, 0.4]], dtype=torch.float64)  # radial over tangential eigenvalue: about 1e-7
    j = torch.func.vmap(torch.func.jacfwd(net))(x).detach()
    fast = pullback(net, x)
    expected = torch.linalg.svdvals(j).log().sum(-1)
    torch.testing.assert_close(fast.log_volume_element, expected, rtol=1e-12, atol=1e-12)
    general = general_geometry(net, x, True, 2**28)
    torch.testing.assert_close(fast.ricci_scalar, general.ricci_scalar, rtol=1e-6, atol=0)  # H is given to 1e-16 only


def test_a_changed_network_is_measured_as_it_is() -> None:
    net, x = sample_network(network(), 2, 20, seed=1), points(3, 2)
    before = pullback(net, x).ricci_scalar
    with torch.no_grad():
        net.weights[0].mul_(1.3)
    after = pullback(net, x).ricci_scalar
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, general_geometry(net, x, True, 2**28).ricci_scalar, rtol=1e-10, atol=1e-12)
    handle = net.register_forward_hook(lambda module, inputs, output: output * 2)
    torch.testing.assert_close(pullback(net, x).ricci_scalar, after / 4, rtol=1e-10, atol=1e-12)
    handle.remove()


BAD_POINTS = [
    (torch.zeros(2, 2, dtype=torch.int64), "dtype torch.int64"), (torch.zeros(2, 2, dtype=torch.complex128), "complex"),
    (torch.zeros(2, 2, dtype=torch.bool), "bool"), (torch.zeros(2, 2, dtype=torch.float16), "float16"),
    (np.zeros((2, 2), dtype=int), "dtype int64"), (np.zeros((2, 2), dtype=complex), "complex128"),
    (np.array([[1.0, None]]), "dtype object"), ([["a", "b"]], "dtype <U1"), ([[1.0], [1.0, 2.0]], "not an array"),
    ([[True, False]], "bool"), (None, "object"), (torch.tensor(1.0), r"shape \(\)"), (torch.zeros(3, 0), r"\(3, 0\)"),
    ([[1.0, math.nan]], r"x\[0, 1\] is nan"), (torch.tensor([[1.0, 2.0], [-math.inf, 0.0]]), r"x\[1, 0\] is -inf"),
    ([[1.0, 2.0, 3.0]], r"3 coordinates on the last axis, but the network has input dimension 2"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "message"), BAD_POINTS, ids=[m for _, m in BAD_POINTS])
def test_bad_points(x: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        pullback(sample_network(network(), 2, 5, seed=0), x)


def test_points_that_are_no_tensor_become_float64() -> None:
    net = sample_network(network(), 2, 5, seed=0)
    expected = pullback(net, torch.tensor([[1.0, 0.5]], dtype=torch.float64)).metric
    reversed_view = np.array([[0.5, 1.0]])[:, ::-1]
    for x in ([[1, 0.5]], ((1.0, 0.5),), np.array([[1.0, 0.5]], dtype=">f4"), reversed_view):
        assert torch.equal(pullback(net, x).metric, expected)
    single = sample_network(network(), 2, 5, seed=0, dtype=torch.float32)
    assert pullback(single, [[1, 2]]).x.dtype == torch.float32


BAD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"input_dim": 0}, "input_dim is 0"), ({"width": -1}, "width is -1"), ({"width": 2.5}, "width is 2.5"),
    ({"width": True}, "width is True"), ({"seed": -1}, "seed is -1"), ({"seed": 2**32}, r"below 2\*\*32"),
    ({"seed": None}, "seed is None"), ({"weight_std": 0.0}, "weight_std is 0.0.* > 0"),
    ({"bias_std": -1}, "bias_std is -1"),
    ({"weight_std": math.nan}, "weight_std is nan"), ({"weight_std": "1"}, "weight_std is '1'"),
    ({"bias_std": math.inf}, "bias_std is inf"), ({"parameters": {"alpha": 1.0}}, "parameters name alpha"),
    ({"dtype": torch.float16}, "float16"), ({"dtype": "float64"}, "dtype is 'float64'"),
    ({"device": "nowhere"}, "device is 'nowhere'"), ({"mlp": "erf"}, "no attribute 'activation'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS, ids=[m for _, m in BAD_ARGUMENTS])
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        sample_network(**{"mlp": network(), "input_dim": 2, "width": 3, "seed": 0, **arguments})


def test_scales_and_parameters() -> None:
    alpha, tau = sp.Symbol("alpha"), sp.Symbol("tau", positive=True)
    spec = specify(network())
    assert (spec.weight_std, spec.bias_std) == (conventions.DEFAULT_WEIGHT_STD, conventions.DEFAULT_BIAS_STD)
    assert specify(network(weight_std=sp.Rational(3, 2), bias_std=0)).weight_std == 1.5
    assert specify(network(), weight_std=2.0, bias_std=0).bias_std == 0.0
    assert specify(network(weight_std=2 * conventions.sigma_w), weight_std=1.5).weight_std == 3.0
    assert specify(network(weight_std=tau), weight_std=1.5).weight_std == 1.5
    assert specify(network(weight_std=tau**2), parameters={"tau": 3.0}).weight_std == 9.0
    layers = infgeo.MLP(["erf", "erf"], weight_std=[infgeo.symbols.sigma_w, tau])
    for std in (2.0, [2.0, 1.0]):  # as `numeric` has it
        hidden = specify(layers, std, parameters={"tau": 3.0}).layers[1]
        assert dict(hidden.scales)["weight_std"] == 3.0
    assert specify(network(sp.Max(alpha * Z, Z)), parameters={"alpha": 0.25}).parameters == (("alpha", 0.25),)
    assert specify(network(weight_std=1.5), weight_std=1.5).weight_std == 1.5
    with pytest.raises(InvalidInput, match=r"network fixes it to 3/2"):
        specify(network(weight_std=1.5), weight_std=1.0)
    with pytest.raises(InvalidInput, match="needs a value for tau"):
        specify(network(weight_std=tau**2))
    with pytest.raises(InvalidInput, match=r"without a value: alpha; pass parameters=\{'alpha': \.\.\.\}"):
        specify(network(sp.Max(alpha * Z, Z)))
    with pytest.raises(InvalidInput, match=r"parameters\['alpha'\] is nan"):
        specify(network(sp.Max(alpha * Z, Z)), parameters={"alpha": math.nan})


POINTS = np.array([[0.4, -0.9], [1.1, 0.3], [-0.2, 0.7]])
LAYERED = {
    "different": infgeo.MLP(["erf", "relu"], weight_std=[1.2, 0.8], bias_std=[0.3, 0.6]),
    "residual": infgeo.MLP(["erf", Residual("relu", skip=0.7, branch=1.3)], weight_std=1.1, bias_std=0.4),
    "norm": infgeo.MLP([RMSNorm(0.5), "erf", RMSNorm(0.1), "sin"], weight_std=0.9, bias_std=0.5),
}


@pytest.mark.parametrize("name", LAYERED)
def test_mean_kernel_extrapolates_to_the_infinite_one(name):
    """The mean kernel is biased at O(1/n): 2 k_2n - k_n is not, to the next order; z-scores from the replicates."""
    mlp = LAYERED[name]
    theory = mlp.numeric().kernel(POINTS)
    narrow, wide = (
        infgeo.finite.estimate(mlp, POINTS, width, 400, seed=3, quantities=["kernel"]).kernel for width in (128, 256)
    )
    mean = (2 * wide.mean - narrow.mean).numpy()
    error = np.sqrt(4 * wide.standard_error.numpy() ** 2 + narrow.standard_error.numpy() ** 2)
    assert np.abs((mean - theory) / error).max() < 4
    assert (error / np.abs(theory).max()).max() < 0.02  # the comparison has power


def test_rms_norm_is_that_of_torch():
    net = infgeo.finite.sample_network(infgeo.MLP(["erf", RMSNorm(0.25)], weight_std=1, bias_std=1), 2, 50, 0)
    plain = infgeo.finite.sample_network(infgeo.MLP("erf", weight_std=1, bias_std=1), 2, 50, 0)
    x = torch.tensor(POINTS)
    features = plain(x) * 50**0.5
    expected = torch.nn.functional.rms_norm(features, (50,), eps=0.25) / 50**0.5
    assert torch.allclose(net(x), expected, rtol=1e-13, atol=0)


def test_layer_norm_is_that_of_torch():
    plain = infgeo.finite.sample_network(infgeo.MLP("erf", weight_std=1, bias_std=1), 2, 50, 0)
    norm = NumericLayer("layer_norm", None, (("epsilon", 0.25),))
    net = SampledNetwork((*plain.layers, norm), list(plain.weights), list(plain.biases))
    features = plain(torch.tensor(POINTS)) * 50**0.5
    expected = torch.nn.functional.layer_norm(features, (50,), eps=0.25) / 50**0.5
    assert torch.allclose(net(torch.tensor(POINTS)), expected, rtol=1e-13, atol=1e-16)


def test_equal_layers_draw_what_one_activation_draws():
    one = infgeo.finite.sample_network(infgeo.MLP("relu", depth=2), 2, 20, 5)
    many = infgeo.finite.sample_network(infgeo.MLP(["relu", Dense("relu")]), 2, 20, 5)
    assert torch.equal(one(torch.tensor(POINTS)), many(torch.tensor(POINTS)))


def test_pullback_and_validation_follow_the_layers():
    mlp = infgeo.MLP(["erf", Residual("erf", branch=0.5), RMSNorm(0.2)], weight_std=1, bias_std=0.5)
    report = infgeo.validate(mlp, input_dim=2, points=POINTS, widths=(64, 128, 256), samples=64, seed=1)
    assert report.passed, report.table()
    wrong = infgeo.MLP(["erf", Residual("erf", branch=2), RMSNorm(0.2)], weight_std=1, bias_std=0.5)
    estimate = infgeo.finite.estimate(mlp, POINTS, 256, 64, seed=1, quantities=["metric"]).metric
    z = (estimate.mean.numpy() - wrong.numeric().metric(POINTS)) / estimate.standard_error.numpy()
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


@pytest.mark.parametrize("sampler", ["iid", "sobol"])
@pytest.mark.parametrize("depth", [1, 2])
def test_scales_of_coordinates_are_those_of_the_first_layer(depth: int, sampler: str) -> None:
    """Weights are the unit ones, draw by draw, times the scales; estimates are those of stretched points."""
    mlp, scales, x = infgeo.MLP("erf", depth=depth, input_scale="fan_in"), [1.5, 0.25], points(3, 2, seed=1)
    ours = sample_network(mlp, 2, 30, 4, weight_std=scales)
    unit = sample_network(mlp, 2, 30, 4, weight_std=1.0)
    stretch = torch.tensor(scales, dtype=torch.float64)
    torch.testing.assert_close(ours.weights[0], unit.weights[0] * stretch, rtol=1e-15, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(ours.weights[1:], unit.weights[1:], strict=True))
    torch.testing.assert_close(ours(x), unit(x * stretch))
    found, expected = (
        infgeo.finite.estimate(mlp, at, 32, 4, sampler, weight_std=std, quantities=["kernel", "metric"])
        for at, std in ((x, scales), (x * stretch, 1.0))
    )
    if sampler == "iid":
        torch.testing.assert_close(found.kernel.mean, expected.kernel.mean)
        torch.testing.assert_close(found.metric.mean, expected.metric.mean * stretch[:, None] * stretch)
    else:  # its axes are those of the points
        z = (found.kernel.mean - expected.kernel.mean) / (found.kernel.standard_error + 1e-3)
        assert z.abs().max() < 6


def test_refused_scales_of_coordinates() -> None:
    mlp, x = infgeo.MLP("erf"), points(3, 2, seed=1)
    with pytest.raises(InvalidInput, match=r"weight_std\[1\] is -1"):
        sample_network(mlp, 2, 10, 0, weight_std=[1, -1])
    with pytest.raises(InvalidInput, match="weight_std has 3 values, and points have 2 coordinates"):
        infgeo.finite.estimate(mlp, x, 10, 4, weight_std=np.ones(3))
    for other in (infgeo.MLP("erf", weight_std=1), infgeo.MLP([RMSNorm(1), "erf"])):
        with pytest.raises(InvalidInput, match="for a first dense layer"):
            sample_network(other, 2, 10, 0, weight_std=[1.0, 2.0])


def test_threads_give_the_bits_of_one() -> None:
    mlp = infgeo.MLP(["erf", RMSNorm(0.5)], weight_std=1, bias_std=1)
    alone = infgeo.finite.estimate(mlp, POINTS, 16, 24, quantities=["ricci_scalar"]).ricci_scalar
    with ThreadPoolExecutor(4) as threads:
        other = infgeo.finite.estimate(mlp, POINTS, 16, 24, quantities=["ricci_scalar"], executor=threads).ricci_scalar
    assert torch.equal(alone.mean, other.mean) and torch.equal(alone.standard_error, other.standard_error)
