"""Checks of values."""

from __future__ import annotations

import numpy as np
import pytest

from infgeo.testing import check_kernel

SIGNS = np.array([1.0, -1.0, 0.5])


BILINEAR = {
    "a kernel": (lambda X, Y: X @ Y.T, []),
    "negative": (lambda X, Y: -X @ Y.T, ["positive_semidefinite"]),
    "of both signs": (lambda X, Y: (X * SIGNS[: X.shape[1]]) @ Y.T, ["positive_semidefinite"]),
    "negative where vectors are short": (lambda X, Y: np.tanh(X @ Y.T - 1), ["positive_semidefinite"]),
    "distances": (
        lambda X, Y: X @ Y.T - np.square(X).sum(1)[:, None] / 2 - np.square(Y).sum(1) / 2,
        ["positive_semidefinite"],
    ),
}


@pytest.mark.parametrize("points", [None, [[1.0, 1.0, 0.0], [2.0, 2.0, 0.5], [1.0, 3.0, 2.0]]])
@pytest.mark.parametrize("name", BILINEAR)
def test_verdict_does_not_depend_on_how_a_processor_rounds(name, points):
    """Products of rows and of blocks differ by rounding of their terms, which may be larger than k(x, x)."""
    k, failures = BILINEAR[name]

    def on_some_processor(X, Y=None):
        Y = X if Y is None else Y
        units = np.random.default_rng((len(X), len(Y))).uniform(-4, 4, (len(X), len(Y)))
        return k(X, Y) + units * 2.0**-53 * (np.abs(X) @ np.abs(Y).T)

    report = check_kernel(on_some_processor, raises=False, points=points)
    assert [check.name for check in report.failures] == failures
