"""Claims: the Ricci scalar costs little more than its unavoidable arithmetic, on each route of `pullback`.

1. One layer: R on a 40 × 40 grid for n = 250 erf units, d = 2, float64, within 3 times its floor, and 10⁴ times
   faster than automatic differentiation of Christoffel symbols, point by point (timed on a few points, extrapolated
   linearly). Floor: one exponential per unit and point, the product W x, and the two matrix products that g and T need,
   without any allocation; on all points at once and in blocks that fit the cache, and the faster one counts.
2. Three layers of 250: within 5 times the matrix products that carry value, J and H through the network, in place;
   for a network of `sample_network` and for nn.Sequential.
3. Any module: within 3 times torch.func computing J and H alone, for a residual and a convolutional network.

Both sides get the same weights and points, and the curvatures are compared before anything is timed. They alternate in
one run; of each the least time counts, for others use this machine, too. Exit status 1 if a claim does not hold.

    python benchmarks/finite_ricci.py [--threads 1] [--repeats 200]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise

import torch

import infgeo

WIDTH, SIDE, DIM = 250, 40, 2
ONE_LAYER_LIMIT, AUTODIFF_LIMIT, DEEP_LIMIT, GENERAL_LIMIT = 3.0, 1e4, 5.0, 3.0
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


def least(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the least time of each function, called in turn."""
    times = {name: math.inf for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name] = min(times[name], seconds(function))
    return times


