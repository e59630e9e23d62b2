"""The first stage of a validation: what is compared, where, at which widths and with how many networks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from infgeo.arguments import fraction, one_of, positive_integer, positive_integers, seed_integer, words
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite.inputs import as_points, point_shape
from infgeo.finite.sampled_network import NetworkSpecification, specify
from infgeo.symbolic.networks.network import MLP
from infgeo.validation.comparison import LOG_NORMAL, UNBIASED_AT_ONE_LAYER
from infgeo.validation.predicted import Predicted
from infgeo.validation.simulate import MOST_NET_DIMENSIONS, NET_QUANTITIES, Simulation
from infgeo.validation.theory import Theory, theory_at

LEVEL = 1e-3
RADII = (0.3, 4.0, 8)  # first, last, number: from the nearly linear to the saturated regime at unit scales
FEWEST_SAMPLES = 24  # where their number is not given
# Networks, and units of a Sobol net, relative to the default: the budget, never the test.
BUDGETS = {"quick": (0.1, 2**12), "default": (1.0, 2**15), "thorough": (40.0, 2**17)}


@dataclass(frozen=True, eq=False)
class Design:
    """A validation before it runs: the theory's numbers, and what is to be simulated.

    `widths` is the ladder, `net_units` the units of the Sobol nets (0: no nets), `notes` what is left out and why.
    """

    mlp: MLP
    against: MLP | None
    specification: NetworkSpecification
    theory: Theory
    predicted: Predicted | None
    simulation: Simulation
    widths: tuple[int, ...]
    net_units: int
    level: float
    budget: str
    default_points: bool
    notes: Sequence[str]

    @property
    def points(self) -> np.ndarray:
        """The inputs (N, d)."""
        return self.simulation.points

    @property
    def radii(self) -> list[float]:
        """The norm of every input."""
        return [math.hypot(*point) for point in self.points]

    @property
    def layers(self) -> int:
        """The number of layers. A norm counts: with one after it, one layer of weights is no mean over units."""
        return len(self.mlp.layers)


def designed(
    mlp: MLP,
    input_dim: int,
    points: ArrayLike | None,
    scales: Mapping[str, Any],
    widths: Iterable[int] | None,
    samples: int | None,
    seed: int,
    quantities: Iterable[str] | None,
    level: float,
    against: MLP | None,
    budget: str,
) -> Design:
    """Return the design of a validation, with everything that is not given chosen; see `validate` for the arguments."""
    d = positive_integer(input_dim, "input_dim", maximum=10**6)
    seed = seed_integer(seed, 63)
    level = fraction(level, "level")
    x = default_points(d, seed) if points is None else checked_points(points, d)
    factor, units = BUDGETS[one_of(budget, "budget", BUDGETS)]
    specification = specify(mlp, **scales)
    other = specification if against is None else specify(against, **scales)
    if (other.depth, other.has_equal_layers) != (specification.depth, specification.has_equal_layers):
        raise InvalidInput(f"against is {against}, of another shape than {mlp}; pass a network of as many equal layers")
    theory, notes = _theory(mlp, x, scales, specification, quantities)
    layers, has_metric = len(mlp.layers), theory.has_metric
    chosen = default_widths(d, layers) if widths is None else checked_widths(widths, d, has_metric)
    curved = d > 1 and not specification.piecewise_linear
    unbiased = layers == 1 and set(theory.values) & set(UNBIASED_AT_ONE_LAYER)
    if len(chosen) < 3 and not unbiased and (curved or set(theory.values) != {"ricci_scalar"}):
        raise InvalidInput(
            f"widths is {chosen}: all that is compared here is biased at finite width and must be extrapolated;"
            f" pass three widths or more, for example widths={default_widths(d, layers)}"
        )
    reason = _no_curvature(mlp, d, chosen if curved and widths is None else ())
    if reason and "ricci_scalar" in theory.values:
        if quantities is not None:
            raise InvalidInput(f"ricci_scalar is asked for, but {reason}")
        theory = replace(theory, values={name: v for name, v in theory.values.items() if name != "ricci_scalar"})
        notes.append(f"the Ricci scalar is left out: {reason}")
    if samples is None:
        with_curvature = curved and "ricci_scalar" in theory.values
        count = max(round(factor * default_samples(d, layers, chosen, len(x), with_curvature)), FEWEST_SAMPLES)
    else:
        count = positive_integer(samples, "samples", 8, "the spread between networks is taken from batches of them")
    predicted = Predicted(mlp, specification, x) if has_metric else None
    if predicted is not None and predicted.reason:
        notes.append(predicted.reason)
    measured = set(theory.values)
    if measured & set(LOG_NORMAL):
        measured.add("log_volume_element")
    if predicted is not None and predicted.compares_metric and measured - {"kernel"}:
        measured.add("metric")
    given = widths is not None or samples is not None
    has_nets = bool(predicted) and set(theory.values) & set(NET_QUANTITIES) and d <= MOST_NET_DIMENSIONS and not given
    simulated = mlp if against is None else against
    network = SimpleNamespace(layers=simulated.layers, input_scale=simulated.input_scale)
    simulation = Simulation(network, x, count, seed, tuple(sorted(measured)), scales)
    nets = units if has_nets else 0
    return Design(
        mlp, against, specification, theory, predicted, simulation, chosen, nets, level, budget, points is None, notes
    )


def default_points(input_dim: int, seed: int) -> np.ndarray:
    """Return 8 points (8, d) with |x| in geometric progression from 0.3 to 4, in directions drawn from the seed."""
    directions = np.random.default_rng(seed).standard_normal((RADII[2], input_dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * np.geomspace(*RADII)[:, None]


def checked_points(points: ArrayLike, input_dim: int) -> np.ndarray:
    """Return points as an array (N, d) of float64, or raise InvalidInput."""
    given = as_points(points, "points")
    point_shape(given, None, input_dim, "points")
    array = given.to(device="cpu").double().numpy()
    if array.ndim != 2 or len(array) == 0:
        raise InvalidInput(f"points has shape {array.shape}; pass at least one point, as an array (N, {input_dim})")
    return np.ascontiguousarray(array)


def _theory(
    mlp: MLP,
    points: np.ndarray,
    scales: Mapping[str, Any],
    specification: NetworkSpecification,
    quantities: Iterable[str] | None,
) -> tuple[Theory, list[str]]:
    """Return the theory's numbers for the quantities asked for, and why others are missing."""
    try:
        theory = theory_at(mlp.numeric(**scales), points, specification.coordinate_scales is None)
    except OverflowError:
        raise InvalidInput(
            f"weight_std is {specification.coordinate_scales or specification.weight_std} and bias_std is"
            f" {specification.bias_std}: the closed forms exceed the range of floats; pass scales nearer to 1"
        ) from None
    notes = [f"only the kernel is compared: {theory.missing}"] if theory.missing else []
    if quantities is None:
        return theory, notes
    names = words(quantities, "quantities", theory.values)
    return replace(theory, values={name: v for name, v in theory.values.items() if name in names}), notes


