"""E[f(u) g(v)] of products of powers, Gaussians and waves, real from the start.

Under the measure tilted by exp(-a u^2 - a' v^2) (see `expectation`), with D = det(1 + 2 diag(a, a') Sigma),
V = p + 2 a' Delta and V' = q + 2 a Delta,

    E[u^m v^n exp(b u + b' v)] = D^(-1/2) exp((b^2 V + 2 b b' c + b'^2 V')/(2 D)) E[(mu + x)^m (mu' + y)^n],
    mu = (b V + b' c)/D,  mu' = (b c + b' V')/D,  Var x = V/D, Var y = V'/D, Cov(x, y) = c/D.

Slopes b = beta + i omega make mu and the exponent complex. Conjugate pairs are added before anything is written out:
real and imaginary part of the polynomial are collected over monomials in Re mu D, Im mu D, V, V' and c, and only then
multiplied by the one exponential, its cosine and its sine.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from sympy import (
    Add,
    Expr,
    I,
    Integer,
    Mul,
    Rational,
    binomial,
    cos,
    exp,
    factorial,
    factorial2,
    sin,
    sqrt,
)

from infgeo.conventions import Delta, c, p, q
from infgeo.symbolic.activations.activation import FACTOR_ONE, Term, parts_of

HALF = Rational(1, 2)


class _Wave(NamedTuple):
    """The decays and slopes of a product exp(-a u^2 + b u - a' v^2 + b' v), slopes as (real part, imaginary part)."""

    decays: tuple[Expr, Expr]
    slopes: tuple[tuple[Expr, Expr], tuple[Expr, Expr]]

    def conjugate(self) -> _Wave:
        (x, y), (x_, y_) = self.slopes
        return _Wave(self.decays, ((x, -y), (x_, -y_)))


@dataclass
class Waves:
    """Sums of products of terms without special factors, one of which has a slope."""

    # The coefficients of u^m v^n, as real and imaginary part.
    sums: dict[_Wave, dict[tuple[int, int], tuple[Expr, Expr]]] = field(default_factory=dict)

    def take(self, f: Term, g: Term) -> bool:
        """Add f(u) g(v) to the sum, or return False where it is no product of this kind."""
        if f.factor != FACTOR_ONE or g.factor != FACTOR_ONE or f.slope == g.slope == 0:
            return False
        if f.decay.has(I) or g.decay.has(I):
            return False
        wave = _Wave((f.decay, g.decay), (parts_of(f.slope), parts_of(g.slope)))
        x, y = parts_of(f.coefficient * g.coefficient)
        if wave.conjugate() in self.sums:
            wave, y = wave.conjugate(), -y
        powers = self.sums.setdefault(wave, {})
        old = powers.get((f.power, g.power), (Integer(0), Integer(0)))
        powers[f.power, g.power] = (old[0] + x, old[1] + y)
        return True

    def total(self) -> Expr:
        """Return the real part of the sum of expectations; the imaginary parts of a real activation cancel."""
        return Add(*[_expectation(wave, powers) for wave, powers in self.sums.items()])


def _expectation(wave: _Wave, powers: dict[tuple[int, int], tuple[Expr, Expr]]) -> Expr:
    (a, a_), ((x, y), (x_, y_)) = wave.decays, wave.slopes
    det = 1 + 2 * a * p + 2 * a_ * q + 4 * a * a_ * Delta
    V, V_ = p + 2 * a_ * Delta, q + 2 * a * Delta
    means = (x * V + x_ * c, y * V + y_ * c, x * c + x_ * V_, y * c + y_ * V_)
    real: defaultdict[tuple[int, ...], Expr] = defaultdict(lambda: Integer(0))
    imaginary: defaultdict[tuple[int, ...], Expr] = defaultdict(lambda: Integer(0))
    present = tuple(mean != 0 for mean in means)
    for (m, n), (re, im) in powers.items():
        for monomial, (number, turned) in _monomials(m, n, present).items():
            # (re + i im)(number + i turned), of which one is 0
            real[monomial] += re * number - im * turned
            imaginary[monomial] += re * turned + im * number
    quantities = (*means, V, V_, c)

    def written(sums: dict[tuple[int, ...], Expr]) -> Expr:
        return Add(
            *[
                value * Mul(*[part**k for part, k in zip(quantities, monomial, strict=True)]) / det ** sum(monomial)
                for monomial, value in sums.items()
            ]
        )

    # b^2, b b' and b'^2
    grow = ((x**2 - y**2) * V + 2 * (x * x_ - y * y_) * c + (x_**2 - y_**2) * V_) / (2 * det)
    turn = (x * y * V + (x * y_ + y * x_) * c + x_ * y_ * V_) / det
    value = written(real) * cos(turn) - written(imaginary) * sin(turn)
    return value * exp(grow) / sqrt(det)


@lru_cache(maxsize=1024)
def _monomials(m: int, n: int, present: tuple[bool, ...]) -> dict[tuple[int, ...], tuple[int, int]]:
    """Return E[(mu + x)^m (mu' + y)^n] times powers of D, over powers of (Re mu, Im mu, Re mu', Im mu', V, V', c).

    Each coefficient is a pair, real and imaginary part, of which one is 0. `present` says which means are not 0.
    """
    result: dict[tuple[int, ...], tuple[int, int]] = {}
    for i in range(m + 1):
        for j in range(n + 1):
            if (m - i + n - j) % 2:
                continue
            outer = int(binomial(m, i) * binomial(n, j))
            for left in _choices(i, present[:2]):
                for right in _choices(j, present[2:]):
                    count = outer * int(binomial(i, left) * binomial(j, right))
                    unit = ((1, 0), (0, 1), (-1, 0), (0, -1))[(left + right) % 4]
                    for k, pairs in _pairings(m - i, n - j):
                        key = (i - left, left, j - right, right, (m - i - k) // 2, (n - j - k) // 2, k)
                        result[key] = (count * pairs * unit[0], count * pairs * unit[1])
    return result


def _choices(power: int, present: tuple[bool, ...]) -> range:
    """Return how many of the factors of (real + i imaginary)^power may be the imaginary part."""
    real, imaginary = present
    if real and imaginary:
        return range(power + 1)
    if real:
        return range(1)
    return range(power, power + 1) if imaginary or power == 0 else range(0)


def _pairings(m: int, n: int) -> list[tuple[int, int]]:
    """Return (k, count) with E[x^m y^n] = sum of count c^k V^((m - k)/2) V'^((n - k)/2) (Isserlis' theorem)."""
    return [
        (
            k,
            int(factorial2(m - k - 1) * factorial2(n - k - 1) * binomial(m, k) * binomial(n, k) * factorial(k)),
        )
        for k in range(m % 2, min(m, n) + 1, 2)
    ]
