"""Functions of programs, where a number leaves nothing to care for."""

import sympy as sp

from infgeo.symbolic.algebra.primitives import exp_difference, ratio, scaled_erfc

x, y = sp.symbols("x y", real=True)


def test_functions_of_numbers_are_those_of_sympy():
    assert exp_difference(x + 1, x, 1) == (sp.E - 1) * sp.exp(x)
    assert exp_difference(x, y, x - y).func == exp_difference
    assert ratio(x, 2) == x / 2
    assert ratio(x, y).func == ratio
    assert scaled_erfc(x, sp.Integer(1), x - 1) == sp.exp(x) * sp.erfc(1)
    assert scaled_erfc(x, y, x - y**2).func == scaled_erfc
