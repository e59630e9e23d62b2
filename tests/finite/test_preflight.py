"""Features that cannot be measured are refused, with the remedy; memory that runs out makes blocks smaller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import pullback
from infgeo.finite.feature_map import FeatureMap
from infgeo.finite.point_blocks import in_blocks
from infgeo.finite.preflight import examine
from tests.finite.surfaces import torus
from tests.finite.twins import points


def both(u: torch.Tensor) -> torch.Tensor:
    return torch.cat((u.sin(), u.cos()), -1)


class Once(torch.autograd.Function):
    """The square, which has a first derivative only."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(u)
        return u**2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0] * grad


REFUSED: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "batch statistics": (lambda u: both(u - u.mean(0, keepdim=True)), "depend on the other points of the batch"),
    "batch variance only": (lambda u: both(u) * (1 + u.var(0, correction=0).sum()), "depend on the other points"),
    "another point, detached": (lambda u: both(u + u[:1].detach()), "depend on the other points"),
    "another point, weakly": (lambda u: both(u + 1e-9 * u.roll(1, 0)), "depend on the other points"),
    "a number of the first point": (lambda u: both(u) * u[0, 0].item(), "depend on the other points"),
    "a branch on the whole batch, the same for most points": (
        lambda u: both(u) if u.shape[0] < 3 else both(2 * u),
        "depend on the other points",
    ),
    "functional batch norm": (
        lambda u: nn.functional.batch_norm(u, None, None, training=True),
        "work on several points and not on one.*depend on the other points",
    ),
    "dropout": (lambda u: nn.functional.dropout(both(u).repeat(1, 9), 0.5), r"features\(x\) is random.*freeze=True"),
    "weak noise": (lambda u: both(u) * (1 + 1e-6 * torch.rand((), dtype=u.dtype)), r"features\(x\) is random"),
    "noise": (lambda u: both(u) + torch.randn(4, dtype=u.dtype), r"features\(x\) is random"),
    "detached half": (lambda u: torch.cat((u.detach().sin(), u.cos()), -1), "not those of its values.*detach"),
    "straight-through": (lambda u: both(u + (u**2 - u).detach()), "not those of its values"),
    "numpy": (lambda u: both(torch.from_numpy(u.detach().numpy())), "not those of its values|cannot differentiate"),
    "new tensor": (lambda u: both(torch.tensor(u.tolist(), dtype=u.dtype)), "not those of its values|cannot"),
    "no second derivative": (
        lambda u: both(Once.apply(u)),
        "cannot differentiate the features|second derivative 0 where the first derivative changes",
    ),
    "scalar": (lambda u: u.sum(), r"is \(\) torch\.float64"),
    "one number a point": (lambda u: u.sum(-1), r"is \(\) torch\.float64"),
    "list": (lambda u: [u], "is list"),
    "dict": (lambda u: {"logits": u}, "is dict.*name a layer"),
    "integers": (lambda u: u.argsort(-1), "is .* torch.int64"),
    "half": (lambda u: u.half(), r"is torch\.float16.*float32 or float64"),
    "half in between": (lambda u: both(u).bfloat16().double(), r"computes in torch\.bfloat16.*autocast"),
    "nothing": (lambda u: u[..., :0], r"is \(.*0\) torch\.float64"),
    "error": (
        lambda u: u @ torch.zeros(5, 5, dtype=u.dtype),
        r"failed on a batch of shape \(B, 2\).*RuntimeError: mat1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    features, message = REFUSED[name]
    state = torch.get_rng_state()
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        _ = pullback(features, points(3, 2)).ricci_scalar
    assert torch.equal(torch.get_rng_state(), state)


def test_sparse_points_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"x is a sparse tensor \(torch\.sparse_coo\); pass x\.to_dense\(\)"):
        pullback(both, points(3, 2).to_sparse())


@pytest.mark.parametrize("count", [1, 2])
def test_coupling_is_seen_with_one_point_and_with_equal_points(count: int) -> None:
    x = points(1, 2).repeat(count, 1)
    for name in ("batch statistics", "batch variance only", "another point, detached", "another point, weakly"):
        with pytest.raises(InvalidInput, match="depend on the other points"):
            pullback(REFUSED[name][0], x)
    untracked = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4, track_running_stats=False)).double().eval()
    with pytest.raises(InvalidInput, match="running statistics"):
        pullback(untracked, x)


