"""Printed forms are short, and right: their length against the same formulas written by hand, their values by twins."""

import pytest
import sympy as sp

import infgeo
from infgeo.symbols import s_x, s_y, xy


@pytest.mark.parametrize(("activation", "by_hand"), [("sin", 89), ("z + sin(a*z)**2/a", 116)])
def test_curvature_takes_no_more_operations_than_by_hand(activation, by_hand):
    assert sp.count_ops(infgeo.MLP(activation).metric.ricci_scalar) <= by_hand


@pytest.mark.parametrize("activation", ["sin", "z*exp(z)", "hardtanh", "elu"])
def test_shorter_curvature_is_that_of_the_program(activation):
    metric = infgeo.MLP(activation).metric
    point = {x: sp.Rational(i + 2, 7) for i, x in enumerate(metric.program.inputs)}
    short, long = metric.ricci_scalar.subs(point).evalf(30), metric.program.evaluate("R", point, 40)
    assert abs(short - long) < 1e-25 * abs(long)


def test_relu_tangent_kernel_is_that_of_the_books():
    ntk = infgeo.MLP("relu", weight_std=sp.sqrt(2), bias_std=0).ntk.expr
    root = sp.sqrt(s_x * s_y - xy**2)
    assert ntk == 2 * xy * sp.asin(xy / (sp.sqrt(s_x) * sp.sqrt(s_y))) / sp.pi + xy + root / sp.pi


@pytest.mark.parametrize(("name", "kind"), [("gelu", "kernel"), ("gelu", "ntk"), ("erf", "ntk")])
def test_roots_are_of_products_less_squares(name, kind):
    expr = getattr(infgeo.MLP(name, weight_std=1, bias_std=0), kind).expr
    roots = {power.base for power in expr.atoms(sp.Pow) if power.exp.is_Rational and power.exp.q == 2 and power.has(xy)}
    assert roots == {(s_x + 1) * (s_y + 1) - xy**2}


def test_a_notebook_shows_deep_metrics_as_programs_with_a_legend():
    metric = infgeo.MLP("gelu", depth=2).metric
    assert len(metric._repr_latex_()) < 4000
    program = metric.program.select(["R"]).latex()
    assert len(program) < 13_000
    assert r"\kappa &: \text{what the layer adds to $\alpha$}" in program
    assert r"x \cdot y" in infgeo.MLP("erf", depth=2).ntk_program.latex()
