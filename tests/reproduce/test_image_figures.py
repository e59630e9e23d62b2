from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from infgeo.errors import InvalidInput
from infgeo.finite import pullback
from infgeo.reproduce import image_figures as images
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import BLOCKS, SETTINGS, Rows, settings_of
from infgeo.tracking import line
from infgeo.training import Task, digits
from tests.reproduce.small import ENCODERS, PERCEPTRON, STAGES

ROWS = Rows((PERCEPTRON,))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return images.measure(ROWS, 0, Place(tmp_path_factory.mktemp("images")))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    return images.measure(ENCODERS, 0, Place(tmp_path_factory.mktemp("encoders")))


def test_what_is_kept_is_the_volume_of_the_whole_input_space(result):
    task = images.task_of(PERCEPTRON, 0, Place(None))
    assert (len(task.inputs), len(task.test_inputs)) == (1348, 449) and task.mean is None
    model = images.model_of(PERCEPTRON, task, 0)
    probe = images.probes_of(PERCEPTRON, task.flattened(), 0)["line 1-6"]
    volume = pullback(model.double(), probe.inputs, layer="activation1").log_volume_element.numpy() / np.log(10)
    np.testing.assert_allclose(result.arrays["digits.line 1-6.log10_volume"][0, 0], volume, rtol=1e-6)


def test_fewer_features_than_pixels_give_the_product_of_the_singular_values(encoders):
    row = ENCODERS.rows[0]
    task = images.task_of(row, 0, Place(None))
    encoder = images.model_of(row, task, 0).encoder.eval().double()
    probe = images.probes_of(row, task, 0)["line pagoda-trees"]
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: encoder(x[None])[0]))(probe.inputs[:3]).flatten(2)
    expected = torch.linalg.svdvals(jacobian.detach())
    kept = encoders.arrays[f"{row.name}.line pagoda-trees.log10_volume"][0, 0, :3]
    np.testing.assert_allclose(kept, expected.log10().sum(-1), rtol=1e-5)
    at_first_image = encoders.arrays[f"{row.name}.spectra"][0, 0]
    np.testing.assert_allclose(at_first_image, expected[0], rtol=1e-6)


def test_images_are_those_of_the_classes_and_differ_between_seeds():
    task = digits(seed=0)
    first, second = (images.probes_of(PERCEPTRON, task, seed) for seed in (0, 1))
    for probe in (first["line 7-6"], second["line 7-6"]):
        found = [int(task.test_labels[(task.test_inputs == image).flatten(1).all(1)][0]) for image in probe.anchors]
        assert found == [7, 6]
    assert not torch.equal(first["line 7-6"].anchors, second["line 7-6"].anchors)
    assert torch.equal(first["line 7-6"].anchors, first["plane 7-6-1"].anchors[:2])  # the line is an edge of the plane
    control = first["line 7-7"].anchors
    assert torch.equal(control[0], first["line 7-6"].anchors[0]) and not torch.equal(control[0], control[1])


def test_the_edge_of_a_plane_agrees_with_the_line(result):
    assert result.statistics["digits"]["edge"] < 0.1  # of cubic interpolation on 8 × 8 points
    row = replace(PERCEPTRON, plane_points=16)
    task = images.task_of(row, 0, Place(None)).flattened()
    probes = {name: p for name, p in images.probes_of(row, task, 0).items() if name != "line 7-7"}
    arrays = {f"{n}.log10_volume": p.inputs.square().sum(1).numpy()[None, None] for n, p in probes.items()}
    assert images.edge_difference(probes, arrays) < 0.01  # |x|² is a polynomial
    arrays["line 7-6.log10_volume"] = arrays["line 7-6.log10_volume"] + 0.5
    assert images.edge_difference(probes, arrays) == pytest.approx(0.5, abs=0.01)


def test_contrast_between_classes_and_within_one(result):
    row = result.statistics["digits"]
    between, within = images._contrasts(row["probes"])
    volume = result.arrays["digits.line 7-7.log10_volume"][-1, -1]
    assert within == pytest.approx(np.ptp(volume), rel=1e-5) and between != within
    assert row["line"]["slices"] == 2  # without the control


