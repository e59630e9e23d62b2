"""Scale-free quantities at large |x| as powers with exact exponents, for features whose circles stop growing.

Where activations decay, as Gaussians do, T = 1 + alpha = 1 + sum of lam Psi may tend to 0: the radius of a circle of
inputs, |x| sqrt(A), tends to a constant. Limits then cancel in T, and exponents in the radial curvature,

    n = 2 eta alpha' - (1 + alpha) eta',   T ~ s^(-1/2), eta ~ 1/s.

So quantities are carried without their limits, and derivatives without their exponents: q is known by its value, its
degree e, a rational number, and its gap s q' - e q, which is small where q is nearly s^e. Limits and degrees are those
of networks without biases; what follows from them is exact with biases as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sympy import Expr, Integer, Rational

from infgeo.conventions import variance
from infgeo.symbolic.floats.scale_free_laws import NoTail, ScaleFreeLaw

Let = Callable[[str, Expr], Expr]
ZERO, ONE = Integer(0), Integer(1)


@dataclass(frozen=True)
class Power:
    """A quantity that tends to a power of s, or is 0: its value, its degree and its gap."""

    value: Expr = ZERO
    degree: Rational = ZERO
    gap: Expr = ZERO

    def __add__(self, other: Power) -> Power:
        return self.joined(other, max(self.degree, other.degree))

    def joined(self, other: Power, degree: Rational) -> Power:
        """Return the sum, with a degree that is given."""
        if self.value == 0 or other.value == 0:
            return other if self.value == 0 else self
        gap = sum(part.gap + (part.degree - degree) * part.value for part in (self, other))
        return Power(self.value + other.value, degree, gap)

    def __mul__(self, other: Power) -> Power:
        gap = self.gap * other.value + self.value * other.gap
        return Power(self.value * other.value, self.degree + other.degree, gap)

    def times(self, factor: Expr) -> Power:
        """Return a multiple."""
        return Power(factor * self.value, self.degree, factor * self.gap)

    def plus(self, limit: Expr) -> Power:
        """Return the sum with a constant."""
        return Power(limit + self.value, ZERO, self.gap + self.degree * self.value) if limit != 0 else self

    def named(self, let: Let, name: str) -> Power:
        """Return the same with names for value and gap."""
        return Power(let(name, self.value), self.degree, let(f"{name}_gap", self.gap))


@dataclass(frozen=True)
class Far:
    """T and lam as a limit and what is left of them, E and G of `scale_free`; the start is the input."""

    T_limit: Rational = ONE
    T: Power = Power()
    lam_limit: Rational = ONE
    lam: Power = Power()
    E: Power = Power(ONE)
    G: Power = Power()

    def layer(self, let: Let, law: ScaleFreeLaw, share: Expr, rest: Expr, v: Expr, i: int) -> tuple[Far, Power]:
        """Return what a layer makes of them, and eta; raises NoTail where a law has no such limits.

        `share` and `rest` are those of the weights and of the bias in the variance v.
        """
        limit, lam = self.lam_limit, self.lam.plus(self.lam_limit)
        less, E, G = self.lam, self.E, self.G
        if rest != 0:
            bias = Power(rest, -limit, rest * (limit - share * lam.value))
            less = less.joined((bias * lam).times(-ONE), less.degree).named(let, f"less_{i}far")
            E = (Power(share, ZERO, share * rest * lam.value) * E).named(let, f"E_{i}far")
            G = G.joined(bias * self.E, G.degree).named(let, f"G_{i}far")
            lam = less.plus(limit)
        at = {variance: v}

        def function(name: str) -> tuple[Rational, Power]:
            tail = law.tail(name, limit)
            value = let(f"{name}_{i}far", tail.rest.xreplace(at))
            gap = tail.gap.xreplace(at) * lam.value + tail.degree * value * less.value
            return tail.limit, Power(value, tail.degree * limit, let(f"{name}_{i}gap", gap))

        (Psi_limit, Psi), (M_limit, M) = function("Psi"), function("M")
        (_, H), (_, U), (_, W) = function("H"), function("U"), function("W")
        eta = (G + E * W).named(let, f"eta_{i}far")
        after = Far(
            self.T_limit + limit * Psi_limit,
            (self.T + less.times(Psi_limit) + lam * Psi).named(let, f"T_{i}far"),
            limit * M_limit,
            (less.times(M_limit) + lam * M).named(let, f"lam_{i}far"),
            (E * H).named(let, f"E_{i}farther"),
            (G + E * U).named(let, f"G_{i}farther"),
        )
        return after, eta


def stops_growing(laws: Sequence[ScaleFreeLaw]) -> bool:
    """Return whether T tends to 0 without biases."""
    T, lam = ONE, ONE
    try:
        for law in laws:
            T += lam * law.limit("Psi", lam) if lam != 0 else ZERO
            lam *= law.limit("M", lam) if lam != 0 else ZERO
    except NoTail:
        return False
    return bool(T == 0)


def bend(T: Power, eta: Power) -> Expr:
    """Return s n/eta for n = 2 eta alpha' - (1 + alpha) eta'."""
    return 2 * T.gap - T.value * (eta.gap / eta.value) + (2 * T.degree - eta.degree) * T.value
