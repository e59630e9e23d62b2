"""Probes against brute force: distances, areas and barycentric coordinates are those of the inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from infgeo.errors import InvalidInput
from infgeo.tracking import grid, line, plane, points

IMAGES = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_a_line_runs_through_both_inputs() -> None:
    probe = line(IMAGES[0], IMAGES[1], points=5, margin=0.25)
    t = torch.tensor([-0.25, 0.125, 0.5, 0.875, 1.25], dtype=torch.float64)
    torch.testing.assert_close(probe.coordinates[:, 0], t)
    for value, x in zip(t, probe.inputs, strict=True):
        torch.testing.assert_close(x, IMAGES[0] + value * (IMAGES[1] - IMAGES[0]))
    torch.testing.assert_close(probe.coordinates_of(probe.inputs), probe.coordinates)
    torch.testing.assert_close(probe.barycentric, torch.stack((1 - t, t), -1))
    assert probe.scale.item() == pytest.approx(float((IMAGES[1] - IMAGES[0]).norm()), rel=1e-14)
    assert (probe.kind, probe.shape, probe.input_shape, probe.is_slice) == ("line", (5,), (2, 4, 5), True)


@pytest.mark.parametrize("region", ["rectangle", "triangle"])
def test_a_plane_is_isometric_and_goes_through_its_anchors(region: str) -> None:
    probe = plane(*IMAGES, points=7, region=region)
    assert probe.directions is not None and probe.anchors is not None
    frame = probe.directions.flatten(1)
    torch.testing.assert_close(frame @ frame.T, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-15)
    x, c = probe.inputs.flatten(1), probe.coordinates
    torch.testing.assert_close(torch.cdist(x, x), torch.cdist(c, c), rtol=1e-6, atol=1e-6)
    corners = probe.coordinates_of(IMAGES)
    torch.testing.assert_close(probe.inputs_at(corners), IMAGES)
    assert corners[0].tolist() == [0, 0] and abs(corners[1, 1]) < 1e-14 and corners[1, 0] > 0 and corners[2, 1] > 0
    b = probe.barycentric
    torch.testing.assert_close(b.sum(1), torch.ones(len(b), dtype=torch.float64))
    torch.testing.assert_close(torch.einsum("pi,i...->p...", b, IMAGES), probe.inputs)
    if region == "triangle":
        assert len(probe) == 28 and probe.shape == (28,) and float(b.min()) > -1e-14
        assert {tuple(row) for row in (6 * b).round().int().tolist()} == {
            (i, j, 6 - i - j) for i in range(7) for j in range(7 - i)
        }
    else:
        assert probe.shape == (7, 7) and len(probe) == 49
        low, high = c.amin(0), c.amax(0)
        torch.testing.assert_close(low, corners.amin(0))
        torch.testing.assert_close(high, corners.amax(0))


def test_the_area_of_the_triangle_is_that_of_heron() -> None:
    probe = plane(*IMAGES)
    (a, b), c = (
        probe.coordinates_of(IMAGES[1:]),
        [float((IMAGES[i] - IMAGES[j]).norm()) for i, j in ((0, 1), (1, 2), (2, 0))],
    )
    s = sum(c) / 2
    area = math.sqrt(s * (s - c[0]) * (s - c[1]) * (s - c[2]))
    assert abs(a[0] * b[1] - a[1] * b[0]) / 2 == pytest.approx(area, rel=1e-12)


def test_coordinates_of_inputs_off_the_plane_are_their_orthogonal_projection() -> None:
    probe = plane(*IMAGES, points=(3, 2), margin=0.5)
    assert probe.shape == (2, 3)
    off = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    c = probe.coordinates_of(off)
    rest = off - probe.inputs_at(c)
    assert probe.directions is not None
    assert float((probe.directions.flatten(1) @ rest.flatten()).abs().max()) < 1e-13
    obtuse = plane([0.0, 0.0], [1.0, 0.0], [-1.0, 1.0], points=2)
    assert obtuse.coordinates.tolist() == [[-1.0, 0.0], [1.0, 0.0], [-1.0, 1.0], [1.0, 1.0]]


def test_a_grid_is_drawn_as_pictures_are() -> None:
    probe = grid(torch.tensor([[0.0, 2.0], [10.0, 11.0]]), points=(3, 2))
    assert torch.equal(probe.inputs, grid(((0, 2), (10, 11)), points=(3, 2)).inputs)
    assert probe.inputs.reshape(*probe.shape, 2)[1].tolist() == [[0, 11], [1, 11], [2, 11]]
    assert not probe.is_slice and probe.scale.tolist() == [1, 1]
    assert torch.equal(probe.coordinates, probe.inputs)
    cloud = points(np.zeros((4, 3, 2)))
    assert cloud.input_shape == (3, 2) and cloud.coordinates.shape == (4, 6) and cloud.inputs.shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: plane([0.0, 0.0], [1.0, 1.0], [2.0, 2.0]), "span no plane"),
        (lambda: plane([0.0, 0.0], [0.0, 0.0], [2.0, 2.0]), "span no plane"),
        (lambda: plane([0.0, 0.0], [1.0, 0.0], [2.0, 1e-9]), "height over x0 x1"),
        (lambda: plane([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], region="disc"), "'rectangle', 'triangle'"),
        (lambda: plane([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], region="triangle", margin=0.1), "drop it"),
        (lambda: line([0.0, 1.0], [0.0, 1.0]), "0 apart"),
        (lambda: line([1e200, 1.0], [0.0, 1.0]), "within the range"),
        (lambda: line([0.0, 1.0], [0.0, 1.0, 2.0]), r"x0 has shape \(2,\), x1 has shape \(3,\)"),
        (lambda: line([0.0, math.nan], [0.0, 1.0]), "not finite"),
        (lambda: line([0.0, 1.0], [1.0, 1.0], points=1), "points is 1"),
        (lambda: line([0.0, 1.0], [1.0, 1.0], margin=-1), "margin"),
        (lambda: grid((1, -1)), "low must be below"),
        (lambda: grid((0, 1, 2)), "pass \\(low, high\\)"),
        (lambda: grid((0, math.inf)), "finite"),
        (lambda: grid(points=1), "points is 1"),
        (lambda: points(torch.zeros(3, 2, dtype=torch.int64)), "dtype"),
        (lambda: points([1.0, 2.0]), "at least one point"),
        (lambda: points(np.zeros((0, 2))), "at least one point"),
        (lambda: points([[1.0]], name=""), "name"),
        (lambda: grid().barycentric, "no anchors"),
        (lambda: grid().inputs_at([1.0, 2.0, 3.0]), r"takes \(..., 2\)"),
        (lambda: line([0.0, 1.0], [1.0, 1.0]).coordinates_of([1.0, 2.0, 3.0]), "pass inputs of shape"),
    ],
)
def test_bad_input_is_named(make, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        make()
