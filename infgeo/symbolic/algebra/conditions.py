"""Conditions on |x|^2 and the parameters: where an expression vanishes or diverges, and conditions in words."""

from sympy import Add, And, Eq, Expr, Mul, Or, Poly, exp, factor, false, fraction, real_roots, together, true
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean, BooleanFunction

from infgeo.conventions import s


def zeros_and_poles(expr: Expr) -> Boolean:
    """Return where in s >= 0 an expression that is not negative vanishes or diverges.

    Factors that are known to be positive, or that do not depend on s, are left out; what is not decided stays as an
    equation.
    """
    conditions = []
    for side in fraction(together(expr)):
        for part in Mul.make_args(factor(side)):
            base, degree = part.as_base_exp()
            if part.has(s) and not isinstance(base, exp) and degree != 0:
                conditions.append(_zeros(base))
    return Or(*conditions)


def _zeros(expr: Expr) -> Boolean:
    if not expr.has(s):
        return Eq(expr, 0) if expr.is_zero is None else (true if expr.is_zero else false)
    if expr.is_positive:
        return false
    if expr == s:
        return Eq(s, 0)
    if isinstance(expr, Add) and all(term.is_nonnegative for term in expr.args):
        return And(*[_zeros(term) for term in expr.args])
    if isinstance(expr, Mul):
        return Or(*[_zeros(part.as_base_exp()[0]) for part in expr.args if not part.is_number])
    if expr.free_symbols == {s} and expr.is_polynomial(s) and Poly(expr, s).domain.is_Exact:
        return Or(*[Eq(s, root) for root in set(real_roots(Poly(expr, s))) if root >= 0])
    return Eq(expr, 0)


def in_words(condition: Boolean) -> str:
    """Return a condition as text, for example "s = 0 and sigma_b = 0"."""
    if isinstance(condition, BooleanFunction) and isinstance(condition, (And, Or)):
        word = " and " if isinstance(condition, And) else " or "
        parts = sorted((in_words(part) for part in condition.args), key=lambda text: ("s = 0" not in text[:5], text))
        return word.join(f"({part})" if " or " in part and word == " and " else part for part in parts)
    if isinstance(condition, Relational):
        return f"{condition.lhs} {'=' if condition.rel_op == '==' else condition.rel_op} {condition.rhs}"
    return str(condition)
