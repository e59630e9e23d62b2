"""The metric of a deep network as a straight-line program whose length is linear in the depth.

A *state* holds the squared norm f of the features (divided by their number) and their metric A I + B x x^T in the
logarithmic quantities of `metric`: a layer adds where A, B, A', A'', B' would multiply, and nothing cancels at large s.
With psi = m0'/m0, mu = m'/m0, nu = mu - 1 at the variance v of the preactivations (see `dual`), w = s f', a prime for
d/ds, zeta = f'/A and e = zeta - 1:

    affine      f <- bias + weight f,  w <- weight w,  A <- weight A
    activation  kappa = 2 w psi,  2 alpha += kappa,  delta += 2 f' psi e,  eta += kappa zeta,  A <- m0 A,
                e <- mu e + nu,  zeta <- mu zeta,  f <- m(f)
    norm        F = f + epsilon,  A <- A/F,  a -= f'/F,  delta += (f'/F) (f/F - (1 + epsilon/F) e),
                eta -= (1 + epsilon/F) (w/F) zeta,  zeta <- (epsilon/F) zeta,  f <- f/F
    sum         f, w and A add; a, delta, eta and zeta are means, weighted by A.

The first is A <- m0 A, B <- m0 B + 2 m0' v'^2, the third the metric of h / sqrt(|h|^2 + epsilon), each written for
a = A'/A, alpha = s a, delta = (B - 2 A')/A, beta = s delta and eta = (A + s B)/A. Weights enter through the constants
of the functions of v, and m'' = m0 (nu' + mu psi), so that a layer costs few operations on arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sympy import Abs, Add, Dummy, Expr, Integer, Mul, Rational, Symbol, count_ops, exp
from sympy import log as log_of

from infgeo.conventions import Internal, d, s
from infgeo.conventions import variance as v
from infgeo.errors import SingularMetric
from infgeo.symbolic.dual import Dual
from infgeo.symbolic.far import Far, Power, stops_growing
from infgeo.symbolic.float_curvature import FloatCurvature
from infgeo.symbolic.metric import curvature_outputs
from infgeo.symbolic.program import Program
from infgeo.symbolic.scale_free import Preactivations, ScaleFree
from infgeo.symbolic.scale_free_laws import NoTail, scale_free_law
from infgeo.symbolic.simplify import FACTOR_LIMIT, best, tidy
from infgeo.symbolic.stable import first_layer, stable_dual

ZERO, ONE = Integer(0), Integer(1)
POLES_LIMIT = 75  # operations of m and m0


class _Builder:
    """Collects bindings; with `inline` it substitutes instead, for programs short enough to be simplified whole."""

    def __init__(self, inline: bool, stable: bool) -> None:
        self.inline, self.stable = inline, stable
        self.bindings: list[tuple[Symbol, Expr]] = []

    def let(self, name: str, expr: Expr, **assumptions: bool) -> Expr:
        """Bind `expr` to a new symbol and return the symbol (or `expr` itself where that is simpler)."""
        if self.inline or expr.is_number or expr.is_Symbol:
            return expr
        return self.bind(name, expr, **assumptions)

    def bind(self, name: str, expr: Expr, **assumptions: bool) -> Symbol:
        symbol = Internal(name, **(assumptions or {"real": True}))
        self.bindings.append((symbol, expr))
        return symbol


@dataclass(frozen=True)
class _State:
    """Features: f, f', w = s f' and w', and their metric; the start is the input itself, f = s.

    `twice_a`, `twice_alpha` and `twice_dalpha` are 2 a, 2 alpha and 2 alpha'. A stands for exp(growth) A, so that its
    logarithm exists where it overflows. `free`, `entering` (those of preactivations), `bend` (n of `scale_free`) and
    `log_A`, log A, are there where `_scale_free`.
    """

    f: Expr = s
    rate: Expr = ONE
    w: Expr = s
    dw: Expr = ONE
    A: Expr = ONE
    growth: Expr = ZERO
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
    free: ScaleFree | None = None
    entering: Preactivations | None = None
    bend: Expr = ZERO
    log_A: Expr = ZERO
    far: Far | None = None
    far_eta: Power | None = None


def metric_program(layers: Sequence[Any], fan_in: bool = False, stable: bool = False) -> Program:
    """Return the program of the metric, with outputs A, B, shear = s B/A, eta = h/A, h, K_rad, K_tan, R in s = |x|^2.

    Beyond one dense layer there is R_float too: R in the form that is accurate for float arithmetic at every s.

    Arguments:
        layers: the layers of a network (see `layers`), or what has their `kind`, scales and dual.
        fan_in: whether the variance of a first-layer weight is divided by d.
        stable: whether the first layer is written for float arithmetic (see `symbolic.stable`) and not for reading.

    Raises SingularMetric for features that do not depend on |x| at all.
    """
    single = len(layers) == 1
    program = _Builder(inline=single and not stable, stable=stable)
    free = ScaleFree() if stable and not single and _scale_free(layers) else None
    far = Far() if free and stops_growing([scale_free_law(layer.dual) for layer in layers]) else None
    state, scale = _State(free=free, far=far), (1 / d if fan_in else ONE)
    for i, layer in enumerate(layers, start=1):
        last = i == len(layers)
        if layer.kind == "rms_norm":
            # The mean square of the input is s/d; that of features is f.
            on_input = scale is not None and i == 1
            state = _normalise(program, state, d * layer.epsilon if on_input else layer.epsilon, i)
            state = _scaled(state, d) if on_input else state
            continue
        weight = layer.weight_std**2 * (ONE if scale is None else scale)
        first, scale = state.f is s, None
        inner = _preactivations(program, state, weight, layer.bias_std**2, i)
        if layer.kind == "dense":
            bias = layer.bias_std**2 if i == 1 else None
            state = _activate(program, inner, layer.dual, ONE if first else weight, i, not last, bias)
        else:
            branch = _activate(program, inner, layer.dual, ONE if first else weight, i, not last)
            state = _sum(program, _scaled(state, layer.skip**2), _scaled(branch, layer.branch**2), i, not last)
    return _finished(program, state)


def _preactivations(program: _Builder, state: _State, weight: Expr, bias: Expr, i: int) -> _State:
    """Return the state with the variance of W h + b for f; the rest stays that of h, that of the input is of W h."""
    if state.f is s:
        # u is a variable of its own: u = v - sigma_b^2 would cancel.
        u = program.bind("u", weight * s, nonnegative=True)
        variance: Expr = program.bind("v" if program.inline else f"v_{i}", bias + u, positive=True)
        entering = state.free.preactivations(program.let, u, weight, bias, variance, i) if state.free else None
        return replace(state, f=variance, rate=weight, w=u, dw=weight, A=weight, entering=entering)
    u = weight * state.f
    variance = program.let(f"v_{i}", bias + u, positive=True)
    slope = weight * state.rate
    entering = state.free.preactivations(program.let, u, slope, bias, variance, i) if state.free else None
    return replace(state, f=variance, entering=entering)


def _scale_free(layers: Sequence[Any]) -> bool:
    """Return whether scale-free quantities are needed for dense layers, and short enough to be written in time.

    Formulas have poles that cancel where phi'(0) = 0, and for polynomials; where layers differ, eta cancels where one
    that saturates has large inputs.
    """
    laws = [layer.dual for layer in layers if layer.kind == "dense"]
    if len(laws) < len(layers) or any(count_ops(law.m) + count_ops(law.m0) > POLES_LIMIT for law in laws):
        return False
    return len(set(laws)) > 1 or any(law.m0.subs(v, 0) == 0 or law.m0.is_polynomial(v) for law in laws)


def _activate(
    program: _Builder, state: _State, plain: Dual, weight: Expr, i: int, keep_norm: bool, bias: Expr | None = None
) -> _State:
    """Return the state after phi(W h + b), of one that has its variance; `weight` is what the rest has not of W yet.

    `bias` is that of the first layer on the input, None elsewhere.
    """
    let, at = program.let, {v: state.f}
    law = stable_dual(plain) if program.stable else plain
    m0, grown = law.m0.xreplace(at), ZERO
    if bias is not None and program.stable:
        grown, m0 = _exponent_apart(m0)
        coefficient = lambda expr: program.bind(f"k_{len(program.bindings)}", expr)  # noqa: E731
        psi, eta, slope = (part.xreplace(at) for part in first_layer(plain, state.w, bias, coefficient))
    elif bias is not None:
        eta, slope = (part.xreplace(at) for part in _first_layer(plain, state.w, bias))
        psi = law.psi.xreplace(at)
    else:
        psi = law.psi.xreplace(at)
    twice_psi = let(f"psi_{i}", 2 * weight * psi)
    kappa = let(f"kappa_{i}", state.w * twice_psi)
    x = let(f"x_{i}", state.rate * twice_psi)
    steep = state.w * state.rate
    if bias is not None:
        eta, dkappa = let(f"eta_{i}", eta), let(f"dkappa_{i}", 2 * state.dw * slope)
        deta = dkappa
    else:
        bend = 2 * weight**2 * law.psi_prime.xreplace(at)
        eta = let(f"eta_{i}", state.eta + kappa * state.zeta)
        dkappa = let(f"dkappa_{i}", state.dw * twice_psi + steep * bend)
        deta = let(f"deta_{i}", state.deta + dkappa * state.zeta + kappa * state.de)
    log_A = state.log_A + (log_of(weight if bias is None else state.rate) + _log(m0) if state.free else ZERO)
    m0 = let(f"m_{i}", weight * m0)
    after = replace(
        state,
        A=let(f"A_{i}m", state.A * m0),
        growth=state.growth + grown,
        twice_a=let(f"a_{i}", state.twice_a + x),
        twice_alpha=let(f"alpha_{i}", state.twice_alpha + kappa),
        twice_dalpha=let(f"dalpha_{i}", state.twice_dalpha + dkappa),
        delta=let(f"delta_{i}", state.delta + x * state.e),
        beta=let(f"beta_{i}", state.beta + kappa * state.e),
        dbeta=let(f"dbeta_{i}", state.dbeta + dkappa * state.e + kappa * state.de),
        eta=eta,
        deta=deta,
        log_A=log_A,
    )
    free = state.entering.layer(let, scale_free_law(plain), i) if state.entering else None
    if free and bias is None:
        before = state.twice_alpha / 2, state.twice_dalpha / 2, state.beta, state.dbeta
        added = free.increments(*before)
        eta, deta = free.eta()
        sums = {name: getattr(state, name) + value for name, value in added.items()} | {"eta": eta, "deta": deta}
        after = replace(after, **{name: let(f"{name}_{i}r", value) for name, value in sums.items()})
    elif free:
        after = replace(after, bend=kappa * dkappa / 2)
    if free and state.far and state.entering:
        part = state.entering
        try:
            far, far_eta = state.far.layer(let, scale_free_law(plain), part.share, part.rest, part.v, i)
            after = replace(after, far=far, far_eta=far_eta)
        except NoTail:
            after = replace(after, far=None)
    if not keep_norm:
        return after
    if free:
        after = replace(after, free=free.features())
    mu, dmu = let(f"mu_{i}", law.mu.xreplace(at)), let(f"dmu_{i}", weight * law.nu_prime.xreplace(at))
    growth = let(f"rho_{i}", weight * law.m_prime.xreplace(at))
    bend = m0 * dmu + growth * twice_psi / 2
    return replace(
        after,
        f=let(f"f_{i}", law.m.xreplace(at), nonnegative=True),
        rate=let(f"rate_{i}", growth * state.rate),
        w=let(f"w_{i}", growth * state.w),
        dw=let(f"df_{i}", growth * state.dw + bend * steep),
        zeta=let(f"zeta_{i}", mu * state.zeta),
        e=let(f"e_{i}", mu * state.e + law.nu.xreplace(at)),
        de=let(f"de_{i}", state.rate * dmu * state.zeta + mu * state.de),
    )


def _normalise(program: _Builder, state: _State, epsilon: Expr, i: int) -> _State:
    let = program.let
    F = let(f"F_{i}", state.f + epsilon, positive=True)
    g = let(f"g_{i}", state.rate / F)
    gw = let(f"gw_{i}", state.w / F)
    dgw = let(f"dgw_{i}", state.dw / F - gw * g)
    rest = let(f"rest_{i}", epsilon / F)
    share, dshare = state.f / F if epsilon != 0 else ONE, rest * g
    excess = let(f"excess_{i}", share - (1 + rest) * state.e)
    dexcess = dshare * (1 + state.e) - (1 + rest) * state.de
    return replace(
        state,
        f=let(f"f_{i}", share, nonnegative=True),
        rate=rest * g,
        w=rest * gw,
        dw=let(f"df_{i}", rest * (dgw - gw * g)),
        A=let(f"A_{i}n", state.A / F),
        twice_a=let(f"a_{i}", state.twice_a - 2 * g),
        twice_alpha=let(f"alpha_{i}", state.twice_alpha - 2 * gw),
        twice_dalpha=let(f"dalpha_{i}", state.twice_dalpha - 2 * dgw),
        delta=let(f"delta_{i}", state.delta + g * excess),
        beta=let(f"beta_{i}", state.beta + gw * excess),
        dbeta=let(f"dbeta_{i}", state.dbeta + dgw * excess + gw * dexcess),
        eta=let(f"eta_{i}", state.eta - (1 + rest) * gw * state.zeta),
        deta=let(
            f"deta_{i}",
            state.deta + dshare * gw * state.zeta - (1 + rest) * (dgw * state.zeta + gw * state.de),
        ),
        zeta=let(f"zeta_{i}", rest * state.zeta),
        e=let(f"e_{i}", rest * state.zeta - 1),
        de=let(f"de_{i}", rest * (state.de - g * state.zeta)),
    )


def _scaled(state: _State, factor: Expr) -> _State:
    """Return the state of the features times sqrt(factor): A and f scale, logarithmic quantities do not."""
    if factor == 1:
        return state
    return replace(
        state,
        **{name: factor * getattr(state, name) for name in ("f", "rate", "w", "dw", "A")},
    )


def _sum(program: _Builder, left: _State, right: _State, i: int, keep_norm: bool) -> _State:
    """Return the state of uncorrelated features that are added."""
    if left.A == 0:
        return right
    if right.A == 0:
        return left
    let = program.let
    left, right = (replace(part, A=part.A * exp(part.growth), growth=ZERO) for part in (left, right))
    A = let(f"A_{i}s", left.A + right.A)
    p, q = let(f"part_{i}", left.A / A), let(f"rest_{i}", right.A / A)
    # The derivative of the weight p = A_left / A.
    dp = let(f"dpart_{i}", p * q * (left.twice_a - right.twice_a) / 2)

    def mean(name: str) -> Expr:
        return let(f"{name}_{i}s", p * getattr(left, name) + q * getattr(right, name))

    def derivative(name: str, of: str) -> Expr:
        return let(
            f"{name}_{i}s",
            p * getattr(left, name) + q * getattr(right, name) + dp * (getattr(left, of) - getattr(right, of)),
        )

    names = ["twice_a", "twice_alpha", "delta", "beta", "eta"]
    derivatives = [("twice_dalpha", "twice_alpha"), ("dbeta", "beta"), ("deta", "eta")]
    sums: list[str] = []
    if keep_norm:
        names, derivatives, sums = [*names, "zeta", "e"], [*derivatives, ("de", "e")], ["f", "rate", "w", "dw"]
    return replace(
        left,
        A=A,
        **{name: mean(name) for name in names},
        **{name: derivative(name, of) for name, of in derivatives},
        **{name: let(f"{name}_{i}s", getattr(left, name) + getattr(right, name)) for name in sums},
    )


def _exponent_apart(expr: Expr) -> tuple[Expr, Expr]:
    """Return x and y with `expr` = exp(x) y."""
    exponents = [part.args[0] for part in Mul.make_args(expr) if isinstance(part, exp)]
    return Add(*exponents), Mul(*[part for part in Mul.make_args(expr) if not isinstance(part, exp)])


def _log(expr: Expr) -> Expr:
    """Return the logarithm of a positive product as a sum: that of a power does not underflow. Factors may be < 0."""
    powers = [part.as_base_exp() for part in Mul.make_args(expr)]
    return Add(*[exponent * log_of(base if base.is_positive else Abs(base)) for base, exponent in powers])


def _finished(program: _Builder, state: _State) -> Program:
    let, eta = program.let, state.eta
    if state.A == 0:
        raise SingularMetric(
            "the features do not depend on x: an activation of this network is constant on each side of 0 and has"
            " no jump, so that its metric is 0; use one that varies"
        )
    if eta == 0:
        raise SingularMetric(
            "the features do not depend on |x| (the input is normalised with epsilon = 0), so that the metric is"
            " degenerate along x: use RMSNorm(epsilon) with epsilon > 0, or a layer with a bias before it"
        )
    half, inline = Rational(1, 2), program.inline
    alpha = half * state.twice_alpha
    log = {
        "A": let("A_out", state.A * exp(state.growth)),
        "a": let("a_sum", half * state.twice_a),
        # Beyond one layer s a takes less than another sum.
        "alpha": alpha if inline else let("alpha_sum", s * half * state.twice_a),
        "alpha_prime_by_eta": let("dalpha_sum", half * state.twice_dalpha / eta),
        "delta": let("delta_sum", state.delta),
        "beta": state.beta if inline or state.free else let("beta_sum", s * state.delta),
        "beta_prime_by_eta": let("dbeta_sum", state.dbeta / eta),
        "eta": eta,
    }
    A = log["A"]
    outputs: dict[str, Expr] = {
        "A": A,
        "B": A * (2 * log["a"] + log["delta"]),
        "shear": 2 * alpha + state.beta,
        "eta": eta,
        "h": A * eta,
        **curvature_outputs(log, let),
    }
    if state.free:
        outputs["log_A"] = state.growth + state.log_A
    elif state.growth != 0:
        outputs["log_A"] = state.growth + log_of(state.A)
    if not program.inline and not eta.is_number and log["beta"] != 0:
        far = (state.far.T, state.far_eta) if state.far and state.far_eta else None
        forms = FloatCurvature(log, state.deta, state.twice_dalpha, state.bend if state.free else None, far)
        outputs["R_float"] = forms.ricci_scalar(outputs["K_rad"], outputs["K_tan"], let)
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
