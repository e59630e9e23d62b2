"""Activations: what follows from an expression, and what is refused."""

import pytest
import sympy as sp

import infgeo
from infgeo.conventions import z
from infgeo.errors import InvalidInput, NoClosedForm, UnknownActivation
from infgeo.symbolic.activations.activation import exact, from_expression
from infgeo.symbolic.activations.catalogue import _ELSEWHERE, get

x, alpha = sp.symbols("x alpha")


def test_catalogue_entries_have_a_source_and_stay_sorted():
    names = infgeo.activations.available()
    assert list(names) == sorted(names)
    assert all(get(name).source for name in names)


def test_the_variable_is_the_only_symbol_or_z_or_what_is_said():
    assert from_expression(sp.erf(x)).expr == sp.erf(z)
    leaky = from_expression(sp.Max(sp.Symbol("z"), 0) + alpha * sp.Symbol("z"))
    assert leaky.parameters == (alpha,)
    assert from_expression(alpha * x, variable=x).parameters == (alpha,)
    assert from_expression(sp.Lambda(x, sp.erf(alpha * x))).expr == sp.erf(alpha * z)


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (sp.Integer(3), "constant"),
        (alpha * x, "variable="),
        (sp.I * x, "complex"),
        (sp.Function("f")(x), "undefined function"),
        *((sp.Symbol(name) * sp.Symbol("z"), f"parameter name '{name}'") for name in ("lambda", "a b", "")),
        *((sp.Symbol(name) * sp.Symbol("z"), f"contains {name}") for name in ("sigma_w", "sigma_b")),
        (sp.Symbol("a") * x + sp.Symbol("a", real=True) + sp.Symbol("z"), "two symbols called a"),
        (sp.Matrix([x]), "must be a name, text"),
        (object(), "must be a name, text"),
    ],
)
def test_refused_expressions(expr, message):
    with pytest.raises(InvalidInput, match=message):
        infgeo.MLP(expr)


def test_unknown_name_names_the_nearest():
    with pytest.raises(UnknownActivation, match="did you mean 'relu'"):
        infgeo.MLP("ReLu8")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("swish", "silu"),
        ("logistic", "sigmoid"),
        ("Heaviside", "step"),
        ("linear", "identity"),
        ("leaky-ReLU", "leaky_relu"),
    ],
)
def test_names_from_elsewhere_are_suggested_by_what_they_mean(name, meant):
    with pytest.raises(UnknownActivation, match=f"did you mean '{meant}'"):
        infgeo.MLP(name)


def test_other_names_suggest_what_there_is():
    for name, meant in _ELSEWHERE.items():
        names = [symbol.name for symbol in infgeo.MLP(meant).activation.parameters]
        assert names == (["alpha"] if name == "celu" else []) or meant == "leaky_relu"
    with pytest.raises(UnknownActivation, match="unknown activation 'qqq': The catalogue"):
        infgeo.MLP("qqq")


def test_an_identifier_is_a_name_and_other_text_an_expression():
    with pytest.raises(UnknownActivation):
        infgeo.MLP("zz")
    assert infgeo.MLP("z**2").activation == from_expression(z**2)


def test_floats_become_the_rational_they_are_written_as():
    assert exact(0.1, "a") == sp.Rational(1, 10)
    assert infgeo.MLP(0.5 * x).activation.expr == z / 2


@pytest.mark.parametrize("depth", [0, -1, 1.5, "2", True])
def test_refused_depths(depth):
    with pytest.raises(InvalidInput, match="depth"):
        infgeo.MLP("erf", depth=depth)


@pytest.mark.parametrize("std", [0, -1, float("nan"), float("inf"), sp.I, "1", sp.Symbol("a", negative=True)])
def test_refused_weight_scales(std):
    with pytest.raises(InvalidInput, match="weight_std"):
        infgeo.MLP("erf", weight_std=std)


@pytest.mark.parametrize("std", [-1, float("nan"), float("inf")])
def test_refused_bias_scales(std):
    with pytest.raises(InvalidInput, match="bias_std"):
        infgeo.MLP("erf", bias_std=std)
    assert infgeo.MLP("erf", bias_std=0).bias_std == 0


def test_a_parameter_called_z_is_not_the_variable():
    mlp = infgeo.MLP(sp.erf(x * sp.Symbol("z")), variable=x, weight_std=1, bias_std=0)
    assert str(mlp.activation) == "phi(z) = erf(z_phi*z)"
    assert mlp.at(z=2).metric.A == infgeo.MLP("erf(2*z)", weight_std=1, bias_std=0).metric.A


