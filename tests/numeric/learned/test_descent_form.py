"""Descent in closed form against the same h integrated over all weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import infgeo

XOR = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
LABELS = np.array([-1.0, 1, 1, -1])
POINTS = np.array([[0.3, -0.4], [0.0, 0.0], [1.0, 1.0]])
RULES = {
    "step": {"rule": "gradient_step", "learning_rate": 0.3},
    "flow": {"rule": "gradient_flow", "time": 2.0},
    "fitted": {"rule": "gradient_flow", "time": np.inf},
    "mean field": {"rule": "gradient_flow", "time": 0.1, "parametrisation": "mean_field"},
}


def both(activation, X, y, **options):
    """The closed form, and the same by quadrature or nets."""
    mlp = infgeo.MLP(activation, weight_std=0.9, bias_std=0.5)
    closed, sums = (infgeo.learned(mlp, X, y, **options) for _ in range(2))
    vars(sums)["_closed"] = None
    assert (closed.kind, sums.kind) == ("closed form", "quadrature" if X.shape[1] < 3 else "nets")
    return closed, sums


@pytest.mark.parametrize("activation", ["erf", "gaussian", "probit", "z**2", "erf(z) + z/2"])
@pytest.mark.parametrize("rule", RULES)
def test_it_is_the_integral_over_all_weights(activation, rule):
    closed, sums = both(activation, XOR, LABELS, **RULES[rule])
    expected = sums.metric(POINTS)
    tolerance = 1e-8 if activation == "z**2" else 1e-10  # whose quadrature is coarse
    np.testing.assert_allclose(closed.metric(POINTS), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    np.testing.assert_allclose(closed.ricci_shift(POINTS), sums.ricci_shift(POINTS), rtol=1e-6, atol=1e-6)


def test_many_dimensions_outputs_and_blocks():
    rng = np.random.default_rng(0)
    X, Y, x = rng.standard_normal((60, 5)), rng.standard_normal((60, 2)), rng.standard_normal((3, 5))
    closed, sums = both("erf", X, Y, **RULES["step"])
    z = (closed.metric(x) - sums.metric(x)) / sums.standard_error(x)
    assert np.abs(z).max() < 6 and np.abs(z).mean() < 1.5  # Student's t of 7 degrees of freedom
    np.testing.assert_allclose(closed.metric(x[1]), closed.metric(x)[1], rtol=1e-12)


def test_tensors_have_derivatives():
    closed, _ = both("erf", XOR, LABELS, **RULES["flow"])
    x = torch.tensor(POINTS[[0, 2]], requires_grad=True)
    np.testing.assert_allclose(closed.metric(x).detach().numpy(), closed.metric(POINTS[[0, 2]]), rtol=1e-12)
    assert torch.autograd.gradcheck(closed.volume_shift, (x,))
