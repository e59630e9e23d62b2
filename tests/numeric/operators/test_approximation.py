"""Bounds of the error of features, against the norms of the matrix."""

import numpy as np
import pytest
from scipy.stats import binom

import infgeo
from infgeo.errors import InvalidInput

GEO = infgeo.MLP("erf").numeric(weight_std=1.0, bias_std=0.5)
X = np.random.default_rng(0).standard_normal((60, 3))
PHI = np.random.default_rng(1).standard_normal((60, 20)) / 5
ERROR = GEO.kernel(X) - PHI @ PHI.T


@pytest.mark.parametrize("iterations", [0, 2])
def test_bounds_hold_as_often_as_they_say(iterations):
    """Over seeds, with a small probability that is to be seen: no more misses than chance allows."""
    operator, norm = GEO.operator(X, noise=0.3), np.linalg.norm(ERROR, 2)
    found = [
        operator.approximation_error(PHI, probes=2, iterations=iterations, confidence=0.8, seed=seed)
        for seed in range(300)
    ]
    assert all(one.lower <= norm * (1 + 1e-12) for one in found)
    assert sum(one.upper < norm for one in found) <= binom.ppf(0.9999, 300, 0.2)
    z = np.array([(one.frobenius**2 - np.linalg.norm(ERROR) ** 2) for one in found])
    assert abs(z.mean()) < 4 * z.std() / np.sqrt(len(z))


def test_iterations_bring_the_bounds_together():
    operator, norm = GEO.operator(X), np.linalg.norm(ERROR, 2)
    rough, close = (operator.approximation_error(PHI, iterations=count) for count in (0, 8))
    assert norm <= close.upper < min(1.4 * norm, rough.upper)
    assert rough.lower < close.lower <= norm * (1 + 1e-12)
    assert close.lower > 0.99 * norm
    assert abs(rough.frobenius - np.linalg.norm(ERROR)) < 4 * rough.frobenius_standard_error
    assert "upper=" in repr(close)


def test_features_without_error():
    L = np.linalg.cholesky(GEO.kernel(X) + 1e-9 * np.eye(60))
    found = GEO.operator(X).approximation_error(L)
    assert found.upper < 1e-8
    # Powers that leave the range of numbers, downwards and upwards.
    many = GEO.operator(X).approximation_error(L, iterations=60)
    assert found.lower <= many.lower <= many.upper <= found.upper
    assert 0 < GEO.operator(X).approximation_error(PHI, iterations=400).upper < 1.01 * np.linalg.norm(ERROR, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": PHI[:5]}, "one row for each point"),
        ({"features": PHI * np.inf}, "not finite"),
        ({"features": PHI * 1e200}, "leaves double precision"),
        ({"features": PHI * 1j}, "complex numbers"),
        ({"features": "a"}, "cannot be made an array"),
        ({"features": PHI, "probes": 1}, "probes is 1"),
        ({"features": PHI, "iterations": -1}, "iterations is -1"),
        ({"features": PHI, "confidence": 1.0}, "confidence is 1.0"),
        ({"features": PHI, "seed": -1}, "seed is -1"),
    ],
)
def test_arguments(options, words):
    with pytest.raises(InvalidInput, match=words):
        GEO.operator(X).approximation_error(**options)


def test_features_belong_to_a_symmetric_matrix():
    with pytest.raises(InvalidInput, match="leave Y out"):
        GEO.operator(X, X[:9]).approximation_error(PHI)
