"""Where a metric exists, where it degenerates, and how features separate where there is none.

The squared distance of features, D^2 = k(x, x) + k(y, y) - 2 k(x, y), is C |x - y|^gamma to leading order, with a C
of the direction: gamma = 2 where there is a metric. A jump J of phi separates a pair of preactivations of variance v
and determinant Delta = p q - c^2 with probability sqrt(Delta)/(pi v), which makes

    D^2 = J^2 sqrt(Delta) / (pi v),   Delta = (v A - [along x] s (v'^2 - v B)) |x - y|^2  or  v C |x - y|^gamma,

so that gamma halves, and a second jump halves it again. A layer without a jump multiplies C by E[phi'^2]. The tangent
kernel contains E[phi' phi'], to which a kink of phi is a jump. Products and sums of kernels follow `ntk`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sympy import (
    Add,
    And,
    Eq,
    Expr,
    Integer,
    Mul,
    Or,
    Poly,
    count_ops,
    exp,
    factor,
    false,
    fraction,
    pi,
    real_roots,
    sqrt,
    together,
    true,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean, BooleanFunction

from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.errors import MetricDoesNotExist
from infgeo.symbolic.activation import real_part
from infgeo.symbolic.dual import Dual
from infgeo.symbolic.simplify import tidy

ZERO, ONE, TWO = Integer(0), Integer(1), Integer(2)
PRINTED = 60  # operations: longer coefficients are left to the attributes of the exception


@dataclass(frozen=True)
class Divergence:
    """The leading order |Phi(x) - Phi(y)|^2 = coefficient |x - y|^exponent of features that have no metric.

    Arguments:
        exponent: 1, 1/2, 1/4, ...; 2 would be a metric.
        across, along: the coefficient, in s = |x|^2, for y - x orthogonal and parallel to x; where `along` is 0, as for
            homogeneous activations without bias, features change at a higher order in that direction.
    """

    exponent: Expr
    across: Expr
    along: Expr


@dataclass(frozen=True)
class _Features:
    """Squared norm f of features, f' = df/ds, and the leading order of their squared distance."""

    f: Expr = s
    rate: Expr = ONE
    exponent: Expr = TWO
    across: Expr = ONE
    along: Expr = ONE

    def affine(self, weight: Expr, bias: Expr) -> _Features:
        scaled = (weight * part for part in (self.across, self.along))
        return _Features(bias + weight * self.f, weight * self.rate, self.exponent, *scaled)

    def plus(self, other: _Features) -> _Features:
        lowest = min(self.exponent, other.exponent)
        leading = [part for part in (self, other) if part.exponent == lowest]
        across, along = sum((part.across for part in leading), ZERO), sum((part.along for part in leading), ZERO)
        return _Features(self.f + other.f, self.rate + other.rate, lowest, across, along)

    def times(self, other: _Features) -> _Features:
        """Return the features of the product of the kernels."""
        left, right = self.affine(other.f, ZERO), other.affine(self.f, ZERO)
        total = left.plus(right)
        cross = 2 * s * self.rate * other.rate if total.exponent == 2 else ZERO
        rate = self.rate * other.f + self.f * other.rate
        return _Features(self.f * other.f, rate, total.exponent, total.across, total.along + cross)

    def over_norm(self, norm: Expr, norm_rate: Expr) -> _Features:
        g = norm_rate / norm
        cross = s * (self.f * g**2 - 2 * self.rate * g) if self.exponent == 2 else ZERO
        rate = (self.rate - self.f * g) / norm
        return _Features(self.f / norm, rate, self.exponent, self.across / norm, (self.along + cross) / norm)

    def through(self, law: Dual) -> _Features:
        """Return the features phi(h) for preactivations h with this kernel."""
        at = {v: self.f}
        f, rate = law.m.xreplace(at), law.m_prime.xreplace(at) * self.rate
        if law.jump == 0:
            m0 = law.m0.xreplace(at)
            cross = 2 * s * tidy(law.m0.diff(v)).xreplace(at) * self.rate**2 if self.exponent == 2 else ZERO
            return _Features(f, rate, self.exponent, m0 * self.across, m0 * self.along + cross)
        angular = s * self.rate**2 if self.exponent == 2 else ZERO
        squares = (self.f * self.across, self.f * self.along - angular)
        across, along = (law.jump**2 * sqrt(tidy(square)) / (pi * self.f) for square in squares)
        return _Features(f, rate, self.exponent / 2, across, along)


