"""Claim: the Ricci scalar of a one-layer network costs at most 5 times its unavoidable arithmetic.

Task: R on a 40 × 40 grid for one hidden layer of n = 250 erf units, d = 2, float64, one torch thread. Compared, in
alternation in the same run, with

1. the floor: one exponential per unit and point, the product W x, and the two matrix products that g and T need,
   without any allocation; run on all points at once and in blocks that fit the cache, and the faster one counts;
2. automatic differentiation of Christoffel symbols, point by point: the textbook way. It is timed on a few points and
   extrapolated linearly to the grid.

Both sides get the same weights and points; the two curvatures are compared before anything is timed. Medians and
ratios of medians are printed. Exit status 1 if the claim does not hold.

    python benchmarks/finite_ricci.py [--threads 1] [--repeats 200]
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch

import infgeo

WIDTH, SIDE, DIM, LIMIT = 250, 40, 2, 5.0
TIMED_POINTS = 3


def christoffel_ricci(features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """R = g^ij (∂_k Γ^k_ij − ∂_j Γ^k_ik + Γ^k_kl Γ^l_ij − Γ^k_jl Γ^l_ik) at one point."""
    forward, reverse = torch.func.jacfwd, torch.func.jacrev

    def metric(point: torch.Tensor) -> torch.Tensor:
        jacobian = forward(features)(point)
        return jacobian.mT @ jacobian

    def christoffel(point: torch.Tensor) -> torch.Tensor:
        slope = forward(metric)(point)
        lowered = (slope + slope.transpose(1, 2) - slope.permute(2, 0, 1)) / 2
        return torch.einsum("ka,aij->kij", torch.linalg.inv(metric(point)), lowered)

    gamma, slope = christoffel(x), reverse(christoffel)(x)
    ricci = (
        torch.einsum("kijk->ij", slope)
        - torch.einsum("kikj->ij", slope)
        + torch.einsum("kkl,lij->ij", gamma, gamma)
        - torch.einsum("kjl,lik->ij", gamma, gamma)
    )
    return torch.einsum("ij,ij->", torch.linalg.inv(metric(x)), ricci)


def floor_of(weight: torch.Tensor, x: torch.Tensor, block: int) -> Callable[[], None]:
    """Return the unavoidable arithmetic as a function, in blocks of points."""
    columns = weight.T.contiguous()
    pairs = torch.stack([columns[i] * columns[j] for i in range(DIM) for j in range(i, DIM)])
    triples = torch.stack([p * c for p, c in ((pairs[0], columns[0]), (pairs[0], columns[1]),
                                              (pairs[2], columns[0]), (pairs[2], columns[1]))])  # fmt: skip
    points = x.T.contiguous()
    buffers = []
    for part in points.split(block, dim=1):
        z, g, t = (
            torch.empty(rows, part.shape[1], dtype=x.dtype) for rows in (weight.shape[0], len(pairs), len(triples))
        )
        buffers.append((part.contiguous(), z, g, t))

    def run() -> None:
        for part, z, g, t in buffers:
            torch.mm(weight, part, out=z)
            torch.exp(z, out=z)
            torch.mm(pairs, z, out=g)
            torch.mm(triples, z, out=t)

    return run


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Ricci scalar of a one-layer network: time against the floor")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)

    mlp = infgeo.MLP("erf", depth=1)
    network = infgeo.finite.sample_network(mlp, DIM, WIDTH, seed=1)
    weight, bias = network.weights[0].detach(), network.biases[0].detach()
    axis = torch.linspace(-2, 2, SIDE, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)

    def ours() -> torch.Tensor:
        return infgeo.finite.pullback(network, x).ricci_scalar

    def plain_features(point: torch.Tensor) -> torch.Tensor:
        return torch.erf((weight @ point + bias) / math.sqrt(2)) / math.sqrt(WIDTH)

    whole, blocked = floor_of(weight, x, x.shape[0]), floor_of(weight, x, 128)
    sample = list(range(0, x.shape[0], x.shape[0] // TIMED_POINTS))[:TIMED_POINTS]
    mine = ours()
    twin = torch.stack([christoffel_ricci(plain_features, x[i]) for i in sample])
    error = float(((mine[sample] - twin).abs() / twin.abs().clamp(min=1)).max())

    times: dict[str, list[float]] = {"ours": [], "whole": [], "blocked": []}
    for _ in range(options.repeats):
        times["ours"].append(seconds(ours))
        times["whole"].append(seconds(whole))
        times["blocked"].append(seconds(blocked))
    slow = [seconds(lambda i=i: christoffel_ricci(plain_features, x[i])) for i in sample for _ in range(5)]  # type: ignore[misc]

    fast = statistics.median(times["ours"])
    least = min(statistics.median(times[name]) for name in ("whole", "blocked"))
    autodiff = statistics.median(slow) * x.shape[0]
    print(f"{x.shape[0]} points, n = {WIDTH}, d = {DIM}, one layer, erf, float64, {options.threads} torch thread(s)")
    print(f"agreement with the Christoffel twin at {TIMED_POINTS} points: {error:.1e}")
    print(f"floor (1 exp per unit and point, 3 products)  {1e3 * least:9.2f} ms   median of {options.repeats}")
    print(f"infgeo.finite.pullback(...).ricci_scalar      {1e3 * fast:9.2f} ms   median of {options.repeats}")
    print(f"Christoffel symbols by autodiff, per point    {1e3 * autodiff:9.0f} ms   extrapolated from {TIMED_POINTS}")
    print(f"ours / floor    {fast / least:8.2f}   (claim: at most {LIMIT:g})")
    print(f"autodiff / ours {autodiff / fast:8.0f}")
    return 0 if fast <= LIMIT * least and error < 1e-9 else 1


if __name__ == "__main__":
    sys.exit(main())
