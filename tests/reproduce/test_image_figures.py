from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from infgeo.errors import InvalidInput
from infgeo.finite import pullback
from infgeo.reproduce import image_figures as images
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import SETTINGS, ImageRows
from infgeo.tracking import line
from infgeo.training import Task, digits
from tests.reproduce.small import ENCODERS, PERCEPTRON

ROWS = ImageRows((PERCEPTRON,))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return images.measure(ROWS, 0, Place(tmp_path_factory.mktemp("images")))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    return images.measure(ENCODERS, 0, Place(tmp_path_factory.mktemp("encoders")))


def test_what_is_kept_is_the_volume_of_the_whole_input_space(result):
    task = digits(seed=0)
    model = images.model_of(PERCEPTRON, task, 0)
    probe = images.probes_of(PERCEPTRON, task.flattened(), 0)["line 1-6"]
    volume = pullback(model.double(), probe.inputs, layer="activation1").log_volume_element.numpy() / np.log(10)
    np.testing.assert_allclose(result.arrays["digits.line 1-6.log10_volume"][0], volume, rtol=1e-6)


def test_fewer_features_than_pixels_give_the_product_of_the_singular_values(encoders):
    row = ENCODERS.rows[0]
    task = images.task_of(row, 0, Place(None))
    encoder = images.model_of(row, task, 0).encoder.eval().double()
    probe = images.probes_of(row, task, 0)["plane 5-6-1"]
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: encoder(x[None])[0]))(probe.inputs[:3]).flatten(2)
    expected = torch.linalg.svdvals(jacobian.detach()).log10().sum(-1)
    kept = encoders.arrays[f"{row.name}.plane 5-6-1.log10_volume"][0, :3]
    np.testing.assert_allclose(kept, expected, rtol=1e-5)


def test_images_are_those_of_the_classes_and_differ_between_seeds():
    task = digits(seed=0)
    first, second = (images.probes_of(PERCEPTRON, task, seed)["line 7-6"] for seed in (0, 1))
    for probe in (first, second):
        found = [int(task.test_labels[(task.test_inputs == image).flatten(1).all(1)][0]) for image in probe.anchors]
        assert found == [7, 6]
    assert not torch.equal(first.anchors, second.anchors)


def test_entropy_is_that_of_the_softmax_at_any_scale():
    logits = np.array([[0.0, 0.0, 0.0], [1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]])
    expected = torch.distributions.Categorical(logits=torch.tensor(logits)).entropy().numpy()
    np.testing.assert_allclose(images.entropy_of(logits), expected, atol=1e-12)


def test_a_bump_at_the_crossing_of_a_line_is_found_as_magnification():
    probe = line([0.0, 0.0], [1.0, 0.0], points=64)
    t = probe.coordinates.numpy()[:, 0]
    logits = np.stack((np.zeros(64), 20 * (t - 0.4)), -1)
    volume = np.stack((0.1 * np.sin(9 * t), np.exp(-((t - 0.4) ** 2) / 0.005)))
    found = images.statistics_of(probe, volume, logits, 0)
    assert found["after"]["band"]["value"] > 0.5 and abs(found["before"]["band"]["value"]) < 0.2
    assert found["after"]["distance"]["value"] < -0.99 and found["after"]["entropy"]["value"] > 0.99
    assert images.statistics_of(probe, volume, np.tile([0.0, 1.0], (64, 1)), 0)["classes"] == [1]


def test_means_over_slices_leave_out_and_count_those_without_a_boundary():
    def numbers(value, p):
        return {key: {"value": value, "p": p} for key in ("band", "distance", "entropy")}

    on_probes = {
        "line a": {"before": numbers(0.0, 0.5), "after": numbers(1.0, 0.1)},
        "line b": {"before": numbers(1.0, 0.7), "after": numbers(3.0, 0.2)},
        "line c": {"classes": [4]},
        "plane d": {"before": numbers(9.0, 1.0), "after": numbers(9.0, 1.0)},
    }
    found = images.averaged(on_probes, "line")
    assert (found["slices"], found["with_boundary"]) == (3, 2)
    assert found["after"]["band"]["value"] == 2.0 and found["after"]["band"]["p"] == pytest.approx(0.3)
    assert found["before"]["entropy"] == {
        "value": 0.5, "p": 1.0, "at_equal_radius": None, "p_at_equal_radius": None,
    }  # fmt: skip
    assert "after" not in images.averaged({"line c": {"classes": [4]}}, "line")


