"""Pools of worker processes that end when they are asked to, or when their parent is gone, whatever they are at."""

import _thread
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from infgeo.interruption import ignored

_BETWEEN = 0.7  # seconds between two interrupts of a worker that is to keep what it has
_LONGEST = 10.0  # seconds until a worker ends that does not heed them, in a long call of a library

Context = Any  # multiprocessing.context.BaseContext


def process_context(preload: Sequence[str] = ()) -> Context:
    """Return what starts processes: copies of a server that has imported `preload` and started no threads."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if preload and "forkserver" in methods:
        context.set_forkserver_preload(["infgeo.silent_interrupt", *preload])
    return context


@contextmanager
def worker_pool(
    jobs: int, context: Context, begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[Executor]:
    """Yield an executor of `jobs` processes. When the block ends, what waits is dropped and they end.

    Ctrl-C and SIGTERM may reach every process of a group: they are the parent's to handle. Without `begin` a worker
    holds nothing that is worth keeping, and ends at once. With it, `begin(stop, *arguments)` is called in every worker
    first; when the block ends the event `stop` is set there, and what the worker is at has KeyboardInterrupt raised
    now and then (see `interruption`), so that it can be kept. Both happen, too, when the parent is killed.
    """
    ours, theirs = context.Pipe()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(theirs, begin, arguments))
    try:
        yield pool
    finally:
        ours.send_bytes(b"stop")  # a copy of this end in a process that someone has forked would keep it open
        ours.close()
        pool.shutdown(wait=True, cancel_futures=True)
        theirs.close()


def _begin(parent: Any, begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Prepare a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, ignored)
    stop = threading.Event()
    threading.Thread(target=_watch, args=(parent, stop, begin is not None), daemon=True).start()
    if begin is not None:
        begin(stop, *arguments)


def _watch(parent: Any, stop: threading.Event, orderly: bool) -> None:
    """Wait for the parent to write to the pipe, or to die; then end this process."""
    with suppress(OSError):
        parent.poll(None)  # nobody reads: all workers share this end
    stop.set()
    asked, idle = time.monotonic(), 0
    while orderly and idle < 2 and time.monotonic() - asked < _LONGEST:
        time.sleep(_BETWEEN)
        # Nothing runs that is to be interrupted. The pool would say so, unless SIGTERM has ended what starts processes.
        idle = idle + 1 if signal.getsignal(signal.SIGTERM) is ignored else 0
        _thread.interrupt_main(signal.SIGTERM)
    os._exit(0)


def cores() -> int:
    """Return the number of cores at hand."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
