"""The ladder of widths, and the number of networks at each width."""

from collections.abc import Iterable
from typing import Any

from infgeo.arguments import one_of, positive_integers
from infgeo.errors import InvalidInput, SingularMetric

# Networks, and units of a Sobol net, relative to the default: the budget, never the test.
BUDGETS = {"quick": (0.1, 2**12), "default": (1.0, 2**15), "thorough": (40.0, 2**17)}


def default_widths(input_dim: int, depth: int) -> tuple[int, ...]:
    """Return a ladder of widths, each twice the one before.

    The expansion in 1/n has terms (d^2/n)^k: the ladder starts near 12 d^2, and not below 64. For the sake of the time
    it takes, the start is at most 2048 (d > 13), or 512 for deep networks, whose cost goes with n^2; but at least 4 d.
    """
    start = min(12 * input_dim**2, max(2048 if depth == 1 else 512, 4 * input_dim))
    first = 64
    while first < start:
        first *= 2
    rungs = 5 if depth > 1 else 6 if input_dim <= 4 else 4
    return tuple(first * 2**k for k in range(rungs))


def checked_widths(widths: Iterable[Any], input_dim: int, metric: bool) -> tuple[int, ...]:
    """Return the widths in increasing order; raises for what is no width, and SingularMetric for width < d."""
    result = tuple(sorted(set(positive_integers(widths, "widths"))))
    if not result:
        raise InvalidInput("widths is empty; pass a sequence of integers, for example (128, 256, 512)")
    if metric and result[0] < input_dim:
        raise SingularMetric(
            f"width {result[0]} < input dimension {input_dim}: the metric of such a network is singular everywhere; "
            f"use widths >= {input_dim}, and far above {input_dim**2} for the curvature"
        )
    return result


def checked_budget(budget: Any) -> tuple[float, int]:
    """Return the factor for the number of networks, and the units of a Sobol net; raises InvalidInput."""
    return BUDGETS[one_of(budget, "budget", BUDGETS)]


def default_samples(input_dim: int, depth: int, widths: tuple[int, ...], points: int, curvature: bool) -> int:
    """Return the number of networks at each width, from a rough model of the time they take (never from a clock).

    About 30 s on one core, and at most 2500 networks: then R of a one-layer network is known to a few parts in 1000.
    """
    d = input_dim
    pairs, triples = d * (d + 1) / 2, d * (d + 1) * (d + 2) / 6
    if depth == 1:
        # microseconds: the calls, the monomials of the weights, and their products with functions of the points
        costs = [700 + n * (pairs * 6e-3 + (triples * (3e-3 + 5e-5 * points) if curvature else 0)) for n in widths]
    else:
        costs = [1000 + n * n * (0.02 + 1e-4 * points * (1 + d + pairs) * (depth - 1)) for n in widths]
    return int(min(2500, max(24, 30e6 / sum(costs))))
