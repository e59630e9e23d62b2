"""How nearly parallel features are: Delta = m(p) m(q) - k^2 after a layer, for pairs computed one by one.

A tangent kernel of kinked activations depends on the angle t of preactivations like 1 - t/pi, so sqrt(Delta) must keep
an error of one rounding of sqrt(p q). Of the features' distances alone it does not where these are nearly parallel and
of different lengths: Delta = (delta (2 (p + q) - delta) - omega^2)/4 then cancels. But

- the angle after a homogeneous activation depends on the angle before it alone: with u and v of variance 1,
  E[(phi(u) - phi(v))^2] = 2 m(1) (1 - rho'), and Delta = m(p) m(q) (1 - rho') (1 + rho');
- after an odd one the angle to -phi(v) is that of u to -v: what is nearly opposite is as good as parallel;
- of sums of independent features (biases, residual blocks) Delta is a sum of terms that are not negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from infgeo.numeric.runtime.records import Array, Law, Pairs

CANCELLED = 8  # determinants of less than this part of their terms are computed with twice the digits


def apart_after(xp: Any, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return |phi(u) - phi(v)|^2 and E[phi(u)^2 - phi(v)^2]; also |phi(u) + phi(v)|^2 where an odd law has c < 0."""
    if not law.odd:
        squared, moments = xp.differences(law, pairs, scalars)
        if law.kernel_of_squares and law.difference:  # differences of exponentials may overflow at large angles
            sums = law.moment(pairs.p, *scalars) + law.moment(pairs.q, *scalars)
            direct = xp.where_nonnegative(-pairs.delta, 0 * sums, sums - 2 * xp.kernel(law, pairs, scalars))
            squared = xp.where_nonnegative(2 * direct - sums, direct, squared)
        return squared, moments, squared
    delta = xp.where_nonnegative(pairs.c, pairs.delta, to_opposite(xp, pairs))
    mirrored = replace(pairs, c=magnitude(xp, pairs.c), delta=delta)
    apart, moments = xp.differences(law, mirrored, scalars)
    sums = law.moment(pairs.p, *scalars) + law.moment(pairs.q, *scalars)
    return xp.where_nonnegative(pairs.c, apart, 2 * sums - apart), moments, apart


def subtracted(xp: Any, law: Law, pairs: Pairs, scalars: Sequence[Any], apart: Any = 1) -> tuple[Any, Any]:
    """Return E[(phi(u) - phi(v))^2] and E[phi(u)^2 - phi(v)^2] by subtraction; the first is 0 where `apart` is."""
    first, second = law.moment(pairs.p, *scalars), law.moment(pairs.q, *scalars)
    return apart * (first + second - 2 * xp.kernel(law, pairs, scalars)), first - second


def of_pairs(
    xp: Any, kernel: Callable | None, of_squares: Callable | None, pairs: Pairs, scalars: Sequence[Any]
) -> Any:
    """Return a kernel; one of exponentials or tails takes |u - v|^2, |u + v|^2 and p - q too, not to lose digits."""
    pair = pairs.p, pairs.q, pairs.c, pairs.Delta
    assert kernel is not None
    if not of_squares:
        return kernel(*pair, *scalars)
    total = pairs.p + pairs.q
    near = xp.where_nonnegative(pairs.c, pairs.delta, total - 2 * pairs.c)
    far = xp.where_nonnegative(pairs.c, total + 2 * pairs.c, to_opposite(xp, pairs))
    if xp.lib is not None:  # where one is 0 its quotient with Delta is not: near far = 4 Delta + (p - q)^2
        least = xp.ratio(2 * xp.above_zero(0 * pairs.Delta, pairs.p * pairs.q), total)
        near, far = (xp.where_nonnegative(part - least, part, least) for part in (near, far))
    return of_squares(*pair, near, far, pairs.omega, *scalars)


def magnitude(xp: Any, x: Array) -> Any:
    """Return |x|, at 0 with the derivative of x, as choices by `where_nonnegative` have it; that of `abs` is 0."""
    return xp.where_nonnegative(x, x, -x)


def to_opposite(xp: Any, pairs: Pairs) -> Any:
    """Return p + q + 2c, the squared distance of u to -v; 0 where u and v are the same."""
    return xp.ratio(4 * pairs.Delta + pairs.omega * pairs.omega, pairs.delta)


def determinant_after(
    xp: Any, law: Law, pairs: Pairs, after: Pairs, apart: Array, scalars: Sequence[Any], plain: bool
) -> Any:
    """Return Delta of the features `after` a law, from the pairs of its preactivations and the third of `apart_after`.

    `plain` says that the features' distances will do, with an error of one rounding of p q.
    """
    p, q = after.p, after.q
    if plain or not law.homogeneous:
        area, by_areas = apart * (2 * (p + q) - apart) / 4, p * q - apart * (p + q)
        Delta = xp.where_nonnegative(by_areas, area - after.omega * after.omega / 4, p * q - after.c * after.c)
        if plain or not law.determinant:
            return xp.positive(Delta)
        cancelled = xp.where_nonnegative(by_areas, area, p * q) - CANCELLED * Delta  # then with twice the digits
        return law.determinant(xp, cancelled, pairs, scalars, xp.positive(Delta))
    lengths = xp.sqrt(pairs.p) * xp.sqrt(pairs.q)
    rho, square_of_sine = xp.ratio(pairs.c, lengths), xp.ratio(pairs.Delta, lengths * lengths)
    square_of_sine = xp.where_nonnegative(-lengths, xp.ratio(pairs.delta, pairs.delta), square_of_sine)  # of 0 and x: 1
    rho = magnitude(xp, rho) if law.odd else rho
    delta = xp.where_nonnegative(rho, 2 * square_of_sine / (1 + magnitude(xp, rho)), 2 * (1 - rho))
    unit = Pairs(p=0 * rho + 1, q=0 * rho + 1, c=rho, omega=0 * rho, delta=delta, Delta=square_of_sine)
    versine = xp.differences(law, unit, scalars)[0] / (2 * law.moment(unit.p, *scalars))
    return p * versine * (q * (2 - versine))


def determinant_of_sum(xp: Any, pairs: Pairs, Delta: Array, after: Pairs, skip: Any, branch: Any) -> Any:
    """Return Delta of sqrt(skip) h + sqrt(branch) phi from those of the features h (`pairs`) and phi (`after`, Delta).

    The mixed term p m(q) + q m(p) - 2 c k is the square of the difference of its roots, and twice that of the angles.
    """
    p, q, c = pairs.p, pairs.q, pairs.c
    first, second = xp.sqrt(p) * xp.sqrt(after.q), xp.sqrt(q) * xp.sqrt(after.p)
    across = pairs.omega * (after.p + after.q) - after.omega * (p + q)
    # Of close lengths from their differences.
    lengths = xp.where_nonnegative(p + q - 4 * abs(pairs.omega), xp.ratio(across / 2, first + second), first - second)
    both, product = first * second, c * after.c
    close = xp.ratio(pairs.Delta * after.p * after.q + c * c * Delta, both + magnitude(xp, product))
    mixed = lengths * lengths + 2 * xp.where_nonnegative(product, close, both - product)
    return skip * skip * pairs.Delta + branch * branch * Delta + skip * branch * mixed
