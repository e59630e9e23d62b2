"""Kernels at small variances by Price's theorem, where the terms of their closed form cancel.

With u and v of variances p and q and covariance c = sqrt(p q) sin T, and dk/dc = E[phi'(u) phi'(v)],

    E[phi(u) phi(v)] = E[phi(u)] E[phi(v)] + sqrt(p q) int_0^T E[phi'(u) phi'(v)] cos t dt,

the expectation of slopes at covariance sqrt(p q) sin t. ELU's slopes are near 1 where its kernel, of size p, is made of
terms of size 1. In t the integrand is smooth up to parallel inputs: one rule of Gauss and Legendre is enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infgeo.numeric.runtime.normal_tails import RULE
from infgeo.numeric.runtime.records import Array


@dataclass(frozen=True)
class SlopeIntegral:
    """The integral, in place of a closed form below a variance.

    Args:
        xp: the array library.
        below: the variance.
        slopes: E[phi'(u) phi'(v)], of p, q, c, Delta, |u - v|^2, |u + v|^2, p - q and the activation's parameters.
        mean: E[phi(u)], of the variance and the parameters.
    """

    xp: Any
    below: float
    slopes: Callable
    mean: Callable

    def kernel(self, closed: Callable) -> Callable:
        """Return E[phi(u) phi(v)], of what `slopes` takes, from its closed form."""

        def kernel(p: Array, q: Array, c: Array, Delta: Array, near: Array, far: Array, omega: Array, *own: Any) -> Any:
            smaller = self.xp.where_nonnegative(q - p, p, q)
            return self._chosen(
                smaller + 0 * Delta,
                lambda: closed(p, q, c, Delta, near, far, omega, *own),
                lambda: self._integral(p, q, c, Delta, omega, own),
            )

        return kernel

    def moment(self, closed: Callable) -> Callable:
        """Return E[phi(u)^2], of the variance and the parameters, from its closed form."""

        def moment(v: Array, *own: Any) -> Any:
            return self._chosen(v, lambda: closed(v, *own), lambda: self._integral(v, v, v, 0 * v, 0 * v, own))

        return moment

    def _chosen(self, variance: Array, closed: Callable, integral: Callable) -> Any:
        below = self.below - variance
        return self.xp.if_any(below >= 0, lambda: self.xp.where_nonnegative(below, integral(), closed()), closed)

    def _integral(self, p: Array, q: Array, c: Array, Delta: Array, omega: Array, own: Any) -> Any:
        xp = self.xp
        root = xp.sqrt(p) * xp.sqrt(q)
        at_zero = -abs(root)  # a variance of 0 has another one's place, and the integral the factor 0
        p_, q_, root_, Delta = (xp.where_nonnegative(at_zero, 0 * root + 1, part) for part in (p, q, root, Delta))
        end = xp.lib.arctan2(c, xp.sqrt(Delta))
        lengths = xp.where_nonnegative(at_zero, 0 * root, xp.ratio(omega, xp.sqrt(p) + xp.sqrt(q)) ** 2)
        omega = xp.where_nonnegative(at_zero, 0 * root, omega)

        def integrand(node: Array, weight: Array) -> tuple:
            t = node * end
            near, far = (lengths + 4 * root_ * xp.lib.sin(math.pi / 4 + part / 2) ** 2 for part in (-t, t))
            c, cosine = root_ * xp.lib.sin(t), xp.lib.cos(t)
            return (weight * cosine * self.slopes(p_, q_, c, (root_ * cosine) ** 2, near, far, omega, *own),)

        (total,) = xp.sums_over(RULE, integrand, end)
        return self.mean(p, *own) * self.mean(q, *own) + root * end * total
