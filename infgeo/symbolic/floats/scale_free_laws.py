"""The functions of the variance that scale-free quantities take (see `scale_free`), in stable forms.

For m = E[phi^2], m0 = E[phi'^2] at variance v:

    Psi = v m0'/m0,  M = v m'/m,  H = v m'^2/(m m0),  N = H - M,  W = 1 + 2 Psi,  U = W - H,  Theta = M - 1 - Psi,

their derivatives by v, dPsi and so on, and L = H Theta/v. Activations that are powers make them constants, so that they
have no poles where phi'(0) = 0. W and U are expectations of squares: E[z^2 phi'^2]/(v m0), and the same of the part of
z phi' that is orthogonal to phi. Theta/v is the logarithmic derivative of m/(v m0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import mpmath
from sympy import Add, Expr, Integer, Mul, Poly, Rational, atan, atan2, sign

from infgeo.conventions import variance as v
from infgeo.symbolic.algebra.primitives import where_nonnegative
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.floats.stable import TERMS, Named, StableDual, as_quotient, closed, cut_power_series, stable_dual

FAR = 60  # powers of ten where limits are read off
ZERO = Integer(0)

Forms = dict[str, tuple[Expr, int, int]]


class NoTail(Exception):
    """A function of the variance tends to no rational number, or to no rational power, at the end that is asked for."""


@dataclass(frozen=True)
class Tail:
    """A function F of the variance v towards an end: F = limit + rest, rest ~ v^degree, gap = v F' - degree rest."""

    limit: Rational
    degree: Rational
    rest: Expr
    gap: Expr


@dataclass(frozen=True)
class ScaleFreeLaw:
    """The functions of one law by name, each written when it is asked for."""

    law: StableDual
    known: dict[str, Expr] = field(default_factory=dict, compare=False, repr=False)
    limits: dict[tuple[str, int], Rational] = field(default_factory=dict, compare=False, repr=False)
    tails: dict[tuple[str, int], Tail] = field(default_factory=dict, compare=False, repr=False)

    def __getitem__(self, name: str) -> Expr:
        """Return a function of the variance."""
        if name not in self.known:
            self.known[name] = self._form(name)
        return self.known[name]

    def tail(self, name: str, end: Rational) -> Tail:
        """Return a function towards v = 0 (end < 0) or infinity (end > 0); whole, with its slope, where end = 0.

        The limit is taken out of Psi and M, which may have any; the others are powers.
        """
        key = name, int(sign(end))
        if key not in self.tails:
            whole = Tail(ZERO, ZERO, self[name], v * self[f"d{name}"]) if end == 0 else self._tail(name, key[1])
            self.tails[key] = whole
        return self.tails[key]

    def limit(self, name: str, end: Rational) -> Rational:
        """Return the limit of a function at v = 0 (end < 0) or infinity (end > 0); raises NoTail."""
        key = name, int(sign(end))
        if key not in self.limits:
            self.limits[key] = _rational_limit(self._whole(name), key[1])
        return self.limits[key]

    def _whole(self, name: str) -> Expr:
        numerator, m, m0 = self._exact[name]
        return numerator / (self.law.parts[0] ** m * self.law.parts[3] ** m0)

    def _tail(self, name: str, end: int) -> Tail:
        if any(part.has(atan, atan2) for part in self.law.parts):
            raise NoTail
        limit = self.limit(name, end) if name in ("Psi", "M") else ZERO
        (numerator, *powers), (slope, *higher) = self._exact[name], self._exact[f"d{name}"]
        parts = self.law.parts[0], self.law.parts[3]
        rest = as_quotient(numerator - limit * parts[0] ** powers[0] * parts[1] ** powers[1])
        if rest == 0:
            return Tail(limit, ZERO, ZERO, ZERO)
        # The slope has more powers in the denominator.
        added = Mul(*[part ** (high - low) for part, high, low in zip(parts, higher, powers, strict=True)])
        degree = _rational_limit(v * slope / (rest * added), end)
        gap = v * slope - degree * rest * added
        return Tail(limit, degree, self._quotient(rest, *powers), self._quotient(gap, *higher))

    def _form(self, name: str) -> Expr:
        arcs = [part.has(atan, atan2) for part in self.law.parts]
        # Psi and W are functions of m0 alone, which has no arcs where phi is erf.
        if not any(arcs) or (not arcs[3] and name in ("Psi", "dPsi", "W", "dW")):
            return self._quotient(*self._exact[name])
        # Arcs do not cancel symbolically: at small v all of it as power series, elsewhere what has few of them.
        m, m0, condition, forms = self._near
        numerator, *powers = forms[name]
        near = _cut(numerator) / (_cut(m) ** powers[0] * _cut(m0) ** powers[1])
        return where_nonnegative(condition, near, self._far[name]())

    @cached_property
    def _exact(self) -> Forms:
        return _forms(*self.law.parts)

    @cached_property
    def _near(self) -> tuple[Expr, Expr, Expr, Forms]:
        """The power series of m and m0, cut, where they hold, and the functions of them."""
        (m, near_m), (m0, near_m0) = (cut_power_series(self.law.parts[i]) for i in (0, 3))
        forms = _forms(m, m.diff(v), m.diff(v, 2), m0, m0.diff(v), m0.diff(v, 2))
        return m, m0, near_m + near_m0 - Rational(1, 12), forms

    @cached_property
    def _far(self) -> dict[str, Callable[[], Expr]]:
        """The functions from psi, mu and nu; v m' - m has no arcs where phi tends to a multiple of z or |z|.

        Nor has E[rho^2] of rho = z phi' - phi then, whose part orthogonal to phi is that of z phi'.
        """
        law, (m, slope, _, f, df, ddf) = self.law, self.law.parts
        rest, excess, steep = tidy(v * slope - m), tidy(v * f - m), tidy(f + 2 * v * df)
        square, less = tidy(2 * v * excess.diff(v) - excess), rest**2 / law.m
        if square.has(atan, atan2):
            square, less = v * steep, v**2 * law.m_prime**2 / law.m
        M, Psi = 1 + rest / law.m, v * law.psi
        return {
            "Psi": lambda: Psi,
            "dPsi": lambda: tidy(df + v * ddf) / law.m0 - v * law.psi**2,
            "M": lambda: M,
            "dM": lambda: (tidy(rest.diff(v)) * law.m - rest * law.m_prime) / law.m**2,
            "H": lambda: M * law.mu,
            "dH": lambda: self._far["dM"]() * law.mu + M * law.nu_prime,
            "N": lambda: M * law.nu,
            "dN": lambda: self._far["dM"]() * law.nu + M * law.nu_prime,
            "Theta": lambda: M - 1 - Psi,
            "dTheta": lambda: self._far["dM"]() - self._far["dPsi"](),
            "L": lambda: M * law.mu * (M - 1 - Psi) / v,
            "W": lambda: steep / law.m0,
            "dW": lambda: (tidy(steep.diff(v)) - steep * law.psi) / law.m0,
            "U": lambda: (square - less) / (v * law.m0),
            "dU": lambda: (square.diff(v) - less.diff(v) - (square - less) * (1 / v + law.psi)) / (v * law.m0),
        }

    def _quotient(self, numerator: Expr, m: int, m0: int) -> Expr:
        """Return a formula over powers of m and m0, which are divided out where they are no exponentials."""
        law = self.law
        whole = numerator / (law.parts[0] ** m * law.parts[3] ** m0)
        sums = (m and self._sums[0]) or (m0 and self._sums[1])
        if not sums and not closed(whole):
            named = Named(whole)
            if not named.quotient()[1].free_symbols & set(named.exponents):
                return law.written(whole)
        return law.written(as_quotient(numerator)) / (law.m**m * law.m0**m0)

    @cached_property
    def _sums(self) -> tuple[bool, bool]:
        """Whether m and m0 are sums over exponentials, which are not divided out: that takes long to find."""
        return _sum_of_exponentials(self.law.parts[0]), _sum_of_exponentials(self.law.parts[3])


