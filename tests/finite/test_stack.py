"""nn.Sequential of linear maps and elementwise activations takes the fast routes; they agree with the general one."""

from __future__ import annotations

import copy

import mpmath
import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite import pullback, pullback_slice
from infgeo.finite.evaluation import derivable
from infgeo.finite.stack import ModuleActivation, Stack, as_stack, is_piecewise_linear
from tests.finite.twins import points

DOUBLE = torch.float64
SMOOTH = [
    nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.SiLU(inplace=True), nn.Mish(),
    nn.Softplus(2.0, 5.0), nn.Softsign(), nn.LogSigmoid(), nn.ELU(0.7), nn.ELU(inplace=True), nn.SELU(), nn.CELU(0.6),
    nn.Hardswish(), nn.Tanhshrink(),
]  # fmt: skip
KINKED = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(0.2), nn.PReLU(), nn.RReLU(), nn.Hardtanh(-0.5, 2),
    nn.Hardshrink(0.1), nn.Softshrink(0.1), nn.Threshold(0.1, -3.0), nn.Hardsigmoid(),
]  # fmt: skip


def name_of(activation: nn.Module) -> str:
    return repr(activation)


def mlp(
    activation: nn.Module, depth: int, d: int = 2, n: int = 12, readout: bool = False, bias: bool = True
) -> nn.Module:
    generator = torch.Generator().manual_seed(depth)
    parts: list[nn.Module] = []
    for layer in range(depth):
        parts += [nn.Linear(d if layer == 0 else n, n, bias=bias), copy.deepcopy(activation)]
    if readout:
        parts.append(nn.Linear(n, n + 1, bias=bias))
    module = nn.Sequential(*parts).double().eval()
    for p in module.parameters():
        if p.ndim:
            scale = 1.3 / (1 if p.ndim < 2 or p.shape[1] == d else p.shape[1] ** 0.5)
            p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64) * scale
    return module