def leading_distance(layers: Sequence[Any], fan_in: bool = False, tangent: bool = False) -> Divergence:
    """Return the leading order of the squared distance of the features, or of those of the tangent kernel.

    Where there is a metric, the exponent is 2 and the coefficients are A and A + s B. Arguments: as for
    `recursion.metric_program`. Raises MetricDoesNotExist where the tangent kernel itself is infinite.
    """
    k, learned = _Features(), _Features(ZERO, ZERO, TWO, ZERO, ZERO)
    scale = 1 / d if fan_in else ONE
    for i, layer in enumerate(layers):
        if layer.kind == "rms_norm":
            norm = k.f + (d * layer.epsilon if i == 0 else layer.epsilon)
            k, learned = k.over_norm(norm, k.rate), learned.over_norm(norm, k.rate)
            k = k.affine(d, ZERO) if i == 0 else k
            continue
        weight, bias, scale = scale * layer.weight_std**2, layer.bias_std**2, ONE
        inner = k.affine(weight, bias)
        after = inner.through(layer.dual)
        change = learned
        if tangent:
            change = inner.through(layer.dual.derivative).times(inner.plus(learned.affine(weight, ZERO)))
        if layer.kind == "residual":
            skip, branch = layer.skip**2, layer.branch**2
            if tangent:
                learned = learned.affine(skip, ZERO).plus(after.plus(change).affine(branch, ZERO))
            k = k.affine(skip, ZERO).plus(after.affine(branch, ZERO))
        else:
            k, learned = after, change
    total = k.plus(learned) if tangent else k
    return Divergence(total.exponent, tidy(total.across), tidy(total.along))


def require_metric(layers: Sequence[Any], fan_in: bool = False, tangent: bool = False) -> None:
    """Raise MetricDoesNotExist, with the leading order of the distance, unless the features have a metric."""
    laws = [layer.dual for layer in layers if layer.kind != "rms_norm"]
    jumps = next((law for law in laws if law.jump != 0), None)
    if jumps is not None and tangent:
        raise MetricDoesNotExist(
            f"the NTK of {jumps.name} does not exist: phi jumps by {jumps.jump} at 0, so that E[phi'(u)^2] is infinite"
        )
    kinked = next((law for law in laws if law.derivative.jump != 0), None) if tangent else None
    broken = jumps or kinked
    if broken is None:
        return
    leading = leading_distance(layers, fan_in, tangent)
    power = "" if leading.exponent == 1 else f"^({leading.exponent})"
    known = count_ops(leading.across) <= PRINTED
    coefficient = str(leading.across) if known else "C"
    if tangent:
        reason = (
            f"the NTK of {broken.name} induces no metric: phi' jumps by {broken.derivative.jump} at 0, so that"
            " E[phi'(u) phi'(v)] falls linearly with the angle between x and y and the NTK has a cusp at y = x"
        )
    else:
        reason = (
            f"{broken.name} has a jump of {broken.jump} at 0: E[phi'(u)^2] is infinite, so its kernel induces no"
            " Riemannian metric"
        )
    raise MetricDoesNotExist(
        f"{reason}: |Phi(x) - Phi(y)|^2 = ({coefficient}) |x - y|{power} + ... for y - x orthogonal to x,"
        f" s = |x|^2{'' if known else ', with C in the attribute divergence of this exception'}",
        leading,
    )


