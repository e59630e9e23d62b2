"""Claim: log volume in a loss costs at most 3 times what the forward pass and the Jacobian cost.

The Jacobian is torch's own, jacfwd over vmap, of the same module at the same points, without a graph; the loss is
the variance of the log volume with its backward pass. Both alternate, in CPU time of one thread: what counts is the
ratio of medians. R, which needs second derivatives, is held against the same by its Hessian, for information. Exit
status 1 if the claim does not hold.

    python benchmarks/in_loss.py [--repeats 30]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy
import torch
from torch import nn
from torch.func import jacfwd, vmap

from infgeo.finite import log_volume, ricci_scalar

LIMIT = 3.0
NETWORKS = {
    "[2, 250, 2] on 400 points": (nn.Sequential(nn.Linear(2, 250), nn.Sigmoid(), nn.Linear(250, 2)), 400, 2),
    "[2, 100, 100, 100] on 400 points": (
        nn.Sequential(*(part for m in (2, 100, 100) for part in (nn.Linear(m, 100), nn.Tanh()))),
        400,
        2,
    ),
    "[10, 200, 200] on 100 points": (
        nn.Sequential(nn.Linear(10, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh()),
        100,
        10,
    ),
}


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def plain(model: nn.Module, x: torch.Tensor, second: bool) -> None:
    """Pass forward and take the Jacobian, or with `second` the Hessian, without a graph."""
    with torch.no_grad():
        model(x)
        vmap(jacfwd(jacfwd(model) if second else model))(x)


def in_loss(geometry: Callable[..., torch.Tensor], model: nn.Module, x: torch.Tensor) -> None:
    """Take the variance of the geometry, and its gradient."""
    model.zero_grad()
    geometry(model, x).var().backward()


def main() -> int:
    """Print the ratios; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    worst = 0.0
    for name, (model, points, d) in NETWORKS.items():
        x = torch.randn(points, d)

        for title, geometry, second in (("log volume", log_volume, False), ("R", ricci_scalar, True)):
            if second and d > 2:
                continue
            without = partial(plain, model, x, second)
            within = partial(in_loss, geometry, model, x)
            within()
            pairs = numpy.array([(seconds(without), seconds(within)) for _ in range(repeats)])
            ratio = numpy.median(pairs[:, 1]) / numpy.median(pairs[:, 0])
            print(f"{name:34} {title:10} {1e3 * numpy.median(pairs[:, 1]):8.2f} ms  {ratio:5.2f} times")
            worst = max(worst, 0.0 if second else ratio)
    print(f"claim, at most {LIMIT:g} times: {'holds' if worst <= LIMIT else 'does not hold'}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
