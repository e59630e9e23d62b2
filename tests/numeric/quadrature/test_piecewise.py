"""Quadrature of activations with kinks, jumps and poles anywhere, against mpmath on intervals split at these.

Orthogonal preactivations factorise and antiparallel ones depend on one variable, so that one-dimensional integrals are
enough to check expectations over pairs.
"""

from __future__ import annotations

from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NoClosedForm
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.symbolic.activations.activation import from_expression

z = sp.Symbol("z", real=True)
P, Q = 1.2, 0.7  # variances
RIGHT = np.array([[P**0.5, 0.0], [0.0, Q**0.5], [-(Q**0.5), 0.0]])
WHOLE = [mp.mpf(k) for k in range(-12, 13)]
HALVES = [mp.mpf(k) / 2 for k in range(-24, 25)]
TURNS = [k * mp.pi / 2 for k in range(-8, 9)]
ZERO = [
    -12,
    -3,
    -1,
    *(-(mp.mpf(4) ** -k) for k in range(1, 40)),
    0,
    *(mp.mpf(4) ** -k for k in range(39, -1, -1)),
    3,
    12,
]
JUMPING = {
    "floor(z)": (sp.floor(z), mp.floor, WHOLE),
    "sign(sin(z))": (sp.sign(sp.sin(z)), lambda t: mp.sign(mp.sin(t)), TURNS),
    "tanh(1/z)": (sp.tanh(1 / z), lambda t: mp.tanh(1 / t), ZERO),
    "log|z|": (sp.log(sp.Abs(z)), lambda t: mp.log(abs(t)), ZERO),
    "sqrt|z|": (sp.sqrt(sp.Abs(z)), lambda t: mp.sqrt(abs(t)), ZERO),
}
# With the slope.
KINKED = {
    "|sin z|": (sp.Abs(sp.sin(z)), lambda t: abs(mp.sin(t)), mp.cos, TURNS),
    "max(sin, 0)": (
        sp.Max(sp.sin(z), 0),
        lambda t: max(mp.sin(t), mp.mpf(0)),
        lambda t: mp.cos(t) * (mp.sin(t) > 0),
        TURNS,
    ),
    "|z|^(3/2)": (sp.Abs(z) ** sp.Rational(3, 2), lambda t: abs(t) ** 1.5, lambda t: 1.5 * mp.sqrt(abs(t)), ZERO),
    "exp(-1/z^2)": (sp.exp(-1 / z**2), lambda t: mp.exp(-1 / t**2), lambda t: 2 / t**3 * mp.exp(-1 / t**2), ZERO),
    "sin(z)/z": (sp.sin(z) / z, lambda t: mp.sin(t) / t, lambda t: (t * mp.cos(t) - mp.sin(t)) / t**2, WHOLE),
    "sinc": (sp.sinc(z), lambda t: mp.sin(t) / t, lambda t: (t * mp.cos(t) - mp.sin(t)) / t**2, WHOLE),
    "(exp(z) - 1)/z": (
        (sp.exp(z) - 1) / z,
        lambda t: mp.expm1(t) / t,
        lambda t: (t * mp.exp(t) - mp.expm1(t)) / t**2,
        WHOLE,
    ),
    "max(exp(z) - 2, 0)": (
        sp.Max(sp.exp(z) - 2, 0),
        lambda t: max(mp.exp(t) - 2, mp.mpf(0)),
        lambda t: mp.exp(t) * (t > mp.log(2)),
        sorted([*WHOLE, mp.log(2)]),
    ),
}  # fmt: skip


LONG = ("log|z|", "sqrt|z|", "|z|^(3/2)", "exp(-1/z^2)", "sin(z)/z", "(exp(z) - 1)/z")


def of(cases):
    return [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in cases]


def mean(f, variance, places):
    """E[f(z)] for z ~ N(0, variance)."""
    density = lambda t: f(t) * mp.npdf(t, 0, mp.sqrt(variance))  # noqa: E731
    return mp.fsum(mp.quad(density, pair) for pair in pairwise(places))


