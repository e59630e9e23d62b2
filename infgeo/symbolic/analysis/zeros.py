"""Zeros of functions of a positive number."""

from collections.abc import Callable

import mpmath


def sign_changes(function: Callable[[mpmath.mpf], mpmath.mpf], low: float, high: float) -> list[mpmath.mpf]:
    """Return the zeros at which `function` changes sign between 10^low and 10^high, by a scan and bisection."""
    with mpmath.workdps(40):
        count = 400
        grid = [mpmath.mpf(10) ** (low + (high - low) * mpmath.mpf(i) / count) for i in range(count + 1)]
        values = [mpmath.re(function(x)) for x in grid]
        zeros = [x for x, y in zip(grid, values, strict=True) if y == 0]
        for i in range(count):
            if values[i] * values[i + 1] < 0:
                between = grid[i : i + 2]  # in doubles the last digits are no zero
                zeros.append(
                    mpmath.findroot(lambda x: mpmath.re(function(x)), between, solver="anderson", verify=False)
                )
        return sorted(zeros)
