"""Samplers: the law of a unit, how units depend on one another, and what that does to estimates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from infgeo.errors import InvalidInput
from infgeo.finite import estimate
from infgeo.finite.samplers import SAMPLERS, block_units, check_sampler, first_layer, principal_axes
from tests.finite.twins import ERF, RELU, Z, infinite_eigenvalues, network

BLOCKS = 200


def units(sampler: str, seed: int, count: int, dim: int, bias: bool = True, dtype: Any = torch.float64) -> np.ndarray:
    parts = [torch.cat([w, b[:, None]], 1) for w, b in first_layer(sampler, seed, count, dim, bias, dtype)]
    return torch.cat(parts).double().numpy()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [64, 63])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_unit_is_gaussian(sampler: str, count: int, dtype: torch.dtype) -> None:
    """Moments of single units and of pairs of coordinates, with the error from independent blocks."""
    blocks = np.stack([units(sampler, seed, count, 2, dtype=dtype) for seed in range(BLOCKS)])
    assert blocks.shape == (BLOCKS, count, 3)
    squared = (blocks**2).sum(-1)
    moments = {
        "mean": (blocks, 0), "square": (blocks**2, 1), "cube": (blocks**3, 0), "fourth": (blocks**4, 3),
        "product": (blocks * np.roll(blocks, 1, axis=2), 0), "radius": (squared**3, 3 * 5 * 7),
        "inside": ((squared < stats.chi2.ppf(0.3, 3)).astype(float), 0.3), "sixth": (blocks**6, 15),
        # of the last unit alone, which an odd count leaves without a partner
        "last": (blocks[:, -1:] ** 2, 1),
    }  # fmt: skip
    for name, (values, expected) in moments.items():
        means = values.mean(axis=1)
        z = (means.mean(0) - expected) / (means.std(0, ddof=1) / math.sqrt(BLOCKS))
        assert np.abs(z).max() < 4.2, name


def test_groups_are_orthogonal_with_radii_of_their_own() -> None:
    z = units("orthogonal", 3, 4000, 3).reshape(-1, 4, 4)
    norms = np.linalg.norm(z, axis=2)
    directions = z / norms[:, :, None]
    assert np.abs(directions @ directions.transpose(0, 2, 1) - np.eye(4)).max() < 1e-13
    assert stats.kstest(norms.ravel(), "chi", (4,)).pvalue > 1e-3
    assert abs(np.corrcoef(norms[:, 0], norms[:, 1])[0, 1]) < 4 / math.sqrt(len(norms))
    # the signs of a Haar matrix: LAPACK's own Q prefers some
    assert abs(z[:, 0, 0].mean()) < 4 / math.sqrt(len(z))


def test_pairs_are_opposite_with_complementary_radii() -> None:
    z = units("antithetic", 3, 1000, 2)
    first, second = z[::2], z[1::2]
    norms = [np.linalg.norm(half, axis=1) for half in (first, second)]
    cosine = (first * second).sum(1) / norms[0] / norms[1]
    assert np.abs(cosine + 1).max() < 1e-12
    quantiles = [stats.chi.cdf(norm, 3) for norm in norms]
    assert np.abs(quantiles[0] + quantiles[1] - 1).max() < 1e-9


def test_nets_have_one_point_in_every_stratum() -> None:
    uniform = stats.norm.cdf(units("sobol", 5, 1024, 3))
    for column in uniform.T:
        assert sorted((column * 1024).astype(int)) == list(range(1024))
    assert len({round(units("sobol", seed, 1, 3)[0, 0], 12) for seed in range(50)}) == 50
    long = units("sobol", 5, 2**14 + 5, 3)  # drawn in pieces
    assert np.array_equal(long[:1024], units("sobol", 5, 1024, 3)) and len(np.unique(long[:, 0])) == len(long)


def test_without_bias_a_group_has_d_units() -> None:
    z = units("orthogonal", 0, 6, 3, bias=False)
    assert not z[:, 3].any() and abs(z[0, :3] @ z[1, :3]) < 1e-13


@pytest.mark.parametrize("bias_std", [0.0, 0.8])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("expr", [ERF, RELU], ids=str)
def test_estimates_agree_with_the_limit(expr: Any, sampler: str, bias_std: float) -> None:
    x = torch.tensor([[0.3, 0.4], [-1.5, 2.0]], dtype=torch.float64)
    kw: dict[str, Any] = {"weight_std": 1.3, "bias_std": bias_std, "seed": 3}
    got = estimate(network(expr), x, 96, 200, sampler, quantities=["metric_radial", "metric_tangential"], **kw)
    tangential, radial = np.array([infinite_eigenvalues(expr, r, 1.3, bias_std) for r in (0.5, 2.5)]).T
    if expr is RELU:
        tangential = radial = np.full(2, 1.3**2 / 2)  # quadrature across the kink is not exact
    for value, expected in ((got.metric_tangential, tangential), (got.metric_radial, radial)):
        assert value is not None and got.sampler == sampler
        z = (value.mean.numpy() - expected) / value.standard_error.numpy()
        assert np.abs(z).max() < 4


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_deep_networks_with_a_sampled_first_layer(sampler: str) -> None:
    """φ(z) = z: E[g] = σ_w⁴ I at depth 2, whatever joins the units of the first layer."""
    x = torch.tensor([[0.3, 0.4]], dtype=torch.float64)
    got = estimate(network(Z, 2), x, 16, 400, sampler, weight_std=1.2, bias_std=0.5, quantities=["metric", "kernel"])
    assert got.metric is not None and got.kernel is not None
    assert ((got.metric.mean - 1.2**4 * torch.eye(2)) / got.metric.standard_error).abs().max() < 4
    kernel = 1.2**2 * (1.2**2 * 0.25 + 0.25) + 0.25
    assert ((got.kernel.mean - kernel) / got.kernel.standard_error).abs().max() < 4


@pytest.mark.parametrize(
    ("sampler", "expr", "dim", "quantity", "gain"),
    [
        ("sobol", ERF, 2, "volume_element", 30),
        ("orthogonal", ERF, 10, "kernel", 1.8),
        ("antithetic", RELU, 10, "volume_element", 2.2),
    ],
)
def test_what_each_sampler_gains(sampler: str, expr: Any, dim: int, quantity: str, gain: float) -> None:
    """How many fewer units than iid a sampler needs for the same standard error."""
    x = torch.zeros(1, dim, dtype=torch.float64)
    x[0, :2] = torch.tensor([0.6, 0.8])
    variance = []
    for name in ("iid", sampler):
        got = estimate(network(expr), x, 1024, 100, name, quantities=[quantity], seed=1, bias_std=0.0)
        variance.append(float(getattr(got, quantity).standard_error) ** 2)
    assert variance[0] / variance[1] > gain


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_intervals_cover(sampler: str) -> None:
    """95 % t-intervals over 120 independent runs: at least 90 % and at most 99 %, up to the noise of 120 runs."""
    x = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    expected = infinite_eigenvalues(ERF, 1.0, 1.0, 1.0)[0]
    runs, samples, inside = 120, 8, 0
    for seed in range(runs):
        got = estimate(
            network(), x, 64, samples, sampler, quantities=["metric_tangential"], seed=seed
        ).metric_tangential
        assert got is not None
        inside += abs(float(got.mean) - expected) < stats.t.ppf(0.975, samples - 1) * float(got.standard_error)
    assert abs(inside - 0.95 * runs) < 4 * math.sqrt(0.95 * 0.05 * runs)


def test_blocks_are_bounded_in_memory() -> None:
    for d in (1, 10, 784, 3072):
        assert block_units("iid", d) * (d + 1) * 8 < 2**24


def test_dimensions_beyond_the_sobol_sequence() -> None:
    check_sampler("sobol", 21200)
    with pytest.raises(InvalidInput, match="at most 21200 input dimensions, not 21201; use 'iid'"):
        check_sampler("sobol", 21201)


def test_sobol_coordinates_lie_along_the_inputs() -> None:
    x = torch.tensor([[3.0, 4.0], [6e-150, 8e-150], [0.0, 0.0], [-3e200, -4e200]], dtype=torch.float64)
    axes = principal_axes(x, 1.0, 0.0)
    assert axes is not None
    torch.testing.assert_close(axes[0].abs(), torch.tensor([0.6, 0.8], dtype=torch.float64))
    torch.testing.assert_close(axes @ axes.T, torch.eye(2, dtype=torch.float64))
    assert principal_axes(torch.zeros(1, 300, dtype=torch.float64), 1.0, 1.0) is None
