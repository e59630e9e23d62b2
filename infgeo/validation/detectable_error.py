"""What a run would have seen: the smallest relative error of each formula that stands out at 5 standard errors."""

import math
from collections.abc import Sequence

from infgeo.validation.comparison import ROUNDING
from infgeo.validation.findings import Comparison

DETECTED = 5.0  # standard errors


def power_of(rows: Sequence[Comparison]) -> dict[str, float]:
    """Return the power by quantity, and for the coefficients A and B of g = A I + B x x^T.

    It is that of the point and width where it is smallest; where logs of a volume element or of det g are compared,
    errors of these themselves are meant. What is 0, or compared exactly, is left out.
    """
    tangential = {(row.point, row.width): row.theory for row in rows if row.quantity == "metric_tangential"}
    result: dict[str, float] = {}

    def put(name: str, error: float, size: float) -> None:
        if size != 0 and math.isfinite(error / size):
            result[name] = min(result.get(name, math.inf), DETECTED * error / abs(size))

    for row in rows:
        if row.z is None:
            continue
        put(row.quantity, row.standard_error, 1.0 if row.quantity.startswith("log_") else row.theory)
        if row.quantity == "metric_tangential":
            put("A", row.standard_error, row.theory)
        if row.quantity == "metric_radial" and (row.point, row.width) in tangential:
            difference = row.theory - tangential[row.point, row.width]
            if abs(difference) > ROUNDING * abs(row.theory):  # B = 0 for homogeneous activations, up to roundings
                put("B", row.standard_error, difference)
    return result
