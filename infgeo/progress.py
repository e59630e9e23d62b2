"""Progress on stderr: a bar where there is a terminal and rich, a line now and then elsewhere."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

STEPS = 5
SECONDS = 10.0  # between two lines on one network


def _bars() -> Any:
    """Return rich's display of bars, or None where there is no terminal or no rich."""
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function progress(done, total)."""
    bars = _bars()
    if bars is not None:
        with bars as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    said = 0

    def line(done: int, total: int) -> None:
        nonlocal said
        step = STEPS * done // total
        if step > said:
            said = step
            print(f"{label}: {done} of {total}", file=sys.stderr, flush=True)

    yield line


@contextmanager
def figures_progress(names: Sequence[str]) -> Iterator[Callable[[str], Callable[[int, str, int, int], None]]]:
    """Yield a function of a figure's name that returns its progress(seed, part, epoch, epochs), all on one display.

    On a terminal (with rich) a bar for each network that is trained, elsewhere a line every so many seconds.
    """
    many = len(names) > 1
    bars = _bars()
    if bars is not None:
        with bars as display:
            figures, tasks = display.add_task("figures", total=len(names), visible=many), {}

            def start(name: str) -> Callable[[int, str, int, int], None]:
                display.update(figures, completed=names.index(name))

                def update(seed: int, part: str, epoch: int, epochs: int) -> None:
                    key = name, seed, part
                    if key not in tasks:
                        tasks[key] = display.add_task(f"{name}, seed {seed}, {part}", total=epochs)
                    display.update(tasks[key], completed=epoch, visible=epoch < epochs)

                return update

            yield start
        return
    said: dict[tuple[str, int, str], float] = {}

    def line(name: str, seed: int, part: str, epoch: int, epochs: int) -> None:
        label = f"{name} ({names.index(name) + 1} of {len(names)})" if many else name
        now = time.monotonic()
        if epoch == epochs or now - said.get((name, seed, part), -math.inf) >= SECONDS:
            said[name, seed, part] = now
            print(f"{label}: seed {seed}, {part}: epoch {epoch} of {epochs}", file=sys.stderr, flush=True)

    yield lambda name: partial(line, name)
