"""Rewriting dual kernels for second differences: radicands reduced, angles named, what cancels brought together.

With theta_h = atan2(c, sqrt(h^2 + h (p + q) + Delta)) the kernels of erf-like activations are sums over a few angles.
`split_angle` writes theta_h = pi/2 - psi_h and reduces p q psi_h and c psi_h, after which the terms that cancel
numerically have cancelled symbolically (see `difference`).
"""

from functools import lru_cache

import sympy as sp

from infgeo.conventions import Delta as DELTA
from infgeo.conventions import c as C
from infgeo.conventions import p as P
from infgeo.conventions import q as Q
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.graph import rebuilt
from infgeo.symbolic.algebra.simplify import proved_nonnegative
from infgeo.symbolic.floats.exponentials import split_exponential


class Angle(sp.Function):
    """theta_h = atan2(c, sqrt(h^2 + h(p+q) + Delta)), internal."""

    nargs = 1


class Arctangent(sp.Function):
    """atan2(y, x), which SymPy would turn into atan(y/x), internal."""

    nargs = 2


class Psi(sp.Function):
    """psi_h = pi/2 - theta_h, internal."""

    nargs = 1


class Bulge(sp.Function):
    """B_h = sqrt((h+p)(h+q)) (sin psi_h - psi_h cos psi_h), internal."""

    nargs = 1


@lru_cache(maxsize=4096)
def reduced(polynomial: sp.Expr) -> sp.Expr:
    """Write c^2 as p q - Delta, so that what cancels in a radicand or denominator does so symbolically."""
    if not polynomial.is_polynomial(P, Q, C, DELTA) or not isinstance(polynomial, sp.Add):
        return polynomial
    result = sp.expand(polynomial)
    while sp.degree(result, C) > 1:
        result = sp.expand(sp.rem(result, C**2 - P * Q + DELTA, C))
    return result if result.has(DELTA) else sp.factor(result)


@lru_cache(maxsize=65536)
def normalise(e: sp.Expr) -> sp.Expr:
    """Reduce radicands, turn inverse circular functions into atan2, and name the angles theta_h."""
    if e.is_Atom:
        return e
    args = [normalise(a) for a in e.args]
    if isinstance(e, sp.Pow) and not (e.exp.is_integer and e.exp.is_positive):
        return sp.Pow(reduced(args[0]), args[1])
    if isinstance(e, sp.acos):
        return sp.pi / 2 - normalise(sp.asin(e.args[0]))
    if isinstance(e, sp.atan2):
        return _angle(*args)
    if isinstance(e, sp.atan | sp.asin):
        y, x = sp.fraction(sp.together(args[0]))
        y, x = (y, x) if proved_nonnegative(x) else (args[0], sp.S.One)
        return _angle(y, x if isinstance(e, sp.atan) else sp.sqrt(reduced(sp.expand(x**2 - y**2))))
    return e.func(*args)


def in_waves(kernel: sp.Expr) -> sp.Expr:
    """Write pairs of exponentials that differ in the sign of c alone as a hyperbolic sine or cosine.

    Of e^(c - v) + e^(-c - v) both differences are of the order of v at small variances v, and their sum of v^2.

    Example:
        >>> in_waves(sp.exp(C - P) / 2 - sp.exp(-C - P) / 2)
        exp(-p)*sinh(c)
    """

    def rule(part: sp.Basic) -> sp.Basic:
        if not isinstance(part, sp.Add) or not part.has(sp.exp):
            return part
        left: dict[sp.Expr, sp.Expr] = {}
        others = []
        for term in part.args:
            rest, exponent = split_exponential(term)
            exponent = sp.expand(exponent)
            if exponent.has(C):
                left[exponent] = left.get(exponent, 0) + rest
            else:
                others.append(term)
        for exponent in sorted(left, key=sp.default_sort_key):
            mirrored = sp.expand(exponent.subs(C, -C))
            if exponent not in left or mirrored == exponent or mirrored not in left:
                continue
            even, odd = sp.expand((exponent + mirrored) / 2), sp.expand((exponent - mirrored) / 2)
            for sign, wave in ((1, sp.cosh), (-1, sp.sinh)):
                if sp.expand(left[exponent] - sign * left[mirrored]) == 0:
                    others.append(2 * left.pop(exponent) * sp.exp(even) * wave(odd))
                    del left[mirrored]
                    break
        return sp.Add(*others, *(factor * sp.exp(exponent) for exponent, factor in left.items()))

    return rebuilt(kernel, rule)


