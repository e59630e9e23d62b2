"""Real and imaginary parts by arithmetic, where terms of a real activation are complex (sines, chirps).

For real X and Y, and odd n,  (X + i Y)^(n/2) = |D|^(n/2) (cos(n t/2) + i sin(n t/2)),  |D|^2 = X^2 + Y^2,
t = atan2(Y, X), is the power of the principal root for every D = X + i Y that is no number <= 0. Determinants of
Gaussian integrals are none: both eigenvalues of 1 + 2 diag(a, a') Sigma have a positive real part where the integral
converges, and so the principal root of their product is the one that continues the root of real determinants.
"""

from functools import reduce

from sympy import Add, Basic, Expr, I, Integer, Mul, Pow, atan2, binomial, cos, exp, sin

from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.graph import distinct

ZERO, ONE = Integer(0), Integer(1)
_Parts = tuple[Expr, Expr]


def real_part_of(expr: Expr) -> Expr:
    """Return the real part of an expression of real symbols and I.

    Raises NoClosedForm for functions other than the exponential of what is complex.

    Example:
        >>> from sympy import sqrt
        >>> from infgeo.conventions import variance as v
        >>> real_part_of(1 / sqrt(1 + 4 * I * v))
        cos(atan(4*v)/2)/(16*v**2 + 1)**(1/4)
    """
    known: dict[Basic, _Parts] = {}
    for node in distinct(expr):
        known[node] = _parts(node, [known[part] for part in node.args])
    return known[expr][0]


def _parts(node: Basic, parts: list[_Parts]) -> _Parts:
    """Return real and imaginary part of a node from those of its arguments."""
    if node == I:
        return ZERO, ONE
    if all(y == 0 for _, y in parts):
        real = tuple(x for x, _ in parts)  # arguments may be real and have I in them, as (1 + i)(1 - i)
        return node if real == node.args else node.func(*real), ZERO
    if isinstance(node, Add):
        return Add(*(x for x, _ in parts)), Add(*(y for _, y in parts))
    if isinstance(node, Mul):
        return reduce(_product, parts)
    if isinstance(node, exp):
        [(x, y)] = parts
        return exp(x) * cos(y), exp(x) * sin(y)
    if isinstance(node, Pow) and node.exp.is_Integer:
        return _power(parts[0], int(node.exp))
    if isinstance(node, Pow) and node.exp.is_Rational and node.exp.q == 2:
        (x, y), power = parts[0], node.exp
        sign = -1 if y.could_extract_minus_sign() else 1
        size, angle = _square(x, y) ** (power / 2), power * atan2(sign * y, x)
        return size * cos(angle), sign * size * sin(angle)
    raise NoClosedForm(
        f"{node.func.__name__} of a complex argument, of waves in z^2 beside a step or an error function"
    )


def _product(left: _Parts, right: _Parts) -> _Parts:
    (x, y), (a, b) = left, right
    return x * a - y * b, x * b + y * a


def _power(base: _Parts, exponent: int) -> _Parts:
    if exponent < 0:
        (x, y), square = base, _square(*base)
        return _power((x / square, -y / square), -exponent)
    x, y = base
    terms = [binomial(exponent, k) * x ** (exponent - k) * y**k for k in range(exponent + 1)]  # times i^k
    real = Add(*((-1) ** (k // 2) * term for k, term in enumerate(terms) if k % 2 == 0))
    return real, Add(*((-1) ** (k // 2) * term for k, term in enumerate(terms) if k % 2))


def _square(x: Expr, y: Expr) -> Expr:
    """Return x^2 + y^2, the same for conjugates."""
    return x**2 + (-y if y.could_extract_minus_sign() else y) ** 2
