"""A pool of worker processes for simulations."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def worker_pool(jobs: int | None) -> Iterator[Executor | None]:
    """Yield an executor with `jobs` processes (default: one for each core at hand), or None for one job.

    The processes are forked from a server that has imported the simulation and started no threads; on an interrupt
    they finish what they are at, and what waits is dropped.
    """
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if jobs == 1:
        yield None
        return
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["infgeo.validation.simulation"])
    # Ctrl-C reaches every process of the terminal: it is the parent's to handle.
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
