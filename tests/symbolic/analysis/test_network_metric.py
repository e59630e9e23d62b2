"""The metric of given weights against `infgeo.Metric` and against `infgeo.finite.pullback` of the same network."""

from __future__ import annotations

import pytest
import sympy
import torch
from sympy import Rational, symbols
from torch import nn

from infgeo.analysis import network_metric
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.finite import pullback
from infgeo.kernels import CoordinateKernel
from infgeo.reproduce.cube_roots import Erf

WEIGHTS = {
    1: [[1], [-2], [Rational(1, 3)]],
    2: [[1, 2], [Rational(-1, 2), 1], [0, 1], [Rational(3, 4), Rational(-1, 5)]],
    3: [[1, 0, 2], [Rational(1, 2), 1, -1], [0, 1, 1], [1, -1, 0], [Rational(1, 3), Rational(1, 4), 1]],
}
BIASES = [Rational(1, 2), -1, 0, Rational(1, 5), Rational(2, 3)]


def metric_in(d, activation="erf"):
    return network_metric(activation, WEIGHTS[d], BIASES[: len(WEIGHTS[d])])


def point_in(d):
    return [Rational(3, 10), Rational(-4, 7), Rational(1, 2)][:d]


@pytest.mark.parametrize("activation", ["erf", "tanh"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_it_is_the_metric_of_the_textbook(d, activation):
    metric = metric_in(d, activation)
    at = dict(zip(metric.coordinates, point_in(d), strict=True))
    slow = metric.metric.at(at)
    assert abs(metric.determinant.subs(at).evalf(40) / slow.determinant - 1) < 1e-30
    assert abs(metric.volume_element.subs(at).evalf(40) ** 2 / slow.determinant - 1) < 1e-30
    assert abs(metric.ricci_scalar.subs(at).evalf(40) - slow.ricci_scalar) < 1e-30 * (1 + abs(slow.ricci_scalar))
    assert d == 1 or abs(slow.ricci_scalar) > 0.1


@pytest.mark.parametrize("d", [2, 3])
def test_it_is_the_geometry_of_the_torch_network(d):
    n = len(WEIGHTS[d])
    network = nn.Sequential(nn.Linear(d, n, dtype=torch.float64), Erf())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[float(v) for v in row] for row in WEIGHTS[d]], dtype=torch.float64))
        network[0].bias.copy_(torch.tensor([float(v) for v in BIASES[:n]], dtype=torch.float64))
    measured = pullback(network, torch.tensor([float(value) for value in point_in(d)], dtype=torch.float64))
    metric = metric_in(d)
    at = dict(zip(metric.coordinates, point_in(d), strict=True))
    expected = torch.tensor(metric.matrix.subs(at).evalf(20).tolist(), dtype=torch.float64)
    torch.testing.assert_close(measured.metric / n, expected, rtol=1e-12, atol=0)
    assert float(measured.ricci_scalar) * n == pytest.approx(float(metric.ricci_scalar.subs(at)), rel=1e-10)


def test_it_is_the_metric_of_the_kernel_of_the_features():
    metric = network_metric("sin", [[1, 2], [-1, 1], [0, 1]])
    x, y = metric.coordinates, symbols("y_1:3", real=True)
    features = [sympy.sin(x[0] + 2 * x[1]), sympy.sin(x[1] - x[0]), sympy.sin(x[1])]
    others = [part.xreplace(dict(zip(x, y, strict=True))) for part in features]
    kernel = CoordinateKernel(sum(a * b for a, b in zip(features, others, strict=True)) / 3, x, y)
    at = dict(zip(x, point_in(2), strict=True))
    assert (kernel.metric.matrix - metric.matrix).subs(at).evalf(30).norm() < 1e-25


def test_symbols_may_stand_for_weights_and_parallel_units_drop_out():
    a = symbols("a", real=True)
    metric = network_metric("square", [[a, 0], [2 * a, 0], [0, 1]], [1, 1, 1])
    assert len(metric.determinant.args) == 2  # of three minors one vanishes
    assert metric.ricci_scalar == 0


def test_what_has_no_curvature_or_no_inverse_is_refused():
    relu = network_metric("relu", [[1, 0], [0, 1]], [1, 1])
    assert relu.determinant.subs({x: 1 for x in relu.coordinates}) == Rational(1, 4)
    with pytest.raises(NoClosedForm, match="creases"):
        relu.ricci_scalar  # noqa: B018


@pytest.mark.parametrize(
    ("weights", "biases", "said"),
    [
        ([[1, 2], [2, 4], [3, 6]], None, "rank 1 in 2"),
        ([[1, 2], [1]], None, "one row a unit"),
        ([], None, "one row a unit"),
        ([[1, 0], [0, 1]], [1], "one a unit"),
        ([["1", 0], [0, 1]], None, "SymPy expression"),
    ],
)
def test_bad_input_is_one_clear_error(weights, biases, said):
    with pytest.raises(InvalidInput, match=said):
        network_metric("erf", weights, biases)
