"""Claim: tracking the geometry every 100 steps costs under 10 % of the training time of the paper's sinusoid run.

A network [2, 250, 2] of sigmoid units in the paper's parametrisation on 400 points, SGD with rate 0.1, momentum 0.9 and
batches of 50, is trained by a plain loop, with a tracker that records a 40 × 40 grid to a file every 100 steps of the
optimiser. Steps and records alternate, and are timed each by itself, in CPU time of one thread, for others use this
machine, too: what counts is the median record over the median of 100 steps. The claim is about all that the tracker
records by default: log volume, predictions, entropy, spectrum and Ricci scalar. Two rows are for information: without
the last two, and all of it in float64, though trained in float32. Exit status 1 if the claim does not hold.

    python benchmarks/tracker.py [--threads 1] [--records 120]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.nn import functional

import infgeo

LIMIT = 0.10
BATCH, SIDE, EVERY = 50, 40, 100
ROWS: tuple[tuple[str, dict[str, Any], float | None], ...] = (
    ("all that there is, the default", {}, LIMIT),
    ("log volume, predictions, entropy", {"quantities": ("log10_volume", "predictions", "entropy")}, None),
    ("all, in float64", {"dtype": torch.float64}, None),
)


def costs(records: int, options: dict[str, Any], path: Path) -> numpy.ndarray:
    """Return the CPU seconds (records, 2) of `EVERY` steps and of the record after them."""
    task = infgeo.training.tasks.sinusoid()
    model = infgeo.training.mlp([2, 250, 2], "sigmoid", seed=0)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    order = torch.Generator().manual_seed(0)
    grid = infgeo.tracking.grid((-1, 1), points=SIDE)
    batches: list[torch.Tensor] = []
    found = []
    with infgeo.GeometryTracker(model, at=grid, features="activation1", every=EVERY, path=path, **options) as tracker:
        for number in range(1, records + 1):
            began = time.process_time()
            for _ in range(EVERY):
                batches = batches or list(torch.randperm(len(task.inputs), generator=order).split(BATCH))
                rows = batches.pop()
                optimiser.zero_grad()
                functional.cross_entropy(model(task.inputs[rows]), task.labels[rows]).backward()
                optimiser.step()
            trained = time.process_time()
            tracker(number * EVERY)
            found.append((trained - began, time.process_time() - trained))
    assert len(infgeo.tracking.load(path)) == records + 1
    return numpy.array(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--records", type=int, default=120)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, options, limit) in enumerate(ROWS):
            steps, record = numpy.median(costs(arguments.records, options, Path(folder) / str(number)), axis=0)
            share = record / steps
            verdict = "" if limit is None else f"; limit {limit:.0%}: {'holds' if share < limit else 'MISSED'}"
            print(f"{name}: {share:.1%} of training, {1e3 * record:.1f} ms a record{verdict}", flush=True)
            failed |= limit is not None and share >= limit
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
