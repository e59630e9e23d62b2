"""Agreement with quadrature: the recursion of the layers, written out here once more, on numerical expectations.

Nothing of the closed forms is used: the moments of the inputs are exact rationals, each expectation over a pair of
preactivations is integrated with two rules, and a pair for which they differ is not compared.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from infgeo.conventions import d
from infgeo.errors import InfgeoError
from infgeo.numeric.quadrature.gaussian_rules import diagonal, pair
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.symbolic.networks.layers import Residual, RMSNorm
from infgeo.testing.kernel_points import Points
from infgeo.testing.outcome import Measured, NotApplicable
from infgeo.testing.structure import VALUES, _text
from infgeo.testing.subject import Subject, Truth

BOUND = 1e-10
FLOOR = 1e-3  # of sqrt(k(x, x) k(y, y)): smaller values of k are held to BOUND * FLOOR of it, in double precision
AGREE = 1e-12  # of the two rules, relative to sqrt(k(x, x) k(y, y))
_LEVELS = (0, 1, 2, 4)
# Pairs among three points in general position, a neighbour of the last one, and a point opposite to it.
_PAIRS = ((0, 0), (2, 2), (0, 1), (1, 2), (0, 2), (2, 3), (2, 4), (1, 4))

Triple = tuple[float, ...]
AGREES = (
    "|k(x, y) - quadrature| <= bound * (|k(x, y)| + c sqrt(k(x, x) k(y, y))), the expectations integrated"
    f" numerically; c = {FLOOR:g} in double precision, else 1"
)


@dataclass(frozen=True)
class _State:
    """Kernel p, q, c of the features at (x, x), (y, y), (x, y), p q - c^2, and the tangent kernel at all three."""

    kernel: Triple
    Delta: float
    theta: Triple = (0.0, 0.0, 0.0)


def quadrature(subject: Subject, points: Points) -> Measured:
    """Measure what `AGREES` requires."""
    if subject.truth is None:
        raise NotApplicable(subject.reasons["truth"])
    if "quadrature" in subject.missing:
        raise NotApplicable(subject.reasons["quadrature"])
    general = points.general[-3:] if len(points.general) > 2 else points.general[[0, 1, 1]]
    longest = general[2]
    chosen = subject.rounded(np.concatenate([general, [longest + 1e-4 * np.roll(longest, 1)], [-0.5 * longest]]))
    values = subject.gram(chosen, None)
    bound = max(BOUND, VALUES * subject.epsilon)
    floor = FLOOR if bound == BOUND else 1.0
    worst, note, compared, reason = 0.0, "", 0, ""
    for i, j in _PAIRS:
        try:
            expected, norm = expectation(subject.truth, chosen[i], chosen[j])
        except NotApplicable as skipped:
            reason = str(skipped)
            continue
        compared += 1
        error = abs(values[i, j] - expected) / (abs(expected) + floor * norm + np.finfo(float).tiny)
        if not error <= worst:
            worst = error
            note = f"k = {values[i, j]:.12g}, quadrature {expected:.12g} at {_text(chosen[i])}, {_text(chosen[j])}"
    if not compared:
        raise NotApplicable(reason)
    return worst, bound, note if worst > bound else f"{compared} pairs"


def expectation(truth: Truth, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return k(x, y) by quadrature, and sqrt(k(x, x) k(y, y)); raises NotApplicable where the rules disagree."""
    try:
        before, _ = _at_level(truth, x, y, _LEVELS[0])
        for level in _LEVELS[1:]:
            value, norm = _at_level(truth, x, y, level)
            if abs(value - before) <= AGREE * norm:
                return value, norm
            before = value
    except InfgeoError as error:
        raise NotApplicable(f"no quadrature: {error}") from None
    raise NotApplicable(f"two rules of quadrature differ by more than {AGREE:g} at {_text(x)}, {_text(y)}")


