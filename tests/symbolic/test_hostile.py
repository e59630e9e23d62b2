"""Whatever expression is asked about, an answer or a verdict comes by itself, within 20 seconds."""

from __future__ import annotations

import time

import pytest
import sympy as sp

import infgeo
from infgeo.errors import InvalidInput, NoClosedForm

z = sp.Symbol("z", real=True)
OUTSIDE = [
    sp.tanh(z) ** 3,
    sp.exp(z**3),
    sp.exp(sp.exp(z)),
    1 / (1 + z**2),
    sp.sqrt(z**2 + 1),
    sp.log(1 + sp.exp(z)),
    sp.erf(z) ** 3,
    sp.erf(z**2),
    sp.erf(z + 1) * sp.erf(z),
    sp.besselj(0, z),
    sp.gamma(z),
    sp.sin(sp.sin(z)),
    sp.exp(-(sp.Abs(z) ** 3)),
    sp.sign(sp.sin(z)),
    sp.floor(z),
    sp.Mod(z, 1),
    sp.zeta(z),
    sp.Max(z - 1, 0),
    sp.Piecewise((sp.sin(z), z > 1), (z, True)),
    sp.Heaviside(z + 1),
    sp.Min(z, 1),
    sp.Abs(z) ** sp.Rational(3, 2),
    sp.Max(z, 0) * sp.sin(z),
    sp.sin(z) * sp.erf(z),
    sp.airyai(z),
    sp.atan(z),
]
POSSIBLE = [
    z**12,
    sp.cos(z) ** 4,
    sp.sin(z**2),
    (z + 1) ** 6 * sp.exp(-(z**2)),
    z * sp.exp(-(z**2) / 2) * sp.cos(3 * z),
]


@pytest.mark.parametrize("expr", OUTSIDE, ids=str)
def test_what_is_outside_says_so(expr):
    begin = time.perf_counter()
    with pytest.raises(NoClosedForm) as error:
        infgeo.MLP(expr).metric  # noqa: B018
    with pytest.raises(NoClosedForm):
        infgeo.MLP(expr, depth=2).kernel  # noqa: B018
    assert time.perf_counter() - begin < 20
    assert "activation" in str(error.value) or "term" in str(error.value)


@pytest.mark.parametrize("expr", POSSIBLE, ids=str)
def test_large_expressions_end(expr):
    begin = time.perf_counter()
    metric = infgeo.MLP(expr).metric
    assert metric.ricci_scalar.free_symbols
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize(
    "expr", [sp.sqrt(z), sp.log(z), sp.asin(z), z**z, z ** sp.Rational(1, 3), sp.I * z, 1 / z], ids=str
)
def test_what_is_no_real_function_is_refused(expr):
    with pytest.raises((InvalidInput, NoClosedForm)) as error:
        infgeo.MLP(expr).kernel  # noqa: B018
    assert isinstance(error.value, InvalidInput) == (expr != 1 / z)  # real, but not integrable: outside the class


def test_kinks_away_from_0_name_what_is_missing():
    with pytest.raises(NoClosedForm, match=r"kink .* bivariate normal distribution"):
        infgeo.MLP(sp.Max(z - 1, 0)).kernel  # noqa: B018


def test_distributions_are_no_activations():
    with pytest.raises(InvalidInput, match="delta function"):
        infgeo.MLP(sp.DiracDelta(z) + z)
