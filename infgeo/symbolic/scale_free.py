"""Scale-free quantities of features: what the metric of a deep network is made of where phi'(0) = 0.

There psi = m0'/m0 and zeta = f'/A of `recursion` have poles at s = 0, without bias, that cancel in sums and in
derivatives, and powers have them at large s. For features of squared norm f and metric A I + B x x^T let

    lam = s f'/f,   E = s f'^2/(f A),   D = E - lam.

Where the activations are powers, z^k, all are constants, and elsewhere they tend to constants at both ends. At the
input lam = E = 1. With Psi = v psi, M = v m'/m, H = v m'^2/(m m0), N = H - M, share = weight f/(bias + weight f):

    affine      lam, E, D <- share (lam, E, D)
    activation  alpha += lam Psi, beta += 2 D Psi, eta += 2 E Psi;   D <- H D + N lam,  lam <- M lam,  E <- H E.

Derivatives by s are taken term by term: none of the factors has a pole, so no terms larger than the sum arise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from sympy import Expr, Integer, Symbol

from infgeo.symbolic.stable import StableDual

Let = Callable[[str, Expr], Expr]
ZERO, ONE = Integer(0), Integer(1)


@dataclass(frozen=True)
class ScaleFree:
    """lam, E, D and their derivatives by s; the start is the input."""

    lam: Expr = ONE
    E: Expr = ONE
    D: Expr = ZERO
    dlam: Expr = ZERO
    dE: Expr = ZERO
    dD: Expr = ZERO

    def preactivations(self, let: Let, u: Expr, slope: Expr, bias: Expr, v: Expr, i: int) -> ScaleFree:
        """Return those of v = bias + u with u = weight f, where `slope` is u'."""
        share = let(f"share_{i}", u / v if bias != 0 else ONE)
        dshare = let(f"dshare_{i}", bias * slope / v**2)
        return self._named(
            let,
            f"{i}v",
            share * self.lam,
            share * self.E,
            share * self.D,
            share * self.dlam + dshare * self.lam,
            share * self.dE + dshare * self.E,
            share * self.dD + dshare * self.D,
        )

    def increments(self, let: Let, law: StableDual, at: dict[Symbol, Expr], rate: Expr, i: int) -> dict[str, Expr]:
        """Return what a layer adds to 2 alpha, beta, eta and their derivatives; `rate` is dv/ds."""
        Psi, dPsi = (let(f"{name}_{i}", law.scale_free[name].xreplace(at)) for name in ("Psi", "dPsi"))
        return {
            name: 2 * part
            for names, value, slope in (
                (("twice_alpha", "twice_dalpha"), self.lam, self.dlam),
                (("beta", "dbeta"), self.D, self.dD),
                (("eta", "deta"), self.E, self.dE),
            )
            for name, part in zip(names, (value * Psi, slope * Psi + value * (dPsi * rate)), strict=True)
        }

    def activated(self, let: Let, law: StableDual, at: dict[Symbol, Expr], rate: Expr, i: int) -> ScaleFree:
        """Return those of phi of the preactivations."""
        M, H, N = (let(f"{name}_{i}", law.scale_free[name].xreplace(at)) for name in "MHN")
        dM, dH, dN = (let(f"d{name}_{i}", law.scale_free[f"d{name}"].xreplace(at) * rate) for name in "MHN")
        return self._named(
            let,
            f"{i}f",
            M * self.lam,
            H * self.E,
            H * self.D + N * self.lam,
            M * self.dlam + dM * self.lam,
            H * self.dE + dH * self.E,
            H * self.dD + dH * self.D + N * self.dlam + dN * self.lam,
        )

    @staticmethod
    def _named(let: Let, suffix: str, *values: Expr) -> ScaleFree:
        names = [field.name for field in fields(ScaleFree)]
        return ScaleFree(*(let(f"{name}_{suffix}", value) for name, value in zip(names, values, strict=True)))
