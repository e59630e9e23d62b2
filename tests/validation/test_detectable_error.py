"""What a validation would have seen: predictions for finite width beside what is observed, power, other networks."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sympy import Symbol, exp

import infgeo
from infgeo.errors import InvalidInput
from infgeo.numeric.quadrature.one_layer import metric_chi_square, moments_at
from infgeo.validation import design, predicted
from infgeo.validation.comparison import power_of
from infgeo.validation.findings import Comparison
from infgeo.validation.simulate import NET_QUANTITIES
from tests.validation.test_validate import ERF, MEMORY, WrongTheory, failed_quantities, quick, remembered  # noqa: F401

SMALL = {"widths": (64, 128, 256, 512), "samples": 300}


@pytest.fixture(scope="module")
def report():
    return quick(**SMALL)


@pytest.fixture(scope="module")
def default_report():
    """The default design with a tenth of the networks, for the sake of time."""
    with ThreadPoolExecutor(2) as executor:
        return infgeo.validate(ERF, 2, budget="quick", executor=executor)


def trends(report, kind):
    return [trend for trend in report.trends if trend.kind == kind]


def test_predictions_stand_beside_the_measurements(report):
    assert report.passed, report.table()
    seen = {"metric_radial", "metric_tangential", "log_mean_det_metric", "volume_element", "log_volume_element"}
    for one in report.measurements:
        if one.quantity in seen:
            assert one.predicted_error == pytest.approx(one.standard_error, rel=0.35), one
            exact = one.quantity not in ("volume_element", "log_volume_element")
            assert (one.predicted_mean == one.theory) == exact
            z = (one.mean - one.predicted_mean) / one.standard_error
            assert abs(z) < 4.5 or not exact, one
        if one.quantity == "kernel":
            assert one.predicted_mean is None and one.predicted_error is None
    # the bias of the log volume is seen, and it is the predicted one
    biased = [m for m in report.measurements if m.quantity == "log_volume_element" and m.width == 128]
    assert np.mean([(m.mean - m.theory) / m.standard_error for m in biased]) < -2.5
    assert abs(np.mean([(m.mean - m.predicted_mean) / m.standard_error for m in biased])) < 2


def test_trends_of_finite_width_are_judged(report):
    assert {t.quantity for t in trends(report, "slope")} == {"ricci_scalar", "volume_element", "log_volume_element"}
    assert {t.quantity for t in trends(report, "error")} == {
        "metric_radial",
        "metric_tangential",
        "log_mean_det_metric",
    }
    whole = trends(report, "metric")
    assert len(whole) == 8 and all(t.expected == 3 and t.p is not None for t in whole)
    for trend in whole:
        assert trend.p == pytest.approx(stats.chi2.sf(trend.value, 3))
        assert trend.note == f"over {300 * (64 + 128 + 256 + 512):.2g} units"
    assert "whole metric, chi^2" in report.table() and "spread / predicted" in report.table()


def test_a_wrong_slope_is_seen(remembered, monkeypatch):  # noqa: F811
    original = predicted.predictions

    def wrong(moments, d, width):
        known = original(moments, d, width)
        return known | {"log_volume_element": replace(known["log_volume_element"], bias=10.0)}

    monkeypatch.setattr(predicted, "predictions", wrong)
    failures = quick(**SMALL | {"samples": 600}).failures
    assert {(f.quantity, f.kind) for f in failures} == {("log_volume_element", "slope")}


def test_a_wrong_spread_is_seen(remembered, monkeypatch):  # noqa: F811
    original = predicted.predictions

    def wrong(moments, d, width):
        known = original(moments, d, width)
        one = known["metric_radial"]
        return known | {"metric_radial": replace(one, variance=1.1 * one.variance)}

    monkeypatch.setattr(predicted, "predictions", wrong)
    failures = quick(**SMALL | {"samples": 600}).failures
    assert {(f.quantity, f.kind) for f in failures} == {("metric_radial", "error")}


def test_off_diagonal_entries_are_compared_as_well(remembered):  # noqa: F811
    """A shear of the metric that leaves A, B, and to first order the determinant, as they are."""

    def sheared(g, x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        across = unit @ np.array([[0.0, 1.0], [-1.0, 0.0]])
        mixed = unit[:, :, None] * across[:, None, :]
        return g + 0.01 * (mixed + mixed.transpose(0, 2, 1))

    report = quick(WrongTheory(ERF, metric=sheared), **SMALL | {"samples": 600})
    assert failed_quantities(report) == {"metric"}


def test_the_chi_square_has_its_distribution():
    """Means of 4000 units with all entries correlated as they are: 400 draws of chi^2 with 6 degrees of freedom."""
    rng = np.random.default_rng(1)
    x, units = np.array([0.4, -0.8, 1.1]), 4000
    moments = moments_at(ERF.activation, float(np.linalg.norm(x)), 1.2, 0.7, {})
    expected = ERF.numeric(weight_std=1.2, bias_std=0.7).metric(x)
    values = []
    for _ in range(400):
        w, b = 1.2 * rng.standard_normal((units, 3)), 0.7 * rng.standard_normal(units)
        a = 2 / np.pi * np.exp(-((w @ x + b) ** 2))
        chi2, freedom = metric_chi_square((a[:, None] * w).T @ w / units - expected, x, moments, units)
        values.append(chi2)
    assert freedom == 6
    assert stats.kstest(values, "chi2", (6,)).pvalue > 1e-3


def test_power_is_five_standard_errors(report):
    rows = [row for row in report.rows if row.quantity == "ricci_scalar"]
    assert report.power["ricci_scalar"] == min(5 * row.standard_error / abs(row.theory) for row in rows)
    assert set(report.power) == {row.quantity for row in report.rows} | {"A", "B"}
    radial = {(r.point, r.width): r for r in report.rows if r.quantity == "metric_radial"}
    across = {(r.point, r.width): r for r in report.rows if r.quantity == "metric_tangential"}
    B = [5 * r.standard_error / abs(r.theory - across[key].theory) for key, r in radial.items()]
    assert report.power["B"] == min(B) and report.power["A"] == report.power["metric_tangential"]
    logs = [row for row in report.rows if row.quantity == "log_volume_element"]
    assert report.power["log_volume_element"] == min(5 * row.standard_error for row in logs)
    assert "would have been seen at 5 standard errors" in report.table() and '"power"' in report.to_json()


def test_an_error_twice_the_power_fails_and_a_fifth_of_it_does_not(remembered, report):  # noqa: F811
    for share, passes in ((0.2, True), (2.0, False)):
        error = 1 + share * report.power["ricci_scalar"]
        wrong = WrongTheory(ERF, ricci_scalar=lambda R, x, error=error: error * R)
        assert quick(wrong, **SMALL).passed == passes


def test_zero_curvature_and_exact_rows_have_no_power():
    flat = quick(infgeo.MLP("relu"), samples=16, widths=(64, 128, 256))
    assert "ricci_scalar" not in flat.power and flat.power["A"] > 0
    exact = Comparison("kernel", 0, 0.0, None, 0.0, 0.0, 0.0, None, None, True)
    assert power_of([exact]) == {} and power_of([replace(exact, z=1.0, standard_error=0.1)]) == {}
    # B = 0 for homogeneous activations, whose two eigenvalues differ by roundings
    same = [
        Comparison(name, 0, 2.0, 64, value, value, 0.01, 0.0, 1.0, True)
        for name, value in (("metric_tangential", 0.5), ("metric_radial", 0.5 * (1 - 2**-52)))
    ]
    assert power_of(same).keys() == {"metric_tangential", "metric_radial", "A"}
    assert "B" in power_of([same[0], replace(same[1], theory=0.4)])


def test_another_network_fails(report):
    other = quick(against=infgeo.MLP("gelu"), **SMALL)
    assert not other.passed and {"kernel", "metric_radial", "ricci_scalar", "metric"} <= failed_quantities(other)
    assert quick(against=infgeo.MLP("erf"), **SMALL).rows == report.rows
    assert "z*(erf(" in other.configuration["against"] and report.configuration["against"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"against": infgeo.MLP("erf", depth=2)}, "of another shape"),
        ({"against": infgeo.MLP(["erf", "relu"])}, "of another shape"),
        ({"budget": "huge"}, "budget is 'huge'; choose from 'quick', 'default', 'thorough'"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        quick(**SMALL, **arguments)


def test_the_default_design_sees_small_errors(default_report):
    """With a tenth of the default networks: at most 1 % for A, B and the volume, 3 % for R."""
    assert default_report.passed, default_report.table()
    power = default_report.power
    assert power["A"] < 0.01 and power["B"] < 0.01 and power["volume_element"] < 0.01 and power["ricci_scalar"] < 0.03
    rows = [row for row in default_report.rows if "Sobol nets" in row.note]
    assert {row.quantity for row in rows} == set(NET_QUANTITIES) and len(rows) == 8 * len(NET_QUANTITIES)
    assert all(row.width is None and row.p == pytest.approx(2 * stats.t.sf(abs(row.z), 31)) for row in rows)


def test_budgets_change_the_number_of_networks_only():
    assert design.BUDGETS["quick"][0] < design.BUDGETS["default"][0] == 1
    assert design.BUDGETS["thorough"][0] >= 25  # standard errors five times smaller and more


def test_what_cannot_be_predicted_is_said():
    z = Symbol("z", real=True)
    deep = quick(infgeo.MLP("erf", depth=2), samples=32, widths=(64, 128, 256))
    assert not trends(deep, "slope") and not trends(deep, "metric")
    assert all(one.predicted_mean is None for one in deep.measurements)
    # of exp(z^2/8) E[phi'^2] is finite up to variance 2, E[phi'^4] up to 1 only
    steep = quick(infgeo.MLP(exp(z**2 / 8), weight_std=1, bias_std=1), points=[[0.5, 0.5]], samples=32)
    assert any("no prediction for finite width" in note for note in steep.notes)


def test_one_dimension_and_the_origin():
    line = quick(input_dim=1, samples=64, widths=(64, 128, 256, 512))
    assert line.passed, line.table()
    assert all(t.expected == 1 for t in trends(line, "metric"))
    origin = quick(
        points=[[0.0, 0.0], [1.0, 0.5]], samples=200, bias_std=0.0, quantities=["metric_radial", "volume_element"]
    )
    assert origin.passed, origin.table()
