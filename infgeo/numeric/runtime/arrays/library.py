"""What NumPy, torch and jax do alike: `lib` is the module, whose functions have the same names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.normal_mean import normal_mean
from infgeo.numeric.runtime.normal_tails import scaled_erfc, scaled_quadrant, wedge_integrals
from infgeo.numeric.runtime.records import Array, Pairs

AT_ONCE = 2**20  # numbers of a sum over nodes that are held at a time

# sin t - t cos t = sum_n (-1)^(n+1) 2n t^(2n+1) / (2n+1)!, used below t = 1.
SINE_SERIES = [1 / 3, -1 / 30, 1 / 840, -1 / 45360, 1 / 3991680, -1 / 518918400, 1 / 93405312000, -1 / 22230464256000]


def in_words(x: Array) -> str:
    """Return a positive number roughly."""
    power = math.log10(x) if 0 < x < math.inf else -math.inf if x == 0 else math.inf
    return f"1e{round(power)}" if math.isfinite(power) else "0" if power < 0 else "infinity"


class ArrayLibrary:
    """An array library with NumPy's names."""

    lib: Any
    kind: Any  # the class of its arrays
    root_half = math.sqrt(0.5)
    least = 1e-30  # in the place of 0 in quotients, in single precision too
    largest_exponent = 700.0  # of what is not used in the end where it is larger
    largest_scale = 1e38  # the fourth power of a larger one overflows

    def masked(self, name: str) -> InputError:
        """Return the error for masked arrays."""
        return InputError(f"{name} is a masked array, masks are not kept: pass {name}.filled(...) or the rows in use")

    def no_array(self, name: str, error: Exception) -> InputError:
        """Return the error for what is no array of numbers."""
        return InputError(f"{name} cannot be made an array ({error}): pass rows of floats of equal length")

    def of_wrong_dtype(self, name: str, dtype: Any) -> InputError:
        """Return the error for arrays of other numbers."""
        return InputError(f"{name} has dtype {dtype}: pass float64 or float32, for example {name}.astype(float)")

    def shaped(self, array: Any, name: str, rows: bool) -> Any:
        """Return points (..., d), checked to have d >= 1; raises InputError."""
        if array.ndim == 0 or array.shape[-1] == 0 or (rows and array.ndim != 2):
            expected = "(N, d)" if rows else "(..., d)"
            raise InputError(
                f"{name} has shape {tuple(array.shape)}, expected {expected} with d >= 1: reshape it to rows of points"
            )
        return array

    def known(self, x: Array) -> Any:
        """Return values, or None inside a transformation, where they may not be looked at."""
        return x

    def if_any(self, condition: Any, yes: Callable, no: Callable) -> Any:
        """Return `yes()` where a condition holds anywhere, or may, else `no()`."""
        known = self.known(condition)
        return yes() if known is None or bool(known.any()) else no()

    def settled(self, x: Array) -> Any:
        """Return a number that a compiler makes no part of a fused product and sum, which is rounded once."""
        return x

    def several(self: Any, name: str, value: Any) -> Any:
        """Return a list or an array of numbers as an array (n,) in double precision; raises InputError."""
        shape = tuple(getattr(value, "shape", (len(value),)))
        if len(shape) != 1 or not shape[0]:
            raise InputError(f"{name} has shape {shape}: pass a number, or one for each coordinate")
        if isinstance(value, self.kind) and "float" in str(value.dtype):
            return self.double(value)
        return self.lib.stack([self.scalar(f"{name}[{i}]", part) for i, part in enumerate(value)])

    def scaled(self: Any, X: Array, scales: Array) -> Any:
        """Return points with each coordinate times its scale."""
        with self.quiet():
            return X * self.cast(scales, X)

    def scaled_matrix(self: Any, g: Array, scales: Array) -> Any:
        """Return matrices with each row and column times its scale."""
        scales = self.cast(scales, g)
        return g * (scales[:, None] * scales)

    def geometric_mean(self, scales: Array) -> Any:
        """Return the geometric mean of positive numbers."""
        return self.lib.exp(self.lib.log(scales).mean())

    def dimension(self, X: Array) -> int:
        """Return d of points (..., d)."""
        return X.shape[-1]

    def where_nonnegative(self, x: Array, yes: Any, no: Any) -> Any:
        """Return `yes` where x >= 0, else `no`."""
        return self.lib.where(x >= 0, yes, no)

    def ratio(self, a: Array, b: Array) -> Any:
        """Return a/b, and 0 where b is 0."""
        zero = b == 0
        return self.lib.where(zero, 0, a / self.lib.where(zero, 1, b))

    def sum_squares(self, X: Array) -> Any:
        """Return |x|^2 of points (..., d)."""
        return (X * X).sum(-1)

    def exp_difference(self, a: Array, b: Array, difference: Any) -> Any:
        """Return e^a - e^b from a, b and a - b."""
        falls = difference >= 0
        fall = self.lib.expm1(-self.lib.where(falls, difference, 0))
        rise = self.lib.expm1(self.lib.where(falls, 0, difference))
        first, second = (self.lib.exp(x + 0 * difference) for x in (a, b))
        return self.lib.where(falls, -first * fall, second * rise)

    def sin_minus_theta_cos(self, t: Array) -> Any:
        """Return sin t - t cos t."""
        square = self.lib.where(t < 1, t, 1) ** 2
        series = 0 * square
        for coefficient in reversed(SINE_SERIES):
            series = series * square + coefficient
        return self.lib.where(t < 1, t * square * series, self.lib.sin(t) - t * self.lib.cos(t))

    def scaled_erfc(self, a: Array, x: Array, rest: Any) -> Any:
        """Return e^a erfc(x) from a, x and a - x^2."""
        return scaled_erfc(self, a, x, rest)

    def scaled_quadrant(self, a: Any, h: Array, k: Array, n: Array, n_: Array, rest: Any) -> Any:
        """Return e^a P(X > h, Y > k), see `normal_tails`."""
        return scaled_quadrant(self, a, h, k, n, n_, rest)

    def wedge_integrals(self, h: Array, m: Array, reach: Array, slope: Array, bounded: Array) -> tuple[Any, Any]:
        """Return the two integrals of `normal_tails.wedge`."""
        return wedge_integrals(self, h, m, reach, slope, bounded)

    def above_zero(self, Delta: Array, product: Array) -> Any:
        """Return Delta, more than 0 beside p q by less than any two points make it."""
        return self.lib.maximum(Delta, float(self.lib.finfo(product.dtype).tiny) ** 0.5 * product)

    def leading_half(self, a: Array) -> Any:
        """Return `a` rounded to half its digits (Dekker's splitting)."""
        shifted = a * (4097.0 if self.lib.finfo(a.dtype).bits == 32 else 134217729.0)
        return shifted - (shifted - a)

    def as_array(self, v: Any) -> Any:
        """Return a number as an array without dimension; arrays as they are."""
        return v if hasattr(v, "dtype") else self.lib.asarray(v, dtype=float)

    def at_least(self, x: Array, bound: float) -> Any:
        """Return the larger of the two."""
        return self.lib.where(x >= bound, x, bound)

    def in_order(self, arrays: Sequence[Array]) -> list[Any]:
        """Return arrays whose elements increase from one to the next."""
        found = self.lib.sort(self.lib.stack(list(arrays), -1))
        return [found[..., i] for i in range(len(arrays))]

    def normal_mean(self, function: Callable, places: Sequence[Array], width: Array, level: int, power: float) -> tuple:
        """Return expectations over a normal variable, see `normal_mean`."""
        return normal_mean(self, function, places, width, level, power)

    def in_parts(self, function: Callable, arrays: Sequence[Array], numbers: int) -> tuple:
        """Return what `function` makes of arrays of one shape, a part at a time; an element takes so many numbers."""
        flat, step = [x.reshape(-1) for x in arrays], max(1, AT_ONCE // numbers)
        starts = range(0, max(1, len(flat[0])), step)
        parts = [function(*(x[start : start + step] for x in flat)) for start in starts]
        return tuple(self.lib.concatenate(found).reshape(arrays[0].shape) for found in zip(*parts, strict=True))

    def row(self, values: Sequence[float], like: Array) -> Any:
        """Return numbers as an array of the format of another."""
        return self.lib.asarray(values, dtype=like.dtype)

    def weighted_sum(
        self, function: Callable, arrays: Sequence[Any], scalars: Sequence[Any], a: Sequence, b: Sequence, w: Sequence
    ) -> Any:
        """Return sum_k w_k function(*arrays, a_k, b_k, *scalars), some k at a time; of several results each."""
        first: Any = sum(0 * part for part in arrays)
        rows = [self.row(values, first) for values in (a, b, w)]
        wide = [part[..., None] for part in arrays]
        step, total = max(1, AT_ONCE // max(1, math.prod(first.shape))), list[Any]()
        for start in range(0, len(w), step):
            left, right, weights = (part[start : start + step] for part in rows)
            found = function(*wide, left, right, *scalars)
            several = found if isinstance(found, tuple) else (found,)
            sums = [(part * weights).sum(-1) for part in several]
            total = [old + new for old, new in zip(total, sums, strict=True)] if total else sums
        return tuple(total) if isinstance(found, tuple) else total[0]

    def sums_over(self, rule: Sequence, function: Callable, like: Array) -> list[Any]:
        """Return the sums of what `function` makes, of arrays such as `like`, of the nodes and weights of a rule."""
        totals = list(function(*rule[0]))
        for node, weight in rule[1:]:
            totals = [total + part for total, part in zip(totals, function(node, weight), strict=True)]
        return totals

    def close_pairs(self, x: Array, y: Array) -> tuple[Any, Any, Any]:
        """Return |x - y|^2, |x|^2 - |y|^2 and |x|^2 |y|^2 - (x.y)^2 for nearly parallel points.

        The last is |x|^2 |y - t x|^2 with t = x.y/|x|^2; products of halves of the digits make the residual exact.
        """
        difference = y - x
        s = self.sum_squares(x)
        divisor = self.lib.where(s == 0, 1.0, s)
        t = ((x * y).sum(-1) / divisor)[..., None]
        coarse, leading, product = self.leading_half(t), self.leading_half(x), t * x
        fine, trailing = t - coarse, x - leading
        rounding = ((coarse * leading - product) + coarse * trailing + fine * leading) + fine * trailing
        residual = (y - product) - rounding
        residual = residual - ((x * residual).sum(-1) / divisor)[..., None] * x  # t is rounded
        return self.sum_squares(difference), -(difference * (x + y)).sum(-1), s * self.sum_squares(residual)

    def pairs_of(self, x: Array, y: Array) -> Pairs:
        """Return the pairs of points (..., d), one by one."""
        delta, omega, Delta = self.close_pairs(x, y)
        return Pairs(self.sum_squares(x), self.sum_squares(y), (x * y).sum(-1), omega, delta, Delta)

    def representable(self, result: Array, X: Array, what: str, positive: bool = False) -> Any:
        """Return a result at points, checked to be a finite number of the format, `positive` ones a normal one.

        At x = 0 it is what it is: there metrics may vanish. Raises InputError; not a number inside transformations.
        """
        size = result.diagonal(0, -2, -1) if result.ndim == X.ndim + 1 else result[..., None]
        least = float(self.lib.finfo(size.dtype).tiny) * positive
        bad = ~(self.lib.isfinite(size) & (abs(size) >= least)).all(-1) & (abs(X).sum(-1) > 0)
        known = self.known(bad)
        if known is None:
            return self.lib.where(bad.reshape(bad.shape + (1,) * (result.ndim - bad.ndim)), math.nan, result)
        if bool(known.any()):
            largest = float(self.known(abs(X).sum(-1))[known].max())
            raise InputError(
                f"{what} leaves the range of {result.dtype}, at points with coordinates up to {in_words(largest)}:"
                " rescale the points, weight_std or bias_std, pass float64 points if these are float32, or take"
                " backend='mpmath' with many digits (mpmath.mp.dps)"
            )
        return result


def taken(pairs: Pairs, at: Any) -> Sequence[Any]:
    """Return p, q, c, omega, delta and Delta of the pairs where `at` holds."""
    parts = pairs.p, pairs.q, pairs.c, pairs.omega, pairs.delta, pairs.Delta
    return [(part + 0 * pairs.Delta)[at] for part in parts]
