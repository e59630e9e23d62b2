"""Claim: the Gram matrix of tanh takes at most 25 times that of erf in float64, and 8 times in float32.

Points have variances of order 1 (|x| about 1, sigma_w = sigma_b = 1). On one thread, both in turn, medians of ratios
of times; the largest error against the sums over pairs of nodes on some points, and their cost, are printed too.
"""

from __future__ import annotations

import argparse

import numpy as np
from gram import ratios

import infgeo

LIMITS = {"float64": 25.0, "float32": 8.0}


def main() -> int:
    """Print the ratios and return whether one is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    erf, failed = infgeo.MLP("erf").numeric(), False
    X = np.random.default_rng(0).standard_normal((options.points, 10)) / np.sqrt(10)
    for name in ("tanh", "sigmoid", "softplus", "silu"):
        geo = infgeo.MLP(name).numeric()
        for dtype, limit in LIMITS.items():
            Z = X.astype(dtype)
            functions = {"erf": lambda Z=Z: erf.kernel(Z, threads=1), name: lambda Z=Z, g=geo: g.kernel(Z, threads=1)}
            ratio = ratios(functions, options.runs)[name]
            exact = geo.kernel(X[:300])
            error = np.abs(geo.kernel(Z, threads=1)[:300, :300] - exact).max() / exact.max()
            failed |= name == "tanh" and ratio > limit
            print(f"{name:8} {dtype}: {ratio:5.1f} times erf (tanh: at most {limit:g}), error {error:.1e}")
    few = X[:500]
    sums = ratios({"erf": lambda: erf.kernel(few), "tanh": lambda: infgeo.MLP("tanh").numeric().kernel(few)}, 3)["tanh"]
    print(f"tanh by sums over pairs of nodes, 500 points: {sums:.0f} times erf")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
