"""Pictures: what is drawn are the numbers of the geometry."""

import math

import numpy as np
import pytest
import torch

import infgeo
from infgeo import pictures
from infgeo.errors import InvalidInput

torch.manual_seed(0)
NET = torch.nn.Sequential(torch.nn.Linear(2, 30), torch.nn.Tanh(), torch.nn.Linear(30, 2)).double()
GRID = infgeo.tracking.grid((-1, 1), points=6)


def test_a_map_has_the_values_of_the_pullback_on_its_grid():
    axes = pictures.geometry_map(NET, GRID, layer="1", logits=lambda x: x)
    result = infgeo.finite.pullback(NET, GRID.inputs, layer="1")
    drawn = axes.collections[0].get_array()
    np.testing.assert_allclose(drawn.ravel(), result.log_volume_element / math.log(10), rtol=1e-12)
    corner = axes.collections[0].get_coordinates()[0, 0]  # the lower left one of the first cell
    assert (corner < GRID.coordinates[0].numpy()).all() and axes.lines  # with the boundary
    curved = pictures.geometry_map(NET, GRID, "ricci_scalar", layer="1").collections[0]
    np.testing.assert_allclose(curved.get_array().ravel(), result.ricci_scalar, rtol=1e-9)
    low, high = curved.norm.vmin, curved.norm.vmax
    assert low == -high or (result.ricci_scalar <= 0).all()  # white is 0, where there are both signs
    stretched = pictures.geometry_map(NET, GRID, "anisotropy", layer="1").collections[0].get_array().ravel()
    ratio = result.singular_values[:, 0] / result.singular_values[:, 1]
    np.testing.assert_allclose(stretched, ratio.log10(), rtol=1e-9)


def test_a_map_of_a_plane_is_that_of_the_slice():
    net = torch.nn.Sequential(torch.nn.Linear(5, 30), torch.nn.Tanh()).double()
    plane = infgeo.tracking.plane(*torch.randn(3, 5, dtype=torch.float64), points=4)
    drawn = pictures.geometry_map(net, plane).collections[0].get_array().ravel()
    result = infgeo.finite.pullback_slice(net, plane.coordinates, plane.origin, plane.directions)
    np.testing.assert_allclose(drawn, result.log_volume_element / math.log(10), rtol=1e-12)


def test_ellipses_are_steps_of_equal_length():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    features = torch.nn.Sequential(NET[0], NET[1])
    axes = pictures.metric_ellipses(features, points, size=0.1)
    [drawn] = axes.collections
    for x, width, height, angle in zip(points, drawn._widths, drawn._heights, drawn._angles, strict=True):
        g = infgeo.finite.pullback(features, x).metric.numpy()
        along = np.array([np.cos(angle), np.sin(angle)]) * width  # matplotlib keeps half axes and radians
        across = np.array([-np.sin(angle), np.cos(angle)]) * height
        assert along @ g @ along == pytest.approx(0.01) and across @ g @ across == pytest.approx(0.01)
        assert along @ g @ across == pytest.approx(0, abs=1e-12)


def test_the_largest_ellipse_stays_between_neighbours():
    axes = pictures.metric_ellipses(torch.nn.Sequential(NET[0], NET[1]), GRID.inputs)
    assert max(axes.collections[0]._widths.max(), axes.collections[0]._heights.max()) == pytest.approx(0.2)


def test_geodesics_of_modules_and_of_infinite_width():
    path = infgeo.finite.geodesic(NET, [[-1.0, -1.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 0.0]])
    axes = pictures.geodesics(path)
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) > 2]
    np.testing.assert_array_equal(lines[0], path.points[0])
    np.testing.assert_array_equal(lines[-1], path.points[1])
    found = infgeo.MLP("erf", weight_std=1, bias_std=1).metric.geodesic(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    bent = pictures.geodesics(found, straight=False).lines[0].get_xydata()
    np.testing.assert_allclose(bent[[0, -1]], [[1, 0], [0, 1]], atol=1e-9)


def test_a_curve_of_training_on_given_axes():
    with infgeo.GeometryTracker(NET, at=GRID, features=["1"], every=1) as tracker:
        for _ in range(3):
            tracker.step()
    axes = pictures.training_curve(tracker.history, layer="1")
    values = tracker.history.quantity("log10_volume", layer="1")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.median(values, axis=1))
    again = pictures.training_curve(tracker.history, layer="1", axes=axes)
    assert again is axes and len(axes.lines) == 2 and axes.figure._repr_png_()[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pictures.geometry_map(NET, GRID, "volume"), "quantity"),
        (lambda: pictures.geometry_map(NET, GRID.inputs), "probe"),
        (lambda: pictures.geometry_map(NET, infgeo.tracking.points([[0.0, 1.0]])), "two coordinates"),
        (lambda: pictures.metric_ellipses(torch.nn.Linear(3, 4).double(), np.zeros((2, 3))), "3 coordinates"),
        (lambda: pictures.geodesics(np.zeros((4, 3))), "shape"),
        (lambda: pictures.training_curve(None), "history"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
