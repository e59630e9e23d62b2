"""Scale-free quantities of features: what the metric of a deep network is made of in float arithmetic.

Where phi'(0) = 0, psi = m0'/m0 and zeta = f'/A of `recursion` have poles at s = 0, without bias, that cancel in sums
and in derivatives, and powers have them at large s. For features of squared norm f and metric A I + B x x^T let

    lam = s f'/f,   E = s f'^2/(f A),   D = E - lam,   G = eta - E >= 0,   theta = s (log f/(s A))',   Y = E theta/s,

eta = (A + s B)/A. Where the activations are powers, z^k, all are constants, and elsewhere they tend to constants at
both ends. E and G are what the derivative by |x| has along the features and across them; f/(s A) is the squared ratio
of |features| and the radius of a circle of inputs. At the input lam = E = 1, the others are 0. With the functions of
`scale_free_laws` of the variance v, share = weight f/(bias + weight f) and P = share Psi:

    affine      G += (1 - share) E,  theta -= (1 - share) lam,  Y <- share Y - share' E;  lam, E, D <- share (lam, E, D)
    activation  alpha += lam Psi,  beta += 2 D Psi,  eta = G + E W;   theta += lam Theta,  Y <- H Y + E v' L,
                D <- H D + N lam,  lam <- M lam,  G += E U,  E <- H E.

eta as a sum of 2 E Psi would cancel where an activation saturates at large |x|, as erf after ReLU; all terms of G are
>= 0. Radial curvature is K_rad = -n/(A eta^2) with n = 2 eta alpha' - (1 + alpha) eta', 0 for cones, to which a layer
adds, in terms of what was before its affine map,

    2 C P' + P F - 2 P^2 lam Y + 2 E lam P P',
    C = E theta + G lam = (alpha + beta) lam - (1 + alpha) D,
    F = 2 G lam' + 2 theta E' - 4 E theta' - lam G' - 3 lam Y
      = 2 (alpha + beta) lam' - 2 (1 + alpha) D' + lam (2 alpha' - beta') + 4 D alpha',

what is left of n when the terms that cancel between alpha' and eta' are taken out. The first forms are for features
that are nearly homogeneous, where theta and G are small, the second for features that hardly vary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from sympy import Abs, Expr, Integer, Rational

from infgeo.conventions import variance
from infgeo.symbolic.algebra.primitives import where_nonnegative
from infgeo.symbolic.floats.scale_free_laws import ScaleFreeLaw

Let = Callable[[str, Expr], Expr]
SMALLEST = Rational(1, 2**1000)
ZERO, ONE, HALF = Integer(0), Integer(1), Rational(1, 2)


@dataclass(frozen=True)
class ScaleFree:
    """The quantities of the module's docstring and derivatives by s; the start is the input."""

    lam: Expr = ONE
    E: Expr = ONE
    D: Expr = ZERO
    G: Expr = ZERO
    theta: Expr = ZERO
    Y: Expr = ZERO
    dlam: Expr = ZERO
    dE: Expr = ZERO
    dD: Expr = ZERO
    dG: Expr = ZERO
    dtheta: Expr = ZERO

    def preactivations(self, let: Let, u: Expr, rate: Expr, bias: Expr, v: Expr, i: int) -> Preactivations:
        """Return those of W h + b of variance v = bias + u, where `rate` is v'."""
        if not bias.is_positive:
            # What is wanted where v = 0 are limits.
            u, v = (let(f"{name}_{i}", where_nonnegative(-v, SMALLEST, part)) for name, part in (("ul", u), ("vl", v)))
        share, rest = let(f"share_{i}", u / v if bias != 0 else ONE), let(f"less_{i}", bias / v)
        slope = let(f"dshare_{i}", rest * rate / v)
        inner = _named(
            let,
            f"{i}v",
            share * self.lam,
            share * self.E,
            share * self.D,
            self.G + rest * self.E,
            self.theta - rest * self.lam,
            share * self.Y - slope * self.E,
            share * self.dlam + slope * self.lam,
            share * self.dE + slope * self.E,
            share * self.dD + slope * self.D,
            self.dG + rest * self.dE - slope * self.E,
            self.dtheta - rest * self.dlam + slope * self.lam,
        )
        return Preactivations(self, inner, share, rest, slope, v, rate)


