"""Modules of every kind: what is measured is right, by plain double backward, and nothing of the module changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite import ntk, pullback, ricci_scalar
from infgeo.finite.differentiate import FORWARD, FORWARD_ONE_BY_ONE, REVERSE, REVERSE_ONE_BY_ONE, choose
from tests.finite.twins import double_backward, extrinsic_ricci, points

DOUBLE = torch.float64


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 and eval mode, with fixed weights and running statistics that are not the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=DOUBLE) * (0.8 / max(p.shape[-1], 1) ** 0.5)
    for name, b in module.named_buffers():
        if b.dtype.is_floating_point:
            b.data = torch.rand(b.shape, generator=generator, dtype=DOUBLE) + ("var" in name) * 0.5
    return module.eval()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm, self.conv2 = (
            nn.Conv2d(1, 3, 2, padding=1),
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 3, 3, padding=1),
        )
        self.act, self.drop, self.head = nn.ELU(inplace=True), nn.Dropout(0.3), nn.Linear(27, 9)
        self.register_buffer("shift", torch.ones(9))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        h = self.act(self.norm(self.conv1(image)))
        h = h + torch.nn.functional.silu(self.conv2(h))
        return torch.tanh(self.head(self.drop(h.flatten(1)))) + self.shift


class Attention(nn.Module):
    def __init__(self, weights: bool = False) -> None:
        super().__init__()
        self.weights, self.embed = weights, nn.Linear(2, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.block = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.1, activation="gelu", batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.embed(tokens)
        h = h + self.attention(h, h, h, need_weights=self.weights)[0]
        return self.block(h)  # (B, tokens, channels): the feature axes are flattened


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x[..., None])[0].flatten(1)


class Counting(nn.Module):
    """Counts its calls in a buffer, also in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.linear(x).tanh()


