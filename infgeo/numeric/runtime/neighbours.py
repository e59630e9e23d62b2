"""Differences of features that are nearly the same, or nearly parallel, where subtracting kernels loses them.

With s and r the deviations of u and v, and c* = s r, the covariance of parallel ones, Price's theorem gives

    E[(phi(v) - l phi(u))^2] = E[(phi(r e) - l phi(s e))^2] + 2 l int_c^c* E[phi'(u) phi'(v)] dc',    e ~ N(0, 1),

two terms that are small where the left side is: an integral over one normal variable, and one over the slopes' kernel.
l = 1 is the squared distance of the features; with l = k/m(p) it is what the features of v have not of those of u, and
p times it, less the square of what l leaves, is m(p) m(q) - k^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infgeo.numeric.runtime.nearly_parallel import magnitude, to_opposite
from infgeo.numeric.runtime.normal_mean import gauss_legendre
from infgeo.numeric.runtime.quadrature import Integrand
from infgeo.numeric.runtime.records import Law, Pairs

NODES = 32
NUMBERS = 2**11  # that a pair takes on the way
SEEN = 1e-9  # of E[phi^2], up to which the integral over one variable must give it
DENSE = 7.0  # nodes are exp(DENSE) times as dense at c*, where kinks at different lengths part


@dataclass(frozen=True)
class Neighbours:
    """What subtraction loses of an activation with a closed form.

    Args:
        integrand: the activation between its places.
        even: whether phi(-z) = phi(z).
    """

    integrand: Integrand
    even: bool = False

    def features(
        self,
        xp: Any,
        law: Law,
        pairs: Pairs,
        found: Sequence[Any],
        scalars: Sequence[Any],
        least: float,
        strict: bool,
    ) -> Sequence[Any]:
        """Return |phi(u) - phi(v)|^2, E[phi(u)^2 - phi(v)^2] and m(p) m(q) - k^2.

        These are `found`, the last may be None, and new where the first is below `least` of m(p) + m(q), or the last of
        m(p) m(q). Of odd and even activations features are nearly parallel, too, where u is nearly -v.

        Where phi vanishes up to many deviations the integrals do not see it: `found` stays, if `strict` NaN.
        """
        first, second = (law.moment(v, *scalars) for v in (pairs.p, pairs.q))
        sums, product = first + second, first * second
        square, fall, area = (product if part is None else part for part in found)
        delta, c = pairs.delta, pairs.c
        if law.odd or self.even:
            delta = xp.where_nonnegative(c, delta, to_opposite(xp, pairs))
            square = xp.where_nonnegative(c, square, 2 * sums - square) if law.odd else square
            pairs = Pairs(pairs.p, pairs.q, magnitude(xp, c), pairs.omega, delta, pairs.Delta)
        square, fall, area = (xp.where_nonnegative(-delta, 0 * delta, part) for part in (square, fall, area))
        near = least * sums - square
        near = xp.where_nonnegative(near, near, least * product - area)
        apart = xp.where_nonnegative(-delta, -1 - 0 * near, near)

        def exact(*parts: Any) -> tuple:
            arrays, own = parts[:6], parts[6:]
            found: tuple = xp.in_parts(lambda *part: self._exact(xp, law, Pairs(*part), own), arrays, NUMBERS)
            return found

        *parts, unseen = xp.refined(exact, apart, pairs, scalars, (square, fall, area, 0 * near))
        if strict:
            parts = [xp.where_nonnegative(unseen - 1, float("nan"), part) for part in parts]
        square, fall, area = parts
        if law.odd:
            square = xp.where_nonnegative(c, square, 2 * sums - square)
        return square, fall, area

    def _exact(self, xp: Any, law: Law, pairs: Pairs, own: Sequence[Any]) -> tuple:
        p, q, c, Delta = pairs.p, pairs.q, pairs.c, pairs.Delta
        omega = magnitude(xp, pairs.omega)
        larger, smaller = xp.where_nonnegative(pairs.omega, p, q), xp.where_nonnegative(pairs.omega, q, p)
        s, r = xp.sqrt(larger), xp.sqrt(smaller)
        shorter = omega / (s + r)
        total = law.moment(larger, *own)
        mu = 1 - xp.ratio(xp.kernel(law, pairs, own), total)
        square, fall, rest, along, seen = self.integrand.on_a_line(xp, s, shorter, mu)
        reach, line = Delta / (s * r + c), shorter * shorter
        integral: Any = 0 * Delta
        for y, weight in zip(*gauss_legendre(NODES), strict=True):
            share, slope = math.expm1(DENSE * y) / math.expm1(DENSE), DENSE * math.exp(DENSE * y) / math.expm1(DENSE)
            x = reach * share * share
            there = Pairs(p, q, s * r - x, pairs.omega, line + 2 * x, x * (2 * s * r - x))
            integral = integral + weight * 2 * share * slope * xp.derivative_kernel(law, there, own)
        integral = reach * integral
        rest, along = rest + 2 * (1 - mu) * integral, along - integral
        fall = xp.where_nonnegative(pairs.omega, fall, -fall)
        results = square + 2 * integral, fall, xp.positive(total * rest - along * along)
        lost = abs(seen - total) - SEEN * total
        return *(xp.where_nonnegative(lost, float("nan"), part) for part in results), xp.where_nonnegative(
            lost, 1.0, 0.0
        )
