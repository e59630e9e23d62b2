"""Twofold numbers, in which the determinant m(p) m(q) - k^2 of nearly parallel features keeps its digits.

An activation that is nearly homogeneous, as erf at small variances, takes parallel points of different lengths to
nearly parallel features: their angle is the root of a difference of nearly equal products, of which rounding leaves the
root of one rounding. So these three values are computed with twice the digits, as sums of two numbers of which the
second is below half a unit of the last digit of the first (Dekker 1971), and the root keeps all of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above, or below.
    from infgeo.numeric.runtime.blocks_numpy import _cast
    from infgeo.numeric.runtime.for_numpy import (
        _leading_half,
        _positive,
        _power_of_two,
        _ratio,
        _refined,
        _settled,
        _sqrt,
        _where_nonnegative,
        _xp,
    )


class _Twofold:
    """The sum of two numbers, or arrays; with the operations of formulas."""

    __array_ufunc__ = None  # arrays to the left leave the operation to this class

    def __init__(self, high: Any, low: Any = 0.0) -> None:
        self.high, self.low = high, low

    def __add__(self, other: Any) -> _Twofold:
        other = _twofold(other)
        high, low = _sum(self.high, other.high)
        rest, least = _sum(self.low, other.low)
        high, low = _normal(high, low + rest)
        return _Twofold(*_normal(high, low + least))

    def __mul__(self, other: Any) -> _Twofold:
        other = _twofold(other)
        high, low = _product(self.high, other.high)
        return _Twofold(*_normal(high, low + (self.high * other.low + self.low * other.high)))

    def __truediv__(self, other: Any) -> _Twofold:
        other = _twofold(other)
        first = self.high / other.high
        rest = self - other * first
        second = rest.high / other.high
        third = (rest - other * second).high / other.high
        return _Twofold(*_normal(*_normal(first, second))) + third

    def __pow__(self, n: int) -> _Twofold:
        result = self
        for bit in bin(n)[3:]:
            result = result * result
            result = result * self if bit == "1" else result
        return result

    def __neg__(self) -> _Twofold:
        return _Twofold(-self.high, -self.low)

    def __sub__(self, other: Any) -> _Twofold:
        return self + -_twofold(other)

    def __rsub__(self, other: Any) -> _Twofold:
        return _twofold(other) - self

    def __rtruediv__(self, other: Any) -> _Twofold:
        return _twofold(other) / self

    __radd__, __rmul__ = __add__, __mul__


def _twofold(x: Any) -> _Twofold:
    return x if isinstance(x, _Twofold) else _Twofold(float(x) if isinstance(x, int) else x)


def _sum(a: Any, b: Any) -> tuple:
    """Return a + b rounded, and its error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _normal(a: Any, b: Any) -> tuple:
    """Return a + b rounded, and its error, for |a| >= |b|."""
    total = a + b
    return total, b - (total - a)


