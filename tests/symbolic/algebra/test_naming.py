"""Symbols by name: namesakes of public symbols, parameters of any name, and substitution with `.at`."""

import pickle

import pytest
import sympy as sp
from sympy import Rational, Symbol, pi, sqrt, symbols

import infgeo
from infgeo import conventions
from infgeo.errors import InvalidInput, MetricDoesNotExist
from infgeo.symbols import coordinates, d, s, s_x, s_y, sigma_b, sigma_w, xy

ERF = infgeo.MLP("erf", weight_std=1, bias_std=0)
ERF_R = -pi * s * (d - 1) * (d + 2) / (2 * sqrt(2 * s + 1))  # DESIGN: shallow erf


def test_public_symbols_are_those_of_results():
    free = infgeo.MLP("erf").metric.ricci_scalar.free_symbols
    assert free == {d, s, sigma_w, sigma_b}
    assert infgeo.MLP("erf").kernel.expr.free_symbols == {s_x, s_y, xy, sigma_w, sigma_b}
    assert infgeo.symbols.r == conventions.r and coordinates(2) == symbols("x_1 x_2", real=True)
    with pytest.raises(InvalidInput, match="dimension"):
        coordinates(0)


def test_substitution_for_public_symbols_and_by_name():
    R = ERF.metric.ricci_scalar
    assert sp.simplify(R - ERF_R) == 0
    assert R.subs("d", 2) == R  # SymPy makes another d of the text: documented in infgeo.symbols
    assert R.subs(d, 2) == ERF.metric.at(d=2).ricci_scalar == ERF.at(d=2).metric.ricci_scalar
    assert ERF.metric.at({"d": 2}).ricci_scalar == ERF.metric.at({Symbol("d"): 2}).ricci_scalar


@pytest.mark.parametrize("name", ["s", "d", "sigma_w", "sigma_b"])
@pytest.mark.parametrize("assumptions", [{}, {"real": True}])
def test_namesakes_in_metrics_are_taken_by_name(name, assumptions):
    namesake, own = Symbol(name, **assumptions), getattr(infgeo.symbols, name)
    A = 4 / (1 + s) ** 2
    found = infgeo.RadialMetric.from_functions((A * (2 + own)).xreplace({own: namesake}), 0 * namesake)
    assert found.A == infgeo.RadialMetric.from_functions(A * (2 + own), 0).A


def test_the_sphere_in_any_s():
    for sphere in (Symbol("s"), Symbol("s", real=True), s):
        metric = infgeo.RadialMetric.from_functions(4 / (1 + sphere) ** 2, 0)
        assert metric.ricci_scalar == d * (d - 1)
        assert metric.at(d=3).ricci_scalar == 6


