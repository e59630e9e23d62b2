import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from infgeo.cli import main
from infgeo.errors import InfgeoError, InvalidInput, MissingExtra
from infgeo.processes import process_context
from infgeo.reproduce import FIGURES, reproduce, run
from infgeo.reproduce import seed_runs as seeds
from infgeo.reproduce.record import SeedResult, save_seed
from infgeo.reproduce.registry import SCALES
from infgeo.reproduce.settings import SETTINGS, CubeRoots, with_network
from tests.reproduce.small import PLANAR

ROOT = Path(__file__).parents[2]
# Background jobs of a shell ignore Ctrl-C, and so would what they start.
PROGRAM = """
import signal, sys
from infgeo.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
ENDINGS = ("json", "npz", "pdf", "png", "txt")


def arrays_of(folder, stem="fig1-small"):
    with np.load(folder / f"{stem}.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two seeds, one after the other in this process."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, reproduce("fig1", seeds=(0, 1), out=folder, jobs=1, settings=PLANAR)


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures take longer than these trainings."""
    monkeypatch.setattr(run.style, "rendered", lambda figure: {"png": b"", "pdf": b""})


def test_every_figure_has_settings_cost_and_a_module_at_each_scale():
    assert {(name, scale) for name in FIGURES for scale in SCALES} == set(SETTINGS)
    for figure in FIGURES.values():
        assert set(figure.cost) == set(SCALES) and "arXiv 2301.11375" in figure.source
        module = __import__(figure.module, fromlist=["measure"])
        assert all(callable(getattr(module, name)) for name in ("measure", "claims", "notes", "picture"))


