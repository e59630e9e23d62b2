from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sympy import Rational, Symbol, sign

import infgeo
from infgeo.errors import InvalidInput
from infgeo.validation import comparison, theory

WIDTHS = (64, 128, 256, 512)


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


def test_the_report_repeats_with_the_seed_and_any_executor():
    small = {"widths": WIDTHS[:3], "samples": 64}
    once, again = quick(**small), quick(**small, executor=ThreadPoolExecutor(2))
    assert again.rows == once.rows and again.trends == once.trends
    assert quick(**small, seed=1).rows != once.rows


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", ["erf", "relu"])
def test_no_false_alarm(name, seed):
    report = quick(infgeo.MLP(name), 3 - seed % 2, seed=seed, samples=64, widths=(128, 256, 512, 1024))
    assert report.passed, report.table()


def test_a_spread_of_second_order_near_the_origin_is_no_failure():
    """Where the curvature vanishes its spread falls as 1/n, beyond the reach of a series in 1/n."""
    report = quick(infgeo.MLP("gaussian"), widths=(64, 128, 256, 512), samples=600, quantities=["ricci_scalar"])
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
    widths = (*WIDTHS, 1024) if name == "R 5 % too large" else WIDTHS  # so small an error takes a wider network
    report = quick(WrongTheory(ERF, **changes), samples=600, widths=widths)
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


def test_weights_of_a_scale_for_each_coordinate(monkeypatch, tmp_path):
    """The theory passes with the scales that are simulated, and no other; the picture has no curve along a radius."""
    options = {"weight_std": [1.4, 0.5], "bias_std": 0.5, "samples": 100}
    report = quick(**options)
    assert report.passed, report.table()
    assert "sigma_w = (1.4, 0.5)" in report.table() and '"weight_std": [' in report.to_json()
    assert report.curve == {} and any("no prediction" in note for note in report.notes)
    report.plot(tmp_path / "a.png")
    right = theory.theory_at
    monkeypatch.setattr(
        "infgeo.validation.design.theory_at",
        lambda _, *rest: right(ERF.numeric([1.4, 0.6], 0.5), *rest),
    )
    assert {"kernel", "metric_radial", "log_volume_element"} <= {row.quantity for row in quick(**options).failures}


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
    assert {trend.kind for trend in report.failures if hasattr(trend, "kind")} == {"fit", "slope"}


def test_too_few_widths_compare_what_needs_no_extrapolation():
    report = quick(widths=(128,), samples=32)
    assert report.passed and {row.width for row in report.rows} == {128}
    assert any("fewer than three widths" in note for note in report.notes)


def test_a_mean_that_few_networks_dominate_is_left_out():
    """With 24 networks of width 64 at d = 16, log det g varies by about 1: a mean of det g says nothing."""
    report = quick(infgeo.MLP("relu"), 16, widths=(64, 128, 256, 16384), samples=24)
    assert report.passed, report.table()
    widths = {row.width for row in report.rows if row.quantity == "log_mean_det_metric"}
    assert widths == {16384}
    assert any("log_mean_det_metric is left out at n = 64" in note for note in report.notes)
    again = quick(infgeo.MLP("relu"), 16, widths=(16384,), samples=24, quantities=["log_mean_det_metric"])
    assert {row.quantity for row in again.rows} == {"log_mean_det_metric"}


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
    with pytest.raises(InvalidInput, match=r"RMSNorm\(epsilon=1/10\).*of dense layers"):
        infgeo.finite_width(mlp)