def _angle(y: sp.Expr, x: sp.Expr) -> sp.Expr:
    """Return +-theta_h if atan2(y, x) is one, else the general node."""
    scale = sp.cancel(y / C)
    if not scale.free_symbols & {P, Q, C, DELTA} and scale.is_nonzero and proved_nonnegative(x):
        square = sp.expand(reduced(sp.expand((x / scale) ** 2)))
        h2 = square.subs({P: 0, Q: 0, DELTA: 0})
        h = sp.sqrt(h2)
        if h.is_nonnegative and sp.expand(square - h2 - h * (P + Q) - DELTA) == 0:
            return sp.sign(scale) * Angle(h)
    return Arctangent(y, x)


def split_angle(kernel: sp.Expr, angle: sp.Expr) -> sp.Expr:
    """Write theta_h = pi/2 - psi_h, p q psi_h = (c^2 + Delta) psi_h + ..., c psi_h = S - B_h, and collect."""
    h = angle.args[0]
    psi, bulge, root = Psi(h), Bulge(h), sp.sqrt(h**2 + h * (P + Q) + DELTA)
    kernel = sp.expand(kernel.xreplace({angle: sp.pi / 2 - psi}))
    factor, rest = kernel.coeff(psi), sp.expand(kernel.coeff(psi, 0))
    if sp.expand(kernel - factor * psi - rest) != 0:
        raise NoClosedForm(f"difference_program: {angle} enters nonlinearly; evaluate the kernel directly")
    if h == 0:
        factor = _without_pq(factor)
    for _ in range(64):
        linear = sum((t for t in sp.Add.make_args(factor) if _power_of_c(t) >= 1), sp.S.Zero)
        if linear == 0:
            return sp.expand(rest + factor * psi)
        rest = sp.expand(rest + (linear / C) * (root - bulge))
        factor = sp.expand(factor - linear)
    raise NoClosedForm(f"difference_program: cannot split {factor}*{psi}")


def partial_fractions(e: sp.Expr, h: sp.Expr) -> sp.Expr:
    """Collect by powers of S_h, with c^2 = p q - Delta, and decompose the coefficients in p and in q.

    What B_h - S_h leaves, c^2/((h+p) S) + ... - (h^2 + h(p+q) + Delta)/S, is of lower order in p only after this.
    """
    radicand = h**2 + h * (P + Q) + DELTA
    root = sp.Dummy("S", positive=True)

    def name_root(power: sp.Expr) -> sp.Expr:
        scale = sp.cancel(power.base / radicand)
        return (sp.sqrt(scale) * root) ** (2 * power.exp) if scale.is_number and scale.is_positive else power

    nodes = e.atoms(Bulge, Psi, Angle)
    kept = sum((node * e.coeff(node) for node in nodes), sp.S.Zero)
    rest = sp.expand(e - kept).replace(lambda x: isinstance(x, sp.Pow) and x.exp.is_Rational, name_root)
    numerator, denominator = sp.fraction(sp.factor(rest))
    power = sp.degree(denominator, root) if denominator.has(root) else 0
    denominator = sp.cancel(denominator / root**power)
    if denominator.has(C, DELTA, root) or not (numerator * denominator).is_polynomial(P, Q, C, DELTA, root):
        return e
    coefficients: dict[int, sp.Expr] = {}
    for (n,), part in sp.Poly(sp.expand(numerator), root).terms():
        odd_or_even = (n - power) % 2
        excess = max((n - power + odd_or_even) // 2, 0)
        exponent = n - power - 2 * excess
        coefficients[exponent] = coefficients.get(exponent, 0) + part * radicand**excess
    for exponent, part in coefficients.items():
        for (n, m), k in sp.Poly(reduced(sp.expand(part)), C, DELTA).terms():
            for x in sp.Add.make_args(sp.apart(sp.factor(k / denominator), P)):
                y = sp.apart(sp.factor(x), Q)
                kept += sum(t * C**n * DELTA**m * sp.sqrt(radicand) ** exponent for t in sp.Add.make_args(y))
    return kept


def _power_of_c(term: sp.Expr) -> int:
    exponent = term.as_powers_dict().get(C, 0)
    return int(exponent) if sp.sympify(exponent, strict=True).is_Integer else 0


def _without_pq(e: sp.Expr) -> sp.Expr:
    """Replace whole powers (p q)^n by (c^2 + Delta)^n, term by term."""
    total = sp.S.Zero
    for term in sp.Add.make_args(sp.expand(e)):
        powers = term.as_powers_dict()
        n = min(int(sp.floor(powers.get(P, 0))), int(sp.floor(powers.get(Q, 0))))
        total += term / (P * Q) ** n * (C**2 + DELTA) ** n if n > 0 else term
    return sp.expand(total)
