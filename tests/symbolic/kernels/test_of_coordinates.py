"""Kernels of coordinates against the metric of the features that they are products of, and against radial kernels."""

from __future__ import annotations

import pytest
from sympy import Abs, Function, ImmutableMatrix, Rational, cos, exp, simplify, sin, sqrt, symbols

import infgeo
from infgeo.errors import InvalidInput, MetricDoesNotExist
from infgeo.kernels import CoordinateKernel, matern, rbf
from infgeo.symbols import coordinates

X = coordinates(2)
Y = symbols("y_1:3", real=True)
FEATURES = (X[0] + X[1] ** 2, sin(X[0] * X[1]), exp(X[1]) / 2)  # neither radial nor diagonal
FACTOR = 1 + X[0] ** 2 / 3 - X[1]
POINT = {X[0]: Rational(3, 10), X[1]: Rational(-4, 7)}


def kernel_of_features():
    second = [part.xreplace(dict(zip(X, Y, strict=True))) for part in FEATURES]
    return CoordinateKernel(sum(a * b for a, b in zip(FEATURES, second, strict=True)), X, Y, simplify=False)


def pulled_back(features):
    rows = [[part.diff(a) for a in X] for part in features]
    return infgeo.Metric(
        [[sum(row[i] * row[j] for row in rows) for j in range(2)] for i in range(2)], X, simplify=False
    )


def close(one, other):
    one, other = one.at(POINT), other.at(POINT)
    for left, right in zip((*one.matrix, one.ricci_scalar), (*other.matrix, other.ricci_scalar), strict=True):
        assert abs(left - right) < 1e-30 * (1 + abs(right))


def test_the_metric_is_the_pullback_by_the_features():
    kernel = kernel_of_features()
    close(kernel.metric, pulled_back(FEATURES))
    assert kernel.metric.volume_element.subs(POINT).evalf(30) > 0


def test_a_conformal_change_is_a_factor_of_the_features_and_obeys_the_formula():
    kernel = kernel_of_features()
    changed = kernel.conformal(FACTOR)
    close(changed.metric, pulled_back([FACTOR * part for part in FEATURES]))
    norm = sum(part**2 for part in FEATURES)  # k(x, x)
    slope, radial = (ImmutableMatrix([part.diff(a) for a in X]) for part in (FACTOR, norm))
    formula = FACTOR**2 * kernel.metric.matrix + norm * slope * slope.T
    formula += FACTOR / 2 * (slope * radial.T + radial * slope.T)
    close(changed.metric, infgeo.Metric(formula, X, simplify=False))
    again = changed.conformal(1 + X[0])
    close(again.metric, pulled_back([(1 + X[0]) * FACTOR * part for part in FEATURES]))


def test_a_radial_kernel_has_the_geometry_of_its_own_class():
    for kernel in (infgeo.MLP("erf", weight_std=1, bias_std=1).kernel, rbf(1) + rbf(2)):
        own = CoordinateKernel(kernel.per_coordinate([1, 1]), X, Y).metric
        assert (own.matrix - kernel.metric.matrix(2)).applyfunc(simplify).is_zero_matrix
        s = sum(value**2 for value in POINT.values())
        ricci = kernel.metric.at(d=2).ricci_scalar.subs(infgeo.symbols.s, s)
        assert abs(own.at(POINT).ricci_scalar - ricci.evalf(40)) < 1e-30


def test_a_kernel_without_a_metric_or_with_0_over_0_is_refused():
    absolute = CoordinateKernel(exp(-Abs(X[0] - Y[0])), X[:1], Y[:1])
    cusp = CoordinateKernel(matern(Rational(3, 2)).per_coordinate([1, 1]).subs("length_scale", 1), X, Y)
    for kernel in (absolute, cusp):
        with pytest.raises(MetricDoesNotExist, match="y = x"):
            kernel.metric  # noqa: B018


@pytest.mark.parametrize(
    ("expr", "x", "y", "said"),
    [
        (X[0] * Y[1], X, Y, "not symmetric"),
        (X[0] * Y[0], X, Y[:1], "two points"),
        (X[0] ** 2, X[:1], X[:1], "two points"),
        (sqrt(-1) * cos(X[0] - Y[0]), X[:1], Y[:1], "real expression"),
        (Function("f")(X[0] - Y[0]), X[:1], Y[:1], "known functions"),
        ("x*y", X, Y, "SymPy expression"),
    ],
)
def test_bad_input_is_one_clear_error(expr, x, y, said):
    with pytest.raises(InvalidInput, match=said):
        CoordinateKernel(expr, x, y)


def test_a_factor_is_a_function_of_x():
    with pytest.raises(InvalidInput, match="coordinates of y"):
        kernel_of_features().conformal(Y[0])
