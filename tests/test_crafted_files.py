"""Files that infgeo reads back, as anyone may have made them: one error of the package, and nothing in them is run."""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import infgeo
from infgeo import finite, tracking, training
from infgeo.errors import InfgeoError
from infgeo.reproduce import record
from infgeo.tracking import store
from tests.wrong_kinds import CANARY_CALLS

X = np.array([[0.5, 0.2], [1.0, -0.3]])


class Hostile:
    """An object whose pickle runs code where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return CANARY_CALLS.append, (1,)


@pytest.fixture(autouse=True)
def nothing_is_run():
    yield
    assert not CANARY_CALLS and not builtins.CANARY


def estimate(path: Path, width: int = 8) -> Any:
    return finite.estimate(
        infgeo.MLP("erf", weight_std=1, bias_std=1), X, width, 8, quantities=["kernel"], checkpoint=path
    )


def packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def partial_run(tmp_path_factory) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a checkpoint, and what they hold."""
    path = tmp_path_factory.mktemp("run") / "checkpoint"
    estimate(path)
    return path.read_bytes(), torch.load(path, weights_only=True)


def crafted_runs(good: dict[str, Any]) -> dict[str, bytes]:
    state, means = good["state"], good["state"]["means"]
    name, mean = next(iter(means.items()))
    parts = ("count", "shift", "mean", "squares")

    def with_state(**parts: Any) -> bytes:
        return packed({**good, "state": {**state, **parts}})

    def with_mean(**others: Any) -> bytes:
        return with_state(means={**means, name: tuple((dict(zip(parts, mean, strict=True)) | others).values())})

    return {
        "no archive": b"nothing",
        "a list": packed([]),
        "of another kind": packed({**good, "format": "infgeo training checkpoint 1"}),
        "pickle": pickle.dumps(Hostile()),
        "pickle in an archive": packed(Hostile()),
        "objects": with_mean(mean=Hostile()),
        "without the run": packed({"format": good["format"], "state": state}),
        "run of a number": packed({**good, "run": 3}),
        "state of a number": packed({**good, "state": 3}),
        "no means": packed({**good, "state": {"step": state["step"]}}),
        "no number of items": packed({**good, "state": {"means": means, "sums": {}}}),
        "items of text": with_state(step="all"),
        "items less than none": with_state(step=-1),
        "more items than there are": with_state(step=10**9),
        "fewer items than counted": with_state(step=1),
        "unknown mean": with_state(means={**means, "other": mean}),
        "mean of a number": with_state(means={name: 3}),
        "sums of a number": with_state(sums=3),
        "sums of a third half": with_state(sums={2: (1, None, None)}),
        "mean of text": with_mean(mean="code"),
        "mean of another shape": with_mean(mean=torch.zeros(7)),
        "mean of integers": with_mean(mean=mean[2].to(int)),
        "part is missing": with_state(means={name: mean[:3]}),
        "part too many": with_state(means={name: (*mean, 1)}),
    }


def test_crafted_checkpoints_of_estimates(partial_run, tmp_path):
    content, good = partial_run
    files = crafted_runs(good) | {f"first {n} bytes": content[:n] for n in (1, 19, 30, 60, len(content) - 1)}
    for name, crafted in files.items():
        path = tmp_path / "checkpoint"
        path.write_bytes(crafted)
        with pytest.raises(InfgeoError) as error:
            estimate(path)
        assert str(path) in str(error.value) and len(str(error.value)) < 500, name
        assert path.read_bytes() == crafted, name


