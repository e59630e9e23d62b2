"""How kernels are printed: a square root as R_0 - R_2 c^2, nothing divided by it that it divides, one term an arc."""

from sympy import Add, Dummy, Expr, Integer, Mul, Poly, Pow, asin, cancel, count_ops, div, expand, factor

from infgeo.conventions import Delta, c, p, q
from infgeo.symbolic.algebra.graph import rebuilt, substituted
from infgeo.symbolic.algebra.limits import ALGEBRAIC_LIMIT, FACTOR_LIMIT
from infgeo.symbolic.algebra.simplify import arcs_as_arcsine, longer, tidy


def published_kernel(expr: Expr) -> Expr:
    """Return a dual kernel without Delta, arcs written as arcsines, in a short form.

    >>> from sympy import sqrt
    >>> published_kernel((c**2 + p * q * (1 + p + q + Delta)) / sqrt(1 + p + q + Delta))
    sqrt(-c**2 + (p + 1)*(q + 1))*(p*q - 1) + (p + 1)*(q + 1)/sqrt(-c**2 + (p + 1)*(q + 1))
    """
    written = arcs_as_arcsine(tidy(substituted(expr, {Delta: p * q - c**2})))
    if longer(written, FACTOR_LIMIT):
        return written
    roots = rebuilt(written, _root_by_powers)
    return min(written, roots, Add(*map(_divided_by_root, Add.make_args(roots))), key=count_ops)


def _is_root(part: Expr) -> bool:
    return isinstance(part, Pow) and part.exp.is_Rational and part.exp.q == 2


def _root_by_powers(part: Expr) -> Expr:
    """Return a root of a polynomial R_0(p, q) + R(p, q, c), R(p, q, 0) = 0, with both parts factored."""
    if not (_is_root(part) and part.base.is_polynomial(p, q, c)):
        return part
    expanded = expand(part.base)
    constant = expanded.subs(c, 0)
    short = factor(constant) + factor(expanded - constant)
    return short**part.exp if count_ops(short) < count_ops(part.base) else part


def _divided_by_root(term: Expr) -> Expr:
    """Return N(c) / R(c)^(n/2), where N = M R + L as polynomials in c, as M / R^(n/2 - 1) + L / R^(n/2)."""
    roots = [part for part in Mul.make_args(term) if _is_root(part) and part.exp.is_negative and part.has(c)]
    if len(roots) != 1 or not roots[0].base.is_polynomial(c):
        return term
    (root,) = roots
    constant, numerator = (term / root).as_independent(c, as_Add=False)
    total = Integer(0)
    while root.exp.is_negative and numerator.is_polynomial(c):
        quotient, rest = div(Poly(numerator, c), Poly(root.base, c))
        total += factor(cancel(constant * rest.as_expr())) * root
        numerator, root = quotient.as_expr(), root * root.base
    return total + factor(cancel(constant * numerator)) * root


def arcs_together(expr: Expr) -> Expr:
    """Return a short sum with the terms of each arcsine together.

    >>> arcs_together(c * (asin(c) / 2 + 1) + c * asin(c) / 2)
    c*asin(c) + c
    """
    if longer(expr, ALGEBRAIC_LIMIT):
        return expr
    arcs = {arc: Dummy() for arc in sorted(expr.atoms(asin), key=str)}
    named = expr.xreplace(arcs)
    coefficients = {arc: named.diff(name) for arc, name in arcs.items()}
    if any(part.has(*arcs.values()) for part in coefficients.values()):
        return expr
    total = _shortest(named.xreplace(dict.fromkeys(arcs.values(), Integer(0))))
    total += Add(*(_shortest(part) * arc for arc, part in coefficients.items()))
    return min(expr, total, key=count_ops)


def _shortest(expr: Expr) -> Expr:
    return expr if longer(expr, FACTOR_LIMIT) else min(expr, expand(expr), factor(expr), key=count_ops)


def roots_without_squares(expr: Expr) -> Expr:
    """Return a sum in whose terms no square is left under a root of a sum.

    >>> from sympy import sqrt
    >>> from infgeo.conventions import s_x, s_y, xy
    >>> roots_without_squares(sqrt(4 * s_x * s_y - 4 * xy**2))
    2*sqrt(s_x*s_y - xy**2)
    """
    return Add(*(Mul(*map(_without_square, Mul.make_args(term))) for term in Add.make_args(expr)))


def _without_square(part: Expr) -> Expr:
    if not (_is_root(part) and part.base.is_Add):
        return part
    # No more than that: p q - c^2, which is exactly 0 where x = y, is rounded otherwise once its parts are rewritten.
    content, rest = part.base.primitive()
    shared = set.intersection(*(set(Mul.make_args(term)) for term in rest.args))
    drawn = content * Mul(*(factor for factor in shared if factor.is_nonnegative))
    if drawn == 1 or not content.is_Integer:
        return part
    return drawn**part.exp * Add(*(term * content / drawn for term in rest.args)) ** part.exp
