"""Values that estimates and comparisons are reported in: frozen, array-library free, ready for JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo estimate with its standard error.

    `mean` and `standard_error` are nested lists (or floats) of equal shape; `samples` is the number of independent
    replicates they come from (so the degrees of freedom are samples - 1). `exact` says that every replicate gave the
    same value by construction (the Ricci scalar of a piecewise linear network), and `note` says why.
    """

    mean: Any
    standard_error: Any
    samples: int
    exact: bool = False
    note: str = ""


def json_safe(value: Any) -> Any:
    """Return `value` with non-finite floats replaced by the strings JSON can carry ("nan", "inf", "-inf")."""
    if isinstance(value, dict):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