@dataclass(frozen=True)
class Preactivations:
    """The quantities before and after an affine map, its share, the rest, share', the variance v and v'."""

    before: ScaleFree
    inner: ScaleFree
    share: Expr
    rest: Expr
    dshare: Expr
    v: Expr
    rate: Expr

    def layer(self, let: Let, dual: ScaleFreeLaw, i: int) -> Layer:
        """Return the layer that an activation makes of them."""
        return Layer(self, let, dual, i, {})


@dataclass(frozen=True)
class Layer:
    """Preactivations and the law of an activation; `bound` are the functions of the variance that have names."""

    entering: Preactivations
    let: Let
    dual: ScaleFreeLaw
    i: int
    bound: dict[str, Expr]

    def law(self, *names: str) -> list[Expr]:
        """Return functions of the variance."""
        for name in names:
            if name not in self.bound:
                value = self.dual[name].xreplace({variance: self.entering.v})
                self.bound[name] = self.let(f"{name}_{self.i}", value)
        return [self.bound[name] for name in names]

    def increments(self, alpha: Expr, dalpha: Expr, beta: Expr, dbeta: Expr) -> dict[str, Expr]:
        """Return what is added to 2 alpha, beta, their derivatives and n; the arguments are what they were."""
        inner, rate = self.entering.inner, self.entering.rate
        Psi, dPsi = self.law("Psi", "dPsi")
        return {
            "twice_alpha": 2 * inner.lam * Psi,
            "twice_dalpha": 2 * (inner.dlam * Psi + inner.lam * (dPsi * rate)),
            "beta": 2 * inner.D * Psi,
            "dbeta": 2 * (inner.dD * Psi + inner.D * (dPsi * rate)),
            "n": self._bend(Psi, dPsi, alpha, dalpha, beta, dbeta),
        }

    def _bend(self, Psi: Expr, dPsi: Expr, alpha: Expr, dalpha: Expr, beta: Expr, dbeta: Expr) -> Expr:
        entering, x, i = self.entering, self.entering.before, self.i
        P = self.let(f"P_{i}", entering.share * Psi)
        dP = self.let(f"dP_{i}", entering.dshare * Psi + entering.share * (dPsi * entering.rate))
        both = self.let(f"lamY_{i}", x.lam * x.Y)
        cone = 2 * (x.G * x.dlam + x.theta * x.dE) - 4 * x.E * x.dtheta - x.lam * x.dG - 3 * both
        steady = 2 * ((alpha + beta) * x.dlam - (1 + alpha) * x.dD) + x.lam * (2 * dalpha - dbeta) + 4 * x.D * dalpha
        near = HALF - Abs(x.theta)
        first = self.let(f"B_{i}", where_nonnegative(near, cone, steady))
        across = where_nonnegative(near, x.E * x.theta + x.G * x.lam, (alpha + beta) * x.lam - (1 + alpha) * x.D)
        return 2 * self.let(f"C_{i}", across) * dP + P * (first - 2 * P * both) + 2 * x.E * x.lam * P * dP

    def eta(self) -> tuple[Expr, Expr]:
        """Return eta and its derivative."""
        inner, rate = self.entering.inner, self.entering.rate
        W, dW = self.law("W", "dW")
        return inner.G + inner.E * W, inner.dG + inner.dE * W + inner.E * (dW * rate)

    def features(self) -> ScaleFree:
        """Return the quantities of the features."""
        x, rate = self.entering.inner, self.entering.rate
        M, H, N, U, Theta, L = self.law("M", "H", "N", "U", "Theta", "L")
        dM, dH, dN, dU, dTheta = (part * rate for part in self.law("dM", "dH", "dN", "dU", "dTheta"))
        return _named(
            self.let,
            f"{self.i}f",
            M * x.lam,
            H * x.E,
            H * x.D + N * x.lam,
            x.G + U * x.E,
            x.theta + Theta * x.lam,
            H * x.Y + x.E * (L * rate),
            M * x.dlam + dM * x.lam,
            H * x.dE + dH * x.E,
            H * x.dD + dH * x.D + N * x.dlam + dN * x.lam,
            x.dG + U * x.dE + dU * x.E,
            x.dtheta + Theta * x.dlam + dTheta * x.lam,
        )


def _named(let: Let, suffix: str, *values: Expr) -> ScaleFree:
    names = [field.name for field in fields(ScaleFree)]
    return ScaleFree(*(let(f"{name}_{suffix}", value) for name, value in zip(names, values, strict=True)))
