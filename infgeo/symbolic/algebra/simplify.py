"""Short forms of expressions: factored, one term for each arc, and without exponentials that overflow."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice

from sympy import (
    Abs,
    Add,
    Dummy,
    E,
    Expr,
    Matrix,
    Mul,
    Poly,
    Pow,
    Symbol,
    asin,
    atan,
    atan2,
    cancel,
    collect,
    count_ops,
    default_sort_key,
    erf,
    erfc,
    exp,
    expand,
    factor,
    factor_terms,
    fraction,
    gcd,
    preorder_traversal,
    sqrt,
    together,
)
from sympy.core.numbers import Integer, Rational

from infgeo.conventions import p, q, variance
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.graph import rebuilt
from infgeo.symbolic.algebra.limits import ALGEBRAIC_LIMIT, FACTOR_LIMIT, LARGEST_DEGREE


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


@lru_cache(maxsize=1024)
def tidy(expr: Expr, limit: int = FACTOR_LIMIT) -> Expr:
    """Return `expr` factored, or as a sum over its arcs; above `limit` operations, as it is."""
    if longer(expr, limit):
        return expr
    named, names = _named_exponentials(rebuilt(expr, _one_exponential) if expr.has(exp) else expr)
    if max((abs(power.exp) for power in named.atoms(Pow) if power.base in names), default=0) > LARGEST_DEGREE:
        return expr
    return best(*(form.xreplace(names) for form in (*_forms(named, bool(names)), named)), expr)


def collected(expr: Expr) -> Expr:
    """Return an expression with its sums as polynomials in the exponentials, where that is shorter."""
    named, names = (expr, {}) if longer(expr, ALGEBRAIC_LIMIT) else _named_exponentials(expr)
    if not names:
        return expr
    result = rebuilt(named, lambda part: collect(part, list(names), factor) if part.is_Add else part)
    return min(expr, result.xreplace(names), key=count_ops)


def with_complements(expr: Expr) -> Expr:
    """Return an expression with a - a erf(x) as a erfc(x), which keeps its digits where x is large.

    >>> from sympy import erf
    >>> from sympy.abc import a, x
    >>> with_complements(x + a / 2 - a * erf(x) / 2)
    a*erfc(x)/2 + x
    """
    return rebuilt(expr, _complemented) if expr.has(erf) else expr


def over_distributions(expr: Expr) -> Expr:
    """Return an expression as a sum over its normal distribution functions, each with one coefficient.

    Terms that cancel, as those of erfc = 1 - erf, are gone: to floating point they are not 0. The functions of two
    variables are those of lower tails, where that is known: what vanishes is written as it is.

    >>> from sympy import erf
    >>> from sympy.abc import a, x, y
    >>> over_distributions(a * (1 + erf(x) + erf(y)) - a * erf(y) - a)
    a*erf(x)
    """
    expr = rebuilt(expr, _lower_tail)
    # Arguments stay as they are: differences in them keep digits.
    names = {
        part: Dummy(real=True) for part in sorted(expr.atoms(BivariateNormal, erf, erfc, exp), key=default_sort_key)
    }
    parts = [name for part, name in names.items() if not isinstance(part, exp)]
    coefficients = collect(expand(expr.xreplace(names)), parts, evaluate=False, exact=True)
    rest = coefficients.pop(Integer(1), Integer(0))
    terms = (part * (k if longer(k, FACTOR_LIMIT) else factor(k)) for part, k in coefficients.items())
    return with_complements(Add(rest, *terms).xreplace({name: part for part, name in names.items()}))


def in_lower_tails(moment: Expr) -> Expr:
    """Return a moment of the variance v by its lower tails, where it has error functions at t/sqrt(v)."""
    kinked = any(_is_above(part.args[0]) for part in moment.atoms(erf))
    return over_distributions(moment) if kinked else moment


def _lower_tail(part: Expr) -> Expr:
    """Return a distribution function of an activation's kinks, at t/sqrt(p) and t/sqrt(q), by those of lower tails."""
    if isinstance(part, erf):
        return 1 - erfc(part.args[0]) if _is_above(part.args[0]) else part
    if not isinstance(part, BivariateNormal):
        return part
    (h, k), (y, x) = part.args[:2], part.arc
    if _is_above(h) and _is_above(k):
        return 1 - erfc(h / sqrt(2)) / 2 - erfc(k / sqrt(2)) / 2 + BivariateNormal(-h, -k, y, x)
    if _is_above(h):
        return erfc(-k / sqrt(2)) / 2 - BivariateNormal(-h, k, -y, x)
    if _is_above(k):
        return erfc(-h / sqrt(2)) / 2 - BivariateNormal(h, -k, -y, x)
    return part


