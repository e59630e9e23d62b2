"""Activations that are sums over nodes, phi(z) = sum_i w_i f(z; a_i): expectations are sums over pairs of nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infgeo.numeric.runtime.records import Array


def over_nodes(xp: Any, function: Callable, arrays: int, nodes: Sequence[tuple[float, float]], alike: bool) -> Callable:
    """Return the sum over pairs of nodes of w_i w_j function(*arrays, a_i, a_j, *scalars).

    Args:
        xp: the array library.
        function: it returns an array or some of them.
        arrays: how many of the arguments are arrays, the others are scalars.
        nodes: pairs (a_i, w_i).
        alike: whether the function is the same for (a_i, a_j) and (a_j, a_i), so that half of the pairs do.
    """
    chosen = [(i, j) for i in range(len(nodes)) for j in range(i if alike else 0, len(nodes))]
    a, b = [nodes[i][0] for i, _ in chosen], [nodes[j][0] for _, j in chosen]
    weights = [nodes[i][1] * nodes[j][1] * (2 if alike and i != j else 1) for i, j in chosen]

    def total(*arguments: Any) -> Any:
        return xp.weighted_sum(function, arguments[:arrays], arguments[arrays:], a, b, weights)

    return total


@dataclass(frozen=True)
class OfVariance:
    """Expectations at one variance v, of which the functions in the recursion of the metric are quotients.

    Args:
        m, m_1: E[phi^2] and its derivative.
        m0, m0_1, m0_2: E[phi'^2] and its derivatives.
        e, e_1: E[phi phi''] and its derivative.
        x, x_1: m0 + 2 v m0_1, which is E[phi'^2 z^2]/v, and its derivative.
    """

    m: Array
    m_1: Array
    m0: Array
    m0_1: Array
    m0_2: Array
    e: Array
    e_1: Array
    x: Array
    x_1: Array

    def first(self) -> Any:
        """Return E[phi^2]."""
        return self.m

    def slope_moment(self) -> Any:
        """Return E[phi'^2]."""
        return self.m0

    def psi(self) -> Any:
        """Return the logarithmic derivative m0'/m0."""
        return self.m0_1 / self.m0

    def psi_prime(self) -> Any:
        """Return its derivative."""
        return self.m0_2 / self.m0 - self.psi() ** 2

    def mu(self) -> Any:
        """Return m'/m0."""
        return self.m_1 / self.m0

    def nu(self) -> Any:
        """Return mu - 1 without cancellation."""
        return self.e / self.m0

    def nu_prime(self) -> Any:
        """Return its derivative."""
        return (self.e_1 - self.nu() * self.m0_1) / self.m0

    def chi(self) -> Any:
        """Return 1 + 2 v psi without cancellation."""
        return self.x / self.m0

    def chi_prime(self) -> Any:
        """Return its derivative."""
        return (self.x_1 - self.chi() * self.m0_1) / self.m0


def of_variance(xp: Any, sums: Callable) -> Callable:
    """Return the function of v and the scalars that makes `OfVariance` of what `sums` returns."""
    return lambda v, *scalars: OfVariance(*sums(xp.as_array(v), *scalars))
