"""Claims: the geometry of ResNet-34's pooled features (n = 512, d = 3072, GELU, float32) on a line of 64, on a CPU.

1. The log volume element (n < d: the log pseudo volume, Σ log of the 512 singular values of J) is at least 3 times
   faster than one `torch.autograd.functional.jacobian(..., create_graph=True)` a point.
2. Its peak memory is at most a third of that.
3. The length element along the line (`pullback_slice`) is at least 50 times faster a point than the full Jacobian of 1.

Each side runs in a process of its own; memory is its largest resident set, less what it held after one forward pass.
The peer is measured on one point, the full Jacobian on `--points` points (with all its checks, which the whole line
would share), the slice on all 64; the times are scaled to the line. The results are compared before any ratio counts.
Exit status 1 if a claim does not hold. The peer needs 7 GB. Both sides of 1 are nine tenths convolutions: on one thread
the ratio is bounded by that of torch's convolutions on one image and on many, and stays below 3 (2.8; 2.3 by CPU time).

    python benchmarks/resnet_jacobian.py [--threads N] [--points 2]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
import warnings

import torch

from infgeo.finite import pullback, pullback_slice
from infgeo.training import resnet34

LINE, SHAPE = 64, (3, 32, 32)
FASTER, MEMORY, SLICE = 3.0, 3.0, 50.0


def setting() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """Return the network in eval mode, and the ends of the line."""
    model = resnet34("gelu", seed=0).eval()
    ends = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    return model, ends[0], ends[1]


def peer(_points: int) -> list[float]:
    model, start, _ = setting()
    features = torch.nn.Sequential(*list(model.children())[:-1])  # without the readout
    jacobian = torch.autograd.functional.jacobian(lambda x: features(x[None])[0], start, create_graph=True)
    return [float(torch.linalg.svdvals(jacobian.detach().reshape(512, -1).double()).log().sum())]


def full(points: int) -> list[float]:
    model, start, end = setting()
    line = start + torch.linspace(0, 1, LINE)[:points, None, None, None] * (end - start)
    return pullback(model, line, layer="pool", input_shape=SHAPE).log_pseudo_volume.tolist()


def slice_(points: int) -> list[float]:
    model, start, end = setting()
    t = torch.linspace(0, 1, LINE)[:points, None]
    return pullback_slice(model, t, start, [end - start], layer="pool", input_shape=SHAPE).log_volume_element.tolist()


def direct(_points: int) -> list[float]:
    """The slice's first point, from the full Jacobian."""
    model, start, end = setting()
    jacobian = pullback(model, start[None], layer="pool", input_shape=SHAPE)
    return [
        0.5 * math.log(float((end - start).flatten().double() @ jacobian.metric[0] @ (end - start).flatten().double()))
    ]


SIDES = {"peer": peer, "full": full, "slice": slice_, "direct": direct}


def child(side: str, points: int, threads: int) -> None:
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    model, start, _ = setting()
    with torch.no_grad():
        model(start[None])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    values = SIDES[side](points)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # Linux counts KiB
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "values": values}))


def measured(side: str, points: int, threads: int) -> dict[str, float | list[float]]:
    command = [sys.executable, __file__, "--side", side, "--points", str(points), "--threads", str(threads)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Jacobians of ResNet-34: time and memory against plain autograd")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument("--points", type=int, default=2)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.side:
        child(options.side, options.points, options.threads)
        return 0
    counts = {"slice": LINE, "full": options.points, "peer": 1, "direct": 1}
    results = {side: measured(side, count, options.threads) for side, count in counts.items()}
    print(f"ResNet-34, n = 512, d = 3072, line of {LINE} points, {options.threads} torch thread(s)")
    for side, name in (("peer", "autograd.functional.jacobian"), ("full", "pullback"), ("slice", "pullback_slice")):
        r, count = results[side], counts[side]
        print(
            f"  {name:30s} {r['wall'] / count:8.3f} s a point, {r['cpu'] / count:8.3f} s of CPU, {r['peak']:6.0f} MiB; "
            f"line: {r['wall'] / count * LINE:7.0f} s{'' if count == LINE else f', scaled from {count} point(s)'}"
        )
    errors = [
        abs(results[a]["values"][0] - results[b]["values"][0]) for a, b in (("full", "peer"), ("slice", "direct"))
    ]
    print(f"  agreement: log pseudo volume {errors[0]:.1e} (of 512 terms), log length element {errors[1]:.1e}")

    def ratio(kind: str, slow: str, fast: str) -> float:
        return (results[slow][kind] / counts[slow]) / (results[fast][kind] / counts[fast])

    faster, slices = ratio("wall", "peer", "full"), ratio("wall", "full", "slice")
    lighter = results["peer"]["peak"] / results["full"]["peak"]
    for name, value, limit, kind in (
        ("1. peer / pullback, time  ", faster, FASTER, f"; of CPU time {ratio('cpu', 'peer', 'full'):.2f}"),
        ("2. peer / pullback, memory", lighter, MEMORY, ""),
        ("3. pullback / slice, time ", slices, SLICE, f"; of CPU time {ratio('cpu', 'full', 'slice'):.0f}"),
    ):
        print(f"  {name}  {value:7.2f}   (claim: at least {limit:g}{kind})")
    return 0 if faster >= FASTER and lighter >= MEMORY and slices >= SLICE and max(errors) < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
