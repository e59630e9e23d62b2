"""What is kept of a run: one file for each finished seed, and the record, the data and the picture of all of them."""

import io
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infgeo import __version__
from infgeo.errors import InvalidInput
from infgeo.files import write_whole
from infgeo.report_text import json_safe, releases
from infgeo.reproduce.settings import Rows

PACKAGES = ("numpy", "scipy", "torch", "matplotlib", "contourpy", "scikit-learn", "kornia")
STATISTICS = "statistics.json"


@dataclass(frozen=True, eq=False)
class SeedResult:
    """What one seed gave: arrays for the picture, statistics for the claims (JSON), and the seconds that it took."""

    seed: int
    arrays: Mapping[str, np.ndarray]
    statistics: Mapping[str, Any]
    seconds: float


def of_rows(settings: Rows, seed: int, measure: Callable[..., tuple[dict[str, Any], Any]]) -> SeedResult:
    """Return what measure(row, name) gives for every row, arrays (named "ROW.ARRAY") and statistics (by row)."""
    start = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    statistics: dict[str, Any] = {}
    for name, row in zip(settings.names, settings.rows, strict=True):
        made, statistics[name] = measure(row, name)
        arrays |= {f"{name}.{key}": value for key, value in made.items()}
    return SeedResult(seed, arrays, statistics, time.perf_counter() - start)


def versions() -> dict[str, str]:
    """Return the versions of infgeo, Python and every library that takes part."""
    machine = f"{platform.system()} {platform.machine()}"
    own = {"infgeo": __version__, "python": platform.python_version(), "platform": machine}
    return own | releases(PACKAGES, "not installed")


def caption(record: Mapping[str, Any]) -> str:
    """Return what stands beside the picture: what it shows, the claims with their numbers, and the seeds."""
    claims = [c for c in record["claims"] if c["verdict"] != "described"]
    side = {1: ", above 0", -1: ", below 0", 0: ""}
    numbers = [
        f"{c['statement']}{side[c['direction']]}: {float(c['estimate']):.3g}"
        + ("" if c["low"] is None else f" [{c['low']:.3g}, {c['high']:.3g}]")
        + f" ({c['verdict']})"
        for c in claims
    ]
    shows = f"{record['shows'][0].upper()}{record['shows'][1:]}"
    parts = [f"{record['title']}. {shows}. Source: {record['source']}."]
    if not record["source"].startswith("no figure"):
        parts.append(f"Settings: {record['settings_are']}.")
    if claims:
        parts.append(f"Claimed: {'; '.join(numbers)}.")
    if claims and record["seeds"]:
        parts.append(f"{len(record['seeds'])} seeds, means with 95 % intervals.")
    return " ".join(parts)


def save_seed(path: Path, result: SeedResult, key: str) -> None:
    """Write one seed's result, whole. `key` says which settings it belongs to."""
    notes = {"key": key, "seed": result.seed, "seconds": result.seconds, "statistics": json_safe(result.statistics)}
    arrays: dict[str, Any] = {STATISTICS: np.array(json.dumps(notes, allow_nan=False)), **result.arrays}
    write_whole(path, as_npz(arrays))


def load_seed(path: Path, key: str) -> SeedResult | None:
    """Return a finished seed, or None where there is none, or one of other settings, or a damaged file."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            notes = json.loads(str(file[STATISTICS]))
            if notes["key"] != key:
                return None
            arrays = {name: file[name] for name in file.files if name != STATISTICS}
        statistics = {str(name): value for name, value in notes["statistics"].items()}
        return SeedResult(int(notes["seed"]), arrays, statistics, float(notes["seconds"]))
    except Exception:  # of many kinds: anyone may have made the file
        return None


def stacked(results: Sequence[SeedResult]) -> dict[str, np.ndarray]:
    """Return the arrays of all seeds, each with the seeds as its first axis; "seeds" names them.

    An array whose shape differs between seeds is kept apart, as NAME_seed0 and so on.
    """
    data: dict[str, np.ndarray] = {"seeds": np.array([r.seed for r in results])}
    for name in dict.fromkeys(name for r in results for name in r.arrays):
        present = [r for r in results if name in r.arrays]
        if len(present) == len(results) and len({r.arrays[name].shape for r in present}) == 1:
            data[name] = np.stack([r.arrays[name] for r in present])
        else:
            data |= {f"{name}_seed{r.seed}": r.arrays[name] for r in present}
    return data


def as_npz(arrays: Mapping[str, Any]) -> bytes:
    """Return the arrays as the bytes of an NPZ file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make the folder and return it. Raises InvalidInput where that, or writing into it, cannot be done."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise InvalidInput(f"cannot write into the folder {folder}: {reason}; pass another with --out") from None
    return folder