def _at_level(truth: Truth, x: np.ndarray, y: np.ndarray, level: int) -> tuple[float, float]:
    mlp = truth.mlp
    values = {symbol: truth.values[symbol.name] for symbol in mlp.parameters} | {d: len(x)}

    def number(expr: Any) -> float:
        return float(expr.subs(values))

    a, b = ([Fraction(float(t)) for t in point] for point in (x, y))
    exact = [sum((s * t for s, t in zip(*two, strict=True)), Fraction(0)) for two in ((a, a), (b, b), (a, b))]
    state = _exact_state(exact)
    weight_scale = 1.0 / len(x) if mlp.input_scale else 1.0
    tangent, first = truth.kind == "ntk", True
    for layer in mlp.layers:
        if isinstance(layer, RMSNorm):
            state = _normalised(state, number(layer.epsilon), len(x) if first else 1)
            first = False
            continue
        weight, bias = weight_scale * number(layer.weight_std**2), number(layer.bias_std**2)
        weight_scale = 1.0
        if first:
            moments = [Fraction(bias) + Fraction(weight) * part for part in exact]
            inner = replace(_exact_state(moments), theta=state.theta)
        else:
            p, q, c = state.kernel
            Delta = weight * (weight * state.Delta + bias * (p + q - 2 * c))
            inner = replace(state, kernel=tuple(bias + weight * part for part in (p, q, c)), Delta=max(Delta, 0.0))
        first = False
        after = _through(layer.activation, truth, inner, weight, level, tangent)
        if isinstance(layer, Residual):
            skip, branch = number(layer.skip**2), number(layer.branch**2)
            grown = [k + learned if tangent else 0.0 for k, learned in zip(after.kernel, after.theta, strict=True)]
            theta, (p, q, c) = (
                tuple(skip * old + branch * new for old, new in zip(*both, strict=True))
                for both in ((state.theta, grown), (state.kernel, after.kernel))
            )
            state = _State((p, q, c), p * q - c * c, theta)
        else:
            state = after
    p, q, c = (k + theta for k, theta in zip(state.kernel, state.theta, strict=True))
    return c, float(np.sqrt(p * q))


def _exact_state(moments: list[Fraction]) -> _State:
    p, q, c = moments
    return _State((float(p), float(q), float(c)), float(p * q - c * c))


def _normalised(state: _State, epsilon: float, unit: float) -> _State:
    """Return the state of sqrt(unit) h / sqrt(|h|^2 + unit epsilon), h <- h / sqrt(mean h^2 + epsilon)."""
    norm_x, norm_y = (part + unit * epsilon for part in state.kernel[:2])
    norms = (norm_x, norm_y, float(np.sqrt(norm_x * norm_y)))
    if min(norms) == 0:
        raise NotApplicable("a zero vector has no normalisation without epsilon")
    kernel = tuple(unit * part / norm for part, norm in zip(state.kernel, norms, strict=True))
    theta = tuple(part / norm for part, norm in zip(state.theta, norms, strict=True))
    return _State(kernel, unit**2 * state.Delta / norms[2] ** 2, theta)


def _through(activation: Any, truth: Truth, inner: _State, weight: float, level: int, tangent: bool) -> _State:
    """Return E[phi(u) phi(v)], and E[phi'(u) phi'(v)] times the tangent kernel of the preactivations."""
    function = _piecewise(activation, tuple(sorted(truth.own.items())))

    def all_three(order: int) -> Triple:
        p, q, c = inner.kernel
        first, second = (diagonal(function, at, level, order) for at in (p, q))
        return first, second, pair(function, p, q, c, inner.Delta, level, order)["product"]

    k = all_three(0)
    theta = inner.theta
    if tangent:
        parts = zip(all_three(1), inner.kernel, inner.theta, strict=True)
        theta = tuple(slope * (moment + weight * old) for slope, moment, old in parts)
    return _State(k, max(k[0] * k[1] - k[2] ** 2, 0.0), theta)


@lru_cache(maxsize=64)
def _piecewise(activation: Any, own: tuple[tuple[str, float], ...]) -> PiecewiseFunction:
    return PiecewiseFunction(activation, dict(own))
