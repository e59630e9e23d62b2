"""Claim: Gram matrices of 4000 points run at a small multiple of the memory traffic they need.

On one thread, against np.copyto of the result in the same run: erf at most 8 times in float64 and 7 in float32, ReLU at
most 10, NNGP and tangent kernel of ReLU together at most 13; three layers at most 3 times one layer, ten at most 12;
extra memory under 64 MiB. Also against the floor of one inverse sine for each pair of half the matrix, written
to both halves. Times alternate, and medians of their ratios are printed. With `--threads 2` the gain of two threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc

import numpy as np

import infgeo

DIMENSION = 10


def ratios(functions: dict, runs: int) -> dict[str, float]:
    """Return the median over runs of the time of each function, in units of the first one."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    first = times[next(iter(times))]
    return {
        name: statistics.median(t / unit for t, unit in zip(own, first, strict=True)) for name, own in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    N = options.points
    for dtype in (np.float64, np.float32):
        X = np.random.default_rng(0).standard_normal((N, DIMENSION)).astype(dtype)
        out, other, source = (np.ones((N, N), dtype) for _ in range(3))
        block = np.full((200, 200), 0.3, dtype)
        result = np.empty_like(block)

        def floor(out=out, block=block, result=result):
            for i in range(0, N, 200):
                for j in range(i, N, 200):
                    np.arcsin(block, out=result)
                    out[i : i + 200, j : j + 200] = result
                    out[j : j + 200, i : i + 200] = result.T

        def kernel(name, depth, threads, X=X, out=out):
            geo = infgeo.MLP(name, depth=depth).numeric()
            return lambda: geo.kernel(X, out=out, threads=threads)

        def both(name, X=X, out=out, other=other):
            geo = infgeo.MLP(name).numeric()
            return lambda: geo.kernel_and_ntk(X, out=(out, other), threads=1)

        functions = {"np.copyto": lambda out=out, source=source: np.copyto(out, source), "floor": floor}
        for name in ("erf", "relu", "gelu"):
            functions |= {f"{name}, {depth} layers": kernel(name, depth, 1) for depth in (1, 3, 10)}
            functions[f"{name}, {options.threads} threads"] = kernel(name, 1, options.threads)
            functions[f"{name}, NNGP and NTK"] = both(name)
        measured = ratios(functions, options.runs)
        print(f"{dtype.__name__}, {N} points: times np.copyto of the matrix")
        for name, ratio in measured.items():
            print(f"  {name:24} {ratio:6.2f}")
        for name in ("erf", "relu", "gelu"):
            one, three, ten = (measured[f"{name}, {depth} layers"] for depth in (1, 3, 10))
            print(
                f"  {name}: 3 layers {three / one:.1f} times 1, 10 layers {ten / one:.1f} times 1,"
                f" {options.threads} threads {one / measured[f'{name}, {options.threads} threads']:.2f} times as fast,"
                f" {one / measured['floor']:.2f} times the floor of the inverse sine"
            )
        tracemalloc.start()
        kernel("erf", 1, options.threads)()
        print(f"  extra memory {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB")
        tracemalloc.stop()


if __name__ == "__main__":
    main()