def domain_of(layers: Sequence[Any], fan_in: bool = False, squared_norm: Expr = s) -> Boolean:
    """Return the condition on |x|^2 and the scales under which every expectation is finite; true without one."""
    f, scale = squared_norm, (1 / d if fan_in else ONE)
    conditions: list[Boolean] = []
    for i, layer in enumerate(layers):
        if layer.kind == "rms_norm":
            f = d * f / (f + d * layer.epsilon) if i == 0 else f / (f + layer.epsilon)
            continue
        variance, scale = layer.bias_std**2 + scale * layer.weight_std**2 * f, ONE
        growth = layer.dual.growth
        if growth is not None:
            conditions.append(variance < 1 / (4 * growth) if growth.is_positive else 4 * growth * variance < 1)
        if any(later.kind != "rms_norm" and later.dual.growth is not None for later in layers[i + 1 :]):
            m = layer.dual.m.xreplace({v: variance})
            f = layer.skip**2 * f + layer.branch**2 * m if layer.kind == "residual" else m
    return And(*conditions)


def degenerate_at_origin(layers: Sequence[Any]) -> Boolean:
    """Return the condition on the scales and parameters under which the metric of a network vanishes at x = 0.

    A preactivation of positive variance has E[phi'^2] > 0, so that a network's metric is degenerate only where a
    variance is 0, which is x = 0 without bias, and phi'(0) = 0 there.
    """
    silent: Boolean = true
    flat: Boolean = false
    for layer in layers:
        if layer.kind == "rms_norm":
            flat = Or(flat, And(silent, Eq(layer.epsilon, 0)))
            continue
        still = And(silent, Eq(layer.bias_std, 0))
        flat_now = Or(flat, And(still, _vanishes_at_origin(layer.dual.derivative)))
        silent_now = And(still, _vanishes_at_origin(layer.dual))
        residual = layer.kind == "residual"
        flat, silent = (And(flat, flat_now), And(silent, silent_now)) if residual else (flat_now, silent_now)
    return flat


def _vanishes_at_origin(law: Dual) -> Boolean:
    """Return whether both one-sided limits of a sum of terms at z = 0 vanish."""
    plain = sum((t.coefficient for t in law.terms if t.power == 0 and t.factor.kind == "one"), ZERO)
    # Sines are terms with complex coefficients.
    return And(Eq(factor(real_part(plain)), 0), Eq(law.jump, 0))


def zeros_and_poles(expr: Expr) -> Boolean:
    """Return where in s >= 0 an expression that is not negative vanishes or diverges.

    Factors that are known to be positive, or that do not depend on s, are left out; what is not decided stays as an
    equation.
    """
    conditions = []
    for side in fraction(together(expr)):
        for part in Mul.make_args(factor(side)):
            base, degree = part.as_base_exp()
            if part.has(s) and not isinstance(base, exp) and degree != 0:
                conditions.append(_zeros(base))
    return Or(*conditions)


def _zeros(expr: Expr) -> Boolean:
    if not expr.has(s):
        return Eq(expr, 0) if expr.is_zero is None else (true if expr.is_zero else false)
    if expr.is_positive:
        return false
    if expr == s:
        return Eq(s, 0)
    if isinstance(expr, Add) and all(term.is_nonnegative for term in expr.args):
        return And(*[_zeros(term) for term in expr.args])
    if isinstance(expr, Mul):
        return Or(*[_zeros(part.as_base_exp()[0]) for part in expr.args if not part.is_number])
    if expr.free_symbols == {s} and expr.is_polynomial(s) and Poly(expr, s).domain.is_Exact:
        return Or(*[Eq(s, root) for root in set(real_roots(Poly(expr, s))) if root >= 0])
    return Eq(expr, 0)


def in_words(condition: Boolean) -> str:
    """Return a condition as text, for example "s = 0 and sigma_b = 0"."""
    if isinstance(condition, BooleanFunction) and isinstance(condition, (And, Or)):
        word = " and " if isinstance(condition, And) else " or "
        parts = sorted((in_words(part) for part in condition.args), key=lambda text: ("s = 0" not in text[:5], text))
        return word.join(f"({part})" if " or " in part and word == " and " else part for part in parts)
    if isinstance(condition, Relational):
        return f"{condition.lhs} {'=' if condition.rel_op == '==' else condition.rel_op} {condition.rhs}"
    return str(condition)
