"""Short forms of expressions: factored, one term for each arc, and without exponentials that overflow."""

from __future__ import annotations

from itertools import islice

from sympy import (
    Abs,
    Add,
    Dummy,
    E,
    Expr,
    Mul,
    Poly,
    Pow,
    asin,
    atan,
    atan2,
    cancel,
    count_ops,
    exp,
    expand,
    factor,
    factor_terms,
    fraction,
    gcd,
    powsimp,
    preorder_traversal,
    sqrt,
    together,
)
from sympy.core.numbers import Integer, Rational

from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.graph import rebuilt
from infgeo.symbolic.algebra.limits import FACTOR_LIMIT, LARGEST_DEGREE, PLAIN_CONTENT


def best(*candidates: Expr) -> Expr:
    """Return the candidate that floating point treats best, and of those the shortest, the first of equals.

    Worst are exponentials that may grow (they overflow), then sums of terms that are not known to have one sign (they
    cancel); constants count with their sign.
    """
    return min(candidates, key=lambda expr: (_growing(expr), _mixed_sums(expr), count_ops(expr, visual=False)))


def _growing(expr: Expr) -> int:
    total = 0
    for part in expr.atoms(exp):
        exponent = part.args[0]
        if not (part.is_number or exponent.is_nonpositive):
            # exp(c - p) need not overflow where exp(c) exp(-p) does.
            total += 1 if any(term.is_nonpositive for term in Add.make_args(exponent)) else 2
    return total


def _mixed_sums(expr: Expr) -> int:
    sums = [part for part in preorder_traversal(expr) if isinstance(part, Add) and not part.is_number]
    return sum(
        not (all(term.is_nonnegative for term in part.args) or all(term.is_nonpositive for term in part.args))
        for part in sums
    )


def tidy(expr: Expr, limit: int = FACTOR_LIMIT) -> Expr:
    """Return `expr` factored, or as a sum over its arcs; above `limit` operations, as it is."""
    if longer(expr, limit):
        return expr
    content = _exponent_content(expr)
    if _degree(expr, content) > LARGEST_DEGREE:
        return expr
    if content.p <= PLAIN_CONTENT:
        return _tidy(expr)
    # To SymPy exp(p/q x) is the p-th power of exp(x/q), and a polynomial of degree p does not factor in any time.
    return _scaled_exponents(_tidy(_scaled_exponents(expr, 1 / content)), content)


def longer(expr: Expr, limit: int) -> bool:
    """Return whether an expression has more than `limit` operations, without looking at all of a long one."""
    # There are at most 4 nodes to an operation.
    nodes = len(list(islice(preorder_traversal(expr), 4 * limit + 1)))
    return nodes > 4 * limit or bool(count_ops(expr, visual=False) > limit)


def _exponent_content(expr: Expr) -> Rational:
    """Return the greatest rational number of which all exponents are multiples by whole numbers."""
    content = Integer(0)
    for part in _exponentials(expr):
        for term in Add.make_args(expand(part.as_base_exp()[1])):
            content = gcd(content, term.as_coeff_Mul()[0]) if term.as_coeff_Mul()[0].is_Rational else content
    return content or Integer(1)


def _degree(expr: Expr, content: Rational) -> Rational:
    """Return the degree of `expr` in the exponential of which all others are powers, as polynomials see it."""
    terms = (t for part in _exponentials(expr) for t in Add.make_args(expand(part.as_base_exp()[1])))
    numbers = (term.as_coeff_Mul()[0] for term in terms)
    return max((abs(x) / content for x in numbers if x.is_Rational), default=Integer(0))


def _scaled_exponents(expr: Expr, scale: Rational) -> Expr:
    """Return `expr` with every exponent multiplied by `scale`."""
    return expr.xreplace({part: exp(expand(scale * part.as_base_exp()[1])) for part in _exponentials(expr)})


def _exponentials(expr: Expr) -> set[Expr]:
    """Return the exponentials in an expression; exp(1) is a class of its own."""
    return expr.atoms(exp, type(E))


def _tidy(expr: Expr) -> Expr:
    arcs = sorted(expr.atoms(atan, atan2), key=str)
    factored = factor(expr)
    if not arcs:
        if not expr.has(exp):
            return best(factored, expr)
        expanded = expand(factored)
        return best(factored, expr, expanded, powsimp(expanded, combine="exp"))
    # Arcs are frozen while the rest is expanded: their arguments must not change.
    frozen = {arc: Dummy(real=True) for arc in arcs}
    polynomial = Poly(expr.xreplace(frozen), *frozen.values()) if _linear_in(expr, frozen) else None
    if polynomial is None:
        return best(factored, expr)
    rest = polynomial.coeff_monomial(1)
    arcs_apart = Add(*[factor(polynomial.coeff_monomial(name)) * arc for arc, name in frozen.items()])
    return best(arcs_apart + factor(expand(rest)), arcs_apart + _roots_apart(rest), factored, expr)


