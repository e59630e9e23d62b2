"""The engine under estimates: blocks of units, halves, workers that die, and files to go on from."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import (
    FiniteEstimates,
    estimate,
    montecarlo,
    reduction,
    replicate,
    sample_network,
    unit_sums,
)
from infgeo.finite.gauss_equation import LocalGeometry
from infgeo.finite.reduction import Workers
from infgeo.finite.replicate import sub_network, whole_network
from infgeo.finite.running_mean import replicate_seed
from infgeo.finite.samplers import SAMPLERS
from infgeo.symbolic.networks.layers import Residual, RMSNorm
from infgeo.symbolic.networks.network import MLP
from tests.finite.test_montecarlo import along, assert_same_bits, fields
from tests.finite.twins import ERF, Z, general_geometry, network, points

SPAWN = multiprocessing.get_context("spawn")


def run(
    width: int = 20, samples: int = 12, sampler: str = "iid", executor: Executor | None = None, **kw: Any
) -> FiniteEstimates:
    mlp = kw.pop("mlp", network())
    return estimate(mlp, kw.pop("x", along(2)), width, samples, sampler, executor, seed=7, **kw)


@contextmanager
def small_blocks(monkeypatch: pytest.MonkeyPatch, units: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(replicate, "block_units", lambda sampler, d: units)
        patch.setattr(reduction, "_ITEM_WORK", 2 * units * 3)  # two blocks an item
        yield


def captured(monkeypatch: pytest.MonkeyPatch, **kw: Any) -> tuple[FiniteEstimates, Any]:
    """An estimate, and the task that it worked on."""
    tasks: list[Any] = []
    original = montecarlo.items_of
    monkeypatch.setattr(montecarlo, "items_of", lambda t, samples: (tasks.append(t), original(t, samples))[1])
    return run(**kw), tasks[0]


def one_by_one(work: Any, samples: int) -> list[LocalGeometry]:
    return [general_geometry(whole_network(work, i), work.points(), True, 2**28) for i in range(samples)]


# Blocks and halves.


@pytest.mark.parametrize(("sampler", "width", "blocks"), [*((name, 87, 6) for name in SAMPLERS), ("iid", 70, 5)])
def test_blocks_are_summed_to_whole_networks(
    monkeypatch: pytest.MonkeyPatch, sampler: str, width: int, blocks: int
) -> None:
    """Slow twin: all weights of the same networks at once, by automatic differentiation."""
    with small_blocks(monkeypatch, 16):
        got, work = captured(monkeypatch, width=width, samples=3, sampler=sampler)
        assert work.blocks == blocks
        twins = one_by_one(work, 3)
        networks = [whole_network(work, i) for i in range(3)]
        assert len({float(n.weights[0].detach()[u, 0]) for n in networks for u in range(width)}) == 3 * width
        features = [n(work.points()).detach() for n in networks]
    curvature = torch.stack([t.ricci_scalar for t in twins if t.ricci_scalar is not None])
    torch.testing.assert_close(fields(got)["ricci_scalar"].mean, curvature.mean(0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(fields(got)["metric"].mean, torch.stack([t.metric for t in twins]).mean(0))
    torch.testing.assert_close(fields(got)["kernel"].mean, torch.stack([f @ f.T for f in features]).mean(0))


def test_blocks_and_executors_give_the_same_bits() -> None:
    kw: dict[str, Any] = {"width": 2**17 + 5000, "samples": 2, "quantities": ["metric", "kernel", "volume_element"]}
    here = run(**kw)
    with ProcessPoolExecutor(2, mp_context=SPAWN) as processes:
        assert_same_bits(here, run(**kw, executor=processes))
    with ThreadPoolExecutor(3) as threads:
        assert_same_bits(here, run(**kw, executor=threads))
    assert here.corrected["volume_element"].mean.isfinite().all()


def test_threads_of_torch_do_not_change_the_bits_and_are_given_back() -> None:
    torch.set_num_threads(2)
    two = run(width=3000, samples=2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert_same_bits(two, run(width=3000, samples=2))


@pytest.mark.parametrize(
    ("mlp", "width"),
    [(network(), 20), (network(), 21), (network(ERF, 2), 12), (MLP(["erf", Residual("erf"), RMSNorm(1)]), 10)],
)
def test_the_correction_is_that_of_richardson(monkeypatch: pytest.MonkeyPatch, mlp: Any, width: int) -> None:
    """With m = n/2 units 2θ_n − θ_m; with unequal halves b/n still cancels."""
    got, work = captured(monkeypatch, mlp=mlp, width=width, samples=3)
    half = width // 2
    assert work.half == half
    rows = []
    for index in range(3):
        whole = whole_network(work, index)
        parts = [slice(0, width), slice(0, half), slice(half, width)]
        geometry = [general_geometry(sub_network(whole, part), work.points(), True, 2**28) for part in parts]
        ricci, lower, upper = (g.ricci_scalar for g in geometry)
        assert ricci is not None and lower is not None and upper is not None
        weight = 1 / (width / 2 * (1 / half + 1 / (width - half)) - 1)
        rows.append(ricci + weight * (ricci - (lower + upper) / 2))
    expected = torch.stack(rows)
    torch.testing.assert_close(got.corrected["ricci_scalar"].mean, expected.mean(0), rtol=1e-8, atol=1e-10)
    error = expected.std(0) / math.sqrt(3)
    torch.testing.assert_close(got.corrected["ricci_scalar"].standard_error, error, rtol=1e-7, atol=1e-10)
    assert set(got.corrected) == {"volume_element", "log_volume_element", "ricci_scalar"} and got.notes == ()


@pytest.mark.parametrize("count", [1, 4])
def test_many_coordinates_and_few_points(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """A product for each point, or the monomials of the weights: both are the metric."""
    got, work = captured(monkeypatch, width=40, samples=2, x=points(count, 20, scale=0.3), quantities=["metric"])
    assert (20 > unit_sums._MANY_COORDINATES * count) == (count == 1)
    twins = torch.stack([general_geometry(whole_network(work, i), work.points(), False, 2**28).metric for i in (0, 1)])
    torch.testing.assert_close(fields(got)["metric"].mean, twins.mean(0), rtol=1e-11, atol=1e-13)


def test_half_of_a_deep_network_is_a_network() -> None:
    """Variances of the rescaled weights: those of a network of half the width."""
    net = sample_network(network(ERF, 3), 2, 200, 1)
    half = sub_network(net, slice(0, 100))
    assert half.width == 100 and half.depth == 3
    for weight in list(half.weights)[1:]:
        assert abs(float(weight.detach().var()) * 100 - 1) < 4 * math.sqrt(2 / 1e4)


@pytest.mark.parametrize(("depth", "width", "samples"), [(1, 16, 8000), (2, 24, 1500)])
def test_the_correction_takes_the_bias_away(depth: int, width: int, samples: int) -> None:
    """√det g of a linear network, one layer: E = (2/n)^(d/2) Γ ratios; R of erf tends to its limit."""
    x = torch.tensor([[0.9, 1.2]], dtype=torch.float64)
    got = run(width=width, samples=samples, mlp=network(Z, depth), x=x, quantities=["log_volume_element"])
    assert got.log_volume_element is not None
    raw, corrected = got.log_volume_element, got.corrected["log_volume_element"]
    assert float(raw.mean / raw.standard_error) < -15  # the limit is log 1 = 0
    assert abs(float(corrected.mean)) < abs(float(raw.mean)) / 8 + 4 * float(corrected.standard_error)
    assert float(corrected.standard_error) < 1.5 * float(raw.standard_error)


def test_what_cannot_be_corrected_is_said() -> None:
    narrow = run(width=3, x=along(2), quantities=["volume_element"])
    assert not narrow.corrected and narrow.notes == (
        "volume_element is not corrected: half of 3 units are fewer than 2 coordinates",
    )
    nets = run(sampler="sobol", width=32, quantities=["ricci_scalar"])
    assert not nets.corrected and "ricci_scalar is not corrected: the bias of a Sobol net" in nets.notes[0]
    assert run(bias_correction=False).corrected == {} and run(bias_correction=False).notes == ()
    assert run(mlp=network(Z), quantities=["ricci_scalar"]).notes == ()  # R = 0 needs no correction


def test_deep_networks_with_a_sobol_net_in_the_first_layer_keep_a_bias_and_lose_it() -> None:
    """The other layers are random, and biased at O(1/n)."""
    mlp, x = MLP("erf", depth=2, weight_std=1, bias_std=1), along(2)[:1]
    expected = torch.from_numpy(mlp.numeric().log_volume_element(x.numpy()))
    got = run(mlp=mlp, x=x, sampler="sobol", width=32, samples=600, quantities=["log_volume_element"])
    raw, corrected = got.log_volume_element, got.corrected["log_volume_element"]
    assert raw is not None and not got.notes
    assert float((raw.mean - expected) / raw.standard_error) < -6
    assert abs(float((corrected.mean - expected) / corrected.standard_error)) < 4


def test_an_ill_conditioned_metric_of_many_blocks_is_measured_from_all_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 sums lose half of their digits where the eigenvalues are 1800 to 1, as at |x| = 30 here."""
    kw: dict[str, Any] = {"width": 2**11, "samples": 2, "dtype": torch.float32, "quantities": ["log_volume_element"]}
    kw["x"] = torch.tensor([[18.0, 24.0, 0.0]], dtype=torch.float64)
    with small_blocks(monkeypatch, 2**9):
        got, work = captured(monkeypatch, **kw)
        twins = torch.stack([t.log_determinant / 2 for t in one_by_one(work, 2)])
        torch.testing.assert_close(fields(got)["log_volume_element"].mean, twins.mean(0), rtol=1e-6, atol=0)
        with pytest.raises(SingularMetric, match=r"ill-conditioned.*raise memory_budget to 262144, or use a smaller"):
            run(**kw, memory_budget=2**17)


