"""Derivatives are held against differences at spread points, finely where these are sure, and never by false alarm."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite import pullback
from infgeo.finite.differentiate import choose
from infgeo.finite.feature_map import FeatureMap
from tests.finite.twins import double_backward, extrinsic_ricci, points

DOUBLE, SINGLE = torch.float64, torch.float32
Features = Callable[[torch.Tensor], torch.Tensor]


def mlp(act: type[nn.Module], *sizes: int) -> nn.Sequential:
    return nn.Sequential(*(m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), act())))


def inner() -> nn.Module:
    torch.manual_seed(0)
    return mlp(nn.Tanh, 2, 16, 8).double()


def hidden_where(condition: Callable[[torch.Tensor], torch.Tensor], share: float) -> Features:
    """Values are those of the network; of the derivatives a share is missing where the condition holds."""
    m = inner()
    return lambda v: torch.where(condition(v), share * m(v.detach()) + (1 - share) * m(v), m(v))


class Stretched(torch.autograd.Function):
    """The sine, with derivatives that are too large by one in a thousand."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: torch.Tensor) -> torch.Tensor:
        return u.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad * ctx.saved_tensors[0].cos() * 1.001

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
        return tangent * ctx.saved_tensors[0].cos() * 1.001


class Straight(torch.autograd.Function):
    """A straight-through estimator."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: torch.Tensor) -> torch.Tensor:
        return (10 * u).round() / 10

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
        return tangent


def beside(more: Features) -> Features:
    m = inner()
    return lambda v: torch.cat((m(v), more(v)), -1)


HIDDEN: dict[str, Features] = {
    "half, left": hidden_where(lambda v: v[:, :1] < 0, 0.5),
    "one percent, left": hidden_where(lambda v: v[:, :1] < 0, 0.01),
    "one in a thousand, below": hidden_where(lambda v: v[:, 1:] < 0, 0.001),
    "far out": hidden_where(lambda v: v.norm(dim=1, keepdim=True) > 2, 0.3),
    "near": hidden_where(lambda v: v.norm(dim=1, keepdim=True) < 0.4, 0.3),
    "wrong rule": beside(Stretched.apply),  # type: ignore[arg-type]
    "straight through": beside(Straight.apply),  # type: ignore[arg-type]
    "data": beside(lambda v: v * v.data),
    "item": beside(lambda v: torch.stack([u * u[0].item() for u in v])),
    "a small feature": beside(lambda v: 1e-4 * v * v.detach()),
    "beside a tip": beside(lambda v: v * v.detach() + (1e12 * (v[:, :1] - 1)).tanh()),
    "one of many": lambda v: torch.cat((v.repeat(1, 200).sin(), v * v.detach()), -1),
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("count", [3, 60])
def test_what_is_hidden_from_autograd_at_some_points_only(name: str, count: int) -> None:
    x = points(count, 2, seed=1)
    if count == 3:  # nothing is wrong at the first two points
        x = torch.tensor([[1.0, 0.51], [0.3, 1.24], [-0.2, -0.13]], dtype=DOUBLE)
        x = x * 12 if name == "far out" else x
    for quantity in ("metric", "ricci_scalar"):
        with pytest.raises(InvalidInput, match=r"not those of its values: (second )?derivative .* at the point \("):
            getattr(pullback(HIDDEN[name], x), quantity)


@pytest.mark.parametrize("seed", range(3))
def test_one_percent_is_seen_in_single_precision(seed: int) -> None:
    torch.manual_seed(seed)
    m = torch.nn.Sequential(torch.nn.Linear(5, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh())
    x = points(40, 5, seed=seed).to(SINGLE)
    for share in (0.01, 0.0):
        for quantity in ("metric", "ricci_scalar"):
            expected = pytest.raises(InvalidInput, match="not those of its values") if share else nullcontext()
            with expected:
                getattr(pullback(lambda v, s=share: s * m(v.detach()) + (1 - s) * m(v), x), quantity)


def test_a_second_derivative_is_checked_where_it_is_used() -> None:
    m = inner()

    def features(v: torch.Tensor) -> torch.Tensor:  # values and first derivatives are those of m
        flat = (v * v.detach() - v**2 / 2 - v.detach() ** 2 / 2).sum(1, keepdim=True)
        return torch.where(v[:, :1] < 0, m(v) + flat, m(v))

    x = torch.tensor([[1.0, 0.5], [0.3, -0.4], [-1.0, 0.2]], dtype=DOUBLE)
    torch.testing.assert_close(pullback(features, x).metric, pullback(m, x).metric, rtol=1e-12, atol=0)
    with pytest.raises(InvalidInput, match=r"second derivative .* where the first derivative changes by"):
        _ = pullback(features, x).ricci_scalar
    right = torch.stack([extrinsic_ricci(*double_backward(m, u)) for u in x])
    torch.testing.assert_close(pullback(features, x[:2]).ricci_scalar, right[:2], rtol=1e-9, atol=0)


class Convolutional(nn.Module):
    def __init__(self, act: nn.Module, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 6, 3, padding=1), norm(6), nn.Conv2d(6, 6, 3, padding=1)
        self.act, self.head = act, nn.Linear(24, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.norm(self.a(x)))
        return self.head(self.act(nn.functional.max_pool2d(h + self.b(h), 2)).flatten(1))


class Tokens(nn.Module):
    def __init__(self, act: str) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, activation=act, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.embed(x)).flatten(1)


IMAGE, MODULES = (1, 4, 4), dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]()
MODULES |= {
    "ReLU, wide": (lambda: mlp(nn.ReLU, 3, 800, 400, 3), (3,)),
    "ReLU, deep": (lambda: mlp(nn.ReLU, 2, *[60] * 8), (2,)),
    "ReLU, one feature": (lambda: nn.Sequential(mlp(nn.ReLU, 3, 2000), nn.Linear(2000, 1)), (3,)),
    "ReLU, wide inputs": (lambda: nn.Sequential(nn.Flatten(), mlp(nn.ReLU, 300, 200, 40)), (3, 10, 10)),
    "max pooling": (lambda: Convolutional(nn.ReLU(), nn.BatchNorm2d), IMAGE),
    "group norm": (lambda: Convolutional(nn.SiLU(), lambda c: nn.GroupNorm(2, c)), IMAGE),
    "instance norm": (lambda: Convolutional(nn.Mish(), nn.InstanceNorm2d), IMAGE),
    "hard": (lambda: Convolutional(nn.Hardswish(), nn.Identity), IMAGE),
    "attention": (lambda: Tokens("relu"), (3, 2)),
    "attention, GELU": (lambda: Tokens("gelu"), (3, 2)),
    "recurrent": (lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), First(nn.GRU(2, 5, batch_first=True))), (4,)),
    "saturated": (lambda: nn.Sequential(nn.Linear(2, 20), Scaled(40.0), nn.Tanh(), nn.Linear(20, 9)), (2,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(3, 20), nn.LayerNorm(20), nn.Softplus()), (3,)),
    "RMS norm": (lambda: nn.Sequential(nn.Linear(3, 20), nn.RMSNorm(20), nn.ReLU(), nn.Softmax(-1)), (3,)),
    "gated": (lambda: nn.Sequential(nn.Linear(3, 20), nn.GLU(), nn.Hardsigmoid()), (3,)),
}


class First(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)[0].flatten(1)


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


FUNCTIONS: dict[str, Features] = {
    "a flat direction": lambda u: torch.cat((u[:, :1].sin(), u[:, :1] ** 2), -1),
    "normalised": lambda u: u / u.norm(dim=-1, keepdim=True),
    "constant": lambda u: 0 * u + 1,
    "all saturated": lambda u: torch.tanh(40 + u),
    "rough": lambda u: torch.cat(((1e9 * u).sin(), u), -1),
    "tiny and huge": lambda u: torch.cat((1e-20 * u.sin(), 1e20 * u.cos()), -1),
    "absolute value": lambda u: torch.cat((u.abs(), u), -1),
    "root": lambda u: u.abs().sqrt(),
    "clamped": lambda u: torch.cat((u.clamp(-0.5, 0.5), u), -1),
    "sorted": lambda u: torch.cat((u.sort(-1)[0], u**2), -1),
}


def no_alarm(features: Any, shape: tuple[int, ...], x: torch.Tensor, second: bool) -> None:
    with FeatureMap(features, shape).ready() as f:
        choose(f, x.flatten(1), second)


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_no_false_alarm_for_ordinary_modules(name: str, dtype: torch.dtype) -> None:
    build, shape = MODULES[name]
    for seed, scale in enumerate((1.0, 1e-6, 100.0, 0.0)):  # 0: at the origin, where kinks without biases are
        torch.manual_seed(seed)
        module = build().to(dtype).eval()
        x = scale * points(12, int(torch.Size(shape).numel()), seed=seed).to(dtype).reshape(12, *shape)
        no_alarm(module, shape, x, second=len(x[0].flatten()) < 100 and scale in (1.0, 0.0))


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_false_alarm_for_functions_that_differences_resolve_badly(name: str, dtype: torch.dtype) -> None:
    for scale in (1.0, 1e-6, 1e-12, 1e6):
        for x in (scale * points(12, 2), scale * points(12, 2).round()):  # on kinks, too
            no_alarm(FUNCTIONS[name], (2,), x.to(dtype), second=True)
