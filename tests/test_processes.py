"""Workers end with their pool, and with their parent, whatever they are at; what they have they may keep."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from infgeo import processes
from infgeo.interruption import ignored, termination_as_interrupt
from infgeo.processes import process_context, worker_pool

ROOT = Path(__file__).parents[1]
LONG = 120.0  # seconds, of work that is not waited for


def kept(path: str) -> None:
    """Work that writes down what it has when it is interrupted."""
    try:
        with termination_as_interrupt():
            Path(path).write_text("begun")
            while True:
                time.sleep(0.01)
    except KeyboardInterrupt:
        Path(path).write_text("kept")


def nothing(_stop, *_):
    """Prepare a worker that has something to keep."""


def test_what_holds_nothing_ends_at_once():
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), worker_pool(2, process_context()) as pool:
        assert pool.submit(abs, -1).result() == 1
        works = [pool.submit(time.sleep, LONG) for _ in range(3)]
        raise KeyboardInterrupt
    assert time.monotonic() - began < LONG / 2 and all(work.done() for work in works)


def test_what_has_something_keeps_it(tmp_path):
    path, began = tmp_path / "state", time.monotonic()
    with worker_pool(1, process_context(), nothing) as pool:
        pool.submit(kept, str(path))
        while not path.exists():
            time.sleep(0.01)
    assert path.read_text() == "kept" and time.monotonic() - began < LONG / 2


class Exited(BaseException):
    """Stands for the end of the process."""


class Parent:
    """Stands for a pipe whose other end was closed."""

    def poll(self, _timeout):
        return True


@pytest.mark.parametrize("orderly", [False, True])
def test_an_idle_worker_ends_without_a_word_of_its_pool(orderly, monkeypatch):
    """What starts processes, and knows which have ended, may have got SIGTERM with them."""

    def end(_status):
        raise Exited

    monkeypatch.setattr(processes.os, "_exit", end)
    monkeypatch.setattr(processes, "_BETWEEN", 0.01)
    before, began, stop = signal.signal(signal.SIGTERM, ignored), time.monotonic(), threading.Event()
    try:
        with pytest.raises(Exited):
            processes._watch(Parent(), stop, orderly)
        if orderly:
            with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
                processes._watch(Parent(), stop, orderly)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stop.is_set() and time.monotonic() - began < processes._LONGEST / 2


SCRIPT = """
import os, sys, time
from infgeo.processes import process_context, worker_pool
if __name__ == "__main__":
    with worker_pool(1, process_context()) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 120).result()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, cwd=ROOT)
    with process.stdout:
        worker = int(process.stdout.readline())
        process.kill()
        process.wait()
    for _ in range(int(LONG / 2 / 0.05)):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{worker}/stat").exists() and Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            break  # nobody has asked for its status yet
        time.sleep(0.05)
    else:
        os.kill(worker, signal.SIGKILL)
        pytest.fail("the worker lives on")


IMPORTING = """
import signal
from infgeo.processes import process_context, worker_pool
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    try:
        with worker_pool(1, process_context(["long"])) as pool:
            pool.submit(abs, 1).result()
    except KeyboardInterrupt:
        print("ours")
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_control_c_ends_what_imports_for_the_workers(tmp_path):
    """It reaches the whole group, and the parent alone has something to say."""
    (tmp_path / "script.py").write_text(IMPORTING)
    (tmp_path / "long.py").write_text(f"import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep({LONG})\n")
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        start_new_session=True,
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=LONG) == ("ours\n", "") and time.monotonic() - began < LONG / 2
