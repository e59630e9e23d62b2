"""Cholesky factors with the points last: where a pivot counts as none."""

from __future__ import annotations

import pytest
import torch

from infgeo.finite.hessian_metric import cholesky
from tests.finite.twins import with_pivot

SIDES = [0.8, 1.25]  # of a threshold


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("d", [2, 3, 16, 17, 20])
def test_a_pivot_below_16_d_epsilon_is_none(d, side):
    epsilon = 1e-7
    factor = cholesky(with_pivot(d, side * 16 * d * epsilon), epsilon)
    assert factor.singular.item() is (side < 1) and bool(torch.isneginf(factor.log_determinant)) is (side < 1)
    assert factor.smallest_pivot.item() == pytest.approx(side * 16 * d * epsilon, rel=1e-6)
