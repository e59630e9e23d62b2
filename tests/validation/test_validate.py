import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sympy import Rational, Symbol, sign

import infgeo
from infgeo.errors import InfgeoError, InvalidInput, SingularMetric
from infgeo.finite.running_mean import Estimate
from infgeo.validation import batches as simulation
from infgeo.validation import comparison, design, inference, ladder, theory
from infgeo.validation.theory import log_determinant_factor

WIDTHS = (64, 128, 256, 512, 1024)
ERF = infgeo.MLP("erf")


def quick(mlp=ERF, input_dim=2, **arguments):
    return infgeo.validate(mlp, input_dim, **{"widths": WIDTHS, "samples": 400} | arguments)


@pytest.fixture(scope="module")
def erf_report():
    return quick()


@pytest.fixture
def remembered(monkeypatch):
    """Simulate once for all tests that change the theory only."""
    module = __import__("infgeo.validation.simulate", fromlist=["run_width"])
    original = module.run_width

    def run_width(run, width, executor, advance):
        key = (str(run.network), run.points.tobytes(), run.samples, run.seed, run.quantities, str(run.scales), width)
        if key not in MEMORY:
            MEMORY[key] = original(run, width, executor, advance)
        return MEMORY[key]

    monkeypatch.setattr(module, "run_width", run_width)


MEMORY: dict = {}


class WrongTheory:
    """A network whose closed forms are not those of what is simulated: `wrong` maps a name to a change of its value."""

    def __init__(self, mlp, **wrong):
        self.mlp, self.wrong = mlp, wrong

    def __getattr__(self, name):
        return getattr(self.mlp, name)

    def numeric(self, **arguments):
        geometry = self.mlp.numeric(**arguments)
        changed = {
            name: (lambda *x, f=f, name=name: f(getattr(geometry, name)(*x), *x)) for name, f in self.wrong.items()
        }
        names = ("kernel", "metric", "volume_element", "log_volume_element", "ricci_scalar")
        return SimpleNamespace(**{name: getattr(geometry, name) for name in names} | changed)


def failed_quantities(report):
    return {check.quantity for check in report.failures}


# What passes, and what is in the report.


def test_erf_passes_with_every_quantity(erf_report):
    assert erf_report.passed, erf_report.table()
    names = {"kernel", "metric_radial", "metric_tangential", "log_mean_det_metric"}
    at_widths = {row.quantity for row in erf_report.rows if row.width is not None}
    at_infinity = {row.quantity for row in erf_report.rows if row.width is None}
    assert at_widths == names
    assert at_infinity == {"volume_element", "log_volume_element", "ricci_scalar"}
    assert {t.kind for t in erf_report.trends} == {"spread", "bias", "fit", "slope", "error", "metric"}
    assert {row.width for row in erf_report.rows if row.quantity == "kernel"} == set(WIDTHS)
    assert len([row for row in erf_report.rows if row.quantity == "kernel"]) == len(WIDTHS) * 36


def test_z_and_p_are_what_they_are_said_to_be(erf_report):
    for row in erf_report.rows:
        if row.quantity in ("kernel", "ricci_scalar"):
            assert row.z == pytest.approx((row.estimate - row.theory) / row.standard_error)
        if row.width is not None:
            assert row.p == pytest.approx(2 * stats.t.sf(abs(row.z), 399), rel=1e-9)


def test_the_determinant_is_compared_with_its_exact_finite_width_value(erf_report):
    geometry = ERF.numeric()
    points = np.array(erf_report.points)
    for row in erf_report.rows:
        if row.quantity == "log_mean_det_metric":
            expected = 2 * geometry.log_volume_element(points[row.point]) + np.log((row.width - 1) / row.width)
            assert row.theory == pytest.approx(float(expected), rel=1e-12)


def test_the_report_repeats_with_the_seed_and_any_executor(erf_report):
    again = quick(executor=ThreadPoolExecutor(2))
    assert again.rows == erf_report.rows and again.trends == erf_report.trends
    assert quick(seed=1).rows != erf_report.rows


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", ["erf", "relu"])
def test_no_false_alarm(name, seed):
    report = quick(infgeo.MLP(name), 3 - seed % 2, seed=seed, samples=64, widths=(128, 256, 512, 1024))
    assert report.passed, report.table()


