"""The Ricci scalar of deep networks in float arithmetic: of several forms that are equal, the one that does not cancel.

With eta = (A + s B)/A and T = 1 + alpha, K_rad = (T beta' - 2 alpha' (alpha + beta))/(A eta^2), a difference of small
terms where eta is of order 1 and of large ones where it is small. There

    K_rad = (T eta'/eta - 2 alpha')/(A eta),   K_tan = (eta - T^2)/(s A eta).

Where scale-free quantities are known, K_rad = -n/(A eta^2) (see `scale_free`), and where T tends to 0 it is what `far`
makes of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sympy import Abs, Expr, Integer, Rational

from infgeo.conventions import d, s
from infgeo.symbolic.algebra.primitives import where_nonnegative
from infgeo.symbolic.floats.far import Power, bend

Let = Callable[[str, Expr], Expr]
HALF = Rational(1, 2)


@dataclass(frozen=True)
class FloatCurvature:
    """What the forms need beyond `log`, the quantities of `metric`; alpha' is half of `twice_dalpha`.

    `n` is that of `scale_free`, `far` is T and eta of `far`, where they are known.
    """

    log: Mapping[str, Expr]
    deta: Expr
    twice_dalpha: Expr
    n: Expr | None
    far: tuple[Power, Power] | None

    def ricci_scalar(self, K_rad: Expr, K_tan: Expr, let: Let) -> Expr:
        """Return R; `K_rad` and `K_tan` are the forms for eta of order 1 without scale-free quantities."""
        A, eta, a, alpha = (self.log[name] for name in ("A", "eta", "a", "alpha"))
        radial, across = K_rad, (d - 2) * K_tan
        steep = let("steep_sum", self._by_area((1 + alpha) * (self.deta / eta) - self.twice_dalpha)) / eta
        if self.n is not None:
            radial = -let("bend_sum", self._by_area(self.n)) / eta / eta
            across = let("across_sum", self._by_area((d - 2) * (self.log["delta"] - a * alpha))) / eta
        if self.far is not None:
            T, far_eta = self.far
            steep = -let("far_sum", bend(T, far_eta) / A / s) / eta
            far_across = let("far_across", (d - 2) * (eta - T.value**2) / A / s) / eta
            across = where_nonnegative(eta - HALF, across, far_across)
        radial = where_nonnegative(eta - HALF, radial, steep)
        return (d - 1) * (2 * let("K_out", radial) + across)

    def _by_area(self, part: Expr) -> Expr:
        # A may underflow where the curvature, of a cone say, is 0.
        quotient = part / self.log["A"]
        return quotient if self.n is None else where_nonnegative(-Abs(part), Integer(0), quotient)
