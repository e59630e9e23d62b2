"""Agreement with the network that a kernel claims to be of: by quadrature, and with simulated networks.

By quadrature: the recursion of the layers, written out here once more, on numerical expectations. Nothing of the closed
forms is used: the moments of the inputs are exact rationals, each expectation over a pair of preactivations is
integrated with two rules, and a pair for which they differ is not compared.

By simulation: random networks of finite width, means over independent ones, Student's t. One layer has the expectation
k(x, y) at every width. At more layers the means carry a bias b/n + c/n^2, and the extrapolation of `infgeo.validate`
over a ladder of widths is compared. Tangent kernels are those of the parameters' derivatives by backpropagation, in NTK
parametrisation, with a random readout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from infgeo.conventions import d
from infgeo.errors import InfgeoError
from infgeo.numeric.quadrature.gaussian_rules import diagonal, pair
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.symbolic.networks.layers import Residual, RMSNorm
from infgeo.testing.kernel_points import Points
from infgeo.testing.outcome import Measured, NotApplicable
from infgeo.testing.structure import VALUES, _text
from infgeo.testing.subject import Subject, Truth

if TYPE_CHECKING:
    import torch

BOUND = 1e-10
FLOOR = 1e-3  # of sqrt(k(x, x) k(y, y)): smaller values of k are held to BOUND * FLOOR of it, in double precision
AGREE = 1e-12  # of the two rules, relative to sqrt(k(x, x) k(y, y))
_LEVELS = (0, 1, 2, 4)
# Pairs among three points in general position, a neighbour of the last one, and a point opposite to it.
_PAIRS = ((0, 0), (2, 2), (0, 1), (1, 2), (0, 2), (2, 3), (2, 4), (1, 4))

Triple = tuple[float, ...]
BY_QUADRATURE = (
    "|k(x, y) - quadrature| <= bound * (|k(x, y)| + c sqrt(k(x, x) k(y, y))), the expectations integrated"
    f" numerically; c = {FLOOR:g} in double precision, else 1"
)
LEVEL = 1e-4
WIDTH, SAMPLES = 1024, 64  # of one layer
LADDER, DEEP_SAMPLES = (64, 128, 256, 384), 64
LONGEST = 1.0  # the points are shortened to this norm: tails grow with the variance
MOST_SKEWNESS = 0.2
_POINTS = 3
BY_SIMULATION = (
    "means over random networks agree with k: the largest |z| (Student's, as that of a normal variable) is below a"
    f" bound that a right kernel exceeds with probability {LEVEL:g} (20 times that for the heaviest tails admitted)"
)


@dataclass(frozen=True)
class _State:
    """Kernel p, q, c of the features at (x, x), (y, y), (x, y), p q - c^2, and the tangent kernel at all three."""

    kernel: Triple
    Delta: float
    theta: Triple = (0.0, 0.0, 0.0)


def quadrature(subject: Subject, points: Points) -> Measured:
    """Measure what `BY_QUADRATURE` requires."""
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


def _at_level(
    truth: Truth, x: np.ndarray, y: np.ndarray, level: int, visit: Callable[[Any, float], None] = lambda *_: None
) -> tuple[float, float]:
    """Return the two at one level of the rules; `visit(activation, variance at x)` is called before expectations."""
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
        visit(layer.activation, inner.kernel[0])
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


def simulation(subject: Subject, points: Points, seed: int) -> Measured:
    """Measure what `BY_SIMULATION` requires."""
    truth = subject.truth
    if truth is None:
        raise NotApplicable(subject.reasons["truth"])
    general = points.general[-_POINTS:]
    lengths = np.linalg.norm(general, axis=1, keepdims=True)
    shorter = general / np.maximum(lengths, np.finfo(float).tiny) * np.minimum(lengths, LONGEST)
    shorter = subject.rounded(shorter * np.linspace(0.6, 1.0, len(shorter))[:, None])
    deep = len(truth.mlp.layers) > 1
    _require_light_tails(truth, shorter, LADDER[0] * DEEP_SAMPLES if deep else WIDTH * SAMPLES)
    theory = subject.gram(shorter, None)
    widths, samples = (LADDER, DEEP_SAMPLES) if deep else ((WIDTH,), SAMPLES)
    means, errors = [], []
    for number, width in enumerate(widths):
        seeds = np.random.SeedSequence((seed, number)).generate_state(samples, np.uint32)
        grams = np.stack(list(_grams(truth, shorter, width, seeds)))
        means.append(grams.mean(axis=0))
        errors.append(grams.std(axis=0, ddof=1) / np.sqrt(samples))
    return _verdict(theory, np.array(means), np.array(errors), widths, samples)


def _verdict(
    theory: np.ndarray, means: np.ndarray, errors: np.ndarray, widths: tuple[int, ...], samples: int
) -> Measured:
    """Return 1 - adjusted p, its bound, and the largest z; means and errors are (widths, N, N)."""
    from infgeo.validation.inference import extrapolate, student_p  # the package around it loads torch

    p_values, largest, where = [], 0.0, (0, 0)
    for at in combinations_with_replacement(range(len(theory)), 2):
        mean, error = means[(slice(None), *at)], errors[(slice(None), *at)]
        value, freedom = mean[-1], samples - 1.0
        sigma = error[-1]
        if len(widths) > 1 and (error > 0).all():
            fit = extrapolate(widths, mean, error, np.full(len(widths), samples - 1.0))
            value, sigma, freedom = fit.coefficients[0], fit.errors[0], fit.degrees_of_freedom[0]
        norm = float(np.sqrt(abs(theory[at[0], at[0]] * theory[at[1], at[1]])))
        # The same in every network, as 0 is for opposite points of one dimension: rounding is left.
        sigma = max(sigma, 1e-12 * max(norm, np.finfo(float).tiny))
        z = float((theory[at] - value) / sigma)
        p_values.append(student_p(z, float(freedom)))
        if not abs(z) <= abs(largest):
            largest, where = z, at
    count, i, j = len(p_values), *where
    note = f"{count} pairs of points, largest z = {largest:+.2f} at ({i}, {j}), k = {theory[i, j]:.6g}"
    # Bonferroni's bound, on the scale of a normal variable.
    return float(-special.ndtri(min(p_values) / 2)), float(-special.ndtri(LEVEL / count / 2)), note


def _require_light_tails(truth: Truth, points: np.ndarray, units: int) -> None:
    """Raise NotApplicable where means over `units` of phi^2 or phi'^2 are too skewed for Student's t."""

    def check(activation: Any, v: float) -> None:
        function = PiecewiseFunction(activation, truth.own)
        for order in (0, 1) if truth.kind == "ntk" else (0,):
            skewness = _skewness(function, v, order) / np.sqrt(units)
            if not skewness <= MOST_SKEWNESS:
                raise NotApplicable(
                    f"the mean of {units} values of phi{chr(39) * order}(z)^2 at variance {v:.3g} has a skewness of"
                    f" {skewness:.2g}, too much for Student's t (at most {MOST_SKEWNESS}): pass smaller scales"
                )

    longest = points[np.square(points).sum(axis=1).argmax()]
    try:
        _at_level(truth, longest, longest, 1, check)
    except InfgeoError as error:
        raise NotApplicable(str(error)) from None


def _skewness(function: PiecewiseFunction, v: float, order: int) -> float:
    """Return the skewness of f(z)^2, z ~ N(0, v), by the trapezoidal rule; inf where it is not finite."""
    t = np.linspace(-30.0, 30.0, 12002)
    w = np.exp(-t * t / 2) * (t[1] - t[0]) / np.sqrt(2 * np.pi)
    with np.errstate(all="ignore"):
        square = np.square(function(np.sqrt(v) * t, order))
        parts = [np.where(w > 0, square**k * w, 0.0) for k in (1, 2, 3)]
        first, second, third = (part.sum() for part in parts)
        variance = second - first**2
        if not np.isfinite(third):
            return np.inf
        if variance <= 1e-12 * second:
            return 0.0
        skewness = abs(third - 3 * first * second + 2 * first**3) / variance**1.5
    at_the_edge = parts[2][[0, -1]].max() > 1e-6 * third
    return np.inf if at_the_edge else float(skewness)


def _grams(truth: Truth, points: np.ndarray, width: int, seeds: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the kernel of one random network after the other, (N, N)."""
    import torch

    from infgeo.finite import sample_network

    x = torch.from_numpy(points)
    options: dict[str, Any] = {"parameters": truth.own, **truth.scales}
    for seed in seeds:
        network = sample_network(truth.mlp, points.shape[1], width, int(seed), **options)
        if truth.kind == "ntk":
            yield tangent_gram(network, truth, x, int(seed)).numpy()
            continue
        with torch.no_grad():
            features = network(x)
            yield (features @ features.T).numpy()


