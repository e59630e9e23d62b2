"""What is compared, at which widths, with how many networks."""

import numpy as np
import pytest

import infgeo
from infgeo.errors import InfgeoError, InvalidInput, SingularMetric
from infgeo.validation import design

WIDTHS = (64, 128, 256, 512, 1024)


ERF = infgeo.MLP("erf")


def quick(mlp=ERF, input_dim=2, **arguments):
    return infgeo.validate(mlp, input_dim, **{"widths": WIDTHS, "samples": 400} | arguments)


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
        (dict(against="erf"), "against is 'erf'; pass an infgeo.MLP or None"),
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


@pytest.mark.parametrize(
    ("mlp", "quantities"), [(infgeo.MLP("erf", depth=2), None), (ERF, ["ricci_scalar", "volume_element"])]
)
def test_too_few_widths_for_what_must_be_extrapolated_are_bad_input(mlp, quantities):
    with pytest.raises(InvalidInput, match=r"widths is \(64, 128\).*pass three widths or more"):
        quick(mlp, widths=(64, 128), quantities=quantities, progress=lambda *_: pytest.fail("it simulates"))


def test_default_designs():
    for d in (1, 2, 3, 10, 64, 784):
        for depth in (1, 2, 3):
            widths = design.default_widths(d, depth)
            assert len(widths) >= 4 and widths[0] >= 4 * d and sorted(widths) == list(widths)
            assert design.default_samples(d, depth, widths, 8, True) >= 24
    points = design.default_points(3, 0)
    assert np.linalg.norm(points, axis=1) == pytest.approx(np.geomspace(0.3, 4, 8))
    assert (design.default_points(3, 1) != points).any()


def test_curvature_is_left_out_where_the_default_widths_cannot_resolve_it(monkeypatch):
    monkeypatch.setattr(design, "default_widths", lambda d, depth: (32, 64, 128))
    report = infgeo.validate(ERF, 10, samples=16)
    assert "ricci_scalar" not in {row.quantity for row in report.rows}
    assert any("Ricci scalar is left out" in note for note in report.notes)


@pytest.mark.parametrize("quantities", [["ricci_scalar"], "ricci_scalar", iter(["kernel", "ricci_scalar"])])
def test_curvature_asked_for_where_the_default_widths_cannot_resolve_it_names_the_widths(quantities):
    with pytest.raises(InvalidInput, match=r"ricci_scalar is asked for.*d\^2 = 4096.*widths=\(16384, 32768, "):
        infgeo.validate(ERF, 64, quantities=quantities)


def test_default_widths_that_are_too_narrow_for_the_curvature():
    def narrow(d, depth):
        return design.default_widths(d, depth)[0] < 4 * d**2

    assert next(d for d in range(2, 30) if narrow(d, 1)) == 23
    assert next(d for d in range(2, 30) if narrow(d, 2)) == 12


def test_curvature_in_creases_is_left_out_and_refused_where_it_is_asked_for():
    mlp = infgeo.MLP("hardtanh", weight_std=1, bias_std=0.5)
    report = infgeo.validate(mlp, 2, widths=(64, 128, 256), samples=32)
    assert report.passed and "Ricci scalar R " not in report.table()
    assert any("creases" in note for note in report.notes)
    with pytest.raises(InvalidInput, match="creases"):
        infgeo.validate(mlp, 2, widths=(64, 128, 256), samples=32, quantities=("ricci_scalar",))


def test_mixtures_are_validated():
    report = infgeo.validate(infgeo.MLP("tanh", weight_std=1, bias_std=0.5), 2, widths=(64, 128, 256), samples=32)
    assert report.passed and "Ricci scalar R " in report.table()
