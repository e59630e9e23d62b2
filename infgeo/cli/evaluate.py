"""The geometry at points as a table: CSV, JSON or Parquet."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infgeo.errors import InvalidInput, MissingExtra
from infgeo.report_text import strict_json

OF_PAIRS = ("kernel", "ntk", "kernel_distance")
OF_POINTS = ("kernel_diag", "ntk_diag", "metric", "volume_element", "log_volume_element", "ricci_scalar")
ENDINGS = (".csv", ".json", ".parquet")


def values_of(geo: Any, names: tuple[str, ...], X: np.ndarray, Y: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return quantities at points X (N, d), by name: (N, ...); of pairs (N, M), with the points Y or X itself."""
    unknown = [name for name in names if name not in OF_PAIRS + OF_POINTS]
    if unknown:
        raise InvalidInput(f"--of names {unknown[0]!r}; choose from {', '.join(OF_POINTS + OF_PAIRS)}")
    if Y is not None and not set(names) & set(OF_PAIRS):
        raise InvalidInput(f"--others is for quantities of pairs; drop it, or add one of {', '.join(OF_PAIRS)} to --of")
    pair = (X,) if Y is None else (X, Y)
    return {name: np.asarray(getattr(geo, name)(*pair if name in OF_PAIRS else (X,))) for name in names}


def check_ending(path: str) -> None:
    """Raise InvalidInput for a file of another kind, MissingExtra where Parquet cannot be written."""
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise InvalidInput(f"--out {path} must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if ending == ".parquet":
        parquet()


def parquet() -> Any:
    """Return pyarrow's module of Parquet files; raises MissingExtra."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra("a Parquet file", "frames") from None
    return pyarrow.parquet


def as_table(form: str, X: np.ndarray, values: dict[str, np.ndarray], head: Mapping[str, object]) -> bytes:
    """Return points and values as a file of the `form` .csv, .json or .parquet; strict JSON says the `head` too."""
    if form == ".json":
        return (strict_json({**head, "points": X, **values}) + "\n").encode()
    columns = {f"x_{i + 1}": column for i, column in enumerate(X.T)} | dict(_columns(values))
    if form == ".parquet":
        import pyarrow

        file = io.BytesIO()
        parquet().write_table(pyarrow.table(columns), file)
        return file.getvalue()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(np.stack(list(columns.values()), -1).tolist())
    return text.getvalue().encode()


def _columns(values: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield columns: of a metric those on and above its diagonal, of pairs one for each of the other points."""
    for name, value in values.items():
        for at in np.ndindex(value.shape[1:]):
            if list(at) == sorted(at):
                yield "_".join([name, *(str(i + 1) for i in at)]), value[(slice(None), *at)]