def _linear_in(expr: Expr, frozen: dict[Expr, Expr]) -> bool:
    """Whether `expr` is a polynomial of degree 1 in the arcs, whose coefficients do not contain them."""
    named = expr.xreplace(frozen)
    names = tuple(frozen.values())
    return named.is_polynomial(*names) and all(named.diff(x, y) == 0 for x in names for y in names)


def _roots_apart(expr: Expr) -> Expr:
    """Return `expr` as a sum over powers of its square roots, each coefficient factored and without common factors."""
    powers = [part for part in expr.atoms(Pow) if part.exp.is_Rational and part.exp.q == 2 and not part.base.is_number]
    names = {part.base: Dummy(positive=True) for part in powers}
    if not names:
        return factor(expr)
    named = expr.xreplace({part: names[part.base] ** (2 * part.as_base_exp()[1]) for part in powers})
    numerator, denominator = fraction(together(named))
    numerator, total = expand(numerator), Integer(0)
    if not numerator.is_polynomial(*names.values()):
        return factor(expr)
    for exponents, coefficient in Poly(numerator, *names.values()).terms():
        monomial = Mul(*[name**exponent for name, exponent in zip(names.values(), exponents, strict=True)])
        total += factor(cancel(coefficient * monomial / denominator))
    return total.xreplace({name: sqrt(base) for base, name in names.items()})


def proved_nonnegative(expr: Expr) -> bool:
    """Return whether an expression is >= 0 wherever it is real: by assumptions, and as roots of even degree are."""
    if isinstance(expr, (Add, Mul)):
        return bool(expr.is_nonnegative) or all(proved_nonnegative(part) for part in expr.args)
    root = isinstance(expr, Pow) and expr.exp.is_Rational and expr.exp.q % 2 == 0
    return root or bool(expr.is_nonnegative)


def arcs_as_arcsine(expr: Expr) -> Expr:
    """Return `expr` with atan2(y, x) as asin(y / sqrt(x^2 + y^2)), as kernels are printed, where x >= 0 is proved.

    So is the arc of a bivariate normal distribution function.

    Elsewhere, in the other half plane, the arcsine is another angle, and the arc stays as it is.
    """

    def published(part: Expr) -> Expr:
        if isinstance(part, BivariateNormal):
            h, k, y, x = part.args
            square = factor(expand(together(x**2 + y**2)))
            return BivariateNormal(h, k, y / sqrt(square)) if proved_nonnegative(x) else part
        if not isinstance(part, (atan, atan2)) or part.is_number:
            return part
        y, x = part.args if isinstance(part, atan2) else part.args[0].as_numer_denom()
        return asin(y / sqrt(factor(expand(together(x**2 + y**2))))) if proved_nonnegative(x) else part

    return rebuilt(expr, published)


def power_product(*powers: tuple[Expr, Expr]) -> Expr:
    """Return the product of base^exponent over pairs (base, exponent) of nonnegative bases, like factors merged.

    >>> from sympy import Rational, symbols
    >>> a, b = symbols("a b", positive=True)
    >>> power_product((a / (1 + b), Rational(1, 2)), (1 / (1 + b) ** 3, Rational(1, 2)))
    sqrt(a)/(b + 1)**2
    """
    exponents: dict[Expr, Expr] = {}
    for base, exponent in powers:
        undecided: Expr = Integer(1)  # the sign of these factors is not known, that of their product is
        for part in Mul.make_args(factor_terms(base)):
            inner, degree = part.as_base_exp()
            if degree.is_even and not inner.is_nonnegative:
                inner = Abs(inner)
            if inner.is_nonnegative:
                exponents[inner] = factor(exponents.get(inner, Integer(0)) + degree * exponent)
            else:
                undecided *= part
        if undecided != 1:
            exponents[undecided] = factor(exponents.get(undecided, Integer(0)) + exponent)
    grouped: dict[Expr, Expr] = {}
    for inner, exponent in exponents.items():
        atomic = inner.is_Symbol or inner.is_number
        # Constants and plain symbols share one power: (2 sigma_w^2 / pi)^(d/2) rather than three factors.
        key = next((k for k in grouped if atomic and (exponent / k).is_Rational), exponent)
        grouped[key] = grouped.get(key, Integer(1)) * inner ** (exponent / key)
    return Mul(*[base**exponent for exponent, base in grouped.items()])