def tangent_gram(network: Any, truth: Truth, x: torch.Tensor, seed: int) -> torch.Tensor:
    """Return the tangent kernel of f(x) = a . Phi(x), a ~ N(0, I), for all parameters in NTK parametrisation.

    A parameter of standard deviation s is s times a standard normal one, whose derivative is s times the parameter's.
    """
    import torch

    generator = torch.Generator().manual_seed(seed ^ 0x5EED)
    features = network(x)
    readout = torch.randn(network.width, generator=generator, dtype=torch.float64)
    scales = _deviations(network, bool(truth.mlp.input_scale))
    parameters = list(scales)
    rows = []
    for value in features @ readout:
        derivatives = torch.autograd.grad(value, parameters, retain_graph=True)
        rows.append(torch.cat([scales[p] * part.flatten() for p, part in zip(parameters, derivatives, strict=True)]))
    jacobian = torch.stack(rows)
    return (features @ features.T).detach() + jacobian @ jacobian.T


def _deviations(network: Any, fan_in_scale: bool) -> dict[torch.Tensor, float]:
    scales: dict[torch.Tensor, float] = {}
    readouts = iter(network.readouts)
    with_weights = [layer for layer in network.layers if layer.activation is not None]
    for i, (layer, weight, bias) in enumerate(zip(with_weights, network.weights, network.biases, strict=True)):
        numbers = dict(layer.scales)
        fan_in = weight.shape[1] if i > 0 or fan_in_scale else 1
        scales[weight], scales[bias] = numbers["weight_std"] / fan_in**0.5, numbers["bias_std"]
        if layer.kind == "residual":
            scales[next(readouts)] = network.width**-0.5
    return scales
