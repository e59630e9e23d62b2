"""Interrupted and resumed runs end with the bits of uninterrupted ones; files that do not fit are refused."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput, TrainingDiverged
from infgeo.training import Recipe, mlp, noisy_xor, sinusoid, train
from tests.training.test_loop import RECIPE, SMALL, Noisy, jitter, network, same, state

ADAM = Recipe("adam", 1e-2, batch_size=40, epochs=4, augmentation=jitter)


@pytest.fixture(autouse=True)
def interruptible():
    """Let Ctrl-C arrive as at a terminal: a shell has its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Stop:
    """Presses Ctrl-C within the callback of a step."""

    def __init__(self, step: int, raising: bool = False) -> None:
        self.step, self.raising, self.heard = step, raising, []

    def __call__(self, step: int, _model: nn.Module) -> None:
        self.heard.append(step)
        if step == self.step:
            if self.raising:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("recipe", [RECIPE, ADAM])
@pytest.mark.parametrize("raising", [False, True])
@pytest.mark.parametrize("step", [0, 1, 5, 6, 11, 12])
def test_a_run_that_is_interrupted_and_resumed_has_the_same_bits(tmp_path, recipe, raising, step):
    whole, heard = Noisy(), []
    expected = train(whole, SMALL, recipe, seed=3, callbacks=[lambda s, m: heard.append((s, state(m)))])
    path, model, stop = tmp_path / "run.pt", Noisy(), Stop(step, raising)
    first = train(model, SMALL, recipe, seed=3, callbacks=[stop], checkpoint=path)
    assert (first.steps, first.interrupted, first.accuracy) == (step, True, None)
    assert stop.heard == list(range(step + 1)) and path.exists()
    resumed, after = Noisy(), Stop(-1)
    with torch.no_grad():  # whatever the new model holds, the file decides
        resumed[0].weight.zero_()
    second = train(resumed, SMALL, recipe, seed=3, callbacks=[after], checkpoint=path)
    again = raising or step == 0  # a callback that did not come to its end is called again
    assert after.heard == [s for s, _ in heard if s > step or (again and s == step)]
    assert second == expected and same(state(resumed), state(whole))


def test_many_interruptions_one_result(tmp_path):
    whole = Noisy()
    expected = train(whole, SMALL, ADAM)
    for step in (2, 3, 7, 8, 13):
        model = Noisy()
        assert train(model, SMALL, ADAM, callbacks=[Stop(step)], checkpoint=tmp_path / "run.pt").interrupted
    assert train(model, SMALL, ADAM, checkpoint=tmp_path / "run.pt") == expected and same(state(model), state(whole))


def test_a_finished_run_is_not_repeated_and_may_go_on(tmp_path):
    path, model, longer = tmp_path / "run.pt", network(), replace(RECIPE, epochs=7)
    result = train(model, SMALL, RECIPE, checkpoint=path)
    content, heard = path.read_bytes(), Stop(-1)
    again = network(seed=9)
    assert train(again, SMALL, RECIPE, checkpoint=path, callbacks=[heard]) == result and not heard.heard
    assert same(state(again), state(model)) and path.read_bytes() == content
    whole = network()
    assert train(again, SMALL, longer, checkpoint=path) == train(whole, SMALL, longer)
    assert same(state(again), state(whole))
    with pytest.raises(InvalidInput, match="is of epoch 7, and the recipe has 4; raise epochs"):
        train(network(), SMALL, RECIPE, checkpoint=path)


def test_it_is_written_every_so_many_steps(tmp_path):
    path, seen = tmp_path / "run.pt", []

    def look(step: int, _model: nn.Module) -> None:
        seen.append(torch.load(path, weights_only=True)["state"]["step"] if path.exists() else None)

    train(network(), SMALL, RECIPE, callbacks=[look], checkpoint=path, checkpoint_every=4)
    assert seen == [None] * 5 + [4] * 4 + [8] * 4
    saved = torch.load(path, weights_only=True)
    model = network()
    model.load_state_dict(saved["state"]["model"])  # an ordinary state dict
    assert saved["state"]["step"] == 12 and os.listdir(tmp_path) == ["run.pt"]


