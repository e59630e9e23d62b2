"""Claim: products with a Gram matrix that is never formed run at 80 % of the rate of the blocked Gram matrix or more.

Entries per second, of 20,000 points in 10 dimensions: products of `geo.operator(X)` with one vector and with ten,
against `geo.kernel` of 12,000 of them, written to memory, in the same run and on as many threads. Times alternate, and
the least of each is taken, since a busy machine makes some longer. The peak of traced memory is printed beside the size
of the matrix. `--full` takes 100,000 points.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc

import numpy as np

import infgeo

DIMENSION, GRAM = 10, 12_000


def least(functions: dict, runs: int) -> dict:
    """Return the least time of each function; runs alternate, after one that does not count."""
    times: dict = {name: [] for name in functions}
    for run in range(runs + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if run:
                times[name].append(time.perf_counter() - start)
    return {name: min(own) for name, own in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    N, M = 100_000 if options.full else options.points, min(GRAM, options.points)
    for dtype in ("float64", "float32"):
        X = np.random.default_rng(0).standard_normal((N, DIMENSION)).astype(dtype)
        out = np.ones((M, M), dtype)
        for name in ("erf", "relu"):
            geo = infgeo.MLP(name).numeric(bias_std=0.5)
            operator = geo.operator(X, threads=options.threads)
            V = np.random.default_rng(1).standard_normal((N, 10)).astype(dtype)
            found = least(
                {
                    "gram": lambda geo=geo, X=X, out=out: geo.kernel(X[:M], out=out, threads=options.threads),
                    "1": lambda operator=operator, V=V: operator @ V[:, 0],
                    "10": lambda operator=operator, V=V: operator @ V,
                },
                options.runs,
            )
            tracemalloc.start()
            operator @ V[:, 0]
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            rates = {key: (M if key == "gram" else N) ** 2 / value / 1e6 for key, value in found.items()}
            ratios = [rates[key] / rates["gram"] for key in ("1", "10")]
            print(
                f"{name}, {dtype}, N = {N}, {options.threads} threads: Gram {rates['gram']:.0f}, products with 1 vector"
                f" {rates['1']:.0f} and with 10 {rates['10']:.0f} million entries a second; ratios {ratios[0]:.2f} and"
                f" {ratios[1]:.2f} (at least 0.8); peak {peak / 2**20:.1f} MiB, the matrix has"
                f" {N**2 * X.itemsize / 2**20:.0f}"
            )


if __name__ == "__main__":
    main()
