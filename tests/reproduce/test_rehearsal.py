from dataclasses import replace

import numpy as np
import pytest

from infgeo.cli import main
from infgeo.errors import InvalidInput
from infgeo.reproduce import rehearsal
from infgeo.reproduce.settings import SETTINGS, Rows
from infgeo.training.image_files import read_cifar10, read_mnist
from tests.reproduce.small import PLANAR


def test_synthetic_files_are_read_as_the_published_ones(tmp_path):
    rehearsal.write_synthetic(tmp_path)
    (train, _), (test, labels) = read_mnist(tmp_path, verify=False)
    assert train.shape == (3000, 1, 28, 28) and test.dtype == np.uint8 and set(labels) == set(range(10))
    assert read_cifar10(tmp_path, verify=False)[0][0].shape == (3000, 3, 32, 32)
    with pytest.raises(InvalidInput, match=r"MD5|checksum"):
        read_mnist(tmp_path)


def test_the_estimate_is_the_sum_over_steps_and_records():
    row = SETTINGS["fig2", "paper"].rows[0]
    seconds = {"seconds_a_step": 0.5, "seconds_a_record": 1.0}
    part = rehearsal._part(row, rehearsal._shortened(row, "cpu"), "mnist", seconds)
    assert part.steps == 200 * 53 and part.records == 4  # 52 500 images of the split, batches of 1000
    assert part.seconds_a_record == (5 * 64 + 80**2) / (5 * 4 + 4**2)
    row = SETTINGS["fig3", "paper"].rows[0]
    short = rehearsal._shortened(row, "cpu")
    assert (short.network, short.widths, short.layers) == (row.network, row.widths, row.layers)
    resnet = rehearsal._part(row, short, "cifar10", seconds)
    assert (resnet.seconds_a_step, resnet.batch, resnet.steps) == (0.5 * 1024 / 32, 32, 500 * 49)
    assert resnet.seconds_a_record == (4 * 64 + 80**2) / 3
    assert rehearsal._shortened(row, "cuda").recipe.batch_size == 1024
    whole = rehearsal.Rehearsal("fig2", "cpu", (part, part), 2**30)
    assert whole.seconds == 2 * (part.steps * 0.5 + 4 * part.seconds_a_record)
    assert "about 3.4 h a seed on cpu, 1.0 GiB" in whole.table()


def test_a_rehearsal_trains_the_networks_of_the_figure(monkeypatch, capsys):
    monkeypatch.setitem(SETTINGS, ("fig1", "small"), PLANAR)
    assert main(["reproduce", "fig1", "--rehearse"]) == 0
    out = capsys.readouterr().out
    assert "fig1, sinusoid: 24 steps of" in out and "a seed on cpu" in out
    assert main(["reproduce", "figD1", "--rehearse"]) == 0
    assert "figD1: not rehearsed; it takes" in capsys.readouterr().out


@pytest.mark.slow
def test_a_published_resnet_is_rehearsed_on_a_cpu():
    """Two steps of 32 images and the 512 gradients of three of them, of ResNet-18: 40 s of a core."""
    found = rehearsal.rehearse("fig3", network="resnet18", activation="elu")
    (part,) = found.parts
    assert (part.steps, part.records, part.batch) == (500 * 49, 5, 32)
    assert "by batches of 32 images" in found.table() and 2**28 < found.memory < 2**33
    assert part.seconds_a_step > 1 and part.seconds_a_record > 1000


def test_a_residual_network_is_rehearsed_on_synthetic_images_of_its_size(monkeypatch):
    """The whole way of `fig3 --scale paper`, with a network of a few channels."""
    row = SETTINGS["fig3", "paper"].rows[0]
    small = replace(row, network="small_resnet", widths=(3, 4), recipe=replace(row.recipe, batch_size=20))
    monkeypatch.setitem(SETTINGS, ("fig3", "paper"), Rows((small,)))
    found = rehearsal.rehearse("fig3")
    assert [(part.name, part.steps, part.records) for part in found.parts] == [("cifar10", 500 * 2500, 5)]
