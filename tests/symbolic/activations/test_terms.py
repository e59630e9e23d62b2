"""Activations as sums of terms."""

import pytest
import sympy as sp

from infgeo.conventions import z
from infgeo.symbolic.activations.activation import from_expression
from infgeo.symbolic.activations.terms import differentiate


@pytest.mark.parametrize(
    "expr",
    [sp.erf(z), sp.Max(z, 0), z**2 * sp.exp(-(z**2)), sp.sin(3 * z + 1), sp.Abs(z), z**3 * sp.sign(z), sp.cosh(z)],
)
def test_terms_add_up_to_the_expression_and_to_its_derivative(expr):
    activation = from_expression(expr)
    for sign in (-1, 1):
        at = {z: sp.Rational(7, 10) * sign}
        value = sum(term.expr for term in activation.terms)
        assert abs(sp.N((value - expr).subs(at), 30)) < 1e-25
        slope = sum(term.expr for term in differentiate(activation.terms))
        side = activation.pieces.parts[0 if sign < 0 else -1]
        assert abs(sp.N((slope - side.diff(z)).subs(at), 30)) < 1e-25
