"""Rank and singular values of J, and where a metric counts as singular."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from infgeo.finite import gauss_equation, pullback
from infgeo.finite.gauss_equation import frame, log_volume

SIDES = [0.8, 1.25]  # of a threshold


def matrix(n: int, d: int, values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """An n × d matrix with these singular values, float64."""
    numbers = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(m, m, generator=numbers, dtype=torch.float64))[0] for m in (n, d))
    return left[:, : len(values)] * values @ right[:, : len(values)].T


@pytest.mark.parametrize(
    ("n", "d", "scale"), [(18, 24, 1.0), (24, 18, 1e30), (18, 20, 1e-30)], ids=["wide", "tall, large", "wide, small"]
)
def test_singular_values_are_those_of_40_digits(n: int, d: int, scale: float) -> None:
    spectra = [torch.logspace(0, -k, 18, dtype=torch.float64) for k in (1, 3, 4, 7)]
    spectra.append(torch.cat([spectra[0][:14], torch.zeros(4, dtype=torch.float64)]))
    exact = torch.stack([matrix(n, d, s, seed) for seed, s in enumerate(spectra)]) * scale
    j = exact.float()
    result = gauss_equation.spectrum(j)
    for k, got in enumerate(result.singular_values):
        with mpmath.workdps(40):
            digits = sorted(mpmath.svd_r(mpmath.matrix(j[k].double().tolist()), compute_uv=False), reverse=True)
        expected = torch.tensor([float(v) for v in digits], dtype=torch.float64)
        bound = torch.finfo(torch.float32).eps / 8 if k < 3 else 1e-13  # Gram matrices serve where they are safe
        assert float((got - expected).abs().max() / expected[0]) < bound
    assert result.rank[:3].tolist() == [18] * 3 and int(result.rank[4]) == 14
    expected = torch.stack([s.log().sum() for s in spectra[:3]]) + 18 * math.log(scale)
    torch.testing.assert_close(result.log_pseudo_volume[:3], expected, rtol=0, atol=1e4 * 1e-7)


def test_small_singular_values_keep_their_digits() -> None:
    j = torch.stack([matrix(24, 60, torch.logspace(0, -9, 24, dtype=torch.float64)), torch.zeros(24, 60).double()])
    result = gauss_equation.spectrum(j)
    torch.testing.assert_close(
        result.singular_values[0], torch.logspace(0, -9, 24, dtype=torch.float64), rtol=1e-5, atol=0
    )
    assert result.rank.tolist() == [24, 0] and float(result.log_pseudo_volume[1]) == 0


def test_rank_of_wide_matrices_does_not_depend_on_the_scale_of_a_coordinate() -> None:
    j = matrix(3, 8, torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    low = j.clone()
    low[2] = low[0] - 3 * low[1]
    for scale in (1.0, 1e-30, 1e25):
        scaled = torch.stack([j, low])
        scaled[..., 4] *= scale
        assert gauss_equation.spectrum(scaled).rank.tolist() == [3, 2]
    wild = torch.stack([j, j])
    wild[1, 0, 0] = torch.nan
    result = gauss_equation.spectrum(wild.float())
    assert result.rank.tolist() == [3, -1] and bool(torch.isnan(result.singular_values[1]).all())


def columns(dtype: torch.dtype, value: float) -> torch.Tensor:
    """J (2, 2) with columns of length 1, to first order, and the least singular value `value`."""
    return torch.tensor([[1.0, 1.0], [0.0, math.sqrt(2) * value]], dtype=dtype)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_singular_value_below_16_root_d_epsilon_is_none(dtype, side):
    """Pivots are above it on both sides: they bound singular values from above."""
    value = side * 16 * math.sqrt(2) * torch.finfo(dtype).eps
    jacobian = columns(dtype, value)
    linear = torch.nn.Linear(2, 2, bias=False, dtype=dtype).requires_grad_(False)
    linear.weight.copy_(jacobian)
    assert pullback(linear, torch.zeros(1, 2, dtype=dtype)).rank.tolist() == [1 if side < 1 else 2]
    assert frame(jacobian[None]).singular.tolist() == [side < 1]
    assert bool(torch.isneginf(log_volume(jacobian[None]))) is (side < 1)
    assert gauss_equation._rank_tolerance(jacobian) == pytest.approx(value / side)
