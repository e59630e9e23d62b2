"""The figure of learned geometry with few networks: the same path, and claims that can fail."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from infgeo.reproduce import learned_figure as figure
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import SETTINGS, Rows

ROWS = Rows(
    tuple(
        replace(row, widths=(20, 60), shown=60, chains=24, networks=24, noises=(0.5, 2.0), label_scales=(1.0, 3.0),
                descent_steps=20, points=7, examples=min(row.examples, 10))
        for row in SETTINGS["learned", "small"].rows
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    seen = []
    place = Place(tmp_path_factory.mktemp("learned"), progress=lambda *where: seen.append(where))
    found = [figure.measure(ROWS, seed, place) for seed in (0, 1)]
    assert seen[0] == (0, "xor", 0, 8) and seen[-1] == (1, "sinusoid", 7, 8)
    return found


def test_law_and_change_are_those_of_the_networks(results):
    for result in results:
        for name in ("xor", "sinusoid"):
            law, change = (result.arrays[f"{name}.posterior.{part}"] for part in ("law", "change"))
            numbers = result.statistics[name]["posterior"]["60"]
            assert numbers["correlation"] == pytest.approx(np.corrcoef(law, change)[0, 1], rel=1e-9)
            assert numbers["correlation"] > 0.5 and abs(numbers["slope"] - 1) < 0.7
            assert result.statistics[name]["noise"]["0.5"] == numbers == result.statistics[name]["labels"]["1"]
            assert set(result.statistics[name]["labels"]) == {"1", "3"}
    first, second = (result.arrays["sinusoid.inputs"] for result in results)
    assert not np.array_equal(first, second)


def test_every_claim_can_fail(results):
    made = figure.claims(ROWS, results)
    assert [claim.name for claim in made if claim.direction] == [
        f"{task} {what}"
        for task in ("xor", "sinusoid")
        for what in ("posterior", "step", "descent", "approach of posterior", "approach of descent")
    ]
    worse = copy.deepcopy([result.statistics for result in results])
    for statistics in worse:
        for part in statistics.values():
            for kind in ("posterior", "step", "descent"):
                part[kind]["60"] |= {"correlation": -0.5, "slope": 9.0}
    bent = [replace(result, statistics=other) for result, other in zip(results, worse, strict=True)]
    assert {claim.verdict for claim in figure.claims(ROWS, bent) if claim.direction} <= {
        "does not hold", "not significant",
    }  # fmt: skip
    assert all(claim.estimate < 0 for claim in figure.claims(ROWS, bent) if claim.direction)


def test_the_picture_has_four_maps_a_task_and_four_ladders(results):
    drawn = figure.picture(ROWS, results, [])
    titles = [axes.get_title() for axes in drawn.axes]
    assert titles.count("law of the posterior") == 2 == titles.count("gradient descent, $n = 60$")
    assert titles.count("law of gradient flow") == 2
    for pair in (drawn.axes[:2], drawn.axes[2:4]):
        law, change = (axes.collections[0] for axes in pair)
        assert law.get_clim() == change.get_clim() and sum(law.get_clim()) == 0
    assert [axes.get_xlabel() for axes in drawn.axes if axes.get_xlabel()][:2] == ["width $n$"] * 2
    drawn.draw_without_rendering()
