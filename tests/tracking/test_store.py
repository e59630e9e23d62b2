"""Whatever ends a training, what was recorded before is in the file, whole; and nothing else is read from it."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.tracking import GeometryTracker, grid, line, load, plane, points, store

ROOT = Path(__file__).resolve().parents[2]


def model(width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2))


def tracker(path: Path, net: nn.Module | None = None, at: Any = None, **options: Any) -> GeometryTracker:
    probe = grid(points=3) if at is None else at
    return GeometryTracker(model() if net is None else net, at=probe, features="1", every=1, path=path, **options)


def test_what_is_loaded_is_what_memory_holds(tmp_path: Path) -> None:
    at = {
        "plane": plane([0.1, 0.2], [1.0, 0.0], [0.0, 1 / 3], points=(3, 2)),
        "line": line([0.0, 0.1], [1.0, 1.0], points=3),
        "cloud": points(np.array([[1 / 3, 0.1]])),
        "grid": grid(points=2),
    }
    net = model()
    disk, memory = tracker(tmp_path / "h", net, at), GeometryTracker(net, at=at, features="1", every=1)
    for step in (0, 5, 3):
        disk(step)
        memory(step)
    found, expected = load(tmp_path / "h"), memory.history
    assert found.columns == expected.columns and found.steps.tolist() == [0, 3, 5]
    for a, b in zip(found.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, probe in at.items():
        again = found.probes[name]
        assert (again.name, again.kind, again.shape, again.input_shape) == (name, probe.kind, probe.shape, (2,))
        for key in ("coordinates", "origin", "directions", "anchors"):
            a, b = getattr(again, key), getattr(probe, key)
            assert (a is None and b is None) or (a.dtype == b.dtype and torch.equal(a, b)), key
    assert (found.costs > 0).all() and pickle.loads(pickle.dumps(disk)).history.steps.tolist() == [0, 3, 5]


KILLED = """
import os, signal, sys
import torch
from torch import nn
import infgeo
from infgeo.tracking import grid, store

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))
tracker = infgeo.GeometryTracker(model, at=grid(points=3), features="1", every=1, path=sys.argv[1])
for step in range(3):
    tracker(step)

class Torn:  # half of the record reaches the file, then the process is gone
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): self.file.close()
    def __getattr__(self, name): return getattr(self.file, name)
    def write(self, data):
        self.file.write(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

import builtins
plain = builtins.open
if sys.argv[2] == "during":
    store.open = lambda *args, **options: Torn(plain(*args, **options))
    tracker(3)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["between", "during"])
def test_a_killed_process_leaves_whole_records_and_the_next_goes_on(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "h"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), moment]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert completed.returncode == -signal.SIGKILL, completed.stderr
    whole = load(path)
    assert whole.steps.tolist() == [0, 1, 2]
    size = path.stat().st_size
    resumed = tracker(path)
    record = store.record_dtype(resumed._columns).itemsize
    assert (size - len(resumed._store.header)) % record == (0 if moment == "between" else record // 2)  # type: ignore[union-attr]
    resumed(2)
    resumed(3)
    again = load(path)
    assert again.steps.tolist() == [0, 1, 2, 3]
    for a, b in zip(again.arrays, whole.arrays, strict=True):
        np.testing.assert_array_equal(a[:3], b)


class Full:
    """A file on a disk that takes `room` more bytes."""

    def __init__(self, file: Any, room: list[int], error: BaseException) -> None:
        self.file, self.room, self.error = file, room, error

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: Any) -> int:
        if self.room[0] <= 0:
            raise self.error
        taken = min(len(data), self.room[0])
        self.room[0] -= taken
        return self.file.write(data[:taken])


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, room = tmp_path / "h", [10**9]
    error = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(store, "open", lambda *a, **k: Full(open(*a, **k), room, error), raising=False)
    running = tracker(path)
    running(0)
    size, room[0] = path.stat().st_size, 100
    with pytest.warns(RuntimeWarning, match="1 record.*kept in memory: .*No space left.*next record tries again"):
        assert running(1)
    assert path.stat().st_size == size  # what had been written of it is taken back
    with pytest.warns(RuntimeWarning, match="2 record"):
        running(2)
    assert load(path).steps.tolist() == [0] and running.history.steps.tolist() == [0, 1, 2]
    room[0] = 10**9
    running(3)
    assert load(path).steps.tolist() == [0, 1, 2, 3]


def test_an_interrupt_while_a_record_is_written_takes_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, room = tmp_path / "h", [10**9]
    monkeypatch.setattr(store, "open", lambda *a, **k: Full(open(*a, **k), room, KeyboardInterrupt()), raising=False)
    running = tracker(path)
    running(0)
    size, room[0] = path.stat().st_size, 100
    with pytest.raises(KeyboardInterrupt):
        running(1)
    assert path.stat().st_size == size and load(path).steps.tolist() == [0]
    room[0] = 10**9
    running.close()  # and is written by what comes next
    assert load(path).steps.tolist() == [0, 1]


def test_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "h"
    tracker(path)(0)
    content = path.read_bytes()
    for other, says in (
        ({"net": model(5)}, "model: there"),
        ({"at": grid(points=4)}, "probes: there|columns: there"),
        ({"at": grid((-1, 1.5), points=3)}, "the points of the probes"),
        ({"quantities": "entropy"}, "columns: there"),
        ({"dtype": torch.float64}, "settings: there"),
    ):
        with pytest.raises(InvalidInput, match=f"is of another run .*{says}"):
            tracker(path, **other)  # type: ignore[arg-type]
        assert path.read_bytes() == content
    note = tmp_path / "note.txt"
    note.write_text("dear diary")
    for act in (lambda: load(note), lambda: tracker(note)):
        with pytest.raises(InvalidInput, match="not a history of infgeo"):
            act()
    assert note.read_text() == "dear diary"
    with pytest.raises(InvalidInput, match="cannot read"):
        load(tmp_path / "nothing")
    for end in (30, len(content) // 4):
        note.write_bytes(content[:end])
        with pytest.raises(InvalidInput, match="damaged or truncated"):
            load(note)
    note.write_bytes(b"")
    tracker(note)(0)  # an empty file that someone has made for us
    assert len(load(note)) == 1


def test_a_damaged_record_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "h"
    running = tracker(path)
    for step in range(3):
        running(step)
    content = bytearray(path.read_bytes())
    content[-store.record_dtype(running._columns).itemsize - 40] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="1 of 3 records are damaged"):
        assert load(path).steps.tolist() == [0, 2]


def test_a_file_that_is_removed_or_replaced_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "h"
    running = tracker(path)
    running(0)
    path.unlink()
    running(1)
    assert load(path).steps.tolist() == [1]
    path.write_bytes(b"another file, long enough to be mistaken for a header of a history, perhaps")
    with pytest.warns(RuntimeWarning, match="not the file of this run"):
        running(2)
    assert path.read_bytes().startswith(b"another file")


def test_the_path_is_that_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    running = tracker(Path("h"))
    assert len(load("h")) == len(running.history) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    running(0)
    assert len(load("../h")) == 1


def test_a_path_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tracker("~/h").record(0)
    assert (tmp_path / "h").is_file() and len(load("~/h")) == 1
    with pytest.raises(InvalidInput, match="path is None; pass a path"):
        load(None)  # type: ignore[arg-type]


def test_trackers_of_one_run_may_share_a_file(tmp_path: Path) -> None:
    first, second = tracker(tmp_path / "h"), tracker(tmp_path / "h")
    for step in range(4):
        (first if step % 2 else second)(step)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path / "h").steps.tolist() == [0, 1, 2, 3]
