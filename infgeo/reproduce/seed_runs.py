"""Run the seeds of a figure, side by side where that helps; finished ones are kept whatever happens."""

import hashlib
import importlib
import json
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from infgeo import __version__
from infgeo.errors import InfgeoError
from infgeo.finite.evaluation import threads
from infgeo.interruption import termination_as_interrupt
from infgeo.processes import process_context, worker_pool
from infgeo.report_text import json_safe
from infgeo.reproduce.record import SeedResult, load_seed, save_seed

_POLLED = 0.2  # seconds between two looks at what the workers say

# Set in worker processes: whether the parent has asked them to stop (training looks at it after every step), and where
# they say how far they are.
_stop: Any = None
_said: Any = None
# torch's random state and its number of threads belong to the process: threads of one take seeds in turn.
_ONE_AT_A_TIME = threading.Lock()

Progress = Callable[[int, str, int, int], object]  # seed, what is trained, epochs done, epochs


@dataclass(frozen=True)
class Place:
    """Where one seed works: its folder (checkpoints), the device, where data files are, and threads of torch.

    `progress` is told of every epoch; files of data must be the published ones where `verify`.
    """

    folder: Path
    device: str = "cpu"
    data: str | None = None
    threads: int = 1
    progress: Progress | None = None
    verify: bool = True


class Stopped(Exception):
    """A seed was interrupted; what it had is in its checkpoint."""


def check_stop(*_: Any) -> None:
    """Raise KeyboardInterrupt where the parent has been interrupted. It is a callback of training, too."""
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt


def key_of(settings: Any, place: Place) -> str:
    """Return what a kept seed must agree in: the settings, the device and infgeo's version."""
    parts = [type(settings).__name__, json_safe(settings), place.device.split(":")[0], place.data, __version__]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def run_seed(module: str, settings: Any, seed: int, place: Place) -> SeedResult:
    """Return one seed's result: the kept one, or measured now and kept. Raises Stopped on an interrupt."""
    key = key_of(settings, place)
    path = place.folder / f"seed-{seed}.npz"
    figure = importlib.import_module(module)
    kept = load_seed(path, key)
    if kept is not None:
        with suppress(KeyError, TypeError, ValueError, IndexError):  # what lacks a statistic is measured anew
            figure.claims(settings, [kept])
            return kept
    here = replace(place, folder=place.folder / key[:8], progress=_say if _said is not None else place.progress)
    here.folder.mkdir(parents=True, exist_ok=True)
    try:
        with _ONE_AT_A_TIME, termination_as_interrupt(), threads(place.threads):
            check_stop()
            measured = figure.measure(settings, seed, here)
    except KeyboardInterrupt:
        if _stop is not None:
            _stop.set()  # a worker that SIGTERM has reached before its parent begins no other seed
        raise Stopped(f"seed {seed}") from None
    save_seed(path, measured, key)
    return measured


def run_seeds(
    module: str,
    settings: Any,
    places: Mapping[int, Place],
    jobs: int,
    finished: Callable[[SeedResult], None],
    executor: Executor | None = None,
) -> tuple[list[SeedResult], bool]:
    """Return the results in the order of the seeds, the keys of `places`, and whether all were finished.

    `finished` is called with each as it comes. Ctrl-C or SIGTERM stops the others at their next step of training, where
    they write a checkpoint; they go on from it in the next run. What an `executor` has begun is its own to stop.
    """
    done: dict[int, SeedResult] = {}
    results = _results(partial(run_seed, module, settings), places, jobs, module, executor)
    try:
        with termination_as_interrupt(), closing(results):
            for result in results:
                done[result.seed] = result
                finished(result)
    except (Stopped, KeyboardInterrupt):
        pass
    except BrokenProcessPool:
        raise InfgeoError(
            f"a worker process died (out of memory?) after {len(done)} of {len(places)} seeds; these are kept, and "
            "the same call goes on with the others: pass fewer jobs"
        ) from None
    return [done[seed] for seed in places if seed in done], len(done) == len(places)


def _results(
    run: Callable[[int, Place], SeedResult],
    places: Mapping[int, Place],
    jobs: int,
    preload: str,
    executor: Executor | None,
) -> Generator[SeedResult, None, None]:
    """Yield the results as they come, from the executor, from here, or from as many processes as there are jobs."""
    if executor is None and jobs == 1:
        yield from (run(seed, place) for seed, place in places.items())
        return
    progress = next(iter(places.values())).progress
    said: Any = None
    with ExitStack() as stack:
        if executor is None:
            context = process_context((preload,))
            said = context.SimpleQueue()
            executor = stack.enter_context(worker_pool(jobs, context, _begin, (said,)))
        waiting = {executor.submit(run, seed, replace(place, progress=None)) for seed, place in places.items()}
        try:
            while waiting:
                over, waiting = wait(waiting, _POLLED, FIRST_COMPLETED)
                while said is not None and not said.empty():
                    reported = said.get()
                    if progress is not None:
                        progress(*reported)
                yield from (future.result() for future in over)
        finally:
            for future in waiting:
                future.cancel()


def _begin(stop: Any, said: Any) -> None:
    """Prepare a worker: it stops at the parent's wish, and says how far it is."""
    global _stop, _said
    _stop, _said = stop, said


def _say(*progress: Any) -> None:
    _said.put(progress)