def norms(norm: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Unflatten(1, (2, 4)), norm, nn.Flatten())


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (1, 2, 2)),
    "attention": (Attention, (2, 2)),
    "attention with weights": (lambda: Attention(True), (2, 2)),
    "recurrent": (Recurrent, (3,)),
    "layer norm": (norms(nn.LayerNorm(4)), (3,)),
    "layer norm over two axes": (norms(nn.LayerNorm((2, 4), elementwise_affine=False)), (3,)),
    "instance norm": (norms(nn.InstanceNorm1d(2, affine=True)), (3,)),
    "instance norm, tracked": (norms(nn.InstanceNorm1d(2, track_running_stats=True)), (3,)),
    "group norm": (norms(nn.GroupNorm(2, 2)), (3,)),
    "batch norm": (norms(nn.BatchNorm1d(2)), (3,)),
    "rms norm": (norms(nn.RMSNorm(4)), (3,)),
    "gated": (lambda: nn.Sequential(nn.Linear(3, 12), nn.GLU(), nn.Softmax(-1)), (3,)),
    "pooling": (lambda: nn.Sequential(nn.Conv2d(1, 12, 2), nn.Tanh(), nn.AvgPool2d(2, 1), nn.Softplus()), (1, 3, 3)),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 6)), nn.Tanh(), nn.Linear(6, 5)),
        (2,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_curvature_is_that_of_double_backward(name: str) -> None:
    build, shape = CASES[name]
    module = filled(build())
    x = 0.7 * points(2, int(np.prod(shape)), seed=1)
    before = snapshot(module)
    result = pullback(module, x.reshape(2, *shape), input_shape=shape)
    curvature = result.ricci_scalar
    same(module, before)
    for i in range(2):
        j, h = double_backward(lambda p: module(p.reshape(-1, *shape)), x[i])
        torch.testing.assert_close(result.metric[i], j.mT @ j, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(curvature[i], extrinsic_ricci(j, h), rtol=1e-8, atol=1e-9)
        gamma = torch.linalg.inv(j.mT @ j) @ torch.einsum("nk,nij->kij", j, h).flatten(1)
        torch.testing.assert_close(result.christoffel[i].flatten(1), gamma, rtol=1e-8, atol=1e-8)
    assert curvature.abs().min() > 1e-6 and not result.note


def snapshot(module: nn.Module) -> dict[str, Any]:
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    return {
        "state": copy.deepcopy(module.state_dict()),
        "versions": [t._version for t in (*module.parameters(), *module.buffers())],
        "modes": [m.training for m in module.modules()],
        "requires_grad": [p.requires_grad for p in module.parameters()],
        "hooks": [len(m._forward_hooks) for m in module.modules()],
        "random": torch.get_rng_state(),
        "fast": torch.backends.mha.get_fastpath_enabled(),
        "flash": torch.backends.cuda.flash_sdp_enabled(),
    }


def same(module: nn.Module, before: dict[str, Any]) -> None:
    for p in module.parameters():
        assert p.grad is not None and bool((p.grad == 1).all())
    after = snapshot(module)
    assert before["state"].keys() == after["state"].keys()
    assert all(torch.equal(before["state"][k], after["state"][k]) for k in before["state"])
    assert torch.equal(before["random"], after["random"])
    for key in ("versions", "modes", "requires_grad", "hooks", "fast", "flash"):
        assert before[key] == after[key], key


def test_a_module_that_counts_its_calls_is_left_as_it_was() -> None:
    module = filled(Counting())
    before = snapshot(module)
    x = points(4, 2)
    result = pullback(module, x)
    _ = result.ricci_scalar, result.rank, result.christoffel
    same(module, before)
    torch.testing.assert_close(result.metric, pullback(lambda u: module.linear(u).tanh(), x).metric)
    with pytest.raises(InvalidInput, match="changes its own parameters or buffers when it is called"):
        pullback(module.forward, x)  # a method takes no copies of the buffers


class Keeping(nn.Module):
    """Keeps what it computes: in attributes, old and new, and in lists and dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.last, self.all, self.named = nn.Linear(2, 5), None, list[Any](), dict[str, Any]()
        self.factor: Any = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.factor is None:
            del self.factor
            self.register_buffer("factor", x.new_ones(1))
        self.new = self.last = self.named["h"] = h = self.linear(x).tanh() * self.factor
        self.all.append(h)
        return h


def test_what_a_module_keeps_of_its_calls_is_put_back() -> None:
    module, x = Keeping().double(), points(2, 2)
    for measure in (
        lambda: pullback(module, x).ricci_scalar,
        lambda: ntk(module, x),
        lambda: ricci_scalar(module, x).sum().backward(),
    ):
        measure()
        assert not hasattr(module, "new") and module.last is None and not module.all and not module.named
        assert module.factor is None and not module._buffers
    first = module(x)
    _ = pullback(module, x).ricci_scalar
    assert module.last is first and module.all == [first] and list(module.named) == ["h"]


def test_training_mode_is_refused_or_frozen() -> None:
    module = filled(Residual())
    x = points(3, 4, seed=2).reshape(3, 1, 2, 2)
    expected = pullback(module, x, input_shape=(1, 2, 2)).ricci_scalar
    module.train()
    module.norm.eval()
    with pytest.raises(InvalidInput, match=r"'drop' \(Dropout\) drops features at random \(p = 0\.3\).*freeze=True"):
        pullback(module, x, input_shape=(1, 2, 2))
    module.norm.train()
    with pytest.raises(InvalidInput, match=r"'norm' \(BatchNorm2d\) takes its statistics from the batch.*eval\(\)"):
        pullback(module.forward, x, input_shape=(1, 2, 2))
    before = snapshot(module)
    frozen = pullback(module, x, input_shape=(1, 2, 2), freeze=True)
    assert torch.equal(frozen.ricci_scalar, expected)
    same(module, before)
    assert module.training and module.drop.training
    measured = pullback(module.eval(), x, input_shape=(1, 2, 2))
    module.train()
    with pytest.raises(InvalidInput, match="training mode"):
        _ = measured.ricci_scalar


MODULES = [filled(Residual())]


def by_global_name(image: torch.Tensor) -> torch.Tensor:
    return MODULES[0](image).tanh()


class Holder:
    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return self.module(image).tanh()

    def method(self, image: torch.Tensor) -> torch.Tensor:
        return self.module(image).tanh()


def test_modules_inside_functions_are_seen() -> None:
    module = MODULES[0]
    x = points(3, 4, seed=2).reshape(3, 1, 2, 2)

    def inner(image: torch.Tensor) -> torch.Tensor:
        return module(image).tanh()

    reaching: list[Callable[[torch.Tensor], torch.Tensor]] = [
        inner,
        lambda image: inner(image),
        lambda image, m=module: m(image).tanh(),
        by_global_name,
        Holder(module),
        Holder(module).method,
        partial(lambda m, image: m(image).tanh(), module),
    ]
    expected = pullback(inner, x, input_shape=(1, 2, 2)).ricci_scalar
    state = copy.deepcopy(module.state_dict())
    try:
        for features in reaching:
            module.train()
            with pytest.raises(InvalidInput, match="training mode"):
                pullback(features, x, input_shape=(1, 2, 2))
            frozen = pullback(features, x, input_shape=(1, 2, 2), freeze=True)
            torch.testing.assert_close(frozen.ricci_scalar, expected)
            assert module.training
            measured = pullback(features, x, input_shape=(1, 2, 2), freeze=True)
            with torch.no_grad():
                module.head.bias.add_(0)
            with pytest.raises(InvalidInput, match="features changed"):
                _ = measured.metric
        assert all(torch.equal(state[k], v) for k, v in module.state_dict().items())
        bound = pullback(partial(module), x, input_shape=(1, 2, 2), layer="conv1", freeze=True)
        assert bound.width == pullback(module, x, input_shape=(1, 2, 2), layer="conv1", freeze=True).width
    finally:
        module.eval()


@pytest.mark.parametrize("part", [nn.MultiheadAttention(2, 1, dropout=0.1), nn.LSTM(2, 2, 2, dropout=0.1), nn.RReLU(),
                                  nn.InstanceNorm1d(2, track_running_stats=True), nn.Dropout2d(0.1)],
                         ids=lambda part: type(part).__name__)  # fmt: skip
def test_other_modules_that_differ_in_training_mode(part: nn.Module) -> None:
    with pytest.raises(InvalidInput, match=f"'1' \\({type(part).__name__}\\)"):
        pullback(nn.Sequential(nn.Linear(2, 2), part).double(), points(1, 2))
    harmless = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.0), nn.Tanh()).double()
    assert harmless.training and pullback(harmless, points(1, 2)).metric.shape == (1, 2, 2)


def test_images_are_flattened_in_row_major_order() -> None:
    module = filled(Residual())
    x = points(3, 4, seed=2)
    image = pullback(module, x.reshape(3, 1, 2, 2), input_shape=(1, 2, 2))
    assert image.metric.shape == (3, 4, 4) and image.input_shape == (1, 2, 2) and image.input_dim == 4
    reference = pullback(lambda u: module(u.reshape(-1, 1, 2, 2)), x)
    torch.testing.assert_close(image.metric, reference.metric, rtol=1e-13, atol=1e-14)
    assert torch.equal(pullback(module, x, input_shape=[1, 2, 2]).metric, image.metric)
    one = pullback(module, x[0].reshape(1, 2, 2), input_shape=(1, 2, 2))
    assert one.metric.shape == (4, 4) and one.ricci_scalar.shape == ()
    u = torch.eye(4, dtype=DOUBLE).reshape(4, 1, 2, 2)
    flat = reference.sectional_curvature(u[0].flatten(), u[3].flatten())
    torch.testing.assert_close(image.sectional_curvature(u[0], u[3]), flat, rtol=1e-12, atol=0)
    with pytest.raises(InvalidInput, match=r"x has shape \(3, 4\) and input_shape is \(1, 3, 3\).*\(\.\.\., 9\)"):
        pullback(module, x, input_shape=(1, 3, 3))
    with pytest.raises(InvalidInput, match="input_shape is 3; pass a list"):
        pullback(module, x, input_shape=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"failed on a batch of shape \(B, 2\).*pass input_shape=\(channels"):
        pullback(module, x.reshape(3, 1, 2, 2))


def test_float32_modules_and_what_is_no_tensor() -> None:
    module = filled(Residual())
    x = points(2, 4, seed=2).reshape(2, 1, 2, 2)
    double = pullback(module, x, input_shape=(1, 2, 2))
    single = pullback(copy.deepcopy(module).float(), x.numpy(), input_shape=(1, 2, 2))
    assert single.x.dtype == torch.float32 and single.ricci_scalar.dtype == torch.float64
    torch.testing.assert_close(single.metric, double.metric, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(single.ricci_scalar, double.ricci_scalar, rtol=1e-2, atol=1e-2)


def test_layers_are_followed_across_depth() -> None:
    module = filled(Residual())
    x = points(3, 4, seed=2).reshape(3, 1, 2, 2)

    def up_to_norm(image: torch.Tensor) -> torch.Tensor:
        return module.norm(module.conv1(image))

    def up_to_head(image: torch.Tensor) -> torch.Tensor:
        h = nn.functional.elu(up_to_norm(image))
        return module.head((h + nn.functional.silu(module.conv2(h))).flatten(1))

    before = snapshot(module)
    geometry = {name: pullback(module, x, layer=name, input_shape=(1, 2, 2)) for name in ("conv1", "norm", "head")}
    for name, expected in (("conv1", module.conv1), ("norm", up_to_norm), ("head", up_to_head)):
        reference = pullback(expected, x, input_shape=(1, 2, 2))
        assert geometry[name].width == reference.width
        torch.testing.assert_close(geometry[name].metric, reference.metric, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(geometry[name].ricci_scalar, reference.ricci_scalar, rtol=1e-9, atol=1e-10)
    same(module, before)
    attention = filled(Attention())
    tokens = points(2, 4).reshape(2, 2, 2)
    first = pullback(attention, tokens, layer="attention", input_shape=(2, 2))  # of (output, weights) the output

    def attended(t: torch.Tensor) -> torch.Tensor:
        h = attention.embed(t)
        return attention.attention(h, h, h)[0]

    torch.testing.assert_close(first.metric, pullback(attended, tokens, input_shape=(2, 2)).metric)
    with pytest.raises(InvalidInput, match=r"layer is 'conv3'.*near ones: 'conv2', 'conv1'"):
        pullback(module, x, layer="conv3", input_shape=(1, 2, 2))
    with pytest.raises(InvalidInput, match=r"layer is \['conv1'\]; pass one name"):
        pullback(module, x, layer=["conv1"], input_shape=(1, 2, 2))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="features is no torch module"):
        pullback(lambda u: u, x, layer="conv1")
    shared = nn.Tanh()
    twice = nn.Sequential(nn.Linear(2, 3), shared, nn.Linear(3, 3), shared).double()
    with pytest.raises(InvalidInput, match="layer '1' is called 2 times in one forward pass"):
        pullback(twice, points(1, 2), layer="1")
    unused = nn.Sequential(nn.Linear(2, 3)).double()
    unused[0].extra = nn.Linear(2, 2).double()
    with pytest.raises(InvalidInput, match=r"layer '0\.extra' is not called"):
        pullback(unused, points(1, 2), layer="0.extra")


def test_a_layer_ends_the_forward_pass() -> None:
    class Counted(nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Counted.calls += 1  # what the module itself keeps is put back
            return x

    module = nn.Sequential(nn.Linear(2, 3), nn.Softmax(-1), Counted()).double()
    result = pullback(module, points(2, 2), layer="1")
    assert Counted.calls == 1  # to see that the layer is called once in a whole pass
    torch.testing.assert_close(result.metric, pullback(module[:2], points(2, 2)).metric)
    assert result.ricci_scalar.shape == (2,) and Counted.calls == 1


WEIGHTS = points(6, 3, seed=5)


class Cube(torch.autograd.Function):
    """Without a rule for forward mode, or for batches."""

    @staticmethod
    def forward(u: torch.Tensor) -> torch.Tensor:
        return u**3

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * grad


def determinant(u: torch.Tensor) -> torch.Tensor:
    """torch's forward mode is wrong at second order for det (torch 2.13); its reverse mode is right."""
    rows = torch.stack((u[:, 0], u[:, 1], u[:, 2], u[:, 0] ** 2), -1).reshape(-1, 2, 2)
    return torch.cat((u.sin(), torch.linalg.det(rows)[:, None]), -1)


def by_hand(u: torch.Tensor) -> torch.Tensor:
    return torch.cat((u.sin(), (u[:, 0] ** 3 - u[:, 1] * u[:, 2])[:, None]), -1)


@pytest.mark.parametrize(
    ("features", "reference"),
    [(lambda u: Cube.apply(u @ WEIGHTS.T), lambda u: (u @ WEIGHTS.T) ** 3), (determinant, by_hand)],
    ids=["no rule", "wrong rule"],
)
def test_a_way_that_is_right_is_found(features: Any, reference: Any) -> None:
    x = points(3, 3, seed=4)
    ours, theirs = pullback(features, x), pullback(reference, x)
    torch.testing.assert_close(ours.ricci_scalar, theirs.ricci_scalar, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(ours.ricci_tensor, theirs.ricci_tensor, rtol=1e-10, atol=1e-10)
    u, v = points(2, 3, seed=6)
    torch.testing.assert_close(ours.sectional_curvature(u, v), theirs.sectional_curvature(u, v), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.rank, theirs.rank)


@pytest.mark.parametrize("way", [FORWARD, FORWARD_ONE_BY_ONE, REVERSE, REVERSE_ONE_BY_ONE], ids=lambda way: way.name)
@pytest.mark.parametrize("chunk", [None, 2])
def test_every_way_gives_the_same_derivatives(way: Any, chunk: int | None) -> None:
    x = points(4, 3, seed=4)
    j, h = way(by_hand, x, True, chunk)
    for i in range(4):
        expected_j, expected_h = double_backward(by_hand, x[i])
        torch.testing.assert_close(j[i], expected_j, rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(h[i], expected_h, rtol=1e-13, atol=1e-14)
    assert torch.equal(way(by_hand, x, False, chunk)[0], j) or way is REVERSE
    assert way(by_hand, x, False, chunk)[1] is None


def test_fewer_features_than_coordinates_go_backward() -> None:
    x = points(1, 5)
    assert choose(lambda u: u[:, :2].sin(), x, False) is REVERSE
    assert choose(lambda u: u.sin(), x, False) is FORWARD
    narrow = pullback(lambda u: torch.stack((u.sum(-1).sin(), u[..., 0] * u[..., 1]), -1), points(3, 5))
    j, _ = double_backward(lambda u: torch.stack((u.sum(-1).sin(), u[..., 0] * u[..., 1]), -1), points(3, 5)[0])
    torch.testing.assert_close(narrow.metric[0], j.mT @ j)


@pytest.mark.parametrize("way", [FORWARD, FORWARD_ONE_BY_ONE, REVERSE, REVERSE_ONE_BY_ONE], ids=lambda w: w.name)
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_derivatives_that_depend_on_no_direction(way: Any, chunk: int | None, count: int) -> None:
    x = points(count, 3)
    for features, jacobian in (
        (lambda u: u, torch.eye(3, dtype=DOUBLE)),
        (lambda u: torch.cat((u, u.sum(-1, keepdim=True)), -1), torch.cat((torch.eye(3), torch.ones(1, 3))).double()),
    ):
        j, h = way(features, x, True, chunk)
        torch.testing.assert_close(j, jacobian.expand(count, -1, -1), rtol=0, atol=0)
        assert h is not None and h.shape == (*j.shape, 3) and not h.any()
        assert not pullback(features, x).ricci_scalar.any()


def test_spectral_norm_in_training_mode_is_random_and_may_be_frozen() -> None:
    torch.manual_seed(3)  # the power iteration has not converged yet
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(9, 9, dtype=DOUBLE))
    module, x = nn.Sequential(nn.Linear(2, 9, dtype=DOUBLE), nn.Tanh(), normed, nn.Tanh()), points(2, 2)
    before = snapshot(module)
    with pytest.raises(InvalidInput, match=r"is random: calls at the same point differ.*freeze=True"):
        pullback(module, x)
    frozen = pullback(module, x, freeze=True).ricci_scalar
    same(module, before)
    torch.testing.assert_close(frozen, pullback(copy.deepcopy(module).eval(), x).ricci_scalar, rtol=0, atol=0)


def test_threads_wait_for_each_other() -> None:
    module, x = filled(nn.Sequential(nn.Linear(2, 5), nn.LayerNorm(5), nn.Mish())), points(6, 2)
    before, alone = snapshot(module), pullback(module, x).ricci_scalar
    with ThreadPoolExecutor(4) as threads:
        for other in threads.map(lambda _: pullback(module, x, freeze=True).ricci_scalar, range(8)):
            assert torch.equal(alone, other)
    same(module, before)


def test_kinks_say_nothing_against_a_way() -> None:
    x = torch.tensor([[0.0, 1e-9], [0.3, -0.4]], dtype=DOUBLE)  # on and beside a kink
    assert pullback(lambda u: torch.cat((u.relu(), u), -1), x).ricci_scalar.tolist() == [0.0, 0.0]
    rough = pullback(lambda u: torch.cat(((1e9 * u).sin(), u), -1), points(2, 2))
    assert torch.isfinite(rough.ricci_scalar).all()


@pytest.mark.parametrize("part", [nn.LayerNorm(4), nn.Identity()], ids=["general", "stack"])
def test_inference_mode(part: nn.Module) -> None:
    module = filled(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), part, nn.Linear(4, 5), nn.SiLU()))
    x = points(3, 2)
    expected = pullback(module, x)
    with torch.inference_mode():
        inside, made = pullback(module, x.clone()), x.clone()
        torch.testing.assert_close(inside.ricci_scalar, expected.ricci_scalar)
        torch.testing.assert_close(inside.christoffel, expected.christoffel)
        born = filled(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), part, nn.Linear(4, 5), nn.SiLU()))
        with pytest.raises(InvalidInput, match="depend on the other points"):
            pullback(lambda u: torch.cat((u, u * (1 + 1e-9 * u.sum(0))), -1), x)
    for features in (module, born):
        torch.testing.assert_close(pullback(features, made).ricci_scalar, expected.ricci_scalar)
