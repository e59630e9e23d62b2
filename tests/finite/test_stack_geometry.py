"""Sums over units are given up for the Jacobian where they have lost half of their digits: just below and above."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch

from infgeo.finite import stack_geometry
from infgeo.finite.stack import as_stack

SIDES = [0.8, 1.25]  # of a threshold


@pytest.mark.parametrize("side", SIDES)
def test_ill_conditioned_sums_are_measured_again_from_the_jacobian(side, monkeypatch):
    """The determinant of sums loses 1/ratio of its digits, that of J the root of it."""
    again, deep = [], stack_geometry.deep_geometry
    monkeypatch.setattr(stack_geometry, "deep_geometry", lambda s, x, *more: again.append(len(x)) or deep(s, x, *more))
    step = 2 * math.sqrt(side * 64 * torch.finfo(torch.float64).eps ** 0.5)
    step = float(torch.tensor(step).to(torch.float32))  # few digits, so that 1 + step is exact
    network = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Tanh()).double().requires_grad_(False)
    network[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 1.0 + step]]))
    found = stack_geometry.shallow_geometry(as_stack(network), torch.zeros(1, 2, dtype=torch.float64), False, 2**20)
    assert again == ([1] if side < 1 else [])
    exact = float(2 * mpmath.log(network[0].weight[1, 1].item() - 1))  # tanh'(0) = 1: det g = det(W)^2
    assert found.log_determinant.item() == pytest.approx(exact, abs=1e-11 if side < 1 else 1e-8)