def test_crafted_checkpoints_of_trainings(tmp_path):
    task, recipe, path = training.xor(), training.Recipe("adam", epochs=2), tmp_path / "run.pt"
    training.train(training.mlp((2, 3, 2)), task, recipe, checkpoint=path)
    good = torch.load(path, weights_only=True)
    state = good["state"]
    whole = path.read_bytes()

    def with_state(**parts: Any) -> bytes:
        return packed({**good, "state": {**state, **parts}})

    weights = {**state["model"], "readout.bias": torch.zeros(5)}
    moments = {k: {**v, "exp_avg": torch.zeros(9)} for k, v in state["optimizer"]["state"].items()}
    files = {
        "pickle": pickle.dumps(Hostile()),
        "pickle in an archive": packed(Hostile()),
        "hostile state": packed({**good, "state": Hostile()}),
        "a list": packed([]),
        "no run": packed({"format": good["format"]}),
        "architecture of a number": packed({**good, "run": {**good["run"], "architecture, readout": 3}}),
        "run of a list": packed({**good, "run": []}),
        "state of a number": packed({**good, "state": 3}),
        "empty state": packed({**good, "state": {}}),
        "step of text": with_state(step="1"),
        "step below none": with_state(step=-1),
        "epoch of text": with_state(epoch="1"),
        "huge epoch": with_state(epoch=10**30),
        "losses of text": with_state(losses=["a"]),
        "total of nothing": with_state(total=None),
        "weights of another shape": with_state(model=weights),
        "no weights": with_state(model={}),
        "weights of a number": with_state(model=3),
        "moments of another shape": with_state(optimizer={**state["optimizer"], "state": moments}),
        "optimizer of a list": with_state(optimizer=[]),
        "order of floats": with_state(order=torch.zeros(3)),
        "random state of a number": with_state(random=3),
        "short random state": with_state(random={"cpu": torch.zeros(3, dtype=torch.uint8)}),
        **{f"first {n} bytes": whole[:n] for n in (1, 50, len(whole) // 2, len(whole) - 1)},
    }
    for name, crafted in files.items():
        path.write_bytes(crafted)
        model = training.mlp((2, 3, 2), seed=7)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        with pytest.raises(InfgeoError) as error:
            training.train(model, task, recipe, checkpoint=path)
        assert str(path) in str(error.value), name
        assert all(map(torch.equal, before, model.parameters())), name


def test_crafted_histories(tmp_path):
    path = tmp_path / "history"
    tracker = tracking.GeometryTracker(torch.nn.Linear(2, 2), torch.tensor(X, dtype=torch.float32), path=path)
    tracker.record(0)
    content = path.read_bytes()
    described, start, end = store._parse(content, path)
    arrays, records = content[start:end], content[end:]

    def packed(description: Any, parts: bytes = arrays) -> bytes:
        words = description if isinstance(description, bytes) else json.dumps(description).encode()
        rest = store._LENGTHS.pack(len(words), len(parts)) + words + parts
        return store._MAGIC + hashlib.sha256(rest).digest() + rest + records

    def columns(*column: Any) -> bytes:
        return packed({**described, "columns": [list(column)]})

    files = {
        "no description": packed(b"{"),
        "a list": packed([]),
        "nothing": packed({}),
        "columns of a number": packed({**described, "columns": 3}),
        "a column too short": columns("log10_volume"),
        "a column of objects": columns("log10_volume", None, "points", [2], "O"),
        "a column of no type": columns("log10_volume", None, "points", [2], "no type"),
        "a column without end": columns("log10_volume", None, "points", [10**12], "<f8"),
        "a column below none": columns("log10_volume", None, "points", [-1], "<f8"),
        "probes of a number": packed({**described, "probes": 3}),
        "a probe too short": packed({**described, "probes": [["points"]]}),
        "no arrays": packed(described, b""),
        "arrays of pickles": packed(described, pickle.dumps(Hostile())),
        "lengths beyond the file": content[: store._START - 16] + struct.pack("<QQ", 2**63, 2**63),
        **{f"first {n} bytes": content[:n] for n in (0, 1, 17, 60, start - 1)},
    }
    for name, crafted in files.items():
        path.write_bytes(crafted)
        try:
            history = tracking.load(path)
        except InfgeoError as error:
            assert str(path) in str(error), name
        else:
            assert len(history) == 0, name


def test_crafted_records_of_figures_are_none(tmp_path):
    path = tmp_path / "seed.npz"
    record.save_seed(path, record.SeedResult(0, {"a": np.zeros(2)}, {"b": 1.0}, 2.0), "key")
    assert record.load_seed(path, "key").statistics == {"b": 1.0}
    whole = path.read_bytes()

    def packed(notes: Any) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **{record.STATISTICS: np.array(notes if isinstance(notes, str) else json.dumps(notes))})
        return buffer.getvalue()

    notes = {"key": "key", "seed": 0, "seconds": 1.0, "statistics": {}}
    files = [
        pickle.dumps(Hostile()),
        packed("{"),
        packed([]),
        packed({}),
        packed({**notes, "statistics": 3}),
        packed({**notes, "seed": "a"}),
        packed({**notes, "seed": None}),
        packed({**notes, "seconds": []}),
        *(whole[:n] for n in (0, 1, len(whole) // 2, len(whole) - 1)),
    ]
    for crafted in files:
        path.write_bytes(crafted)
        assert record.load_seed(path, "key") is None
