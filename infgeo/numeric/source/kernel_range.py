"""Between which variances a kernel keeps its digits in doubles: what rounds in the emitted form, beside the norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import mpmath
import numpy as np
from sympy import Abs, Add, Expr, Function, Mul, Pow, Symbol, erf, erfc, lambdify
from sympy import exp as sympy_exp

from infgeo.conventions import Delta, c, omega, p, q
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.slope_integral import SlopeIntegral
from infgeo.numeric.source.precision import MEASURED, RANGE, SMALLEST, TAILS
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.primitives import scaled_erfc, scaled_quadrant
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.expectations.slopes import Slopes
from infgeo.symbolic.floats.exponentials import far, near, paired
from infgeo.symbolic.floats.normal_tails import in_squares, with_tails

LARGEST_SUM = 1e3  # of what rounds in a kernel, relative to its norm
LARGEST_ORDER = 4  # of slopes
LARGEST_VARIANCE = 1e30  # a number of single precision too
VARIANCES = tuple(10.0 ** (k / 2) for k in range(-24, 25))


_OF_EXPONENT = Function("of_exponent")


def _of_exponent(x: np.ndarray) -> np.ndarray:
    return abs(x) * (1 + abs(np.log(abs(x) + SMALLEST)))


def _difference_of_exponentials(x: mpmath.mpf, y: mpmath.mpf, difference: mpmath.mpf) -> mpmath.mpf:
    return mpmath.exp(y) * mpmath.expm1(difference)


def _rounding(expr: Expr) -> Expr:
    """Return what the rounding of `expr` is proportional to: the sum of its terms, without their signs.

    Exponentials, and tails, round in proportion to their exponents: the logarithms of what they are.
    """
    if isinstance(expr, Add | Mul):
        return expr.func(*map(_rounding, expr.args))
    if isinstance(expr, Pow) and expr.exp.is_Integer and expr.exp.is_positive:
        return _rounding(expr.base) ** expr.exp
    if isinstance(expr, sympy_exp | scaled_erfc | scaled_quadrant):
        return _OF_EXPONENT(expr)
    return Abs(expr)


@dataclass(frozen=True)
class Integral:
    """A kernel as an integral over that of the n-th slopes, see `runtime.slope_integral`.

    Args:
        slopes: E[phi^(n)(u) phi^(n)(v)], of squared sums too.
        means: E[phi^(j)(z)] of the variance, and at variance 0, for all j < n.
        precise: whether doubles lose digits of the means.
        graded: whether delta functions are among the slopes.
    """

    slopes: Expr
    means: tuple[tuple[Expr, Expr], ...]
    precise: bool
    graded: bool


@dataclass(frozen=True)
class KernelRange:
    """Between which variances the kernels of an activation keep their digits in doubles.

    Args:
        between: the smallest and the largest variance, or None where they always do.
        closed: the same of the closed form, beyond which there is the integral; or None.
        integral: the integral, or None.
    """

    between: tuple[float, float] | None
    closed: tuple[float, float] | None = None
    integral: Integral | None = None


@lru_cache(maxsize=256)
def kernel_range(dual: Dual) -> KernelRange:
    """Return between which variances the kernels of an activation keep their digits in doubles.

    Kernels with error functions are sums whose terms, at large variances of activations that are bounded and at small
    ones of those that vanish near 0, are larger than the sum.
    """
    low, high = _range_of_closed_form(dual.kernel, dual.m)
    has_places = any(term.factor.is_step and term.factor.place != 0 for term in dual.terms)
    of_slopes = (0.0, math.inf) if dual.jumps else _range_of_closed_form(dual.derivative_kernel, dual.m0)
    low, high = max(low, of_slopes[0]), min(high, of_slopes[1])
    if has_places:
        low = max(low, VARIANCES[0])  # such a place is infinitely many deviations away where a variance is 0
    if (low, high) == (0.0, math.inf):
        return KernelRange(None)
    closed = low, min(high, LARGEST_VARIANCE)
    if not dual.kernel.has(BivariateNormal):
        return KernelRange(closed)
    widest, found = closed, KernelRange(closed)
    for slopes in _orders(dual):
        try:
            integral = _integral(dual, slopes)
        except NoClosedForm:
            continue
        below, above = _range_of_integral(dual, integral)
        if len(slopes) == 2:  # the kernel of slopes keeps its closed form
            below, above = max(below, of_slopes[0]), min(above, of_slopes[1])
        smallest = below if below < low < above else low
        largest = min(above, LARGEST_VARIANCE) if below < high < above else closed[1]
        if largest / max(smallest, 1e-300) > widest[1] / max(widest[0], 1e-300):
            widest = smallest, largest
            found = KernelRange(widest, closed, integral)
        if smallest <= RANGE[0] and largest >= RANGE[1]:
            break
    return found


def _orders(dual: Dual) -> list[list[Slopes]]:
    """Return phi with its derivatives up to the orders to be tried: that of an elementary kernel, if there is one."""
    slopes = [Slopes(dual.terms)]
    while len(slopes) <= LARGEST_ORDER and slopes[-1].terms:
        slopes.append(slopes[-1].derivative())
    orders = [slopes[:n] for n in range(2, len(slopes) + 1)]
    return orders if slopes[-1].terms else orders[-1:]


def _integral(dual: Dual, slopes: list[Slopes]) -> Integral:
    """Return the integral over the kernel of the last of the slopes; raises NoClosedForm where there is none."""
    means = tuple((paired(with_tails(part.mean)), part.at_zero) for part in slopes[:-1])
    precise = False
    for j, (mean, _) in enumerate(means):
        product = mean.subs(v, p) * Abs(mean.subs(v, q)) * c**j  # one of them rounds
        low, high = _range_of_closed_form(product, dual.m)
        precise = precise or low >= RANGE[0] or high <= RANGE[1]
    return Integral(in_squares(slopes[-1].kernel), means, precise, bool(slopes[-1].deltas))


def _range_of_integral(dual: Dual, integral: Integral) -> tuple[float, float]:
    """Return between which variances the integral was found to be E[phi(z)^2] at coincident points, and of slopes."""
    arrays, own = NumpyArrays(), _own(integral.slopes)
    tails = {name: getattr(arrays, name) for name in (*TAILS, "exp_difference", "above_zero")}
    slopes = lambdify([p, q, c, Delta, near, far, omega, *own], integral.slopes, [tails, "scipy"])
    values = [_value(mean) for mean, _ in integral.means]
    means = [(lambda x, *_, value=value: np.array([*map(value, x)]), lambda *_: 0.0) for value in values]
    method, x = SlopeIntegral(arrays, (0.0, 0.0), slopes, means, integral.graded), np.array(VARIANCES)
    largest = 0 * x
    for first, moment in enumerate([dual.m, dual.m0] if len(means) > 1 and not dual.jumps else [dual.m]):
        exact = np.array([*map(_value(moment), x)])
        with np.errstate(all="ignore"):
            found = method.integral(x, x, x, 0 * x, 0 * x, [0.75] * len(own), first)
            largest = np.maximum(largest, np.where(abs(exact) > SMALLEST, abs(found / exact - 1), 0))
    errors = dict(zip(VARIANCES, largest.tolist(), strict=True))
    return _range(lambda variance: LARGEST_SUM * errors[variance] / MEASURED)


def _range_of_closed_form(kernel: Expr, moment: Expr) -> tuple[float, float]:
    """Return between which variances what rounds in a kernel is not much larger than its norm.

    Of pairs of one length, and of those with a variance of 1: nearly parallel, nearly opposite and orthogonal ones.
    """
    if not kernel.has(BivariateNormal, erf, erfc, scaled_erfc):
        return 0.0, math.inf
    rounds, size = _rounds(kernel), lru_cache(_value(moment))

    def ratio(x: float) -> float:
        sizes = np.array([[size(x)], [size(1.0)]])
        sums = rounds(x, np.array([[x], [1.0]]), np.array([1 - 1e-4, 0, 1e-4 - 1]))
        return float(np.fmax.reduce(np.where(sums == 0, 0, sums / np.sqrt(abs(sizes[0] * sizes))), axis=None))

    return _range(ratio)


def _range(ratio: Callable[[float], float]) -> tuple[float, float]:
    """Return between which variances what rounds is not much larger than what remains."""
    low, high = 0.0, math.inf
    for variance in sorted(VARIANCES, key=lambda x: abs(math.log(x))):
        if not low < variance < high:
            continue
        with np.errstate(all="ignore"):
            lost = not ratio(variance) <= LARGEST_SUM
        if lost:
            low, high = (variance, high) if variance < 1 else (low, variance)
    return low, high


def _own(expr: Expr) -> list[Symbol]:
    return sorted(expr.free_symbols - {p, q, c, Delta, v, near, far, omega}, key=lambda symbol: symbol.name)


def _value(moment: Expr) -> Callable[[float], float]:
    """Return a moment as a function of the variance, with many digits on the way."""
    own = _own(moment)
    function = lambdify(
        [v, *own],
        moment,
        [{"exp_difference": _difference_of_exponentials}, TAILS, "mpmath"],
    )

    def value(variance: float) -> float:
        with mpmath.workdps(50):
            return float(function(mpmath.mpf(variance), *[mpmath.mpf("0.75")] * len(own)))

    return value


def _rounds(kernel: Expr) -> Callable[..., np.ndarray]:
    """Return what rounds in a kernel as a function of two variances and the cosine of the angle, which broadcast."""
    own, arrays = _own(kernel), NumpyArrays()
    tails = {name: getattr(arrays, name) for name in (*TAILS, "exp_difference")} | {"of_exponent": _of_exponent}
    function = lambdify([p, q, c, Delta, *own], _rounding(with_tails(kernel)), [tails, "scipy"])

    def rounds(x: float, y: np.ndarray, cosine: np.ndarray) -> np.ndarray:
        product = x * y
        with np.errstate(all="ignore"):
            arrays = np.broadcast_arrays(x, y, cosine * np.sqrt(product), product * (1 - cosine**2))
            return np.broadcast_to(function(*arrays, *[0.75] * len(own)), arrays[0].shape)

    return rounds
