"""The metric of a deep network, layer by layer, as a straight-line program whose length is linear in the depth.

Of the features two things are carried: their squared norm f, a function of s = |x|^2, and their metric A I + B x x^T.
With m = E[phi^2] and m0 = E[phi'^2] at the variance of the preactivations (see `dual`), and a prime for d/ds, a layer
phi(W h + b) makes of them

    affine      f <- bias + weight f,   f', A, B <- weight f', weight A, weight B
    activate    B <- m0 B + 2 m0' f'^2,   A <- m0 A,   f' <- m' f',   f <- m

(see `radial`, where this stands as it is). Curvature is made of logarithmic derivatives, a = A'/A, alpha = s a,
delta = (B - 2 A')/A, beta = s delta and eta = (A + s B)/A (see `metric`). A layer adds to them, where A and B, their
derivatives and second derivatives would multiply, so the program carries them instead. With psi = m0'/m0, mu = m'/m0,
nu = mu - 1, w = s f', zeta = f'/A and e = zeta - 1 the same rules are

    affine      f <- bias + weight f,  w <- weight w,  A <- weight A
    activate    kappa = 2 w psi,  2 alpha += kappa,  delta += 2 f' psi e,  eta += kappa zeta,  A <- m0 A,
                e <- mu e + nu,  zeta <- mu zeta,  f <- m(f)
    over_norm   F = f + epsilon,  A <- A/F,  a -= f'/F,  delta += (f'/F) (f/F - (1 + epsilon/F) e),
                eta -= (1 + epsilon/F) (w/F) zeta,  zeta <- (epsilon/F) zeta,  f <- f/F   (for features, width 1)
    centred     f -= M^2,  delta -= 4 M'^2/A,  eta -= 4 s M'^2/A,  zeta -= 2 M M'/A,  M the mean of the units
    add         f, w and A add; a, delta, eta and zeta are means, weighted by A

Here over_norm is the metric of h / sqrt(|h|^2 + epsilon). Weights enter through the constants of the functions of the
variance, and m'' = m0 (nu' + mu psi).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from sympy import Dummy, Expr, Integer, Rational, exp

from infgeo.conventions import s
from infgeo.conventions import variance as v
from infgeo.errors import SingularMetric
from infgeo.symbolic.algebra.limits import FACTOR_LIMIT
from infgeo.symbolic.algebra.program import Names, Program
from infgeo.symbolic.algebra.simplify import best, longer, tidy
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.geometry.metric import curvature_outputs
from infgeo.symbolic.networks.layers import LayerNorm
from infgeo.symbolic.networks.propagate import propagate

ZERO, ONE, HALF = Integer(0), Integer(1), Rational(1, 2)
Means = tuple[Expr, Expr, Expr]
NO_MEANS: Means = (ZERO, ZERO, ZERO)


OUTPUTS = ("A", "B", "alpha", "shear", "eta", "h", "K_rad", "K_tan", "R")


def metric_program(layers: Sequence[Any], wanted: Sequence[str] = OUTPUTS) -> Program:
    """Return the program of the metric, with outputs A, B, shear = s B/A, eta = h/A, h, K_rad, K_tan, R in s = |x|^2.

    Args:
        layers: the layers of a network (see `infgeo.symbolic.networks.layers`), or what acts on states as they do.
        wanted: those of the outputs that are written; of one layer each takes its time.

    Raises SingularMetric for features that do not depend on |x| at all.
    """
    names = Names(inline=len(layers) == 1)
    centred = any(isinstance(layer, LayerNorm) for layer in layers)
    outputs = propagate(layers, LogRadial(names, means=NO_MEANS if centred else None)).outputs(wanted)
    return Program(tuple(names.bindings), outputs)


@dataclass(frozen=True)
class Activated:
    """The last activation, of whose features norms are taken when a layer asks for them.

    `m0` and `twice_psi` are E[phi'^2] and 2 psi as functions of f, times the variance of the weights.
    """

    law: Dual
    weight: Expr
    m0: Expr
    twice_psi: Expr


@dataclass(frozen=True)
class LogRadial:
    """The quantities of the module's docstring; the start is the input itself, f = s.

    `rate` is f', `dw` is w', and so for the others; `twice_a`, `twice_alpha` and `twice_dalpha` are 2 a, 2 alpha and
    2 alpha'. `means` is M, M' and M'', of networks that centre alone; `curve` is f'' of preactivations. `affine_map`
    are weight and bias of a map that is still to be applied, `activated` an activation whose norms are still to be
    taken.
    """

    names: Names
    f: Expr = s
    rate: Expr = ONE
    w: Expr = s
    dw: Expr = ONE
    A: Expr = ONE
    twice_a: Expr = ZERO
    twice_alpha: Expr = ZERO
    twice_dalpha: Expr = ZERO
    delta: Expr = ZERO
    beta: Expr = ZERO
    dbeta: Expr = ZERO
    eta: Expr = ONE
    deta: Expr = ZERO
    zeta: Expr = ONE
    e: Expr = ZERO
    de: Expr = ZERO
    curve: Expr = ZERO
    means: Means | None = None
    affine_map: tuple[Expr, Expr] | None = None
    activated: Activated | None = None

    def affine(self, weight: Expr, bias: Expr) -> Self:
        """See the module; the map is applied by what follows."""
        means = None if self.means is None else NO_MEANS
        return replace(self.features, affine_map=(weight, bias), means=means)

    def activate(self, law: Dual) -> Self:
        """See the module."""
        on_input = self.f == s
        inner, weight, bias = self._preactivations()
        names = inner.names
        let, at = names.numbered, {v: inner.f}
        twice_psi = let("psi", 2 * weight * law.psi.xreplace(at))
        kappa = let("kappa", inner.w * twice_psi)
        x = let("x", inner.rate * twice_psi)
        if on_input:
            eta, slope = inner._of_one_layer(law, bias)
            eta, dkappa = let("eta", eta.xreplace(at)), let("dkappa", 2 * inner.dw * slope.xreplace(at))
            deta = dkappa
        else:
            steep = inner.w * inner.rate * (2 * weight**2 * law.psi_prime.xreplace(at))
            eta = let("eta", inner.eta + kappa * inner.zeta)
            dkappa = let("dkappa", inner.dw * twice_psi + steep)
            deta = let("deta", inner.deta + dkappa * inner.zeta + kappa * inner.de)
        m0 = let("m", weight * law.m0.xreplace(at))
        return replace(
            inner,
            curve=weight * inner.A * (inner.de + inner.zeta * inner.twice_a / 2),
            A=let("A", inner.A * m0, "m"),
            twice_a=let("a", inner.twice_a + x),
            twice_alpha=let("alpha", inner.twice_alpha + kappa),
            twice_dalpha=let("dalpha", inner.twice_dalpha + dkappa),
            delta=let("delta", inner.delta + x * inner.e),
            beta=let("beta", inner.beta + kappa * inner.e),
            dbeta=let("dbeta", inner.dbeta + dkappa * inner.e + kappa * inner.de),
            eta=eta,
            deta=deta,
            activated=Activated(law, weight, m0, twice_psi),
        )

    @cached_property
    def features(self) -> Self:
        """The state with the norms of the features, or of the output of the affine map."""
        if self.affine_map is not None:
            weight, bias = self.affine_map
            scaled = {name: weight * getattr(self, name) for name in ("f", "rate", "w", "dw", "A")}
            if self.means is not None:
                scaled["means"] = tuple(weight**HALF * part for part in self.means)
            moved = replace(self, affine_map=None, **scaled)
            return replace(moved, f=bias + moved.f)
        if self.activated is None:
            return self
        let, at, last = self.names.numbered, {v: self.f}, self.activated
        law, weight = last.law, last.weight
        mu, dmu = let("mu", law.mu.xreplace(at)), let("dmu", weight * law.nu_prime.xreplace(at))
        growth = let("rho", weight * law.m_prime.xreplace(at))
        m_second = last.m0 * dmu + growth * last.twice_psi / 2
        return replace(
            self,
            f=let("f", law.m.xreplace(at), nonnegative=True),
            rate=let("rate", growth * self.rate),
            w=let("w", growth * self.w),
            dw=let("df", growth * self.dw + m_second * (self.w * self.rate)),
            zeta=let("zeta", mu * self.zeta),
            e=let("e", mu * self.e + law.nu.xreplace(at)),
            de=let("de", self.rate * dmu * self.zeta + mu * self.de),
            means=None if self.means is None else self._means(law, weight),
            activated=None,
        )

    def over_norm(self, epsilon: Expr, width: Expr) -> Self:
        """See the module."""
        h = self.features
        h.names.layer += 1
        let = h.names.numbered
        F = let("F", h.f + width * epsilon, positive=True)
        g = let("g", h.rate / F)
        means = h.means
        if means is not None and means != NO_MEANS:
            M, dM, ddM = means
            curve = h.A * (h.de + h.zeta * h.twice_a / 2) / F - g**2  # the derivative of g
            means = M / F**HALF, (dM - M * g / 2) / F**HALF, (ddM - dM * g - M * (curve / 2 - g**2 / 4)) / F**HALF
        gw = let("gw", h.w / F)
        dgw = let("dgw", h.dw / F - gw * g)
        rest = let("rest", width * epsilon / F)
        share, dshare = h.f / F if epsilon != 0 else ONE, rest * g
        excess = let("excess", share - (1 + rest) * h.e)
        dexcess = dshare * (1 + h.e) - (1 + rest) * h.de
        normed = replace(
            h,
            f=let("f", share, nonnegative=True),
            rate=rest * g,
            w=rest * gw,
            dw=let("df", rest * (dgw - gw * g)),
            A=let("A", h.A / F, "n"),
            twice_a=let("a", h.twice_a - 2 * g),
            twice_alpha=let("alpha", h.twice_alpha - 2 * gw),
            twice_dalpha=let("dalpha", h.twice_dalpha - 2 * dgw),
            delta=let("delta", h.delta + g * excess),
            beta=let("beta", h.beta + gw * excess),
            dbeta=let("dbeta", h.dbeta + dgw * excess + gw * dexcess),
            eta=let("eta", h.eta - (1 + rest) * gw * h.zeta),
            deta=let("deta", h.deta + dshare * gw * h.zeta - (1 + rest) * (dgw * h.zeta + gw * h.de)),
            zeta=let("zeta", rest * h.zeta),
            e=let("e", rest * h.zeta - 1),
            de=let("de", rest * (h.de - g * h.zeta)),
            means=means,
        )
        return replace(normed, affine_map=(width, ZERO)).features

    def centred(self) -> Self:
        """See the module."""
        h = self.features
        M, dM, ddM = h.means or NO_MEANS

        def let(name: str, expr: Expr) -> Expr:
            return h.names.numbered(name, expr, "c")

        a = h.twice_a / 2
        q = let("q", 4 * dM**2 / h.A)
        rise = q + s * let("dq", 8 * dM * ddM / h.A - q * a)
        r = let("r", 2 * M * dM / h.A)
        return replace(
            h,
            f=let("f", h.f - M**2),
            rate=let("rate", h.rate - 2 * M * dM),
            w=let("w", h.w - 2 * s * M * dM),
            dw=let("df", h.dw - 2 * (M * dM + s * (dM**2 + M * ddM))),
            delta=let("delta", h.delta - q),
            beta=let("beta", h.beta - s * q),
            dbeta=let("dbeta", h.dbeta - rise),
            eta=let("eta", h.eta - s * q),
            deta=let("deta", h.deta - rise),
            zeta=let("zeta", h.zeta - r),
            e=let("e", h.e - r),
            de=let("de", h.de - 2 * (dM**2 + M * ddM) / h.A + r * a),
            means=NO_MEANS,
        )

    def add(self, branch: Self, skip: Expr) -> Self:
        """See the module."""
        left, right = replace(self.features, affine_map=(skip, ZERO)).features, branch.features
        if left.A == 0:
            return right
        if right.A == 0:
            return left
        names = self.names

        def let(name: str, expr: Expr) -> Expr:
            return names.numbered(name, expr, "s")

        A = let("A", left.A + right.A)
        p, q = names.numbered("part", left.A / A), names.numbered("rest", right.A / A)
        # The derivative of the weight p = A_left / A.
        dp = names.numbered("dpart", p * q * (left.twice_a - right.twice_a) / 2)

        def mean(name: str, of: str | None = None) -> Expr:
            """Return the weighted mean; of the derivative of `of`, with that of the weight."""
            turn = dp * (getattr(left, of) - getattr(right, of)) if of else ZERO
            return let(name, p * getattr(left, name) + q * getattr(right, name) + turn)

        means = {name: mean(name) for name in ("twice_a", "twice_alpha", "delta", "beta", "eta", "zeta", "e")}
        derivatives = {"twice_dalpha": "twice_alpha", "dbeta": "beta", "deta": "eta", "de": "e"}
        means |= {name: mean(name, of) for name, of in derivatives.items()}
        sums = {name: let(name, getattr(left, name) + getattr(right, name)) for name in ("f", "rate", "w", "dw")}
        return replace(left, A=A, **means, **sums)

    def _means(self, law: Dual, weight: Expr) -> Means:
        """Return the mean of the units after an activation, a function of the variance, and its two derivatives."""
        mean, at, rate = law.mean, {v: self.f}, weight * self.rate
        slope, second = (mean.diff(v, order).xreplace(at) for order in (1, 2))
        let = self.names.numbered
        return (
            let("mean", mean.xreplace(at)),
            let("dmean", slope * rate),
            let("ddmean", second * rate**2 + slope * self.curve),
        )

    def outputs(self, wanted: Sequence[str] = OUTPUTS) -> dict[str, Expr]:
        """Return what `metric_program` returns, of the features."""
        log = self.logarithmic
        A = log["A"]
        outputs: dict[str, Expr] = {
            "A": A,
            "B": A * (2 * log["a"] + log["delta"]),
            "alpha": HALF * self.twice_alpha,
            "shear": self.twice_alpha + self.beta,
            "eta": self.eta,
            "h": A * self.eta,
            **curvature_outputs(log, self.names.let),
        }
        outputs = {name: outputs[name] for name in wanted}
        if not self.names.inline:
            return outputs
        # Differences of exponentials, as they come from one quantity each, keep more digits than their common quotient.
        plain = {name for name in ("K_rad", "K_tan", "R") if name in outputs and outputs[name].has(exp)}
        return {name: value if name in plain else tidy(value) for name, value in outputs.items()}

    @property
    def logarithmic(self) -> dict[str, Expr]:
        """The quantities that `metric.curvature_outputs` takes; raises SingularMetric where A or eta is 0."""
        let, inline = self.names.let, self.names.inline
        if self.A == 0:
            raise SingularMetric(
                "the features do not depend on x: an activation of this network is constant on each side of 0 and has"
                " no jump, so that its metric is 0; use one that varies"
            )
        if self.eta == 0:
            raise SingularMetric(
                "the features do not depend on |x| (the input is normalised with epsilon = 0), so that the metric is"
                " degenerate along x: use RMSNorm(epsilon) with epsilon > 0, or a layer with a bias before it"
            )
        return {
            "A": let("A_out", self.A),
            "a": let("a_sum", HALF * self.twice_a),
            # Beyond one layer s a takes less than another sum.
            "alpha": HALF * self.twice_alpha if inline else let("alpha_sum", s * HALF * self.twice_a),
            "alpha_prime_by_eta": let("dalpha_sum", HALF * self.twice_dalpha / self.eta),
            "delta": let("delta_sum", self.delta),
            "beta": self.beta if inline else let("beta_sum", s * self.delta),
            "beta_prime_by_eta": let("dbeta_sum", self.dbeta / self.eta),
            "eta": self.eta,
        }

    def _preactivations(self) -> tuple[Self, Expr, Expr]:
        """Return the state with the variance of W h + b for f, the variance of weights that the rest lacks, and bias.

        The rest stays that of h; that of the input is that of W x.
        """
        weight, bias = self.affine_map or (ONE, ZERO)
        names = self.names
        names.layer += 1
        if self.f != s:
            u = weight * self.f
            return replace(self, f=names.numbered("v", bias + u, positive=True), affine_map=None), weight, bias
        u = names.bind("u", weight * s, nonnegative=True)
        variance = names.bind("v" if names.inline else f"v_{names.layer}", bias + u, positive=True)
        return replace(self, f=variance, rate=weight, w=u, dw=weight, A=weight, affine_map=None), ONE, bias

    def _of_one_layer(self, law: Dual, bias: Expr) -> tuple[Expr, Expr]:
        """Return eta = 1 + 2 u psi and d(u psi)/du at v = sigma_b^2 + u, each in its shortest form.

        For erf, for example, 1 + 2 u psi = (1 + 2 sigma_b^2)/(1 + 2 v).
        """
        u = self.w
        if hasattr(law, "of_one_layer"):  # of functions that have only names
            return law.of_one_layer(bias)

        def shortest(direct: Expr) -> Expr:
            # A symbol stands for sigma_b^2 so that numbers and symbols take the same path.
            b = Dummy(nonnegative=True)
            forms = (direct, tidy(direct.xreplace({u: v - b})), tidy(direct.xreplace({v: b + u})))
            return best(*forms).xreplace({b: bias})

        eta, slope = 1 + 2 * u * law.psi, law.psi + u * law.psi_prime
        return (eta, slope) if longer(law.psi_prime, FACTOR_LIMIT) else (shortest(eta), shortest(slope))
