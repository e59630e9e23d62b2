"""The error function and its complement in double-double numbers."""

from __future__ import annotations

from infgeo.numeric.runtime.double_double import (
    INVERSE_FACTORIALS,
    DoubleDouble,
    choice,
    dd_exp,
    dd_expm1,
    double_double,
)

SMALL, LARGE = 0.5, 8.875  # the series of erf below the first, no correction from the second on, pi/h
TERMS = 25
TWO_OVER_ROOT_PI = DoubleDouble(1.1283791670955126, 1.533545961316588e-17)
H_OVER_PI = DoubleDouble(0.11253953951963826, 1.7241534395438679e-18)
PERIOD = DoubleDouble(17.771531752633464, 5.80909572490434e-16)  # 2 pi/h
FALL = DoubleDouble(0.8824969025845955, -5.224526916735663e-17)  # e^(-h^2)
WEIGHTS = [FALL ** (n * n) for n in range(1, TERMS + 1)]


def dd_erfcx(x: DoubleDouble) -> DoubleDouble:
    """Return e^(x^2) erfc(x), x >= 0: the trapezoidal rule with steps h = 1/sqrt(8) and its correction.

    See `normal_tails.erfcx_by_sums`.
    """
    one = x.scaled(0.0) + 1
    low, middle = choice(SMALL - x.high, x, one), choice(x.high - SMALL, x, one)
    square = middle * middle
    total = square.scaled(0.0)
    for n, weight in enumerate(WEIGHTS, start=1):
        total = total + weight / (square + n * n / 8)
    sums = H_OVER_PI * (1 / middle + middle.scaled(2) * total)
    inside = choice(LARGE - middle.high, middle, one)
    correction = dd_exp(inside * inside - PERIOD * inside).scaled(2) / -dd_expm1(-PERIOD * inside)
    sums = choice(LARGE - middle.high, sums - correction, sums)
    return choice(SMALL - x.high, dd_exp(low * low) * (1 - series(low)), sums)


def series(x: DoubleDouble) -> DoubleDouble:
    """Return erf(x) for |x| <= 1/2 by its Taylor series."""
    square = -(x * x)
    total = x.scaled(0.0)
    for n in range(20, -1, -1):
        total = total * square + INVERSE_FACTORIALS[n] / DoubleDouble(2.0 * n + 1)
    return TWO_OVER_ROOT_PI * x * total


def dd_erfc(x: DoubleDouble) -> DoubleDouble:
    """Return 1 - erf(x)."""
    return dd_scaled_erfc(x.scaled(0.0), x, -(x * x))


def dd_erf(x: DoubleDouble) -> DoubleDouble:
    """Return erf(x)."""
    zero = x.scaled(0.0)
    low = choice(SMALL - abs(x.high), x, zero)
    size = choice(x.high, x, -x)
    far = 1 - dd_exp(-(size * size)) * dd_erfcx(size)
    return choice(SMALL - abs(x.high), series(low), choice(x.high, far, -far))


def dd_scaled_erfc(a: DoubleDouble, x: DoubleDouble, rest: DoubleDouble) -> DoubleDouble:
    """Return e^a erfc(x) from a, x and a - x^2."""
    a, x, rest = (double_double(part) + x.scaled(0.0) for part in (a, x, rest))
    size = choice(x.high, x, -x)
    scaled = dd_erfcx(size)
    over = dd_exp(choice(x.high, x.scaled(0.0), a)) * (2 - dd_exp(-(size * size)) * scaled)
    return choice(x.high, dd_exp(rest) * scaled, over)
