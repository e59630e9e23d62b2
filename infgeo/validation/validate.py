"""`infgeo.validate`: the closed forms of a network against simulated networks of finite width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from types import NoneType

from numpy.typing import ArrayLike

from infgeo.arguments import function, instance, values_by_name
from infgeo.errors import InvalidInput
from infgeo.numeric.learned.geometry import LearnedGeometry
from infgeo.symbolic.networks.network import MLP
from infgeo.validation.design import LEVEL, designed
from infgeo.validation.learned import validate_learned
from infgeo.validation.report import ValidationReport, reported
from infgeo.validation.simulate import simulate


def validate(
    mlp: MLP | LearnedGeometry,
    input_dim: int | None = None,
    points: ArrayLike | None = None,
    *,
    weight_std: float | Sequence[float] | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] | None = None,
    widths: Iterable[int] | None = None,
    samples: int | None = None,
    seed: int = 0,
    quantities: Iterable[str] | None = None,
    level: float = LEVEL,
    against: MLP | None = None,
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
    formula would have been seen. The verdict is Holm's: the probability that a correct theory fails any check is at
    most `level`, as far as the means are normal; with 8 networks at each width, where the degrees of freedom of the
    extrapolation (Welch and Satterthwaite) are too rough for the tails, at most about 3 times that.

    Of a learned geometry (`infgeo.learned`) n times the shifts of metric, kernel, log volume element and R are compared
    with those of networks: the posterior by importance sampling, of which the report has the effective number of
    networks, or by Hamiltonian Monte Carlo where fewer than 100 are left; simulated steps of gradient descent, or
    gradient flow. They are extrapolated as above, for the remainder falls as 1/n. Of several layers the shifts of each
    are compared, without R.

    Args:
        mlp: an `infgeo.MLP`, or what `infgeo.learned` returns; that takes points, widths, samples (a multiple of 16
            networks), seed, level and progress.
        input_dim: d >= 1. At d = 1 there is no tangential eigenvalue and R = 0 exactly.
        points: inputs (N, d), floats; default 8 points with |x| from 0.3 to 4 in directions drawn from the seed.
        weight_std: sigma_w where `mlp` leaves it symbolic; default 1. Or one for each coordinate, see `MLP.numeric`;
            metric_radial and metric_tangential are then the metric along x and its mean across x, no eigenvalues.
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
    instance(executor, "executor", (Executor, NoneType), "a concurrent.futures.Executor or None")
    function(progress, "progress", "a callable (done, total)")
    instance(against, "against", (MLP, NoneType), "an infgeo.MLP or None")
    if isinstance(mlp, LearnedGeometry):
        others = (input_dim, weight_std, bias_std, parameters, quantities, against, executor)
        if any(other is not None for other in others) or budget != "default":
            raise InvalidInput("a learned geometry takes points, widths, samples, seed, level and progress alone")
        return validate_learned(mlp, points, widths, samples, seed, level, progress)
    if input_dim is None:
        raise InvalidInput("input_dim is missing; pass the dimension d of the inputs, such as input_dim=3")
    scales = {"weight_std": weight_std, "bias_std": bias_std, "parameters": values_by_name(parameters)}
    design = designed(mlp, input_dim, points, scales, widths, samples, seed, quantities, level, against, budget)
    return reported(design, simulate(design.simulation, design.widths, design.net_units, executor, progress))
