"""Sums of estimates say where they have lost half of their digits: just below and above."""

from __future__ import annotations

import pytest
import torch

from infgeo.finite import unit_sums
from tests.finite.twins import with_pivot

SIDES = [0.8, 1.25]  # of a threshold


@pytest.mark.parametrize("side", SIDES)
def test_sums_of_estimates_say_where_they_have_lost_half_of_their_digits(side):
    epsilon, d = torch.finfo(torch.float64).eps, 3
    g = with_pivot(d, side * 64 * epsilon**0.5)
    i, j = torch.triu_indices(d, d)
    _, ill = unit_sums.geometry_of(g[i, j], d, 1, False, epsilon, 2**20)
    assert ill.tolist() == [side < 1]
