"""One gate before every route: what surrounds a call, and what a module is beside its class, never changes a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from infgeo.errors import InvalidInput
from infgeo.finite import (
    distance,
    exponential,
    laplacian,
    linearize,
    ntk,
    ntk_metric,
    pullback,
    pullback_slice,
)
from infgeo.finite.differentiate import FORWARD, FORWARD_ONE_BY_ONE, REVERSE, REVERSE_ONE_BY_ONE
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.feature_map import FeatureMap
from infgeo.tracking import GeometryTracker, grid
from tests.finite.twins import double_backward, extrinsic_ricci, points

DOUBLE, SINGLE = torch.float64, torch.float32


def mlp(hidden: int, dtype: torch.dtype = DOUBLE) -> nn.Sequential:
    torch.manual_seed(0)
    sizes = (2, 16, 8)[: hidden + 1]
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers).to(dtype)


def by_autograd(features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return torch.stack([extrinsic_ricci(*double_backward(features, u)) for u in x])


@pytest.mark.parametrize("hidden", [1, 2])
@pytest.mark.parametrize("route", ["stack", "general"])
def test_autocast_changes_no_digit(hidden: int, route: str) -> None:
    """Around the whole, around the access alone, and for slices and trackers."""
    module, x = mlp(hidden, SINGLE), points(5, 2, seed=1).float()
    features = module if route == "stack" else lambda u: module(u)
    right = pullback(features, x)
    expected = right.ricci_scalar
    before = pullback(features, x)
    origin, ways = x[0], torch.eye(2)
    sliced = pullback_slice(features, x, origin, ways).metric
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pullback(features, x).ricci_scalar, expected) and torch.equal(before.ricci_scalar, expected)
        assert torch.equal(before.rank, right.rank) and torch.equal(before.christoffel, right.christoffel)
        assert torch.equal(pullback_slice(features, x, origin, ways).metric, sliced)
        assert torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(expected, by_autograd(mlp(hidden), x.double()), rtol=2e-4, atol=1e-6)


def test_estimates_under_autocast() -> None:
    import infgeo

    mlp, x = infgeo.MLP("erf"), points(2, 2)
    options: dict[str, Any] = {"width": 64, "samples": 4, "seed": 1, "dtype": SINGLE, "quantities": ["metric"]}
    expected = infgeo.finite.estimate(mlp, x, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = infgeo.finite.estimate(mlp, x, **options)
    assert torch.equal(found.metric.mean, expected.metric.mean)


def test_reduced_products_rest_meanwhile() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        with plain_torch():
            assert torch.backends.cuda.matmul.fp32_precision == torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


class Sines(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return torch.sin(*args) if func is torch.tanh else func(*args, **(kwargs or {}))


@contextmanager
def patched_class() -> Iterator[None]:
    original = nn.Tanh.forward
    nn.Tanh.forward = lambda self, z: torch.sin(z)  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Tanh.forward = original  # type: ignore[method-assign]


@contextmanager
def hook_for_all() -> Iterator[None]:
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, _inputs, out: torch.sin(out) if isinstance(module, nn.Linear) else None
    )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def hook_on_inputs_for_all() -> Iterator[None]:
    handle = nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: (inputs[0] * 2,) if isinstance(module, nn.Linear) else None
    )
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("hidden", [1, 2])
@pytest.mark.parametrize("change", [Sines, patched_class, hook_for_all, hook_on_inputs_for_all])
def test_what_a_module_computes_counts_and_not_its_classes(change: Any, hidden: int) -> None:
    module, x = mlp(hidden), points(3, 2, seed=1)
    with change():
        found = pullback(module, x).ricci_scalar
        expected = by_autograd(lambda u: module(u), x)
        changed = GeometryTracker(module, at=x, quantities=("ricci",))
        changed.record(0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(torch.from_numpy(changed.history.quantity("ricci")[0]), found, rtol=1e-9, atol=1e-10)
    assert float((pullback(module, x).ricci_scalar - found).abs().max()) > 1e-3


def test_a_default_device_does_not_count() -> None:
    """What is drawn and counted lives with the points, or on the CPU; "meta" stands for an accelerator here."""
    stack, x = mlp(1), points(3, 2)

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = stack

        def forward(self, u: torch.Tensor) -> torch.Tensor:
            return self.stack(u) + u.sum(-1, keepdim=True)

    module = Shifted()

    def tracked() -> torch.Tensor:
        tracker = GeometryTracker(module, at=grid((-1, 1), points=3))
        tracker.record(0)
        return torch.from_numpy(tracker.history.quantity("log10_volume"))

    for ask in (
        lambda: pullback(module, x).ricci_scalar,
        lambda: pullback_slice(module, x[:, :1], x[0], x[1:2]).log_volume_element,
        lambda: ntk(module, x, output="trace"),
        lambda: ntk_metric(module, x),
        lambda: linearize(module).tangent_features(x),
        lambda: exponential(module, x[0], x[1] / 9),
        lambda: distance(module, x[0], x[1], steps=8),
        lambda: laplacian(lambda u: module(u)[..., 0], pullback(module, x)),
        tracked,
    ):
        expected = ask()
        with torch.device("meta"):
            assert torch.equal(ask(), expected)


def test_transforms_of_torch_func_are_refused_and_not_taken_for_constants() -> None:
    module, x = mlp(1), points(3, 2)
    weights = dict(module.named_parameters())

    def of_weights(w: dict[str, torch.Tensor]) -> torch.Tensor:
        return pullback(lambda u: torch.func.functional_call(module, w, (u,)), x).ricci_scalar.sum()

    for ask in (
        lambda: torch.func.grad(lambda u: pullback(module, u).ricci_scalar.sum())(x),
        lambda: torch.func.jvp(lambda u: pullback(module, u).ricci_scalar, (x,), (x,)),
        lambda: torch.func.vmap(lambda u: pullback(module, u).ricci_scalar)(x),
        lambda: torch.func.grad(of_weights)(weights),
    ):
        with pytest.raises(InvalidInput, match=r"inside a transform of torch\.func.*call it outside"):
            ask()


def one_wrong_dtype(change: Callable[[nn.Sequential], object]) -> nn.Sequential:
    module = mlp(2)
    change(module)
    return module


@pytest.mark.parametrize(
    "module",
    [
        one_wrong_dtype(lambda m: m[0].register_parameter("bias", nn.Parameter(torch.zeros(16)))),
        one_wrong_dtype(lambda m: m[2].float()),
        one_wrong_dtype(lambda m: m.__setitem__(1, nn.PReLU())),
    ],
    ids=["bias", "layer", "slopes"],
)
def test_weights_of_several_dtypes_are_one_clear_error(module: nn.Sequential) -> None:
    with pytest.raises(InvalidInput, match=r"weights are torch\.float32 and torch\.float64: bring the module to"):
        pullback(module, points(2, 2))
    assert torch.isfinite(pullback(module, points(2, 2), dtype=DOUBLE).ricci_scalar).all()  # or with copies in one


def test_meta_tensors_are_one_clear_error() -> None:
    x = points(2, 2)
    with pytest.raises(InvalidInput, match=r"x is on the meta device, which holds no numbers; pass"):
        pullback(mlp(1), x.to("meta"))
    with pytest.raises(InvalidInput, match=r"parameter '0\.weight' of features is on the meta device.*to_empty"):
        pullback(mlp(1).to("meta"), x)
    module = mlp(1)
    module[1].register_buffer("mask", torch.ones(2, device="meta"))
    with pytest.raises(InvalidInput, match=r"buffer '1\.mask' of features is on the meta device"):
        pullback(lambda u: module(u), x)


class Llama(nn.Module):
    """A norm that computes in float32, as many language models have it, whatever the weights are."""

    def __init__(self, single: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last, self.single = nn.Linear(3, 12), nn.Linear(12, 6), single

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.first(x))
        wide = h.float() if self.single else h
        h = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(h.dtype)
        return self.last(h * torch.ones(()))  # a constant in float32 changes nothing


@pytest.mark.parametrize("features", [6, 2])
def test_float32_inside_of_float64_is_seen_and_sets_the_tolerance(features: int) -> None:
    """Two directions that are parallel but for 1e−9: float64 tells them apart, float32 cannot."""
    coarse, fine, x = Llama(single=True).double(), Llama(single=False).double(), points(3, 3)
    shear = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1e-9]], dtype=DOUBLE)
    if features == 2:
        shear, x = shear[1:] * torch.tensor([0.0, 1.0, 1e-9], dtype=DOUBLE), x[:, :2]
        shear[1] = shear[0] + torch.tensor([1e-9, 0.0, 0.0], dtype=DOUBLE)
    found, right = (pullback(lambda u, m=m: m(u @ shear)[:, :features], x) for m in (coarse, fine))
    assert (
        "compute in torch.float32 on the way from points in torch.float64" in found.note and "float32" not in right.note
    )
    assert found.is_flat_by_construction == (features == x.shape[1])
    assert right.rank.tolist() == [x.shape[1]] * 3 and found.rank.tolist() == [x.shape[1] - 1] * 3
    y = points(3, 3)
    torch.testing.assert_close(pullback(coarse, y).metric, pullback(fine, y).metric, rtol=1e-4, atol=1e-6)
    assert "float32" in pullback(coarse, y, layer="last").note
    assert not pullback(coarse.float(), y.float()).note  # nothing is coarser than it looks


@pytest.mark.parametrize("way", [FORWARD, FORWARD_ONE_BY_ONE, REVERSE, REVERSE_ONE_BY_ONE], ids=lambda way: way.name)
def test_every_way_hands_the_precision_on(way: Any) -> None:
    with FeatureMap(Llama(single=True).double(), (3,), precision=SINGLE).ready() as f:
        assert way(f, points(2, 3), True)[0].dtype == SINGLE
