"""Simulated learning against plain importance sampling, written out in NumPy."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from scipy.special import erf

import infgeo
from infgeo.errors import NotConverged
from infgeo.finite.learning import LearningTask, added
from infgeo.finite.sampled_network import specify

X, Y = np.array([[1.0, 0.0], [-0.5, 1.0]]), np.array([[1.0], [-0.7]])
POINTS = np.array([[0.3, -0.4], [1.0, 0.5]])
NOISE, WIDTH = 0.3, 12


def task(**options):
    specification = specify(infgeo.MLP("erf", weight_std=1, bias_std=0.5))
    return LearningTask(specification, *(torch.from_numpy(part) for part in (X, Y, POINTS)), **options)


def plain(rng, networks):
    """Changes times the width, by weights of whole networks."""
    w = rng.standard_normal((networks, WIDTH, 3)) * [1, 1, 0.5]
    phi = erf((w[..., :2] @ X.T + w[..., 2:]) / 2**0.5)
    gram = phi.transpose(0, 2, 1) @ phi / WIDTH + NOISE * np.eye(2)
    weight = np.exp(-(Y.T @ np.linalg.solve(gram, Y[None]))[:, 0, 0] / 2) / np.linalg.det(gram) ** 0.5
    z = w[..., :2] @ POINTS.T + w[..., 2:]
    slope, features = (2 / np.pi) ** 0.5 * np.exp(-(z**2) / 2), erf(z / 2**0.5)
    metric = np.einsum("bnm,bni,bnj->bmij", slope**2, w[..., :2], w[..., :2]) / WIDTH
    found = {
        "metric_shift": metric,
        "kernel_shift": features.transpose(0, 2, 1) @ features / WIDTH,
        "volume_shift": np.linalg.slogdet(metric)[1] / 2,
    }
    weight /= weight.sum()
    return {name: WIDTH * np.tensordot(weight - 1 / networks, value, 1) for name, value in found.items()}


def test_the_posterior_is_that_of_plain_importance_sampling():
    learner, rng = task(noise_variance=NOISE), np.random.default_rng(1)
    batches = [plain(rng, 20_000) for _ in range(16)]
    simulated = [learner.changes(WIDTH, learner.sums(WIDTH, 250, 2 * seed)) for seed in range(16)]
    for name in batches[0]:
        one, other = (np.stack([np.asarray(batch[name]) for batch in part]) for part in (batches, simulated))
        error = np.hypot(one.std(0, ddof=1), other.std(0, ddof=1)) / 4
        assert (np.abs(one.mean(0) - other.mean(0)) < 4.5 * error).all(), name
        # One unit at a time: 80 times fewer networks are hardly less accurate.
        if name != "volume_shift":
            assert other.std(0).mean() < 2 * one.std(0).mean()


def assert_sums_add_up(learner, seeds):
    parts = [learner.sums(WIDTH, 20, seed) for seed in seeds]
    total = reduce(added, parts, {})
    assert float(total["networks", ""]) == 40
    for key, value in total.items():
        torch.testing.assert_close(value, parts[0][key] + parts[1][key])
    again = learner.sums(WIDTH, 20, seeds[0])
    assert all(torch.equal(again[key], parts[0][key]) for key in again)


def test_sums_of_batches_add_up():
    assert_sums_add_up(task(noise_variance=NOISE), (0, 2))


@pytest.mark.parametrize("mean_field", [False, True])
def test_a_step_of_rate_zero_changes_nothing(mean_field):
    learner = task(learning_rate=0.0, mean_field=mean_field)
    changes = learner.changes(WIDTH, learner.sums(WIDTH, 10, 0))
    assert set(changes) == {"metric_shift", "kernel_shift", "volume_shift", "ricci_shift"}
    assert all(float(value.abs().max()) < 1e-12 for value in changes.values())


@pytest.mark.parametrize("mean_field", [False, True])
def test_a_flow_is_many_small_steps(mean_field):
    learner, rng = task(learning_rate=0.7, mean_field=mean_field, flows=True), np.random.default_rng(2)
    w, readout = (torch.from_numpy(rng.standard_normal((3, WIDTH, size))) for size in (3, 1))
    found = learner.flow(w, readout, 0.7)
    ends = []
    for steps in (1000, 2000):
        state = (w, readout)
        for _ in range(steps):
            state = learner.step(*state, 0.7 / steps)
        ends.append(state)
    for one, coarse, fine in zip(found, *ends, strict=True):  # Euler's method, extrapolated
        torch.testing.assert_close(one, 2 * fine - coarse, rtol=1e-4, atol=1e-4)
        assert float((one - (w if one.shape[-1] == 3 else readout)).abs().max()) > 0.1


def test_a_flow_that_takes_too_many_steps_is_refused():
    learner = task(flows=True)
    with pytest.raises(NotConverged, match="pass a shorter time"):
        learner.flow(*(torch.ones(1, WIDTH, size, dtype=torch.float64) for size in (3, 1)), 1e6)
