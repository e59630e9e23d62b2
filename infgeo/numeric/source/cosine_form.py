"""Kernels as functions of one cosine: what makes blocks of Gram matrices cheap.

Many laws feel a pair of preactivations through Delta + e (p + q) + e^2 = (p + e)(q + e) - c^2 alone, for one number e:
erf with e = 1, homogeneous activations with e = 0. With the lengths P = sqrt(p + e) and Q = sqrt(q + e) they are
functions of rho = c/(P Q), times powers of P and Q. Of a first layer one matrix product of scaled points gives rho.
"""

from __future__ import annotations

from collections.abc import Sequence

from sympy import (
    Add,
    Expr,
    Function,
    Integer,
    Mul,
    Poly,
    PolynomialError,
    asin,
    atan,
    atan2,
    collect,
    expand,
    simplify,
    sqrt,
)

from infgeo.conventions import Delta, Internal, c, p, q
from infgeo.symbolic.algebra.graph import distinct, is_long
from infgeo.symbolic.algebra.simplify import longer

_P, _Q, _CHI = (Internal(name, positive=True) for name in ("P", "Q", "chi"))
_RHO = Internal("rho", real=True)
LONGEST = 60  # operations of a sum that is looked at: (p + e)(q + e) - c^2 with parameters in e


def cosine_form(outputs: Sequence[Expr]) -> tuple[Expr, list[Expr]] | None:
    """Return e and `outputs` with P, Q, rho and 1 - rho^2 as p, q, c and Delta; None where there is no such form.

    Arguments:
        outputs: expressions of p, q, c, Delta and parameters.
    """
    if any(is_long(expr) for expr in outputs):
        return None
    nodes = distinct(*outputs)
    if any(isinstance(part, Function) and not isinstance(part, (atan, atan2)) for part in nodes):
        return None
    sums = [part for part in nodes if isinstance(part, Add) and not longer(part, LONGEST) and part.has(Delta)]
    squares: dict[Expr, Expr] = {}
    found: set[Expr] = set()
    for part in sums:
        e, factor = _square_of_sine(part)
        if e is None or not (e.is_positive or e.is_zero):
            continue
        squares[part] = factor * _P**2 * _Q**2 * _CHI
        found.add(e)
    if not found:
        found.add(Integer(0))
    if len(found) > 1:
        return None
    extra = found.pop()
    replaced = [expr.xreplace(squares) for expr in outputs]
    lengths: dict[Expr, Expr] = {c: _RHO * _P * _Q}
    if extra == 0:
        lengths |= {Delta: _P**2 * _Q**2 * _CHI, p: _P**2, q: _Q**2}
    forms = [_tidy(expr.subs(lengths)) for expr in replaced]
    if any(form.free_symbols & {p, q, c, Delta} for form in forms):
        return None
    if not any(form.has(asin) or form.has(_CHI) for form in forms):
        return None  # polynomials of c, p and q are as cheap as they are
    return extra, [form.xreplace({_P: p, _Q: q, _RHO: c, _CHI: Delta}) for form in forms]


def _square_of_sine(part: Expr) -> tuple[Expr | None, Expr]:
    """Return e and C where a sum is C ((p + e)(q + e) - c^2); e is None where it is something else."""
    try:
        terms = Poly(part, p, q, Delta).as_dict()
    except PolynomialError:
        return None, Integer(0)
    C, B = (terms.pop(powers, Integer(0)) for powers in ((0, 0, 1), (1, 0, 0)))
    if terms.pop((0, 1, 0), Integer(0)) != B or C == 0 or not C.is_positive:
        return None, C
    e = simplify(B / C)
    rest = terms.pop((0, 0, 0), Integer(0))
    return (None if terms or simplify(rest - C * e**2) != 0 else e), C


def _tidy(expr: Expr) -> Expr:
    """Return an expression with inverse sines of rho, its powers of P and Q in front, and in powers of rho."""
    expr = expr.replace(lambda part: isinstance(part, (atan, atan2)), _as_sine)
    terms = Add.make_args(expand(expr))
    common = Mul(*(length ** min(term.as_powers_dict()[length] for term in terms) for length in (_P, _Q)))
    return common * collect(Add(*(term / common for term in terms)), _RHO)


def _as_sine(function: Function) -> Expr:
    """Return an inverse tangent of the tangent of the angle whose sine is rho as asin(rho)."""
    tangent = function.args[0] if isinstance(function, atan) else function.args[0] / function.args[1]
    ratio = simplify(tangent * sqrt(_CHI) / _RHO)
    if isinstance(function, atan2) and not (function.args[1] / sqrt(_CHI)).is_positive:
        return function
    return asin(_RHO) if ratio == 1 else function