def test_a_mixed_expectation_outside_the_class_names_the_terms():
    with pytest.raises(NoClosedForm, match=r"sin|exp\(.*I\*z\).* of u and .*sign\(z\)/2 of v"):
        infgeo.MLP(sp.Max(z, 0) + sp.sin(z)).kernel  # noqa: B018


@pytest.mark.parametrize("expr", [sp.erf(z) + sp.exp(z / 2), sp.erf(z) + sp.cos(z) ** 2 / 3 - sp.cos(2 * z) / 6])
def test_sums_across_families_that_stay_elementary(expr):
    assert infgeo.MLP(expr).kernel.expr.free_symbols


def test_refused_input_scale():
    with pytest.raises(InvalidInput, match="fan_in"):
        infgeo.MLP("erf", input_scale="fan_out")


@pytest.mark.parametrize(
    "shape", [lambda a, z: sp.exp(a * z**2), lambda a, z: z * sp.cos(a * z + 1), lambda a, z: sp.sin(a * z)]
)
def test_parameters_without_assumptions_are_real(shape):
    a, x = sp.symbols("a x")
    value = sp.Rational(1, 5)
    mlp, fixed = (infgeo.MLP(shape(y, x), variable=x, weight_std=1, bias_std=sp.Rational(1, 2)) for y in (a, value))
    assert mlp.parameters == (a,)  # the user's own symbol, which can be substituted
    at = {infgeo.conventions.s: sp.Rational(1, 3)}
    for left, right in ((mlp.metric.A, fixed.metric.A), (mlp.dual.kernel, fixed.dual.kernel)):
        points = at | dict.fromkeys(right.free_symbols - {infgeo.conventions.s}, sp.Rational(1, 3))
        assert not left.has(sp.re, sp.im, sp.I)
        assert abs((left.subs(a, value) - right).subs(points).evalf(30)) < sp.Float("1e-25")
    points = [[0.3, 0.2], [0.1, -0.4]]
    curvature = mlp.numeric(a=0.2).ricci_scalar(points)
    assert abs(curvature / fixed.numeric().ricci_scalar(points) - 1).max() < 1e-12


def test_growth_with_a_parameter_without_assumptions_bounds_the_domain():
    a, x = sp.symbols("a x")
    geometry = infgeo.MLP(sp.exp(a * x**2), variable=x).numeric(weight_std=1.0, bias_std=0.0, a=0.5)
    assert geometry.kernel([[0.1, 0.2]])[0, 0] > 1
    with pytest.raises((infgeo.errors.InfgeoError, ValueError), match=r"finite|exist"):
        geometry.kernel([[3.0, 0.0]])


@pytest.mark.parametrize(
    ("cases", "gap"),
    [
        ([(0, z < 0), (z, z < 2)], "2 < z"),  # was taken for max(z, 0)
        ([(z, z > 1), (0, z < 0)], r"\(0 < z\) & \(z < 1\)"),
        ([(1 - sp.Abs(z), sp.Abs(z) < 1)], "z < -1"),
        ([(0, z < 0), (z, z < sp.Symbol("alpha", positive=True))], "alpha < z"),
    ],
)
def test_cases_that_leave_out_an_interval_are_refused(cases, gap):
    with pytest.raises(InvalidInput, match=rf"no case for {gap}: let its last one be \(value, True\)"):
        infgeo.MLP(sp.Piecewise(*cases), variable=z)


def test_cases_may_leave_out_points():
    assert infgeo.MLP(sp.Piecewise((0, z < 0), (z, z > 0))).metric.A == infgeo.MLP("relu").metric.A


@pytest.mark.parametrize("kind", ["negative", "nonpositive", "imaginary"])
def test_parameters_that_are_negative_or_not_real_are_refused(kind):
    """Of exp(a z^2), a < 0, the domain was everywhere, and its formulas took a = 2; erf(a z) was taken for real."""
    symbol = sp.Symbol("a", **{kind: True})
    with pytest.raises(InvalidInput, match=r"Symbol\('a', real=True\), or write -a with Symbol\('a', positive=True\)"):
        infgeo.MLP(sp.exp(symbol * z**2), variable=z)
    positive = sp.Symbol("a", positive=True)
    assert infgeo.MLP(sp.exp(-positive * z**2), variable=z).metric.domain == sp.true
