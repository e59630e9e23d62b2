"""Sums over pairs of training points as loops that Numba compiles: those of `ClosedForm`, of real numbers alone.

The text is compiled for each activation, with `cores` from the expressions that are printed. The inverse tangent is a
polynomial, so that compilers make vectors of it: for |x| <= tan(pi/8), to which quotients bring the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from sympy import Expr, Symbol

from infgeo.numeric.source.compiled_module import compiled_module
from infgeo.numeric.source.powers import shared_powers
from infgeo.numeric.source.printing import MATH, Backend, Printer
from infgeo.symbolic.algebra.graph import cse
from infgeo.symbolic.algebra.program import Program

_BACKEND = Backend("compiled", MATH | {"atan": "atan"}, MATH)
_SOURCE = """import math

import numba
import numpy as np

jit = numba.njit(nogil=True, error_model="numpy", cache=True, fastmath={{"contract"}})
jit_of_sums = numba.njit(nogil=True, error_model="numpy", cache=True, fastmath={{"contract", "nsz", "reassoc"}})


@jit
def atan(x):
    a = abs(x)
    large, middle = a > 2.414213562373095, a > 0.41421356237309503
    t = (-1.0 if large else a - 1.0 if middle else a) / (a if large else a + 1.0 if middle else 1.0)
    u = t * t
    v = u * u
    even = {even}
    odd = {odd}
    y = (even + u * odd) * t + (math.pi / 2 if large else math.pi / 4 if middle else 0.0)
    return math.copysign(y, x)


@jit
def cores(p, q, c, {weights}):
{lines}


@jit_of_sums
def along_row(K, {weights}, k, moved, own, p, slopes, last):
    value = first = 0.0
    for b in range(K.shape[0]):
        both_, slopes_, first_, last_ = cores(p, own[b], K[b] - moved * k[b], {of_pair})
        value += both_
        slopes[b] = slopes_
        first += first_
        last[b] += last_
    return value, first


@jit_of_sums
def product(a, b):
    total = 0.0
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@jit
def sums(start, prior, weights, k, moved, own, features, value, first, last, across):
    slopes = np.empty(prior.shape[1])
    for row in range(prior.shape[0]):
        a = start + row
        for x in range(k.shape[0]):
            more, first_ = along_row(
                prior[row, row:], {of_row}, k[x, a:], moved[x, a], own[x, a:], own[x, a],
                slopes[row:], last[x, a:],
            )  # fmt: skip
            value[x] += more
            first[x, a] += first_
            for i in range(features.shape[1]):
                across[x, i, a] = product(slopes[row:], features[x, i, a:])
"""
# atan x = x P(x^2) for |x| <= tan(pi/8), highest power of x^2 first: mpmath.chebyfit, error 3.5e-17.
_ARCTANGENT = (
    0.021135373157693246, -0.04348052215716462, 0.056883492268090106, -0.06640233930429408, 0.07689953496306857,
    -0.09090773074808414, 0.11111106180455946, -0.14285714180976467, 0.1999999999885511, -0.3333333333332844,
    1.0,
)  # fmt: skip


def pair_sums(cores: Sequence[Expr], weights: Sequence[Symbol]) -> Callable[..., Any] | None:
    """Return a function that adds the sums of a strip of pairs, see `ClosedForm`, to its last arguments.

    It takes the number of the first row; the covariances and weights of the strip; k(x, a), what the tilt makes of it
    and the variances, each (m, P); the features (m, d, P). For each x it adds to the sums of weights times E[f g],
    (m,); of weights times E[f'' g] over a row and E[f g''] over a column, (m, P); and writes those of weights times
    E[f' g'] and the feature of the column over a row, (m, d, P). None without Numba.
    """
    module = compiled_module(_source(tuple(cores), tuple(weights)))
    return None if module is None else module.sums


@lru_cache(maxsize=64)
def _source(cores: tuple[Expr, ...], weights: tuple[Symbol, ...]) -> str:
    shared, reduced = cse(list(cores), (Symbol(f"t{i}") for i in range(10**6)))
    program = shared_powers(Program(tuple(shared), dict(zip("abcd", reduced, strict=True))))
    printer = Printer(_BACKEND, scalar=False)
    lines = [f"    {symbol.name} = {printer.doprint(expr)}" for symbol, expr in program.bindings]
    lines.append(f"    return {', '.join(printer.doprint(expr) for expr in program.outputs.values())}")
    even, odd = (_horner(_ARCTANGENT[i::2]) for i in (0, 1))
    names = [weight.name for weight in weights]
    return _SOURCE.format(
        even=even,
        odd=odd,
        lines="\n".join(lines),
        weights=", ".join(names),
        of_pair=", ".join(f"{name}[b]" for name in names),
        of_row=", ".join(f"weights[{i}, row, row:]" for i in range(len(names))),
    )


def _horner(coefficients: Sequence[float]) -> str:
    """Return a polynomial in v as source."""
    first, *others = coefficients
    text = repr(first)
    for value in others:
        text = f"({text}) * v + {value!r}"
    return text