def test_picture_data_and_record_are_written(whole):
    folder, outcome = whole
    assert sorted(p.name for p in outcome.files) == [f"fig1-small.{ending}" for ending in ENDINGS]
    record = json.loads((folder / "fig1-small.json").read_text())
    assert record["figure"] == "fig1" and record["seeds"] == [0, 1] and not record["partial"]
    assert record["settings_are"] == "custom" and record["settings"]["rows"][0]["recipe"]["learning_rate"] == 0.1
    assert "2 seeds" in (folder / "fig1-small.txt").read_text()
    assert record["settings"]["rows"][0]["widths"] == [2, 16, 2]
    assert {"infgeo", "torch", "numpy", "python"} <= set(record["versions"])
    assert [s["seed"] for s in record["statistics"]] == [0, 1]
    assert len(record["seconds"]["each_seed"]) == 2
    assert [c["name"] for c in record["claims"]] == [c.name for c in outcome.claims]
    data = arrays_of(folder)
    assert data["sinusoid.log10_volume"].shape == (2, 1, 3, 144)
    assert (folder / "fig1-small.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "fig1-small.pdf").read_bytes().startswith(b"%PDF")


def test_processes_give_the_same_bits(whole, tmp_path, undrawn):
    seen, epochs = [], []
    reproduce(
        "fig1",
        seeds=(0, 1),
        out=tmp_path,
        jobs=2,
        settings=PLANAR,
        finished=lambda r: seen.append(r.seed),
        progress=lambda *where: epochs.append(where),
    )
    assert sorted(seen) == [0, 1]
    assert {(0, "sinusoid", 3, 3), (1, "sinusoid", 3, 3)} <= set(epochs)
    for name, array in arrays_of(whole[0]).items():
        np.testing.assert_array_equal(array, arrays_of(tmp_path)[name], err_msg=name)


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_any_executor_gives_the_same_bits(whole, tmp_path, undrawn, kind):
    options = {"mp_context": process_context()} if kind is ProcessPoolExecutor else {}
    seen = []
    with kind(2, **options) as executor:
        outcome = reproduce(
            "fig1", seeds=(1, 0), out=tmp_path, executor=executor, settings=PLANAR, device=("cpu", "cpu"),
            finished=lambda r: seen.append(r.seed),
        )  # fmt: skip
    assert sorted(seen) == [0, 1] and outcome.record["seeds"] == [1, 0] and not outcome.partial
    for name, array in arrays_of(tmp_path).items():
        np.testing.assert_array_equal(array, arrays_of(whole[0])[name][::-1], err_msg=name)


def test_seeds_take_devices_in_turn_and_wait_no_longer_after_an_interrupt(tmp_path, monkeypatch, undrawn):
    class Pool(Executor):
        submitted, cancelled = [], 0

        def submit(self, run, seed, place):
            future = Future()
            future.cancel = lambda: setattr(Pool, "cancelled", Pool.cancelled + 1)
            if not self.submitted:
                future.set_exception(KeyboardInterrupt())
            self.submitted.append((seed, place.device))
            return future

    monkeypatch.setattr(run, "checked_device", str)
    with pytest.raises(KeyboardInterrupt):
        reproduce("fig1", seeds=(4, 5, 6), out=tmp_path, executor=Pool(), settings=PLANAR, device=("cuda:0", "cuda:1"))
    assert Pool.submitted == [(4, "cuda:0"), (5, "cuda:1"), (6, "cuda:0")] and Pool.cancelled == 2


def test_resnet18_and_elu_take_the_place_of_the_published_network():
    rows = with_network(SETTINGS["ssl", "paper"], "resnet18", "elu").rows
    assert {(row.network, row.activation) for row in rows} == {("resnet18", "elu")}
    perceptron, residual = with_network(SETTINGS["relu", "paper"], "resnet18").rows
    assert (perceptron, residual.network) == (SETTINGS["relu", "paper"].rows[0], "resnet18")
    with pytest.raises(InvalidInput, match="network is 'resnet50'; choose"):
        with_network(SETTINGS["fig3", "paper"], "resnet50")


def test_kept_seeds_are_not_measured_again(whole, monkeypatch, undrawn):
    folder, outcome = whole
    monkeypatch.setattr("infgeo.reproduce.planar_figures.measure", None)
    again = reproduce("fig1", seeds=(1, 0), out=folder, jobs=1, settings=PLANAR)
    assert again.record["seeds"] == [1, 0]
    assert again.record["claims"][0]["estimate"] == outcome.record["claims"][0]["estimate"]
    reproduce("fig1", seeds=(0, 1), out=folder, jobs=1, settings=PLANAR)  # as the other tests expect the data


def test_a_kept_seed_that_lacks_a_statistic_is_measured_anew(tmp_path, undrawn):
    settings = CubeRoots(points=9)
    first = reproduce("figD1", out=tmp_path, settings=settings)
    place = seeds.Place(tmp_path / "figD1-small.seeds")
    other = SeedResult(0, {}, {"bias 0": {"other": 1.0}, "bias 1": {}}, 1.0)
    save_seed(place.folder / "seed-0.npz", other, seeds.key_of(settings, place))
    assert reproduce("figD1", out=tmp_path, settings=settings).claims == first.claims


class StopsAfter:
    """Stands for the parent's wish to stop, which comes after some steps of training."""

    def __init__(self, steps):
        self.left = steps

    def is_set(self):
        self.left -= 1
        return self.left < 0

    def set(self):
        self.left = 0


@pytest.mark.parametrize("steps", [3, 12])
def test_an_interrupted_run_goes_on_to_the_same_bits(whole, tmp_path, monkeypatch, undrawn, steps):
    monkeypatch.setattr(seeds, "_stop", StopsAfter(26 + steps))  # a seed has 26 calls: before it, step 0 and 24 updates
    outcome = reproduce("fig1", seeds=(0, 1), out=tmp_path, jobs=1, settings=PLANAR)
    assert outcome.partial and outcome.record["seeds"] == [0]
    assert json.loads((tmp_path / "fig1-small.json").read_text())["partial"]
    monkeypatch.setattr(seeds, "_stop", None)
    outcome = reproduce("fig1", seeds=(0, 1), out=tmp_path, jobs=1, settings=PLANAR)
    assert not outcome.partial
    for name, array in arrays_of(whole[0]).items():
        np.testing.assert_array_equal(array, arrays_of(tmp_path)[name], err_msg=name)


def test_an_interrupt_before_any_seed_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(seeds, "_stop", StopsAfter(3))
    with pytest.raises(KeyboardInterrupt):
        reproduce("fig1", seeds=(0,), out=tmp_path, jobs=1, settings=PLANAR)
    assert [p.name for p in tmp_path.iterdir()] == ["fig1-small.seeds"]
    monkeypatch.setitem(SETTINGS, ("fig1", "small"), PLANAR)
    monkeypatch.setattr(seeds, "_stop", StopsAfter(3))
    assert main(["reproduce", "fig1", "--seeds", "0", "--out", str(tmp_path / "again")]) == 130
    assert capsys.readouterr().err.splitlines() == [
        "fig1: seed 0, sinusoid: epoch 0 of 3",
        "infgeo: interrupted before a seed was finished; the same command goes on",
    ]


@pytest.mark.slow  # tests/test_processes.py has workers that end soon, the test above a run that goes on
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_processes_say_how_far_they_are_and_end_within_three_seconds(number, tmp_path):
    """The shortest of a few, and as many times longer as there are processes for each core."""
    for attempt in range(3):
        out = tmp_path / str(attempt)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "reproduce", "fig1", "--jobs", "2", "--out", str(out)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        said = next(line for line in process.stderr if "epoch 0 of" not in line)
        assert re.search(r"seed \d, sinusoid: epoch \d+ of 10000", said)
        began = time.monotonic()
        os.killpg(process.pid, number)
        error = process.communicate(timeout=60)[1]
        seconds = time.monotonic() - began
        assert process.returncode == 130 and error.endswith("the same command goes on\n") and "Traceback" not in error
        assert list(out.glob("fig1-small.seeds/*/seed-*-sinusoid.pt"))
        if seconds < 3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)):
            return
    pytest.fail(f"it took {seconds:.1f} s")