def test_accepted() -> None:
    """What looks odd and is right."""
    x = points(4, 2, seed=1)
    reference = pullback(both, x)

    def checked(u: torch.Tensor) -> torch.Tensor:
        if torch.isnan(u).any():
            raise ValueError("NaN")
        return both(u)

    def assigned(u: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(u.shape[0], 4, dtype=u.dtype)
        out[:, :2], out[:, 2:] = u.sin(), u.cos()
        return out

    def in_place(u: torch.Tensor) -> torch.Tensor:
        cosine = u.cos()
        return torch.cat((u.mul_(1).sin_(), cosine), -1)

    def one_point(u: torch.Tensor) -> torch.Tensor:
        a, b = u  # fails on (1, 2)
        return torch.stack((a.sin(), b.sin(), a.cos(), b.cos()))

    matrix = torch.eye(2, dtype=x.dtype)

    def one_point_by_matrix(u: torch.Tensor) -> torch.Tensor:
        return torch.cat(((matrix @ u).sin(), u.cos()))

    def branching(u: torch.Tensor) -> torch.Tensor:
        a, b = u  # one point, and vmap knows no values
        return torch.stack((a.sin(), b.sin(), a.cos(), b.cos())) if float(a.detach()) > -9 else u

    class Method:
        def features(self, u: torch.Tensor) -> torch.Tensor:
            return both(u)

    quiet = torch.no_grad()(both)
    for features in (checked, assigned, in_place, one_point, one_point_by_matrix, branching, Method().features, quiet):
        before = x.clone()
        result = pullback(features, x)
        torch.testing.assert_close(result.metric, reference.metric, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(result.christoffel, reference.christoffel, rtol=1e-11, atol=1e-13)
        assert torch.equal(x, before)
    with torch.no_grad():
        torch.testing.assert_close(pullback(both, x).christoffel, reference.christoffel)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m[0].weight.data.fill_(torch.nan), r"parameter '0\.weight' of features has 8 value\(s\).*of 8"),
        (lambda m: m[2].running_var.data[0].fill_(torch.inf), "buffer '2.running_var'"),
        (lambda m: m.append(nn.LazyLinear(3).double()), "parameter '3.weight' of features has no shape yet"),
        (lambda m: m[0].bfloat16(), r"parameter '0\.weight' of features is torch\.bfloat16.*\.double\(\)"),
    ],
    ids=["nan", "infinite", "lazy", "bfloat16"],
)
def test_unusable_weights(change: Callable[[Any], object], message: str) -> None:
    module = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.BatchNorm1d(4)).double().eval()
    change(module)
    with pytest.raises(InvalidInput, match=message):
        pullback(module, points(2, 2))


def test_a_mask_of_infinities_is_no_damage() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.tensor([[0.0, -torch.inf], [0.0, 0.0]], dtype=torch.float64))

        def forward(self, u: torch.Tensor) -> torch.Tensor:
            weights = torch.softmax(u[..., None] * u[..., None, :] + self.mask, -1)
            return torch.cat(((weights @ u[..., None])[..., 0], u), -1)

    assert torch.isfinite(pullback(Masked(), points(2, 2)).ricci_scalar).all()


def test_branches_on_single_points_are_those_of_each_point() -> None:
    x = torch.tensor([[1.0, 0.5], [-1.0, 0.5], [2.0, -0.3]], dtype=torch.float64)

    def folded(u: torch.Tensor) -> torch.Tensor:
        a, b = u
        return torch.stack((a, b, a * b)) if float(a.detach()) > 0 else torch.stack((a, b, (a * a + b * b) / 2))

    gauss = 1 / (1 + x.square().sum(dim=1)) ** 2  # of the bowl, and minus that of the saddle
    expected = torch.where(x[:, 0] > 0, -2 * gauss, 2 * gauss)
    torch.testing.assert_close(pullback(folded, x).ricci_scalar, expected, rtol=1e-12, atol=0)


