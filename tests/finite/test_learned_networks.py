"""Networks that learn: posteriors against importance sampling, descents and volumes against torch modules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from infgeo.errors import NotConverged
from infgeo.finite import pullback
from infgeo.finite.learning import descended_networks, log_volume, posterior_networks
from infgeo.reproduce.cube_roots import Erf
from tests.finite.test_learning import NOISE, POINTS, WIDTH, plain, task


def test_the_force_is_the_gradient_of_the_log_likelihood():
    learner = task(noise_variance=NOISE)
    units = torch.from_numpy(np.random.default_rng(0).standard_normal((3, WIDTH, 3))).requires_grad_(True)
    force, value = learner.force(units.detach())
    w = units * learner.scales
    features = torch.erf((w[..., :2] @ learner.inputs.T + w[..., 2:]) / 2**0.5)
    gram = features.mT @ features / WIDTH + NOISE * torch.eye(2, dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), gram)
    expected = law.log_prob(learner.labels[:, 0]) + np.log(2 * np.pi)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(force, torch.autograd.grad(expected.sum(), units)[0], rtol=1e-10, atol=1e-12)


def test_the_posterior_is_that_of_plain_importance_sampling():
    learner, rng = task(noise_variance=NOISE), np.random.default_rng(1)
    weighted = np.stack([plain(rng, 20_000)["volume_shift"] for _ in range(16)])
    shifts = []
    for seed in range(16):
        before, after, accepted = posterior_networks(learner, WIDTH, 200, seed)
        shifts.append(WIDTH * (log_volume(learner, after) - log_volume(learner, before)).mean(0).numpy())
        assert accepted > 0.95 and after.shape == (1000, WIDTH, 3)
    error = np.hypot(weighted.std(0, ddof=1), np.std(shifts, axis=0, ddof=1)) / 4
    assert (np.abs(weighted.mean(0) - np.mean(shifts, axis=0)) < 4.5 * error).all()
    assert (np.abs(weighted.mean(0)) > 4.5 * error).any()  # which no shift would not pass


def test_pairs_are_a_draw_from_the_prior_and_close_to_it_where_data_say_little():
    before, after, accepted = posterior_networks(task(noise_variance=1e4), WIDTH, 100, 0)
    assert accepted == 1.0
    scaled = before / torch.tensor([1, 1, 0.5])
    assert abs(float(scaled.mean())) < 4 / scaled.numel() ** 0.5
    assert abs(float(scaled.square().mean()) - 1) < 4 * (2 / scaled.numel()) ** 0.5
    assert float((after - before).abs().max()) < 1e-3


def test_a_likelihood_that_is_too_steep_is_refused(monkeypatch):
    monkeypatch.setattr("infgeo.finite.learning._MOST_STEPS", 8)
    learner = replace(task(noise_variance=1e-6), labels=1e3 * task().labels)
    with pytest.raises(NotConverged, match="larger noise_variance"):
        posterior_networks(learner, WIDTH, 4, 0)


def test_a_descent_is_that_of_a_torch_module_in_ntk_parametrisation():
    learner, steps = task(learning_rate=0.3), 5
    start, after, residual = descended_networks(learner, WIDTH, 2, 3, steps)
    source = np.random.Generator(np.random.PCG64DXSM(3))
    drawn = torch.from_numpy(source.standard_normal((2, WIDTH, 3))) * learner.scales
    readout = torch.from_numpy(source.standard_normal((2, WIDTH, 1)))
    torch.testing.assert_close(start[:2], drawn, rtol=0, atol=0)
    residuals = []
    for i, a in enumerate((*readout, *-readout)):
        unit, a = (start[i] / learner.scales).requires_grad_(True), a.clone().requires_grad_(True)
        optimiser = torch.optim.SGD([unit, a], lr=0.3)

        def rest(unit=unit, a=a):
            w = unit * learner.scales
            return learner.labels - torch.erf((learner.inputs @ w[:, :2].T + w[:, 2]) / 2**0.5) @ a / WIDTH**0.5

        for _ in range(steps):
            optimiser.zero_grad()
            (rest().square().sum() / 2).backward()
            optimiser.step()
        torch.testing.assert_close(after[i], (unit * learner.scales).detach(), rtol=1e-12, atol=1e-13)
        residuals.append(float(rest().detach().square().mean()))
    assert residual == pytest.approx(np.mean(residuals), rel=1e-10)


def test_the_log_volume_is_that_of_the_pullback():
    learner = task(noise_variance=NOISE)
    w = posterior_networks(learner, WIDTH, 2, 0, sweeps=1)[1]
    for weights, volume in zip(w, log_volume(learner, w), strict=True):
        network = nn.Sequential(nn.Linear(2, WIDTH, dtype=torch.float64), Erf())
        with torch.no_grad():
            network[0].weight.copy_(weights[:, :2])
            network[0].bias.copy_(weights[:, 2])
        measured = pullback(network, torch.from_numpy(POINTS)).log_volume_element - np.log(WIDTH)
        torch.testing.assert_close(volume, measured, rtol=1e-12, atol=1e-12)