def test_a_worker_that_dies_is_told(tmp_path, monkeypatch):
    class Pool:
        def __init__(self, *_, **__):
            pass

        def submit(self, *_):
            future = Future()
            future.set_exception(BrokenProcessPool())
            return future

        def shutdown(self, **_):
            pass

    monkeypatch.setattr("infgeo.processes.ProcessPoolExecutor", Pool)
    with pytest.raises(InfgeoError, match=r"died .* after 0 of 2 seeds.*fewer jobs"):
        reproduce("fig1", seeds=(0, 1), out=tmp_path, jobs=2, settings=PLANAR)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "fig9"}, "no figure 'fig9'; the figures are fig1"),
        ({"scale": "large"}, "scale is 'large'; choose from 'small', 'paper'"),
        ({"seeds": ()}, "integers? >= 0"),
        ({"seeds": (0, 0)}, "each counts once"),
        ({"seeds": (-1,)}, "integers? >= 0"),
        ({"seeds": (True,)}, "integers? >= 0"),
        ({"device": "cuda:77"}, "device is 'cuda:77', which torch cannot use here"),
        ({"device": "abacus"}, "device is 'abacus', which torch cannot use here"),
        ({"device": "meta"}, "which holds no numbers"),
        ({"settings": "mine"}, "settings is 'mine'; choose from 'published', 'ours'"),
        ({"executor": 2}, "executor is 2; pass an executor of concurrent.futures"),
        ({"jobs": 0}, "jobs is 0; it must be an integer >= 1"),
        ({"out": "/proc/nothing"}, "cannot write into the folder"),
    ],
)
def test_bad_input_is_one_error(arguments, words, tmp_path):
    with pytest.raises(InvalidInput, match=words):
        reproduce(**({"name": "fig1", "out": tmp_path} | arguments))


def test_without_matplotlib_the_extra_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"infgeo\[plot\]"):
        reproduce("fig1", out=tmp_path)


# the command line


def test_the_list_says_what_each_figure_shows(capsys):
    assert main(["reproduce", "--list"]) == 0
    out = capsys.readouterr().out
    for name in FIGURES:
        assert f"{name}: " in out
    assert "no numbered figure" in out
    assert out.count("source") == out.count("shows") == len(FIGURES)


def test_the_command_prints_claims_and_files(tmp_path, capsys, monkeypatch, undrawn):
    monkeypatch.setitem(SETTINGS, ("figD1", "small"), CubeRoots(points=9))
    assert main(["reproduce", "figD1", "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "holds" in captured.out and "3 times this R" in captured.out
    assert "seed 0 finished" in captured.err
    assert sorted(os.path.basename(p) for p in tmp_path.iterdir()) == sorted(
        [f"figD1-small.{ending}" for ending in ENDINGS] + ["figD1-small.seeds"]
    )


@pytest.mark.parametrize(
    "arguments",
    [[], ["fig9"], ["fig1", "--scale", "huge"], ["fig1", "--seeds", "-1"], ["fig1", "--device", "cuda:9"],
     ["fig2", "--scale", "paper", "--data", "/nowhere"], ["fig3", "--scale", "paper"],
     ["figD1", "--out", "/proc/nothing"], ["fig3", "--network", "resnet18"], ["fig1", "--activation", "elu"],
     ["fig3", "--network", "resnet50"]],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(arguments, capsys, tmp_path):
    out = [] if "--out" in arguments else ["--out", str(tmp_path)]
    assert main(["reproduce", *arguments, *out]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1


def test_an_interrupted_command_says_that_it_goes_on(tmp_path, capsys, monkeypatch):
    outcome = SimpleNamespace(
        figure=FIGURES["fig1"], claims=(), record={"scale": "small", "notes": []}, files=(), partial=True
    )
    monkeypatch.setattr(run, "reproduce", lambda *_, **__: outcome)
    assert main(["reproduce", "fig1", "--out", str(tmp_path)]) == 1
    assert "the same command goes on" in capsys.readouterr().err
