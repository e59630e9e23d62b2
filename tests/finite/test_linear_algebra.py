"""Where a metric counts as singular, and where sums over units are given up for the Jacobian: just below and above."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from infgeo.finite import gauss_equation, pullback, shallow, unit_sums
from infgeo.finite.gauss_equation import frame, log_volume
from infgeo.finite.linear_algebra import cholesky, pair_indices
from infgeo.finite.stack import as_stack

SIDES = [0.8, 1.25]  # of a threshold


def with_pivot(d: int, ratio: float) -> torch.Tensor:
    """A matrix (d, d, 1) of unit diagonal whose last pivot is `ratio` of its diagonal entry, all others 1."""
    g = torch.eye(d, dtype=torch.float64)
    g[0, -1] = g[-1, 0] = math.sqrt(1 - ratio)
    return g[:, :, None]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("d", [2, 3, 16, 17, 20])
def test_a_pivot_below_16_d_epsilon_is_none(d, side):
    epsilon = 1e-7
    factor = cholesky(with_pivot(d, side * 16 * d * epsilon), epsilon)
    assert factor.singular.item() is (side < 1) and bool(torch.isneginf(factor.log_determinant)) is (side < 1)
    assert factor.smallest_pivot.item() == pytest.approx(side * 16 * d * epsilon, rel=1e-6)


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
    assert gauss_equation._rank_tolerance(torch.finfo(dtype).eps, 2) == pytest.approx(value / side)


@pytest.mark.parametrize("side", SIDES)
def test_ill_conditioned_sums_are_measured_again_from_the_jacobian(side, monkeypatch):
    """The determinant of sums loses 1/ratio of its digits, that of J the root of it."""
    again, deep = [], shallow.deep_geometry
    monkeypatch.setattr(shallow, "deep_geometry", lambda s, x, *more: again.append(len(x)) or deep(s, x, *more))
    step = 2 * math.sqrt(side * 64 * torch.finfo(torch.float64).eps ** 0.5)
    step = float(torch.tensor(step).to(torch.float32))  # few digits, so that 1 + step is exact
    network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Tanh()).double().requires_grad_(False)
    network[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 1.0 + step]]))
    found = shallow.shallow_geometry(as_stack(network), torch.zeros(1, 2, dtype=torch.float64), False, 2**20)
    assert again == ([1] if side < 1 else [])
    exact = float(2 * mpmath.log(network[0].weight[1, 1].item() - 1))  # tanh'(0) = 1: det g = det(W)^2
    assert found.log_determinant.item() == pytest.approx(exact, abs=1e-11 if side < 1 else 1e-8)


@pytest.mark.parametrize("side", SIDES)
def test_sums_of_estimates_say_where_they_have_lost_half_of_their_digits(side):
    epsilon, d = torch.finfo(torch.float64).eps, 3
    g = with_pivot(d, side * 64 * epsilon**0.5)
    i, j = pair_indices(d)
    _, ill = unit_sums.geometry_of(g[i, j], d, 1, False, epsilon, 2**20)
    assert ill.tolist() == [side < 1]
