"""Kernels with exponentials of the variances, those of sines and exponentials, in forms that keep their digits."""

from collections import defaultdict

from sympy import Add, Expr, Integer, Mul, exp, expand, factor, together

from infgeo.conventions import Delta, Internal, c, omega, p, q
from infgeo.symbolic.algebra.graph import distinct, rebuilt
from infgeo.symbolic.algebra.limits import FACTOR_LIMIT
from infgeo.symbolic.algebra.primitives import exp_difference
from infgeo.symbolic.algebra.simplify import longer

# E[(u - v)^2] = p + q - 2c and E[(u + v)^2] = p + q + 2c, without cancellation.
near, far = Internal("near", nonnegative=True), Internal("far", nonnegative=True)


def paired(expr: Expr) -> Expr:
    """Return `expr` with a (e^x - e^y) as a exp_difference(x, y, x - y): relatively accurate where x and y are close.

    Example:
        >>> from infgeo.conventions import variance
        >>> paired((1 - exp(-2 * variance)) / 2)
        exp_difference(0, -2*v, 2*v)/2
    """
    if not any(isinstance(part, exp) for part in distinct(expr)):
        return expr
    return rebuilt(expr, lambda part: _paired_sum(part) if part.is_Add and part.has(exp) else part)


def of_squares(expr: Expr) -> Expr:
    """Return `expr` with a near and a far in exponents for a (p + q - 2c) and a (p + q + 2c), which lose digits.

    Example:
        >>> from infgeo.conventions import c, p, q
        >>> of_squares(exp(c - p / 2 - q / 2) * c)
        c*exp(-near/2)
    """

    def exponent(x: Expr) -> Expr:
        if not x.is_polynomial(p, q, c):
            return x
        x = expand(x)
        a = x.coeff(p)
        for square, sign in ((near, -2), (far, 2)):
            if a != 0 and expand(x - a * (p + q + sign * c)) == 0:
                return a * square
        return x

    def rewritten(part: Expr) -> Expr:
        if isinstance(part, exp):
            return exp(exponent(part.args[0]))
        if isinstance(part, exp_difference):
            return exp_difference(*map(exponent, part.args[:2]), part.args[2])
        return part

    return rebuilt(expr, rewritten)


def differences_of_squares(expr: Expr) -> Expr:
    """Return `expr` with c - p, p + q - 2c and the like, and the same with -c, by near, far and omega = p - q.

    Where u and v are nearly equal or opposite these are small numbers, which divide each other: they come from the
    differences of the points.

    Example:
        >>> from infgeo.conventions import c, p, q
        >>> differences_of_squares((c - p) / (p + q + 2 * c))
        (-near/2 - omega/2)/far
    """

    def rewritten(part: Expr) -> Expr:
        if not part.is_Add:
            return part
        split = [term.as_independent(p, q, c, Delta, as_Add=False) for term in part.args]
        a, b, last = (Add(*(factor_ for factor_, rest in split if rest == symbol)) for symbol in (p, q, c))
        square = near if expand(last + a + b) == 0 else far if expand(last - a - b) == 0 else None
        if last == 0 or square is None:
            return part
        others = Add(*(factor_ * rest for factor_, rest in split if rest not in (p, q, c)))
        return others + (a - b) * omega / 2 + (a + b) * square / 2

    return rebuilt(expr, rewritten)


def _mirrored(terms: list[tuple[Expr, Expr]]) -> list[tuple[Expr, Expr]]:
    """Write a e^x + b e^y, whose exponents differ in the sign of c, by (a + b)/2 and (a - b)/2 of both.

    Then what is odd in c does not cancel at small variances.
    """
    result: list[tuple[Expr, Expr]] = []
    left = {i: (coefficient, expand(x)) for i, (coefficient, x) in enumerate(terms)}
    while left:
        i = min(left)
        a, x = left.pop(i)
        mirror = expand(x.subs(c, -c))
        partner = next((j for j, (_, y) in left.items() if y == mirror != x), None)
        if partner is None or longer(terms[i][0], FACTOR_LIMIT):
            result.append(terms[i])
            continue
        b, y = left.pop(partner)
        even, odd = (factor(together(part) / 2) for part in (a + b, a - b))
        if even == 0 or odd == 0:
            result += [terms[i], terms[partner]]
        else:
            result += [(even, x), (even, y), (odd, x), (-odd, y)]
    return result


def _paired_sum(total: Expr) -> Expr:
    terms = _mirrored([split_exponential(term) for term in total.args])
    written = [c if longer(c, FACTOR_LIMIT) else expand(c) for c, _ in terms]
    places: defaultdict[Expr, list[int]] = defaultdict(list)
    for i, coefficient in enumerate(written):
        places[coefficient].append(i)
    result: list[Expr] = []
    left = dict(enumerate(terms))
    for i, (coefficient, exponent) in enumerate(terms):
        if left.pop(i, None) is None:
            continue
        opposite = places.get(-written[i], ())
        partner = next((j for j in opposite if j in left and left[j][1] != exponent), None)
        if partner is None:
            result.append(coefficient * exp(exponent))
            continue
        _, other = left.pop(partner)
        result.append(coefficient * exp_difference(exponent, other, expand(exponent - other)))
    return Add(*result)


def split_exponential(term: Expr) -> tuple[Expr, Expr]:
    """Return a and x with `term` = a e^x."""
    factors = Mul.make_args(term)
    exponents = [factor.args[0] for factor in factors if isinstance(factor, exp)]
    return Mul(*[factor for factor in factors if not isinstance(factor, exp)]), Add(Integer(0), *exponents)


def large(kernel: Expr) -> bool:
    """Whether rounding exponents of a kernel costs more the larger the variances are.

    So it does where they grow in the squares of `of_squares`, too, as those of exp(z) do, and where powers of the
    variances multiply them, as in the kernel of z sin(z).
    """
    for part in distinct(kernel):
        for term in Add.make_args(part):
            coefficient, exponent = split_exponential(term)
            if not (exponent.has(p, q, c) and exponent.is_polynomial(p, q, c, Delta)):
                continue
            written = of_squares(exp(exponent)).args[0]
            if coefficient.has(p, q, c, Delta) or written.is_nonnegative or written.has(p, q, c):
                return True
    return False
