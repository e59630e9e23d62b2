"""Activations made of the logistic function as mixtures of error functions, to a stated error.

With tau of Kolmogorov's law 1/(1 + exp(-z)) = E[Phi(z/(2 tau))] (Andrews & Mallows 1974), so that tanh z is a mixture
of error functions erf(a z). A finite one will do: tanh z = sum_i w_i erf(a_i z) with sum_i w_i = 1 and an error that
oscillates between equal extremes (`NODES`, by the exchange algorithm of Remez, from Gauss nodes in log tau).
Integrated, log cosh z is a sum of z erf(a z) + (exp(-a^2 z^2) - 1)/(a sqrt(pi)). What is linear in these is a sum over
nodes of functions that are integrated in closed form, and kernels are sums over pairs of nodes.
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

# (a_i, w_i).
NODES: tuple[tuple[float, float], ...] = (
    (0.25783863004375196, 3.4684294933632914e-06),
    (0.30879845695212865, 0.00019919021829739524),
    (0.36444831282602885, 0.0026306625945654),
    (0.42815232333487013, 0.014935685493693082),
    (0.5023563379218392, 0.04813732562734873),
    (0.5894290788086434, 0.10350713774655783),
    (0.6917686249240768, 0.1643402303482403),
    (0.8117453849971142, 0.20351910744499338),
    (0.9518117317597907, 0.19871872264092744),
    (1.114829453387108, 0.14885697099029238),
    (1.3044556728291241, 0.08051023065407034),
    (1.5257419965557655, 0.02849996734931725),
    (1.786520317785054, 0.005652904503808453),
    (2.101375538954947, 0.0004790249815560659),
    (2.507980305922062, 9.37097683859363e-06),
)
# Bounds on |z^n (tanh z - sum_i w_i erf(a_i z))| and on its derivative, n = 0, 1, 2; and of log cosh.
TANH_ERRORS = ((4.6e-14, 8.6e-13), (6.2e-13, 1.6e-12), (8.4e-12, 1.3e-11))
LOG_COSH_ERRORS = (7.3e-14, 4.6e-14)
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

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        first, second = (part.evalf(2) for part in (self.error, self.slope_error))
        return f"|error of phi| <= {first}, of phi' <= {second}".replace("E-", "e-")


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
    return factor * node, tuple(Abs(factor) * bound for bound in bounds)


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
        f"activation {activation.name}: {part} is not linear in functions tanh(a z) and log(cosh(a z)), of which"
        " mixtures of error functions are made"
    )
