"""Tails of the normal distributions of one and of two variables, times exponentials that would overflow by themselves.

For standard normal variables X and Y of correlation rho the quadrant x > h, y > k is two wedges at its
corner, between the sides and the direction from the origin. In coordinates in which X and Y are independent, the corner
has the distance h from a side and n = (k - rho h)/sqrt(1 - rho^2) along it, and

    P(X > h, Y > k) = W(h, n) + W(k, n'),   n' = (h - rho k)/sqrt(1 - rho^2),   h^2 + n^2 = k^2 + n'^2,

    W(h, n) = (1/2 pi) e^(-(h^2 + n^2)/2) int_0^oo e^(-y^2/2 - n y) h / (h^2 + (n + y)^2) dy   for n >= 0,

and Q(h) - W(h, -n) for n < 0, Q(h) = erfc(h/sqrt(2))/2. W is odd in h; where h and k are both negative the origin is in
the quadrant, and 1 is added. Near the origin W(h, n) = Q(h)/2 - T(h, n/h) with Owen's function T (Ann. Math. Statist.
27 (1956) 1075). The integrals are taken by one rule of Gauss and Legendre.
"""

from __future__ import annotations

import math
from typing import Any

from infgeo.numeric.runtime.nearly_parallel import magnitude
from infgeo.numeric.runtime.records import Array

NEAR = 2.0  # distance of the corner below which Owen's integral is taken
REACH = 76.0  # twice the exponent at which an integrand is cut off
# Nodes and weights on [0, 1].
RULE = (
    (0.00240639000148932, 0.0061706148999936),
    (0.012635722014345251, 0.014265694314466832),
    (0.030862723998633622, 0.022138719408709904),
    (0.056792236497799485, 0.02964929245771839),
    (0.08999900701304854, 0.03667324070554015),
    (0.12993790421072282, 0.04309508076597664),
    (0.17595317403151223, 0.04880932605205694),
    (0.22728926430558022, 0.05372213505798282),
    (0.2831032461869774, 0.0577528340268628),
    (0.3424786601519183, 0.060835236463901696),
    (0.40444056626319186, 0.06291872817341415),
    (0.4679715535686972, 0.06396909767337608),
    (0.5320284464313028, 0.06396909767337608),
    (0.5955594337368082, 0.06291872817341415),
    (0.6575213398480817, 0.060835236463901696),
    (0.7168967538130225, 0.0577528340268628),
    (0.7727107356944197, 0.05372213505798282),
    (0.8240468259684878, 0.04880932605205694),
    (0.8700620957892772, 0.04309508076597664),
    (0.9100009929869515, 0.03667324070554015),
    (0.9432077635022005, 0.02964929245771839),
    (0.9691372760013663, 0.022138719408709904),
    (0.9873642779856547, 0.014265694314466832),
    (0.9975936099985107, 0.0061706148999936),
)


def scaled_erfc(xp: Any, a: Array, x: Array, rest: Array) -> Any:
    """Return e^a erfc(x), with rest = a - x^2."""
    tail = xp.lib.exp(rest + 0 * x) * xp.erfcx(xp.positive(x))
    return xp.where_nonnegative(
        x, tail, xp.lib.exp(xp.where_nonnegative(x, 0 * x, a + 0 * x)) * xp.erfc(-xp.positive(-x))
    )


def scaled_quadrant(xp: Any, a: Array, h: Array, k: Array, n: Array, n_: Array, rest: Array) -> Any:
    """Return e^a P(X > h, Y > k) from the corner's coordinates and rest = a - (h^2 + n^2)/2; of a = 0 not used."""
    h, k, n, n_ = (part + 0 * (h + k + n + n_) for part in (h, k, n, n_))
    first, second = (xp.where_nonnegative(part, 1.0 + 0 * part, -1.0 + 0 * part) for part in (h, k))
    u, v = first * h, second * k
    rest = -(u * u + n * n) / 2 if isinstance(a, int) else rest + 0 * h  # an int is the literal 0
    # Wedges count with the signs of h and k; with both negative the origin is in the quadrant.
    tail_u, tail_v = half_tail(xp, a, u, n, rest), half_tail(xp, a, v, n_, rest)
    quadrant = first * wedge(xp, u, n, tail_u, rest) + second * wedge(xp, v, n_, tail_v, rest)
    inside = -first - second - 1
    one = xp.lib.exp(xp.where_nonnegative(inside, a + 0 * h, 0 * h))
    return xp.where_nonnegative(inside, one + quadrant, quadrant)