def _no_curvature(mlp: MLP, input_dim: int, widths: tuple[int, ...]) -> str:
    """Return why R of networks of finite width is not that of the limit, or these widths are too narrow for it, or "".

    Where phi' jumps, and phi is not a multiple of |z| and z, their metric jumps at creases, where each unit has its
    kink. The metric of the limit is smooth and has the curvature of the creases too, which no point of a network sees.
    """
    for layer in mlp.with_weights:
        activation = layer.activation
        if activation.kinks and activation.smoothness == 0 and activation.homogeneity != 1:
            return (
                f"the slope of {activation.name} jumps, so that networks of finite width have part of their curvature"
                " in creases, between the points"
            )
    least = 4 * input_dim**2
    if not widths or widths[0] >= least:
        return ""
    return (
        f"its expansion in 1/n needs n >> d^2 = {input_dim**2}, and the default widths start at {widths[0]}; pass"
        f" widths from 4 d^2 = {least} on, for example widths={tuple(least * 2**k for k in range(len(widths)))}"
    )


def default_widths(input_dim: int, depth: int) -> tuple[int, ...]:
    """Return a ladder of widths, each twice the one before.

    The expansion in 1/n has terms (d^2/n)^k: the ladder starts near 12 d^2, and not below 64. For the sake of the time
    it takes, the start is at most 2048 (d > 13), or 512 for deep networks, whose cost goes with n^2; but at least 4 d.
    """
    start = min(12 * input_dim**2, max(2048 if depth == 1 else 512, 4 * input_dim))
    first = 64
    while first < start:
        first *= 2
    rungs = 5 if depth > 1 else 6 if input_dim <= 4 else 4
    return tuple(first * 2**k for k in range(rungs))


def checked_widths(widths: Iterable[Any], input_dim: int, metric: bool) -> tuple[int, ...]:
    """Return the widths in increasing order; raises for what is no width, and SingularMetric for width < d."""
    result = tuple(sorted(set(positive_integers(widths, "widths"))))
    if not result:
        raise InvalidInput("widths is empty; pass a sequence of integers, for example (128, 256, 512)")
    if metric and result[0] < input_dim:
        raise SingularMetric(
            f"width {result[0]} < input dimension {input_dim}: the metric of such a network is singular everywhere; "
            f"use widths >= {input_dim}, and far above {input_dim**2} for the curvature"
        )
    return result


def default_samples(input_dim: int, depth: int, widths: tuple[int, ...], points: int, curvature: bool) -> int:
    """Return the number of networks at each width, from a rough model of the time they take (never from a clock).

    About 30 s on one core, and at most 2500 networks: then R of a one-layer network is known to a few parts in 1000.
    """
    d = input_dim
    pairs, triples = d * (d + 1) / 2, d * (d + 1) * (d + 2) / 6
    if depth == 1:
        # microseconds: the calls, the monomials of the weights, and their products with functions of the points
        costs = [700 + n * (pairs * 6e-3 + (triples * (3e-3 + 5e-5 * points) if curvature else 0)) for n in widths]
    else:
        costs = [1000 + n * n * (0.02 + 1e-4 * points * (1 + d + pairs) * (depth - 1)) for n in widths]
    return int(min(2500, max(24, 30e6 / sum(costs))))
