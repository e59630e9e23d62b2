"""Sums of estimates say where they have lost half of their digits: just below and above."""

from __future__ import annotations

import pytest
import torch

from infgeo.finite import unit_sums
from infgeo.finite.unit_sums import cholesky
from tests.finite.twins import with_pivot

SIDES = [0.8, 1.25]  # of a threshold


@pytest.mark.parametrize("side", SIDES)
def test_sums_of_estimates_say_where_they_have_lost_half_of_their_digits(side):
    epsilon, d = torch.finfo(torch.float64).eps, 3
    g = with_pivot(d, side * 64 * epsilon**0.5)
    i, j = torch.triu_indices(d, d)
    _, ill = unit_sums.geometry_of(g[i, j], d, 1, False, epsilon, 2**20)
    assert ill.tolist() == [side < 1]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("d", [2, 3, 16, 17, 20])
def test_a_pivot_below_16_d_epsilon_is_none(d, side):
    epsilon = 1e-7
    factor = cholesky(with_pivot(d, side * 16 * d * epsilon), epsilon)
    assert factor.singular.item() is (side < 1) and bool(torch.isneginf(factor.log_determinant)) is (side < 1)
    assert factor.smallest_pivot.item() == pytest.approx(side * 16 * d * epsilon, rel=1e-6)
