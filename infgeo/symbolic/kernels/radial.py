"""What features do to lengths at each radius, as a state of the fold: their metric, or how they separate without one.

The state holds the squared norm f(s) of features with kernel k(x, x) = f(s), s = |x|^2, the mean of their units, and
the leading order of their squared distance for y -> x,

    D^2 = |y - x|^(gamma - 2) (A |y - x|^2 + B (x.(y - x))^2),

which is the metric A I + B x x^T where gamma = 2. Layers act on it by

    affine      f <- bias + weight f,  and f', A and B times weight;  the mean vanishes
    activate    f <- m(f),  f' <- m'(f) f',  A <- m0(f) A,  B <- m0(f) B + 2 m0'(f) f'^2,  mean <- E[phi]
    over_norm   k(x, y) <- k(x, y) / sqrt(F(x) F(y)),  F = f / width + epsilon
    centred     k(x, y) <- k(x, y) - mean(x) mean(y)
    add         f, f', A and B add

with m = E[phi^2] and m0 = E[phi'^2] at variance f (see `dual`); squares of f' belong to gamma = 2. A jump J of phi at t
comes between the preactivations of a pair, of variance f and determinant Delta = p q - c^2, with the probability
exp(-t^2/(2 f))/sqrt(2 pi f) E|v - u|, where v - u is at u = t a Gaussian of variance Delta/f and of mean (p - c) t/f:

    D^2 = J^2 exp(-t^2/(2 f)) sqrt(Delta) / (pi f) across x,
    Delta = (f A - [along x] s (f'^2 - f B)) |x - y|^2  or  f D^2,

so that gamma halves, and a second jump halves it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sympy import Abs, Expr, Integer, Symbol, erf, exp, gamma, pi, sqrt

from infgeo.conventions import s
from infgeo.conventions import variance as v
from infgeo.symbolic.algebra.graph import substituted
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.expectations.dual import Dual

ZERO, ONE, TWO = Integer(0), Integer(1), Integer(2)


@dataclass(frozen=True)
class Radial:
    """See the module; `slope` is f', `exponent` is gamma, and the start is k = x.y."""

    f: Expr = s
    slope: Expr = ONE
    A: Expr = ONE
    B: Expr = ZERO
    exponent: Expr = TWO
    mean: Expr = ZERO

    @property
    def along(self) -> Expr:
        """The coefficient of the squared distance along x; that across x is A."""
        return self.A + s * self.B

    def affine(self, weight: Expr, bias: Expr) -> Radial:
        """See the module."""
        return replace(self.scaled(weight), f=bias + weight * self.f, mean=ZERO)

    def scaled(self, factor: Expr) -> Radial:
        """Return the state of sqrt(factor) h."""
        parts = {name: factor * getattr(self, name) for name in ("f", "slope", "A", "B")}
        return replace(self, **parts, mean=sqrt(factor) * self.mean)

    def activate(self, law: Dual) -> Radial:
        """See the module."""
        m, m_prime, mean = (part.xreplace({v: self.f}) for part in (law.m, law.m_prime, law.mean))
        cusp = law.cusp
        if not law.jumps and cusp is None:
            m0, m0_prime = law.m0.xreplace({v: self.f}), law.m0_prime.xreplace({v: self.f})
            after = replace(self, A=m0 * self.A, B=m0 * self.B).with_radial(2 * m0_prime * self.slope**2)
        else:
            delta = replace(self, A=self.f * self.A, B=self.f * self.B).with_radial(-(self.slope**2))
            drift = sqrt(s) * self.slope if self.exponent == 2 else ZERO
            roots = (sqrt(tidy(delta.A)), ZERO), (sqrt(tidy(delta.along)), drift)
            if law.jumps or cusp is None:
                power, (across, along) = ONE, (self._after_jumps(law, *part) for part in roots)
            else:
                a, constant = cusp
                power, (across, along) = 2 * a + 1, (self._after_cusp(constant, 2 * a + 1, root) for root, _ in roots)
            after = replace(self, A=across, B=(along - across) / s, exponent=power * self.exponent / 2)
        return replace(after, f=m, slope=m_prime * self.slope, mean=mean)

    def _after_jumps(self, law: Dual, root: Expr, drift: Expr) -> Expr:
        """Return the coefficient of D^2 where sqrt(Delta) is `root` |y - x| and p - c is `drift` |y - x|."""
        total: Expr = ZERO
        for place, jump in law.jumps.items():
            mean, deviation = drift * Abs(place) / self.f, root / sqrt(self.f)
            if mean == 0:
                apart = deviation * sqrt(2 / pi)
            elif deviation == 0:
                apart = mean
            else:
                turn = mean / deviation
                apart = deviation * sqrt(2 / pi) * exp(-(turn**2) / 2) + mean * erf(turn / sqrt(2))
            total += jump**2 * exp(-(place**2) / (2 * self.f)) / sqrt(2 * pi * self.f) * apart
        return total

    def _after_cusp(self, constant: Expr, power: Expr, root: Expr) -> Expr:
        """Return the coefficient of D^2 = constant E[|u - v|^power at u = 0] where sqrt(Delta) is `root` |y - x|."""
        absolute = 2 ** (power / 2) * gamma((power + 1) / 2) / sqrt(pi)  # E|N|^power of a normal variable
        return constant * absolute * (root / sqrt(self.f)) ** power / sqrt(2 * pi * self.f)

    def over_norm(self, epsilon: Expr, width: Expr) -> Radial:
        """See the module."""
        return self.divided(self.f + width * epsilon, self.slope).scaled(width)

    def centred(self) -> Radial:
        """See the module."""
        slope = self.mean.diff(s)
        after = self.with_radial(-4 * slope**2)
        return replace(after, f=self.f - self.mean**2, slope=self.slope - 2 * self.mean * slope, mean=ZERO)

    def add(self, branch: Radial, skip: Expr = ONE) -> Radial:
        """See the module."""
        old = self.scaled(skip)
        lowest = min(old.exponent, branch.exponent)
        A, B = (
            sum((getattr(part, name) for part in (old, branch) if part.exponent == lowest), ZERO) for name in ("A", "B")
        )
        return Radial(old.f + branch.f, old.slope + branch.slope, A, B, lowest, old.mean + branch.mean)

    def with_radial(self, term: Expr) -> Radial:
        """Return the state with `term` added to B where gamma is 2; beside a jump the second order does not count."""
        return replace(self, B=self.B + term) if self.exponent == 2 else self

    def divided(self, norm: Expr, norm_slope: Expr) -> Radial:
        """Return the state of k(x, y) / sqrt(F(x) F(y)) for F = `norm` with derivative `norm_slope`."""
        g = norm_slope / norm
        after = self.with_radial(self.f * g**2 - 2 * self.slope * g).scaled(1 / norm)
        return replace(after, slope=(self.slope - self.f * g) / norm)

    def times(self, other: Radial) -> Radial:
        """Return the state of the product of the kernels, of metric f1 g2 + f2 g1 + 2 f1' f2' x x^T."""
        total = self.scaled(other.f).add(other.scaled(self.f)).with_radial(2 * self.slope * other.slope)
        return replace(total, f=self.f * other.f, slope=self.slope * other.f + self.f * other.slope)

    def after(self, inner: Radial) -> Radial:
        """Return the state of the kernel k1 o k2 for this k1 on the feature space of k2, where |x|^2 is f2."""
        f, slope, A, B = (part.xreplace({s: inner.f}) for part in (self.f, self.slope, self.A, self.B))
        return Radial(f, slope * inner.slope, A * inner.A, A * inner.B + B * inner.slope**2)

    def substituted(self, values: Mapping[Symbol, Expr]) -> Radial:
        """Return the state with expressions in the place of symbols."""
        return Radial(*(substituted(part, values) for part in (self.f, self.slope, self.A, self.B)))

    @classmethod
    def none(cls) -> Radial:
        """Return the state of the kernel 0."""
        return cls(ZERO, ZERO, ZERO)
