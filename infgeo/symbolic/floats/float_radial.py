"""The recursion of the metric in float arithmetic: that of `networks.recursion` in forms whose terms do not cancel.

Functions of the variance are those of `stable`, A is carried as exp(growth) A so that its logarithm exists where A
overflows, and where activations vanish at 0, are polynomials or differ between layers, the quantities of `scale_free`
and `far` take the place of sums that cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Self

from sympy import Abs, Add, Expr, Integer, Mul, count_ops, exp
from sympy import log as log_of

from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.symbolic.algebra.program import Names, Program
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.floats.far import Far, Power, stops_growing
from infgeo.symbolic.floats.float_curvature import FloatCurvature
from infgeo.symbolic.floats.scale_free import Layer, Preactivations, ScaleFree
from infgeo.symbolic.floats.scale_free_laws import NoTail, scale_free_law
from infgeo.symbolic.floats.stable import first_layer, stable_dual
from infgeo.symbolic.networks.existence import require_metric
from infgeo.symbolic.networks.network import MLP
from infgeo.symbolic.networks.propagate import propagate
from infgeo.symbolic.networks.recursion import LogRadial

ZERO, ONE = Integer(0), Integer(1)
POLES_LIMIT = 75  # operations of m and m0


@lru_cache(maxsize=64)
def float_program(mlp: MLP, stable: bool = True) -> Program:
    """Return the program of the metric for float arithmetic: that of `metric_program`, not made for reading.

    Beyond one dense layer there is R_float too, R in the form that is accurate at every s; where A may overflow, log_A.
    Without `stable` the functions of the variance are those that are read, for numbers of any precision.
    """
    if not stable and len(mlp.layers) == 1:
        return mlp.metric_program
    require_metric(mlp.layers)
    names = Names()
    outputs = propagate(mlp.layers, _start(mlp, names) if stable else ReadableForms(names)).outputs()
    return Program(tuple(names.bindings), outputs).substituted({} if mlp.dimension == d else {d: mlp.dimension})


def _start(mlp: MLP, names: Names) -> FloatRadial:
    laws = [layer.dual for layer in mlp.with_weights]
    free = ScaleFree() if len(laws) == len(mlp.layers) > 1 and _scale_free(mlp.layers) else None
    far = Far() if free and stops_growing([scale_free_law(law) for law in laws]) else None
    return FloatRadial(names, free=free, far=far)


def _scale_free(layers: Sequence[Any]) -> bool:
    """Return whether scale-free quantities are needed for dense layers, and short enough to be written in time.

    Formulas have poles that cancel where phi'(0) = 0, and for polynomials; where layers differ, eta cancels where one
    that saturates has large inputs.
    """
    laws = [layer.dual for layer in layers]
    if any(layer.kind != "dense" for layer in layers):
        return False
    if any(count_ops(law.m) + count_ops(law.m0) > POLES_LIMIT for law in laws):
        return False
    return len(set(laws)) > 1 or any(law.m0.subs(v, 0) == 0 or law.m0.is_polynomial(v) for law in laws)


@dataclass(frozen=True)
class FloatRadial(LogRadial):
    """A stands for exp(growth) A. Of preactivations `entering`, and of an activation `passing`, are scale-free.

    `n` is that of `scale_free`, and `log_A` is log A; they are known where `free` is.
    """

    growth: Expr = ZERO
    free: ScaleFree | None = None
    entering: Preactivations | None = None
    passing: Layer | None = None
    n: Expr = ZERO
    log_A: Expr = ZERO
    far: Far | None = None
    far_eta: Power | None = None

    def activate(self, law: Dual) -> Self:
        """See `networks.recursion`."""
        after = super().activate(law)
        on_input, names, let, entering = self.f == s, after.names, after.names.let, after.entering
        m0 = self._form(law).m0.xreplace({v: after.f})
        if on_input:
            exponent, m0 = _exponent_apart(m0)
            after = replace(after, growth=exponent, A=names.numbered("A", after.rate * m0, "x"))
        if after.free is None or entering is None:
            return after
        weight = after.rate if on_input else (self.affine_map or (ONE,))[0]
        passing = entering.layer(let, scale_free_law(law), names.layer)
        after = replace(after, log_A=after.log_A + log_of(weight) + _log(m0), passing=passing)
        if on_input:
            kappa, dkappa = after.twice_alpha, after.twice_dalpha
            after = replace(after, n=kappa * dkappa / 2)
        else:
            added = passing.increments(self.twice_alpha / 2, self.twice_dalpha / 2, self.beta, self.dbeta)
            sums = {name: getattr(self, name) + value for name, value in added.items()}
            sums |= dict(zip(("eta", "deta"), passing.eta(), strict=True))
            after = replace(after, **{name: names.numbered(name, value, "r") for name, value in sums.items()})
        if after.far is None:
            return after
        try:
            far, far_eta = after.far.layer(
                let, scale_free_law(law), entering.share, entering.rest, entering.v, names.layer
            )
        except NoTail:
            return replace(after, far=None)
        return replace(after, far=far, far_eta=far_eta)

    @cached_property
    def features(self) -> Self:
        """See `networks.recursion`."""
        before = self if self.passing is None else replace(self, free=self.passing.features(), passing=None)
        return LogRadial.features.func(before)  # type: ignore[attr-defined]

    def add(self, branch: Self, skip: Expr) -> Self:
        """See `networks.recursion`."""
        left, right = (
            replace(h.features, A=h.features.A * exp(h.features.growth), growth=ZERO) for h in (self, branch)
        )
        return LogRadial.add(left, right, skip)

    def outputs(self) -> dict[str, Expr]:
        """Return what `float_program` returns, of the features."""
        whole = replace(self, A=self.A * exp(self.growth))
        log = whole.logarithmic | ({"beta": self.beta} if self.free else {})
        outputs = whole.outputs_of(log)
        if self.free:
            outputs["log_A"] = self.growth + self.log_A
        elif self.growth != 0:
            outputs["log_A"] = self.growth + log_of(self.A)
        if not self.eta.is_number and log["beta"] != 0:
            far = (self.far.T, self.far_eta) if self.far and self.far_eta else None
            forms = FloatCurvature(log, self.deta, self.twice_dalpha, self.n if self.free else None, far)
            outputs["R_float"] = forms.ricci_scalar(outputs["K_rad"], outputs["K_tan"], self.names.let)
        return outputs

    def _preactivations(self) -> tuple[Self, Expr, Expr]:
        inner, weight, bias = super()._preactivations()
        if inner.free is None:
            return inner, weight, bias
        u, rate = (inner.w, inner.rate) if self.f == s else (weight * self.f, weight * self.rate)
        names = inner.names
        entering = inner.free.preactivations(names.let, u, rate, bias, inner.f, names.layer)
        return replace(inner, entering=entering), weight, bias

    def _form(self, law: Dual) -> Any:
        return stable_dual(law)

    def _first(self, law: Dual, bias: Expr) -> tuple[Expr, Expr, Expr, Expr]:
        names = self.names
        m0 = stable_dual(law).m0
        psi, eta, slope = first_layer(law, self.w, bias, lambda expr: names.bind(f"k_{len(names.bindings)}", expr))
        return m0, psi, eta, slope


class ReadableForms(FloatRadial):
    """The same with the functions of the variance as they are read."""

    _form, _first = LogRadial._form, LogRadial._first


def _exponent_apart(expr: Expr) -> tuple[Expr, Expr]:
    """Return x and y with `expr` = exp(x) y."""
    exponents = [part.args[0] for part in Mul.make_args(expr) if isinstance(part, exp)]
    return Add(*exponents), Mul(*[part for part in Mul.make_args(expr) if not isinstance(part, exp)])


def _log(expr: Expr) -> Expr:
    """Return the logarithm of a positive product as a sum: that of a power does not underflow. Factors may be < 0."""
    powers = [part.as_base_exp() for part in Mul.make_args(expr)]
    return Add(*[exponent * log_of(base if base.is_positive else Abs(base)) for base, exponent in powers])