def test_stages_are_pooled_to_one_size_and_their_growth_is_a_slope(tmp_path):
    row = STAGES.rows[0]
    task = images.task_of(row, 0, Place(None))
    model = images.model_of(row, task, 0).eval()
    seen = {}
    for name in row.layers:
        model.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: seen.update({name: out}))
    logits = model(task.inputs[:3])
    assert torch.equal(logits, model.network(task.inputs[:3]))
    inside = model.network.stage1(model.network.stem(task.inputs[:3]))  # 4 channels: one position for 6 features
    torch.testing.assert_close(seen["pooled1"], inside.mean((2, 3)))
    assert images.growth([1.0, 3.0, 5.0]) == pytest.approx(2.0)
    kept = images.measure(STAGES, 0, Place(tmp_path))
    assert kept.arrays["patches.line pagoda-trees.log10_volume"].shape == (2, 2, 9)
    claimed = [claim.name for claim in images.claims(STAGES, [kept]) if claim.direction]
    assert claimed == ["growth after", "growth change"]
    images.picture(STAGES, [kept], []).draw_without_rendering()


def test_features_of_resnet34_are_pooled_as_published():
    row = SETTINGS["fig4", "paper"].rows[0]
    noise = torch.zeros(20, 3, 32, 32)
    task = Task("noise", noise, torch.arange(20) % 10, noise, torch.arange(20) % 10, classes=tuple("0123456789"))
    model = images.model_of(row, task, 0)
    pools = [model.get_submodule(name)[0].output_size for name in row.layers]
    assert pools == [(2, 4), (2, 2), (1, 2), (1, 1)]  # averages over 16 × 8, 8 × 8, 8 × 4 and 4 × 4


def test_entropy_is_that_of_the_softmax_at_any_scale():
    logits = np.array([[0.0, 0.0, 0.0], [1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]])
    expected = torch.distributions.Categorical(logits=torch.tensor(logits)).entropy().numpy()
    np.testing.assert_allclose(images.entropy(torch.from_numpy(logits)).numpy(), expected, atol=1e-12)


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
        "line a-b": {"before": numbers(0.0, 0.5), "after": numbers(1.0, 0.1)},
        "line b-c": {"before": numbers(1.0, 0.7), "after": numbers(3.0, 0.2)},
        "line c-d": {"classes": [4]},
        "line e-e": {"before": numbers(7.0, 1.0), "after": numbers(7.0, 1.0)},
        "plane d": {"before": numbers(9.0, 1.0), "after": numbers(9.0, 1.0)},
    }
    found = images.averaged(on_probes, "line")
    assert (found["slices"], found["with_boundary"]) == (3, 2)
    assert found["after"]["band"]["value"] == 2.0 and found["after"]["band"]["p"] == pytest.approx(0.3)
    assert found["before"]["entropy"] == {
        "value": 0.5, "p": 1.0, "at_equal_radius": None, "p_at_equal_radius": None,
    }  # fmt: skip
    assert "after" not in images.averaged({"line c-d": {"classes": [4]}}, "line")


def test_the_boundary_of_an_encoder_is_that_of_a_readout(encoders):
    row = ENCODERS.rows[1]
    numbers = encoders.statistics[row.name]
    assert 0.1 < numbers["test_accuracy"] <= 1
    name = f"{row.name}.line pagoda-trees"
    assert encoders.arrays[f"{name}.logits"].shape == (1, 9, 6)
    assert encoders.arrays[f"{name}.log10_volume"].shape == (1, 2, 9)


@pytest.mark.parametrize("which", ["result", "encoders"])
def test_claims_and_pictures(which, request):
    settings = ROWS if which == "result" else ENCODERS
    kept = request.getfixturevalue(which)
    claimed = [claim.name for claim in images.claims(settings, [kept]) if claim.direction]
    prefixes = [""] if which == "result" else ["barlow_twins, ", "simclr, "]
    assert claimed == [f"{prefix}{kind}s, band change" for prefix in prefixes for kind in ("line", "plane")]
    figure = images.picture(settings, [kept], [])
    figure.draw_without_rendering()
    assert {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()} == {7}


def test_missing_files_are_one_error_with_every_way(monkeypatch):
    monkeypatch.delenv("INFGEO_DATA", raising=False)
    for figure in ("fig2", "fig3"):
        with pytest.raises(InvalidInput, match=r"(?s)root=.*download=True.*digits.*--data FOLDER.*--scale small"):
            images.check(SETTINGS[figure, "paper"], Place(None, data="/nowhere"))


