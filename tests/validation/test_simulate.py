"""Batches of networks, pooled; interrupts and progress."""

import json

import numpy as np
import pytest

import infgeo
from infgeo.finite.running_mean import Estimate
from infgeo.validation.simulate import Pooled, pool

WIDTHS = (64, 128, 256, 512, 1024)


ERF = infgeo.MLP("erf")


def quick(mlp=ERF, input_dim=2, **arguments):
    return infgeo.validate(mlp, input_dim, **{"widths": WIDTHS, "samples": 400} | arguments)


def interrupt_after(count):
    def progress(done, total):
        if done > count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupt_keeps_the_widths_that_are_done():
    report = quick(samples=64, progress=interrupt_after(64 * 2 + 10))
    whole = quick(samples=64)
    assert report.partial and not report.passed and report.widths_done == WIDTHS[:2]
    assert "PARTIAL" in report.table() and "2 of 5 widths" in report.table()
    kept = [row for row in whole.rows if row.width in WIDTHS[:2]]
    assert [(r.estimate, r.z) for r in report.rows if r.width] == [(r.estimate, r.z) for r in kept]
    assert json.loads(report.to_json())["partial"] is True


def test_an_interrupt_in_the_first_width_leaves_an_empty_partial_report():
    report = quick(samples=64, progress=interrupt_after(0))
    assert report.partial and not report.passed and report.rows == () and "PARTIAL" in report.table()


def test_progress_counts_networks():
    seen = []
    quick(samples=32, widths=(64, 128), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 64) for i in range(1, 65)]


@pytest.mark.parametrize("logs", [False, True])
def test_pooling_batches_is_the_same_as_one_large_sample(logs):
    rng = np.random.default_rng(1)
    data = np.exp(rng.standard_normal((23, 4)))
    batches = []
    for part in np.split(data, [5, 11, 17]):
        mean, error = part.mean(0), part.std(0, ddof=1) / np.sqrt(len(part))
        batches.append(Estimate(np.log(mean), error / mean, len(part)) if logs else Estimate(mean, error, len(part)))
    pooled = pool(batches, logs)
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
        pooled = Pooled(np.zeros(5), np.ones(5), 640, False, "", squares, np.full(16, 40), np.ones(5))
        log_sd, error = pooled.spread_at(np.ones(5, dtype=bool))
        logs.append(log_sd)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(logs), rel=0.12)
