"""The figure of a penalty on the volume element, with small networks and few steps."""

from dataclasses import replace

import numpy as np
import pytest

from infgeo.finite import pullback
from infgeo.reproduce import penalty_figure as figure
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import SETTINGS, Rows
from infgeo.tracking import grid
from infgeo.training import mlp

(ROW,) = SETTINGS["penalty", "small"].rows
SMALL = replace(ROW, width=6, examples=60, steps=30, test_points=200, points=7, strengths=(0.0, 3.0), shown=(0.0, 3.0))
ROWS = Rows((SMALL,))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("penalty"))
    return [figure.measure(ROWS, seed, place) for seed in (0, 1)]


def test_the_penalty_makes_volumes_smaller(results):
    for result in results:
        without, with_it = (result.arrays[f"sinusoid.{key}"] for key in ("0", "3"))
        assert without.shape == (49,) and with_it.mean() < without.mean() - 0.1
    flipped = [np.mean(r.arrays["sinusoid.labels"]) for r in results]
    assert all(0.2 < share < 0.8 for share in flipped)


def test_without_steps_the_map_is_that_of_the_network_as_drawn(tmp_path):
    found = figure.measure(Rows((replace(SMALL, steps=0, strengths=(0.0,)),)), 3, Place(tmp_path))
    points = grid((-1, 1), points=7).coordinates.double()
    drawn = pullback(mlp([2, 6, 2], "sigmoid", seed=3).double(), points, layer="activation1")
    assert np.allclose(found.arrays["sinusoid.0"], drawn.log_volume_element.numpy() / np.log(10), atol=1e-6)


def test_claims_are_differences_from_no_penalty(results):
    made = {claim.name: claim for claim in figure.claims(ROWS, results)}
    assert [name for name, claim in made.items() if claim.direction] == ["sinusoid 3 contrast", "sinusoid 3 accuracy"]
    change = [r.statistics["sinusoid"]["3"]["accuracy"] - r.statistics["sinusoid"]["0"]["accuracy"] for r in results]
    assert made["sinusoid 3 accuracy"].values == pytest.approx(change)


def test_the_picture_has_a_map_for_each_strength_shown(results):
    drawn = figure.picture(ROWS, results, [])
    assert [axes.get_title() for axes in drawn.axes][:2] == ["strength 0", "strength 3"]
    drawn.draw_without_rendering()