def test_a_spread_of_second_order_near_the_origin_is_no_failure():
    """Where the curvature vanishes its spread falls as 1/n, beyond the reach of a series in 1/n."""
    report = quick(infgeo.MLP("gaussian"), widths=(64, 128, 256, 512), samples=2000, quantities=["ricci_scalar"])
    assert report.passed, report.table()
    (spread,) = [trend for trend in report.trends if trend.kind == "spread"]
    assert spread.p is not None and "of 8 points" in spread.note


def test_two_layers_pass():
    report = quick(infgeo.MLP("erf", depth=2), widths=(64, 128, 256), samples=150)
    assert report.passed, report.table()
    assert all(row.width is None for row in report.rows)  # every statistic of a deep network is biased


def test_relu_is_exactly_flat():
    report = quick(infgeo.MLP("relu"), samples=64)
    rows = [row for row in report.rows if row.quantity == "ricci_scalar"]
    assert report.passed and len(rows) == 8
    assert all(row.theory == row.estimate == 0 and row.z is None and "piecewise linear" in row.note for row in rows)


def test_one_dimension_has_no_curvature_and_no_tangential_direction():
    report = quick(input_dim=1, samples=64)
    assert report.passed, report.table()
    assert "metric_tangential" not in {row.quantity for row in report.rows}
    assert all(row.z is None for row in report.rows if row.quantity == "ricci_scalar")


def test_without_a_metric_only_the_kernel_is_compared_and_the_report_says_why():
    report = quick(infgeo.MLP(sign(Symbol("z", real=True))), samples=64)
    assert report.passed, report.table()
    assert {row.quantity for row in report.rows} == {"kernel"}
    assert any("only the kernel is compared" in note for note in report.notes)
    assert "only the kernel is compared" in report.table()


def test_a_number_without_spread_is_compared_exactly():
    points = np.array([[0.0, 0.0], [1.0, 0.5]])
    report = quick(points=points, bias_std=0.0, samples=64, quantities=["kernel"])
    zero = [row for row in report.rows if row.point == 0]
    assert report.passed, report.table()
    assert {(row.theory, row.estimate, row.z) for row in zero} == {(0.0, 0.0, None)}


def test_points_of_ones_own_and_the_origin():
    points = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, -0.5], [1e-3, 0.0, 0.0]])
    report = quick(input_dim=3, points=points, weight_std=1.5, bias_std=0.5, samples=200, widths=(128, 256, 512, 1024))
    assert report.passed, report.table()
    assert report.points == tuple(map(tuple, points.tolist()))
    assert sorted({row.radius for row in report.rows}) == pytest.approx([0.0, 1e-3, 5.25**0.5])


def test_many_points_compare_the_diagonal_of_the_kernel_and_the_next_to_it():
    points = np.random.default_rng(0).normal(size=(12, 2))
    report = quick(points=points, samples=32, quantities=["kernel"])
    assert {(row.point, row.other) for row in report.rows} == {(i, j) for i in range(12) for j in (i, i + 1) if j < 12}


def test_scales_fixed_in_the_network_and_given_to_validate_are_the_same():
    fixed = quick(infgeo.MLP("erf", weight_std=0.5, bias_std=2), samples=32)
    given = quick(weight_std=0.5, bias_std=2.0, samples=32)
    assert [row.estimate for row in fixed.rows] == pytest.approx([row.estimate for row in given.rows], rel=1e-12)
    assert [row.theory for row in fixed.rows] == pytest.approx([row.theory for row in given.rows], rel=1e-12)


# What fails.


