"""The kernels of derivatives that are distributions: by Price's theorem derivatives of the kernel in c."""

import mpmath
import pytest
from sympy import Rational, lambdify

import infgeo
from infgeo.conventions import Delta, c, p, q
from infgeo.conventions import variance as v
from infgeo.symbolic.expectations.dual import dual
from infgeo.symbolic.expectations.slopes import Slopes


@pytest.mark.parametrize(("name", "order"), [("hardtanh", 2), ("hardswish", 3), ("hardshrink", 2), ("elu", 2)])
def test_they_are_derivatives_of_the_kernel_in_the_covariance(name, order):
    law = dual(infgeo.MLP(name).layers[0].activation)
    slopes = Slopes(law.terms)
    for _ in range(order - 1):
        slopes = slopes.derivative()
    parts = slopes.kernel, slopes.derivative().kernel
    kernel, found = (lambdify([p, q, c, Delta], part, "mpmath") for part in parts)
    with mpmath.workdps(20):
        first, second, at = mpmath.mpf(2), mpmath.mpf(3), mpmath.mpf("0.7")
        right = mpmath.diff(lambda x: kernel(first, second, x, first * second - x * x), at)
        assert abs(found(first, second, at, first * second - at * at) / right - 1) < 1e-8


def test_means_are_derivatives_of_means_by_the_variance():
    slopes = Slopes(dual(infgeo.MLP("relu6").layers[0].activation).terms)
    second = slopes.derivative().derivative()
    assert (second.mean / 2 - slopes.mean.diff(v)).subs(v, 3).evalf(30, chop=1e-25) == 0


def test_at_variance_zero_they_are_the_mean_of_both_sides():
    slopes = Slopes(dual(infgeo.MLP("max(0, z) + max(0, z + 1)").layers[0].activation).terms)
    assert (slopes.at_zero, slopes.derivative().at_zero) == (1, Rational(3, 2))
