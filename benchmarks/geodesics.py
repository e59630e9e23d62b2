"""Claim: a geodesic of 64 steps through a decoder of 784 features takes under 1 s on one core.

Between points of the latent plane of a decoder 2 → 256 → 784 with random weights, in float64. In a batch of 256 pairs a
pair takes at most two thirds of its time in a loop, and at most a twentieth of that of the plain alternative in a loop:
L-BFGS of torch on the energy of the same path, whose geodesic is not shorter. What batches cannot save, the decoder's
own products for one gradient of the energy, is printed beside. Exit status 1 if a claim fails.

    python benchmarks/geodesics.py [--threads 1] [--repeats 5] [--pairs 256] [--peers]

With --peers also stochman's and geomstats' geodesics of the same decoder, one pair at a time with their defaults, where
they are installed (geomstats 2.8 needs NumPy before 2.4): infgeo is to be faster, at the same or a smaller length.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch

import infgeo

SECONDS, RATIO, PLAIN, STEPS = 1.0, 1.5, 20.0, 64


def least(function: Callable[[], object], repeats: int) -> float:
    """Return the least of some wall clock times."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def plain(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the path that torch's L-BFGS makes of a straight line, in 200 iterations."""
    t = torch.linspace(0, 1, STEPS + 1, dtype=x.dtype)[1:-1, None]
    inner = (x + t * (y - x)).requires_grad_()
    optimiser = torch.optim.LBFGS([inner], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def energy() -> torch.Tensor:
        optimiser.zero_grad()
        value = module(torch.cat([x[None], inner, y[None]])).diff(dim=0).square().sum() * STEPS
        value.backward()
        return value

    optimiser.step(energy)
    return torch.cat([x[None], inner.detach(), y[None]])


def of_stochman(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the path of stochman: a cubic spline of least energy."""
    from stochman.manifold import EmbeddedManifold

    class Decoded(EmbeddedManifold):
        def embed(self, points: torch.Tensor, jacobian: bool = False) -> torch.Tensor:
            return module(points)

    curve, _ = Decoded().connecting_geodesic(x[None], y[None])
    return curve(torch.linspace(0, 1, STEPS + 1)).detach().reshape(-1, 2)


def of_geomstats(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the path of geomstats: shooting with the geodesic equation."""
    from geomstats.geometry.base import ImmersedSet
    from geomstats.geometry.euclidean import Euclidean

    class Decoded(ImmersedSet):
        def __init__(self) -> None:
            super().__init__(dim=2)

        def _define_embedding_space(self) -> Euclidean:
            return Euclidean(784)

        def immersion(self, point: torch.Tensor) -> torch.Tensor:
            return module(point)

    return Decoded().metric.geodesic(x, end_point=y)(torch.linspace(0, 1, STEPS + 1)).detach().reshape(-1, 2)


def against(name: str, path: Callable, module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> bool:
    """Print time and length of another package's geodesics beside ours; return whether ours are no worse."""
    paths: list[torch.Tensor] = []
    torch.set_default_dtype(torch.float64)
    try:
        theirs = least(lambda: paths.append(torch.stack([path(module, *pair) for pair in zip(x, y, strict=True)])), 1)
    except ImportError as error:
        print(f"{name}: not measured ({error})")
        return True
    finally:
        torch.set_default_dtype(torch.float32)
    ours = least(lambda: [infgeo.finite.geodesic(module, *pair) for pair in zip(x, y, strict=True)], 1)
    lengths = infgeo.finite.geodesic(module, x, y).length / infgeo.finite.path_length(module, paths[0])
    print(f"{name}: {theirs / len(x):.2f} s a pair, {theirs / ours:.1f} times ours; our lengths over theirs", end=" ")
    print(" ".join(f"{float(value):.5f}" for value in lengths))
    return ours < theirs and float(lengths.max()) < 1 + 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--peers", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    layers = (torch.nn.Linear(2, 256), torch.nn.Tanh(), torch.nn.Linear(256, 784), torch.nn.Sigmoid())
    module = torch.nn.Sequential(*layers).double().requires_grad_(False)
    x, y = torch.randn(2, arguments.pairs, 2, dtype=torch.float64)
    alone = least(lambda: infgeo.finite.geodesic(module, x[0], y[0]), arguments.repeats)
    few = range(min(16, arguments.pairs))
    loop = least(lambda: [infgeo.finite.geodesic(module, x[i], y[i]) for i in few], 1) / len(few)
    together = least(lambda: infgeo.finite.geodesic(module, x, y), 2) / arguments.pairs
    peer = least(lambda: [plain(module, x[i], y[i]) for i in few], 1) / len(few)
    points = x.repeat(STEPS, 1).requires_grad_()
    floor = least(lambda: torch.autograd.grad(module(points).square().sum(), points), 3) / arguments.pairs
    found = infgeo.finite.geodesic(module, x, y)
    rival = infgeo.finite.path_length(module, torch.stack([plain(module, x[i], y[i]) for i in range(8)]))
    longer = float((found.length[:8] / rival - 1).max())
    print(f"one pair: {alone:.3f} s (claim: under {SECONDS:g} s); L-BFGS of torch {peer:.3f} s")
    print(f"per pair in a loop {1e3 * loop:.0f} ms, in a batch of {arguments.pairs} {1e3 * together:.0f} ms:")
    print(f"  ratio {loop / together:.1f} (claim: at least {RATIO:g})")
    print(f"  ratio to L-BFGS of torch in a loop {peer / together:.1f} (claim: at least {PLAIN:g})")
    print(f"  one gradient of a path, decoder alone, in a batch: {1e3 * floor:.1f} ms")
    print(f"length over that of torch's path − 1: at most {longer:.1e} (claim: at most 1e-7)")
    done, residual = int(found.converged.sum()), float(found.residual.max())
    print(f"converged: {done} of {arguments.pairs}; residual up to {residual:.1e}")
    holds = alone < SECONDS and loop >= RATIO * together and peer >= PLAIN * together
    holds = holds and longer < 1e-7 and bool(found.converged.all())
    if arguments.peers:
        for name, path in (("stochman", of_stochman), ("geomstats", of_geomstats)):
            holds &= against(name, path, module, x[:4], y[:4])
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
