"""Claim: Gram matrices of 4000 points run at a small multiple of the memory traffic they need.

On one thread, against np.copyto of the result in the same run: erf at most 4.5 times in float64 and 6.5 in float32,
ReLU 5 and 6, NNGP and tangent kernel of ReLU together 9 and 12. Also against a floor, one inverse sine for each pair of
half the matrix, and against torch on the same points. Two threads are at least 1.6 times as fast as one: against two
processes that compute the matrix each, and two threads that compute inverse sines of their own, since a busy machine
gives neither twice the speed. Times alternate, and medians of their ratios are printed. `--large` computes the matrix
of 20000 points in single precision within 8 GiB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable

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


def repeat(ask: multiprocessing.Queue, answer: multiprocessing.Queue, points: int) -> None:
    """Compute a matrix of this process's own whenever asked."""
    X = np.random.default_rng(0).standard_normal((points, DIMENSION))
    geo, out = infgeo.MLP("erf").numeric(), np.ones((points, points))
    geo.kernel(X, out=out, threads=1)
    answer.put(True)
    while ask.get():
        geo.kernel(X, out=out, threads=1)
        answer.put(True)


def gain(points: int, count: int, runs: int) -> None:
    """Print how much faster `count` threads are than one, and what the machine gives to what shares nothing."""
    queues = [(multiprocessing.Queue(), multiprocessing.Queue()) for _ in range(count)]
    for pair in queues:
        multiprocessing.Process(target=repeat, args=(*pair, points), daemon=True).start()
    for _, answer in queues:
        answer.get()

    def processes(number: int) -> Callable[[], None]:
        def run() -> None:
            for ask, _ in queues[:number]:
                ask.put(True)
            for _, answer in queues[:number]:
                answer.get()

        return run

    def sines(number: int) -> Callable[[], None]:
        def work() -> None:
            block = np.full((200, 200), 0.3)
            result = np.empty_like(block)
            for _ in range(400 // number):
                np.arcsin(block, out=result)

        def run() -> None:
            threads = [threading.Thread(target=work) for _ in range(number)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return run

    X = np.random.default_rng(0).standard_normal((points, DIMENSION))
    out = np.ones((points, points))
    functions: dict = {}
    for name in ("erf", "relu"):
        geo = infgeo.MLP(name).numeric()
        functions |= {
            (name, number): lambda geo=geo, number=number: geo.kernel(X, out=out, threads=number)
            for number in (1, count)
        }
    functions |= {("processes", number): processes(number) for number in (1, count)}
    functions |= {("sines", number): sines(number) for number in (1, count)}
    measured = ratios(functions, runs)
    fast = {name: measured[name, 1] / measured[name, count] for name, _ in functions}
    print(
        f"{count} threads, float64: erf {fast['erf']:.2f} and relu {fast['relu']:.2f} times as fast as one;"
        f" {count} processes do {count * fast['processes']:.2f} times the work of one,"
        f" {count} threads of inverse sines {fast['sines']:.2f}"
    )
    for ask, _ in queues:
        ask.put(False)


def large() -> None:
    """Compute a matrix of 1.5 GiB, and print time and the peak of the process's memory."""
    X = np.random.default_rng(0).standard_normal((20000, DIMENSION), dtype=np.float32)
    start = time.perf_counter()
    infgeo.MLP("erf").numeric().kernel(X)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"20000 points, float32: {time.perf_counter() - start:.2f} s, peak {peak:.2f} GiB (limit 8)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    if options.large:
        large()
        return
    N = options.points
    gain(N, options.threads, options.runs)
    import torch

    torch.set_num_threads(1)
    for dtype in (np.float64, np.float32):
        X = np.random.default_rng(0).standard_normal((N, DIMENSION)).astype(dtype)
        out, other, source = (np.ones((N, N), dtype) for _ in range(3))
        block = np.full((200, 200), 0.3, dtype)
        result = np.empty_like(block)

        def floor(inverse_sine, out=out, result=result):
            for i in range(0, N, 200):
                for j in range(i, N, 200):
                    inverse_sine()
                    out[i : i + 200, j : j + 200] = result
                    out[j : j + 200, i : i + 200] = result.T

        def kernel(name, depth, threads, X=X, out=out):
            geo = infgeo.MLP(name, depth=depth).numeric()
            return lambda: geo.kernel(X, out=out, threads=threads)

        def both(name, X=X, out=out, other=other):
            geo = infgeo.MLP(name).numeric()
            return lambda: geo.kernel_and_ntk(X, out=(out, other), threads=1)

        def tensors(name, X=X, out=out):
            geo, points, result = infgeo.MLP(name).numeric(backend="torch"), torch.from_numpy(X), torch.from_numpy(out)
            return lambda: geo.kernel(points, out=result, threads=1)

        tensor, tensor_result = torch.from_numpy(block), torch.from_numpy(result)
        sines = {
            "NumPy": lambda block=block, result=result: np.arcsin(block, out=result),
            "torch": lambda block=tensor, result=tensor_result: torch.asin(block, out=result),
        }
        functions = {"np.copyto": lambda out=out, source=source: np.copyto(out, source)}
        functions |= {f"floor, {name}": lambda sine=sine, floor=floor: floor(sine) for name, sine in sines.items()}
        for name in ("erf", "relu", "gelu"):
            functions |= {f"{name}, {depth} layers": kernel(name, depth, 1) for depth in (1, 3, 10)}
            functions[f"{name}, NNGP and NTK"] = both(name)
            functions[f"{name}, torch"] = tensors(name)
        measured = ratios(functions, options.runs)
        print(f"{dtype.__name__}, {N} points: times np.copyto of the matrix")
        for name, ratio in measured.items():
            print(f"  {name:24} {ratio:6.2f}")
        for name in ("erf", "relu", "gelu"):
            one, three, ten = (measured[f"{name}, {depth} layers"] for depth in (1, 3, 10))
            print(
                f"  {name}: 3 layers {three / one:.1f} times 1, 10 layers {ten / one:.1f} times 1,"
                f" {one / measured['floor, NumPy']:.2f} times the floor of NumPy's inverse sine,"
                f" {one / measured['floor, torch']:.2f} of torch's"
            )
        tracemalloc.start()
        kernel("erf", 1, options.threads)()
        print(f"  extra memory {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB")
        tracemalloc.stop()


if __name__ == "__main__":
    main()