def _product(a: Any, b: Any) -> tuple:
    """Return a b rounded, and its error."""
    product = _settled(a * b)
    a_high, b_high = _half(a), _half(b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _half(a: Any) -> Any:
    if hasattr(a, "dtype"):
        return _leading_half(a)
    shifted = a * 134217729.0
    return shifted - (shifted - a)


def _twofold_sqrt(x: Any) -> _Twofold:
    x = _twofold(x)
    root = _sqrt(x.high)
    rest = x - _Twofold(*_product(root, root))
    return _Twofold(*_normal(root, _ratio(rest.high, 2 * root)))


def _twofold_power(x: Any, halves: int) -> _Twofold:
    """Return x^(halves/2), halves >= 1."""
    if halves == 1:
        return _twofold_sqrt(x)
    power = _twofold(x) ** (halves // 2)
    return power * _twofold_sqrt(x) if halves % 2 else power


_LOG_2 = _Twofold(0.6931471805599453, 2.3190468138462996e-17)
_HALF_PI = _Twofold(1.5707963267948966, 6.123233995736766e-17)
_INVERSE_FACTORIALS = [1 / _Twofold(float(math.factorial(n))) for n in range(23)]


def _whole_and_rest(x: _Twofold, unit: _Twofold) -> tuple:
    """Return n and x - n `unit` for the nearest whole number n."""
    n = _xp.floor(x.high / unit.high + 0.5)
    return n, x - unit * n


def _exponential(x: Any) -> tuple:
    """Return e^r - 1 and 2^n with x = n log 2 + r, by the series at r/64."""
    n, rest = _whole_and_rest(_twofold(x), _LOG_2)
    rest = _Twofold(rest.high / 64, rest.low / 64)
    series = _INVERSE_FACTORIALS[13]
    for coefficient in _INVERSE_FACTORIALS[12:0:-1]:
        series = series * rest + coefficient
    result = series * rest
    for _ in range(6):
        result = result * (result + 2)
    return result, _power_of_two(n)


def _twofold_expm1(x: Any) -> _Twofold:
    """Return e^x - 1, relatively accurate at small x."""
    less, power = _exponential(x)
    return _Twofold(less.high * power, less.low * power) + (_Twofold(power) - 1)


def _twofold_exp(x: Any) -> _Twofold:
    less, power = _exponential(x)
    result = less + 1
    return _Twofold(result.high * power, result.low * power)


def _twofold_exp_difference(a: Any, b: Any, difference: Any) -> _Twofold:
    """Return e^a - e^b, where a - b is known."""
    a, b, difference = _twofold(a), _twofold(b), _twofold(difference)
    larger = _choice(difference.high, a, b)
    return _twofold_exp(larger) * _choice(difference.high, -_twofold_expm1(-difference), _twofold_expm1(difference))


def _choice(sign: Any, yes: _Twofold, no: _Twofold) -> _Twofold:
    return _Twofold(_where_nonnegative(sign, yes.high, no.high), _where_nonnegative(sign, yes.low, no.low))


def _sine_and_cosine(x: Any) -> tuple[_Twofold, _Twofold]:
    """Return sin x and cos x, by their series at r/8 with x = n pi/2 + r."""
    n, rest = _whole_and_rest(_twofold(x), _HALF_PI)
    rest = _Twofold(rest.high / 8, rest.low / 8)
    square = -(rest * rest)
    sine, versine = _INVERSE_FACTORIALS[21], _INVERSE_FACTORIALS[22]
    for k in range(19, 0, -2):
        sine, versine = sine * square + _INVERSE_FACTORIALS[k], versine * square + _INVERSE_FACTORIALS[k + 1]
    sine, versine = sine * rest, -(versine * square)
    for _ in range(3):
        sine, versine = 2 * sine * (1 - versine), 2 * sine * sine
    cosine, quarter = 1 - versine, n - 4 * _xp.floor(n / 4)
    odd = quarter - 2 * _xp.floor(quarter / 2) - 1
    first, second = _choice(odd, cosine, sine), _choice(odd, sine, cosine)
    return _choice(1.5 - quarter, first, -first), _choice(abs(quarter - 1.5) - 1, second, -second)


def _twofold_sin(x: Any) -> _Twofold:
    return _sine_and_cosine(x)[0]


def _twofold_cos(x: Any) -> _Twofold:
    return _sine_and_cosine(x)[1]


def _twofold_atan2(y: Any, x: Any) -> _Twofold:
    """Return atan2(y, x), by one step of Newton's method."""
    y, x = _twofold(y), _twofold(x)
    angle = _xp.arctan2(y.high, x.high)
    sine, cosine = _sine_and_cosine(angle)
    rest = (y * cosine - x * sine).high
    return _Twofold(*_normal(angle, _ratio(rest, (x * cosine + y * sine).high)))


def _twofold_atan(x: Any) -> _Twofold:
    x = _twofold(x)
    return _twofold_atan2(x, _Twofold(0 * x.high + 1, 0 * x.high))


def _as_doubles(function: Callable) -> Callable:
    """Return a function of twofold numbers as one of doubles."""

    def rounded(s: Any, *scalars: Any) -> Any:
        results = function(_Twofold(s), *(_Twofold(1.0 * x) for x in scalars))
        several = isinstance(results, tuple)
        values = [part.high + part.low + 0 * s for part in map(_twofold, results if several else (results,))]
        return tuple(values) if several else values[0]

    return rounded


def _determinant_by(kernel: Callable, moment: Callable) -> Callable:
    """Return `determinant` of a law from its kernel and its moment in twofold numbers.

    They take p and q as they are, and of nearly parallel pairs c as the root of p q - Delta.
    """

    def exact(p: Any, q: Any, c: Any, Delta: Any, *scalars: Any) -> Any:
        """Return m(p) m(q) - k^2, with an error of one rounding of its root."""
        numbers = [_Twofold(value) for value in scalars]
        u, v, w, area = (_Twofold(_at_least_double(part)) for part in (p, q, c, Delta))
        product = u * v
        root = _twofold_sqrt(product - area)
        near = product.high - 2 * area.high
        w, area = _choice(near, _choice(c, root, -root), w), _choice(near, area, product - w * w)
        k = kernel(u, v, w, area, *numbers)
        return _cast(_positive((moment(u, *numbers) * moment(v, *numbers) - k * k).high), p.dtype)

    def determinant(cancelled: Any, state: SimpleNamespace, scalars: tuple, values: Any) -> Any:
        """Return m(p) m(q) - k^2 of the pairs where `cancelled` > 0, and `values` of the others."""
        return _refined(exact, cancelled, state, scalars, values)

    return determinant


def _at_least_double(x: Any) -> Any:
    return _cast(x, _xp.float64) if x.dtype == _xp.float32 else x
