"""SymPy's operations in bounded time, on operands that come from a user's text: what would take long is refused.

SymPy computes powers of numbers as it builds them, exp(n log(a)) and (a^m)^n among them. It compares constants by their
digits, and expands expressions to see whether they are real. So exponents are checked before a power is built, operands
of functions for the length of their expansion, and each result before the next operation takes it.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import sympy
from sympy import Add, Basic, E, Expr, I, Integer, Mul, Pow, Rational, Symbol, log, nan, oo, zoo
from sympy.logic.boolalg import BooleanAtom

MAX_DIGITS = 300  # of a numerator or denominator, and |log10| of a constant: the range of float64
MAX_EXPONENT = 100  # also of the numerator and denominator of a fraction
MAX_TERMS = 1000  # of an expansion
_ARITHMETIC = {operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.pos}
_POWERS = {sympy.exp, sympy.sinh, sympy.cosh, sympy.tanh}  # functions that SymPy turns into powers


class Refused(ValueError):
    """The operation, or its result, is outside the bounds; the message says why."""


def apply(function: Callable[..., Any], *operands: Any) -> Any:
    """Return `function` of expressions that came from here; every number in the result is real and of usable size."""
    try:
        _check_operands(function, operands)
        result = function(*operands)
        if isinstance(result, Expr):
            _check_result(result)
        elif not (result.free_symbols or isinstance(result, BooleanAtom)):
            raise Refused("compares numbers that are too close")
    except Refused:
        raise
    except Exception as error:  # SymPy raises errors of many kinds
        raise Refused(f"is not defined ({error.args[0] if error.args else type(error).__name__})") from error
    return result


def _check_operands(function: Callable[..., Any], operands: tuple[Any, ...]) -> None:
    if function in _ARITHMETIC:
        return
    if function is operator.pow:
        base, exponent = operands
        inner, outer = base.as_base_exp()
        _check_exponent(inner, outer * exponent)
        operands = () if exponent.is_Integer else (base,)
    elif function in _POWERS:
        _check_exponent(E, operands[0])
    for operand in operands:
        if isinstance(operand, Expr) and _terms(operand, bool(operand.is_extended_real)) > MAX_TERMS:
            raise Refused("takes an expression that SymPy would expand to see its sign or whether it is real: too long")


def _check_result(result: Expr) -> None:
    constant = Integer(1) if result.free_symbols else result.evalf()
    if result.has(I, oo, -oo, zoo, nan) or constant.has(I, nan) or result.is_extended_real is False:
        raise Refused("is not a finite real number")
    bound = 10**MAX_DIGITS
    large = any(max(abs(number.p), number.q) > bound for number in result.atoms(Rational))
    if large or not (constant == 0 or 1 <= abs(constant) * bound <= bound**2):
        raise Refused(f"has a number with more than {MAX_DIGITS} digits")
    for power in result.atoms(Pow):
        if power.exp.is_Rational:
            _check_exponent(power.base, power.exp)


def _check_exponent(base: Expr, exponent: Expr) -> None:
    """Refuse large numbers in an exponent, but for exp(1000*z): there is no number to compute there."""
    logs = exponent.atoms(log)
    if base == E and not logs:
        return
    numbers = exponent.xreplace({logarithm: Symbol("log") for logarithm in logs}).atoms(Rational)
    if any(abs(number) > MAX_EXPONENT for number in numbers):
        raise Refused(f"has an exponent beyond -{MAX_EXPONENT} to {MAX_EXPONENT}")
    if exponent.is_Rational and max(abs(exponent.p), exponent.q) > MAX_EXPONENT:
        raise Refused(f"has a fraction with a part beyond {MAX_EXPONENT} as its exponent")


def _terms(expr: Basic, real: bool) -> int:
    """Return an estimate of the terms of `expr`, or of its real part, when it is expanded, up to MAX_TERMS + 1.

    In a real part polynomials count with their degree: exp(1.001 z) is the power 1001 of exp(z/1000) there.
    """
    if not expr.args:
        return 1
    sizes = [_terms(argument, real) for argument in expr.args]
    if isinstance(expr, Add):
        size = sum(sizes)
    elif isinstance(expr, Mul):
        size = math.prod(sizes)
    elif isinstance(expr, Pow) and expr.exp.is_Integer:
        power = abs(int(expr.exp))
        size = math.comb(sizes[0] + power - 1, power) if real else sizes[0] ** power
    elif real:
        size = max(sizes)
    else:
        numbers = expr.exp.atoms(Rational) if isinstance(expr, Pow | sympy.exp) else ()
        size = 4 * sum(sizes) + max((max(abs(number.p), number.q) for number in numbers), default=0)
    return min(size, MAX_TERMS + 1)
