"""Products of exponentials and tails of normal distributions, of which one overflows where the other vanishes."""

from functools import lru_cache

from sympy import Add, Expr, Integer, Mul, Pow, cancel, erfc, exp, expand, expand_mul, factor, rem, sqrt, together

from infgeo.conventions import Delta, c, p, q, variance
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.graph import distinct, rebuilt
from infgeo.symbolic.algebra.primitives import above_zero, scaled_erfc, scaled_quadrant
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.floats.exponentials import differences_of_squares, of_squares, paired


def with_tails(expr: Expr) -> Expr:
    """Return `expr` with e^a erfc(x) as scaled_erfc, and with all bivariate normal probabilities as scaled_quadrant.

    Densities, products of exponentials of quotients, become one exponential.

    Example:
        >>> from infgeo.conventions import variance as v
        >>> with_tails(exp(2 * v) * erfc(sqrt(2 * v)))
        scaled_erfc(2*v, sqrt(2)*sqrt(v), 0)
    """
    if not any(isinstance(part, erfc | BivariateNormal) or _is_quotient(part) for part in distinct(expr)):
        return expr
    return rebuilt(expr, _rule)


def in_squares(expr: Expr) -> Expr:
    """Return a kernel by |u - v|^2, |u + v|^2 and p - q, see `exponentials`, where they keep digits."""
    expr = differences_of_squares(with_tails(expr))  # tails' exponents cancel as they stand
    return of_squares(paired(expr.xreplace({Delta: above_zero(Delta, p * q)})))


def program_with_tails(program: Program) -> Program:
    """Return a program with `with_tails` in all its values."""
    bindings = tuple((symbol, with_tails(value)) for symbol, value in program.bindings)
    return Program(bindings, {name: with_tails(value) for name, value in program.outputs.items()})


def _rule(part: Expr) -> Expr:
    if isinstance(part, BivariateNormal):
        return _quadrant(Integer(0), part)
    if not isinstance(part, Mul):
        return part
    exponentials = [factor_ for factor_ in part.args if isinstance(factor_, exp)]
    for quotient in part.args if exponentials else ():
        if isinstance(quotient, Pow) and isinstance(quotient.base, erfc) and quotient.exp.is_Integer:
            x = quotient.base.args[0]
            count = cancel(-Add(*(factor_.args[0] for factor_ in exponentials)) / x**2)
            if count.is_Integer and 0 < count <= -quotient.exp:  # densities over tails
                rest = Mul(*(factor_ for factor_ in part.args if factor_ not in (*exponentials, quotient)))
                return rest * quotient.base ** (quotient.exp + count) * scaled_erfc(x**2, x, 0) ** -count
    if exponentials and any(isinstance(sum_, Add) and sum_.has(erfc, scaled_quadrant) for sum_ in part.args):
        return Add(*(_rule(term) for term in Add.make_args(expand_mul(part, deep=False))))
    tails = [factor_ for factor_ in part.args if isinstance(factor_, erfc | scaled_quadrant)]
    exponent = Add(*(factor_.args[0] for factor_ in exponentials))
    if len(exponentials) > 1 and not tails and any(map(_is_quotient, exponentials)):
        return Mul(*(factor_ for factor_ in part.args if factor_ not in exponentials)) * exp(_short(exponent))
    if not exponentials or len(tails) != 1:
        return part
    [tail] = tails
    rest = Mul(*(factor_ for factor_ in part.args if factor_ not in exponentials and factor_ != tail))
    if isinstance(tail, erfc):
        return rest * scaled_erfc(exponent, tail.args[0], _short(exponent - tail.args[0] ** 2))
    old, h, k, n, n_, last = tail.args
    return rest * scaled_quadrant(old + exponent, h, k, n, n_, _short(last + exponent))


def _is_quotient(part: Expr) -> bool:
    """Whether a part is an exponential of a quotient of variances, as densities at a kink have."""
    return isinstance(part, exp) and not part.args[0].is_polynomial(p, q, c, Delta, variance)


@lru_cache(maxsize=1024)  # the same normal is met in every quantity
def _quadrant(exponent: Expr, normal: BivariateNormal) -> Expr:
    h, k = (together(-part) for part in normal.args[:2])
    y, x = normal.arc
    radius = sqrt(factor(_in_determinant(x**2 + y**2)))
    n, n_ = (_short((first * radius - second * y) / x) for first, second in ((k, h), (h, k)))
    return scaled_quadrant(exponent, h, k, n, n_, _short(exponent - (h**2 + n**2) / 2))


@lru_cache(maxsize=1024)
def _short(expr: Expr) -> Expr:
    """Return what has cancelled all that cancels, in terms of Delta."""
    numerator, denominator = factor(together(expr)).as_numer_denom()
    return factor(cancel(_in_determinant(numerator) / denominator))


def _in_determinant(expr: Expr) -> Expr:
    """Return a polynomial of degree 1 in c, where it is one, with c^2 = p q - Delta."""
    expr = expand(expr)
    return expand(rem(expr, c**2 - p * q + Delta, c)) if expr.is_polynomial(c) else expr
