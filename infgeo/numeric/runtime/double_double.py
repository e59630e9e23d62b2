"""Double-double numbers, in which the determinant m(p) m(q) - k^2 of nearly parallel features keeps its digits.

An activation that is nearly homogeneous, as erf at small variances, takes parallel points of different lengths to
nearly parallel features: their angle is the root of a difference of nearly equal products, of which rounding leaves the
root of one rounding. So these three values are computed with twice the digits, as sums of two numbers of which the
second is below half a unit of the last digit of the first (Dekker 1971), and the root keeps all of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from infgeo.numeric.runtime.records import Array, Pairs


class DoubleDouble:
    """The sum of two numbers, or arrays of the library `xp`; with the operations of formulas."""

    __array_ufunc__ = None  # arrays to the left leave the operation to this class

    def __init__(self, high: Any, low: Any = 0.0, xp: Any = None) -> None:
        """Hold high + low."""
        self.high, self.low, self.xp = high, low, xp

    def __add__(self, other: Any) -> Any:
        other = double_double(other)
        high, low = two_sum(self.high, other.high)
        rest, least = two_sum(self.low, other.low)
        high, low = normal(high, low + rest)
        return DoubleDouble(*normal(high, low + least), self.xp or other.xp)

    def __mul__(self, other: Any) -> Any:
        other = double_double(other)
        high, low = two_product(self.high, other.high, self.xp or other.xp)
        low = low + (self.high * other.low + self.low * other.high)
        return DoubleDouble(*normal(high, low), self.xp or other.xp)

    def __truediv__(self, other: Any) -> Any:
        other = double_double(other)
        first = self.high / other.high
        rest = self - other * first
        second = rest.high / other.high
        third = (rest - other * second).high / other.high
        return DoubleDouble(*normal(*normal(first, second)), self.xp or other.xp) + third

    def __pow__(self, n: int) -> Any:
        result = self
        for bit in bin(n)[3:]:
            result = result * result
            result = result * self if bit == "1" else result
        return result

    def __neg__(self) -> Any:
        return self.scaled(-1)

    def scaled(self, power: Any) -> Any:
        """Return this times a power of two."""
        return DoubleDouble(self.high * power, self.low * power, self.xp)

    def __sub__(self, other: Any) -> Any:
        return self + -double_double(other)

    def __rsub__(self, other: Any) -> Any:
        return double_double(other) - self

    def __rtruediv__(self, other: Any) -> Any:
        return double_double(other) / self

    __radd__, __rmul__ = __add__, __mul__


def double_double(x: Array) -> DoubleDouble:
    """Return a number as one of this kind."""
    return x if isinstance(x, DoubleDouble) else DoubleDouble(float(x) if isinstance(x, int) else x)


def two_sum(a: Array, b: Array) -> tuple[Any, Any]:
    """Return a + b rounded, and its error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def normal(a: Array, b: Array) -> tuple[Any, Any]:
    """Return a + b rounded, and its error, for |a| >= |b|."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Array, b: Array, xp: Any) -> tuple[Any, Any]:
    """Return a b rounded, and its error."""
    product = xp.settled(a * b) if xp else a * b
    (a_high, a_low), (b_high, b_low) = halves(a, xp), halves(b, xp)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def halves(a: Array, xp: Any) -> tuple[Any, Any]:
    """Return the leading half of the digits of a double, and the rest (Dekker's splitting)."""
    shifted = a * 134217729.0
    leading = xp.leading_half(a) if xp and hasattr(a, "dtype") else shifted - (shifted - a)
    return leading, a - leading


def dd_sqrt(x: DoubleDouble) -> DoubleDouble:
    """Return the square root."""
    root = x.xp.sqrt(x.high)
    rest = x - DoubleDouble(*two_product(root, root, x.xp))
    return DoubleDouble(*normal(root, x.xp.ratio(rest.high, 2 * root)), x.xp)


def dd_power(x: DoubleDouble, halves: int) -> DoubleDouble:
    """Return x^(halves/2), halves >= 1."""
    if halves == 1:
        return dd_sqrt(x)
    power = x ** (halves // 2)
    return power * dd_sqrt(x) if halves % 2 else power


LOG_2 = DoubleDouble(0.6931471805599453, 2.3190468138462996e-17)
HALF_PI = DoubleDouble(1.5707963267948966, 6.123233995736766e-17)
INVERSE_FACTORIALS = [1 / DoubleDouble(float(math.factorial(n))) for n in range(23)]


def whole_and_rest(x: DoubleDouble, unit: DoubleDouble) -> tuple:
    """Return n and x - n `unit` for the nearest whole number n."""
    n = x.xp.lib.floor(x.high / unit.high + 0.5)
    return n, x - unit * n


def exponential(x: DoubleDouble) -> tuple:
    """Return e^r - 1 and 2^n with x = n log 2 + r, by the series at r/64."""
    n, rest = whole_and_rest(x, LOG_2)
    rest = rest.scaled(1 / 64)
    series = INVERSE_FACTORIALS[13]
    for coefficient in INVERSE_FACTORIALS[12:0:-1]:
        series = series * rest + coefficient
    result = series * rest
    for _ in range(6):
        result = result * (result + 2)
    return result, x.xp.power_of_two(n)


def dd_expm1(x: DoubleDouble) -> DoubleDouble:
    """Return e^x - 1, relatively accurate at small x."""
    less, power = exponential(x)
    return less.scaled(power) + (DoubleDouble(power) - 1)


def dd_exp(x: DoubleDouble) -> DoubleDouble:
    """Return e^x."""
    less, power = exponential(x)
    return (less + 1).scaled(power)


def dd_exp_difference(a: Array, b: Array, difference: DoubleDouble) -> DoubleDouble:
    """Return e^a - e^b, where a - b is known."""
    a, b = (double_double(x) + difference.scaled(0.0) for x in (a, b))
    larger = choice(difference.high, a, b)
    return dd_exp(larger) * choice(difference.high, -dd_expm1(-difference), dd_expm1(difference))


def choice(sign: Array, yes: DoubleDouble, no: DoubleDouble) -> DoubleDouble:
    """Return `yes` where the sign is not negative, else `no`."""
    xp = yes.xp or no.xp
    high, low = xp.where_nonnegative(sign, yes.high, no.high), xp.where_nonnegative(sign, yes.low, no.low)
    return DoubleDouble(high, low, xp)


def sine_and_cosine(x: DoubleDouble) -> tuple[DoubleDouble, DoubleDouble]:
    """Return sin x and cos x, by their series at r/8 with x = n pi/2 + r."""
    n, rest = whole_and_rest(x, HALF_PI)
    rest = rest.scaled(1 / 8)
    square = -(rest * rest)
    sine, versine = INVERSE_FACTORIALS[21], INVERSE_FACTORIALS[22]
    for k in range(19, 0, -2):
        sine, versine = sine * square + INVERSE_FACTORIALS[k], versine * square + INVERSE_FACTORIALS[k + 1]
    sine, versine = sine * rest, -(versine * square)
    for _ in range(3):
        sine, versine = 2 * sine * (1 - versine), 2 * sine * sine
    floor = x.xp.lib.floor
    cosine, quarter = 1 - versine, n - 4 * floor(n / 4)
    odd = quarter - 2 * floor(quarter / 2) - 1
    first, second = choice(odd, cosine, sine), choice(odd, sine, cosine)
    return choice(1.5 - quarter, first, -first), choice(abs(quarter - 1.5) - 1, second, -second)


def dd_sin(x: DoubleDouble) -> DoubleDouble:
    """Return sin x."""
    return sine_and_cosine(x)[0]


def dd_cos(x: DoubleDouble) -> DoubleDouble:
    """Return cos x."""
    return sine_and_cosine(x)[1]


def dd_atan2(y: Array, x: Array) -> DoubleDouble:
    """Return atan2(y, x), by one step of Newton's method."""
    y, x = double_double(y), double_double(x)
    xp = y.xp or x.xp
    angle = xp.lib.arctan2(y.high, x.high)
    sine, cosine = sine_and_cosine(DoubleDouble(angle, 0.0, xp))
    rest = (y * cosine - x * sine).high
    return DoubleDouble(*normal(angle, xp.ratio(rest, (x * cosine + y * sine).high)), xp)


def dd_atan(x: DoubleDouble) -> DoubleDouble:
    """Return atan x."""
    return dd_atan2(x, x.scaled(0.0) + 1)


def determinant_by(kernel: Callable, moment: Callable) -> Callable:
    """Return `determinant` of a law from its kernel and its moment in double-double numbers.

    They take p as it is, of near variances q as p - omega, and of nearly parallel pairs c as the root of p q - Delta:
    the determinant depends on the squared differences, in which the roundings of q and c would be too large.
    """

    def determinant(xp: Any, cancelled: Any, pairs: Pairs, scalars: Sequence[Any], values: Array) -> Any:
        """Return m(p) m(q) - k^2 of the pairs where `cancelled` > 0, and `values` of the others."""

        def exact(p: Array, q: Array, c: Array, omega: Array, _: Array, Delta: Array, *scalars: Any) -> Any:
            """Return m(p) m(q) - k^2, with an error of one rounding of its root."""
            numbers = [DoubleDouble(value, 0.0, xp) for value in scalars]
            u, v, w, area = (DoubleDouble(part, 0.0, xp) for part in (p, q, c, Delta))
            v = choice(q - 2 * abs(omega), u - omega, v)
            product = u * v
            root = dd_sqrt(product - area)
            near = product.high - 2 * area.high
            w, area = choice(near, choice(c, root, -root), w), choice(near, area, product - w * w)
            k = kernel(u, v, w, area, *numbers)
            return (xp.positive((moment(u, *numbers) * moment(v, *numbers) - k * k).high),)

        return xp.refined(exact, cancelled, pairs, scalars, (values,))[0]

    return determinant


def as_doubles(xp: Any, function: Callable) -> Callable:
    """Return a function of double-double numbers as one of doubles."""

    def rounded(*arguments: Any) -> Any:
        results = function(*(DoubleDouble(1.0 * x, 0.0, xp) for x in arguments))
        several = isinstance(results, tuple)
        zero = 0 * arguments[0]
        values = [part.high + part.low + zero for part in map(double_double, results if several else (results,))]
        return tuple(values) if several else values[0]

    return rounded
