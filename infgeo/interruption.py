"""Ctrl-C and SIGTERM, which schedulers send: one request to stop, after which what is finished is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def ignored(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the handler of worker processes, whose signals are the parent's to handle."""


# The handlers that may be replaced; whoever has installed another one has their own wishes.
_REPLACED: dict[int, tuple[Any, ...]] = {
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, signal.default_int_handler, ignored),
}


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt inside the block, as Ctrl-C does.

    Only Python's own handler is replaced, and only in the main thread, where signals arrive.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not _in_main_thread() or before not in _REPLACED[signal.SIGTERM]:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Interruption:
    """Ctrl-C or SIGTERM as a request: the first is noted in `requested`, for the end of a step; the second interrupts.

    Handlers are replaced as by `termination_as_interrupt`.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number, replaced in _REPLACED.items():
            if _in_main_thread() and signal.getsignal(number) in replaced:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