def agree(module: nn.Module, x: torch.Tensor, rtol: float = 1e-9) -> None:
    fast, general = pullback(module, x), pullback(lambda u: module(u), x)
    assert fast.source.stack is not None and general.source.stack is None
    torch.testing.assert_close(fast.metric, general.metric, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(fast.log_volume_element, general.log_volume_element, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(fast.ricci_scalar, general.ricci_scalar, rtol=rtol, atol=1e-9)
    for name in ("ricci_tensor", "christoffel", "second_fundamental_form", "singular_values", "rank"):
        torch.testing.assert_close(getattr(fast, name), getattr(general, name), rtol=rtol, atol=1e-9, msg=name)


@pytest.mark.parametrize("activation", SMOOTH, ids=name_of)
def test_smooth_activations(activation: nn.Module) -> None:
    x = points(3, 2, seed=2)
    module = mlp(activation, 1)
    agree(module, x)
    assert pullback(module, x).ricci_scalar.abs().max() > 1e-4 and not pullback(module, x).note
    agree(mlp(activation, 2, readout=True), x)


@pytest.mark.parametrize("activation", KINKED, ids=name_of)
@pytest.mark.parametrize("depth", [1, 2])
def test_kinked_activations_are_flat_by_construction(activation: nn.Module, depth: int) -> None:
    module = mlp(activation, depth)
    x = points(4, 2, seed=2)
    result = pullback(module, x, singular="nan")
    general = pullback(lambda u: module(u), x)
    torch.testing.assert_close(result.metric, general.metric, rtol=1e-12, atol=1e-14)
    assert result.is_flat_by_construction and "off the kinks" in result.note
    assert not torch.nan_to_num(result.ricci_scalar).any() and not torch.nan_to_num(result.ricci_tensor).any()


@pytest.mark.parametrize("d", [1, 3, 5])
def test_depths_dimensions_and_forms(d: int) -> None:
    x = points(3, d, seed=1)
    for module in (
        mlp(nn.Tanh(), 3, d),
        mlp(nn.Tanh(), 1, d, readout=True),
        mlp(nn.GELU(), 1, d, bias=False),
        nn.Sequential(nn.Flatten(), *mlp(nn.Sigmoid(), 2, d)),
        nn.Sequential(mlp(nn.Tanh(), 1, d), nn.Dropout(0.4), nn.Identity(), nn.Sequential(nn.Linear(12, 8), nn.SiLU()))
        .double()
        .eval(),
        nn.Sequential(
            nn.Linear(d, 9), nn.Tanh(), nn.SiLU(), nn.Linear(9, 9), nn.Linear(9, 9), nn.LeakyReLU(), nn.Tanh()
        ).double(),
    ):
        if d > 1:
            agree(module, x, 1e-8)
        else:
            torch.testing.assert_close(pullback(module, x).metric, pullback(lambda u, m=module: m(u), x).metric)
    single = nn.Linear(d, 7).double()
    assert pullback(single, x).note and as_stack(single) is not None
    torch.testing.assert_close(pullback(single, x).metric[0], single.weight.T @ single.weight)


def test_many_dimensions_take_the_pair_form() -> None:
    module = mlp(nn.Tanh(), 1, d=24, n=40)
    x = 0.2 * points(3, 24, seed=3)
    fast, general = pullback(module, x), pullback(lambda u: module(u), x)
    torch.testing.assert_close(fast.ricci_scalar, general.ricci_scalar, rtol=1e-8, atol=1e-8)


def test_float32_stack() -> None:
    module = mlp(nn.Tanh(), 2, 3)
    x = points(4, 3)
    single = pullback(copy.deepcopy(module).float(), x.float())
    assert single.source.stack is not None and single.ricci_scalar.dtype == torch.float64
    torch.testing.assert_close(single.ricci_scalar, pullback(module, x).ricci_scalar, rtol=2e-3, atol=2e-3)


def test_images_into_a_flattening_stack() -> None:
    module = nn.Sequential(nn.Flatten(), *mlp(nn.Tanh(), 2, 4))
    x = points(3, 4)
    image = pullback(module, x.reshape(3, 1, 2, 2), input_shape=(1, 2, 2))
    assert image.source.stack is not None
    assert torch.equal(image.ricci_scalar, pullback(module, x).ricci_scalar)
    # without Flatten a Linear acts on the last axis of an image, and the metric is another one
    rows = nn.Sequential(nn.Linear(2, 5), nn.Tanh()).double()
    assert pullback(rows, x.reshape(3, 1, 2, 2), input_shape=(1, 2, 2)).width == 10


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_what_is_no_stack_takes_the_general_route() -> None:
    x = points(2, 2)
    plain = mlp(nn.Tanh(), 1)
    reference = pullback(plain, x).metric
    hooked = copy.deepcopy(plain)
    hooked[0].register_forward_hook(lambda module, inputs, output: 3 * output)
    pre = copy.deepcopy(plain)
    pre.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    own = copy.deepcopy(plain)
    own[1].forward = torch.sin  # type: ignore[method-assign]
    derived = nn.Sequential(Doubled(2, 12), nn.Tanh()).double()
    derived.load_state_dict(plain.state_dict())
    normed = nn.Sequential(nn.utils.parametrizations.spectral_norm(copy.deepcopy(plain[0])), nn.Tanh()).eval()
    channels = nn.Sequential(nn.Linear(2, 12), nn.PReLU(12)).double()
    for module in (hooked, pre, own, derived, normed, channels, nn.Sequential(nn.Tanh(), nn.Linear(2, 3)).double()):
        assert as_stack(module) is None
        result = pullback(module, x)
        j = torch.stack([torch.autograd.functional.jacobian(lambda p, m=module: m(p[None])[0], p) for p in x])
        torch.testing.assert_close(result.metric, j.mT @ j)
        assert (
            module is channels or result.metric.shape != reference.shape or not torch.allclose(result.metric, reference)
        )
    with pytest.raises(InvalidInput, match=r"failed on a batch"):
        pullback(nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 5)).double(), x)
    assert as_stack(nn.Sequential()) is None and as_stack(lambda u: u) is None


def test_piecewise_linear_networks_that_are_no_stacks() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(4, 12),
        nn.LeakyReLU(),
    ).double().eval()  # fmt: skip
    x = points(5, 9, seed=1).reshape(5, 1, 3, 3)
    assert is_piecewise_linear(net) and not is_piecewise_linear(nn.Sequential(net, nn.Tanh()))
    result = pullback(net, x, input_shape=(1, 3, 3), singular="nan")
    assert "off the kinks" in result.note and result.ricci_scalar.shape == (5,)
    general = pullback(lambda u: net(u), x, input_shape=(1, 3, 3), singular="nan")
    torch.testing.assert_close(result.metric, general.metric)
    torch.testing.assert_close(result.ricci_scalar, general.ricci_scalar, equal_nan=True, rtol=0, atol=1e-9)
    assert pullback(net, x, input_shape=(1, 3, 3), layer="2").note == result.note  # a layer of it is, too


def test_an_activation_of_no_module_is_the_identity() -> None:
    z = points(3, 2)
    value, slope, second = ModuleActivation(()).jet(z)
    assert torch.equal(value, z) and bool((slope == 1).all()) and not second.any()
    stack = Stack(
        (torch.eye(2, dtype=torch.float64),), (torch.zeros(2, dtype=torch.float64),), (ModuleActivation(()),), 2.0
    )
    assert torch.equal(pullback(stack_call(stack), z).metric[0], 4 * torch.eye(2, dtype=torch.float64))


