"""The work of a run in fixed items, who does it, and what is kept of the results in the order of the items.

Items depend on the run alone, never on who works on them: with the order fixed, the sums have the same bits for any
number of workers.
"""

import hashlib
import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import torch

from infgeo.arguments import T, positive_integer
from infgeo.errors import InfgeoError
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.replicate import ReplicateTask, finish, run_blocks, run_replicates
from infgeo.finite.running_mean import RunningMean
from infgeo.finite.unit_sums import UnitSums, total

_ITEM_WORK = 2**22  # units × points (and their pairs in deep networks): some 20 ms
SECONDS = 10.0  # between two writings of a checkpoint
_MOST_ITEMS = 64  # of the replicates of a run, where they are small: enough for many workers
_AHEAD = 4  # items in flight for each core

# Replicates first ... last − 1 and, in networks of several blocks, blocks low ... high − 1 of replicate `first`.
Item = tuple[int, int, int, int]


def items_of(task: ReplicateTask, samples: int) -> list[Item]:
    """Cut a run into items: groups of small networks, or ranges of blocks of large ones."""
    points, d = task.x.shape
    if task.blocks > 1:
        step = max(1, _ITEM_WORK // (task.block * points))
        ranges = [(low, min(low + step, task.blocks)) for low in range(0, task.blocks, step)]
        return [(i, i + 1, low, high) for i in range(samples) for low, high in ranges]
    work = task.width * (points + d)
    if not task.is_sum:
        work *= task.width * d // 8 + 1
    step = max(1, min(-(-samples // _MOST_ITEMS), _ITEM_WORK // work))
    return [(i, min(i + step, samples), 0, 1) for i in range(0, samples, step)]


def _take_in(means: dict[str, RunningMean], later: Mapping[str, Any]) -> None:
    """Take later replicates into the means: values with them on the first axis, or other means."""
    for name, value in later.items():
        mean = means.setdefault(name, RunningMean(log=name == "log_mean_det_metric"))
        (mean.add if isinstance(value, torch.Tensor) else mean.merge)(value)


@plain_torch()
def run_item(task: ReplicateTask, item: Item) -> dict[str, RunningMean] | dict[int, UnitSums]:
    """Return what a worker hands back: means over replicates, or sums over blocks of one replicate by half."""
    if multiprocessing.parent_process() is not None:
        # OpenMP's threads do not survive a fork, and more than one for each worker would compete.
        torch.set_num_threads(1)
    first, last, low, high = item
    if task.blocks > 1:
        return run_blocks(task, first, (low, high))
    means: dict[str, RunningMean] = {}
    for values in run_replicates(task, first, last):
        _take_in(means, values)
    return means


def run_pickled(task: ReplicateTask, item: Item) -> bytes:
    """Return the same by value, not as torch does between processes: shared memory goes with the one that made it."""
    return pickle.dumps(run_item(task, item))


class Reduction:
    """The state of a run after its first `done` items: all that a checkpoint keeps."""

    def __init__(self, task: ReplicateTask, items: list[Item]) -> None:
        self.task, self.items, self.done = task, items, 0
        self.means: dict[str, RunningMean] = {}
        self.sums: dict[int, UnitSums] = {}  # of the replicate that is under way

    def add(self, result: Any) -> None:
        """Take in the result of the next item, as it is or pickled."""
        result = pickle.loads(result) if isinstance(result, bytes) else result
        index, _, _, high = self.items[self.done]
        if self.task.blocks == 1:
            _take_in(self.means, result)
        else:
            for half, sums in result.items():
                self.sums[half] = total([self.sums[half], sums]) if half in self.sums else sums
            if high == self.task.blocks:
                _take_in(self.means, finish(self.task, index, [self.sums[half] for half in sorted(self.sums)]))
                self.sums = {}
        self.done += 1

    @property
    def progress(self) -> tuple[int, int]:
        """Networks done and in all; blocks where a network is of several."""
        blocks, done, whole = self.task.blocks, self.items[self.done - 1], self.items[-1]
        return (done[1], whole[1]) if blocks == 1 else (done[0] * blocks + done[3], whole[1] * blocks)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: the means by name, and the sums of the network at hand by half."""
        means = {name: mean.state for name, mean in self.means.items()}
        return {"means": means, "sums": {half: (one.units, one.kernel, one.packed) for half, one in self.sums.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state after `step` items; raises for a state that no run of this task has."""
        done = positive_integer(state["step"], "the number of items done", minimum=0, maximum=len(self.items))
        index, last, _, high = self.items[done - 1] if done else (0, 0, 0, 0)
        complete = last if self.task.blocks == 1 or high == self.task.blocks else index
        means: dict[str, RunningMean] = {}
        for name, part in state["means"].items():
            means[name] = RunningMean(name == "log_mean_det_metric", *part)
            known = name.removeprefix("corrected ") in self.task.quantities
            if not known or means[name].count != complete or not means[name].is_whole:
                raise ValueError(f"{name} is no mean over {complete} networks")
        sums = {half: UnitSums(*part) for half, part in state["sums"].items()}
        if bool(means) != bool(complete) or not set(sums) <= {0, 1}:
            raise ValueError("the means or sums are not those of the items done")
        self.done, self.means, self.sums = done, means, sums


def describe(reduction: Reduction, samples: int) -> dict[str, Any]:
    """Return what a run is identified by: a file of another run is refused."""
    task = reduction.task
    return {
        "network": repr(task.specification),
        "x": hashlib.sha256(repr(task.x.shape).encode() + task.x.tobytes()).hexdigest(),
        **{name: getattr(task, name) for name in ("width", "sampler", "seed", "bias_correction")},
        "samples": samples,
        "quantities": list(task.quantities),
        "dtype": str(task.dtype),
        "items": len(reduction.items),
    }


class Workers:
    """Runs items on an executor, or here without one.

    An item whose worker was lost (BrokenProcessPool, KilledWorker, a cancelled future) is submitted once more, and then
    done here; once the executor takes no more work, all that is left is done here. What had finished is kept. An error
    of the item itself comes up when it is done here; those of infgeo come up at once. `lost` says what happened.
    """

    def __init__(self, executor: Executor | None) -> None:
        self.executor = executor
        self.again = 0
        self.reason = ""

    @property
    def lost(self) -> tuple[str, ...]:
        """A sentence on work that had to be done again, if any."""
        if not self.reason:
            return ()
        return (f"a worker was lost ({self.reason}): {self.again} piece(s) of work were done again; none is missing",)

    def in_order(self, function: Callable[[T], Any], items: Sequence[T]) -> Iterator[Any]:
        """Yield function(item) for every item, in their order."""
        if self.executor is None:
            yield from map(function, items)
            return
        ahead = _AHEAD * (os.cpu_count() or 1)
        pending: deque[tuple[T, Future[Any] | None]] = deque()
        try:
            for item in items:
                pending.append((item, self._submit(function, item)))
                if len(pending) > ahead:
                    yield self._result(function, *pending.popleft())
            while pending:
                yield self._result(function, *pending.popleft())
        finally:
            for _, future in pending:
                if future is not None:
                    future.cancel()

    def _submit(self, function: Callable[[T], Any], item: T) -> Future[Any] | None:
        if self.executor is None:
            return None
        try:
            return self.executor.submit(function, item)
        except Exception as error:  # broken, or shut down; every library has its own exceptions
            self.executor, self.reason = None, self.reason or _name(error)
            return None

    def _result(self, function: Callable[[T], Any], item: T, future: Future[Any] | None) -> Any:
        for attempt in range(2):
            if future is None:
                break
            try:
                return future.result()
            except InfgeoError:
                raise
            except Exception as error:
                self.reason = _name(error)
                self.again += 1 if attempt == 0 else 0
                future = self._submit(function, item) if attempt == 0 else None
        return function(item)


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