@lru_cache(maxsize=64)
def scale_free_law(law: Dual) -> ScaleFreeLaw:
    """Return the functions of a law, each written once."""
    return ScaleFreeLaw(stable_dual(law))


def _sum_of_exponentials(expr: Expr) -> bool:
    if closed(expr):
        return False
    named = Named(expr)
    return bool(named.exponents) and len(Poly(named.quotient()[0], *named.exponents).terms()) > 1


def _rational_limit(expr: Expr, end: int) -> Rational:
    """Return the limit of a function of v at 0 or infinity, a multiple of 1/12 whatever the parameters are."""
    found = set()
    for parameter, factor in ((Rational(3, 4), 1), (Rational(13, 7), 5)):
        at = {symbol: parameter for symbol in expr.free_symbols - {v}} | {v: factor * Integer(10) ** (FAR * end)}
        near = expr.xreplace(at).evalf(10 * FAR)
        if not (near.is_Float or near.is_Rational):
            raise NoTail
        # Floats of mpmath, since SymPy's are made fractions in comparisons: exp(-10^60) is not one of any use.
        twelfths = 12 * mpmath.mpf(near)
        found.add(int(mpmath.nint(twelfths)) if abs(twelfths) < 10**6 else None)
        if abs(twelfths - mpmath.nint(twelfths)) > mpmath.mpf(10) ** (-FAR // 4):
            raise NoTail
    if len(found) > 1 or None in found:
        raise NoTail
    return Rational(found.pop(), 12)


def _forms(m: Expr, dm: Expr, ddm: Expr, f: Expr, df: Expr, ddf: Expr) -> Forms:
    """Return the functions as a numerator and the powers of m and m0 = f in the denominator."""
    square, both = v * dm**2, dm * f + m * df
    less = v * dm * (dm - f)
    steep, lean = f + 2 * v * df, v * dm * f - m * f - v * m * df
    across, dacross = m * steep - square, m * (3 * df + 2 * v * ddf) + dm * steep - dm**2 - 2 * v * dm * ddm
    bend = f * (df + v * ddf) - v * df**2
    return {
        "Psi": (v * df, 0, 1),
        "dPsi": (bend, 0, 2),
        "M": (v * dm, 1, 0),
        "dM": (m * (dm + v * ddm) - square, 2, 0),
        "H": (square, 1, 1),
        "dH": ((dm**2 + 2 * v * dm * ddm) * m * f - square * both, 2, 2),
        "N": (less, 1, 1),
        "dN": (((dm + v * ddm) * (dm - f) + v * dm * (ddm - df)) * m * f - less * both, 2, 2),
        "Theta": (lean, 1, 1),
        "dTheta": ((v * ddm * f - 2 * m * df - v * m * ddf) * m * f - lean * both, 2, 2),
        "L": (dm**2 * lean, 2, 2),
        "W": (steep, 0, 1),
        "dW": (2 * bend, 0, 2),
        "U": (across, 1, 1),
        "dU": (dacross * m * f - across * both, 2, 2),
    }


def _cut(polynomial: Expr) -> Expr:
    """Return a power series, as a power of v times a sum, without the powers that do not count before the first."""
    terms = Poly(polynomial, v).terms()
    lowest = terms[-1][0][0]
    return v**lowest * Add(*[c * v ** (power - lowest) for (power,), c in terms if power - lowest < TERMS])
