"""Activations as smooth expressions between places."""

import numpy as np
import pytest
import sympy as sp

from infgeo.conventions import z
from infgeo.errors import NoClosedForm
from infgeo.symbolic.activations.parsing import parse
from infgeo.symbolic.activations.pieces import pieces_of

a = sp.Symbol("a", positive=True)
b = sp.Symbol("b", real=True)
TEXTS = {
    "max(-1, min(1, z))": (-1, 1),
    "min(max(0, z), 6)": (0, 6),
    "abs(abs(z) - 1)": (-1, 0, 1),
    "Piecewise((z, abs(z) < 1), (0, True))": (-1, 1),
    "Piecewise((z, z > 1/2), (z, z < -1/2), (0, True))": (sp.Rational(-1, 2), sp.Rational(1, 2)),
    "z*min(max(z + 3, 0), 6)/6": (-3, 3),
    "abs(z**2 - 2)": (-sp.sqrt(2), sp.sqrt(2)),
    "max(z, z**2, 1)": (-1, 1),
    "max(exp(z) - 1, 0)": (0,),
    "sign(z)*sqrt(abs(z))": (0,),
    "Heaviside(z - 1) + relu(z)": (0, 1),
    "max(z, 2*z) - abs(z)/2": (),
    "erf(z)": (),
    "abs(z)*sign(z)": (),
}


@pytest.mark.parametrize("text", TEXTS)
def test_places_and_parts_are_those_of_the_function(text):
    expr, pieces = parse(text), pieces_of(parse(text))
    assert pieces.places == tuple(map(sp.sympify, TEXTS[text]))
    for point in np.linspace(-7.03, 7.1, 41):
        part = pieces.parts[sum(float(place) < point for place in pieces.places)]
        assert abs(float(part.subs(z, point)) - float(expr.subs(z, point))) < 1e-12


def test_symbolic_places_are_ordered_by_their_signs():
    assert pieces_of(sp.Max(-a, sp.Min(a, z))).places == (-a, a)
    assert pieces_of(sp.Abs(z**2 - a**2)).places == (-a, a)
    with pytest.raises(NoClosedForm, match=r"sign of .* is not known"):
        pieces_of(sp.Max(-b, sp.Min(b, z)))


def test_places_that_are_not_finitely_many_or_unknown_are_refused():
    for expr in (sp.Abs(sp.sin(z)), sp.Max(sp.exp(z) - a * z, 0), sp.Piecewise((z, sp.Eq(z, 1)), (0, True))):
        with pytest.raises(NoClosedForm):
            pieces_of(expr)