def stack_call(stack: Stack):  # type: ignore[no-untyped-def]
    return lambda u: stack.scale * (u @ stack.weights[0].T + stack.biases[0])


def nested() -> nn.Sequential:
    torch.manual_seed(2)
    trunk = nn.Sequential(nn.Linear(3, 7), nn.Sigmoid(), nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Dropout(0.3)))
    return nn.Sequential(trunk, nn.Linear(6, 5), nn.GELU(), nn.LayerNorm(5)).double()


def cut(module: nn.Module, layer: str) -> tuple[list[object], object]:
    heard: list[object] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda _m, _x, out: heard.append(out))
    return heard, handle


@pytest.mark.parametrize("layer", ["0", "0.0", "0.1", "0.2", "0.2.0", "0.2.1", "0.2.2", "1", "2"])
def test_a_layer_of_a_sequential_is_the_sequential_up_to_it(layer: str) -> None:
    module, x = nested(), torch.randn(4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    stack = as_stack(module, layer=layer)
    assert stack is not None and as_stack(module) is None and as_stack(module, layer="3") is None
    fast = pullback(module, x, layer=layer, freeze=True)
    assert fast.source.stack is not None
    module.eval()
    heard, handle = cut(module, layer)

    def features(u: torch.Tensor) -> torch.Tensor:
        module(u)
        return heard[-1]  # type: ignore[return-value]

    general = pullback(features, x)
    torch.testing.assert_close(fast.metric, general.metric)
    torch.testing.assert_close(fast.ricci_scalar, general.ricci_scalar, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(stack(x), features(x), rtol=1e-14, atol=1e-14)
    ways = torch.randn(2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    t = torch.randn(5, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(4))
    handle.remove()  # type: ignore[attr-defined]
    sliced = pullback_slice(module, t, x[0], ways, layer=layer)
    assert sliced.source.stack is not None
    heard, handle = cut(module, layer)
    twin = pullback(lambda u: features(x[0] + u @ ways), t)
    torch.testing.assert_close(sliced.metric, twin.metric)
    torch.testing.assert_close(sliced.gaussian_curvature, twin.gaussian_curvature, rtol=1e-8, atol=1e-8)
    handle.remove()  # type: ignore[attr-defined]


def test_what_is_no_stack_stays_one() -> None:
    shared = nn.Tanh()
    twice = nn.Sequential(nn.Linear(2, 4), shared, nn.Linear(4, 3), shared).double()
    assert as_stack(twice, layer="1") is None and as_stack(twice, layer="2") is not None
    with pytest.raises(InvalidInput, match="called 2 times"):
        pullback(twice, torch.zeros(1, 2, dtype=DOUBLE), layer="1")
    hooked = nested()
    hooked[0][1].register_forward_hook(lambda _m, _x, out: 2 * out)
    assert as_stack(hooked, layer="0.2.0") is None and as_stack(hooked, layer="0.0") is not None
    assert as_stack(nn.ModuleDict({"a": nn.Linear(2, 2)}), layer="a") is None


def test_random_slopes_are_frozen() -> None:
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(2, 9), nn.RReLU()), torch.randn(3, 2)
    found = pullback(module, x, freeze=True).metric
    assert torch.equal(found, pullback(module, x, freeze=True).metric) and module.training
    torch.testing.assert_close(found, pullback(module.eval(), x).metric)


def test_the_slopes_of_logistic_keep_their_digits() -> None:
    z = torch.tensor([-700.0, -40.0, -3.0, -0.1, 0.0, 0.4, 2.0, 17.0, 40.0, 700.0], dtype=DOUBLE)
    activation = as_stack(nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())).activations[0]  # type: ignore[union-attr]
    value, slope, bend = activation.jet(z)
    with mpmath.workdps(400):
        for i, u in enumerate(z.tolist()):
            s, t = 1 / (1 + mpmath.exp(-mpmath.mpf(u))), 1 / (1 + mpmath.exp(mpmath.mpf(u)))
            for found, exact in ((value[i], s), (slope[i], s * t), (bend[i], s * t * (t - s))):
                assert abs(float(found) - exact) <= 2e-15 * abs(exact), u


def test_hooks_on_gradients_rest() -> None:
    module = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4)).double()
    calls: list[int] = []
    module[1].register_full_backward_hook(lambda *_: calls.append(1))
    module[1].register_full_backward_pre_hook(lambda *_: calls.append(2))
    pullback(module, torch.randn(2, 2, dtype=DOUBLE), singular="nan").ricci_scalar  # noqa: B018
    with pytest.raises(ZeroDivisionError), derivable(module):
        1 / 0  # noqa: B018
    assert not calls
    x = torch.randn(2, 2, dtype=DOUBLE, requires_grad=True)
    module(x).square().sum().backward()
    assert calls == [2, 1]
