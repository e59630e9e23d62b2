"""Zeros and poles of expressions of |x|^2, and conditions in words."""

from __future__ import annotations

import sympy as sp

from infgeo.conventions import s
from infgeo.symbolic.algebra.conditions import in_words, zeros_and_poles


def test_zeros_of_sums_and_products():
    a, b = sp.symbols("a b", nonnegative=True)
    assert zeros_and_poles(a * s + b) == sp.And(sp.Eq(b, 0), sp.Or(sp.Eq(a, 0), sp.Eq(s, 0)))
    assert zeros_and_poles(s / (s - 2)) == sp.Or(sp.Eq(s, 0), sp.Eq(s, 2))


def test_conditions_in_words():
    a = sp.Symbol("a", nonnegative=True)
    assert in_words(sp.And(sp.Eq(a, 1), sp.Or(sp.Eq(s, 0), s > 2))) == "(s = 0 or s > 2) and a = 1"
