"""The normal form: what vanishes is 0, what does not keeps its value."""

from __future__ import annotations

import pytest
from sympy import (
    Function,
    I,
    Rational,
    cos,
    cosh,
    cot,
    coth,
    csc,
    csch,
    erf,
    exp,
    expand,
    pi,
    sec,
    sech,
    sin,
    sinh,
    sqrt,
    symbols,
    tan,
    tanh,
)

from infgeo.symbolic.algebra.normal_form import normal_form

x, y = symbols("x y", positive=True)
n = symbols("n", integer=True, positive=True)
P = 1 + x**2 + y


@pytest.mark.parametrize(
    "expression",
    [
        sqrt(P) ** 3 - expand(P) * sqrt(P),
        1 / (sqrt(P) + 1) - (sqrt(P) - 1) / (x**2 + y),
        sqrt(P) / P - 1 / sqrt(expand(P)),
        P ** Rational(1, 3) * P ** Rational(1, 6) - sqrt(P),
        1 / (1 + P ** Rational(1, 3)) - (1 - P ** Rational(1, 3) + P ** Rational(2, 3)) / (1 + P),
        sqrt(1 + sqrt(P)) ** 2 - 1 - sqrt(P),
        1 / sqrt(1 + sqrt(P)) - sqrt(1 + sqrt(P)) * (sqrt(P) - 1) / (x**2 + y),
        sqrt(2 * x + 2) - sqrt(2) * sqrt(x + 1),
        sqrt(x**2 * P) - x * sqrt(P),
        1 / (sqrt(2) - 1) - sqrt(2) - 1,
        sin(x) ** 2 + cos(x) ** 2 - 1,
        sin(2 * x) - 2 * sin(x) * cos(x),
        tan(x) ** 2 + 1 - sec(x) ** 2,
        cot(x) ** 2 + 1 - csc(x) ** 2,
        cosh(x) ** 2 - sinh(x) ** 2 - 1,
        1 - tanh(x) ** 2 - sech(x) ** 2,
        coth(x) ** 2 - 1 - csch(x) ** 2,
        exp(2 * x + y) - exp(x) ** 2 * exp(y),
        exp(x / 2) * exp(x / 3) - exp(Rational(5, 6) * x),
        x ** (n + 2) - x**2 * x**n,
        erf(sqrt(P) ** 2) - erf(expand(P)),
        sqrt(P / (1 + y)) ** 3 - P * sqrt(P / (1 + y)) / (1 + y),
    ],
    ids=str,
)
def test_what_vanishes_is_zero(expression):
    assert normal_form(expression) == 0


@pytest.mark.parametrize(
    "expression",
    [
        1 / (sqrt(P) + x) + sqrt(P) / (1 + P ** Rational(1, 3)),
        (sin(x) + tan(y)) / (1 + cos(x)) + csc(x + y),
        (sinh(x) + coth(y)) / (1 + sech(x)),
        exp(x / 2) / (1 + exp(-x)) + exp(2) * pi ** Rational(3, 2),
        erf(x) * x ** Rational(1, 4) / (1 + sqrt(x)),
        sqrt(P / (1 + y)) / (x + sqrt(1 + y)),
        x**y / (1 + x ** (2 * y)) + 2**x,
        (1 + I * x) / (1 - I * x),
    ],
    ids=str,
)
def test_the_value_is_kept(expression):
    values = {x: Rational(7, 5), y: Rational(3, 11)}
    difference = (normal_form(expression) - expression).subs(values).evalf(40, chop=True)
    assert abs(difference) < Rational(1, 10**35)


def test_published_shape():
    assert str(normal_form(x * sqrt(P) / (x**3 * expand(P**2)))) == "1/(x**2*(x**2 + y + 1)**(3/2))"


@pytest.mark.parametrize("atom", [x, pi, Rational(1, 3), 0])
def test_atoms_are_returned(atom):
    assert normal_form(atom) == atom


def test_what_sympy_cannot_collect_comes_back():
    """Mixed derivatives beside hyperbolic functions, on which sympy.trigsimp raises NotImplementedError."""
    W = Function("W")(x, y)
    wave = (sinh(W) * W.diff(x, y) - 2 * cosh(W) ** 2 * W.diff(x) * W.diff(y)) / sinh(W)
    assert expand(normal_form(wave) - wave).rewrite(exp).simplify() == 0
    assert normal_form(wave * sinh(W) ** 2 - wave * (cosh(W) ** 2 - 1)) == 0
