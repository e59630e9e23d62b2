"""Layers of nn.Sequential, slices of stacks and other dtypes by the fast routes, against differentiation by torch."""

from __future__ import annotations

import mpmath
import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite import pullback, pullback_slice
from infgeo.finite.evaluation import derivable
from infgeo.finite.stack import as_stack

DOUBLE = torch.float64


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