WRONG = {
    "R 5 % too large": (dict(ricci_scalar=lambda R, x: 1.05 * R), {"ricci_scalar"}),
    "R three times too large, as in a known implementation": (dict(ricci_scalar=lambda R, x: 3 * R), {"ricci_scalar"}),
    "R of the other sign": (dict(ricci_scalar=lambda R, x: -R), {"ricci_scalar"}),
    "B of the other sign": (dict(metric=lambda g, x: other_sign(g, x)), {"metric_radial"}),
    "volume element 2 % too large": (dict(volume_element=lambda v, x: 1.02 * v), {"volume_element"}),
    "log volume": (dict(log_volume_element=lambda v, x: v + 0.02), {"log_volume_element", "log_mean_det_metric"}),
    "kernel": (dict(kernel=lambda k, *x: 1.01 * k), {"kernel"}),
}  # fmt: skip


def other_sign(g, x):
    """A I - B x x^T from A I + B x x^T."""
    s = (x**2).sum(-1)
    radial = np.einsum("pi,pij,pj->p", x, g, x) / s
    tangential = (np.trace(g, axis1=1, axis2=2) - radial) / (x.shape[1] - 1)
    B = (radial - tangential) / s
    return g - 2 * B[:, None, None] * x[:, :, None] * x[:, None, :]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_theory_fails_by_name(name, remembered):
    changes, quantities = WRONG[name]
    report = quick(WrongTheory(ERF, **changes), samples=600)
    assert not report.passed
    assert quantities <= failed_quantities(report) <= quantities | {"metric_tangential", "metric"}, report.table()
    assert "FAILED" in report.table()


def test_another_bias_std_fails_everywhere(remembered):
    class Other(WrongTheory):
        def numeric(self, **arguments):
            return self.mlp.numeric(**arguments | {"bias_std": 1.1})

    report = quick(Other(ERF), samples=600)
    assert {"kernel", "metric_radial", "metric_tangential", "ricci_scalar"} <= failed_quantities(report)


def test_the_determinant_without_its_finite_width_factor_fails(monkeypatch):
    monkeypatch.setattr(comparison, "log_determinant_factor", lambda width, d: 0.0)
    near = dict(points=0.3 * np.eye(4), widths=(64,), samples=1500, quantities=["log_mean_det_metric"], input_dim=4)
    report = quick(**near)
    assert failed_quantities(report) == {"log_mean_det_metric"}
    monkeypatch.undo()
    assert quick(**near).passed


def test_a_curvature_that_is_not_zero_fails_for_relu():
    report = quick(WrongTheory(infgeo.MLP("relu"), ricci_scalar=lambda R, x: R - 1e-6), samples=16)
    assert failed_quantities(report) == {"ricci_scalar"}


def test_a_spread_that_does_not_fall_fails(monkeypatch):
    module = __import__("infgeo.validation.simulate", fromlist=["run_width"])
    original = module.run_width
    monkeypatch.setattr(module, "run_width", lambda run, width, *rest: original(run, 64, *rest))
    report = quick(samples=200)
    spreads = {trend.quantity for trend in report.failures if getattr(trend, "kind", "") == "spread"}
    assert {"kernel", "metric_radial", "metric_tangential"} <= spreads


def test_an_expansion_that_is_not_in_powers_of_1_over_n_fails(remembered, monkeypatch):
    def crooked(values, widths):
        return values + 3 * values * (widths == 256)

    original = comparison.extrapolate
    monkeypatch.setattr(comparison, "extrapolate", lambda n, y, e, dof: original(n, crooked(y, np.array(n)), e, dof))
    report = quick(samples=600)
    assert {trend.kind for trend in report.failures if hasattr(trend, "kind")} == {"fit"}


# Interrupts.


def interrupt_after(count):
    def progress(done, total):
        if done > count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupt_keeps_the_widths_that_are_done():
    report = quick(samples=64, progress=interrupt_after(64 * 2 + 10))
    whole = quick(samples=64)
    assert report.partial and not report.passed and report.widths_done == WIDTHS[:2]
    assert "PARTIAL" in report.table() and "2 of 5 widths" in report.table()
    kept = [row for row in whole.rows if row.width in WIDTHS[:2]]
    assert [(r.estimate, r.z) for r in report.rows if r.width] == [(r.estimate, r.z) for r in kept]
    assert json.loads(report.to_json())["partial"] is True


def test_an_interrupt_in_the_first_width_leaves_an_empty_partial_report():
    report = quick(samples=64, progress=interrupt_after(0))
    assert report.partial and not report.passed and report.rows == () and "PARTIAL" in report.table()


