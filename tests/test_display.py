"""Results show themselves: one short line at a prompt, a table or a formula in a notebook."""

import numpy as np
import pytest
import torch

import infgeo
from infgeo.display import brief
from infgeo.report_text import json_safe

NET = torch.nn.Sequential(torch.nn.Linear(2, 20), torch.nn.Tanh(), torch.nn.Linear(20, 2)).double()
X = np.array([[0.5, 0.2], [1.0, -0.3], [0.1, 0.7]])
MLP = infgeo.MLP("erf", weight_std=1, bias_std=1)


@pytest.fixture(scope="module")
def report():
    return infgeo.validate(MLP, input_dim=2, widths=(32, 64, 128), samples=40, seed=0)


@pytest.fixture(scope="module")
def history():
    grid = infgeo.tracking.grid((-1, 1), points=4)
    tracker = infgeo.GeometryTracker(NET, at=grid, features=["1"], every=1)
    tracker.step()
    tracker.step()
    return tracker.history


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (np.float64(1 / 3), "0.333333"),
        (torch.tensor([1.0, torch.nan]), "[1, nan]"),
        (np.arange(12.0).reshape(3, 4), "array of shape (3, 4), 0 to 11"),
        (np.array([np.inf] * 7 + [2.5]), "array of shape (8,), 2.5 to 2.5, 7 not finite"),
        (np.full(8, np.nan), "array of shape (8,), none finite"),
        (np.zeros(9, dtype=bool), "array of shape (9,)"),
        (torch.zeros(9, requires_grad=True), "array of shape (9,), 0 to 0"),
        (list(range(100)), "[0, … 100 in all]"),
        ((1,), "(1,)"),
        ({"n": 3}, "{n: 3}"),
        ("a\n  b", "a b"),
    ],
)
def test_values_in_a_few_words(value, text):
    assert brief(value) == text


def test_every_result_is_short_at_a_prompt_and_a_table_in_a_notebook(report, history):
    values = np.linspace(0, 1, 12)
    results = [
        report,
        history,
        infgeo.finite.pullback(NET, torch.randn(500, 2).double()),
        infgeo.finite.geodesic(NET, [0.0, 0.0], [1.0, 1.0]),
        infgeo.finite.estimate(MLP, torch.randn(9, 2), 16, 4),
        infgeo.learned(MLP, X, [1.0, -1.0, 1.0], 0.1),
        infgeo.finite_width(MLP),
        infgeo.finite_width(MLP).at(np.ones((500, 2))),
        MLP.numeric(),
        MLP.metric.geodesic(np.array([1.0, 0.0]), np.array([0.0, 1.0])),
        infgeo.magnification.agreement(values, values**2),
        infgeo.magnification.compare(9 * [np.eye(2)], 9 * [np.diag([1.0, 4.0])]),
        infgeo.finite.volume_by_layer(torch.nn.Sequential(NET), X),
        infgeo.magnification.over_seeds([{"a": 1.0}, {"a": 2.0}]),
        infgeo.training.xor(),
    ]
    for result in results:
        assert (
            repr(result).startswith(type(result).__name__ + "(")
            and len(repr(result)) < 1500
            and "\n" not in repr(result)
        )
        assert result._repr_html_().startswith(("<table>", "<pre>"))


def test_a_pullback_shows_what_is_known_and_a_notebook_its_volume():
    result = infgeo.finite.pullback(NET, X)
    assert "volume" not in repr(result)  # nothing is computed at a prompt
    html = result._repr_html_()
    assert brief(result.log_volume_element) in html and "log_volume_element=" in repr(result)
    result.ricci_scalar  # noqa: B018
    assert f"ricci_scalar={brief(result.ricci_scalar)}" in repr(result)
    narrow = infgeo.finite.pullback(torch.nn.Linear(2, 1).double(), X)
    assert "log_volume" not in narrow._repr_html_()  # it has none, and says so when it is asked for


def test_text_of_a_user_is_no_markup():
    task = infgeo.training.xor()
    object.__setattr__(task, "source", "<b>bold</b>")
    assert "&lt;b&gt;bold" in task._repr_html_()


def test_symbolic_results_in_a_notebook():
    deep = infgeo.MLP("gelu", depth=2)
    kernel, tangent = deep.kernel._repr_latex_(), deep.ntk._repr_latex_()
    assert r"k(x, y) &= " in kernel and r"\Theta(x, y) &= " in tangent  # the program, with its legend
    assert max(len(kernel), len(tangent)) < 4000
    assert r"\text{covariance of the preactivations at x and y}" in kernel
    assert r"\Theta(x, y) = " in MLP.ntk._repr_latex_() and r"x \cdot y" in MLP.kernel._repr_latex_()
    assert r"\mathrm{shear}" in MLP.metric.program._repr_latex_()
    assert repr(MLP) == str(MLP) and "network" not in repr(MLP.kernel) and "program" not in repr(MLP.metric)


def test_the_picture_of_a_report_is_a_figure(report):
    assert report.plot()._repr_png_()[1:4] == b"PNG"


def test_frames_have_the_numbers_of_the_report(report):
    frame = report.to_frame()
    assert len(frame) == len(report.rows) and frame["passed"].tolist() == [row.passed for row in report.rows]
    assert frame["theory"].tolist() == [row.theory for row in report.rows]
    assert set(json_safe(report.rows[0])) <= set(frame.columns)


def test_a_history_as_a_dataset(history):
    dataset = history.to_xarray()
    found = dataset["log10_volume_1_grid"]
    assert found.dims == ("step", "point_grid") and dataset["step"].values.tolist() == history.steps.tolist()
    np.testing.assert_array_equal(found.values, history.quantity("log10_volume", layer="1"))
    np.testing.assert_array_equal(dataset["coordinates_grid"].values, history.probes["grid"].coordinates.numpy())
