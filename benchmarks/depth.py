"""Claim: the cost of the numeric geometry is linear in the depth: ten layers take at most 9 times two layers.

For every function of the geometry in NumPy, medians of runs that alternate between the depths. One layer is printed
too, with 12 times its cost as the mark: metrics and kernels keep it. Volume and R of one layer are single short
formulas, of which ten layers take 15 to 45 times the cost, and distances of GELU pay from the second layer on.
Pairwise functions take 400 points, the others 20000, so that the interpreter's share is small.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import infgeo

POINTWISE = ("metric", "volume_element", "ricci_scalar")
PAIRWISE = ("kernel", "ntk", "kernel_distance")
DEPTHS = (1, 2, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    points = np.random.default_rng(0).standard_normal((20000, 3))
    for activation in ("erf", "relu", "gelu"):
        geometries = [infgeo.MLP(activation, depth=depth).numeric() for depth in DEPTHS]
        for name in (*POINTWISE, *PAIRWISE):
            X = points if name in POINTWISE else points[:400]
            functions = [getattr(geometry, name) for geometry in geometries]
            times: list[list[float]] = [[] for _ in DEPTHS]
            for function in functions:
                function(X)
            for _ in range(options.runs):
                for function, kept in zip(functions, times, strict=True):
                    start = time.perf_counter()
                    function(X)
                    kept.append(time.perf_counter() - start)
            one, two, ten = (statistics.median(kept) for kept in times)
            print(
                f"{activation:5} {name:16} depth 2 {1e3 * two:7.2f} ms; depth 10: {ten / two:4.1f} times depth 2,"
                f" {ten / one:5.1f} times depth 1"
            )


if __name__ == "__main__":
    main()