def test_by_default_it_is_written_every_minute(tmp_path, monkeypatch):
    clock = iter(range(0, 10**6, 25))  # seconds
    monkeypatch.setattr("infgeo.checkpoint_file.time", SimpleNamespace(monotonic=lambda: next(clock)))
    path, written = tmp_path / "run.pt", []
    train(network(), SMALL, RECIPE, checkpoint=path, callbacks=[lambda s, m: written.append(path.exists())])
    assert written == [False] * 4 + [True] * 9  # 25, 50 and 75 s after the beginning


def test_a_second_interrupt_ends_a_callback_at_once(tmp_path):
    def endless(step: int, _model: nn.Module) -> None:
        if step == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("not reached")

    path, model, whole = tmp_path / "run.pt", network(), network()
    assert train(model, SMALL, RECIPE, callbacks=[endless], checkpoint=path).steps == 4
    train(model, SMALL, RECIPE, checkpoint=path)
    train(whole, SMALL, RECIPE)
    assert same(state(model), state(whole)) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_without_checkpoint_is_clean():
    model = network()
    result = train(model, SMALL, RECIPE, callbacks=[Stop(3)])
    assert (result.steps, result.epochs, len(result.losses), result.interrupted) == (3, 1, 1, True)


OTHERS = {
    "architecture": (
        lambda: dict(model=mlp([2, 13, 2], "sigmoid")),
        r"of another run: architecture, hidden1 is .*12.* there, .*13.* here",
    ),
    "activation": (
        lambda: dict(model=mlp([2, 12, 2], "erf")),
        r"another run: architecture, activation1 is .*exp.* there, .*erf.* here",
    ),
    "depth": (lambda: dict(model=mlp([2, 12, 12, 2], "sigmoid")), "of another run: architecture, "),
    "fewer": (lambda: dict(model=nn.Sequential(nn.Linear(2, 2))), "of another run: architecture, "),
    "recipe": (lambda: dict(recipe=replace(RECIPE, learning_rate=0.2)), "learning_rate is 0.1 there, 0.2 here"),
    "augmentation": (lambda: dict(recipe=replace(RECIPE, augmentation=jitter)), "augmentation is None there, .*jitter"),
    "seed": (lambda: dict(seed=1), "seed is 0 there, 1 here"),
    "task": (lambda: dict(task=noisy_xor(130)), "task is 'sinusoid' there, 'noisy_xor' here"),
    "data": (lambda: dict(task=sinusoid(130, seed=1)), "data is"),
    "loss": (lambda: dict(loss=lambda m, x, y: m(x).square().sum()), "own_loss is None there"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path, other):
    path, (make, said) = tmp_path / "run.pt", OTHERS[other]
    train(network(), SMALL, RECIPE, callbacks=[Stop(5)], checkpoint=path)
    content = path.read_bytes()
    arguments = {"model": network(), "task": SMALL, "recipe": RECIPE} | make()
    before = state(arguments["model"])
    with pytest.raises(InvalidInput, match=said) as caught:
        train(**arguments, checkpoint=path)
    assert str(path) in str(caught.value) and path.read_bytes() == content and same(before, state(arguments["model"]))


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.pt"
    train(network(), SMALL, RECIPE, callbacks=[Stop(5)], checkpoint=path)
    good = path.read_bytes()
    cuts = [good[:n] for n in (1, 100, len(good) // 2, len(good) - 1)]
    places = range(0, len(good), max(1, len(good) // 60))
    flipped = [good[:i] + bytes([good[i] ^ 0x10]) + good[i + 1 :] for i in places]
    refused = 0
    for content in [*cuts, b"nonsense", *flipped]:
        path.write_bytes(content)
        model = network()
        try:
            train(model, SMALL, RECIPE, checkpoint=path)
        except InvalidInput as error:
            assert str(path) in str(error)
            refused += 1
            assert path.read_bytes() == content
        else:  # a bit of padding, that nothing depends on
            whole = network()
            train(whole, SMALL, RECIPE)
            assert same(state(model), state(whole))
    assert refused >= len(cuts) + 1 + len(flipped) // 2
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(InvalidInput, match="no training checkpoint of infgeo"):
        train(network(), SMALL, RECIPE, checkpoint=path)


class Malice:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_no_code_in_a_checkpoint_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": Malice()}, tmp_path / "run.pt")
    with pytest.raises(InvalidInput, match="holds more than tensors and numbers, and is not loaded"):
        train(network(), SMALL, RECIPE, checkpoint=tmp_path / "run.pt")
    assert not Path("executed").exists()


def test_a_checkpoint_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    train(network(), SMALL, RECIPE, checkpoint="~/run.pt")
    assert (tmp_path / "run.pt").is_file()


def test_an_empty_file_is_a_place_to_write(tmp_path):
    path = tmp_path / "run.pt"
    path.touch()
    assert train(network(), SMALL, RECIPE, checkpoint=path).steps == 12 and path.stat().st_size


def test_where_it_cannot_be_written_is_said_before_training(tmp_path):
    heard = Stop(-1)
    for path in (tmp_path, tmp_path / "none" / "run.pt"):
        with pytest.raises(InvalidInput, match="cannot write"):
            train(network(), SMALL, RECIPE, checkpoint=path, callbacks=[heard])
    assert not heard.heard


def test_a_full_disk_is_one_error_and_what_was_saved_stays(tmp_path):
    """The system itself refuses the write, by a limit on the size of files."""
    path = tmp_path / "run.pt"
    train(network(), SMALL, RECIPE, callbacks=[Stop(5)], checkpoint=path)
    content = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    model = network()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, hard))
        with pytest.raises(InvalidInput, match=f"cannot write {path}: File too large"):
            train(model, SMALL, RECIPE, checkpoint=path, checkpoint_every=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == content and os.listdir(tmp_path) == ["run.pt"]
    whole = network()
    train(model, SMALL, RECIPE, checkpoint=path)
    train(whole, SMALL, RECIPE)
    assert same(state(model), state(whole))


def test_a_run_that_diverges_keeps_what_was_saved(tmp_path):
    path, recipe = tmp_path / "run.pt", replace(RECIPE, learning_rate=1e6, momentum=0.0)
    with pytest.raises(TrainingDiverged, match=rf"{path} holds what was saved before"):
        train(mlp([2, 12, 2], "square", seed=1), SMALL, recipe, checkpoint=path, checkpoint_every=1)
    weights = torch.load(path, weights_only=True)["state"]["model"]
    assert all(t.isfinite().all() for t in weights.values())


def test_ctrl_c_from_outside_at_any_moment(tmp_path):
    """The process is sent SIGINT again and again, at times of no one's choosing, and ends with the same weights."""
    path, recipe, steps = tmp_path / "run.pt", replace(RECIPE, epochs=100), []
    while not steps or steps[-1] < 300:
        started = threading.Event()

        def press(started: threading.Event = started, wait: float = 0.001 * (1 + 7 * len(steps) % 20)) -> None:
            started.wait()
            time.sleep(wait)
            os.kill(os.getpid(), signal.SIGINT)

        presser = threading.Thread(target=press)

        def arrange(step: int, _model: nn.Module, started=started, presser=presser) -> None:
            started.set()
            if step == 300:
                presser.join()  # so that the signal does not come after the run

        presser.start()
        model = network()
        result = train(model, SMALL, recipe, callbacks=[arrange], checkpoint=path)
        assert result.interrupted and result.steps > (steps[-1] if steps else 0)
        steps.append(result.steps)
    whole = network()
    train(whole, SMALL, recipe)
    assert same(state(model), state(whole)) and len(steps) > 2
