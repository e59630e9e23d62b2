"""Agreement with simulation: random networks of finite width, means over independent ones, Student's t.

One layer has the expectation k(x, y) at every width. At more layers the means carry a bias b/n + c/n^2, and the
extrapolation of `infgeo.validate` over a ladder of widths is compared. Tangent kernels are those of the parameters'
derivatives by backpropagation, in NTK parametrisation, with a random readout.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from infgeo.errors import InfgeoError, MissingExtra
from infgeo.numeric.quadrature.gaussian_rules import diagonal
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.symbolic.networks.layers import Residual, RMSNorm
from infgeo.testing.kernel_points import Points
from infgeo.testing.outcome import Measured, NotApplicable
from infgeo.testing.subject import Subject, Truth

if TYPE_CHECKING:
    import torch

LEVEL = 1e-4
WIDTH, SAMPLES = 1024, 64  # of one layer
LADDER, DEEP_SAMPLES = (64, 128, 256, 384), 64
LONGEST = 1.0  # the points are shortened to this norm: tails grow with the variance
MOST_SKEWNESS = 0.2
_POINTS = 3


AGREES = (
    "means over random networks agree with k: the largest |z| (Student's, as that of a normal variable) is below a"
    f" bound that a right kernel exceeds with probability {LEVEL:g} (20 times that for the heaviest tails admitted)"
)


def simulation(subject: Subject, points: Points, seed: int) -> Measured:
    """Measure what `AGREES` requires."""
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
    mlp, number = truth.mlp, truth.number
    f, scale = float(np.square(points).sum(axis=1).max()), 1.0 / points.shape[1] if mlp.input_scale else 1.0
    for i, layer in enumerate(mlp.layers):
        if isinstance(layer, RMSNorm):
            unit = points.shape[1] if i == 0 else 1
            f = unit * f / (f + unit * number(layer.epsilon))
            continue
        v = number(layer.bias_std) ** 2 + scale * number(layer.weight_std) ** 2 * f
        scale = 1.0
        function = PiecewiseFunction(layer.activation, truth.own)
        for order in (0, 1) if truth.kind == "ntk" else (0,):
            skewness = _skewness(function, v, order) / np.sqrt(units)
            if not skewness <= MOST_SKEWNESS:
                raise NotApplicable(
                    f"the mean of {units} values of phi{chr(39) * order}(z)^2 at variance {v:.3g} has a skewness of"
                    f" {skewness:.2g}, too much for Student's t (at most {MOST_SKEWNESS}): pass smaller scales"
                )
        try:
            m = diagonal(function, v, 1)
        except InfgeoError as error:
            raise NotApplicable(str(error)) from None
        if isinstance(layer, Residual):
            m = number(layer.skip) ** 2 * f + number(layer.branch) ** 2 * m
        f = m


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
    try:
        import torch
    except ImportError as error:  # pragma: no cover
        raise MissingExtra("simulation", "torch") from error
    from infgeo.finite import sample_network

    x = torch.from_numpy(points)
    for seed in seeds:
        network = sample_network(
            truth.mlp,
            points.shape[1],
            width,
            int(seed),
            parameters=truth.own or None,
            **truth.scales,  # type: ignore[arg-type]
        )
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
