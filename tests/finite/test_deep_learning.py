"""Posteriors of deep networks against plain importance sampling, written out in NumPy with matrices of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erf

import infgeo
from infgeo.errors import NotConverged
from infgeo.finite.deep_learning import DeepLearningTask
from infgeo.finite.sampled_network import specify
from tests.finite.test_learning import assert_sums_add_up

X, Y = np.array([[1.0, 0.0], [-0.5, 1.0]]), np.array([[1.0], [-0.7]])
POINTS = np.array([[0.3, -0.4], [1.0, 0.0]])  # the second is a training point
NOISE, WIDTH = 0.3, 8
SCALES = ((1.0, 0.5), (1.2, 0.3))  # of weights and biases of each layer


def task(name="erf", **options):
    weights, biases = zip(*SCALES, strict=True)
    specification = specify(infgeo.MLP([name, name], weight_std=weights, bias_std=biases))
    return DeepLearningTask(specification, *(torch.from_numpy(part) for part in (X, Y, POINTS)), NOISE, **options)


def plain(rng, networks):
    """Changes times the width, by weights of whole networks."""
    at = np.concatenate([X, POINTS])
    values, slopes = np.broadcast_to(at.T, (networks, 2, 4)), np.broadcast_to(np.eye(2)[:, None], (networks, 2, 2, 2))
    found = {}
    for i, (weight, bias) in enumerate(SCALES):
        w = rng.standard_normal((networks, WIDTH, values.shape[1])) * weight / (values.shape[1] ** 0.5 if i else 1)
        z = w @ values + rng.standard_normal((networks, WIDTH, 1)) * bias
        values = erf(z / 2**0.5)
        slopes = (2 / np.pi) ** 0.5 * np.exp(-(z[..., 2:, None] ** 2) / 2) * np.einsum("bnk,bkmi->bnmi", w, slopes)
        metric = np.einsum("bnmi,bnmj->bmij", slopes, slopes) / WIDTH
        found[f"metric_shift of layer {i + 1}"] = metric
        found[f"kernel_shift of layer {i + 1}"] = values[..., 2:].transpose(0, 2, 1) @ values[..., 2:] / WIDTH
        found[f"volume_shift of layer {i + 1}"] = np.linalg.slogdet(metric)[1] / 2
    gram = values[..., :2].transpose(0, 2, 1) @ values[..., :2] / WIDTH + NOISE * np.eye(2)
    weight = np.exp(-(Y.T @ np.linalg.solve(gram, Y[None]))[:, 0, 0] / 2) / np.linalg.det(gram) ** 0.5
    weight /= weight.sum()
    return {name: WIDTH * np.tensordot(weight - 1 / networks, value, 1) for name, value in found.items()}


@pytest.mark.parametrize("smooth", [True, False])
def test_the_posterior_is_that_of_plain_importance_sampling(smooth):
    learner, rng = task(smooth=smooth), np.random.default_rng(1)
    batches = [plain(rng, 4000) for _ in range(16)]
    simulated = [learner.changes(WIDTH, learner.sums(WIDTH, 400, seed)) for seed in range(16)]
    for name in batches[0]:
        one, other = (np.stack([np.asarray(batch[name]) for batch in part]) for part in (batches, simulated))
        error = np.hypot(one.std(0, ddof=1), other.std(0, ddof=1)) / 4
        assert (np.abs(one.mean(0) - other.mean(0)) < 4.5 * error).all(), name
        assert (np.abs(one.mean(0)) > 4.5 * error).any()  # which no shift would not pass


def test_gradients_vary_less_in_wide_networks():
    spreads = []
    for smooth in (True, False):
        learner = task(smooth=smooth)
        values = [learner.changes(128, learner.sums(128, 64, seed))["kernel_shift of layer 2"] for seed in range(16)]
        spreads.append(float(torch.stack(values).std(0).mean()))
    assert spreads[0] < spreads[1] / 2


def test_sums_of_batches_add_up():
    assert_sums_add_up(task(), (0, 1))


def test_a_likelihood_that_leaves_few_networks_is_refused():
    with pytest.raises(NotConverged, match="width 8: pass larger widths, more samples, or a larger noise_variance"):
        task().sums_by_chains(8, 100, 0)
