"""The share that |x| explains, and agreement with a law, where both are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import make_lsq_spline

import infgeo
from infgeo.errors import InvalidInput
from infgeo.finite import pullback, sample_network
from infgeo.magnification import agreement, symmetry
from infgeo.magnification.radial_regression import RadialFit, radii
from tests.magnification.fields import grid

RAYLEIGH_VARIANCE = 2 - np.pi / 2  # of |x| for x standard normal in the plane


def normal_points(n, seed=0, d=2):
    x = np.random.default_rng(seed).standard_normal((n, d))
    return x, np.linalg.norm(x, axis=1), np.arctan2(x[:, 1], x[:, 0])


@pytest.mark.parametrize("amplitude", [0.02, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("n", [40, 200])
def test_the_share_estimates_the_correlation_ratio_without_bias(amplitude, n):
    """log volume = |x| + c sin(2 angle), with |x| and angle independent: eta^2 = Var |x| / (Var |x| + c^2 / 2)."""
    expected = RAYLEIGH_VARIANCE / (RAYLEIGH_VARIANCE + amplitude**2 / 2)
    unexplained, raw = [], []
    for seed in range(200):
        x, r, angle = normal_points(n, seed)
        result = symmetry(x, r + amplitude * np.sin(2 * angle))
        unexplained.append(result.share)
        raw.append(result.raw_share)
    error = np.std(unexplained) / np.sqrt(len(unexplained))
    # a ratio of variances has a bias of order 1 / n of its own, a third of a standard deviation at n = 40 for c = 0.3
    assert abs(np.mean(unexplained) - expected) < 4 * error + 0.6 / n
    if amplitude == 3.0:
        assert np.mean(raw) > expected + 10 * error  # what the adjustment is for


@pytest.mark.parametrize("n", [3, 4, 8, 12, 20, 30, 60])
def test_noise_is_explained_by_nothing_on_average(n):
    shares = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        shares.append(symmetry(rng.standard_normal((n, 3)), rng.standard_normal(n)).share)
    assert abs(np.mean(shares)) < 4 * np.std(shares) / np.sqrt(len(shares))


@pytest.mark.parametrize(("activation", "depth"), [("erf", 1), ("erf", 3), ("gelu", 1), ("sin", 2)])
def test_laws_of_infinite_width_are_all_radial(activation, depth):
    x, _ = grid(30)
    law = infgeo.MLP(activation, depth=depth).numeric(weight_std=1.0, bias_std=1.0).log_volume_element(x)
    assert 1 - symmetry(x, law).share < 1e-5


def test_the_law_of_relu_is_flat():
    x, _ = grid(30)
    flat = infgeo.MLP("relu").numeric(weight_std=1.0, bias_std=1.0).log_volume_element(x)
    with pytest.raises(InvalidInput, match="constant"):
        symmetry(x, flat)


def test_random_networks_become_symmetric_with_width():
    """1 - share falls as 1 / n, the relative variance of the metric; the law agrees as far as the share allows."""
    mlp = infgeo.MLP("erf", weight_std=1.0, bias_std=1.0)
    x, _ = grid(16, half=2.0)
    law = mlp.numeric().log_volume_element(x)
    left, residual = [], []
    for width in (100, 1600):
        for seed in range(8):
            volume = pullback(sample_network(mlp, 2, width, seed), torch.from_numpy(x)).log_volume_element.numpy()
            left.append(1 - symmetry(x, volume).share)
            residual.append(agreement(volume, law).spread)
    low, high = np.array(left).reshape(2, 8).mean(axis=1)
    assert high < 0.05
    assert 6 < low / high < 40  # 16 from the law
    small, large = np.array(residual).reshape(2, 8).mean(axis=1)
    assert 2.5 < small / large < 6.5  # 4 from the law


def test_the_angle_alone_is_not_explained_and_the_corners_of_a_square_are():
    x, _ = grid(60)
    harmonic = np.cos(4 * np.arctan2(x[:, 1], x[:, 0]))
    assert abs(symmetry(x, harmonic, within=1.0).share) < 0.02
    assert symmetry(x, harmonic).share > 0.1  # beyond the disc |x| tells something of the angle
    result = symmetry(x, harmonic, within=1.0)
    assert result.points + result.outside == len(x) and result.outside == (radii(x) > 1.0).sum()


def test_the_fit_is_the_least_squares_spline_of_scipy():
    x, r, angle = normal_points(300, 3)
    y = np.sin(3 * r) + 0.3 * np.cos(angle)
    inner = np.quantile(r, np.linspace(0, 1, 10)[1:-1])
    t = np.concatenate((np.full(4, r.min()), inner, np.full(4, r.max())))
    order = np.argsort(r)
    spline = make_lsq_spline(r[order], y[order], t, k=3)
    result = symmetry(x, y)
    assert result.parameters == 12
    rest = y - spline(r)
    assert result.raw_share == pytest.approx(1 - (rest @ rest) / ((y - y.mean()) @ (y - y.mean())), abs=1e-11)
    assert result.share == pytest.approx(1 - (rest @ rest / 288) / np.var(y, ddof=1), abs=1e-11)
    assert result.spread == pytest.approx(np.sqrt(rest @ rest / 288), rel=1e-10)


def test_few_radii_are_fitted_by_their_means():
    rng = np.random.default_rng(0)
    for shells in (2, 3, 5, 10):
        r = rng.permutation(np.repeat(np.arange(1, shells + 1) ** 1.3, 20))
        angle = rng.uniform(0, 2 * np.pi, r.size)
        x = (r * np.array([np.cos(angle), np.sin(angle)])).T
        y = rng.standard_normal(r.size) + np.sin(r)
        means = {value: y[np.isclose(r, value)].mean() for value in np.unique(r)}
        between = np.array([means[value] for value in r])
        result = symmetry(x, y)
        assert result.parameters == shells
        assert result.raw_share == pytest.approx(np.var(between) / np.var(y), abs=1e-9)


def test_one_radius_explains_nothing():
    corners = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert symmetry(corners, [1.0, 2.0, 3.0, 5.0]).share == pytest.approx(0, abs=1e-15)
    angle = np.linspace(0, 6, 50)
    circle = 0.7 * np.array([np.cos(angle), np.sin(angle)]).T  # radii that differ by rounding
    assert symmetry(circle, angle).parameters == 1


@pytest.mark.parametrize("scale", [1e-200, 1e-8, 1e8, 1e200])
def test_neither_units_nor_the_base_of_the_logarithm_matter(scale):
    x, r, angle = normal_points(150, 2, d=5)
    y = r**2 + np.sin(angle)
    base = symmetry(x, y).share
    assert symmetry(scale * x, y / np.log(10) + 7).share == pytest.approx(base, abs=1e-9)
    assert symmetry(x.reshape(150, 1, 5), y).share == base


@pytest.mark.parametrize("amplitude", [0.3, 1.0])
def test_intervals_cover_the_share(amplitude):
    expected = RAYLEIGH_VARIANCE / (RAYLEIGH_VARIANCE + amplitude**2 / 2)
    covered = 0
    for seed in range(100):
        x, r, angle = normal_points(120, seed)
        result = symmetry(x, r + amplitude * np.sin(2 * angle), resamples=200, level=0.9, seed=seed)
        assert result.low < result.share < result.high < 1 and result.level == 0.9
        covered += result.low <= expected <= result.high
    # promised 0.9; 4 standard deviations of 100 trials, and 0.03 that a bootstrap of 120 points loses
    assert 0.75 < covered / 100


def test_the_bootstrap_is_that_of_resampled_points():
    """The twin resamples the points and fits them anew; few points, so that the adjustment shows."""
    x, r, angle = normal_points(60, 1)
    y = r + 0.7 * np.sin(2 * angle)
    result = symmetry(x, y, resamples=4000)
    assert result.parameters == 8
    fit, rng, ratios = RadialFit(r), np.random.default_rng(7), []
    for _ in range(4000):
        pick = rng.integers(0, 60, 60)
        design, own = fit.basis[pick], y[pick]
        rest = own - design @ np.linalg.lstsq(design, own, rcond=None)[0]
        ratios.append((rest @ rest) / ((own - own.mean()) @ (own - own.mean())) * 59 / 52)
    deviations = np.log(np.array(ratios) / (1 - result.raw_share))
    for side, bound in ((0.025, result.low), (0.975, result.high)):
        deviation = np.log((1 - result.share) / (1 - bound))
        blocks = [np.quantile(block, side) for block in np.split(deviations, 20)]  # the error of a quantile of 200
        assert abs(deviation - np.quantile(deviations, side)) < 6 * np.std(blocks) / np.sqrt(20)
    assert symmetry(x, y, resamples=50, seed=1) == symmetry(x, y, resamples=50, seed=1)


def test_singular_points_are_counted():
    x, r, _ = normal_points(100)
    y = np.where(r < 0.5, -np.inf, r)
    result = symmetry(x, y)
    assert result.singular == (r < 0.5).sum() and result.points == (r >= 0.5).sum()
    kept = r >= 0.5
    assert result.share == symmetry(x[kept], y[kept]).share
    assert result.to_dict()["singular"] == result.singular


def test_agreement_by_its_definition():
    rng = np.random.default_rng(0)
    law = rng.standard_normal(200)
    y = law + 0.3 + 0.1 * rng.standard_normal(200)
    result = agreement(np.append(y, [-np.inf, 1.0]), np.append(law, [1.0, -np.inf]))
    e = y - law
    assert result.singular == 2 and result.points == 200
    assert result.r2 == pytest.approx(1 - (e @ e) / ((y - y.mean()) @ (y - y.mean())))
    assert result.r2_shifted == pytest.approx(1 - np.var(e, ddof=1) / np.var(y, ddof=1))
    assert (result.offset, result.spread) == (pytest.approx(e.mean()), pytest.approx(np.std(e, ddof=1)))
    assert agreement(y, np.full(200, 9.0)).r2 < -10
    exact = agreement(law, law)
    assert (exact.r2, exact.r2_shifted, exact.offset, exact.spread) == (1, 1, 0, 0)


X, R, _ = normal_points(30)


@pytest.mark.parametrize(
    ("points", "volume", "options", "message"),
    [
        (X, R[:-1], {}, "29 values for 30 points"),
        (X[:2], R[:2], {}, "at least 3"),
        (X[:0], R[:0], {}, r"points has shape \(0, 2\)"),
        (R, R, {}, r"points has shape \(30,\)"),
        (X, R[:, None], {}, r"log_volume has shape \(30, 1\)"),
        (X, np.where(R > 2, np.nan, R), {}, "is nan"),
        (X, np.where(R > 2, np.inf, R), {}, "is inf"),
        (np.where(X > 1, np.nan, X), R, {}, r"points\[\d+, \d\] is nan"),
        (X, np.where(R > np.sort(R)[2], -np.inf, R), {"within": 1e-9}, "0 points have"),
        (X, np.full(30, -np.inf), {}, "0 finite values among 30"),
        (X, np.full(30, 0.1) + 1e-17, {}, "constant"),
        (X, R + 0j, {}, "dtype complex"),
        (X, np.ma.masked_array(R, R > 1), {}, "masked"),
        (X, R, {"knots": 40}, "parameters"),
        (X, R, {"knots": -1}, "knots is -1"),
        (X, R, {"knots": 2.5}, "knots is 2.5"),
        (X, R, {"within": float("nan")}, "within is nan"),
        (X, R, {"level": 95}, "level is 95"),
        (X[:5], np.arange(5.0), {"resamples": 50}, "5 points are too few to resample a fit of 2 parameters"),
        (X, R, {"resamples": -1}, "resamples is -1"),
        (X, R, {"resamples": 5, "seed": None}, "seed is None"),
    ],
)
def test_bad_input_is_named(points, volume, options, message):
    with pytest.raises(InvalidInput, match=message):
        symmetry(points, volume, **options)


def test_bad_laws_are_named():
    for law, message in ((R[:-1], "29 values"), (np.full(30, np.nan), "nan"), (np.full(30, -np.inf), "0 finite")):
        with pytest.raises(InvalidInput, match=message):
            agreement(R, law)
    with pytest.raises(InvalidInput, match="constant"):
        agreement(np.ones(30), R)
    with pytest.raises(InvalidInput, match="not an array of numbers"):
        agreement(torch.ones(30, requires_grad=True), R)
