"""The law of an activation whose expectations are integrated numerically, see `normal_mean`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.nearly_parallel import magnitude
from infgeo.numeric.runtime.nodes import OfVariance
from infgeo.numeric.runtime.normal_mean import FEW_PLACES, LEAST_WIDTH, LEVELS, agreed, gauss_legendre
from infgeo.numeric.runtime.records import Array, Law

MOST_PLACES = 200  # within reach of preactivations
NEAR_BY = 1e-2  # differences of phi over less than this part of 1 + |z| are integrals of phi'
LONGEST_STEP = 0.5  # over which such an integral is one rule of Gauss
ON_INTERVAL = 5  # nodes of it
ROUNDED = 1e-15  # what remains of features is wanted up to this part of their squares, relative to `AGREEMENT`


@dataclass(frozen=True)
class Integrand:
    """An activation that is smooth between places.

    Args:
        name: for messages.
        derivatives: phi, phi' and phi'' as functions of arrays, between the places.
        places: pairs (start, step) of numbers: one place, or with a step all of start + k step.
        power: see `normal_mean.normal_mean`.
        has_metric: whether E[phi'^2] is finite.
        has_second: whether phi' has no jumps, so that E[phi''^2] is finite.
        growth: a, where phi grows like exp(a z^2), else 0.
    """

    name: str
    derivatives: Sequence[Callable]
    places: Sequence[tuple[float, float]]
    power: float
    has_metric: bool
    has_second: bool
    growth: float

    def within(self, xp: Any, reach: Array) -> list[float]:
        """Return the places up to a distance, and 0, around which activations vary."""
        found = {0.0}
        for start, step in self.places:
            if not step:
                found.add(start)
                continue
            if xp.known(reach) is None:
                raise InputError(f"activation {self.name} has kinks at all scales: call it outside of transformations")
            low, high = (math.ceil((sign * float(xp.largest(reach)) - start) / step) for sign in (-1, 1))
            if high - low > MOST_PLACES:
                raise InputError(
                    f"activation {self.name} has {high - low} kinks, jumps or poles within reach of its preactivations,"
                    f" more than {MOST_PLACES}: use smaller scales or points"
                )
            found |= {start + k * step for k in range(low, high)}
        return sorted(found)

    def law(self, xp: Any) -> Law:
        """Return the expectations as a law."""
        slopes: dict[str, Any] = {}
        if self.has_metric:
            slopes = {
                "derivative_kernel": self._kernel(xp, 1),
                "derivative_moment": self._moment(xp, 1),
                "derivative_slope": self._slope(xp, 1),
            }
        if self.has_second:
            slopes |= {"second_moment": self._moment(xp, 2), "second_slope": self._slope(xp, 2)}
        if self.growth:
            slopes["growth"] = lambda *_: self.growth
        return Law(self._kernel(xp, 0), self._moment(xp, 0), self._difference(xp), steep=True, **slopes)

    def _mean(self, xp: Any, v: Array, level: int, parts: Callable) -> tuple:
        """Return E[f(z, t)], z = sqrt(v) t ~ N(0, v), for each f of `parts`."""
        root = xp.sqrt(v)
        scale = xp.at_least(root, 1e-30)
        places = [0 * v + place / scale for place in self.within(xp, LEVELS[level][1] * scale)]
        return xp.normal_mean(
            lambda t: parts(root[..., None] * t if xp.lib else root * t, t), places, 1 / scale, level, self.power
        )

    def _moment(self, xp: Any, order: int) -> Callable:
        f, what = self.derivatives[order], f"E[phi{chr(39) * order}(z)^2] of activation {self.name}"

        def moment(v: Array, *_: Any) -> Any:
            def compute(level: int) -> tuple:
                return self._mean(xp, v, level, lambda z, t: (f(z) ** 2,))

            return agreed(xp, compute, lambda found: found, what)[0]

        return moment

    def _slope(self, xp: Any, order: int) -> Callable:
        """Return the derivative of a moment: E[f^2 (t^2 - 1)]/(2 v)."""
        f = self.derivatives[order]

        def slope(v: Array, *_: Any) -> Any:
            def compute(level: int) -> tuple:
                size, value = self._mean(xp, v, level, lambda z, t: (f(z) ** 2, f(z) ** 2 * (t * t - 1)))
                return xp.ratio(value, 2 * v), xp.ratio(size, v)

            return agreed(xp, compute, lambda found: (found[1], found[1]), f"a moment of activation {self.name}")[0]

        return slope

    def of_variance(self, xp: Any) -> Callable:
        """Return the function of v that makes `OfVariance`: derivatives in v as weights, so that kinks do no harm."""
        phi, slope = self.derivatives[:2]

        def parts(z: Array, t: Array) -> tuple:
            f, h, s = phi(z) ** 2, phi(z) * slope(z), slope(z) ** 2
            w = t * t
            return f, s, s * (w - 1), s * ((w - 6) * w + 3), h * t, h * t * (w - 3), s * w, s * w * (w - 3)

        def of(v: Array, *_: Any) -> OfVariance:
            v = xp.as_array(v)
            if not xp.all(v > 0):
                raise InputError(
                    "the metric by quadrature needs preactivations of positive variance: give a bias, or drop x = 0"
                )

            def compute(level: int) -> tuple:
                m, m0, first, second, mixed, mixed_1, x, x_1 = self._mean(xp, v, level, parts)
                m0_1 = first / (2 * v)
                e, e_1 = mixed / xp.sqrt(v) - m0, mixed_1 / (2 * v * xp.sqrt(v)) - m0_1
                return m, m0 + e, m0, m0_1, second / (4 * v * v), e, e_1, x, x_1 / (2 * v)

            def sizes(found: tuple) -> tuple:
                m, m0, x = found[0], found[2], found[7]
                return m, m0, m0, m0 / v, m0 / (v * v), m0, m0 / v, x, x / v

            return OfVariance(*agreed(xp, compute, sizes, f"E[phi'(z)^2] of activation {self.name}"))

        return of

    def _pair(
        self, xp: Any, order: int, level: int, parts: Callable, p: Array, lag: Array, Delta: Array
    ) -> tuple[Any, ...]:
        """Return E[f(u, v, v - u)] for each f of `parts`, u ~ N(0, p); the inner mean is over v given u.

        With p >= q, v = (1 - lag) u + sqrt(Delta/p) t, lag = 1 - c/p. `parts` takes the places, too.
        """
        wide = (lambda x: x[..., None]) if xp.lib else (lambda x: x)
        root, along = xp.sqrt(p), 1 - lag
        scale = xp.at_least(root, 1e-30)
        across = xp.at_least(xp.sqrt(Delta) / scale, 1e-30)
        found, width = self.within(xp, LEVELS[level][1] * (scale + across)), 1 / scale
        places = [0 * along + place / scale for place in found]
        if self.places:  # v crosses them as u varies
            places += [xp.ratio(0 * along + place, along * scale) for place in found if place]
            if self.power == 1:  # else nodes are dense there at all scales
                width = xp.at_least(1 / (scale + abs(along) * scale / across), LEAST_WIDTH)

        def outer(t: Array) -> tuple:
            u = wide(root) * t
            mean, spread = wide(along) * u, wide(across)
            inside = [(place - mean) / spread for place in found]

            def inner(tau: Array) -> tuple:
                across = wide(spread) * tau
                return parts(wide(u), wide(mean) + across, across - wide(wide(lag) * u), found)

            return xp.normal_mean(inner, inside, 1 / spread + 0 * mean, level, self.power)

        return xp.normal_mean(outer, places, width, level, self.power)

    def _over_pairs(self, xp: Any, order: int, parts: Callable, sizes: Callable) -> Callable:
        """Return the means of `parts` over pairs of variances p and q, with E[g^2] at p and at q."""
        g, what = self.derivatives[order], f"E[phi{chr(39) * order}(z)^2] of activation {self.name}"

        def compute(level: int, p: Array, q: Array, lag: Array, Delta: Array) -> tuple:
            moments = (self._mean(xp, v, level, lambda z, t: (g(z) ** 2,))[0] for v in (p, q))
            return *self._pair(xp, order, level, parts, xp.where_nonnegative(p - q, p, q), lag, Delta), *moments

        def over(p: Array, q: Array, lag: Array, Delta: Array) -> tuple:
            arrays = [part + 0 * Delta + 0 * p * q for part in (p, q, lag, Delta)]

            def at_level(level: int) -> tuple:
                return xp.in_parts(lambda *parts: compute(level, *parts), arrays, LEVELS[level][0] ** 2)

            return agreed(xp, at_level, sizes, what)

        return over

    def _kernel(self, xp: Any, order: int) -> Callable:
        g = self.derivatives[order]

        def sizes(found: tuple) -> tuple:
            _, first, second = found
            return xp.sqrt(first) * xp.sqrt(second), first, second

        over = self._over_pairs(xp, order, lambda u, v, *_: (g(u) * g(v),), sizes)

        def kernel(p: Array, q: Array, c: Array, Delta: Array, *_: Any) -> Any:
            return over(p, q, 1 - xp.ratio(c, xp.where_nonnegative(p - q, p, q)), Delta)[0]

        return kernel

    def _gap(self, xp: Any, u: Array, v: Array, h: Array, places: Sequence[float]) -> Array:
        """Return phi(v) - phi(u), v = u + h; of near ones as an integral of phi', which does not cancel."""
        phi, slope = self.derivatives[:2]
        gap = phi(v) - phi(u)
        if xp.lib is None or not (self.has_second or (self.has_metric and self.power == 1)):
            return gap
        shares = [xp.lib.clip(xp.ratio(place - u, h), 0, 1) for place in places if self.places]
        if len(shares) > FEW_PLACES:  # steps of a period, of which h crosses one
            shares = [sum(xp.lib.where((share > 0) & (share < 1), share, 0) for share in shares)]
        ends = [0 * h, *xp.in_order(shares), 1 + 0 * h] if shares else [0 * h, 1 + 0 * h]
        mean = 0 * h
        for start, end in pairwise(ends):
            for node, weight in zip(*gauss_legendre(ON_INTERVAL), strict=True):
                mean = mean + weight * (end - start) * slope(u + (start + node * (end - start)) * h)
        near = NEAR_BY * (1 + abs(u)) if len(places) <= FEW_PLACES else NEAR_BY / 10
        return xp.lib.where((abs(h) < near) & (abs(h) < LONGEST_STEP), h * mean, gap)

    def _difference(self, xp: Any) -> Callable:
        phi = self.derivatives[0]

        def parts(u: Array, v: Array, h: Array, places: Sequence[float]) -> tuple:
            gap = self._gap(xp, u, v, h, places)
            return gap * gap, -gap * (phi(u) + phi(v))

        def sizes(found: tuple) -> tuple:
            square, _, first, second = found
            return square, xp.sqrt(square) * xp.sqrt(first + second), first, second

        over = self._over_pairs(xp, 0, parts, sizes)

        def difference(p: Array, q: Array, omega: Array, delta: Array, c: Array, Delta: Array, *_: Any) -> tuple:
            same, one = -delta, 1 + 0 * delta  # where points coincide, so does all that is made of them
            larger = xp.where_nonnegative(same, one, xp.where_nonnegative(omega, p, q))
            parts = p, q, (magnitude(xp, omega) + delta) / (2 * larger), Delta
            pair = (xp.where_nonnegative(same, one, part) for part in parts)
            square, fall = (xp.where_nonnegative(same, 0 * delta, part) for part in over(*pair)[:2])
            return square, xp.where_nonnegative(omega, fall, -fall)

        return difference

    def on_a_line(self, xp: Any, s: Array, shorter: Array, mu: Array) -> tuple:
        """Return E[(phi(v) - phi(u))^2], E[phi(u)^2 - phi(v)^2], E[r^2], E[phi(u) r] and E[phi(u)^2].

        Here u = s e, v = (s - shorter) e, r = phi(v) - (1 - mu) phi(u), and e ~ N(0, 1).
        """
        phi = self.derivatives[0]

        def compute(level: int) -> tuple:
            found = self.within(xp, LEVELS[level][1] * s)
            places = [0 * s + place / part for place in found for part in ((s, s - shorter) if place else (s,))]

            def parts(e: Array) -> tuple:
                u, h = s[..., None] * e, -shorter[..., None] * e
                first, gap = phi(u), self._gap(xp, u, u + h, h, found)
                rest = gap + mu[..., None] * first
                return gap * gap, -gap * (2 * first + gap), rest * rest, first * rest, first * first

            return xp.normal_mean(parts, places, 1 / s, level, self.power)

        def sizes(found: tuple) -> tuple:
            square, _, rest, _, total = found
            least = rest + ROUNDED * total
            return square, xp.sqrt(square) * xp.sqrt(total), least, xp.sqrt(least) * xp.sqrt(total), total

        return agreed(xp, compute, sizes, f"E[phi(z)^2] of activation {self.name}")
