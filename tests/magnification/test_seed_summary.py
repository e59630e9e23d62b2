"""Independent seeds together, and layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp

from infgeo.errors import InvalidInput
from infgeo.magnification import agreement, by_layer, change, magnification, over_seeds, sign_flip_p, symmetry
from tests.magnification.fields import grid, waves

POINTS, SHAPE = grid(16)
DISTANCE = np.abs(POINTS[:, 0] - 0.2)


def result_of(seed, effect=0.0):
    volume = waves(POINTS, 0.4, np.random.default_rng(seed)) + effect * np.exp(-((DISTANCE / 0.2) ** 2))
    return magnification(volume, DISTANCE, entropy=np.exp(-DISTANCE), points=POINTS, null=None)


def test_rows_are_student_intervals_and_sign_flips():
    results = [result_of(seed, effect=1.0) for seed in range(6)]
    summary = over_seeds(results, level=0.9)
    for name in results[0].statistics():
        values = np.array([result.statistics()[name] for result in results])
        row = summary[name]
        low, high = ttest_1samp(values, 0).confidence_interval(0.9)
        assert (row.mean, row.low, row.high) == pytest.approx((values.mean(), low, high), abs=1e-12)
        side = "less" if name.startswith("distance") else "greater"
        twin = permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative=side)
        assert row.alternative == side and row.p == pytest.approx(twin.pvalue, abs=1e-12)
        assert row.values == tuple(values)
    assert set(json.loads(summary.to_json())["rows"][0]) >= {"name", "mean", "low", "high", "p", "values"}
    assert str(summary).count("\n") == len(summary.rows)
    with pytest.raises(KeyError, match="this summary has distance"):
        summary["nothing"]


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_sign_flips_are_exact(alternative):
    rng = np.random.default_rng(0)
    for n in (2, 5, 9):
        x = rng.standard_normal(n) + 0.5
        twin = permutation_test((x,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative=alternative)
        assert sign_flip_p(x, alternative) == pytest.approx(twin.pvalue, abs=1e-12)
    assert sign_flip_p([1.0] * 5, "greater") == 1 / 32 and sign_flip_p([1.0] * 5) == 2 / 32
    assert sign_flip_p([1.0], "greater") == 1 / 2
    assert sign_flip_p([0.0] * 5, alternative) == 1  # ties count


def test_many_seeds_draw_signs_at_random_and_keep_the_test_valid():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(17) + 0.4
    sums = (1 - 2 * ((np.arange(2**17)[:, None] >> np.arange(17)) & 1)) @ x
    exact = np.mean(sums >= x.sum() - 1e-12)
    p = sign_flip_p(x, "greater")
    assert abs(p - exact) < 5 * np.sqrt(exact / 1e5)
    assert p == sign_flip_p(x, "greater") and sign_flip_p(np.ones(40), "greater") == 1e-5


def test_the_test_over_seeds_keeps_its_level_under_spatial_correlation():
    """Five networks that know nothing of the boundary: p = 1/32 is reached with probability 1/32."""
    name, hits, trials = "distance at equal radius", 0, 60
    for trial in range(trials):
        summary = over_seeds([result_of(1000 + 5 * trial + k) for k in range(5)])
        hits += summary[name].p <= 1 / 32
    assert hits <= trials / 32 + 4 * np.sqrt(trials / 32)


def test_five_seeds_with_an_effect_reach_the_smallest_p():
    summary = over_seeds([result_of(seed, effect=2.0) for seed in range(5)])
    for row in summary.rows:
        assert row.p == 1 / 32, row
    assert summary["distance"].high < 0 < summary["band at equal radius"].low


def test_layers_are_rows_of_their_own():
    seeds = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        volumes = {"hidden1": waves(POINTS, 0.4, rng), "hidden2": waves(POINTS, 0.4, rng) - DISTANCE}
        seeds.append(by_layer(magnification, volumes, distance=DISTANCE, points=POINTS, null=None))
    assert list(seeds[0]) == ["hidden1", "hidden2"]
    summary = over_seeds(seeds)
    assert summary["hidden2: distance"].alternative == "less"
    assert summary["hidden2: distance"].mean == pytest.approx(np.mean([s["hidden2"].distance.value for s in seeds]))
    with pytest.raises(InvalidInput, match="at least 3") as raised:
        by_layer(magnification, {"hidden1": [1.0, 2.0]}, distance=[1.0, 2.0])
    assert raised.value.__notes__ == ["layer 'hidden1'"]
    for empty in ({}, [np.ones(3)]):
        with pytest.raises(InvalidInput, match="log_volumes"):
            by_layer(magnification, empty)


def test_shares_have_no_sign_and_their_change_has():
    before = [
        symmetry(POINTS, -(POINTS**2).sum(axis=1) + 0.1 * waves(POINTS, 0.4, np.random.default_rng(s)))
        for s in range(5)
    ]
    after = [symmetry(POINTS, waves(POINTS, 0.4, np.random.default_rng(s))) for s in range(5)]
    assert over_seeds(before)["share"].p is None
    pairs = over_seeds([{"before": b, "after": a} for b, a in zip(before, after, strict=True)])
    assert pairs["before: share"].mean > 0.9 > pairs["after: share"].mean and pairs["after: share"].p is None
    changes = [change(b, a) for b, a in zip(before, after, strict=True)]
    assert changes[0] == {"share": after[0].share - before[0].share}
    summary = over_seeds(changes, alternatives={"share": "less"})
    assert summary["share"].p == 1 / 32 and over_seeds(changes)["share"].p == 2 / 32
    law = agreement(np.arange(5.0), np.arange(5.0) + 1)
    assert over_seeds([law, law])["offset"].p is None


def test_one_seed_has_no_interval_and_missing_statistics_are_counted():
    row = over_seeds([{"a": 1.0}])["a"]
    assert (row.mean, row.low, row.high, row.p) == (1.0, None, None, None)
    summary = over_seeds([{"a": 1.0, "b": 2.0}, {"a": 3.0}, {"a": 2.0, "b": None}])
    assert summary["a"].missing == 0 and (summary["b"].missing, summary["b"].values) == (2, (2.0,))
    assert "1 (2 without)" in summary.table()


@pytest.mark.parametrize(
    ("results", "options", "message"),
    [
        ([], {}, "pass a list"),
        ({"a": 1.0}, {}, "results is a dict"),
        ([], {}, "results is an empty list"),
        ([{"a": 1.0}, result_of(0)], {}, "different kinds"),
        ([3.0, 4.0], {}, "float is no result"),
        ([{"a": np.nan}, {"a": 1.0}], {}, "nan"),
        ([{"a": "x"}, {"a": 1.0}], {}, "dtype"),
        ([{"a": 1.0}], {"level": 1.0}, "level is 1.0"),
        ([{"a": 1.0}], {"alternatives": {"b": "less"}}, "alternatives names b"),
        ([{"a": 1.0}, {"a": 2.0}], {"alternatives": {"a": "up"}}, "alternative is 'up'"),
    ],
)
def test_bad_input_is_named(results, options, message):
    with pytest.raises(InvalidInput, match=message):
        over_seeds(results, **options)


def test_results_without_a_common_statistic_have_no_change():
    with pytest.raises(InvalidInput, match="before has a and after has b: no statistic in common"):
        change({"a": 1.0}, {"b": 2.0})
