"""The metric of a deep network as a straight-line program whose length is linear in the depth.

In the logarithmic quantities of `metric` a layer adds where A, B, A', A'', B' would multiply, and nothing cancels at
large s. With psi = m0'/m0, mu = m'/m0, nu = mu - 1 at the variance v of the layer's preactivations (see `dual`), and
a prime for d/ds, a layer does

    kappa = s v' psi,   alpha += kappa,   delta += 2 v' psi e,   eta += 2 kappa zeta,   A *= m0,

and, if another one follows,  e -> mu e + nu,  zeta -> mu zeta,  v -> sigma_b^2 + sigma_w^2 m(v),  A *= sigma_w^2, where
zeta = v'/A and e = zeta - 1 are taken before the nonlinearity. The start is v = sigma_b^2 + sigma_w^2 s, A = sigma_w^2,
zeta = 1, e = 0. It is the recursion
A <- m0 A, B <- m0 B + 2 m0' v'^2 written for a = A'/A, delta = (B - 2 A')/A and eta = (A + s B)/A.
"""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Dummy, Expr, Integer, Rational, Symbol, count_ops

from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.symbolic.dual import Dual
from infgeo.symbolic.metric import curvature_outputs
from infgeo.symbolic.primitives import where_nonnegative
from infgeo.symbolic.program import Program
from infgeo.symbolic.simplify import FACTOR_LIMIT, best, tidy


class _Builder:
    """Collects bindings; with `inline` it substitutes instead, for programs short enough to be simplified whole."""

    def __init__(self, inline: bool) -> None:
        self.inline = inline
        self.bindings: list[tuple[Symbol, Expr]] = []

    def let(self, name: str, expr: Expr, **assumptions: bool) -> Expr:
        """Bind `expr` to a new symbol and return the symbol (or `expr` itself where that is simpler)."""
        if self.inline or expr.is_number or expr.is_Symbol:
            return expr
        return self.bind(name, expr, **assumptions)

    def bind(self, name: str, expr: Expr, **assumptions: bool) -> Symbol:
        symbol = Symbol(name, **(assumptions or {"real": True}))
        self.bindings.append((symbol, expr))
        return symbol


def metric_program(duals: Sequence[Dual], weight: Expr, bias: Expr, first: Expr) -> Program:
    """Return the program of the metric, with outputs A, B, shear = s B/A, eta = h/A, h, K_rad, K_tan, R in s = |x|^2.

    At depth >= 2 there is R_float too: R in the form that is accurate for float arithmetic at every s.

    Arguments:
        duals: the dual of each hidden layer's activation.
        weight, bias: sigma_w^2 and sigma_b^2.
        first: the variance of a first-layer weight.
    """
    zero, depth = Integer(0), len(duals)
    program = _Builder(inline=depth == 1)
    u = program.bind("u", first * s, nonnegative=True)
    variance: Expr = program.bind("v" if depth == 1 else "v_1", bias + u, positive=True)
    A, rate, w, dw = first, first, u, first
    a = alpha = dalpha = delta = beta = dbeta = e = de = zero
    eta = zeta = Integer(1)
    deta: Expr = zero
    for layer, law in enumerate(duals, start=1):
        at = {v: variance}
        psi = program.let(f"psi_{layer}", law.psi.xreplace(at))
        kappa = program.let(f"kappa_{layer}", w * psi)
        if layer == 1:
            eta, slope = (part.xreplace(at) for part in _first_layer(law, u, bias))
            eta, dkappa = program.let("eta_1", eta), program.let("dkappa_1", first * slope)
            deta = 2 * dkappa
        else:
            eta = program.let(f"eta_{layer}", eta + 2 * kappa * zeta)
            dkappa = program.let(f"dkappa_{layer}", dw * psi + w * rate * law.psi_prime.xreplace(at))
            deta = program.let(f"deta_{layer}", deta + 2 * (dkappa * zeta + kappa * de))
        a, alpha, dalpha = a + rate * psi, alpha + kappa, dalpha + dkappa
        delta, beta, dbeta = delta + 2 * rate * psi * e, beta + 2 * kappa * e, dbeta + 2 * (dkappa * e + kappa * de)
        A = A * law.m0.xreplace(at)
        if layer == depth:
            break
        following = layer + 1
        mu, dmu = law.mu.xreplace(at), law.nu_prime.xreplace(at)
        growth = program.let(f"rho_{layer}", weight * law.m_prime.xreplace(at))
        bend = weight * law.m_second.xreplace(at) * rate
        de = program.let(f"de_{following}", rate * dmu * zeta + mu * de)
        e = program.let(f"e_{following}", mu * e + law.nu.xreplace(at))
        zeta = program.let(f"zeta_{following}", mu * zeta)
        dw = program.let(f"dw_{following}", growth * dw + bend * w)
        w = program.let(f"w_{following}", growth * w)
        rate = program.let(f"dv_{following}", growth * rate)
        A = program.let(f"A_{following}", A * weight)
        variance = program.let(f"v_{following}", bias + weight * law.m.xreplace(at), positive=True)
    log = {
        "A": program.let("A_out", A),
        "a": program.let("a_sum", a),
        "alpha": program.let("alpha_sum", alpha),
        "alpha_prime_by_eta": program.let("dalpha_sum", dalpha / eta),
        "delta": program.let("delta_sum", delta),
        "beta": program.let("beta_sum", beta),
        "beta_prime_by_eta": program.let("dbeta_sum", dbeta / eta),
        "eta": eta,
    }
    A = log["A"]
    outputs: dict[str, Expr] = {
        "A": A,
        "B": A * (2 * log["a"] + log["delta"]),
        "shear": 2 * log["alpha"] + log["beta"],
        "eta": eta,
        "h": A * eta,
        **curvature_outputs(log, program.let),
    }
    if depth > 1 and not eta.is_number:
        # Where eta is small, K_rad is a difference of small terms in this form, and of large ones in the other.
        steep = program.let("steep_sum", ((1 + log["alpha"]) * (deta / eta) - 2 * dalpha) / A) / eta
        radial = where_nonnegative(eta - Rational(1, 2), outputs["K_rad"], steep)
        outputs["R_float"] = (d - 1) * (2 * program.let("K_out", radial) + (d - 2) * outputs["K_tan"])
    if program.inline:
        outputs = {name: tidy(value) for name, value in outputs.items()}
    return Program(tuple(program.bindings), outputs)


def _first_layer(law: Dual, u: Expr, bias: Expr) -> tuple[Expr, Expr]:
    """Return eta = 1 + 2 u psi and d(u psi)/du for v = sigma_b^2 + u, factored where that removes the cancellation.

    For erf, 1 + 2 u psi = (1 + 2 sigma_b^2)/(1 + 2 v): a sum that loses all digits at large u against a quotient.
    """

    def factored(direct: Expr) -> Expr:
        # A symbol stands for sigma_b^2 so that numbers and symbols take the same path.
        b = Dummy(nonnegative=True)
        forms = (direct, tidy(direct.xreplace({u: v - b})), tidy(direct.xreplace({v: b + u})))
        return best(*forms).xreplace({b: bias})

    if count_ops(law.psi_prime, visual=False) > FACTOR_LIMIT:
        return 1 + 2 * u * law.psi, law.psi + u * law.psi_prime
    return factored(1 + 2 * u * law.psi), factored(law.psi + u * law.psi_prime)