def check_kernel(expr, phi, places):
    geo = infgeo.MLP(expr, weight_std=1, bias_std=0).numeric(method="quadrature")
    with mp.workdps(20):
        norms = [mean(lambda t: phi(t) ** 2, variance, places) for variance in (P, Q)]
        one, other = (mean(phi, variance, places) for variance in (P, Q))
        ratio = mp.sqrt(mp.mpf(Q) / P)
        split = sorted({*places, *(-x / ratio for x in places)})
        against = mean(lambda t: phi(t) * phi(-ratio * t), P, split)
        size = float(mp.sqrt(norms[0] * norms[1]))
    K = geo.kernel(RIGHT)
    assert np.abs(geo.kernel_diag(RIGHT[:2]) / np.array(norms, float) - 1).max() < 1e-9
    assert abs(K[0, 1] - float(one * other)) < 2e-9 * size
    assert abs(K[0, 2] - float(against)) < 2e-9 * size
    return geo


@pytest.mark.parametrize("name", of(JUMPING))
def test_jumps_have_kernels_and_no_metric(name):
    geo = check_kernel(*JUMPING[name])
    for function in (geo.metric, geo.ricci_scalar):
        with pytest.raises(MetricDoesNotExist, match=r"(jump|unbounded) at z = .*infinite"):
            function(RIGHT[:1])
    with pytest.raises(ExpectationDiverges, match="infinite"):
        geo.ntk(RIGHT[:2])


@pytest.mark.parametrize("name", of(KINKED))
def test_kinks_have_metrics(name):
    expr, phi, slope, places = KINKED[name]
    geo = check_kernel(expr, phi, places)
    with mp.workdps(20):
        A = mean(lambda t: slope(t) ** 2, P, places)
        rate = mean(lambda t: (t * t / P - 1) / (2 * P) * slope(t) ** 2, P, places)
    metric = geo.metric(RIGHT[0])
    assert abs(metric[1, 1] / float(A) - 1) < 1e-9
    assert abs(metric[0, 0] - float(A + 2 * rate * P)) < 2e-9 * float(A)


@pytest.mark.parametrize("expr", [1 / z, sp.tan(z), 1 / sp.sin(z), sp.Abs(z) ** sp.Rational(-1, 2)], ids=str)
def test_poles_have_no_expectation(expr):
    with pytest.raises(ExpectationDiverges, match="unbounded at z = "):
        infgeo.MLP(expr).numeric(method="quadrature")


UNKNOWN = (sp.gamma(z), sp.floor(z**2), 1 / (z + sp.exp(z)), sp.sin(1 / z), sp.Abs(sp.erf(z) + z - 1), sp.zeta(z))


@pytest.mark.parametrize("expr", UNKNOWN, ids=str)
def test_places_that_are_not_found_are_refused(expr):
    with pytest.raises(NoClosedForm, match=r"activation .*(not known|equal distances|no limit)"):
        infgeo.MLP(expr).numeric(method="quadrature").kernel(RIGHT)


@pytest.mark.parametrize("expr", [sp.asin(z / 10), sp.sqrt(z**2 - 1), sp.log(z + 3)], ids=str)
def test_functions_undefined_on_intervals_are_refused(expr):
    with pytest.raises(InvalidInput, match=r"at z = "):
        infgeo.MLP(expr).numeric(method="quadrature").kernel(RIGHT)


def test_places():
    def found(expr):
        return PiecewiseFunction(from_expression(expr), {}).breaks(3.5).round(6).tolist()

    assert found(sp.floor(2 * z + sp.Rational(1, 2))) == [-3.25 + k / 2 for k in range(14)]
    assert found(sp.Abs(sp.cos(z))) == [-1.570796, 1.570796]
    assert found(sp.Max(sp.exp(z) - 1, 0)) == [0.0]
    assert found(sp.tanh(z) + sp.log(1 + sp.exp(z)) + sp.sqrt(1 + z**2)) == []