def test_namesakes_in_kernels_are_taken_by_name():
    plain = symbols("s_x s_y xy sigma_w d")
    expr = sp.exp(-(plain[0] + plain[1] - 2 * plain[2]) * plain[3] / 2)
    kernel = infgeo.Kernel(expr)
    assert kernel.expr.free_symbols == {s_x, s_y, xy, sigma_w}
    assert kernel.metric.A == sigma_w
    assert infgeo.kernels.rbf(Symbol("sigma_w")).metric.A == sigma_w**-2
    assert infgeo.kernels.linear(0).compose(kernel).metric.A == sigma_w
    assert infgeo.MLP("erf", weight_std=Symbol("sigma_b")).metric.A.free_symbols == {s, sigma_b}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: infgeo.Kernel(Symbol("s") * xy), r"contains s, which stands for \|x\|\^2"),
        (lambda: infgeo.Kernel(Symbol("x_1") * xy), "contains x_1, which stands for a coordinate"),
        (lambda: infgeo.kernels.rbf(Symbol("s_x")), "contains s_x"),
        (lambda: infgeo.kernels.rbf() * Symbol("xy"), "constant"),
        (lambda: infgeo.RadialMetric.from_functions(Symbol("r"), 0), r"contains r, which stands for \|x\|"),
        (lambda: infgeo.RadialMetric.from_functions(Symbol("a") + Symbol("a", real=True), 0), "two symbols called a"),
        (lambda: infgeo.RadialMetric.from_functions(Symbol("a"), Symbol("a", real=True)), "two symbols called a"),
        (lambda: infgeo.RadialMetric.from_functions("1", 0), "must be a number or a SymPy expression"),
        (lambda: infgeo.MLP("erf", weight_std=d), "contains d, which stands for the input dimension"),
        (lambda: infgeo.MLP("sigma_w*z"), "the scale of the weights"),
        (lambda: infgeo.MLP(Symbol("sigma_b") * Symbol("z")), "the scale of the biases"),
        (lambda: infgeo.MLP([Symbol("a") * Symbol("z"), "a*z"]), "two symbols called a"),
        (lambda: infgeo.MLP("a*z", weight_std=Symbol("a")), "two symbols called a"),
        (lambda: infgeo.kernels.rbf(Symbol("a")) + infgeo.kernels.rbf(Symbol("a", real=True)), "two symbols called a"),
    ],
)
def test_wrong_symbols_are_refused(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()


def test_coordinates_that_are_not_those_of_the_matrix_are_refused():
    matrix = ERF.metric.matrix(2)
    right = infgeo.Metric(matrix, coordinates(2)).ricci_scalar
    radius = sum(x**2 for x in coordinates(2))
    assert sp.simplify(right - ERF_R.subs({d: 2, s: radius})) == 0
    for wrong in (symbols("x_1 x_2"), (coordinates(1)[0], Symbol("x_2")), symbols("u v")):
        with pytest.raises(InvalidInput, match=r"symbol than the|none of the coordinates"):
            infgeo.Metric(matrix, wrong)
    a, b = Symbol("a"), Symbol("a", positive=True)
    with pytest.raises(InvalidInput, match="two symbols called a"):
        infgeo.Metric(sp.diag(a + Symbol("t"), b), (Symbol("t"), Symbol("w")))
    at = infgeo.Metric(matrix, coordinates(2)).at({"x_1": 1, Symbol("x_2"): 1})
    assert abs(at.ricci_scalar - (-4 * pi / sqrt(5)).evalf(40)) < Rational(1, 10**30)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"foo": 1}, "does not contain foo: it has d, sigma_b, sigma_w"),
        ({"d": 0}, "must be > 0"),
        ({"d": Rational(5, 2)}, "must be an integer"),
        ({"sigma_w": 0}, "must be > 0"),
        ({"sigma_b": -1}, "must be >= 0"),
        ({"sigma_w": float("nan")}, "must be"),
        ({"sigma_b": float("inf")}, "must be real and finite"),
        ({"sigma_w": "1"}, "must be a number"),
        ({"sigma_w": True}, "must be a number"),
        ({"sigma_w": sp.I}, "must be"),
        ({3: 1}, "neither a symbol nor the name"),
        ({"d": 2, Symbol("d"): 3}, "given twice"),
    ],
)
def test_values_are_checked(values, message):
    mlp = infgeo.MLP("erf")
    for owner in (mlp, mlp.metric, mlp.kernel, mlp.ntk):
        with pytest.raises(InvalidInput, match=message):
            owner.at(values)


def test_what_a_metric_and_a_kernel_are_functions_of_stays():
    metric, kernel = infgeo.MLP("erf").metric, infgeo.kernels.rbf()
    for call in (lambda: metric.at(s=1), lambda: metric.at(sigma_w=Symbol("s")), lambda: kernel.at(xy=1)):
        with pytest.raises(InvalidInput, match="which stays"):
            call()
    value = metric.program.at(s=1, d=2, sigma_w=1, sigma_b=0).explicit("R")
    assert sp.simplify(value - ERF_R.subs({s: 1, d: 2})) == 0
    with pytest.raises(InvalidInput, match="d = 2"):
        metric.at(d=2).matrix(3)


def test_at_of_every_kind_is_the_derivation_with_the_values():
    symbolic, exact = infgeo.MLP("erf", depth=2), infgeo.MLP("erf", depth=2, weight_std=2, bias_std=Rational(1, 2))
    at = symbolic.at(sigma_w=2, sigma_b=0.5)
    assert at == exact
    point = {s_x: 2, s_y: 3, xy: 1}
    for found, expected in (
        (symbolic.kernel_program.at(sigma_w=2, sigma_b=0.5).explicit("kernel"), exact.kernel.expr),
        (symbolic.kernel.at(sigma_w=2, sigma_b=0.5).expr, exact.kernel.expr),
        (symbolic.ntk_program.at(sigma_w=2, sigma_b=0.5).explicit("ntk"), exact.ntk.expr),
    ):
        assert abs((found - expected).subs(point).evalf(30)) < Rational(1, 10**25)
    for name in ("A", "B", "R"):
        pair = [
            program.explicit(name)
            for program in (symbolic.metric.at(sigma_w=2, sigma_b=0.5).program, exact.metric_program)
        ]
        first, second = (value.subs({s: 2, d: 3}).evalf(30) for value in pair)
        assert abs(first - second) < Rational(1, 10**25) * abs(second)
    leaky = infgeo.MLP("leaky_relu").at(alpha=0.5)
    assert leaky.metric.A == 5 * sigma_w**2 / 8 and leaky.parameters == (sigma_w, sigma_b)


