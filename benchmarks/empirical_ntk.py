"""Claim: the tangent kernel of a module of linear layers takes a fifth of the textbook's time and memory, or less.

The textbook is torch.func's: per-sample Jacobians by vmap over jacrev, contracted by einsum, N C P numbers at once.
Each is run in a process of its own, with one thread, which reports CPU seconds (the least of some runs) and the growth
of the largest resident memory. A convolutional network, whose Jacobians are no outer products, takes at most twice the
textbook's time where all fits, and with a memory budget of 16 MiB no more than 100 MiB. Exit status 1 if not.

    python benchmarks/empirical_ntk.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

from infgeo.finite import ntk

SMALL = 16 * 2**20


def linear() -> tuple[nn.Module, torch.Tensor]:
    """Return a network of linear layers, 270,000 parameters, and 40 points."""
    layers = (nn.Linear(784, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10))
    return nn.Sequential(*layers), torch.randn(40, 784)


def convolutional() -> tuple[nn.Module, torch.Tensor]:
    """Return a convolutional network, 95,000 parameters, and 32 images."""
    layers = (
        nn.Conv2d(3, 32, 3),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, stride=2),
        nn.GELU(),
        nn.Conv2d(64, 128, 3, stride=2),
    )
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)), torch.randn(32, 3, 16, 16)


def textbook(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the kernel of all pairs of outputs as torch's tutorial does."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(weights: dict[str, torch.Tensor], point: torch.Tensor) -> torch.Tensor:
        return functional_call(model, weights, (point[None],))[0]

    jacobians = [j.flatten(2) for j in vmap(jacrev(one), (None, 0))(parameters, x).values()]
    return torch.stack([torch.einsum("Naf,Mbf->NMab", j, j) for j in jacobians]).sum(0)


def ours(model: nn.Module, x: torch.Tensor, budget: int = 2**28) -> torch.Tensor:
    """Return the kernel of infgeo."""
    return ntk(model, x, input_shape=tuple(x.shape[1:]), memory_budget=budget)


def measured(
    make: Callable[[], tuple[nn.Module, torch.Tensor]], kernel: Callable[..., torch.Tensor], repeats: int
) -> tuple[float, float, torch.Tensor]:
    """Return CPU seconds, MiB by which the process grew, and the kernel."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = make()
    kernel(model, x[:2])  # what torch loads once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        found = kernel(model, x)
        seconds.append(time.process_time() - began)
    return min(seconds), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, found.double()


def main() -> int:
    """Print the ratios; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    holds = True
    for make in (linear, convolutional):
        rows = {}
        for name, kernel in {"textbook": textbook, "infgeo": ours, "in 16 MiB": partial(ours, budget=SMALL)}.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows[name] = pool.apply(measured, (make, kernel, repeats))
            seconds, grown, found = rows[name]
            error = float((found - rows["textbook"][2]).abs().max() / found.abs().max())
            print(f"{make.__name__:14} {name:10} {seconds:7.3f} s  {grown:7.1f} MiB  differs by {error:.0e}")
        time_ratio = rows["infgeo"][0] / rows["textbook"][0]
        print(f"{make.__name__:14} time, infgeo over textbook: {time_ratio:.3f}")
        if make is linear:
            holds &= time_ratio <= 1 / 5 and rows["infgeo"][1] <= rows["textbook"][1] / 5
        else:
            holds &= time_ratio <= 2 and rows["in 16 MiB"][1] <= 100
    print(f"claim {'holds' if holds else 'does not hold'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
