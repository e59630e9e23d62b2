"""Activations made of the logistic function as mixtures of error functions, to a stated error.

With tau of Kolmogorov's law 1/(1 + exp(-z)) = E[Phi(z/(2 tau))] (Andrews & Mallows 1974), so that tanh z is a mixture of
error functions erf(a z). A finite one does, tanh z = sum_i w_i erf(a_i z) with sum_i w_i = 1 and an error that
oscillates between equal extremes: `NODES`. Integrated, log cosh z is a sum of z erf(a z) + (exp(-a^2 z^2) - 1)/(a
sqrt(pi)). What is linear in these is a sum over nodes of one term of the class that is integrated in closed form, so the
kernels are sums over pairs of nodes of a formula in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sympy import (
    Abs,
    Add,
    Dummy,
    Expr,
    Integer,
    Mul,
    Poly,
    Symbol,
    cancel,
    cosh,
    coth,
    csch,
    erf,
    exp,
    expand_mul,
    factor_list,
    fraction,
    gcd_list,
    log,
    pi,
    sech,
    sinh,
    sqrt,
    tanh,
    together,
)

from infgeo import conventions as conv
from infgeo.errors import NoClosedForm
from infgeo.symbolic.activations.terms import Term, parse_terms

if TYPE_CHECKING:
    from infgeo.symbolic.activations.activation import Activation

# (a_i, w_i), made by derivations/13_logistic_mixture.py.
NODES: tuple[tuple[float, float], ...] = (
    (0.28343849667091014, 4.3350088745446216e-05),
    (0.34796982706483587, 0.0016690389640642296),
    (0.42125254823981856, 0.01517516694184906),
    (0.5082622471897407, 0.06046308137952161),
    (0.6130973275092728, 0.13947729602068706),
    (0.7397089653820048, 0.21684803116127807),
    (0.8918814260238129, 0.24219888136196144),
    (1.0737398752244105, 0.19173986081817343),
    (1.290723478907995, 0.09945728310536091),
    (1.5510770308596427, 0.02913328596383326),
    (1.8698685405708166, 0.0036847912367396632),
    (2.285749909350597, 0.00010993295778583135),
)
# Bounds on |z^n (tanh z - sum_i w_i erf(a_i z))| and on its derivative, n = 0, 1, 2; and of log cosh.
TANH_ERRORS = ((1e-11, 1e-11), (1e-10, 1e-10), (1e-9, 1e-9))
LOG_COSH_ERRORS = (1e-11, 1e-11)
ZERO, ONE = Integer(0), Integer(1)
_HYPERBOLIC = (tanh, sinh, cosh, sech, csch, coth)
_T = Symbol("t")
Bounds = tuple[Expr, Expr]
NODE_A, NODE_B = Symbol("node_a", positive=True), Symbol("node_b", positive=True)


@dataclass(frozen=True)
class Mixture:
    """An activation as sum_i w_i f(z; a_i).

    Args:
        terms: those of f, in the symbol `NODE_A`.
        error, slope_error: bounds on the errors of phi and of phi', for all z, in the activation's parameters.
    """

    terms: tuple[Term, ...]
    error: Expr
    slope_error: Expr


@lru_cache(maxsize=256)
def mixture_of(activation: Activation) -> Mixture:
    """Return an activation as a mixture; raises NoClosedForm for what is none."""
    total, errors = ZERO, [ZERO, ZERO]
    for part in Add.make_args(expand_mul(activation.expr)):
        node, added = _of_part(part, activation)
        total += node
        errors = [old + new for old, new in zip(errors, added, strict=True)]
    if not total.has(NODE_A):
        raise _no_mixture(activation, activation.expr)
    return Mixture(parse_terms(total, activation.name), *errors)


def _of_part(part: Expr, activation: Activation) -> tuple[Expr, Bounds]:
    """Return f of one summand, and the bounds on the errors."""
    if not part.has(exp, *_HYPERBOLIC):
        return part, (ZERO, ZERO)
    logarithms = [each for each in Mul.make_args(part) if isinstance(each, log)]
    if len(logarithms) != 1:
        return _of_tanh(part, activation)
    factor = part / logarithms[0]
    if factor.has(conv.z):
        raise _no_mixture(activation, part)
    node, bounds = _of_log(logarithms[0].args[0], activation)
    return factor * node, tuple(Abs(factor) * bound for bound in bounds)  # type: ignore[return-value]


def _of_tanh(part: Expr, activation: Activation) -> tuple[Expr, Bounds]:
    """Return f of a summand that is linear in tanh y, its coefficients polynomials."""
    rational, power, y = _in_tanh(part, activation)
    rational = cancel(rational * ((1 + _T) / (1 - _T)) ** power)
    slope = rational.diff(_T)
    if not rational.is_polynomial(_T) or slope.has(_T) or not slope.is_polynomial(conv.z):
        raise _no_mixture(activation, part)
    bounds, scale = [ZERO, ZERO], Abs(y / conv.z)
    for (n,), coefficient in Poly(slope, conv.z).terms():
        if n >= len(TANH_ERRORS):
            raise _no_mixture(activation, part)
        for order in (0, 1):
            bounds[order] += Abs(coefficient) * scale ** (order - n) * TANH_ERRORS[n][order]
    return rational.subs(_T, erf(NODE_A * y)), (bounds[0], bounds[1])


def _of_log(argument: Expr, activation: Activation) -> tuple[Expr, Bounds]:
    """Return f of the logarithm of a product of powers of 1 + tanh y = e^y/cosh y and 1 - tanh y = e^-y/cosh y."""
    rational, power, y = _in_tanh(argument, activation)
    constant, linear, curved = ONE, 2 * power, ZERO
    for sign, side in zip((1, -1), fraction(rational), strict=True):
        number, factors = factor_list(side, _T)
        constant *= number**sign
        for base, multiplicity in factors:
            n, ends = sign * multiplicity, Poly(base, _T).all_coeffs()
            if len(ends) != 2 or ends[0] ** 2 != ends[1] ** 2:
                raise _no_mixture(activation, log(argument))
            constant, linear, curved = constant * ends[1] ** n, linear + n * ends[0] / ends[1], curved + n
    node = y * erf(NODE_A * y) + (exp(-((NODE_A * y) ** 2)) - 1) / (NODE_A * sqrt(pi))
    first, second = (Abs(curved) * Abs(y / conv.z) ** i * LOG_COSH_ERRORS[i] for i in (0, 1))
    return log(constant) + linear * y - curved * node, (first, second)


def _in_tanh(expr: Expr, activation: Activation) -> tuple[Expr, Expr, Expr]:
    """Return r, n and y, a multiple of z, with expr = r(tanh y) exp(2 n y), r a quotient of polynomials in `_T`."""
    for function in _HYPERBOLIC:
        expr = expr.replace(function, lambda argument, f=function: f(argument).rewrite(exp))
    rates = {part: part.args[0] / conv.z for part in expr.atoms(exp) if part.has(conv.z)}
    unit = next(iter(rates.values()), conv.z)
    if unit.has(conv.z) or not all((rate / unit).is_Rational for rate in rates.values()):
        raise _no_mixture(activation, expr)
    unit *= gcd_list([rate / unit for rate in rates.values()]) * (-1 if unit.could_extract_minus_sign() else 1)
    X = Dummy("X", positive=True)
    rational = cancel(together(expr.xreplace({part: X ** (rate / unit) for part, rate in rates.items()})))
    if not rational.is_rational_function(X):
        raise _no_mixture(activation, expr)
    sides = [Poly(side, X) for side in fraction(rational)]
    lowest = [min(n for (n,) in side.monoms()) for side in sides]
    step = gcd_list([n - low for side, low in zip(sides, lowest, strict=True) for (n,) in side.monoms()]) or ONE
    over, under = (
        Add(*[value * ((1 + _T) / (1 - _T)) ** ((n - low) / step) for (n,), value in side.terms()])
        for side, low in zip(sides, lowest, strict=True)
    )
    return cancel(together(over / under)), (lowest[0] - lowest[1]) / step, step * unit * conv.z / 2


def _no_mixture(activation: Activation, part: Expr) -> NoClosedForm:
    return NoClosedForm(
        f"activation {activation.name}: {part} is not linear in functions tanh(a z) and log(cosh(a z)), of which mixtures"
        " of error functions are made"
    )
