from dataclasses import replace

import numpy as np
import pytest
import sympy
from matplotlib.text import Text

import infgeo
from infgeo.finite import pullback
from infgeo.reproduce import panels
from infgeo.reproduce import planar_figures as planar
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import DEEP, FIG1, WIDTHS, XOR
from infgeo.tracking import grid
from infgeo.training import mlp, sinusoid, train
from tests.reproduce.small import CURVED, LAYERS, PLANAR, RECIPE, SINUSOID


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("planar"))
    return [planar.measure(PLANAR, seed, place) for seed in (0, 1)]


def test_what_is_kept_is_the_geometry_of_the_trained_network(results):
    model, task = mlp(SINUSOID.widths, "erf", "scripts", seed=1), sinusoid(seed=1)
    points = results[1].arrays["sinusoid.points"]
    before = pullback(model.double(), points, layer="activation1").log_volume_element / np.log(10)
    np.testing.assert_allclose(results[1].arrays["sinusoid.log10_volume"][0, 0], before, atol=2e-5)
    model = mlp(SINUSOID.widths, "erf", "scripts", seed=1)
    train(model, task, RECIPE, seed=1)
    after = pullback(model.double(), points, layer="activation1").log_volume_element / np.log(10)
    np.testing.assert_allclose(results[1].arrays["sinusoid.log10_volume"][0, -1], after, atol=2e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_law_is_that_of_the_infinite_network(depth):
    points = np.array([[0.1, 0.2], [-0.7, 0.9], [1.0, -1.0], [0.0, 0.0]])
    expected = infgeo.MLP("erf", depth=depth, weight_std=1, bias_std=1).numeric().log_volume_element(points)
    ours = replace(SINUSOID, parametrisation="paper")
    np.testing.assert_allclose(planar.law(ours, depth, points), expected / np.log(10), atol=1e-6)


def test_the_law_of_scaled_biases_is_that_of_wide_layers_behind_a_wide_one():
    """Behind a layer of n units the bias has variance 1/n: none at infinite width, a quarter behind four units."""
    points = np.array([[0.1, 0.2], [-0.7, 0.9], [1.0, -1.0], [0.0, 0.0]])
    wide, four = (planar.law(replace(SINUSOID, widths=(2, n, n, 2)), 2, points) for n in (10**8, 4))
    for found, bias in ((wide, 1e-4), (four, 0.5)):
        network = infgeo.MLP("erf", depth=2, weight_std=1, bias_std=[1, sympy.Rational(str(bias))])
        np.testing.assert_allclose(found, network.numeric().log_volume_element(points) / np.log(10), atol=1e-6)
    assert np.abs(wide - four).max() > 0.01


def test_wide_random_networks_follow_the_law_and_are_symmetric():
    probe = grid((-2, 2), points=20)
    points = probe.coordinates.numpy()
    model = mlp([2, 20_000, 2], "erf", seed=0).double()
    volume = pullback(model, points, layer="activation1").log_volume_element.numpy() / np.log(10)
    law = planar.law(SINUSOID, 1, points)
    one_class = np.tile([0.0, 1.0], (400, 1))
    found = planar.statistics_of(
        replace(SINUSOID, half_width=2.0), probe, np.stack([volume]), one_class, np.ones(400), law, 0
    )
    assert found["share"][0] > 0.99 and found["agreement_with_law"][0] > 0.99 and found["rest"][0] < 0.02


def test_a_ridge_along_the_boundary_is_found_as_magnification():
    probe = grid((-1, 1), points=24)
    x, y = probe.coordinates.numpy().T
    logits = np.stack((np.zeros_like(y), 8 * (y - 0.3 * np.sin(4 * x))), -1)
    entropy = 1 / np.cosh(logits[:, 1])
    flat, ridge = 0.1 * (x**2 + y**2), 0.1 * (x**2 + y**2) + np.exp(-((y - 0.3 * np.sin(4 * x)) ** 2) / 0.02)
    found = planar.statistics_of(SINUSOID, probe, np.stack((flat, ridge)), logits, entropy, flat, 0)
    assert found["before"]["band"]["value"] < 0.05 < 0.4 < found["after"]["band"]["at_equal_radius"]
    assert found["after"]["distance"]["at_equal_radius"] < -0.5
    assert found["after"]["band"]["p_at_equal_radius"] < 0.05
    assert found["share"][0] > 0.999 and found["share"][1] < 0.5
    seeds = [found] * 5
    claims = {claim.name: claim for claim in planar.layer_claims("", seeds)}
    assert claims["law before"].estimate == pytest.approx(1) and claims["law after"].estimate < 0.5
    verdicts = {name: claim.verdict for name, claim in claims.items()}
    assert verdicts["rest change"] == verdicts["band change"] == "holds"
    assert [name for name, claim in claims.items() if claim.direction] == ["rest change", "band change"]


def test_the_share_of_the_first_epoch_is_that_of_the_change(results):
    start, change = np.linspace(0, 1, 50), np.sin(np.arange(50.0))
    volume = np.stack((start, start + 0.02 * change, start - change))[None]
    assert planar.early_share(volume) == pytest.approx(0.02)
    (early,) = (claim for claim in planar.claims(PLANAR, results) if claim.name == "early")
    expected = [planar.early_share(r.arrays["sinusoid.log10_volume"]) - 0.1 for r in results]
    assert early.direction == -1 and early.values == pytest.approx(expected, rel=1e-4)


def test_a_network_without_a_boundary_is_counted_and_decides_nothing(results):
    probe = grid((-1, 1), points=12)
    volume = results[0].arrays["sinusoid.log10_volume"][0]
    logits = np.tile([0.0, 1.0], (144, 1))
    found = planar.statistics_of(SINUSOID, probe, volume, logits, np.ones(144), volume[0], 0)
    assert "after" not in found and found["boundary_length"] == 0
    claims = {c.name: c for c in planar.layer_claims("", [found] * 5)}
    assert claims["band change"].missing == 5 and claims["band change"].verdict == "not significant"


def test_every_layer_is_measured_and_drawn(tmp_path):
    result = planar.measure(LAYERS, 0, Place(tmp_path))
    assert result.arrays["sinusoid.log10_volume"].shape == (3, 2, 144)
    names = [claim.name for claim in planar.claims(LAYERS, [result])]
    assert {f"layer {n}, band change" for n in (1, 2, 3)} <= set(names)
    figure = planar.picture(LAYERS, [result], [])
    figure.draw_without_rendering()


def test_the_picture_has_one_scale_a_row_and_the_boundary(results):
    figure = planar.picture(PLANAR, results, [])
    maps = [a for a in figure.axes if a.collections and a.get_title().startswith("epoch")]
    assert [a.get_title() for a in maps] == ["epoch 1", "epoch 3"]
    assert len({a.collections[0].get_clim() for a in maps}) == 1
    labels = [a.get_ylabel() for a in figure.axes]
    assert sum("log_{10}" in label for label in labels) == 2  # the colour bar and the panel against the distance
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert set(sizes) == {7}


def test_the_ricci_scalar_is_recorded_and_drawn_with_its_sign(tmp_path):
    result = planar.measure(CURVED, 0, Place(tmp_path))
    model = mlp(SINUSOID.widths, "erf", "scripts", seed=0)
    expected = pullback(model.double(), result.arrays["sinusoid.points"], layer="activation1").ricci_scalar
    np.testing.assert_allclose(result.arrays["sinusoid.ricci"][0, 0], expected, rtol=1e-3, atol=1e-3)
    figure = planar.picture(CURVED, [result], [])
    maps = [a for a in figure.axes if a.collections and a.get_title().startswith("epoch")]
    assert sum(maps[0].collections[0].get_clim()) == 0
    assert all(claim.direction == 0 for claim in planar.claims(CURVED, [result]))


def test_ricci_near_a_boundary_is_told_from_the_rest():
    x, y = (axis.ravel() for axis in np.meshgrid(*[np.linspace(-1, 1, 20)] * 2))
    ricci = np.stack((np.zeros(400), np.where(np.abs(y) < 0.12, -5.0, 1.0)))
    found = planar.ricci_of(np.stack((x, y), 1), ricci, np.stack((0 * y, 8 * y), 1), (20, 20))
    assert found == {"near": [0.0, -5.0], "rest": [0.0, 1.0]}


def test_the_settings_are_the_published_ones():
    row = FIG1.rows[0]
    assert (row.widths, row.activation, row.points) == ((2, 250, 2), "sigmoid", 40)
    recipe = row.recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum, recipe.batch_size, recipe.epochs) == (
        "sgd", 0.1, 0.9, 50, 10_000,
    )  # fmt: skip
    assert (row.half_width, row.parametrisation, row.double, row.first) == (1.5, "scripts", True, 1)
    assert [r.recipe.batch_size for r in XOR.rows] == [None, 50]
    assert WIDTHS.names == ("sinusoid5", "sinusoid20", "noisy_xor10", "noisy_xor100")
    assert DEEP.rows[0].widths == (2, 8, 8, 8, 2) and [row.task for row in XOR.rows] == ["xor", "noisy_xor"]


def test_means_by_distance_are_those_of_the_bins_less_the_mean_of_all():
    x, y = (axis.ravel() for axis in np.meshgrid(*[np.linspace(-1, 1, 21)] * 2))
    logits, points = np.stack((0 * y, 8 * y), 1), np.stack((x, y), 1)
    found = panels.by_distance(points, logits, (21, 21), [np.abs(y), 0 * y], np.array([0, 0.45, 0.85, 3.0]))
    expected = [np.abs(y)[np.digitize(np.abs(y), [0.45, 0.85]) == b].mean() - np.abs(y).mean() for b in range(3)]
    np.testing.assert_allclose(found, [expected, [0, 0, 0]], atol=1e-12)
    assert panels.by_distance(points, 0 * logits + [0, 1], (21, 21), [y], np.array([0, 1])) is None