def _is_above(place: Expr) -> bool:
    """Whether a place is a positive number over the root of a variance: at small ones it is far above."""
    variances = (p, q, variance)
    return any((number := place * sqrt(v)).is_positive and not number.has(*variances) for v in variances)


def _complemented(part: Expr) -> Expr:
    if not isinstance(part, Add):
        return part
    terms = set(part.args)
    for term in part.args:
        functions = [factor for factor in Mul.make_args(term) if isinstance(factor, erf)]
        if len(functions) == 1 and -term / functions[0] in terms:
            terms -= {term, -term / functions[0]}
            terms.add(-term / functions[0] * erfc(functions[0].args[0]))
    return Add(*terms)


def longer(expr: Expr, limit: int) -> bool:
    """Return whether an expression has more than `limit` operations, without looking at all of a long one."""
    # There are at most 4 nodes to an operation.
    nodes = len(list(islice(preorder_traversal(expr), 4 * limit + 1)))
    return nodes > 4 * limit or bool(count_ops(expr, visual=False) > limit)


def _named_exponentials(expr: Expr) -> tuple[Expr, dict[Symbol, Expr]]:
    """Return `expr` as a function of symbols for its exponentials, and what they stand for.

    To SymPy exp(a + b) is a product of two, and exp(p/q x) the p-th power of exp(x/q): polynomials of more symbols and
    of a higher degree than there need be.

    >>> from sympy import exp
    >>> from sympy.abc import x, y
    >>> _named_exponentials(exp(-2 * x - 2 * y) + exp(-4 * x - 4 * y))[0]
    _E**2 + _E
    """
    split = in_directions({part: expand(part.as_base_exp()[1]) for part in expr.atoms(exp, type(E))})
    symbols: dict[Symbol, Expr] = {}
    written: dict[Expr, Expr] = dict.fromkeys(split, Integer(1))
    for direction in sorted({direction for parts in split.values() for direction in parts}, key=str):
        rates = {part: parts[direction] for part, parts in split.items() if direction in parts}
        unit = gcd(list(rates.values())) * (-1 if sum(rates.values()) < 0 else 1)
        symbol = Dummy("E", positive=True)
        symbols[symbol] = exp(unit * direction)
        for part, rate in rates.items():
            written[part] *= symbol ** (rate / unit)
    return expr.xreplace(written), symbols


def _one_exponential(part: Expr) -> Expr:
    """Return a product with its exponentials as one."""
    factors = [factor for factor in part.args if isinstance(factor, exp)] if isinstance(part, Mul) else []
    if len(factors) < 2:
        return part
    return Mul(*(factor for factor in part.args if factor not in factors)) * exp(Add(*(f.args[0] for f in factors)))


def in_directions(arguments: Mapping[Expr, Expr]) -> dict[Expr, dict[Expr, Rational]]:
    """Return expanded arguments as {direction: rate}, of directions that are independent over the rational numbers.

    They are the arguments up to rational factors, or their terms where these are dependent.
    """
    split = {}
    for part, argument in arguments.items():
        rate, rest = argument.as_content_primitive()
        sign = -1 if rest.could_extract_minus_sign() else 1
        split[part] = {} if argument == 0 else {sign * rest: sign * rate}
    rows = [direction.as_coefficients_dict() for direction in {key for parts in split.values() for key in parts}]
    terms = {term for row in rows for term in row}
    if rows and Matrix([[row[term] for term in terms] for row in rows]).rank() < len(rows):
        return {part: dict(x.as_coefficients_dict()) if x != 0 else {} for part, x in arguments.items()}
    return split


def _forms(expr: Expr, exponentials: bool) -> tuple[Expr, ...]:
    """Return forms of an expression, factored and multiplied out, or as sums over its arcs."""
    arcs = sorted(expr.atoms(atan, atan2), key=str)
    factored = factor(expr)
    if not arcs:
        return (factored, expand(factored)) if exponentials and not longer(factored, FACTOR_LIMIT) else (factored,)
    # Arcs are frozen while the rest is expanded: their arguments must not change.
    frozen = {arc: Dummy(real=True) for arc in arcs}
    polynomial = Poly(expr.xreplace(frozen), *frozen.values()) if _linear_in(expr, frozen) else None
    if polynomial is None:
        return (factored,)
    rest = polynomial.coeff_monomial(1)
    arcs_apart = Add(*[factor(polynomial.coeff_monomial(name)) * arc for arc, name in frozen.items()])
    return arcs_apart + factor(expand(rest)), arcs_apart + _roots_apart(rest), factored


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