def one_layer(repeats: int) -> bool:
    network = infgeo.finite.sample_network(infgeo.MLP("erf", depth=1), DIM, WIDTH, seed=1)
    weight, bias = network.weights[0].detach(), network.biases[0].detach()
    axis = torch.linspace(-2, 2, SIDE, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)

    def ours() -> torch.Tensor:
        return infgeo.finite.pullback(network, x).ricci_scalar

    def plain_features(point: torch.Tensor) -> torch.Tensor:
        return torch.erf((weight @ point + bias) / math.sqrt(2)) / math.sqrt(WIDTH)

    sample = list(range(0, x.shape[0], x.shape[0] // TIMED_POINTS))[:TIMED_POINTS]
    twin = torch.stack([christoffel_ricci(plain_features, x[i]) for i in sample])
    error = float(((ours()[sample] - twin).abs() / twin.abs().clamp(min=1)).max())
    times = least(
        {"ours": ours, "whole": floor_of(weight, x, x.shape[0]), "blocked": floor_of(weight, x, 128)}, repeats
    )
    slow = min(seconds(lambda i=i: christoffel_ricci(plain_features, x[i])) for i in sample for _ in range(5))  # type: ignore[misc]
    fast, floor, autodiff = times["ours"], min(times["whole"], times["blocked"]), slow * x.shape[0]
    print(f"1. {x.shape[0]} points, n = {WIDTH}, d = {DIM}, one layer, erf, float64")
    print(f"   agreement with the Christoffel twin at {TIMED_POINTS} points: {error:.1e}")
    print(f"   floor (1 exp per unit and point, 3 products)  {1e3 * floor:9.2f} ms")
    print(f"   infgeo.finite.pullback(...).ricci_scalar      {1e3 * fast:9.2f} ms")
    print(f"   Christoffel symbols by autodiff, per point    {1e3 * autodiff:9.0f} ms   extrapolated")
    print(f"   ours / floor    {fast / floor:8.2f}   (claim: at most {ONE_LAYER_LIMIT:g})")
    print(f"   autodiff / ours {autodiff / fast:8.0f}   (claim: at least {AUTODIFF_LIMIT:g})")
    return fast <= ONE_LAYER_LIMIT * floor and autodiff >= AUTODIFF_LIMIT * fast and error < 1e-9


def deep(repeats: int, d: int) -> bool:
    sampled = infgeo.finite.sample_network(infgeo.MLP("erf", depth=3), d, WIDTH, seed=1)
    torch.manual_seed(0)
    sizes = (d, WIDTH, WIDTH, WIDTH)
    layers = [m for a, b in pairwise(sizes) for m in (torch.nn.Linear(a, b), torch.nn.Tanh())]
    module = torch.nn.Sequential(*layers).double()
    x = torch.randn(400, d, dtype=torch.float64)
    rows = torch.randn((1 + d + d * (d + 1) // 2) * len(x), WIDTH, dtype=torch.float64)
    weight, out = torch.randn(WIDTH, WIDTH, dtype=torch.float64), torch.empty_like(rows)

    def floor() -> None:
        for _ in range(2):
            torch.mm(rows, weight, out=out)

    holds = True
    for name, features in (("sample_network", sampled), ("nn.Sequential", module)):
        ours = infgeo.finite.pullback(features, x[:5]).ricci_scalar
        general = infgeo.finite.pullback(lambda u, f=features: f(u), x[:5]).ricci_scalar  # type: ignore[misc]
        error = float(((ours - general).abs() / general.abs().clamp(min=1)).max())
        times = least(
            {"ours": lambda f=features: infgeo.finite.pullback(f, x).ricci_scalar, "floor": floor},  # type: ignore[misc]
            repeats,
        )
        ratio = times["ours"] / times["floor"]
        print(
            f"2. {len(x)} points, 3 × {WIDTH}, d = {d}, {name}: {1e3 * times['ours']:.1f} ms, floor "
            f"{1e3 * times['floor']:.1f} ms, ratio {ratio:.2f} (claim: at most {DEEP_LIMIT:g}), agreement {error:.1e}"
        )
        holds &= ratio <= DEEP_LIMIT and error < 1e-9
    return holds


class Residual(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = torch.nn.Linear(3, 128), torch.nn.Linear(128, 128), torch.nn.Linear(128, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.a(x))
        return h + torch.nn.functional.gelu(self.c(h + torch.tanh(self.b(h))))


class Convolutional(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
        self.b, self.head = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Linear(8 * 16, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.norm(self.a(x.reshape(-1, 1, 4, 4))))
        return torch.tanh(self.head((h + torch.tanh(self.b(h))).flatten(1)))


def any_module(repeats: int, kind: type[torch.nn.Module], count: int, d: int) -> bool:
    torch.manual_seed(0)
    module, x = kind().double().eval().requires_grad_(False), torch.randn(count, d, dtype=torch.float64)
    first = torch.func.jacfwd(lambda p: module(p[None])[0])

    def twice(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = first(point)
        return value, value

    def alone() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            hessian, jacobian = torch.func.vmap(torch.func.jacfwd(twice, has_aux=True))(x)
        return jacobian, hessian

    jacobian, hessian = alone()
    gamma = torch.linalg.pinv(jacobian) @ hessian.flatten(2)
    error = float((infgeo.finite.pullback(module, x).christoffel.flatten(2) - gamma).abs().max() / gamma.abs().max())
    times = least({"ours": lambda: infgeo.finite.pullback(module, x).ricci_scalar, "alone": alone}, repeats)
    ratio = times["ours"] / times["alone"]
    print(
        f"3. {count} points, {kind.__name__}, d = {d}: {1e3 * times['ours']:.1f} ms, J and H alone "
        f"{1e3 * times['alone']:.1f} ms, ratio {ratio:.2f} (claim: at most {GENERAL_LIMIT:g}), agreement {error:.1e}"
    )
    return ratio <= GENERAL_LIMIT and error < 1e-9


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Ricci scalar of finite networks: time against floors")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    few = max(3, options.repeats // 20)
    print(f"{options.threads} torch thread(s)")
    results = [
        one_layer(options.repeats),
        *(deep(few, d) for d in (2, 3)),
        any_module(few, Residual, 100, 3),
        any_module(few, Convolutional, 20, 16),
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
