"""Points from a file: .npy, .csv or .parquet."""

import re
import tokenize
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from infgeo.cli.evaluate import parquet
from infgeo.errors import InvalidInput


def read_points(path: str) -> np.ndarray:
    """Return the points (N, d) of a .npy file of floats, or of a .csv or .parquet file with one point a row.

    The first line of a .csv file is left out where it is none of numbers; quotes and a byte order mark may stand there.

    Raises InvalidInput, naming the file and the remedy, for a file that cannot be read, that holds no numbers, rows
    of different lengths, nothing at all, objects, integers (.npy), NaN or infinity.
    """
    ending = Path(path).suffix.lower()
    readers: dict[str, Callable] = {".npy": np.load, ".csv": _read_csv, ".parquet": _read_parquet}  # no pickles
    if ending not in readers:
        raise InvalidInput(f"points file {path} must end in {', '.join(readers)}")
    try:
        array = readers[ending](path)
    except OSError as error:
        raise InvalidInput(f"cannot read points file {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, SyntaxError, MemoryError, tokenize.TokenError) as error:  # of a broken header, too
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise InvalidInput(f"points file {path} is not a table of numbers, one point a row: {reason}") from None
    if not isinstance(array, np.ndarray):  # np.load looks at the content, not at the name
        array.close()
        raise InvalidInput(f"points file {path} is an archive of arrays; save one array (N, d) with numpy.save")
    if array.dtype.kind != "f":
        raise InvalidInput(f"points file {path} has dtype {array.dtype}; save floats: array.astype(float)")
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidInput(f"points file {path} has shape {array.shape}; it must hold at least one point, as (N, d)")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise InvalidInput(
            f"points file {path} has {array[row, column]} at row {row + 1}, column {column + 1}; remove such points"
        )
    return array


def _read_csv(path: str) -> np.ndarray:
    with open(path, encoding="utf-8-sig") as file:
        first = re.split("[,;\t]", file.readline().replace('"', ""))  # numbers are a point, whatever parts them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an empty file, which the caller reports
        return np.loadtxt(
            path, delimiter=",", quotechar='"', ndmin=2, dtype=float, encoding="utf-8-sig",
            skiprows=int(not any(map(_is_number, first))),
        )  # fmt: skip


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: str) -> np.ndarray:
    table = parquet().read_table(path)
    for field in table.schema:  # dates and truth values are numbers to NumPy, and so is text such as "1"
        if not str(field.type).startswith(("int", "uint", "half", "float", "double", "decimal")):
            raise ValueError(f"column {field.name!r} holds {field.type}")
    return np.stack([np.asarray(column, dtype=float) for column in table.itercolumns()], -1)
