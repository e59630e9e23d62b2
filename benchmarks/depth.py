"""Claim: ten layers cost at most 12 times one layer, for every function of the numeric geometry.

Medians of processor time in NumPy, of runs that alternate between the depths; "over" marks what exceeds the claim.
Pairwise functions take 400 points, the others 20000; `--points` sets another number for the latter.

A layer of the curvature of erf takes some 50 array operations, counted from the emitted source and printed.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import time

import numpy as np

import infgeo

POINTWISE = {"metric": "_metric_parts", "volume_element": "_metric_parts", "ricci_scalar": "_ricci_scalar"}
PAIRWISE = ("kernel", "ntk", "kernel_distance")
DEPTHS = (1, 2, 10)
LIMIT = 12


def operations(source: str, name: str) -> int:
    """Return how many array operations a function of an emitted module has."""
    function = next(node for node in ast.parse(source).body if getattr(node, "name", "") == name)
    arrays, count = {function.args.args[0].arg}, 0
    for line in function.body:
        names = {node.id for node in ast.walk(line) if isinstance(node, ast.Name)}
        if isinstance(line, ast.Assign) and names & arrays:
            arrays.add(line.targets[0].id)
        for node in ast.walk(line) if isinstance(line, (ast.Assign, ast.Return)) else ():
            of_array = any(isinstance(part, ast.Name) and part.id in arrays for part in ast.walk(node))
            count += of_array and isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Call))
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--points", type=int, default=20000)
    options = parser.parse_args()
    points = np.random.default_rng(0).standard_normal((max(options.points, 400), 3))
    for activation in ("erf", "relu", "gelu"):
        geometries = [infgeo.MLP(activation, depth=depth).numeric() for depth in DEPTHS]
        for name in (*POINTWISE, *PAIRWISE):
            X = points[: options.points] if name in POINTWISE else points[:400]
            functions = [getattr(geometry, name) for geometry in geometries]
            times: list[list[float]] = [[] for _ in DEPTHS]
            for function in functions:
                function(X)
            for _ in range(options.runs):
                for function, kept in zip(functions, times, strict=True):
                    start = time.thread_time()
                    function(X)
                    kept.append(time.thread_time() - start)
            one, two, ten = (statistics.median(kept) for kept in times)
            counted = ""
            if name in POINTWISE:
                first, last = (operations(geometries[i].source, POINTWISE[name]) for i in (0, -1))
                counted = f"; {first} and {last} array operations"
            print(
                f"{activation:5} {name:16} depth 1 {1e3 * one:7.2f} ms; depth 10: {ten / one:4.1f} times that,"
                f" {ten / two:4.1f} times depth 2{counted}{'; over' if ten > LIMIT * one else ''}"
            )


if __name__ == "__main__":
    main()