def test_the_boundary_of_an_encoder_is_that_of_a_readout(encoders):
    row = ENCODERS.rows[1]
    numbers = encoders.statistics[row.name]
    assert 0.1 < numbers["test_accuracy"] <= 1
    name = f"{row.name}.line 1-6"
    assert encoders.arrays[f"{name}.logits"].shape == (1, 9, 10)
    assert encoders.arrays[f"{name}.log10_volume"].shape == (2, 9)


@pytest.mark.parametrize("which", ["result", "encoders"])
def test_claims_and_pictures(which, request):
    settings = ROWS if which == "result" else ENCODERS
    kept = request.getfixturevalue(which)
    names = [claim.name for claim in images.claims(settings, [kept])]
    prefix = "" if which == "result" else "simclr, "
    assert {f"{prefix}lines, band change", f"{prefix}planes, entropy after"} <= set(names)
    figure = images.picture(settings, [kept], [])
    figure.draw_without_rendering()
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert min(sizes) >= 6


def test_missing_files_are_one_error_with_every_way(monkeypatch):
    monkeypatch.delenv("INFGEO_DATA", raising=False)
    for figure in ("fig2", "fig3"):
        with pytest.raises(InvalidInput, match=r"(?s)root=.*download=True.*digits.*--data FOLDER.*--scale small"):
            images.check(SETTINGS[figure, "paper"], Place(None, data="/nowhere"))


def test_the_published_settings():
    digits_row, cifar = SETTINGS["fig2", "paper"].rows[0], SETTINGS["fig3", "paper"].rows[0]
    assert (digits_row.widths, digits_row.recipe.optimizer, digits_row.recipe.learning_rate) == ((2000,), "adam", 1e-3)
    assert (digits_row.recipe.weight_decay, digits_row.recipe.epochs, digits_row.line_points) == (1e-4, 200, 64)
    assert (cifar.network, cifar.activation, cifar.recipe.batch_size) == ("resnet34", "gelu", 1024)
    assert (cifar.recipe.learning_rate, cifar.recipe.momentum, cifar.recipe.weight_decay) == (0.01, 0.9, 1e-4)
    assert cifar.augmentation == "crops" and cifar.plane_points == 80
    barlow, simclr = SETTINGS["ssl", "paper"].rows
    assert (barlow.redundancy, simclr.temperature, barlow.recipe.epochs, simclr.recipe.epochs) == (
        0.005,
        0.07,
        1000,
        1000,
    )
    for name, scale in SETTINGS:
        for row in getattr(SETTINGS[name, scale], "rows", ()):
            assert row.shown[0] == 0 and row.shown[-1] == row.recipe.epochs


def test_resnets_take_augmentation_and_measure_their_pool(tmp_path):
    row = replace(
        ENCODERS.rows[0], name="digits", objective="labels", augmentation="grey", lines=((1, 6),), planes=(),
    )  # fmt: skip
    kept = images.measure(ImageRows((row,)), 0, Place(tmp_path))
    assert kept.arrays["digits.line 1-6.log10_volume"].shape == (2, 9)
    assert kept.arrays["digits.line 1-6.logits"].shape == (2, 9, 10)


@pytest.mark.parametrize(("figure", "shape"), [("fig2", (1, 28, 28)), ("ssl", (3, 32, 32))])
def test_networks_and_probes_of_the_published_settings(figure, shape):
    noise = torch.rand((20, *shape), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 10
    task = Task("noise", noise, labels, noise, labels, classes=tuple("0123456789"))
    row = SETTINGS[figure, "paper"].rows[0]
    model = images.model_of(row, task, 0).eval()
    flat = task.flattened() if row.network == "mlp" else task
    probes = images.probes_of(row, flat, 0)
    assert {len(probe) for probe in probes.values()} <= {64, 6400}
    assert len(probes) == len(row.lines) + len(row.planes)
    seen = []
    layer = model.get_submodule(row.layer if row.objective == "labels" else "encoder")
    layer.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    with torch.no_grad():
        out = model(flat.inputs[:2])
    assert seen[0] == (2, 2000 if row.network == "mlp" else 512)
    assert out.shape == (2, 10 if row.objective == "labels" else row.embedding)
