"""Work on any concurrent.futures.Executor: results in order, few in flight, and what a lost worker had done again."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from infgeo.errors import InfgeoError

Item = TypeVar("Item")
_AHEAD = 4  # items in flight for each core


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

    def in_order(self, function: Callable[[Item], Any], items: Sequence[Item]) -> Iterator[Any]:
        """Yield function(item) for every item, in their order."""
        if self.executor is None:
            yield from map(function, items)
            return
        ahead = _AHEAD * (os.cpu_count() or 1)
        pending: deque[tuple[Item, Future[Any] | None]] = deque()
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

    def _submit(self, function: Callable[[Item], Any], item: Item) -> Future[Any] | None:
        if self.executor is None:
            return None
        try:
            return self.executor.submit(function, item)
        except Exception as error:  # broken, or shut down; every library has its own exceptions
            self.executor, self.reason = None, self.reason or _name(error)
            return None

    def _result(self, function: Callable[[Item], Any], item: Item, future: Future[Any] | None) -> Any:
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
