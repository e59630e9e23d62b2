"""Kernels by Price's theorem, where the terms of their closed form cancel or a variance is 0.

With u and v of variances p and q and covariance c, and k_n = d^n k/dc^n = E[phi^(n)(u) phi^(n)(v)], Taylor's theorem is

    k(c) = sum_(j<n) c^j/j! E[phi^(j)(u)] E[phi^(j)(v)] + int_0^c (c - b)^(n-1)/(n-1)! k_n(b) db,

and that of k_1 is the same with n - 1 derivatives more. Nothing of it cancels where k_n has one sign, as for
shrinkages, whose closed form at small variances is a small difference of large terms, or is small, as that of hard tanh
at large ones. It is taken over the angle t, b = sqrt(p q) cos t. At kinks and jumps k_n varies where t is like the
angle of the pair, or like the distance of places in standard deviations, or of deviations of one place: nodes are then
dense in log t, the less so the smaller t is, as what is there counts the less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infgeo.numeric.runtime.nearly_parallel import magnitude
from infgeo.numeric.runtime.normal_tails import RULE
from infgeo.numeric.runtime.records import Array


def graded_rule() -> list[tuple[float, float]]:
    """Return nodes on (0, 1), dense at 0, and weights: equal steps of z^2 in x = 1 - exp(-e^y), y = z - 39.

    The trapezoidal rule, at whose ends the integrand has fallen below rounding.
    """
    count, least, greatest = 160, -39.0, 3.65
    rule, length = [], greatest - least
    for k in range(count):
        root = math.sqrt((k + 0.5) / count)
        e = math.exp(least + length * root)
        rule.append((-math.expm1(-e), e * math.exp(-e) * length / (2 * root * count)))
    return rule


GRADED = graded_rule()

SAFE_PAIR = (1.0, 1.0, 0.0, 1.0, 2.0, 2.0, 0.0)  # a pair at which every closed form has derivatives


@dataclass(frozen=True)
class SlopeIntegral:
    """The integral, in place of a closed form beyond some variances.

    Args:
        xp: the array library.
        between: the smallest and the largest variance for which the closed form stands.
        slopes: k_n, of p, q, c, Delta, |u - v|^2, |u + v|^2, p - q and the activation's parameters.
        means: E[phi^(j)(u)] for all j < n, of the variance and the parameters, and what it is at variance 0, of these.
        graded: whether k_n varies where angles are small: at kinks and jumps.
        parallel: whether parallel pairs take it too, at which the closed form has no derivatives.
    """

    xp: Any
    between: tuple[float, float]
    slopes: Callable
    means: Sequence[tuple[Callable, Callable]]
    graded: bool
    parallel: bool = False

    def kernel(self, closed: Callable, first: int = 0) -> Callable:
        """Return k, or with `first` = 1 k_1, of what `slopes` takes, from its closed form."""

        def kernel(*arguments: Any) -> Any:
            pair, own = arguments[:7], arguments[7:]
            p, q, c, Delta, _, _, omega = pair
            smaller, larger = (self.xp.where_nonnegative(sign, p, q) for sign in (q - p, p - q))
            beyond = self._beyond(smaller, larger) + 0 * Delta
            if self.parallel:
                beyond = self.xp.where_nonnegative(-Delta, 0 * beyond, beyond)

            def of_closed() -> Any:
                parts = zip(SAFE_PAIR, pair, strict=True)
                return closed(*(self.xp.where_nonnegative(beyond, x + 0 * beyond, part) for x, part in parts), *own)

            return self._chosen(beyond, of_closed, lambda: self.integral(p, q, c, Delta, omega, own, first))

        return kernel

    def moment(self, closed: Callable, first: int = 0) -> Callable:
        """Return E[phi(u)^2], or with `first` = 1 E[phi'(u)^2], of variance and parameters, from its closed form."""

        def moment(v: Array, *own: Any) -> Any:
            beyond = self._beyond(v, v)
            return self._chosen(
                beyond,
                lambda: closed(self.xp.where_nonnegative(beyond, 1.0 + 0 * v, v), *own),
                lambda: self.integral(v, v, v, 0 * v, 0 * v, own, first),
            )

        return moment

    def _beyond(self, smaller: Array, larger: Array) -> Any:
        """Return what is not negative where the closed form does not stand."""
        below, above = self.between[0] - smaller, larger - self.between[1]
        return self.xp.where_nonnegative(below, below, above)

    def _chosen(self, beyond: Array, closed: Callable, integral: Callable) -> Any:
        xp = self.xp
        return xp.if_any(beyond >= 0, lambda: xp.where_nonnegative(beyond, integral(), closed()), closed)

    def integral(self, p: Array, q: Array, c: Array, Delta: Array, omega: Array, own: Any, first: int) -> Any:
        """Return k, or k_1, of all pairs."""
        xp, n = self.xp, len(self.means)
        root = xp.sqrt(p) * xp.sqrt(q)
        at_zero = -abs(root)  # a variance of 0 has another one's place, and the integral the factor 0
        p_, q_, root_, Delta = (xp.where_nonnegative(at_zero, 0 * root + 1, part) for part in (p, q, root, Delta))
        sign = xp.where_nonnegative(c, 1.0 + 0 * root, -1.0 + 0 * root)
        end = xp.lib.arctan2(xp.sqrt(Delta), magnitude(xp, c))
        lengths = xp.where_nonnegative(at_zero, 0 * root, xp.ratio(omega, xp.sqrt(p) + xp.sqrt(q)) ** 2)
        omega = xp.where_nonnegative(at_zero, 0 * root, omega)
        power = n - 1 - first

        def integrand(
            p: Array, q: Array, root: Array, lengths: Array, omega: Array, end: Array, sign: Array, *at: Any
        ) -> Any:
            node, _, *own = at
            x = node * (math.pi / 2 - end)
            t = end + x
            sine, cosine = xp.lib.sin(t), xp.lib.cos(t)
            close, away = (lengths + 4 * root * half(t / 2) ** 2 for half in (xp.lib.sin, xp.lib.cos))
            near, far = xp.where_nonnegative(sign, close, away), xp.where_nonnegative(sign, away, close)
            slopes = self.slopes(p, q, sign * root * cosine, (root * sine) ** 2, near, far, omega, *own)
            rest = 2 * xp.lib.sin(x / 2) * xp.lib.sin(end + x / 2)  # cos(end) - cos(t)
            return sine * rest**power * slopes

        nodes, weights = zip(*(GRADED if self.graded else RULE), strict=True)
        total = xp.weighted_sum(integrand, (p_, q_, root_, lengths, omega, end, sign), own, nodes, nodes, weights)
        total = (sign * root) ** (n - first) * (math.pi / 2 - end) * total / math.factorial(power)
        for j, mean in reversed(list(enumerate(self.means))[first:]):
            total = total + c ** (j - first) / math.factorial(j - first) * self._mean(p, mean, own) * self._mean(
                q, mean, own
            )
        return total

    def _mean(self, v: Array, mean: tuple[Callable, Callable], own: Any) -> Any:
        safe = self.xp.where_nonnegative(-v, 1.0 + 0 * v, v)
        return self.xp.where_nonnegative(-v, mean[1](*own) + 0 * v, mean[0](safe, *own))
