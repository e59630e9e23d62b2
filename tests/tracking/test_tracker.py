"""The tracker leaves no trace in the training, and what it records is what an independent route measures."""

from __future__ import annotations

import copy
import itertools
import math
import random
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

import infgeo
from infgeo.errors import InvalidInput
from infgeo.tracking import GeometryTracker, grid, line, plane, points
from infgeo.tracking.measure import entropy

DOUBLE = torch.float64


def net(*sizes: int, dtype: torch.dtype = DOUBLE, act: Any = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        parts += [nn.Linear(a, b), act()]
    return nn.Sequential(*parts[:-1]).to(dtype)


class Convolutional(nn.Module):
    """A layer of each kind that has a state, one (functional) that depends on the mode, and what a first call makes."""

    def __init__(self) -> None:
        super().__init__()
        self.ones: Any = None
        self.conv, self.norm = nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3)
        self.drop, self.head = nn.Dropout(0.4), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = nn.functional.dropout(torch.tanh(self.norm(self.conv(x))), 0.1, self.training)
        self.ones = torch.ones_like(h[:1]) if self.ones is None else self.ones  # of its dtype
        return self.head(self.drop((h * self.ones).flatten(1)))


def images(count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


def run(adam: bool, tracked: dict[str, Any] | None) -> tuple[list[Any], GeometryTracker | None]:
    """Train, and return all that a training leaves behind."""
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    model, calls = Convolutional(), []
    model.head.weight.register_hook(lambda g: g * 1.5)
    model.conv.weight.register_post_accumulate_grad_hook(lambda p: calls.append(float(p.grad.sum())))
    model.head.register_full_backward_hook(lambda *_: calls.append(0.0))
    model.drop.eval()  # a mode of its own
    optimiser: Any = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01) if adam else optimiser
    tracker = None if tracked is None else GeometryTracker(model, every=2, features=["norm", None], **tracked)
    losses: list[Any] = []
    for step in range(7):
        if tracker:
            assert tracker(step, model) == (step % 2 == 0)
        x = torch.randn(8, 1, 3, 3) + np.random.rand() + random.random()  # noqa: NPY002
        loss = nn.functional.cross_entropy(model(x), torch.randint(3, (8,)))
        optimiser.zero_grad()
        loss.backward()
        if tracker and step == 3:
            tracker.record(99)  # with gradients at hand
        optimiser.step()
        losses.append(loss.detach())
    states = [torch.get_rng_state(), np.random.get_state()[1], random.getstate()]  # noqa: NPY002
    inner = [v for s in optimiser.state_dict()["state"].values() for v in s.values()]
    left = [*model.state_dict().values(), *(p.grad for p in model.parameters()), *inner, *losses]
    modes = [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return [*left, *states, modes, hooks, calls, [p.requires_grad for p in model.parameters()]], tracker


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("dtype", [None, DOUBLE])
def test_training_with_and_without_a_tracker_gives_the_same_bits(adam: bool, dtype: Any) -> None:
    at = {"plane": plane(*images(3), points=3), "line": line(*images(2), points=3), "cloud": images(4)}
    plain, _ = run(adam, None)

    def draws(out: torch.Tensor) -> torch.Tensor:
        return out + 0 * (torch.rand(1) + np.random.rand() + random.random())  # noqa: NPY002

    tracked, tracker = run(adam, {"at": at, "dtype": dtype, "logits": draws})
    assert tracker is not None and tracker.history.steps.tolist() == [0, 2, 4, 6, 99]
    for a, b in zip(plain, tracked, strict=True):
        assert (
            torch.equal(a, b)
            if isinstance(a, torch.Tensor)
            else np.array_equal(a, b)
            if isinstance(a, np.ndarray)
            else a == b
        )
    assert (np.diff(tracker.history.quantity("entropy", probe="cloud"), axis=0) != 0).any()


def jacobians(function: Any, x: torch.Tensor) -> np.ndarray:
    """J of each point by reverse mode, point by point."""
    each = [torch.autograd.functional.jacobian(lambda p: function(p[None])[0].flatten(), point) for point in x]
    return torch.stack(each).flatten(2).numpy()


def frozen(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().double()


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("layer", ["1", "3", None])
def test_a_grid_of_a_stack_against_reverse_mode(dtype: torch.dtype, layer: str | None) -> None:
    model, probe = net(2, 9, 7, 4, dtype=dtype), grid((-2, 1), points=(4, 3))
    tracker = GeometryTracker(model, at=probe, features=layer)
    tracker.record(0)
    history, twin = tracker.history, frozen(model)
    cut = twin if layer is None else twin[: int(layer) + 1]
    j = jacobians(cut, probe.inputs)
    close = {"rtol": 1e-10, "atol": 1e-12} if dtype == DOUBLE else {"rtol": 1e-4, "atol": 1e-4}
    volume = np.linalg.slogdet(j.transpose(0, 2, 1) @ j)[1] / 2 / np.log(10)
    np.testing.assert_allclose(history.quantity("log10_volume")[0], volume, **close)
    np.testing.assert_allclose(history.quantity("spectrum")[0], np.linalg.svd(j)[1], **close)
    ricci = infgeo.finite.pullback(lambda u: cut(u), probe.inputs).ricci_scalar
    np.testing.assert_allclose(
        history.quantity("ricci")[0], ricci, rtol=10 * close["rtol"], atol=1e-3 if dtype != DOUBLE else 1e-9
    )
    logits = twin(probe.inputs).detach()
    np.testing.assert_allclose(history.quantity("logits")[0], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(history.quantity("probabilities")[0], logits.softmax(1), rtol=1e-5)
    assert (history.quantity("predictions")[0] == logits.argmax(1).numpy()).all()
    expected = torch.distributions.Categorical(logits=logits).entropy()
    np.testing.assert_allclose(history.quantity("entropy")[0], expected, rtol=1e-5)


@pytest.mark.parametrize("layer", ["conv", "norm", "head", None])
def test_slices_of_a_convolutional_network_against_whole_jacobians(layer: str | None) -> None:
    model = Convolutional()
    for _ in range(3):
        model(images(16, 8))  # running statistics
    at = {"line": line(*images(2), points=4), "plane": plane(*images(3), points=(3, 2), margin=0.1)}
    tracker = GeometryTracker(model, at=at, features=layer, dtype=DOUBLE)
    tracker.record(0)
    twin, heard = frozen(model), []
    if layer is not None:
        twin.get_submodule(layer).register_forward_hook(lambda _m, _x, out: heard.append(out))

    def features(x: torch.Tensor) -> torch.Tensor:
        out = twin(x)
        return out if layer is None else heard[-1]

    for name, probe in at.items():
        assert probe.directions is not None
        q, _ = np.linalg.qr(probe.directions.flatten(1).T.numpy())  # orthonormal
        j = jacobians(features, probe.inputs) @ q
        volume = np.linalg.slogdet(j.transpose(0, 2, 1) @ j)[1] / 2 / np.log(10)
        history = tracker.history
        np.testing.assert_allclose(history.quantity("log10_volume", layer, name)[0], volume, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(history.quantity("spectrum", layer, name)[0], np.linalg.svd(j)[1], rtol=1e-9)
    u, v = torch.from_numpy(np.linalg.qr(at["plane"].directions.flatten(1).T.numpy())[0].T)  # type: ignore[union-attr]
    origin = at["plane"].inputs[3].flatten()

    def surface(t: torch.Tensor) -> torch.Tensor:
        return features((origin + t[:, :1] * u + t[:, 1:] * v).reshape(-1, 1, 3, 3)).flatten(1)

    expected = infgeo.finite.pullback(surface, torch.zeros(1, 2, dtype=DOUBLE)).ricci_scalar
    found = tracker.history.quantity("ricci", layer, "plane")[0, 3]
    np.testing.assert_allclose(found, expected[0], rtol=1e-6, atol=1e-9)
    with pytest.raises(InvalidInput, match=r"no 'ricci'.*recorded"):
        tracker.history.quantity("ricci", layer, "line")


@pytest.mark.parametrize("sizes", [(6, 20, 9), (6, 20, 4)])
def test_whole_space_and_fewer_features_than_coordinates(sizes: tuple[int, ...]) -> None:
    model, x = net(*sizes), torch.randn(5, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    probe = line(x[0], x[1], points=3)
    tracker = GeometryTracker(model, at={"cloud": x, "line": probe}, slices=False)
    tracker.record(7)
    for name, inputs in (("cloud", x), ("line", probe.inputs)):
        values = np.linalg.svd(jacobians(model, inputs))[1]
        history = tracker.history
        np.testing.assert_allclose(history.quantity("spectrum", probe=name)[0], values, rtol=1e-9)
        np.testing.assert_allclose(history.quantity("log10_volume", probe=name)[0], np.log10(values).sum(1), rtol=1e-9)
        if sizes[-1] < 6:
            assert (history.quantity("rank", probe=name) == 4).all()
        else:
            assert "rank" not in history.quantities


def test_logarithms_do_not_underflow_in_many_dimensions_nor_where_units_saturate() -> None:
    d = 200
    model = nn.Sequential(nn.Linear(d, d, bias=False), nn.Sigmoid())
    with torch.no_grad():
        model[0].weight.copy_(1e-6 * torch.eye(d))  # det g = (1e-6/4)^(2d), far below the least float64
    tracker = GeometryTracker(model, at=torch.zeros(1, d), quantities=("log10_volume",))
    tracker.record(0)
    assert tracker.history.quantity("log10_volume").item() == pytest.approx(d * math.log10(2.5e-7), rel=1e-6)
    steep = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Sigmoid()).double()
    with torch.no_grad():
        steep[0].weight.copy_(torch.eye(2))
    tracker = GeometryTracker(steep, at=[[300.0, -400.0], [math.log(3), 0.0]])
    tracker.record(0)
    slope = [[math.exp(-300), math.exp(-400)], [0.25, 0.1875]]
    found = tracker.history.quantity("spectrum")[0]
    np.testing.assert_allclose(found, slope, rtol=1e-10)
    np.testing.assert_allclose(tracker.history.quantity("log10_volume")[0], np.log10(slope).sum(1), rtol=1e-10)
    dead = net(2, 6, 3, act=nn.ReLU)
    nn.init.constant_(dead[0].bias, -100.0)
    tracker = GeometryTracker(dead, at=grid(points=2), features="1")
    tracker.record(0)
    assert (
        np.isneginf(tracker.history.quantity("log10_volume")).all() and not tracker.history.quantity("spectrum").any()
    )
    assert np.isnan(tracker.history.quantity("ricci")).all()


def test_entropy_against_50_digits() -> None:
    rows = [
        [0.0, 0.0, 0.0],
        [3.0, -2.0, 1.0],
        [50.0, 0.0, -7.0],
        [800.0, 0.0, 1.0],
        [-1e4, -1e4, 5e3],
        [1.0, 1.0, -900.0],
    ]
    with mpmath.workdps(60):
        for row, found in zip(rows, entropy(torch.tensor(rows, dtype=DOUBLE)).tolist(), strict=True):
            weights = [mpmath.exp(mpmath.mpf(z) - max(row)) for z in row]
            p = [w / sum(weights) for w in weights]
            exact = -sum(q * mpmath.log(q) for q in p if q > 0)
            assert abs(found - exact) <= 1e-15 * exact + mpmath.mpf(1e-320)
        for z in (-40.0, -1.0, 0.0, 3.0, 700.0):
            p = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
            exact = -p * mpmath.log(p) - (1 - p) * mpmath.log(1 - p) if z < 600 else mpmath.exp(-z) * (z + 1)
            assert abs(entropy(torch.tensor([[z]], dtype=DOUBLE)).item() - exact) <= 2e-15 * exact


def test_a_single_logit_and_outputs_that_are_no_logits() -> None:
    class Odd(nn.Module):
        def __init__(self, how: str) -> None:
            super().__init__()
            self.inner, self.how = net(2, 5, 1 if how == "one" else 3), how

        def forward(self, x: torch.Tensor) -> Any:
            out = self.inner(x)
            return {"one": out[:, 0], "pair": (out, x), "probabilities": out.softmax(1), "map": out[:, :, None]}[
                self.how
            ]

    one = GeometryTracker(Odd("one"), at=grid(points=3), features="inner.1")
    one.record(0)
    z = one.model.inner(grid(points=3).inputs)[:, 0].detach()
    np.testing.assert_allclose(one.history.quantity("probabilities")[0, :, 1], z.sigmoid(), rtol=1e-6)
    assert (one.history.quantity("predictions")[0] == (z > 0).numpy()).all()
    for how, logits in (("pair", lambda out: out[0]), ("probabilities", torch.log), ("map", lambda out: out[..., 0])):
        model = Odd(how)
        if how != "probabilities":
            with pytest.raises(InvalidInput, match="logits="):
                GeometryTracker(model, at=grid(points=3), features="inner.1")
        tracker = GeometryTracker(model, at=grid(points=3), features="inner.1", logits=logits)
        tracker.record(0)
        expected = model.inner(grid(points=3).inputs).softmax(1).detach()
        np.testing.assert_allclose(tracker.history.quantity("probabilities")[0], expected, rtol=1e-5)


def test_weights_that_diverge_or_move_are_recorded_and_hooks_are_part_of_the_network() -> None:
    model = net(2, 6, 3)
    tracker = GeometryTracker(model, at=grid(points=3), features=["1", None])
    tracker.record(0)
    model[1].register_forward_hook(lambda _m, _x, out: 3 * out)  # no stack any more
    tracker.record(1)
    ratio = tracker.history.quantity("spectrum", "1")[1] / tracker.history.quantity("spectrum", "1")[0]
    np.testing.assert_allclose(ratio, 3.0)
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    tracker.record(2)
    assert np.isnan(tracker.history.quantity("log10_volume")[2]).all() and len(tracker.history) == 3
    model.float()
    tracker.record(3)


def test_wrapped_models() -> None:
    model, at = net(2, 6, 3), grid(points=3)
    plain = GeometryTracker(model, at=at, features="1")
    plain.record(0)
    for wrapped, layer in ((torch.compile(model, backend="eager"), "_orig_mod.1"), (nn.DataParallel(model), "1")):
        wrapped(at.inputs)
        tracker = GeometryTracker(wrapped, at=at, features=layer, every=1)
        assert tracker(0, wrapped) and tracker(1, model)
        np.testing.assert_array_equal(tracker.history.quantity("ricci")[0], plain.history.quantity("ricci")[0])
    inside = Convolutional()
    inside.compile(backend="eager")
    inside(images(4))
    GeometryTracker(inside, at=images(2), quantities=("log10_volume", "entropy")).record(0)


def test_low_precision_and_autocast() -> None:
    model = net(2, 6, 3, dtype=torch.bfloat16)
    with pytest.raises(InvalidInput, match="bfloat16"):
        GeometryTracker(model, at=grid(points=3))
    tracker = GeometryTracker(model, at=grid(points=3), features="1", dtype=DOUBLE)
    tracker.record(0)
    exact = GeometryTracker(frozen(model), at=grid(points=3), features="1")
    exact.record(0)
    np.testing.assert_array_equal(tracker.history.quantity("ricci"), exact.history.quantity("ricci"))
    assert model[0].weight.dtype == torch.bfloat16
    for single in (net(2, 6, 3, dtype=torch.float32), Convolutional()):
        at = grid(points=3) if isinstance(single, nn.Sequential) else line(*images(2), points=3)
        tracker = GeometryTracker(single, at=at)
        tracker.record(0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tracker.record(1)
        for array in tracker.history.arrays:
            np.testing.assert_array_equal(array[0], array[1])


def test_small_memory_gives_the_same_numbers() -> None:
    at = {"plane": plane(*images(3), points=4), "cloud": images(5)}
    model = Convolutional()
    large, small = (GeometryTracker(model, at=at, memory_budget=b, dtype=DOUBLE) for b in (2**28, 2**12))
    large.record(0)
    small.record(0)
    for a, b in zip(large.history.arrays, small.history.arrays, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU, nn.Sigmoid, nn.GELU])
@pytest.mark.parametrize(
    "options", [{}, {"dtype": DOUBLE}, {"quantities": ("log10_volume", "entropy", "predictions"), "memory_budget": 1}]
)
@pytest.mark.parametrize("at", [grid(points=7), line([0.0, 1.0], [2.0, -1.0], points=9)], ids=["grid", "line"])
def test_logits_that_come_with_the_geometry_of_the_hidden_layer_are_those_of_the_model(
    act: Any, options: dict[str, Any], at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = net(2, 9, 3, dtype=torch.float32, act=act)
    tracker = GeometryTracker(model, at=at, features=["1", "0"], **options)
    apart = GeometryTracker(model, at=at, features=["1", "0"], **options)
    if "dtype" not in options:
        monkeypatch.setattr("infgeo.tracking.measure.Output._logits", None)  # not called: one pass gives both
    for step in range(2):
        tracker.record(step)
        with torch.no_grad():
            model[2].bias.add_(0.3)
            model[0].weight.mul_(1.5)
    monkeypatch.undo()
    monkeypatch.setattr("infgeo.tracking.measure.Target._readout", lambda self, stack: None)
    apart.record(0)
    with torch.no_grad():
        expected = model(at.inputs.float())
    first, second = tracker.history.quantity("logits")
    assert np.abs(first - second).max() > 0.1
    tracker.record(2)
    np.testing.assert_allclose(tracker.history.quantity("logits")[2], expected, rtol=0, atol=2e-6)
    for name in ("logits", "log10_volume", "entropy"):
        layer = "1" if name == "log10_volume" else None
        np.testing.assert_allclose(
            tracker.history.quantity(name, layer)[2], apart.history.quantity(name, layer)[0], rtol=2e-5, atol=2e-6
        )


@pytest.mark.parametrize("change", ["hook on the readout", "softmax after it", "other logits"])
def test_what_comes_after_the_hidden_layer_counts(change: str) -> None:
    model = net(2, 9, 3)
    x, seen = grid(points=4), {}
    if change == "hook on the readout":
        model[2].register_forward_hook(lambda m, i, out: 2 * out)
    if change == "softmax after it":
        model.append(nn.Softmax(1))
    if change == "other logits":
        seen = {"logits": torch.square}
    with torch.no_grad():
        out = model(x.inputs)
    tracker = GeometryTracker(model, at=x, features="1", **seen)
    tracker.record(0)
    np.testing.assert_allclose(tracker.history.quantity("logits")[0], out.square() if seen else out, rtol=1e-6)


def test_a_record_that_fails_half_way_leaves_no_logits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net(2, 9, 3)
    tracker = GeometryTracker(model, at=grid(points=4), features="1")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("infgeo.tracking.measure.Output.measure", lambda *_: 1 / 0)
        tracker.record(0)
    with torch.no_grad():
        model[2].bias.add_(1.0)
        expected = model(grid(points=4).inputs)
    tracker.record(1)
    np.testing.assert_allclose(tracker.history.quantity("logits")[0], expected, rtol=1e-6)


def test_when_it_records() -> None:
    model = net(2, 6, 3)
    assert len(GeometryTracker(model, at=grid(points=2)).history) == 0
    with GeometryTracker(model, at=grid(points=2), every=[0, 3], quantities="entropy") as tracker:
        assert [tracker.step() for _ in range(5)] == [False, False, True, False, False]
    assert tracker.history.steps.tolist() == [0, 3]
    with pytest.raises(ZeroDivisionError), GeometryTracker(model, at=grid(points=2), every=1) as tracker:
        tracker.step()
        1 / 0  # noqa: B018
    assert tracker.history.steps.tolist() == [0, 1]


def test_time_budgets_skip_and_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("infgeo.tracking.tracker.time.monotonic", lambda: clock[0])
    measure = "infgeo.tracking.measure.Output.measure"
    original = infgeo.tracking.measure.Output.measure  # type: ignore[attr-defined]

    def slow(self: Any, *_: Any) -> Any:
        clock[0] += 1.0
        return original(self)

    monkeypatch.setattr(measure, slow)
    share = GeometryTracker(net(2, 3, 2), at=grid(points=2), quantities="entropy", every=1, time_budget=0.1)
    for step in range(100):
        share(step)
        clock[0] += 1.0
    assert 8 <= len(share.history) <= 11 and share.skipped == 100 - len(share.history)
    with pytest.warns(RuntimeWarning, match=rf"left out {share.skipped} of 100 records"):
        share.close()
    limit = GeometryTracker(net(2, 3, 2), at=grid(points=2), quantities="entropy", every=1, time_limit=3.5)
    assert [limit(step) for step in range(6)] == [True, True, True, False, False, False]


def test_a_record_that_fails_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = GeometryTracker(net(2, 3, 2), at=grid(points=2), quantities="entropy", every=1)
    with monkeypatch.context() as patch, pytest.warns(RuntimeWarning, match="step 0, and the training goes on: Memory"):

        def fail(*_: Any) -> Any:
            raise MemoryError("no memory")

        patch.setattr("infgeo.tracking.measure.Output.measure", fail)
        assert not tracker(0)
        with pytest.raises(MemoryError):
            tracker.record(0)
    assert tracker(1) and tracker.skipped == 1 and tracker.history.skipped == 1


MODEL = net(2, 6, 3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"features": "5"}, "near ones|it has '0', '1', '2'"),
        ({"features": ["1", 3]}, "features has 3"),
        ({"features": []}, "features is"),
        ({"at": points(torch.zeros(2, 3))}, "shape"),
        ({"at": images(2)}, "shape"),
        ({"at": torch.zeros(2, 2, dtype=torch.int32)}, "dtype"),
        ({"at": [[0.0, math.inf]]}, "not finite|inf"),
        ({"at": {}}, "at is empty"),
        ({"at": {3: [[0.0, 1.0]]}}, "key 3"),
        ({"every": 0}, "every is 0"),
        ({"every": []}, "every is empty"),
        ({"every": 0.5}, "every is 0.5"),
        ({"every": np.array([0.5])}, "every is 0.5"),
        ({"input_range": (1.0, 0.0)}, r"input_range is \(1, 0\); pass low < high"),
        ({"input_range": (math.nan, 1.0)}, "pass low < high"),
        ({"input_range": ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])}, "input_range has 3 values for inputs of shape"),
        ({"input_range": ([0.0, 0.0, 0.0], [1.0, 1.0])}, "one for each channel"),
        ({"path": ""}, "path is empty"),
        ({"path": b"a"}, "path is b'a'"),
        ({"model": nn.Linear(2, 3).half()}, "'weight' of features is torch.float16; .* dtype=torch.float64"),
        ({"quantities": ("volume",)}, "log10_volume, spectrum"),
        ({"quantities": ()}, "quantities is"),
        ({"quantities": "ricci", "at": line([0.0, 0.0], [1.0, 1.0])}, "none applies"),
        ({"time_budget": 0.0}, "time_budget"),
        ({"memory_budget": 0}, "memory_budget"),
        ({"dtype": torch.float16}, "dtype is torch.float16"),
        (
            {"input_range": (0.0, 1.0)},
            r"point 0 of probe 'grid' has values from -1 to -1, outside .* \(0, 1\)",
        ),
        ({"input_range": 3}, "input_range is 3"),
        ({"path": "/"}, "no regular file"),
        ({"path": "/nowhere/at/all"}, "cannot write"),
        ({"path": 3}, "path is 3"),
        ({"model": lambda x: x}, "pass a torch module"),
        ({"model": nn.Linear(2, 3, device="meta")}, "meta device"),
        ({"model": nn.BatchNorm1d(2, track_running_stats=False)}, "depend on the other points"),
        ({"model": nn.LazyLinear(3)}, "no shape yet"),
    ],
)
def test_bad_input_is_named_at_once(options: dict[str, Any], says: str) -> None:
    given = {"model": MODEL, "at": grid(points=2)} | options
    with pytest.raises(InvalidInput, match=says):
        GeometryTracker(given.pop("model"), **given)


@pytest.mark.parametrize("steps", [np.array([0, 3]), torch.tensor([0, 3]), range(0, 6, 3)])
def test_steps_may_be_given_as_an_array(steps: Any) -> None:
    tracker = GeometryTracker(MODEL, at=grid(points=2), every=steps)
    assert [step for step in range(5) if tracker(step)] == [0, 3]


def test_another_model_or_quantity_is_refused() -> None:
    tracker = GeometryTracker(MODEL, at={"a": grid(points=2), "b": grid(points=2)}, every=1)
    with pytest.raises(InvalidInput, match="not the model"):
        tracker(0, net(2, 6, 3))
    with pytest.raises(InvalidInput, match="step is -1"):
        tracker(-1)
    with pytest.raises(InvalidInput, match="there are several: 'a', 'b'"):
        tracker.history.quantity("ricci")
    with pytest.raises(InvalidInput, match="no 'rank' of layer None on probe 'a'; recorded: entropy"):
        tracker.history.quantity("rank", probe="a")
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 3.0])
    images_range = {"at": points(torch.full((1, 2, 1, 1), -1.0)), "input_range": (low, high)}
    with pytest.raises(InvalidInput, match="outside"):
        GeometryTracker(nn.Conv2d(2, 1, 1), **images_range)