def test_progress_counts_networks():
    seen = []
    quick(samples=32, widths=(64, 128), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 64) for i in range(1, 65)]


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(input_dim=0), "input_dim is 0"),
        (dict(input_dim=2.5), "2.5"),
        (dict(points=[[1.0, 2.0, 3.0]]), "input dimension 2"),
        (dict(points=np.ones((3, 2), dtype=int)), "int64"),
        (dict(points=np.ones((3, 2), dtype=complex)), "complex128"),
        (dict(points=np.array([["a", "b"]], dtype=object)), "object"),
        (dict(points=[[1.0, np.nan]]), "nan"),
        (dict(points=[[1.0, np.inf]]), "inf"),
        (dict(points=np.empty((0, 2))), "at least one point"),
        (dict(points=np.ones(2)), "(2,)"),
        (dict(points=[[1.0, 2.0], [3.0]]), "points"),
        (dict(weight_std=0.0), "0.0"),
        (dict(weight_std=float("nan")), "nan"),
        (dict(bias_std=-1.0), "-1.0"),
        (dict(widths=(64, 1)), "width 1 < input dimension 2"),
        (dict(widths=()), "widths is empty"),
        (dict(widths=64), "64"),
        (dict(widths=(64.5,)), "64.5"),
        (dict(samples=1), "samples is 1"),
        (dict(seed=-1), "seed is -1"),
        (dict(level=0), "level"),
        (dict(level=2), "level is 2"),
        (dict(quantities=["volume"]), "volume"),
        (dict(parameters={"a": 1.0}), "a"),
    ],
)
def test_bad_input_names_the_value(arguments, words):
    with pytest.raises(InfgeoError) as caught:
        quick(**arguments)
    assert words in str(caught.value)
    assert isinstance(caught.value, InvalidInput | SingularMetric)


def test_too_few_widths_compare_what_needs_no_extrapolation():
    report = quick(widths=(128,), samples=32)
    assert report.passed and {row.width for row in report.rows} == {128}
    assert any("fewer than three widths" in note for note in report.notes)


@pytest.mark.parametrize(
    ("mlp", "quantities"), [(infgeo.MLP("erf", depth=2), None), (ERF, ["ricci_scalar", "volume_element"])]
)
def test_too_few_widths_for_what_must_be_extrapolated_are_bad_input(mlp, quantities):
    with pytest.raises(InvalidInput, match=r"widths is \(64, 128\).*pass three widths or more"):
        quick(mlp, widths=(64, 128), quantities=quantities, progress=lambda *_: pytest.fail("it simulates"))


def test_default_designs():
    for d in (1, 2, 3, 10, 64, 784):
        for depth in (1, 2, 3):
            widths = ladder.default_widths(d, depth)
            assert len(widths) >= 4 and widths[0] >= 4 * d and sorted(widths) == list(widths)
            assert ladder.default_samples(d, depth, widths, 8, True) >= 24
    points = design.default_points(3, 0)
    assert np.linalg.norm(points, axis=1) == pytest.approx(np.geomspace(0.3, 4, 8))
    assert (design.default_points(3, 1) != points).any()


def test_curvature_is_left_out_where_the_default_widths_cannot_resolve_it(monkeypatch):
    monkeypatch.setattr(ladder, "default_widths", lambda d, depth: (32, 64, 128))
    report = infgeo.validate(ERF, 10, samples=16)
    assert "ricci_scalar" not in {row.quantity for row in report.rows}
    assert any("Ricci scalar is left out" in note for note in report.notes)


@pytest.mark.parametrize("quantities", [["ricci_scalar"], "ricci_scalar", iter(["kernel", "ricci_scalar"])])
def test_curvature_asked_for_where_the_default_widths_cannot_resolve_it_names_the_widths(quantities):
    with pytest.raises(InvalidInput, match=r"ricci_scalar is asked for.*d\^2 = 4096.*widths=\(16384, 32768, "):
        infgeo.validate(ERF, 64, quantities=quantities)


