"""Claim: what 400 examples teach a network of erf units about a 40 x 40 grid takes under 1 s of CPU.

Of pairs of training points and inputs there are 128 million. The loop that Numba compiles takes at most a third of the
time of the broadcast formulas, gives their values, and adds at most 64 MiB. ReLU has one term a training point, and
takes at most a tenth of the broadcast erf. Gradient flow takes at most ten times the posterior. Medians. Printed
beside: the time of two threads, and that of first calls: before the first one Numba loads, which takes about as long as
the sums. With it the first call is above 1 s.
Exit status 1 if a claim fails.

    python benchmarks/learned.py [--points 400] [--side 40] [--runs 5]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

import infgeo
from infgeo.numeric.learned import closed_form

SECONDS, RATIO, OF_RELU, OF_FLOW, MEMORY = 1.0, 3.0, 10.0, 10.0, 64.0


def medians(function: Callable[[], object], runs: int) -> tuple[float, float]:
    """Return the medians of CPU and wall clock times, in seconds."""
    times = []
    for _ in range(runs):
        cpu, wall = time.process_time(), time.perf_counter()
        function()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return statistics.median(cpu for cpu, _ in times), statistics.median(wall for _, wall in times)


def load_numba() -> None:
    """Load Numba, most of which it does when a function is first called."""
    import numba

    numba.njit(lambda: None)()


def processor() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--side", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((arguments.points, 2)), rng.standard_normal(arguments.points)
    grid = np.stack(np.meshgrid(*[np.linspace(-2, 2, arguments.side)] * 2), -1)
    print(f"{processor()}; {arguments.points} training points, a grid of {arguments.side} x {arguments.side}")
    os.environ["OMP_NUM_THREADS"] = "1"
    erf, relu = (infgeo.learned(infgeo.MLP(name), X, y, 0.1) for name in ("erf", "relu"))
    cpu, wall = medians(load_numba, 1)
    print(f"Numba, to load and to compile what does nothing: {cpu:.2f} s of CPU, {wall:.2f} s")
    for learned in (erf, relu):  # derived and, by the first, read from the cache or compiled
        cpu, wall = medians(lambda learned=learned: learned.metric(grid), 1)
        print(f"{learned.mlp.activation.name}, first call: {cpu:.2f} s of CPU, {wall:.2f} s")
    cpu, one = medians(lambda: erf.metric(grid), arguments.runs)
    volume, _ = medians(lambda: erf.volume_shift(grid), arguments.runs)
    of_relu, _ = medians(lambda: relu.metric(grid), arguments.runs)
    flow = infgeo.learned(infgeo.MLP("erf"), X, y, rule="gradient_flow", time=0.5)
    flow.metric(grid)
    of_flow, _ = medians(lambda: flow.metric(grid), 1)
    tracemalloc.start()
    found = erf.metric(grid)
    memory = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    os.environ["OMP_NUM_THREADS"] = "2"
    _, two = medians(lambda: erf.metric(grid), arguments.runs)
    os.environ["OMP_NUM_THREADS"] = "1"
    closed_form._FEW = sys.maxsize
    plain, _ = medians(lambda: erf.metric(grid), max(1, arguments.runs // 2))
    error = float(np.abs(erf.metric(grid) - found).max() / np.abs(found).max())
    print(f"erf: metric {cpu:.2f} s of CPU, volume shift {volume:.2f} s (claim: under {SECONDS:g})")
    print(f"  broadcast {plain:.2f} s, {plain / cpu:.1f} times as much (claim: at least {RATIO:g})")
    print(f"  they differ by {error:.0e} of the largest value (claim: at most 1e-11)")
    print(f"  two threads {two:.2f} s, one {one:.2f} s; memory {memory:.0f} MiB (claim: at most {MEMORY:g})")
    print(
        f"relu: metric {of_relu:.2f} s of CPU, broadcast erf {plain / of_relu:.0f} times (claim: at least {OF_RELU:g})"
    )
    print(
        f"gradient flow: {of_flow:.2f} s of CPU, {of_flow / cpu:.1f} times the posterior (claim: at most {OF_FLOW:g})"
    )
    holds = of_flow < OF_FLOW * cpu and max(cpu, volume) < SECONDS and plain > RATIO * cpu and memory < MEMORY
    return 0 if holds and plain > OF_RELU * of_relu and error < 1e-11 else 1


if __name__ == "__main__":
    sys.exit(main())
