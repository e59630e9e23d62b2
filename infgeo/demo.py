"""`python -m infgeo.demo`: erf and ReLU from the activation to a validated Ricci scalar, on radii and on real images.

Prints the closed forms and the tables, writes a picture of every run and one JSON to out/ (or --out DIR).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infgeo.cli.derive import derivation
from infgeo.cli.parser import BAD_INPUT, FAILED, INTERRUPTED, PASSED, Parser, natural, positive
from infgeo.errors import InfgeoError, MissingExtra
from infgeo.files import check_writable, write_whole
from infgeo.interruption import termination_as_interrupt
from infgeo.progress import progress_bar
from infgeo.symbolic.networks.network import MLP
from infgeo.validation.report import ValidationReport
from infgeo.validation.theory import METRIC_QUANTITIES

ACTIVATIONS = ("erf", "relu")
QUANTITIES = ("kernel", *METRIC_QUANTITIES)
IMAGES = 5
# The norms of these images are 3 to 4 in units of a full pixel: with sigma_w = 1/4 the preactivations w.x have unit
# scale, so that the metric differs from that of a linear map without all units being saturated.
IMAGE_WEIGHT_STD = 0.25
IMAGE_BIAS_STD = 0.5
# det g of ReLU networks, half of whose units are off, varies more, and needs wider ones.
IMAGE_DESIGN = {"erf": ((2048, 4096, 8192, 16384), 48), "relu": ((4096, 8192, 16384, 32768), 32)}
# R at d = 64 takes the third moments of the weights, 45760 numbers for each unit, and its expansion in 1/n has terms
# (d^2/n)^k: few networks, but wide ones. One of them knows R to about 2 %.
CURVED_IMAGES, CURVED_WIDTHS, CURVED_SAMPLES = 3, (4096, 8192, 16384), 8


@dataclass(frozen=True)
class Run:
    """One validation of the demonstration: a title, a file name, and the arguments of `validate`."""

    title: str
    name: str
    activation: str
    input_dim: int
    arguments: dict[str, Any]


def digits(count: int = IMAGES) -> np.ndarray:
    """Return `count` handwritten digits of scikit-learn's bundled set (count, 64), pixels scaled to [0, 1].

    Raises MissingExtra without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtra("the demonstration on handwritten digits", "sklearn") from None
    images: np.ndarray = load_digits().data[:count] / 16.0
    return images


def runs(seed: int, samples: int | None) -> Iterator[Run]:
    """Yield what is validated: a spread of radii in d = 2 and 3, and digits in d = 64."""
    for activation in ACTIVATIONS:
        for d in (2, 3):
            title = f"{activation}: spread of radii, d = {d}"
            yield Run(title, f"{activation}_d{d}", activation, d, {"seed": seed, "samples": samples})
    images = digits()
    scales = {"weight_std": IMAGE_WEIGHT_STD, "bias_std": IMAGE_BIAS_STD, "seed": seed}
    title = "handwritten digits, 64 pixels in [0, 1]"
    for activation in ACTIVATIONS:
        widths, count = IMAGE_DESIGN[activation]
        arguments = {"points": images, "widths": widths, "samples": samples or count, **scales}
        if activation == "erf":
            arguments["quantities"] = [name for name in QUANTITIES if name != "ricci_scalar"]
        yield Run(
            f"{activation}: {len(images)} {title}", f"{activation}_digits", activation, images.shape[1], arguments
        )
    arguments = {"points": images[:CURVED_IMAGES], "widths": CURVED_WIDTHS, "samples": CURVED_SAMPLES, **scales}
    title = f"erf: Ricci scalar at {CURVED_IMAGES} {title}"
    yield Run(title, "erf_digits_ricci", "erf", images.shape[1], arguments | {"quantities": ["ricci_scalar"]})


def print_closed_forms() -> None:
    """Derive and print the closed forms at one layer, and the Ricci scalar of two layers."""
    for activation in ACTIVATIONS:
        print(_rule(f"{activation}: closed forms"))
        print(derivation(MLP(activation), "all", "text"))
        print(f"\ntwo hidden layers\n{derivation(MLP(activation, depth=2), 'ricci_scalar', 'text')}\n")


def _rule(title: str) -> str:
    return f"== {title} {'=' * max(0, 100 - len(title))}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return 0 if every check passed, 1 if one failed or was interrupted, 2 for bad input."""
    parser = Parser(prog="python -m infgeo.demo", description=__doc__)
    parser.add_argument("--out", default="out", metavar="DIR", help="folder for pictures and JSON (default: out)")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--samples", type=positive, metavar="M", help="networks at each width (default: by dimension)")
    parser.add_argument("--jobs", type=positive, metavar="J", help="worker processes (default: one a core)")
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        with termination_as_interrupt():
            return demonstrate(Path(arguments.out), arguments.seed, arguments.samples, arguments.jobs)
    except InfgeoError as error:
        print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return INTERRUPTED


def demonstrate(out: Path, seed: int, samples: int | None, jobs: int | None) -> int:
    """Derive, validate, print and write; see `main`."""
    from infgeo.validation import validate
    from infgeo.validation.batches import simulation_pool
    from infgeo.validation.picture import check_format

    start = time.perf_counter()
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise InfgeoError(f"cannot make the folder {out}: {error.strerror}; pass another with --out") from None
    summary = out / "validation.json"
    check_writable(summary)
    check_format("any.png")  # a missing matplotlib is reported now, not after the first run
    planned = list(runs(seed, samples))
    print_closed_forms()
    reports: dict[str, ValidationReport] = {}
    with simulation_pool(jobs) as executor:
        for run in planned:
            began = time.perf_counter()
            with progress_bar(run.title) as progress:
                report = validate(
                    MLP(run.activation), run.input_dim, executor=executor, progress=progress, **run.arguments
                )
            reports[run.name] = report
            title = f"{run.title} ({time.perf_counter() - began:.0f} s)"
            print(f"{_rule(title)}\n{report.table()}\n", flush=True)
            if report.rows:
                report.plot(out / f"{run.name}.png")
            if report.partial:
                break
    document = {name: json.loads(report.to_json()) for name, report in reports.items()}
    write_whole(summary, json.dumps(document, allow_nan=False, indent=1).encode())
    passed = len(reports) == len(planned) and all(report.passed for report in reports.values())
    for name, report in reports.items():
        print(f"{name:<12} {'passed' if report.passed else 'partial' if report.partial else 'FAILED'}")
    print(f"{'PASSED' if passed else 'FAILED'} in {time.perf_counter() - start:.0f} s; pictures and JSON in {out}/")
    return PASSED if passed else FAILED


if __name__ == "__main__":
    sys.exit(main())
