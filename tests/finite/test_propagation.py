"""Few features of many inputs, as of images: the cheaper mode, its check and its memory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite import feature_map, pullback, pullback_slice, routes
from infgeo.finite.differentiate import FORWARD, REVERSE, REVERSE_ONE_BY_ONE, Way, choose
from infgeo.training import small_resnet
from tests.finite.twins import double_backward, points


def randomised(model: nn.Module) -> nn.Module:
    numbers = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d) and part.running_mean is not None:
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                if tensor is not None:
                    tensor.data.copy_(0.3 + torch.rand(tensor.shape, generator=numbers, dtype=torch.float64))
    return model.eval()


def image(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("layer", "n"), [("pool", 8), ("stage1", 256)], ids=["reverse", "forward"])
def test_residual_networks_against_plain_autograd(layer: str, n: int) -> None:
    model = randomised(small_resnet("gelu", widths=(4, 6, 8), dtype=torch.float64))
    x = image()
    result = pullback(model, x, layer=layer, input_shape=(1, 8, 8), singular="nan")
    names = [name for name, _ in model.named_children()]
    part = nn.Sequential(*list(model.children())[: names.index(layer) + 1])
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda p: part(p[None])[0].flatten(), x[i]).reshape(n, 64)
        torch.testing.assert_close(result.metric[i], jacobian.T @ jacobian, rtol=1e-11, atol=1e-15)
        values = torch.linalg.svdvals(jacobian)
        torch.testing.assert_close(result.singular_values[i], values, rtol=0, atol=1e-13 * float(values[0]))
        torch.testing.assert_close(result.log_pseudo_volume[i], values.log().sum(), rtol=1e-9, atol=0)
    way = choose(lambda u: part(u.reshape(-1, 1, 8, 8)).flatten(1), x[:1].flatten(1), False)
    assert way == (REVERSE if n < 64 else FORWARD)
    line = pullback_slice(model, [[0.0], [1.0]], x[0], x[1:] - x[:1], layer=layer, input_shape=(1, 8, 8))
    u = (x[1] - x[0]).flatten()
    lengths = torch.stack([(u @ result.metric[i] @ u).sqrt() for i in (0, 1)])
    torch.testing.assert_close(line.length_element, lengths, rtol=1e-11, atol=0)


def test_what_single_precision_leaves() -> None:
    """The relative error of σ is about ε κ(J): that of J, in units of its largest singular value."""
    exact = randomised(small_resnet("gelu", widths=(8, 16, 32), dtype=torch.float64))
    single = copy.deepcopy(exact).float()
    x = image(1)
    a, b = (
        pullback(m, p, layer="pool", input_shape=(1, 8, 8)).singular_values[0]
        for m, p in ((exact, x.float().double()), (single, x.float()))
    )
    epsilon = torch.finfo(torch.float32).eps
    error = float((a - b).abs().max() / a[0])
    assert epsilon / 100 < error < 10 * epsilon


NORMS: dict[str, Callable[[], nn.Module]] = {
    "1d": lambda: nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh()),
    "without parameters": lambda: nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5, affine=False, eps=0.3), nn.Tanh()),
    "2d": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 1, 3)), nn.Conv2d(1, 4, (1, 2)), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten()
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_batch_norms_in_eval_mode(name: str) -> None:
    torch.manual_seed(0)
    model, x = randomised(NORMS[name]().double()), points(2, 3)
    result = pullback(model, x)
    for i in range(len(x)):
        j, h = double_backward(model, x[i])
        torch.testing.assert_close(result.metric[i], j.T @ j, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(result.christoffel[i], torch.einsum("ka,aij->kij", torch.linalg.pinv(j), h))


class Sines(torch.autograd.Function):
    """sin W x, with a derivative that counts its calls and that torch cannot batch."""

    calls = 0

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return torch.sin(x @ weight.T)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        Sines.calls += 1
        x, weight = ctx.saved_tensors
        return (gradient * torch.cos(x @ weight.T)) @ weight, None


def test_the_check_of_reverse_mode_costs_few_passes() -> None:
    weight, x = points(100, 120, seed=1) / 10, points(1, 120)
    Sines.calls = 0
    way = choose(lambda u: Sines.apply(u, weight), x, False)
    assert way is REVERSE_ONE_BY_ONE and 0 < Sines.calls <= 16
    jacobian = torch.cos(x[0] @ weight.T)[:, None] * weight
    expected = torch.linalg.svdvals(jacobian)
    got = pullback(lambda u: Sines.apply(u, weight), x).singular_values[0]
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=0)


@pytest.mark.parametrize("wrong", [0, 50, 99])
def test_one_wrong_feature_of_many_is_refused(wrong: int) -> None:
    weight, x = points(100, 120, seed=1) / 10, points(2, 120)

    def features(u: torch.Tensor) -> torch.Tensor:
        value = torch.sin(u @ weight.T)
        hidden = value.detach()[:, wrong : wrong + 1]
        return torch.cat([value[:, :wrong], hidden, value[:, wrong + 1 :]], dim=1)

    with pytest.raises(InvalidInput, match=r"not those of its values.*detach"):
        _ = pullback(features, x).singular_values
    torch.testing.assert_close(  # and the same features without a fault are not
        pullback(lambda u: torch.sin(u @ weight.T), x).log_pseudo_volume[0],
        torch.linalg.svdvals(torch.cos(x[0] @ weight.T)[:, None] * weight).log().sum(),
        rtol=1e-11,
        atol=0,
    )


@pytest.mark.parametrize(("layer", "directions"), [("pool", 33), ("stage1", 65)], ids=["reverse", "forward"])
def test_passes_at_once_stay_below_a_size(layer: str, directions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of points, or of directions at one point, whose largest array is small enough for a cache."""
    model = small_resnet("tanh", widths=(2, 4, 32)).eval()
    x, largest = image(3).float(), 2 * 64
    seen: list[tuple[int, int]] = []

    def recorded(f: Any, point: torch.Tensor, second: bool, *options: Any) -> Way:
        way = choose(f, point, second, *options)

        def run(f: Any, points: torch.Tensor, second: bool, chunk: int | None) -> Any:
            seen.append((len(points), directions if chunk is None else chunk))
            return way.run(f, points, second, chunk)

        return Way(way.name, run)

    monkeypatch.setattr(feature_map, "choose", recorded)
    expected = None
    for size in (2**23, 4 * largest * directions * 2, 4 * largest * 7, 1):
        seen.clear()
        monkeypatch.setattr(routes, "_FASTEST_ARRAY", size)
        metric = pullback(model, x, layer=layer, input_shape=(1, 8, 8), singular="nan").metric
        expected = metric if expected is None else expected
        torch.testing.assert_close(metric, expected, rtol=1e-4, atol=1e-4 * float(metric.abs().max()))
        assert sum(n for n, _ in seen) == 3
        assert all(n * at_once * 4 * largest <= max(size, 4 * largest) for n, at_once in seen)
    assert seen == [(1, 1)] * 3
