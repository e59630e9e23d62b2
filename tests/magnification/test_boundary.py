"""The decision boundary: exact for linear scores, right to second order for smooth ones, and the distance to it."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from infgeo.errors import InvalidInput
from infgeo.magnification import decision_boundary

ROOT = Path(__file__).resolve().parents[2]


def nodes(x, y, indexing="ij"):
    mesh = np.meshgrid(x, y, indexing=indexing)
    return np.stack([axis.ravel() for axis in mesh], axis=1), mesh[0].shape


def exact_edges(weights, biases, box):
    """The boundary of the classifier argmax(W x + b) in a box, pair by pair: half-planes cut a line. The slow twin."""
    edges = {}
    for i, j in combinations(range(len(biases)), 2):
        normal, offset = weights[i] - weights[j], biases[i] - biases[j]
        foot, along = -offset * normal / (normal @ normal), np.array([-normal[1], normal[0]])
        walls = [(weights[i] - weights[k], biases[i] - biases[k]) for k in range(len(biases)) if k not in (i, j)]
        for axis, (low, high) in enumerate(box):
            unit = np.eye(2)[axis]
            walls += [(unit, -low), (-unit, high)]
        start, stop = -np.inf, np.inf
        for a, c in walls:  # a.(foot + t along) + c >= 0
            slope, value = a @ along, a @ foot + c
            if slope > 0:
                start = max(start, -value / slope)
            elif slope < 0:
                stop = min(stop, -value / slope)
            elif value < 0:
                start, stop = 1.0, 0.0
        if start < stop:
            edges[i, j] = np.array([foot + start * along, foot + stop * along])
    return edges


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("indexing", ["ij", "xy"])
def test_linear_classifiers_have_their_exact_boundary(seed, indexing):
    rng = np.random.default_rng(seed)
    weights, biases = rng.standard_normal((5, 2)), 0.4 * rng.standard_normal(5)
    x, y = np.sort(np.concatenate(([-1.5, 2.0], rng.uniform(-1.5, 2.0, 40)))), np.linspace(1.0, -1.0, 33)
    points, shape = nodes(x, y, indexing)
    found = decision_boundary(points, points @ weights.T + biases, shape)
    expected = exact_edges(weights, biases, [(-1.5, 2.0), (-1.0, 1.0)])
    visible = set(found.classes)
    assert len(visible) >= 3
    for pair, (a, b) in expected.items():
        if not set(pair) <= visible:
            continue
        pieces = [line for line, other in zip(found.polylines, found.pairs, strict=True) if other == pair]
        assert sum(np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in pieces) == pytest.approx(
            np.linalg.norm(b - a), rel=1e-9
        )
        ends = np.array([end for p in pieces for end in (p[0], p[-1])])
        for corner in (a, b):
            assert np.linalg.norm(ends - corner, axis=1).min() < 1e-9
    assert {pair for pair in expected if set(pair) <= visible} == set(found.pairs)


def test_voronoi_cells_meet_in_their_vertex():
    """Three sites: the boundary is three rays from the circumcentre, and every point of it has two nearest sites."""
    sites = np.array([[0.0, 1.0], [-0.9, -0.5], [1.0, -0.4]])
    points, shape = nodes(np.linspace(-2, 2, 24), np.linspace(-2, 2, 31))
    scores = -((points[:, None] - sites) ** 2).sum(-1)  # quadratic terms are common: differences are linear
    found = decision_boundary(points, scores, shape)
    assert len(found.polylines) == 3
    for line, (i, j) in zip(found.polylines, found.pairs, strict=True):
        to_sites = np.linalg.norm(line[:, None] - sites, axis=-1)
        # |x|^2 is interpolated too, but the same way for all classes
        np.testing.assert_allclose(to_sites[:, i], to_sites[:, j], atol=1e-12)
        assert (to_sites.min(axis=1) >= to_sites[:, i] - 1e-12).all()
    a, b = 2 * (sites[1] - sites[0]), 2 * (sites[2] - sites[0])
    centre = np.linalg.solve([a, b], [sites[1] @ sites[1] - 1.0, sites[2] @ sites[2] - 1.0])
    for line in found.polylines:
        assert min(np.linalg.norm(line[0] - centre), np.linalg.norm(line[-1] - centre)) < 1e-12


def test_smooth_boundaries_converge_to_second_order():
    errors = []
    for n in (21, 41, 81):
        points, shape = nodes(np.linspace(-2, 2, n), np.linspace(-2, 2, n + 6))
        circle = decision_boundary(points, (points**2).sum(axis=1) - 1.7, shape, level=0.0)
        assert len(circle.polylines) == 1
        np.testing.assert_array_equal(circle.polylines[0][0], circle.polylines[0][-1])
        probes = np.random.default_rng(0).uniform(-2, 2, (300, 2))
        errors.append(np.abs(circle.distance(probes) - np.abs(np.hypot(*probes.T) - np.sqrt(1.7))).max())
        assert abs(circle.length / (2 * np.pi * np.sqrt(1.7)) - 1) < 5 / n**2
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (rates > 1.5).all() and errors[-1] < 1e-3


def test_k_class_boundary_agrees_with_the_contours_of_the_margins():
    """The twin: the edge of the region of class i is where f_i - max of the others changes sign."""
    from contourpy import contour_generator

    n = 81
    points, shape = nodes(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    x, y = points.T
    scores = np.stack([np.sin(3 * x + k) * np.cos(2 * y - k) + 0.3 * k * x * y for k in range(4)], axis=1)
    found = decision_boundary(points, scores, shape)
    twin = []
    for i in range(4):
        margin = scores[:, i] - np.delete(scores, i, axis=1).max(axis=1)
        axis = np.linspace(-1, 1, n)
        twin += contour_generator(axis, axis, margin.reshape(shape).T).lines(0.0)
    spacing = 2 / (n - 1)
    assert found.distance(np.concatenate(twin)).max() < spacing  # near a triple point a cell of the twin is rounded off
    assert np.median(found.distance(np.concatenate(twin))) < 1e-12
    assert found.length == pytest.approx(
        sum(np.linalg.norm(np.diff(t, axis=0), axis=1).sum() for t in twin) / 2, rel=0.01
    )


def test_the_boundary_passes_between_all_neighbours_of_different_classes():
    rng = np.random.default_rng(5)
    points, shape = nodes(np.linspace(-1, 1, 30), np.linspace(-1, 1, 30))
    scores = np.stack([np.sin(points @ rng.standard_normal(2) * 4 + rng.uniform(0, 6)) for _ in range(6)], axis=1)
    found = decision_boundary(points, scores, shape)
    winner, where = scores.argmax(axis=1).reshape(shape), points.reshape(*shape, 2)
    differ = winner[1:] != winner[:-1]
    middles = ((where[1:] + where[:-1]) / 2)[differ]
    assert len(middles) > 50
    assert found.distance(middles).max() <= 1.001 / 29  # half a spacing: the boundary crosses the edge itself
    interior = (where[1:] + where[:-1])[~differ] / 2
    assert np.median(found.distance(interior)) > 1 / 29


def test_sheared_grids_give_the_boundary_in_their_coordinates():
    points, shape = nodes(np.linspace(0, 1, 25), np.linspace(0, 1, 20))
    sheared = points @ np.array([[1.0, 0.2], [0.7, -0.9]])
    line = decision_boundary(sheared, sheared @ [1.0, 2.0] - 0.1, shape, level=0.0)
    vertices = np.concatenate(line.polylines)
    np.testing.assert_allclose(vertices @ [1.0, 2.0], 0.1, atol=1e-14)


def test_distance_of_points_to_segments_is_exact():
    rng = np.random.default_rng(1)
    points, shape = nodes(np.linspace(-1, 1, 12), np.linspace(-1, 1, 12))
    found = decision_boundary(points, np.sin(3 * points[:, 0]) - points[:, 1] ** 2 + 0.2, shape, level=0.0)
    probes = rng.uniform(-2, 2, (40, 2))
    for probe, distance in zip(probes, found.distance(probes), strict=True):
        twin = min(
            minimize_scalar(
                lambda t, a=a, b=b, p=probe: ((a + t * (b - a) - p) ** 2).sum(), bounds=(0, 1), options={"xatol": 1e-12}
            ).fun
            for a, b in found.segments
        )
        ends = np.linalg.norm(found.segments.reshape(-1, 2) - probe, axis=1).min()
        assert distance == pytest.approx(min(np.sqrt(twin), ends), abs=1e-9)
    assert found.distance(np.concatenate(found.polylines)).max() < 1e-15


def test_distance_to_a_line_is_the_same_in_pieces(monkeypatch):
    points, shape = nodes(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    line = decision_boundary(points, points @ [3.0, 4.0] - 1.0, shape, level=0.0)
    inside = points[np.abs(points @ [4.0, -3.0]) < 2]  # their feet lie within the grid
    whole = line.distance(inside)
    np.testing.assert_allclose(whole, np.abs(inside @ [0.6, 0.8] - 0.2), atol=1e-14)
    monkeypatch.setattr("infgeo.magnification.boundary._PAIRS_AT_ONCE", 100)
    np.testing.assert_array_equal(line.distance(inside), whole)


def test_crossings_of_a_line_are_exact_for_linear_scores():
    t = np.array([0.0, 0.4, 0.5, 1.3, 2.0])
    scores = np.stack((1 - t, t - 0.9, 0.2 * np.ones_like(t)), axis=1)
    found = decision_boundary(t, scores)
    assert found.pairs == ((0, 2), (1, 2))
    np.testing.assert_allclose(np.concatenate(found.polylines)[:, 0], [0.8, 1.1], atol=1e-15)
    np.testing.assert_allclose(found.distance([0.0, 1.0, 2.0]), [0.8, 0.1, 0.9], atol=1e-15)
    assert found.length == 0
    backwards = decision_boundary(t[::-1, None], scores[::-1])
    np.testing.assert_allclose(sorted(np.concatenate(backwards.polylines)[:, 0]), [0.8, 1.1], atol=1e-15)


def test_a_class_between_two_points_of_a_line_is_seen_where_it_wins_elsewhere():
    t = np.array([0.0, 1.0, 2.0])
    scores = np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.9], [0.0, 0.0, 1.0]])  # class 2 wins around t = 0.5
    found = decision_boundary(t, scores)
    np.testing.assert_allclose(np.concatenate(found.polylines)[:, 0], [0.1, 0.9, 1 + 0.1 / 1.1], atol=1e-12)
    assert found.pairs == ((0, 2), (1, 2), (1, 2))


def test_a_node_on_the_boundary_is_crossed_once():
    t = np.linspace(-1, 1, 5)
    for sign in (1.0, -1.0):
        found = decision_boundary(t, sign * t, level=0.0)
        np.testing.assert_array_equal(np.concatenate(found.polylines), [[0.0]])
    points, shape = nodes(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5))
    both = decision_boundary(points, np.stack((points[:, 0], -points[:, 0]), axis=1), shape)
    np.testing.assert_array_equal(both.distance(points), np.abs(points[:, 0]))


def test_levels_and_saturated_probabilities():
    points, shape = nodes(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))
    logits = 3 * (points[:, 0] - 0.21)
    expected = decision_boundary(points, logits, shape, level=0.0).distance(points)
    two = decision_boundary(points, np.stack((np.zeros_like(logits), logits), axis=1), shape)
    np.testing.assert_allclose(two.distance(points), expected, atol=1e-14)
    column = decision_boundary(points, 1 / (1 + np.exp(-logits[:, None])), shape, level=0.5)
    np.testing.assert_allclose(column.distance(points), expected, atol=1e-3)
    hard = np.stack((logits <= 0, logits > 0, np.zeros(len(logits))), axis=1).astype(float)
    assert decision_boundary(points, hard, shape).pairs == ((0, 1),)


def test_one_class_has_no_boundary_and_says_so():
    points, shape = nodes(np.linspace(-1, 1, 5), np.linspace(-1, 1, 6))
    none = decision_boundary(points, np.stack((points[:, 0], points[:, 0] + 1), axis=1), shape)
    assert not none and none.classes == (1,) and none.length == 0 and none.segments.shape == (0, 2, 2)
    with pytest.raises(InvalidInput, match="class 1 is predicted at every point"):
        none.distance(points)
    assert not decision_boundary(points, np.zeros((30, 3)), shape)  # ties everywhere: the first class wins
    touching = decision_boundary(points, points[:, 0], shape, level=-1)  # at the edge of the grid alone
    assert not touching and touching.classes == (0, 1)
    with pytest.raises(InvalidInput, match="classes 0, 1 tie wherever one gives way to another"):
        touching.distance(points)


POINTS, SHAPE = nodes(np.linspace(-1, 1, 5), np.linspace(-1, 1, 6))


@pytest.mark.parametrize(
    ("coordinates", "scores", "shape", "level", "message"),
    [
        (POINTS, POINTS[:, 0], SHAPE, None, "level=0 for logits"),
        (POINTS, POINTS, SHAPE, 0.5, "level = 0.5"),
        (POINTS, POINTS[:, 0], SHAPE, float("nan"), "level is nan"),
        (POINTS, POINTS[:-1], SHAPE, None, r"scores has shape \(29, 2\)"),
        (POINTS, POINTS, (6, 5), None, "no grid"),
        (POINTS, POINTS, (4, 5), None, "20 points, and there are 30"),
        (POINTS, POINTS, (1, 30), None, "integer >= 2"),
        (POINTS, POINTS, None, None, "pass .rows, columns."),
        (POINTS, POINTS, 30, None, "pass .rows, columns."),
        (np.random.default_rng(0).permutation(POINTS), POINTS, SHAPE, None, "no grid"),
        (np.hstack((POINTS, POINTS)), POINTS, SHAPE, None, r"coordinates has shape \(30, 4\)"),
        (POINTS, np.where(POINTS == 1, np.nan, POINTS), SHAPE, None, r"scores\[5, 1\] is nan \(and 10 more of 60"),
        (POINTS, np.where(POINTS == 1, np.inf, POINTS), SHAPE, None, "inf"),
        (POINTS, POINTS > 0, SHAPE, None, "dtype bool"),
        (POINTS[:, 1], POINTS, None, None, "neither increase nor decrease"),
        ([0.0], [[1.0, 2.0]], None, None, "2 at least"),
        ([0.0, 1.0], [[1.0, 2.0], [2.0, 1.0]], (3,), None, "3 points, and there are 2"),
    ],
)
def test_bad_input_is_named(coordinates, scores, shape, level, message):
    with pytest.raises(InvalidInput, match=message):
        decision_boundary(coordinates, scores, shape, level=level)


def test_points_of_another_dimension_have_no_distance():
    found = decision_boundary(POINTS, POINTS, SHAPE)
    for bad in ([[0.0, 0.0, 0.0]], [0.0, 1.0], [["a", "b"]]):
        with pytest.raises(InvalidInput, match="points has"):
            found.distance(bad)
    with pytest.raises(InvalidInput, match="nan"):
        found.distance([[0.0, np.nan]])


def test_without_contourpy_the_extra_is_named_and_lines_still_work():
    program = (
        "import sys; sys.modules['contourpy'] = None\n"
        "import numpy as np, infgeo\n"
        "boundary = infgeo.magnification.decision_boundary\n"
        "assert boundary([0.0, 1.0], [-1.0, 1.0], level=0).distance([0.0]) == 0.5\n"
        "grid = np.array([[x, y] for x in (0.0, 1.0) for y in (0.0, 1.0)])\n"
        "try:\n    boundary(grid, grid, (2, 2))\n"
        "except infgeo.errors.MissingExtra as error:\n"
        "    assert \"pip install 'infgeo[magnification]'\" in str(error)\n"
        "else:\n    raise AssertionError\n"
        "assert not {'torch', 'sympy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
