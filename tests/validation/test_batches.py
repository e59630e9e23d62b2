"""Batches of networks, pooled."""

import numpy as np
import pytest

from infgeo.finite.running_mean import Estimate
from infgeo.validation import batches as simulation


@pytest.mark.parametrize("logs", [False, True])
def test_pooling_batches_is_the_same_as_one_large_sample(logs):
    rng = np.random.default_rng(1)
    data = np.exp(rng.standard_normal((23, 4)))
    batches = []
    for part in np.split(data, [5, 11, 17]):
        mean, error = part.mean(0), part.std(0, ddof=1) / np.sqrt(len(part))
        batches.append(Estimate(np.log(mean), error / mean, len(part)) if logs else Estimate(mean, error, len(part)))
    pooled = simulation.pool(batches, logs)
    mean, error = data.mean(0), data.std(0, ddof=1) / np.sqrt(23)
    assert pooled.samples == 23
    assert pooled.mean == pytest.approx(np.log(mean) if logs else mean, rel=1e-12)
    assert pooled.standard_error == pytest.approx(error / mean if logs else error, rel=1e-12)


def test_the_error_of_the_spread_holds_for_correlated_points_and_heavy_tails():
    rng = np.random.default_rng(2)
    logs, errors = [], []
    for _ in range(400):
        common = rng.exponential(size=(16, 40, 1)) + 0.3 * rng.standard_normal((16, 40, 5))
        squares = ((common - common.mean(1, keepdims=True)) ** 2).sum(1)
        log_sd, error = simulation.spread(squares, np.full(16, 40), np.ones(5))
        logs.append(log_sd)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(logs), rel=0.12)
