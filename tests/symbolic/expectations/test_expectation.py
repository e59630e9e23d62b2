"""Closed-form expectations against iterated quadrature, which knows nothing of them."""

import pytest
import sympy as sp

from infgeo.conventions import Delta, c, p, q, z
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.symbolic.activations.activation import from_expression
from infgeo.symbolic.activations.terms import differentiate
from infgeo.symbolic.expectations.complex_parts import real_part_of
from infgeo.symbolic.expectations.expectation import expectation
from tests.oracle import as_function, pair_moment

erf, exp, sqrt = sp.erf, sp.exp, sp.sqrt
PLAIN = {
    "identity": z,
    "erf": erf(z / sqrt(2)),
    "relu": sp.Max(z, 0),
    "leaky relu": sp.Piecewise((z, z > 0), (z / 10, True)),
    "abs": sp.Abs(z),
    "step": sp.Heaviside(z),
    "rectified square": sp.Max(z, 0) ** 2,
    "gelu": z * (1 + erf(z / sqrt(2))) / 2,
    "z erf": z * erf(z),
    "cubic": z**3 - 2 * z + sp.Rational(1, 2),
    "gaussian": exp(-(z**2) / 2),
    "shifted gaussian": exp(-((z - 1) ** 2)),
    "gabor": exp(-2 * z**2) * sp.cos(3 * z + 1),
    "sin": sp.sin(2 * z),
    "sum": erf(3 * z) + z / 5,
    "polynomial gaussian": z**2 * exp(-(z**2) / 2),
    "exponential": z * exp(z / 2),
    "sin plus line": sp.sin(2 * z) + z,
    "kinked gaussian": sp.Piecewise((exp(-(z**2)), z > 0), (0, True)),
}
COVARIANCES = [(0.7, 1.3, -0.4), (2.0, 0.3, 0.6)]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_expectation_equals_quadrature(name, covariance):
    activation = from_expression(PLAIN[name])
    closed = sp.lambdify((p, q, c, Delta), expectation(activation.terms, activation.terms), "mpmath")
    function = as_function(activation.expr, z)
    P, Q, C = covariance
    numeric = pair_moment(function, function, P, Q, C)
    # float64 panels of 24 nodes: the rule is exact to rounding, which adds up to a few hundred eps.
    assert abs(closed(P, Q, C, P * Q - C * C) - numeric) < 1e-13 * (1 + abs(numeric))


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in ("step", "kinked gaussian")])
def test_price_theorem(name):
    """d E[phi phi] / dc = E[phi' phi'], with Delta = pq - c^2: two separate runs of the engine."""
    terms = from_expression(PLAIN[name]).terms
    value = expectation(terms, terms).subs(Delta, p * q - c**2).diff(c)
    derivative = differentiate(terms)
    other = expectation(derivative, derivative).subs(Delta, p * q - c**2)
    at = {p: sp.Rational(7, 5), q: sp.Rational(3, 4), c: sp.Rational(-2, 5)}
    assert abs(sp.N(value.subs(at), 30) - sp.N(other.subs(at), 30)) < sp.Float("1e-25")


def test_symbolic_parameter_stays_symbolic():
    alpha = sp.Symbol("alpha", real=True)
    leaky = from_expression(sp.Piecewise((z, z > 0), (alpha * z, True)))
    value = expectation(leaky.terms, leaky.terms)
    assert alpha in value.free_symbols
    relu = from_expression(sp.Max(z, 0))
    assert sp.simplify(value.subs(alpha, 0) - expectation(relu.terms, relu.terms)) == 0


@pytest.mark.parametrize(
    ("expr", "named"),
    [(sp.tanh(z), "tanh"), (erf(z) ** 2, "erf(z)**2"), (sp.Max(z - 1, 0) * erf(z), "step"), (exp(z**4), "z**4")],
)
def test_outside_the_class_is_said_with_the_term(expr, named):
    with pytest.raises(NoClosedForm) as caught:
        from_expression(expr).terms  # noqa: B018
    assert named in str(caught.value)


def test_real_parts_have_no_imaginary_unit_left():
    """Also where complex numbers multiply to a real one inside of a real product."""
    product = sp.Mul(3 - 3 * sp.I / 2, 3 + 3 * sp.I / 2, evaluate=False)
    expr = v * (1 + product) + sp.I * v
    assert not real_part_of(expr).has(sp.I)
    assert sp.expand(real_part_of(expr) - v * sp.Rational(49, 4)) == 0
