"""SIGTERM keeps what Ctrl-C keeps; handlers are put back, and those of others are left alone."""

import json
import signal
import threading

import numpy as np
import pytest
import torch

import infgeo
from infgeo.finite import estimate
from infgeo.interruption import Interruption, termination_as_interrupt
from infgeo.training import Recipe, mlp, sinusoid, train

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def plain_handlers():
    """Let signals arrive as at a terminal, and find the same handlers afterwards."""
    plain = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in plain.items()}
    yield
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert after == plain


def test_termination_is_an_interrupt_inside_the_block_alone():
    with pytest.raises(KeyboardInterrupt), termination_as_interrupt(), termination_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_handlers_of_others_and_other_threads_are_left_alone():
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
    with termination_as_interrupt(), Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
    assert heard == [True] and not interruption.requested
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    seen = []

    def elsewhere() -> None:
        with termination_as_interrupt(), Interruption():
            seen.extend(signal.getsignal(number) for number in BOTH)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler, signal.SIG_DFL]


@pytest.mark.parametrize("number", BOTH)
def test_an_estimate_goes_on_from_its_checkpoint(number, tmp_path):
    path, arguments = tmp_path / "run.ckpt", (infgeo.MLP("erf"), torch.ones(1, 2), 8, 600)
    whole, calls = estimate(*arguments), []

    def send(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 2:
            signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt):
        estimate(*arguments, checkpoint=path, progress=send)
    resumed = []
    again = estimate(*arguments, checkpoint=path, progress=lambda done, total: resumed.append(done))
    assert resumed[0] > calls[-1] and torch.equal(again.metric.mean, whole.metric.mean)


@pytest.mark.parametrize("number", BOTH)
def test_a_validation_reports_the_widths_that_are_done(number):
    def send(done: int, total: int) -> None:
        if done == 20:
            signal.raise_signal(number)

    report = infgeo.validate(
        infgeo.MLP("erf"), 1, [[1.0]], widths=(16, 32, 64), samples=8, quantities="kernel", progress=send
    )
    assert report.partial and report.widths_done == (16, 32)
    assert json.loads(report.to_json())["partial"] is True


@pytest.mark.parametrize("number", BOTH)
def test_training_ends_with_the_step_and_its_callbacks(number, tmp_path):
    """A tracker that is interrupted in the middle of a record makes it when the run goes on."""
    task, recipe = sinusoid(20, seed=0), Recipe("sgd", 0.1, batch_size=10, epochs=3)
    path, calls = tmp_path / "run.pt", []

    def record(step: int, _model: torch.nn.Module) -> None:
        calls.append(step)
        if calls == [0, 1, 2, 3]:
            signal.raise_signal(number)
            signal.raise_signal(number)

    whole, model = mlp([2, 5, 2], "sigmoid", seed=0), mlp([2, 5, 2], "sigmoid", seed=0)
    expected = train(whole, task, recipe)
    first = train(model, task, recipe, callbacks=record, checkpoint=path)
    assert first.interrupted and first.steps == 3
    assert train(model, task, recipe, callbacks=record, checkpoint=path) == expected
    assert calls == [0, 1, 2, 3, 3, 4, 5, 6]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole.parameters(), strict=True))


def test_a_tracker_loses_no_record(tmp_path):
    task, recipe = sinusoid(20, seed=0), Recipe("sgd", 0.1, batch_size=10, epochs=3)
    model = mlp([2, 5, 2], "sigmoid", seed=0)
    tracker = infgeo.GeometryTracker(
        model, at=np.ones((1, 2)), features="activation1", every=1, path=tmp_path / "records"
    )
    calls = []

    def record(step: int, here: torch.nn.Module) -> None:
        calls.append(step)
        if calls == [0, 1, 2]:
            raise KeyboardInterrupt
        tracker(step, here)

    for _ in range(2):
        train(model, task, recipe, callbacks=record, checkpoint=tmp_path / "run.pt")
    assert tracker.history.steps.tolist() == [0, 1, 2, 3, 4, 5, 6]
