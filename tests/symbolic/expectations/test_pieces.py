"""Expectations of activations with kinks and jumps anywhere, exponentials between them, erf(a z + b), powers of |z|."""

from bisect import bisect

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import s_x, s_y, xy, z
from infgeo.conventions import variance as v
from infgeo.errors import MetricDoesNotExist, NoClosedForm
from infgeo.symbolic.expectations.dual import dual
from tests.oracle import moment, pair_moment

ELU_WITH_ALPHA = "max(0, z) + (exp(min(0, 2*z)) - 1)/2"
CLOSED = [
    "elu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "relu6", "selu", "softshrink", ELU_WITH_ALPHA,
    "erf(z + 1/2)", "z*(1 + erf(2*z - 1))/2", "erf(z) + max(z, 0)", "exp(-abs(z))", "exp(z) + max(z, 0)",
    "z*erf(z + 1)", "erf(z + 1)*exp(z/3)", "(z + 1)*erf(2*z - 1)*exp(-z**2/3)",
    "Piecewise((exp(z) - 1, z < 0), (z, z < 2), (2*exp(2 - z), True))", "max(z, z**2, 1)", "abs(z - 1)",
]  # fmt: skip
METRIC_ONLY = ["abs(z)**(5/4)", "max(0, z)**(3/2)", "sign(z)*abs(z)**(2/3)", "max(0, z) + sin(z)", "sin(z) + abs(z)"]


def functions(activation, order=0):
    """Return places and the functions between them, of mpf."""
    places = [mpmath.mpf(str(sp.N(place, 40))) for place in activation.pieces.places]
    parts = [sp.lambdify(z, part.diff(z, order), "mpmath") for part in activation.pieces.parts]
    return places, lambda x: parts[bisect(places, x)](x)


@pytest.mark.parametrize("text", CLOSED + METRIC_ONLY)
def test_moments_against_quadrature(text):
    activation = infgeo.MLP(text).activation
    with mpmath.workdps(30):
        for variance in ("0.3", "1.7"):
            for order, name in enumerate(("m", "m0")):
                if name == "m0" and dual(activation).jumps:
                    continue
                places, function = functions(activation, order)
                expected = moment(lambda x, f=function: f(x) ** 2, mpmath.mpf(variance), places or (0,))
                value = sp.N(getattr(dual(activation), name).subs(v, sp.Rational(variance)), 25)
                digits = 1e-9 if "2/3" in text else 1e-20  # the slope is infinite at 0
                assert abs(mpmath.mpf(str(value)) - expected) < digits * expected


@pytest.mark.parametrize("text", CLOSED)
def test_kernels_against_quadrature_in_two_variables(text):
    mlp = infgeo.MLP(text, weight_std=1, bias_std=0)
    places = [float(place) for place in mlp.activation.pieces.places]
    parts = [sp.lambdify(z, part, "scipy") for part in mlp.activation.pieces.parts]

    def function(x):
        return np.choose(np.searchsorted(places, x), [part(x) + 0 * x for part in parts])

    for p, q, c in ((1.3, 0.8, -0.4), (1.3, 0.8, 1.0), (0.2, 2.0, 0.5)):
        expected = pair_moment(function, function, p, q, c, places or (0.0,))
        at = {s_x: sp.Rational(str(p)), s_y: sp.Rational(str(q)), xy: sp.Rational(str(c))}
        assert abs(float(sp.N(mlp.kernel.expr.subs(at), 20)) - expected) < 1e-12 * max(1.0, abs(expected))


@pytest.mark.parametrize("text", METRIC_ONLY)
def test_the_metric_exists_where_the_kernel_is_not_elementary(text):
    mlp = infgeo.MLP(text)
    assert mlp.metric.ricci_scalar is not None
    with pytest.raises(NoClosedForm, match="quadrature"):
        mlp.kernel  # noqa: B018


def test_known_second_moments_of_slopes():
    a, b = sp.symbols("a b", positive=True)
    t = sp.Symbol("t", positive=True)
    known = {
        sp.Max(-1, sp.Min(1, z)): sp.erf(1 / sp.sqrt(2 * v)),
        sp.erf(a * z + b): 4 * a**2 / sp.pi * sp.exp(-2 * b**2 / (1 + 4 * a**2 * v)) / sp.sqrt(1 + 4 * a**2 * v),
        sp.Abs(z) ** t: t**2 * (2 * v) ** (t - 1) * sp.gamma(t - sp.Rational(1, 2)) / sp.sqrt(sp.pi),
        sp.Max(0, z) + sp.sin(z): 1 + sp.exp(-v / 2) + sp.exp(-2 * v) / 2,
        sp.Abs(z - 1): sp.Integer(1),
    }
    values = {v: sp.Rational(17, 10), a: sp.Rational(1, 3), b: sp.Rational(3, 7), t: sp.Rational(9, 8)}
    for expr, expected in known.items():
        m0 = dual(infgeo.MLP(expr, variable=z).activation).m0
        assert abs(sp.N((m0 - expected).subs(values), 30)) < 1e-20
    assert infgeo.MLP(sp.Abs(z - 1)).metric.is_flat


def test_symbolic_places_and_powers():
    t, n = sp.Symbol("t", positive=True), sp.Symbol("n", integer=True, positive=True)
    clipped = infgeo.MLP(sp.Max(-t, sp.Min(t, z)), variable=z, weight_std=1, bias_std=0).metric.A
    assert sp.simplify(clipped - sp.erf(t / sp.sqrt(2 * infgeo.symbols.s))) == 0
    monomial = infgeo.MLP(z**n, variable=z, weight_std=1).metric
    third = infgeo.MLP(z**3, weight_std=1).metric
    at = {infgeo.symbols.s: sp.Rational(3, 2), infgeo.symbols.sigma_b: sp.Rational(1, 2), infgeo.symbols.d: 4}
    difference = (monomial.ricci_scalar.subs(n, 3) - third.ricci_scalar).subs(at)
    assert abs(sp.N(difference, 30)) < 1e-20


@pytest.mark.parametrize("text", ["sign(z)*sqrt(abs(z))", "abs(z)**(1/3)", "Heaviside(z - 1)", "hardshrink"])
def test_what_is_too_steep_has_no_metric(text):
    with pytest.raises(MetricDoesNotExist):
        infgeo.MLP(text).metric  # noqa: B018
