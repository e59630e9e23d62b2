"""Between which variances a kernel keeps its digits in doubles: what rounds in the emitted form, beside the norm."""

from __future__ import annotations

import math
from functools import lru_cache

import mpmath
import numpy as np
from sympy import Abs, Add, Expr, Function, Mul, Pow, erf, erfc, lambdify
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


@lru_cache(maxsize=256)
def kernel_range(dual: Dual) -> tuple[float, float] | None:
    """Return between which variances the kernels of an activation keep their digits in doubles; None where always.

    Kernels with error functions are sums whose terms, at large variances of activations that are bounded and at small
    ones of those that vanish near 0, are larger than the sum.
    """
    pairs = [(dual.kernel, dual.m)]
    if not dual.jumps:
        pairs.append((dual.derivative_kernel, dual.m0))
    low, high = 0.0, math.inf
    for kernel, moment in pairs:
        if not kernel.has(BivariateNormal, erf, erfc):
            continue
        own = sorted(kernel.free_symbols - {p, q, c, Delta}, key=lambda symbol: symbol.name)
        size = lambdify([v, *own], moment, [{"BivariateNormal": bivariate_normal}, "mpmath"])
        arrays = NumpyArrays()
        tails = {name: getattr(arrays, name) for name in TAILS} | {"of_exponent": _of_exponent}
        function = lambdify([p, q, c, Delta, *own], _rounding(with_tails(kernel)), [tails, "scipy"])
        for variance in sorted(VARIANCES, key=lambda x: abs(math.log(x))):
            if not low < variance < high:
                continue
            near = variance * (1 - 1e-4)
            with np.errstate(all="ignore"), mpmath.workdps(50):
                total = function(variance, variance, near, variance**2 - near**2, *[0.75] * len(own))
                norm = size(mpmath.mpf(variance), *[mpmath.mpf("0.75")] * len(own))
            if not total <= LARGEST_SUM * abs(float(norm)):
                low, high = (variance, high) if variance < 1 else (low, variance)
    if any(term.factor.is_step and term.factor.place != 0 for term in dual.terms):
        low = max(low, VARIANCES[0])  # such a place is infinitely many deviations away where a variance is 0
    return None if (low, high) == (0.0, math.inf) else (low, min(high, LARGEST_VARIANCE))
