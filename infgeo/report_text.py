"""What reports are written in: strict JSON, and text in columns."""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from infgeo.display import Displayed


def json_safe(value: Any) -> Any:
    """Return `value` as JSON has it: records as dictionaries, arrays as lists, and "nan", "inf", "-inf" as strings."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_safe(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if hasattr(value, "tolist"):  # an array or a number of NumPy
        return json_safe(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def strict_json(value: Any, ensure_ascii: bool = True) -> str:
    """Return `value` as a strict JSON document (RFC 8259: no NaN; what is not finite is a string)."""
    return json.dumps(json_safe(value), allow_nan=False, indent=1, ensure_ascii=ensure_ascii)


def releases(names: Iterable[str], missing: str) -> dict[str, str]:
    """Return the releases of libraries by name; `missing` stands for what is not installed."""
    found = dict.fromkeys(names, missing)
    for name in found:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def listed(value: Any) -> str:
    """Return a number, or several of them in parentheses."""
    return f"({', '.join(map(listed, value))})" if isinstance(value, list | tuple) else f"{value:g}"


class Record(Displayed):
    """A dataclass whose fields JSON can carry."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values that JSON can carry."""
        return json_safe(self)

    def to_json(self) -> str:
        """Return all fields as a strict JSON document."""
        return strict_json(self)


def align(cells: Sequence[Sequence[str]], left: Collection[int]) -> str:
    """Return rows of cells in columns: those in `left` are flush left, all others flush right."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  " + "  ".join(padded).rstrip())
    return "\n".join(lines)
