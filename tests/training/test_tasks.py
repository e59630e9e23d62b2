"""Tasks: what their definitions say, determinism, and what is refused."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from infgeo.errors import InvalidInput, MissingExtra
from infgeo.training import Task, digits, noisy_xor, patches, sinusoid, xor

MAKERS = (xor, noisy_xor, sinusoid, digits, patches)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_task_is_a_task_of_its_dtype(maker, dtype):
    task = maker(dtype=dtype)
    assert task.inputs.dtype == task.test_inputs.dtype == dtype and task.labels.dtype == torch.int64
    assert set(task.labels.tolist()) == set(range(len(task.classes)))
    assert task.source and task.name == maker.__name__


@pytest.mark.parametrize("maker", MAKERS)
def test_no_global_random_state_is_touched(maker):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    maker()
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("maker", MAKERS[1:])
def test_a_seed_is_a_task(maker):
    first, again, other = maker(seed=3), maker(seed=3), maker(seed=4)
    assert torch.equal(first.inputs, again.inputs) and torch.equal(first.test_labels, again.test_labels)
    assert not torch.equal(first.inputs, other.inputs)


def test_xor_is_the_sign_of_the_product():
    task = xor()
    assert sorted(map(tuple, task.inputs.tolist())) == [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    assert torch.equal(task.labels, (task.inputs.prod(1) < 0).long())
    assert tuple(task.test_inputs.shape) == (0, 2)


def test_sinusoid_labels_are_those_of_the_points():
    task = sinusoid(2000, seed=1, test_points=500)
    for x, y in ((task.inputs, task.labels), (task.test_inputs, task.test_labels)):
        wanted = [int(v > 3 / 5 * math.sin(7 * u - 1)) for u, v in x.tolist()]
        assert y.tolist() == wanted
    # uniform on the square: mean 0 and variance 1/3 a coordinate, whose squares have variance 1/5 - 1/9
    z_mean = task.inputs.mean(0) * math.sqrt(3 * 2000)
    z_variance = (task.inputs.square().mean(0) - 1 / 3) * math.sqrt(2000 / (1 / 5 - 1 / 9))
    assert float(torch.cat([z_mean, z_variance]).abs().max()) < 4
    assert float(task.inputs.abs().max()) <= 1


def test_the_training_points_do_not_depend_on_the_test_points():
    for maker in (sinusoid, noisy_xor):
        few, many = maker(test_points=0), maker(test_points=1000)
        assert torch.equal(few.inputs, many.inputs) and len(few.test_inputs) == 0
        assert not torch.equal(many.test_inputs[:400], many.inputs)


def test_noisy_xor_has_clouds_of_its_variance_in_equal_numbers():
    task = noisy_xor(4000, seed=2, variance=0.15, dtype=torch.float64)
    cells = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    calm = noisy_xor(400, variance=0)
    assert sorted(calm.inputs.unique(dim=0, return_counts=True)[1].tolist()) == [100] * 4
    assert torch.equal(calm.labels, (calm.inputs.prod(1) < 0).long())
    # the same draw: the residual is that from the point which the calm task has
    residual = task.inputs - noisy_xor(4000, seed=2, variance=0, dtype=torch.float64).inputs
    assert abs(float((residual.square().mean() - 0.15) / (0.15 * math.sqrt(2 / 8000)))) < 4
    nearest = torch.cdist(task.inputs, cells).argmin(1)
    assert float((task.labels == torch.tensor([0, 1, 1, 0])[nearest]).double().mean()) > 0.97  # 1 - 2 Φ(-2.58)


def test_digits_are_scikit_learns_split_in_each_class():
    from sklearn.datasets import load_digits

    data = load_digits()
    task = digits(seed=7, normalise=False, dtype=torch.float64)
    assert task.input_shape == (1, 8, 8) and len(task.inputs) + len(task.test_inputs) == 1797
    where = {image.tobytes(): label for image, label in zip(data.images / 16, data.target, strict=True)}
    for x, y in ((task.inputs, task.labels), (task.test_inputs, task.test_labels)):
        assert [where[image[0].numpy().tobytes()] for image in x] == y.tolist()
    share = task.test_labels.bincount() / torch.from_numpy(data.target).bincount()
    assert float(share.min()) > 0.19 and float(share.max()) < 0.21
    shifted = digits(seed=7, dtype=torch.float64)
    assert shifted.mean == pytest.approx((task.inputs.mean().item(),), rel=1e-12)
    assert shifted.std == pytest.approx((task.inputs.std(unbiased=False).item(),), rel=1e-12)
    low, high = shifted.value_range
    torch.testing.assert_close(shifted.test_inputs.min(), low.squeeze())
    torch.testing.assert_close(shifted.test_inputs.max(), high.squeeze())


def test_digits_need_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"infgeo\[sklearn\]"):
        digits()


def test_subset_flattened_and_device():
    task = digits()
    part = task.subset(50, seed=1)
    assert (len(part.inputs), len(part.test_inputs)) == (50, len(task.test_inputs))
    assert len({x.numpy().tobytes() for x in part.inputs}) == 50
    known = {x.numpy().tobytes(): int(y) for x, y in zip(task.inputs, task.labels, strict=True)}
    assert [known[x.numpy().tobytes()] for x in part.inputs] == part.labels.tolist()
    assert torch.equal(part.inputs, task.subset(50, seed=1).inputs)
    assert not torch.equal(part.inputs, task.subset(50, seed=2).inputs)
    flat = task.flattened()
    low, high = flat.value_range
    assert low.shape == high.shape == (64,) and bool((flat.inputs >= low.float() - 1e-6).all())
    assert flat.input_shape == (64,) and torch.equal(flat.inputs.reshape(task.inputs.shape), task.inputs)
    assert task.to("cpu").inputs.device.type == "cpu"
    with pytest.raises(InvalidInput, match="n is 2000; digits has 1437"):
        task.subset(2000)
    with pytest.raises(InvalidInput, match="device is 'abacus'"):
        task.to("abacus")


X, Y = torch.zeros(3, 2), torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": X.long()}, "t: inputs is torch.int64"),
        ({"inputs": X.numpy()}, "t: inputs is ndarray"),
        ({"inputs": torch.zeros(3)}, r"shape \(3,\)"),
        ({"inputs": torch.full((3, 2), float("nan"))}, r"inputs\[0\] has a value that is not finite"),
        ({"labels": Y.float()}, "torch.float32; pass an int64"),
        ({"labels": Y[:2]}, r"\(2,\)"),
        ({"labels": torch.tensor([0, 2, 1])}, r"labels\[1\] is 2; labels go from 0 to 1"),
        ({"test_labels": torch.tensor([-1, 0, 0])}, r"test_labels\[0\] is -1"),
        ({"test_inputs": torch.zeros(3, 4)}, r"test_inputs are \(3, 4\)"),
        ({"test_inputs": X.double()}, "torch.float64, inputs are"),
        ({"inputs": torch.zeros(0, 2), "labels": Y[:0]}, "nothing to train on"),
        ({"classes": 2}, "classes is 2; pass a tuple of names"),
        ({"classes": "ab"}, "classes is 'ab'"),
        ({"mean": (0.5,)}, r"std is None .* one number of each for a channel"),
        ({"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}, r"points of shape \(2,\)"),
    ],
)
def test_tasks_that_do_not_fit(changes, said):
    parts = {"inputs": X, "labels": Y, "test_inputs": X, "test_labels": Y, "classes": ("a", "b")} | changes
    with pytest.raises(InvalidInput, match=said):
        Task("t", **parts)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sinusoid(0), "points is 0"),
        (lambda: sinusoid(seed=-1), "seed is -1"),
        (lambda: sinusoid(test_points=-1), "test_points is -1"),
        (lambda: sinusoid(dtype=torch.float16), "dtype is torch.float16"),
        (lambda: noisy_xor(variance=-1), "variance is -1"),
        (lambda: digits(test_fraction=1.5), "test_fraction is 1.5"),
        (lambda: digits(seed=2**32), "seed is 4294967296"),
    ],
)
def test_arguments_outside_their_domain(make, said):
    with pytest.raises(InvalidInput, match=said):
        make()


def test_patches_are_cut_from_their_regions_without_overlap():
    from sklearn.datasets import load_sample_image

    task = patches(seed=2, normalise=False, test_fraction=0.25)
    assert len(task.inputs) == 948 and len(task.test_inputs) == 312
    assert torch.equal(task.labels.unique(return_counts=True)[1], torch.full((6,), 158))
    both = torch.cat([task.inputs, task.test_inputs]).flatten(1)
    assert len(both.unique(dim=0)) > 0.95 * len(both)  # but for the even sky
    flower = torch.from_numpy(load_sample_image("flower.jpg").transpose(2, 0, 1).copy()) / 255.0
    found = flower.unfold(1, 8, 8).unfold(2, 8, 8).permute(1, 2, 0, 3, 4).reshape(-1, 192)
    petals = task.inputs[task.labels == 4].flatten(1)
    assert float(torch.cdist(petals.double(), found.double()).min(1).values.max()) < 1e-3


def test_given_moments_are_those_of_the_normalisation():
    plain, shifted = patches(normalise=False), patches(normalise=((0.5,) * 3, (0.25,) * 3))
    torch.testing.assert_close(shifted.inputs, (plain.inputs - 0.5) / 0.25)
    assert shifted.mean == (0.5, 0.5, 0.5)


def test_a_new_split_keeps_every_point_once():
    task = digits(normalise=False)
    again = task.resplit(0.25, seed=1)
    assert (len(again.inputs), len(again.test_inputs)) == (1348, 449) and "split anew" in again.source
    sums = [torch.cat([t.inputs, t.test_inputs]).flatten(1).double().sum(1).sort().values for t in (task, again)]
    assert torch.equal(*sums) and not torch.equal(again.inputs, task.resplit(0.25, seed=2).inputs)
    with pytest.raises(InvalidInput, match="leave some"):
        xor().resplit(0.01)
