"""The validation of learned geometry: right theory passes, one that is 3 % wrong does not, the remainder falls."""

from __future__ import annotations

import numpy as np
import pytest

import infgeo
from infgeo.errors import InvalidInput
from infgeo.validation.comparison import compared, verdict

ERF = infgeo.MLP("erf", weight_std=1, bias_std=1)
ONE = infgeo.learned(ERF, np.array([[1.0, 0]]), np.array([3.0]), 0.5)
XOR = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
LABELS = np.array([-1.0, 1, 1, -1])
POINTS = np.array([[1.0, 0.0]])


@pytest.fixture(scope="module")
def report():
    return infgeo.validate(ONE, points=POINTS, widths=(16, 32, 64, 128), samples=4096)


def test_the_posterior_has_the_learned_geometry(report):
    assert report.passed, report.table()
    assert {row.quantity.split()[0] for row in report.rows} == {
        "metric_shift",
        "kernel_shift",
        "volume_shift",
        "ricci_shift",
    }
    assert report.power["metric_shift 22"] < 0.03
    assert min(report.configuration["effective_samples"]) > 3000
    assert "likelihoods leave" in report.table()
    assert report.to_json().startswith("{")


def test_the_remainder_falls_as_one_over_n_squared(report):
    """The simulated shift times n differs from theory by b/n: resolved at every width, of exponent -1."""
    trend = next(one for one in report.trends if one.kind == "bias" and one.quantity == "metric_shift 22")
    assert trend.p is not None
    assert abs(trend.value + 1) < 4 * trend.standard_error
    assert trend.standard_error < 0.4


@pytest.mark.parametrize("factor", [0.97, 1.03])
@pytest.mark.parametrize(("fixture", "quantity"), [("report", "metric"), ("deep_report", "kernel")])
def test_a_formula_that_is_wrong_by_three_percent_is_caught(request, fixture, quantity, factor):
    report = request.getfixturevalue(fixture)

    def judged(scale):
        rows = [
            compared(one.quantity, one.point, 0, None, scale * one.theory, one.estimate, one.standard_error, 31)
            for one in report.rows
        ]
        return verdict(rows, (), report.level)[0]

    assert all(row.passed for row in judged(1.0))
    assert any(not row.passed for row in judged(factor) if row.quantity.startswith(quantity))


@pytest.fixture(scope="module")
def deep_report():
    deep = infgeo.learned(infgeo.MLP("erf", depth=2, weight_std=1, bias_std=0), XOR, LABELS, 0.3)
    return infgeo.validate(deep, points=POINTS, widths=(128, 256, 512), samples=1024)


def test_the_posterior_of_two_layers_has_the_learned_geometry(deep_report):
    assert deep_report.passed, deep_report.table()
    assert {row.quantity.split()[0] for row in deep_report.rows} == {"metric_shift", "kernel_shift", "volume_shift"}
    assert deep_report.power["kernel_shift of layer 2"] < 0.03
    assert {row.quantity[-1] for row in deep_report.rows} == {"1", "2"}
    assert min(deep_report.configuration["effective_samples"]) > 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "depth", "samples"), [("tanh", 3, 1024), ("gaussian", 2, 1024), ("gelu", 2, 1024), ("relu", 2, 16384)]
)
def test_deep_posteriors_have_the_learned_geometry(name, depth, samples):
    deep = infgeo.learned(infgeo.MLP(name, depth=depth, weight_std=1.2, bias_std=0.4), XOR, LABELS, 0.3)
    report = infgeo.validate(deep, points=np.array([[1.0, 0.0], [0.3, -0.4]]), widths=(128, 256, 512), samples=samples)
    assert report.passed, report.table()


@pytest.mark.slow
def test_xor_by_default():
    report = infgeo.validate(infgeo.learned(ERF, XOR, LABELS, 0.1))
    assert report.passed, report.table()
    assert report.power["metric_shift 11"] < 0.03


@pytest.mark.parametrize(
    ("options", "samples", "resolved"),
    [
        ({"learning_rate": 0.8}, 1024, 0.6),
        ({"learning_rate": 0.1, "parametrisation": "mean_field"}, 1024, 0.6),
        ({"time": 6.0}, 256, 0.2),
        ({"time": 0.1, "parametrisation": "mean_field"}, 512, 0.3),
    ],
    ids=["step", "step in mean field", "flow", "flow in mean field"],
)
def test_gradient_descent_has_the_learned_geometry(options, samples, resolved):
    rule = "gradient_flow" if "time" in options else "gradient_step"
    learned = infgeo.learned(infgeo.MLP("tanh"), XOR, LABELS, rule=rule, **options)
    report = infgeo.validate(learned, points=np.array([[1.0, 0.0]]), widths=(64, 128, 256), samples=samples)
    assert report.passed, report.table()
    assert report.power["volume_shift"] < resolved


def test_chains_sample_what_importance_leaves_few_networks_of():
    learned = infgeo.learned(ERF, XOR, 12 * LABELS, 1.0)
    report = infgeo.validate(learned, points=np.array([[0.7, 0.2]]), widths=(256, 512, 1024), samples=512)
    assert report.passed, report.table()
    assert report.configuration["effective_samples"][0] < 100
    assert "Hamiltonian Monte Carlo at n = 256, 512" in report.table()
    assert report.power["volume_shift"] < 0.2


@pytest.mark.parametrize(("name", "kind"), [("relu", "closed form"), ("relu6", "nets")])
def test_kinked_activations_are_compared_without_curvature(name, kind):
    learned = infgeo.learned(infgeo.MLP(name), XOR, LABELS, 0.5)
    assert learned.kind == kind
    report = infgeo.validate(learned, points=np.array([[0.7, 0.2]]), widths=(64, 128, 256), samples=512)
    assert report.passed, report.table()
    assert not any(row.quantity == "ricci_shift" for row in report.rows)


def test_same_seed_same_report_and_progress():
    calls = []
    options = {"points": POINTS, "widths": (16, 32, 64), "samples": 256, "seed": 3}
    one, two = (infgeo.validate(ONE, **options, progress=lambda *a: calls.append(a)) for _ in range(2))
    assert one == two
    assert calls[-1] == (96, 96)


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidInput, match="alone"):
        infgeo.validate(ONE, 2)
    with pytest.raises(InvalidInput, match="three or more"):
        infgeo.validate(ONE, widths=(64, 128))
    with pytest.raises(InvalidInput, match=r"points has shape \(1, 3\).*dimension 2"):
        infgeo.validate(ONE, points=np.zeros((1, 3)))
    with pytest.raises(InvalidInput, match="input_dim is missing"):
        infgeo.validate(ERF)
    peaked = infgeo.learned(ERF, XOR, 10 * LABELS, 0.01)
    with pytest.raises(InvalidInput, match="first order says nothing at n = 8; pass widths from 10000 on"):
        infgeo.validate(peaked, points=POINTS, widths=(8, 16, 32), samples=256)
    fitted = infgeo.learned(ERF, XOR, LABELS, rule="gradient_flow", time=np.inf)
    with pytest.raises(InvalidInput, match="finite one"):
        infgeo.validate(fitted, points=POINTS)


def test_there_is_no_picture(report, tmp_path):
    with pytest.raises(InvalidInput, match="table"):
        report.plot(tmp_path / "picture.png")
