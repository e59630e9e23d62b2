"""`infgeo.validate`: the closed forms of a network against simulated networks of finite width."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from importlib.metadata import version
from typing import Any

import numpy as np
from sympy import latex

from infgeo import __version__
from infgeo.arguments import function, instance, positive_integer, real_number, seed_integer, words
from infgeo.errors import InvalidInput
from infgeo.finite.network import specify
from infgeo.interruption import termination_as_interrupt
from infgeo.results import Comparison, Trend, ValidationReport
from infgeo.validation import comparison, design
from infgeo.validation.detectable_error import power_of
from infgeo.validation.predicted import Predicted, error_trend, measured, metric_trends, slope_trend
from infgeo.validation.simulation import Pooled, Simulation, run_width
from infgeo.validation.sobol_nets import MOST_DIMENSIONS, NETS, QUANTITIES, compare_nets
from infgeo.validation.theory import Theory, radial_curve, theory_at

LEVEL = 1e-3
CURVE_POINTS = 121


def validate(
    mlp: Any,
    input_dim: int,
    points: Any = None,
    *,
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] | None = None,
    widths: Iterable[int] | None = None,
    samples: int | None = None,
    seed: int = 0,
    quantities: Iterable[str] | None = None,
    level: float = LEVEL,
    against: Any = None,
    budget: str = "default",
    executor: Executor | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ValidationReport:
    """Compare the geometry of `mlp` at infinite width with that of sampled networks on a ladder of widths.

    The theory comes from `mlp.numeric`, the simulation from `infgeo.finite.estimate`; they share no formula. Compared
    are the kernel (Gram matrix), the eigenvalues of the metric (radial A + s B, tangential A), the mean of det g, the
    volume element sqrt(det g) and its log, and the Ricci scalar (positive on spheres).

    One layer: kernel, metric and det g have exact expectations at every width n, the last one
    n(n - 1)...(n - d + 1)/n^d det g_inf; they are compared at every width, z = (estimate - theory)/standard error.
    All else has a bias b/n + c/n^2 + ...: the means y_n are fitted by weighted least squares, weights n (the variance
    falls as 1/n),

        y_n = y_inf + b/n + c/n^2        (no c below four widths; for the volume element, of log mean)

    and y_inf is compared, with the standard error propagated; chi^2 of each fit is a check of its own. So are the
    exponents of n in the spread between networks (-1/2; but for kernel and metric of one layer with terms in 1/n, and
    without the points where it falls as 1/n on the whole ladder) and, where it is resolved, in the bias (-1). p-values
    are two-sided, Student's t.

    For one layer theory also predicts what finite width does (`infgeo.numeric.quadrature.one_layer`): the measured b
    of b/n is compared with the prediction, the spread between networks with the exact one, and the metric as a whole,
    by chi^2 with the known covariance of its entries. With the default widths and samples, what is biased is also
    compared with means over Sobol nets, which are nearly of infinite width. `report.power` says how small an error of a
    formula
    would have been seen. The verdict is Holm's: the probability that a correct theory fails any check is at most
    `level`, as far as the means are normal; with 8 networks at each width, where the degrees of freedom of the
    extrapolation (Welch and Satterthwaite) are too rough for the tails, at most about 3 times that.

    Args:
        mlp: an `infgeo.MLP`.
        input_dim: d >= 1. At d = 1 there is no tangential eigenvalue and R = 0 exactly.
        points: inputs (N, d), floats; default 8 points with |x| from 0.3 to 4 in directions drawn from the seed.
        weight_std: sigma_w where `mlp` leaves it symbolic; default 1.
        bias_std: sigma_b where `mlp` leaves it symbolic; default 1.
        parameters: values of the activation's own parameters.
        widths: the ladder; three or more for the quantities that are extrapolated. The expansion needs n >> d^2.
        samples: number of networks at each width, at least 8.
        seed: of points and networks, 0 <= seed < 2^63. The same seed gives the same report, with any executor.
        quantities: names of what is compared (those of `infgeo.finite.FiniteEstimates`, without "metric"); default all,
            where the default widths allow for it: not ricci_scalar at d > 22 (d > 11 for deep networks).
        level: family-wise error level of the verdict.
        against: another network to simulate in place of `mlp`, with the same scales and parameters: what a wrong theory
            looks like. It must be of the same depth.
        budget: "quick", "default" or "thorough" (0.1, 1 and 40 times the networks): how small an error is seen, where
            `samples` is not given.
        executor: any concurrent.futures.Executor; by default the networks are simulated here, one by one.
        progress: called as progress(done, total), in networks.

    Returns:
        A `ValidationReport`: `.passed`, `.table()`, `.to_json()`, `.plot(path)`. After Ctrl-C or SIGTERM it has the
        widths completed so far, and `.partial` is True. A metric that does not exist is left out, with a note.

    Raises:
        InvalidInput: for an argument outside its domain, by name; for ricci_scalar among `quantities` without `widths`
            where the default ones are too narrow.
        SingularMetric: for a width below d, or a network whose metric loses rank at a point.
        NoClosedForm: the kernel has no closed form to compare with.

    Source: arXiv 2301.11375, section 3, for the quantities.
    """
    d = positive_integer(input_dim, "input_dim", maximum=10**6)
    if executor is not None:
        instance(executor, "executor", Executor, "a concurrent.futures.Executor or None")
    function(progress, "progress", "a callable (done, total)")
    seed = seed_integer(seed, 63)
    level = real_number(level, "level", minimum=0.0, strict=True)
    if level >= 1:
        raise InvalidInput(f"level is {level}; pass a probability below 1, for example {LEVEL}")
    x = design.default_points(d, seed) if points is None else design.checked_points(points, d)
    factor, units = design.checked_budget(budget)
    simulated = mlp if against is None else against
    specification = specify(mlp, weight_std, bias_std, parameters)
    other = specification if against is None else specify(against, weight_std, bias_std, parameters)
    if other.depth != specification.depth or bool(other.layers) != bool(specification.layers):
        raise InvalidInput(f"against is {against}, of another shape than {mlp}; pass a network of as many equal layers")
    geometry = mlp.numeric(weight_std=weight_std, bias_std=bias_std, parameters=parameters)
    try:
        values = theory_at(mlp, geometry, x)
    except OverflowError:
        raise InvalidInput(
            f"weight_std is {specification.weight_std} and bias_std is {specification.bias_std}: the closed forms"
            " exceed the range of floats; pass scales nearer to 1"
        ) from None
    theory, notes = _select(values, quantities)
    has_metric = len(theory.values) > 1 or "kernel" not in theory.values
    layers = len(mlp.layers)  # a norm counts: with one after it, one layer of weights is no mean over units
    ladder = design.default_widths(d, layers) if widths is None else design.checked_widths(widths, d, has_metric)
    unbiased = layers == 1 and set(theory.values) & set(comparison.UNBIASED_AT_ONE_LAYER)
    flat = (d == 1 or specification.piecewise_linear) and set(theory.values) == {"ricci_scalar"}
    if len(ladder) < 3 and not unbiased and not flat:
        raise InvalidInput(
            f"widths is {ladder}: all that is compared here is biased at finite width and must be extrapolated;"
            f" pass three widths or more, for example widths={design.default_widths(d, layers)}"
        )
    curved = d > 1 and not specification.piecewise_linear
    if curved and "ricci_scalar" in theory.values and widths is None and ladder[0] < 4 * d**2:
        reason = f"its expansion in 1/n needs n >> d^2 = {d**2}, and the default widths start at {ladder[0]}"
        if quantities is not None:
            raise InvalidInput(
                f"ricci_scalar is asked for, but {reason}; pass widths from 4 d^2 = {4 * d**2} on, for example"
                f" widths={tuple(4 * d**2 * 2**k for k in range(len(ladder)))}"
            )
        theory = Theory(
            {name: v for name, v in theory.values.items() if name != "ricci_scalar"}, theory.missing, theory.metric
        )
        notes.append(f"the Ricci scalar is left out: {reason}; pass wider ones to compare it")
    nets = 0 if widths is not None or samples is not None else units
    if samples is None:
        samples = round(
            factor * design.default_samples(d, layers, ladder, len(x), curved and "ricci_scalar" in theory.values)
        )
        samples = max(samples, 24)
    count = positive_integer(samples, "samples", 8, "the spread between networks is taken from batches of them")
    wanted = set(theory.values)
    if wanted & set(comparison.LOG_NORMAL):
        wanted.add("log_volume_element")
    predicted = Predicted(mlp, specification, x) if has_metric else None
    if predicted is not None and predicted.reason:
        notes.append(predicted.reason)
    if predicted is not None and predicted.compares_metric and wanted - {"kernel"}:
        wanted.add("metric")
    simulation = Simulation.of(
        simulated,
        x,
        count,
        seed,
        tuple(sorted(wanted)),
        weight_std=weight_std,
        bias_std=bias_std,
        parameters=dict(parameters or {}),
    )
    radii = [math.hypot(*point) for point in x]
    biased = set(theory.values) & set(QUANTITIES)
    if not predicted or not biased or d > MOST_DIMENSIONS:
        nets = 0

    def run_nets(advance: Callable[[int], object]) -> list[Comparison]:
        return compare_nets(simulation, theory, radii, nets, executor, advance) if nets else []

    pooled, rows_of_nets, partial = _simulate(simulation, ladder, executor, progress, run_nets, NETS if nets else 0)
    if partial:
        notes.append(f"interrupted: {len(pooled)} of {len(ladder)} widths done")
    for quantity in sorted(set(theory.values) & set(comparison.LOG_NORMAL)):
        if dropped := sorted(set(pooled) - set(comparison.usable(quantity, pooled))):
            at = ", ".join(map(str, dropped))
            notes.append(f"{quantity} is left out at n = {at}: too skewed for a mean over {count} networks")
    if has_metric and len(pooled) < 3:
        notes.append(
            "fewer than three widths: nothing is extrapolated, only what is unbiased at every width is compared"
        )
    if has_metric and len(pooled) == 3:
        notes.append("three widths: extrapolated with the term b/n alone; a fourth width allows for c/n^2")
    rows, trends, adjusted, measurements = _judge(theory, pooled, x, layers, level, predicted, rows_of_nets)
    plain = not specification.layers
    configuration = {
        "network": str(mlp),
        "against": None if against is None else str(against),
        "activation": str(mlp.activation.expr) if plain else "",
        "activation_latex": latex(mlp.activation.expr) if plain else "",
        "depth": mlp.depth,
        "input_dim": d,
        "weight_std": specification.weight_std,
        "bias_std": specification.bias_std,
        "input_scale": getattr(mlp, "input_scale", None),
        "parameters": dict(parameters or {}),
        "widths": ladder,
        "samples": count,
        "budget": budget,
        "units_of_nets": nets,
        "seed": seed,
        "sampler": "iid",
        "default_points": points is None,
        "verdict": f"Holm's procedure over all checks with a p-value, family-wise level {level:g}; Student's t",
        "versions": {"infgeo": __version__, "python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "scipy", "sympy", "torch")},
    }
    return ValidationReport(
        configuration=configuration,
        points=tuple(tuple(float(v) for v in point) for point in x),
        rows=rows,
        trends=trends,
        measurements=measurements,
        curve=_curve(geometry, x) if has_metric else {},
        level=level,
        adjusted_p=adjusted,
        widths_done=tuple(sorted(pooled)),
        partial=partial,
        notes=tuple(notes),
        power=power_of(rows),
    )


def _select(theory: Theory, quantities: Iterable[str] | None) -> tuple[Theory, list[str]]:
    """Keep the quantities asked for; say why what the network does not have is missing."""
    notes = [f"only the kernel is compared: {theory.missing}"] if theory.missing else []
    if quantities is None:
        return theory, notes
    names = words(quantities, "quantities", theory.values)
    return Theory(
        {name: value for name, value in theory.values.items() if name in names}, theory.missing, theory.metric
    ), notes


def _simulate(
    simulation: Simulation,
    widths: tuple[int, ...],
    executor: Executor | None,
    progress: Callable[[int, int], object] | None,
    run_nets: Callable[[Callable[[int], object]], list[Comparison]],
    nets: int,
) -> tuple[dict[int, dict[str, Pooled]], list[Comparison], bool]:
    """Run the widths from narrow to wide, then the nets; an interrupt keeps the widths that are complete."""
    total = simulation.samples * len(widths) + nets
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    pooled: dict[int, dict[str, Pooled]] = {}
    try:
        with termination_as_interrupt():
            for width in widths:
                pooled[width] = run_width(simulation, width, executor, advance)
            return pooled, run_nets(advance), False
    except KeyboardInterrupt:
        return pooled, [], True


def _judge(
    theory: Theory,
    pooled: dict[int, dict[str, Pooled]],
    points: np.ndarray,
    depth: int,
    level: float,
    predicted: Predicted | None,
    rows_of_nets: list[Comparison],
) -> tuple[tuple[Comparison, ...], tuple[Trend, ...], float | None, Any]:
    if not pooled:
        return (), (), None, ()
    d = points.shape[1]
    series = comparison.series_of(theory, pooled, d, depth)
    radii = [math.hypot(*point) for point in points]
    rows: list[Comparison] = []
    trends: list[Trend] = []
    if predicted and theory.metric is not None:
        trends += metric_trends(theory.metric, pooled, predicted)
    for quantity in theory.values:
        unbiased = depth == 1 and quantity in comparison.UNBIASED_AT_ONE_LAYER
        own = [one for one in series if one.quantity == quantity]
        for one in own:
            more_rows, more_trends = comparison.compare(one, radii[one.point], unbiased)
            rows += more_rows
            trends += more_trends
            if predicted and not unbiased and (slope := slope_trend(one, predicted)) is not None:
                trends.append(slope)
        rows += [row for row in rows_of_nets if row.quantity == quantity]
        if not any(one.is_random for one in own):
            continue
        candidates = [comparison.spread_trend(quantity, pooled, depth)]
        if predicted:
            candidates.append(error_trend(quantity, pooled, predicted))
        if not unbiased and len(own[0].widths) >= 3:
            candidates.append(comparison.bias_trend(own))
        trends += [trend for trend in candidates if trend is not None]
    judged_rows, judged_trends, adjusted = comparison.verdict(rows, trends, level)
    measurements = comparison.measurements_of(series)
    return judged_rows, judged_trends, adjusted, measured(measurements, predicted) if predicted else measurements


def _curve(geometry: Any, points: np.ndarray) -> dict[str, tuple[float, ...]]:
    radii = np.linalg.norm(points, axis=1)
    positive = radii[radii > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (0.1, 1.0)
    return radial_curve(geometry, np.geomspace(0.8 * low, 1.25 * high, CURVE_POINTS), points.shape[1])
