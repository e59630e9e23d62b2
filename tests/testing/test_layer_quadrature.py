"""Kernels by quadrature, layer by layer."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy

import infgeo
from infgeo.testing import check_kernel
from infgeo.testing.agreement import expectation
from infgeo.testing.subject import Truth

LAYERS = [
    infgeo.layers.RMSNorm(sympy.Rational(1, 10)),
    "erf",
    infgeo.layers.Residual("relu", skip=1, branch=sympy.Rational(1, 2)),
]


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_layers_that_differ(kind):
    """The recursion by quadrature and the simulation share no code with the closed forms."""
    report = check_kernel(infgeo.MLP(LAYERS).numeric(1.2, 0.4), kind=kind)
    assert report["quadrature"].status == report["simulation"].status == "passed"


def test_depth_three_by_quadrature():
    report = check_kernel(infgeo.MLP("relu", depth=3).numeric(1.4, 0.1).ntk, skip=["simulation", "metric"])
    assert report["quadrature"].measured < 1e-12


def test_quadrature_against_williams():
    """The kernel of Williams (1997) by hand at 30 digits, depth 1 and 2."""
    x, y = np.array([0.3, -1.2]), np.array([0.9, 0.5])
    with mpmath.workdps(30):
        bias, weight = mpmath.mpf("0.25"), mpmath.mpf("1.69")

        def through(p, q, c):
            return 2 / mpmath.pi * mpmath.asin(c / mpmath.sqrt((1 + p) * (1 + q)))

        def affine(*parts):
            return [bias + weight * part for part in parts]

        a, b = ([mpmath.mpf(t) for t in point] for point in (x, y))
        p, q, c = affine(mpmath.fdot(a, a), mpmath.fdot(b, b), mpmath.fdot(a, b))
        first = [through(p, p, p), through(q, q, q), through(p, q, c)]
        p, q, c = affine(*first)
        exact = [float(first[2]), float(through(p, q, c))]
    for depth, value in enumerate(exact, start=1):
        truth = Truth(infgeo.MLP("erf", depth=depth), "nngp", {"sigma_w": 1.3, "sigma_b": 0.5})
        assert expectation(truth, x, y)[0] == pytest.approx(value, rel=1e-13)


def test_quadrature_has_no_distance_at_coincidence():
    points = np.random.default_rng(0).normal(size=(3, 2))
    geo = infgeo.MLP("tanh").numeric(1.0, 0.5, method="quadrature")
    assert (geo.kernel_distance(points).diagonal() == 0).all()
