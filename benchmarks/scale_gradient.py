"""Claim: a kernel with its gradient by the scales costs a few times scikit-learn's Matern kernel with its own.

The Gram matrix of 500 points and its derivatives by weight_std and bias_std, one layer of erf or ReLU at most 5 times
Matern 5/2 with the derivative by its length scale, GELU and three layers at most 15 times; at least 10 times faster
than forward differentiation in torch.
Times alternate, and medians of their ratios are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.gaussian_process.kernels import Matern
from torch.autograd import forward_ad

import infgeo
from infgeo.adapters.sklearn import InfiniteWidthKernel

NETWORKS = (("erf", 1, "nngp"), ("relu", 1, "nngp"), ("relu", 1, "ntk"), ("gelu", 1, "nngp"), ("relu", 3, "ntk"))


def by_torch(activation, depth, kind, X):
    """Return the value and, for each scale, the derivative by one pass of forward differentiation."""
    mlp, points, results = infgeo.MLP(activation, depth=depth), torch.from_numpy(X), []
    for i in range(2):
        with forward_ad.dual_level():
            scales = [torch.ones((), dtype=torch.float64) for _ in range(2)]
            scales[i] = forward_ad.make_dual(scales[i], torch.ones((), dtype=torch.float64))
            geo = mlp.numeric(*scales, backend="torch")
            results.append(forward_ad.unpack_dual((geo.kernel if kind == "nngp" else geo.ntk)(points)))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)  # forward differentiation's own
    torch.set_num_threads(1)
    X = np.random.default_rng(0).standard_normal((options.points, 10))
    for network in NETWORKS:
        activation, depth, kind = network
        kernel = InfiniteWidthKernel(activation, depth=depth, kind=kind)
        functions = (
            lambda: Matern(nu=2.5)(X, eval_gradient=True),
            lambda kernel=kernel: kernel(X),
            lambda kernel=kernel: kernel(X, eval_gradient=True),
            lambda network=network: by_torch(*network, X),
        )
        times: list[list[float]] = [[] for _ in functions]
        for function in functions:
            function()
        for _ in range(options.runs):
            for function, own in zip(functions, times, strict=True):
                start = time.perf_counter()
                function()
                own.append(time.perf_counter() - start)
        value, gradient, derived = (
            statistics.median(t / unit for t, unit in zip(own, times[0], strict=True)) for own in times[1:]
        )
        print(
            f"{activation}, {depth} layers, {kind}: {gradient:.1f} times Matern with its gradient (the value alone"
            f" {value:.2f}), by forward differentiation in torch {derived:.0f}"
        )


if __name__ == "__main__":
    main()
