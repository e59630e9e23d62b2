import dataclasses
import sys

import pytest

import infgeo
from infgeo.errors import InvalidInput, MissingExtra
from infgeo.validation import picture

HEADS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.fixture(scope="module")
def report():
    return infgeo.validate(infgeo.MLP("erf"), 2, widths=(64, 128, 256, 512), samples=64)


@pytest.mark.parametrize("ending", HEADS)
def test_the_picture_is_written_in_three_formats(report, tmp_path, ending):
    path = tmp_path / f"picture{ending}"
    report.plot(path)
    assert path.read_bytes().startswith(HEADS[ending])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no temporary file is left


def test_drawing_leaves_no_global_state(report, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    report.plot(tmp_path / "a.svg")
    report.plot(tmp_path / "b.svg")
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_picture_shows_what_was_compared(report):
    figure = picture.draw(report, None)
    axes = figure.axes
    assert [a.get_ylabel() for a in axes if a.get_ylabel()].count("$z$") == 1
    metric = next(a for a in axes if "eigenvalue" in a.get_ylabel())
    lines = [line for line in metric.get_lines() if len(line.get_xdata()) == len(report.curve["radius"])]
    assert [tuple(line.get_ydata()) for line in lines] == [
        report.curve["metric_radial"],
        report.curve["metric_tangential"],
    ]
    points = [container[0] for container in metric.containers]
    estimates = [row.estimate for row in report.rows if row.quantity == "metric_radial" and row.width == 512]
    assert list(points[0].get_ydata()) == estimates
    for a in axes:
        assert a.get_ylabel() and (a.get_xlabel() or a.get_subplotspec().rowspan.stop < 3)


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_flat_metrics_are_drawn(activation, tmp_path):
    report = infgeo.validate(infgeo.MLP(activation), 2, widths=(64, 128, 256), samples=16)
    report.plot(tmp_path / "flat.png")
    assert (tmp_path / "flat.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "arguments",
    [
        dict(widths=(64,), samples=16),
        dict(widths=(64, 128, 256), samples=16, quantities=["kernel"]),
        dict(widths=(64, 128, 256), samples=16, quantities=["ricci_scalar"]),
        dict(widths=(64, 128, 256), samples=16, points=[[0.0, 0.0]]),
    ],
)
def test_reports_with_little_in_them_are_drawn(arguments, tmp_path):
    infgeo.validate(infgeo.MLP("erf"), 2, **arguments).plot(tmp_path / "little.png")


def test_an_empty_report_is_refused(report, tmp_path):
    empty = dataclasses.replace(report, rows=(), trends=(), measurements=(), widths_done=(), partial=True)
    with pytest.raises(InvalidInput, match="no comparisons"):
        empty.plot(tmp_path / "empty.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["picture", "picture.txt", "picture.jpg"])
def test_an_unknown_ending_is_refused(report, tmp_path, name):
    with pytest.raises(InvalidInput, match=r"\.png, \.pdf, \.svg"):
        report.plot(tmp_path / name)
    with pytest.raises(InvalidInput, match="pass a path"):
        report.plot(3)


def test_without_matplotlib_the_extra_is_named(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"infgeo\[plot\]"):
        report.plot(tmp_path / "picture.png")


def test_a_folder_that_does_not_exist_is_named(report, tmp_path):
    with pytest.raises(InvalidInput, match="cannot write"):
        report.plot(tmp_path / "nowhere" / "picture.png")


def test_a_formula_that_cannot_be_set_is_written_as_text():
    assert picture._formula({"activation": "x", "activation_latex": r"\begin{cases} 1 \end{cases}"}) == "x"
    assert picture._formula({"activation": "x", "activation_latex": r"\frac{1}{2}"}) == r"$\frac{1}{2}$"
