"""Metrics of two networks against each other: generalised eigenvalues, distances, nulls, and kernels."""

import math

import numpy as np
import pytest
import scipy.linalg

import infgeo
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import pullback, sample_network
from infgeo.magnification import compare, kernel_angle, over_seeds

RNG = np.random.default_rng(0)
X = RNG.standard_normal((7, 3))


def metrics(count=7, d=3, seed=0):
    j = np.random.default_rng(seed).standard_normal((count, d + 2, d))
    return j.mT @ j


def test_ratios_are_generalised_eigenvalues_and_distances_those_of_the_matrix_logarithm():
    first, second = metrics(seed=1), metrics(seed=2)
    result = compare(first, second)
    distances, shapes = [], []
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        np.testing.assert_allclose(np.exp(result.log_ratios[k]), scipy.linalg.eigh(a, b)[0][::-1], rtol=1e-11)
        volumes = [np.linalg.slogdet(g)[1] / 2 for g in (a, b)]
        np.testing.assert_allclose(result.log_volume_ratio[k], volumes[0] - volumes[1], rtol=1e-11, atol=1e-13)
        root = scipy.linalg.sqrtm(np.linalg.inv(b)).real
        logarithm = scipy.linalg.logm(root @ a @ root).real
        distances.append(np.linalg.norm(logarithm))
        shapes.append(np.linalg.norm(logarithm - np.trace(logarithm) / 3 * np.eye(3)))
    np.testing.assert_allclose(result.distances, distances, rtol=1e-10)
    np.testing.assert_allclose(result.distance, np.sqrt(np.mean(np.square(distances))), rtol=1e-10)
    np.testing.assert_allclose(result.shape_distance, np.sqrt(np.mean(np.square(shapes))), rtol=1e-10)
    np.testing.assert_allclose(result.anisotropy, (result.log_ratios[:, 0] - result.log_ratios[:, 2]) / 2)
    # no constant brings them nearer than the scale-free distance, and one does so far
    nearest = scipy.optimize.minimize_scalar(lambda c: compare(np.exp(c) * first, second).distance)
    np.testing.assert_allclose(result.scale_free_distance, nearest.fun, rtol=1e-8)


def test_what_does_not_matter():
    first, second, change = metrics(seed=1), metrics(seed=2), RNG.standard_normal((7, 3, 3)) * [1e6, 1.0, 1e-6]
    result, other = compare(first, second), compare(*(change.mT @ g @ change for g in (first, second)))
    np.testing.assert_allclose(other.log_ratios, result.log_ratios, rtol=1e-7)  # coordinates
    back = compare(second, first)
    np.testing.assert_allclose(back.log_ratios, -result.log_ratios[:, ::-1], rtol=1e-10)
    factors = np.exp(RNG.standard_normal(7))[:, None, None]
    np.testing.assert_allclose(compare(factors * first, second).shape_distance, result.shape_distance, rtol=1e-10)
    np.testing.assert_allclose(compare(5 * first, second).scale_free_distance, result.scale_free_distance, rtol=1e-10)
    assert compare(first, 4 * first).distance == pytest.approx(math.sqrt(3) * math.log(4))


def test_slices_where_the_rank_is_not_full():
    j = RNG.standard_normal((5, 2, 3))
    deficient, full, rows = j.mT @ j, metrics(5), RNG.standard_normal((2, 3))
    with pytest.raises(SingularMetric, match=r"second has no full rank at 5 of 5 points, first at index 0.*directions"):
        compare(full, deficient)
    result = compare(full, deficient, directions=rows)
    wanted = compare(rows @ full @ rows.T, rows @ deficient @ rows.T)
    np.testing.assert_allclose(result.log_ratios, wanted.log_ratios, rtol=1e-9)
    full[3] = 0
    with pytest.raises(SingularMetric, match="first has no full rank at 1 of 5 points, first at index 3"):
        compare(full, full)


def drawn(seed, scale=1.0, width=200):
    network = sample_network(infgeo.MLP("erf", weight_std=scale, bias_std=0.5), 3, width, seed)
    return pullback(network, X).metric.numpy()


def test_null_of_networks_at_initialisation_and_seeds():
    """Against infinite width: a network of the same law is one of its null, of another scale outside it."""
    limit = infgeo.MLP("erf").numeric(weight_std=1.0, bias_std=0.5).metric(X)
    null = [drawn(seed) for seed in range(19)]
    same, other = (compare(g, limit, null=null) for g in (drawn(100), drawn(100, 1.3)))
    assert same.networks == 19
    assert min(same.p.values()) > 0.05
    assert other.p["distance"] == 0.05  # 1/20
    ranks = [sum(compare(g, limit).shape_distance >= other.shape_distance for g in null)]
    assert other.p["shape distance"] == (1 + ranks[0]) / 20
    results = [compare(drawn(seed), drawn(seed + 50)) for seed in range(6)]
    summary = over_seeds(results)
    assert summary["log volume ratio"].low < 0 < summary["log volume ratio"].high
    assert summary["distance"].alternative is None
    assert summary["distance"].mean == pytest.approx(np.mean([one.distance for one in results]))
    # metrics of networks n times as wide are sqrt(n) times nearer
    near = np.mean([compare(drawn(seed, width=3200), limit).distance for seed in range(6)])
    far = np.mean([compare(drawn(seed), limit).distance for seed in range(6)])
    assert 3 < far / near < 5.3


def test_angles_of_kernels():
    a, b = RNG.standard_normal((6, 4)), RNG.standard_normal((6, 5))
    turned = 3 * a @ np.linalg.qr(RNG.standard_normal((4, 4)))[0] + 1.0
    assert kernel_angle(a @ a.T, turned @ turned.T) < 1e-12
    centred = [x - x.mean(0) for x in (a, b)]
    cross = np.linalg.norm(centred[0].T @ centred[1]) ** 2  # CKA by features instead of kernels
    own = [np.linalg.norm(x.T @ x) for x in centred]
    assert kernel_angle(a @ a.T, b @ b.T) == pytest.approx(math.acos(cross / own[0] / own[1]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: compare(metrics(), metrics(6)), "shapes"),
        (lambda: compare(metrics()[0], metrics()[0]), r"first has shape \(3, 3\)"),
        (lambda: compare(metrics() * np.nan, metrics()), r"first\[0, 0, 0\] is nan"),
        (lambda: compare(metrics(), np.triu(metrics())), "second is not symmetric"),
        (lambda: compare(metrics(), metrics(), directions=np.eye(2)), "directions has shape"),
        (lambda: compare(metrics(), metrics(), null=3), "null is 3"),
        (lambda: compare(metrics(), metrics(), null=[metrics(), metrics()[:2]]), "shapes"),
        (lambda: kernel_angle(np.eye(3), np.eye(4)), "shapes"),
        (lambda: kernel_angle(np.ones((3, 3)), np.eye(3)), "first is constant"),
        (lambda: kernel_angle(np.ones(3), np.eye(3)), r"first has shape \(3,\)"),
    ],
)
def test_one_error_that_says_what_to_do(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