def test_memory_does_not_grow_with_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor made by a network of 4 blocks is no larger than that of one block."""
    largest = []
    original = torch.baddbmm
    for width in (2**16, 2**18):
        most = 0

        def watched(*args: Any, **kw: Any) -> torch.Tensor:
            nonlocal most
            out = original(*args, **kw)
            most = max(most, out.numel(), *(a.untyped_storage().nbytes() // 8 for a in args))
            return out

        monkeypatch.setattr(torch, "baddbmm", watched)
        run(width=width, samples=2, quantities=["metric"])
        monkeypatch.undo()
        largest.append(most)
    assert largest[0] == largest[1] <= 2**16 * 3


# Workers.


def _die() -> None:
    os._exit(1)


class Dying(ProcessPoolExecutor):
    """A pool in which the third piece of work kills its process."""

    submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(_die) if self.submitted == 3 else super().submit(fn, *args, **kw)


class Unlucky(ThreadPoolExecutor):
    """Threads, some of whose work is lost; a second try succeeds."""

    submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Future[Any]:
        self.submitted += 1
        if self.submitted in (2, 5):
            lost: Future[Any] = Future()
            lost.set_exception(ConnectionError("worker gone\nfor good"))
            return lost
        return super().submit(fn, *args, **kw)


def test_a_worker_that_dies_changes_no_bit() -> None:
    here = run(samples=30)
    with Dying(2, mp_context=SPAWN) as pool:
        got = run(samples=30, executor=pool)
    assert_same_bits(here, got)
    assert (
        len(got.notes) == 1
        and "a worker was lost (BrokenProcessPool" in got.notes[0]
        and "none is missing" in got.notes[0]
    )
    with ThreadPoolExecutor(1) as closed:
        pass
    late = run(samples=30, executor=closed)
    assert_same_bits(here, late)
    assert "after shutdown" in late.notes[0]


def test_lost_work_is_submitted_again() -> None:
    with Unlucky(2) as pool:
        got = run(samples=30, executor=pool)
        assert pool.submitted == 32
    assert_same_bits(run(samples=30), got)
    assert got.notes == (
        "a worker was lost (ConnectionError: worker gone): 2 piece(s) of work were done again; none is missing",
    )


def test_a_second_try_is_taken_where_it_succeeds() -> None:
    here = threading.current_thread()
    with Unlucky(1) as pool:
        assert not any(Workers(pool).in_order(lambda _: threading.current_thread() is here, range(12)))


def test_errors_of_the_work_itself_come_up() -> None:
    calls = []

    def broken(item: int) -> int:
        calls.append(item)
        raise ZeroDivisionError(f"item {item}")

    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError, match="item 0"):
        list(Workers(pool).in_order(broken, [0]))
    assert len(calls) == 3  # there, there again, and here
    with ThreadPoolExecutor(1) as pool, pytest.raises(SingularMetric, match="in replicate"):
        run(mlp=network(0 * Z + 1), executor=pool, quantities=["log_volume_element"])


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_dask_and_a_worker_that_it_gives_up() -> None:
    distributed = pytest.importorskip("distributed")
    import dask

    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.admin.log-format": "%(message)s"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert_same_bits(run(), run(executor=client.get_executor()))

        class Killing(Executor):
            submitted = 0

            def submit(self, fn: Callable[..., Any], /, *args: Any, **kw: Any) -> Future[Any]:
                self.submitted += 1
                there = client.get_executor()
                return there.submit(_die) if self.submitted == 3 else there.submit(fn, *args, **kw)

        got = run(executor=Killing())
    assert_same_bits(run(), got)
    assert "a worker was lost (KilledWorker" in got.notes[0]


# Checkpoints.


def interrupt_at(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("stop", [1, 5, 12])
@pytest.mark.parametrize("width", [20, 87])
def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, stop: int) -> None:
    file = tmp_path / "run"
    counted: list[int] = []
    with small_blocks(monkeypatch, 16 if width == 87 else 64):
        whole = run(width)
        with pytest.raises(KeyboardInterrupt):
            run(width, checkpoint=file, progress=interrupt_at(stop))
        again = run(width, checkpoint=file, progress=lambda done, total: counted.append(done))
        assert counted[:1] != [1]
        assert_same_bits(whole, again)
        for name, value in whole.corrected.items():
            assert torch.equal(value.mean, again.corrected[name].mean)
        done = run(width, checkpoint=file, progress=lambda *_: pytest.fail("all is done"))
    assert_same_bits(whole, done)


def test_a_process_that_is_killed_has_saved_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(montecarlo, "SECONDS", 0.0)
    file, kept = tmp_path / "run", b""

    def keep(done: int, total: int) -> None:
        nonlocal kept
        kept = file.read_bytes() if done == 7 else kept

    whole = run(checkpoint=str(file), progress=keep)
    file.write_bytes(kept)
    seen: list[int] = []
    assert_same_bits(whole, run(checkpoint=file, progress=lambda done, total: seen.append(done)))
    assert seen[0] == 8


def test_damaged_and_foreign_files_are_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "run"
    run(checkpoint=file)
    good = file.read_bytes()
    for content, message in (
        (good[:-1], "damaged, or was not written by infgeo.*; restore it"),
        (good[:10], "damaged"),
        (good[:25], "damaged"),
        (good[:200] + bytes([good[200] ^ 1]) + good[201:], "damaged"),
        (b"a letter", "was not written by infgeo"),
    ):
        file.write_bytes(content)
        with pytest.raises(InvalidInput, match=message):
            run(checkpoint=file)
        assert file.read_bytes() == content
    file.write_bytes(good)
    for kw, name in (({"width": 21}, "width"), ({"samples": 13}, "samples"), ({"x": along(3)}, "x"),
                     ({"weight_std": 2.0}, "network"), ({"sampler": "sobol"}, "sampler"),
                     ({"dtype": torch.float32}, "dtype"), ({"quantities": ["metric"]}, "quantities")):  # fmt: skip
        with pytest.raises(InvalidInput, match=f"is of another run: .*{name} is "):
            run(checkpoint=file, **kw)
        assert file.read_bytes() == good
    file.write_bytes(b"")
    assert_same_bits(run(), run(checkpoint=file))
    assert file.read_bytes() == good  # down to the last bit


def test_bad_checkpoint_arguments(tmp_path: Path) -> None:
    for path, message in (
        (3, "checkpoint is 3"),
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "run", "cannot write"),
    ):
        with pytest.raises(InvalidInput, match=message):
            run(checkpoint=path)
    with pytest.raises(InvalidInput, match="bias_correction is 1"):
        run(bias_correction=1)


def test_replicates_are_the_sampled_networks_also_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    got, work = captured(monkeypatch, samples=150, x=points(2, 2), quantities=["metric"])
    nets = [sample_network(network(), 2, 20, replicate_seed(7, 20, i)) for i in range(150)]
    expected = torch.stack([general_geometry(n, work.points(), False, 2**28).metric for n in nets])
    torch.testing.assert_close(fields(got)["metric"].mean, expected.mean(0), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(fields(got)["metric"].standard_error, expected.std(0) / 150**0.5, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "other",
    [
        {"bias_correction": False},
        {"width": 24},
        {"samples": 13},
        {"sampler": "orthogonal"},
        {"x": along(3)},
        {"dtype": torch.float32},
        {"quantities": "kernel"},
        {"weight_std": 1.5},
        {"mlp": network(depth=2)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_checkpoint_is_of_one_run(other: dict[str, Any], tmp_path: Any) -> None:
    """Whatever changes the result is part of what a file is recognised by; the file stays as it is."""
    path = tmp_path / "run.ckpt"
    run(checkpoint=path)
    content = path.read_bytes()
    with pytest.raises(InvalidInput, match=r"of another run: .* there, .* here"):
        run(checkpoint=path, **other)
    assert path.read_bytes() == content