def test_values_and_derivatives_that_are_not_finite() -> None:
    x = torch.tensor([[1.0, 2.0], [-1.0, 2.0]], dtype=torch.float64)
    logs = pullback(lambda u: torch.cat((u, u.log()), -1), x)
    for name in ("ricci_scalar", "log_volume_element", "ricci_tensor"):
        with pytest.raises(SingularMetric, match=r"not finite at 1 point\(s\), first at index \(1,\), x = \(-1, 2\)"):
            getattr(logs, name)
    with pytest.raises(InvalidInput, match=r"not finite at 1 point\(s\), first at index \(1,\)"):
        _ = logs.metric
    assert logs.rank.tolist() == [2, -1]
    marked = pullback(lambda u: torch.cat((u, u.log()), -1), x, singular="nan")
    for value in (marked.ricci_scalar, marked.log_volume_element, marked.log_pseudo_volume, marked.metric[:, 0, 0]):
        assert torch.isfinite(value).tolist() == [True, False] and torch.isnan(value[1])
    origin = torch.zeros(1, 2, dtype=torch.float64)
    with pytest.raises(InvalidInput, match=r"second derivatives of features are not finite at 1 point"):
        _ = pullback(lambda u: torch.cat((u, u.abs() ** 1.5), -1), origin).ricci_scalar


class Small(nn.Module):
    """Has memory for a few points only."""

    sizes: ClassVar[list[int]] = []  # of the class: what the module itself keeps is put back

    def __init__(self, most: int, error: Callable[[], BaseException]) -> None:
        super().__init__()
        self.most, self.error = most, error

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        self.sizes.append(u.shape[0])
        if u.shape[0] > self.most:
            raise self.error()
        return torus(u)


OUT_OF_MEMORY: list[Callable[[], BaseException]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory"),
    lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
    MemoryError,
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["accelerator", "cpu", "python"])
@pytest.mark.parametrize("most", [1, 5])
def test_blocks_are_halved_when_memory_runs_out(error: Callable[[], BaseException], most: int) -> None:
    x = points(23, 2, seed=1)
    module, expected = Small(most, error), pullback(torus, x)
    result = pullback(module, x)
    module.sizes.clear()
    torch.testing.assert_close(result.ricci_scalar, expected.ricci_scalar, rtol=1e-12, atol=1e-13)
    tried = [n for n in dict.fromkeys(module.sizes) if n > 8]
    assert tried == [64, 32, 16, 23, 11]  # differences at 8 points, then the points; 8, 4, ... and 5 are small
    torch.testing.assert_close(result.christoffel, expected.christoffel, rtol=1e-12, atol=1e-13)
    curvature = result.sectional_curvature([1.0, 0.0], [0.0, 1.0])
    torch.testing.assert_close(curvature, expected.gaussian_curvature, rtol=1e-11, atol=1e-12)
    with pytest.raises(type(error())) as caught:
        _ = pullback(Small(0, error), x).metric
    assert most < 2 or caught.value is not None


def test_weights_are_not_taken_for_what_a_point_needs() -> None:
    wide = nn.Sequential(nn.Linear(2, 600), nn.Unflatten(1, (2, 300)), nn.Linear(300, 40), nn.Tanh()).double()
    seen = examine(FeatureMap(wide, (2,)), points(3, 2))
    assert seen.width == 80 and seen.largest == 600  # and not 300 · 40
    assert examine(FeatureMap(torus, (2,)), points(3, 2)).largest == 3


def test_no_result_is_computed_twice_or_lost() -> None:
    seen: list[int] = []

    def work(block: torch.Tensor) -> torch.Tensor:
        if len(block) > 3:
            raise torch.OutOfMemoryError("too much")
        seen.extend(block.tolist())
        return block

    parts = in_blocks(work, torch.arange(14), 8)
    assert torch.cat(parts).tolist() == seen == list(range(14)) and max(map(len, parts)) == 2

    def never(block: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError) as caught:
        in_blocks(never, torch.arange(4), 4)
    assert "single point" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="something else"):
        in_blocks(lambda block: (_ for _ in ()).throw(RuntimeError("something else")), torch.arange(4), 4)