def test_default_widths_that_are_too_narrow_for_the_curvature():
    def narrow(d, depth):
        return ladder.default_widths(d, depth)[0] < 4 * d**2

    assert next(d for d in range(2, 30) if narrow(d, 1)) == 23
    assert next(d for d in range(2, 30) if narrow(d, 2)) == 12


def test_a_mean_that_few_networks_dominate_is_left_out():
    """With 24 networks of width 64 at d = 16, log det g varies by about 1: a mean of det g says nothing."""
    report = quick(infgeo.MLP("relu"), 16, widths=(64, 128, 256, 16384), samples=24)
    assert report.passed, report.table()
    widths = {row.width for row in report.rows if row.quantity == "log_mean_det_metric"}
    assert widths == {16384}
    assert any("log_mean_det_metric is left out at n = 64" in note for note in report.notes)
    again = quick(infgeo.MLP("relu"), 16, widths=(16384,), samples=24, quantities=["log_mean_det_metric"])
    assert {row.quantity for row in again.rows} == {"log_mean_det_metric"}


# The statistics, each against a slow twin.


def test_extrapolation_recovers_the_coefficients_and_its_errors_are_those_of_the_noise():
    n = np.array([64, 128, 256, 512, 1024])
    exact = 2.0 - 3.0 / n + 50.0 / n**2
    errors = 0.05 / np.sqrt(n)
    dofs = np.full(5, 500.0)
    fit = inference.extrapolate(n, exact, errors, dofs)
    assert fit.coefficients == pytest.approx([2.0, -3.0, 50.0], rel=1e-8)
    assert fit.chi2 < 1e-12 and fit.residual_df == 2
    rng = np.random.default_rng(0)
    fits = [inference.extrapolate(n, exact + errors * rng.standard_normal(5), errors, dofs) for _ in range(2000)]
    spread = np.std([f.coefficients for f in fits], axis=0)
    assert spread == pytest.approx(fit.errors, rel=0.06)
    assert np.mean([f.chi2 for f in fits]) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(("widths", "samples"), [((64, 128, 256), 8), ((64, 128, 256, 512, 1024, 2048), 8)])
def test_extrapolation_from_few_networks_raises_no_more_false_alarms_than_it_says(widths, samples):
    rng = np.random.default_rng(3)
    n, runs, level = np.array(widths, dtype=float), 20_000, 1e-2
    dofs = np.full(len(n), samples - 1.0)
    scale = 1 / np.sqrt(n * samples)
    y = scale * rng.standard_normal((runs, len(n)))
    errors = scale * np.sqrt(rng.chisquare(samples - 1, y.shape) / (samples - 1))
    alarms = misfits = 0
    for mean, error in zip(y, errors, strict=True):
        fit = inference.extrapolate(widths, mean, error, dofs)
        alarms += inference.student_p(fit.coefficients[0] / fit.errors[0], fit.degrees_of_freedom[0]) < level
        misfits += inference.fit_p(fit, dofs) < level
    deviation = np.sqrt(runs * level)
    assert abs(alarms - runs * level) < 3.5 * deviation and misfits < runs * level + 3.5 * deviation


def test_three_widths_fit_one_correction_and_four_fit_two():
    fit = inference.extrapolate((64, 128, 256), 1 + 5 / np.array([64.0, 128, 256]), np.full(3, 0.1), np.full(3, 9.0))
    assert fit.coefficients == pytest.approx([1.0, 5.0]) and fit.residual_df == 1
    n = np.array([64.0, 128, 256, 512])
    fit = inference.extrapolate((64, 128, 256, 512), 1 + 5 / n - 40 / n**2, np.full(4, 0.1), np.full(4, 9.0))
    assert fit.coefficients == pytest.approx([1.0, 5.0, -40.0]) and fit.residual_df == 1


def test_exponent_of_a_power_law_with_corrections():
    n = np.array([64.0, 128, 256, 512, 1024])
    logs = np.log(7 * n**-0.5) + 3 / n - 40 / n**2
    value, _, _ = inference.exponent(n, logs, np.full(5, 0.01), np.full(5, 15.0), 2)
    assert value == pytest.approx(-0.5, abs=1e-9)