def test_the_published_settings():
    mnist, cifar = SETTINGS["fig2", "paper"].rows[0], SETTINGS["fig3", "paper"].rows[0]
    assert (mnist.lines[0], mnist.planes, cifar.lines[0], cifar.planes) == ((7, 6), ((7, 6, 1),), (7, 6), ((7, 6, 1),))
    assert SETTINGS["fig4", "paper"].rows[0].lines == ((1, 5),)
    assert (mnist.widths, mnist.recipe.optimizer, mnist.recipe.learning_rate) == ((2000,), "adam", 1e-3)
    assert (mnist.recipe.weight_decay, mnist.recipe.epochs, mnist.line_points) == (1e-4, 200, 64)
    assert (mnist.split, mnist.normalise, mnist.parametrisation, mnist.double) == (0.25, False, "scripts", True)
    assert (cifar.network, cifar.activation, cifar.recipe.batch_size) == ("resnet34", "gelu", 1024)
    assert (cifar.recipe.learning_rate, cifar.recipe.momentum, cifar.recipe.weight_decay) == (0.01, 0.9, 1e-4)
    assert (cifar.recipe.epochs, cifar.normalise[1]) == (500, (0.2023, 0.1994, 0.2010))
    assert cifar.augmentation == "crops" and cifar.plane_points == 80
    barlow, simclr = SETTINGS["ssl", "paper"].rows
    assert (barlow.redundancy, barlow.hidden, barlow.embedding, barlow.separate) == (0.005, (), 256, True)
    assert (simclr.temperature, simclr.hidden, simclr.embedding, simclr.head) == (0.07, (512,), 10, "gelu")
    assert [row.recipe.epochs for row in (barlow, simclr)] == [1000, 1000] and simclr.normalise is False
    for name, scale in SETTINGS:
        for row in () if name in ("learned", "penalty") else getattr(SETTINGS[name, scale], "rows", ()):
            assert row.shown[:2] == (0, 1) and row.shown[-1] == row.recipe.epochs and row.first == 1


def test_ours_departs_where_the_table_says():
    published, departures = settings_of("fig2", "paper")
    ours, same = settings_of("fig2", "paper", "ours")
    assert departures == same and [d.key for d in departures] == ["M3", "M4", "M7", "M8"]
    assert (ours.rows[0].normalise, ours.rows[0].split, ours.rows[0].first) == (True, None, 0)
    assert published.rows[0] == replace(
        ours.rows[0], normalise=False, split=0.25, parametrisation="scripts", first=1, double=True
    )
    noisy = settings_of("xor", "small", "ours")[0].rows[1]
    assert noisy.recipe.batch_size is None and noisy.recipe.learning_rate == 0.02
    relu = settings_of("relu", "paper", "ours")[0].rows[1]
    assert (relu.stem, relu.activation) == (None, "relu")
    assert settings_of("figD1", "small", "ours")[1] == ()


def test_the_published_relu_network_has_its_relu_in_the_stem_alone():
    row = SETTINGS["relu", "small"].rows[1]
    network = images.model_of(row, images.task_of(row, 0, Place(None)), 0)
    kinds = [type(m).__name__ for m in network.modules() if type(m).__name__ in ("ReLU", "GELU")]
    assert kinds == ["ReLU"] + ["GELU"] * 6


def test_resnets_take_augmentation_and_measure_their_pool(tmp_path):
    row = replace(
        ENCODERS.rows[0], name="patches", objective="labels", augmentation="flips", lines=((2, 3),), planes=()
    )
    kept = images.measure(Rows((row,)), 0, Place(tmp_path))
    assert kept.arrays["patches.line pagoda-trees.log10_volume"].shape == (1, 2, 9)
    assert kept.arrays["patches.line pagoda-trees.logits"].shape == (2, 9, 6)


@pytest.mark.parametrize(("figure", "shape"), [("fig2", (1, 28, 28)), ("ssl", (3, 32, 32))])
def test_networks_and_probes_of_the_published_settings(figure, shape):
    noise = torch.rand((20, *shape), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 10
    task = Task("noise", noise, labels, noise, labels, classes=tuple("0123456789"))
    row = SETTINGS[figure, "paper"].rows[0]
    model = images.model_of(row, task, 0).eval().float()
    flat = task.flattened() if row.network == "mlp" else task
    probes = images.probes_of(row, flat, 0)
    assert {len(probe) for probe in probes.values()} <= {64, 6400}
    assert len(probes) == len(row.lines) + len(row.planes)
    seen = []
    layer = model.get_submodule(row.layers[0] if row.objective == "labels" else "encoder")
    layer.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    with torch.no_grad():
        out = model(flat.inputs[:2])
    assert sum(BLOCKS["resnet34"]) == 16 and seen[0] == (2, 2000 if row.network == "mlp" else 512)
    assert out.shape == (2, 10 if row.objective == "labels" else row.embedding)