def bivariate_normal(xp: Any, h: Array, k: Array, y: Array, x: Array) -> Any:
    """Return P(X < h, Y < k) of standard normal X and Y of correlation y / sqrt(x^2 + y^2), x >= 0."""
    h, k, x = -h, -k, xp.lib.maximum(x, 1e-150)
    radius = xp.lib.sqrt(x * x + y * y)
    quadrant = scaled_quadrant(xp, 0, h, k, (k * radius - h * y) / x, (h * radius - k * y) / x, 0)
    return xp.lib.where((h == 0) & (k == 0), 0.25 + xp.lib.arctan2(y, x) / (2 * xp.lib.pi), quadrant)


def half_tail(xp: Any, a: Array, h: Array, n: Array, rest: Array) -> Any:
    """Return e^a Q(h), its exponent a - h^2/2 = rest + n^2/2 from the numbers that round less."""
    plain, other = abs(a) + h * h / 2, abs(rest) + n * n / 2
    exponent = xp.where_nonnegative(other - plain, a - h * h / 2, rest + n * n / 2)
    return (
        xp.lib.exp(xp.where_nonnegative(xp.largest_exponent - exponent, exponent, xp.largest_exponent + 0 * h))
        * xp.erfcx(xp.root_half * h)
        / 2
    )


def wedge(xp: Any, h: Array, n: Array, half: Array, rest: Array) -> Any:
    """Return e^a W(h, n), given e^a Q(h)."""
    m = magnitude(xp, n)
    larger, smaller = (xp.where_nonnegative(m - h, *pair) for pair in ((m, h), (h, m)))
    is_far = larger - NEAR
    slope, reach = smaller / (larger + xp.least), REACH / (m + xp.lib.sqrt(m * m + REACH))
    bounded, bounded_h, bounded_m = (xp.where_nonnegative(is_far, 0 * h, part) for part in (larger, h, m))
    far, owen = xp.wedge_integrals(h, m, reach, slope, bounded)
    # All times e^((h^2 + n^2)/2): the integral, Q(h)/2 - T(h, n/h), and Q(h) Q(n) - Q(n)/2 + T(n, h/n).
    tail_h, tail_m = xp.erfcx(xp.root_half * h) / 2, xp.erfcx(xp.root_half * m) / 2
    across = xp.lib.exp(bounded_m * bounded_m / 2) * tail_h / 2 - owen
    along = tail_h * tail_m - xp.lib.exp(bounded_h * bounded_h / 2) * tail_m / 2 + owen
    close = xp.where_nonnegative(m - h, along, across)  # of opposite points both are 0, and n is the larger
    value = xp.lib.exp(rest) * xp.where_nonnegative(is_far, far, close)
    return xp.where_nonnegative(n, value, half - value)


def wedge_integrals(xp: Any, h: Array, m: Array, reach: Array, slope: Array, bounded: Array) -> tuple[Any, Any]:
    """Return the integral in W(h, m), up to `reach`, and e^((1 + slope^2) bounded^2/2) T(bounded, slope)."""

    def integrands(node: Array, weight: Array) -> tuple:
        t, turn = reach * node, slope * node
        far = xp.lib.exp(-(t / 2 + m) * t) * (h / (h * h + (m + t) ** 2))
        near = xp.lib.exp((slope * slope - turn * turn) * bounded * bounded / 2) / (1 + turn * turn)
        return weight * far, weight * near

    far, near = xp.sums_over(RULE, integrands, h)
    return far * reach / (2 * math.pi), near * slope / (2 * math.pi)


def erfcx_by_sums(xp: Any, x: Array) -> Any:
    """Return e^(x^2) erfc(x), x >= 0, for libraries without it: the trapezoidal rule with its correction.

    With steps h = 1/2 it is h x/pi (1/x^2 + 2 sum_n e^(-n^2 h^2) / (x^2 + n^2 h^2)), less 2 e^(x^2)/(e^(2 pi x/h) - 1)
    for x < pi/h, up to e^(-pi^2/h^2). Source: Matta & Reichel, Math. Comp. 25 (1971) 339.
    """
    step, square = 0.5, x * x
    rule = [((n * step) ** 2, math.exp(-((n * step) ** 2))) for n in range(1, 14)]
    (total,) = xp.sums_over(rule, lambda node, weight: (weight / (square + node),), square)
    small = xp.where_nonnegative(x - 1, x, 0 * x + 1.0)
    inside = xp.where_nonnegative(math.pi / step - x, small, 0 * x + 1.0)
    correction = (
        2 * xp.lib.exp(inside * inside - 2 * math.pi * inside / step) / -xp.lib.expm1(-2 * math.pi * inside / step)
    )
    series = step / math.pi * (1 / small + 2 * small * total)
    large = xp.where_nonnegative(math.pi / step - x, series - correction, series)
    below = xp.where_nonnegative(1 - x, x, 0 * x)
    return xp.where_nonnegative(x - 1, large, xp.lib.exp(below * below) * xp.erfc(below))
