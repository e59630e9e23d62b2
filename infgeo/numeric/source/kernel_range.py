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

from infgeo.conventions import Delta, c, p, q
from infgeo.conventions import variance as v
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.source.precision import SMALLEST, TAILS
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal, bivariate_normal
from infgeo.symbolic.algebra.primitives import scaled_erfc, scaled_quadrant
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.floats.normal_tails import with_tails

LARGEST_SUM = 1e3  # of what rounds in a kernel, relative to its norm
LARGEST_VARIANCE = 1e30  # a number of single precision too
VARIANCES = tuple(10.0 ** (k / 2) for k in range(-24, 25))


_OF_EXPONENT = Function("of_exponent")


def _of_exponent(x: float) -> float:
    return abs(x) * (1 + abs(math.log(abs(x) + SMALLEST)))


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
class KernelRange:
    """Between which variances the kernels of an activation keep their digits in doubles.

    Args:
        between: the smallest and the largest variance, or None where they always do.
        integral_below: the variance below which the kernel is an integral over that of the slopes; or None.
    """

    between: tuple[float, float] | None
    integral_below: float | None = None


@lru_cache(maxsize=256)
def kernel_range(dual: Dual) -> KernelRange:
    """Return between which variances the kernels of an activation keep their digits in doubles.

    Kernels with error functions are sums whose terms, at large variances of activations that are bounded and at small
    ones of those that vanish near 0, are larger than the sum.
    """
    rounds, size = _rounds(dual.kernel), _value(dual.m)
    low, high = _range(rounds, size)
    has_places = any(term.factor.is_step and term.factor.place != 0 for term in dual.terms)
    integral_below = None
    if not dual.jumps:
        slopes_round = _rounds(dual.derivative_kernel)
        lowest, highest = _range(slopes_round, _value(dual.m0))
        if lowest < low and not has_places and dual.kernel.has(BivariateNormal):
            mean, mean_rounds = _value(dual.mean), _rounds(dual.mean.subs(v, p))
            least, _ = _range(lambda x: 2 * mean_rounds(x) * abs(mean(x)) + x * slopes_round(x), size)
            if least < low:
                low, integral_below = least, low
        low, high = max(low, lowest), min(high, highest)
    if has_places:
        low = max(low, VARIANCES[0])  # such a place is infinitely many deviations away where a variance is 0
    return KernelRange(None if (low, high) == (0.0, math.inf) else (low, min(high, LARGEST_VARIANCE)), integral_below)


def _range(rounds: Callable[[float], float], size: Callable[[float], float]) -> tuple[float, float]:
    """Return between which variances what rounds is not much larger than what remains."""
    low, high = 0.0, math.inf
    for variance in sorted(VARIANCES, key=lambda x: abs(math.log(x))):
        if not low < variance < high:
            continue
        rounding = rounds(variance)
        if rounding != 0 and not rounding <= LARGEST_SUM * abs(size(variance)):
            low, high = (variance, high) if variance < 1 else (low, variance)
    return low, high


def _own(expr: Expr) -> list[Symbol]:
    return sorted(expr.free_symbols - {p, q, c, Delta, v}, key=lambda symbol: symbol.name)


def _value(moment: Expr) -> Callable[[float], float]:
    """Return a moment as a function of the variance, with many digits on the way."""
    own = _own(moment)
    function = lambdify([v, *own], moment, [{"BivariateNormal": bivariate_normal}, "mpmath"])

    def value(variance: float) -> float:
        with mpmath.workdps(50):
            return float(function(mpmath.mpf(variance), *[mpmath.mpf("0.75")] * len(own)))

    return value


def _rounds(kernel: Expr) -> Callable[[float], float]:
    """Return what rounds in a kernel at nearly parallel inputs, as a function of the variance."""
    if not kernel.has(BivariateNormal, erf, erfc):
        return lambda variance: 0.0
    own, arrays = _own(kernel), NumpyArrays()
    tails = {name: getattr(arrays, name) for name in TAILS} | {"of_exponent": _of_exponent}
    function = lambdify([p, q, c, Delta, *own], _rounding(with_tails(kernel)), [tails, "scipy"])

    def rounds(variance: float) -> float:
        near = variance * (1 - 1e-4)
        with np.errstate(all="ignore"):
            return float(function(variance, variance, near, variance**2 - near**2, *[0.75] * len(own)))

    return rounds
