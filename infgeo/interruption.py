"""Ctrl-C and SIGTERM, which schedulers send: one request to stop, after which what is finished is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any


def ignored(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the handler of worker processes, whose signals are the parent's to handle."""


# The handlers that may be replaced; whoever has installed another one has their own wishes.
_REPLACED: dict[int, tuple[Any, ...]] = {
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, signal.default_int_handler, ignored),
}


@contextmanager
def _replaced(handlers: dict[int, Any]) -> Iterator[None]:
    """Replace Python's own handlers of signals inside the block, in the main thread, where signals arrive."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if signal.getsignal(number) in _REPLACED[number]:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def termination_as_interrupt() -> AbstractContextManager[None]:
    """Let SIGTERM raise KeyboardInterrupt inside the block, as Ctrl-C does."""
    return _replaced({signal.SIGTERM: signal.default_int_handler})


class Interruption:
    """Ctrl-C or SIGTERM as a request: the first is noted in `requested`, the second interrupts."""

    def __init__(self) -> None:
        self.requested = False
        self._handlers = _replaced(dict.fromkeys(_REPLACED, self._note))

    def __enter__(self) -> "Interruption":
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.__exit__(*error)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