def test_holm_by_hand():
    stands, adjusted = inference.holm([0.01, 0.04, 0.005, 0.9], 0.05)
    assert stands == [False, True, False, True]  # 0.005 <= 0.05/4, 0.01 <= 0.05/3, 0.04 > 0.05/2
    assert adjusted == pytest.approx(0.02)
    # 0.02 is above level / 3 and below level / 2, 0.04 above level / 2 and below level; 0.02 alone is above level / 3.
    assert inference.holm([0.04, 0.01, 0.02], 0.05)[0] == [False, False, False]
    assert inference.holm([0.04, 0.02, 0.02], 0.05)[0] == [True, True, True]
    assert inference.holm([0.06, 0.01, 0.02], 0.05)[0] == [True, False, False]
    assert inference.holm([0.05], 0.05)[0] == [False]
    assert inference.holm([], 0.05) == ([], None)
    assert inference.holm([float("nan"), 0.5], 0.05)[0] == [False, True]


def test_student_and_fisher_p_values():
    assert inference.student_p(2.5, 7) == pytest.approx(2 * stats.t.sf(2.5, 7))
    fit = inference.LinearFit(np.zeros(2), np.ones(2), np.ones(2), 9.0, 3)
    assert inference.fit_p(fit, np.array([40.0, 50.0])) == pytest.approx(stats.f.sf(3.0, 3, 40))


@pytest.mark.parametrize("logs", [False, True])
def test_pooling_batches_is_the_same_as_one_large_sample(logs):
    rng = np.random.default_rng(1)
    data = np.exp(rng.standard_normal((23, 4)))
    batches = []
    for part in np.split(data, [5, 11, 17]):
        mean, error = part.mean(0), part.std(0, ddof=1) / np.sqrt(len(part))
        batches.append(Estimate(np.log(mean), error / mean, len(part)) if logs else Estimate(mean, error, len(part)))
    pooled = simulation.pool(batches, logs)
    mean, error = data.mean(0), data.std(0, ddof=1) / np.sqrt(23)
    assert pooled.samples == 23
    assert pooled.mean == pytest.approx(np.log(mean) if logs else mean, rel=1e-12)
    assert pooled.standard_error == pytest.approx(error / mean if logs else error, rel=1e-12)


def test_the_error_of_the_spread_holds_for_correlated_points_and_heavy_tails():
    rng = np.random.default_rng(2)
    logs, errors = [], []
    for _ in range(400):
        common = rng.exponential(size=(16, 40, 1)) + 0.3 * rng.standard_normal((16, 40, 5))
        squares = ((common - common.mean(1, keepdims=True)) ** 2).sum(1)
        log_sd, error = simulation.spread(squares, np.full(16, 40), np.ones(5))
        logs.append(log_sd)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(logs), rel=0.12)


def test_determinant_factor():
    assert np.exp(log_determinant_factor(10, 3)) == pytest.approx(10 * 9 * 8 / 1000)


def test_the_curve_is_the_theory_along_a_ray(erf_report):
    radii = np.array(erf_report.curve["radius"])
    values = theory.metric_values(ERF.numeric(), np.stack([0 * radii, radii], axis=1))
    for name, expected in values.items():
        assert np.array(erf_report.curve[name]) == pytest.approx(expected, rel=1e-12)


def test_one_layer_before_a_norm_is_no_mean_over_units():
    """h / sqrt(mean h^2 + epsilon) is biased at O(1/n): its kernel is extrapolated, and a right theory passes."""
    mlp = infgeo.MLP(["relu", infgeo.layers.RMSNorm(Rational(1, 10))], weight_std=1, bias_std=1)
    points, widths = [[1.0, 0.0], [0.0, 2.0]], (8, 16, 32, 64)
    report = infgeo.validate(mlp, 2, points, widths=widths, samples=600, quantities="kernel")
    assert report.passed and {row.width for row in report.rows} == {None}
    with pytest.raises(InvalidInput, match=r"RMSNorm\(epsilon=1/10\).*of one layer without norms"):
        infgeo.finite_width(mlp)