def test_combined_kernels_at_values():
    kernel = 2 * infgeo.kernels.rbf() + infgeo.MLP("relu").kernel
    at = kernel.at(length_scale=2, sigma_w=1, sigma_b=0)
    assert at.metric.A == Rational(1, 2) + Rational(1, 2)
    fan_in = infgeo.MLP("erf", input_scale="fan_in", weight_std=1, bias_std=0)
    assert fan_in.kernel.at(d=4).expr == infgeo.MLP("erf", weight_std=Rational(1, 2), bias_std=0).kernel.expr


def test_a_metric_that_does_not_exist_at_the_values_is_refused():
    metric = infgeo.MLP("exp(z**2)").metric
    with pytest.raises(InvalidInput, match="does not exist at sigma_b = 1"):
        metric.at(sigma_b=1)


NAMES = (
    "a",
    "b",
    "c",
    "p",
    "q",
    "r",
    "u",
    "v",
    "d",
    "s",
    "t1",
    "beta_1",
    "Delta",
    "omega",
    "x",
    "xy",
    "x_1",
    "A_1",
    "p_1",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("assumptions", [{"real": True}, {"nonnegative": True}])
def test_parameters_have_any_name(name, assumptions):
    # z^2 a + exp(-z^2): the kernel of what is called alpha, with the parameter renamed at the end.
    z, a, alpha = Symbol("z"), Symbol(name, **assumptions), Symbol("alpha", **assumptions)
    mlp, twin = (infgeo.MLP(z + part * z**2, variable=z, bias_std=0) for part in (a, alpha))
    (own,) = mlp.activation.parameters
    for found, expected in (
        (mlp.kernel.expr, twin.kernel.expr),
        (mlp.ntk.expr, twin.ntk.expr),
        (mlp.metric.ricci_scalar, twin.metric.ricci_scalar),
    ):
        values = {s: 2, s_x: 2, s_y: 3, xy: 1, sigma_w: Rational(3, 2), d: 5}
        there, here = (
            found.xreplace({own: Rational(2, 3)} | values),
            expected.xreplace({alpha: Rational(2, 3)} | values),
        )
        assert abs(there.evalf(30) - here.evalf(30)) < Rational(1, 10**25)
    assert len({str(symbol) for symbol in mlp.metric.ricci_scalar.free_symbols}) == 4


def test_programs_name_bound_symbols_apart():
    program = infgeo.MLP(Symbol("p_1") * Symbol("z") ** 2, depth=2, bias_std=0).kernel_program
    names = [symbol.name for symbol, _ in program.bindings]
    assert "p_1" not in names and "p_1_bound" in names
    assert str(program).count("p_1 =") == 0


def test_the_name_of_the_dimension_in_an_activation():
    mlp = infgeo.MLP("d*z + z**2", weight_std=1, bias_std=0)
    assert {str(symbol) for symbol in mlp.metric.ricci_scalar.free_symbols} == {"d", "d_phi", "s"}
    assert r"d_{\phi}" in sp.latex(mlp.metric.ricci_scalar)
    with pytest.raises(InvalidInput, match="d is ambiguous"):
        mlp.at(d=2)
    twin = infgeo.MLP("alpha*z + z**2", weight_std=1, bias_std=0).at(alpha=3)
    assert mlp.at({mlp.activation.parameters[0]: 3}).metric.A == twin.metric.A
    assert mlp.at({d: 2}).metric.dimension == 2


def test_names_that_python_normalises():
    mlp = infgeo.MLP(Symbol("µ") * Symbol("z"), variable=Symbol("z"))
    assert mlp.activation.parameters[0].name == "μ"
    assert mlp.at(µ=2) == mlp.at({"µ": 2}) == mlp.at({"μ": 2})
    with pytest.raises(InvalidInput, match="two symbols called"):
        infgeo.MLP(Symbol("µ") * Symbol("z") + Symbol("μ", real=True))


def test_internal_symbols_are_nobody_elses_and_pickle():
    assert conventions.c != Symbol("c", real=True) and conventions.c - Symbol("c", real=True) != 0
    for symbol in (conventions.c, conventions.Parameter("d", real=True)):
        assert pickle.loads(pickle.dumps(symbol)) == symbol
    mlp = infgeo.MLP("c*z + d*z**2")
    assert pickle.loads(pickle.dumps(mlp)) == mlp
    assert pickle.loads(pickle.dumps(mlp.kernel)).expr == mlp.kernel.expr


def test_dimensions_of_numeric_functions_are_checked():
    with pytest.raises(InvalidInput, match="dimension 2"):
        ERF.at(d=3).numeric().ricci_scalar([1.0, 0.5])
    assert ERF.at(d=2).numeric().ricci_scalar([1.0, 0.0]) == ERF.numeric().ricci_scalar([1.0, 0.0])
    with pytest.raises(MetricDoesNotExist):
        infgeo.kernels.matern(Rational(1, 2)).numeric(length_scale=1).ricci_scalar([1.0, 0.0])
