"""Claim: with no activation of torch does curvature cost more than twice what it costs with GELU, on any route.

For every activation the Ricci scalar of a residual network (differentiated by torch, forward mode over all directions)
and, where it is elementwise, of one layer and of a stack of two (fast routes). GELU is timed in turn with each, in the
same run; of both the least processor time counts. Exit status 1 if the claim does not hold.

    python benchmarks/activations.py [--threads 1] [--repeats 20]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from infgeo.finite import pullback

LIMIT = 2.0
WIDTH = 64
ELEMENTWISE: dict[str, nn.Module] = {
    "CELU": nn.CELU(), "ELU": nn.ELU(), "GELU, tanh": nn.GELU("tanh"), "Hardshrink": nn.Hardshrink(),
    "Hardsigmoid": nn.Hardsigmoid(), "Hardswish": nn.Hardswish(), "Hardtanh": nn.Hardtanh(),
    "LeakyReLU": nn.LeakyReLU(), "LogSigmoid": nn.LogSigmoid(), "Mish": nn.Mish(), "PReLU": nn.PReLU(),
    "RReLU": nn.RReLU(), "ReLU": nn.ReLU(), "ReLU6": nn.ReLU6(), "SELU": nn.SELU(), "SiLU": nn.SiLU(),
    "Sigmoid": nn.Sigmoid(), "Softplus": nn.Softplus(), "Softshrink": nn.Softshrink(), "Softsign": nn.Softsign(),
    "Tanh": nn.Tanh(), "Tanhshrink": nn.Tanhshrink(), "Threshold": nn.Threshold(0.1, 0.2),
}  # fmt: skip
OTHERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "GLU": lambda h: functional.glu(torch.cat((h, h.flip(-1)), -1)),
    "LogSoftmax": nn.LogSoftmax(-1),
    "Softmax": nn.Softmax(-1),
    "Softmin": nn.Softmin(-1),
}


class Residual(nn.Module):
    def __init__(self, act: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(3, WIDTH), nn.Linear(WIDTH, WIDTH), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.act(self.a(x))
        return h + self.act(self.b(h))


def shallow(act: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4 * WIDTH), act)


def deep(act: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, WIDTH), act, nn.Linear(WIDTH, WIDTH), act)


def seconds(module: nn.Module, x: torch.Tensor) -> float:
    start = time.process_time()
    _ = pullback(module, x, singular="nan").ricci_scalar
    return time.process_time() - start


def ratio(build: Callable[[nn.Module], nn.Module], act: nn.Module, x: torch.Tensor, repeats: int) -> float:
    torch.manual_seed(0)
    ours, gelu = (build(a).double().eval() for a in (act, nn.GELU()))
    times = [math.inf, math.inf]
    for _ in range(repeats):
        times = [min(t, seconds(m, x)) for t, m in zip(times, (ours, gelu), strict=True)]
    return times[0] / times[1]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Curvature with each activation of torch against GELU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    x = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    routes = (("residual", Residual), ("one layer", shallow), ("two layers", deep))
    print(f"{'time / that of GELU':22s}" + "".join(f"{name:>12s}" for name, _ in routes))
    worst = 0.0
    for name, act in {**ELEMENTWISE, **OTHERS}.items():
        found = [ratio(b, act, x, options.repeats) for _, b in (routes if name in ELEMENTWISE else routes[:1])]  # type: ignore[arg-type]
        worst = max(worst, *found)
        print(f"{name:22s}" + "".join(f"{r:12.2f}" for r in found), flush=True)
    print(f"largest {worst:.2f} (claim: at most {LIMIT:g})")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
