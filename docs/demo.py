"""`python docs/demo.py`: erf and ReLU from the activation to a validated Ricci scalar, on radii and on real images.

Each step is a command of `infgeo`, printed before it runs. Pictures and JSON go to out/ (or --out DIR).
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from infgeo.cli import main as infgeo
from infgeo.cli.parser import BAD_INPUT, FAILED, PASSED, Parser, integer, natural
from infgeo.errors import InfgeoError, MissingExtra
from infgeo.reproduce.record import make_folder

IMAGES, CURVED_IMAGES = 5, 3
# The norms of these images are 3 to 4 in units of a full pixel: with sigma_w = 1/4 the preactivations w.x have unit
# scale, so that the metric differs from that of a linear map without all units being saturated.
IMAGE_SCALES = ("--weight-std", "0.25", "--bias-std", "0.5")
# det g of ReLU networks, half of whose units are off, varies more, and needs wider ones.
IMAGE_WIDTHS = {"erf": "2048,4096,8192,16384", "relu": "4096,8192,16384,32768"}
NOT_R = "kernel,metric_radial,metric_tangential,log_mean_det_metric,volume_element,log_volume_element"


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


def steps(out: Path, samples: int | None) -> Iterator[list[str]]:
    """Yield the arguments of `infgeo`: closed forms, then a spread of radii in d = 2 and 3, and digits in d = 64."""
    for activation in ("erf", "relu"):
        yield ["derive", activation]
        yield ["derive", activation, "--depth", "2", "--quantity", "ricci_scalar"]
    for activation in ("erf", "relu"):
        count: tuple[str, ...] = () if samples is None else ("--samples", str(samples))
        for d in ("2", "3"):
            yield ["validate", activation, "--input-dim", d, *count, *_files(out, f"{activation}_d{d}")]
        images = ("--points", str(out / "digits.npy"), *IMAGE_SCALES, "--widths", IMAGE_WIDTHS[activation])
        count = ("--samples", str(samples or (48 if activation == "erf" else 32)))
        wanted = ("--quantities", NOT_R) if activation == "erf" else ()
        yield ["validate", activation, *images, *count, *wanted, *_files(out, f"{activation}_digits")]
    # R at d = 64 takes the third moments of the weights, 45760 numbers for each unit, and its expansion in 1/n has
    # terms (d^2/n)^k: few networks, but wide ones. One of them knows R to about 2 %.
    few = ("--points", str(out / "digits-few.npy"), *IMAGE_SCALES, "--widths", "4096,8192,16384", "--samples", "8")
    yield ["validate", "erf", *few, "--quantities", "ricci_scalar", *_files(out, "erf_digits_ricci")]


def _files(out: Path, name: str) -> tuple[str, ...]:
    return "--json", str(out / f"{name}.json"), "--plot", str(out / f"{name}.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return 0 if every check passed, 1 if one failed or was interrupted, 2 for bad input."""
    parser = Parser(prog="python docs/demo.py", description=__doc__)
    parser.add_argument("--out", default="out", metavar="DIR", help="folder for pictures and JSON (default: out)")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--samples", type=integer, metavar="M", help="networks at each width (default: by dimension)")
    parser.add_argument("--jobs", type=integer, metavar="J", help="worker processes (default: one a core)")
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        out, images = make_folder(arguments.out), digits()
    except InfgeoError as error:
        print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    np.save(out / "digits.npy", images)
    np.save(out / "digits-few.npy", images[:CURVED_IMAGES])
    start, worst = time.perf_counter(), PASSED
    for step in steps(out, arguments.samples):
        if step[0] == "validate":
            step += ["--seed", str(arguments.seed), *(("--jobs", str(arguments.jobs)) if arguments.jobs else ())]
        print(f"\n$ infgeo {shlex.join(step)}\n", flush=True)
        status = infgeo(step)
        worst = max(worst, status)
        if status > FAILED or _is_partial(step):
            break
    verdict = "PASSED" if worst == PASSED else "FAILED"
    print(f"\n{verdict} in {time.perf_counter() - start:.0f} s; pictures and JSON in {out}/")
    return worst


def _is_partial(step: list[str]) -> bool:
    """Return whether a validation was interrupted."""
    if step[0] != "validate":
        return False
    report = Path(step[step.index("--json") + 1])
    return bool(json.loads(report.read_text(encoding="utf-8"))["partial"])


if __name__ == "__main__":
    sys.exit(main())
