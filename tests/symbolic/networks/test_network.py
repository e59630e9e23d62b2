"""Kernels, metrics and curvatures of networks: published forms, and the slow twins of the fast routes."""

import mpmath
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import d, s, s_x, s_y, sigma_b, sigma_w, xy, z
from infgeo.errors import MetricDoesNotExist
from infgeo.symbolic.geometry.any_metric import Metric
from infgeo.symbolic.geometry.metric import RadialMetric
from infgeo.symbolic.kernels.kernel import metric_by_definition
from infgeo.symbols import coordinates
from tests.oracle import as_function, moment, pair_moment

GELU = z * (1 + sp.erf(z / sp.sqrt(2))) / 2
USER = {
    "gelu": GELU,
    "gaussian": sp.exp(-(z**2) / 2),
    "sin": sp.sin(z),
    "cubic": z + z**3 / 5,
    "erf and line": sp.erf(3 * z) + z / 5,
}
SMOOTH = {"erf": "erf", **USER}
AT = {sigma_w: sp.Rational(13, 10), sigma_b: sp.Rational(7, 10)}
HALF = sp.Rational(1, 2)


def network(name, depth=1):
    return infgeo.MLP(SMOOTH.get(name, name), depth=depth)


# Published forms. q = sigma_b^2 + sigma_w^2 s.

Q = sigma_b**2 + sigma_w**2 * s


def test_erf_kernel_is_williams():
    p, q, c = (sigma_b**2 + sigma_w**2 * part for part in (s_x, s_y, xy))
    williams = 2 / sp.pi * sp.asin(c / (sp.sqrt(1 + p) * sp.sqrt(1 + q)))
    assert sp.simplify(infgeo.MLP("erf").kernel.expr - williams) == 0


def test_relu_kernel_is_cho_and_saul():
    kernel = infgeo.MLP("relu", weight_std=1, bias_std=0).kernel.expr
    theta = sp.acos(xy / sp.sqrt(s_x * s_y))
    arc_cosine = sp.sqrt(s_x * s_y) * (sp.sin(theta) + (sp.pi - theta) * sp.cos(theta)) / (2 * sp.pi)
    at = {s_x: sp.Rational(7, 5), s_y: sp.Rational(3, 2), xy: sp.Rational(-2, 3)}
    assert abs(sp.N((kernel - arc_cosine).subs(at), 40)) < sp.Float("1e-35", 10)


def test_shallow_erf_geometry_as_published():
    g = infgeo.MLP("erf").metric
    R = -sp.pi * sigma_w**2 * s * (d - 1) * (d + 2) / (2 * (1 + 2 * sigma_b**2) * sp.sqrt(1 + 2 * Q))
    volume = (2 * sigma_w**2 / sp.pi) ** (d / 2) * sp.sqrt(1 + 2 * sigma_b**2) * (1 + 2 * Q) ** (-(d + 2) / 4)
    assert sp.simplify(g.ricci_scalar - R) == 0
    assert sp.simplify(g.volume_element / volume) == 1
    assert sp.count_ops(g.ricci_scalar) <= sp.count_ops(R) + 2
    assert "\n" not in str(g.ricci_scalar) and len(str(g.ricci_scalar)) < 100


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("slope", [sp.Integer(0), sp.Integer(-1), sp.Rational(1, 10)])
def test_homogeneous_activations_are_flat_at_every_depth(depth, slope):
    mlp = infgeo.MLP(sp.Max(z, 0) + slope * sp.Min(z, 0), depth=depth)
    g = mlp.metric
    assert g.is_flat and g.ricci_scalar == 0 and g.B == 0
    assert sp.simplify(g.A - (sigma_w**2 * (1 + slope**2) / 2) ** depth) == 0
    assert sp.simplify(g.volume_element - g.A ** (d / 2)) == 0
    assert g.ricci_tensor.A == g.ricci_tensor.B == 0


def test_one_dimension_has_no_curvature():
    for name in SMOOTH:
        assert network(name).metric.ricci_scalar.subs(d, 1) == 0
    assert network("erf", 3).metric.ricci_scalar.subs(d, 1) == 0


# The moment recursion against dk/dx dy at y = x.


@pytest.mark.parametrize(
    ("name", "depth"), [(n, 1) for n in SMOOTH] + [("erf", 2), ("gaussian", 2), ("sin", 3), ("erf", 3)]
)
def test_metric_is_the_mixed_derivative_of_the_kernel(name, depth):
    mlp = infgeo.MLP(SMOOTH[name], depth=depth, weight_std=sp.Rational(6, 5), bias_std=sp.Rational(2, 5))
    k = mlp.kernel.expr
    slope = k.diff(xy)
    bend = slope.diff(xy) + 2 * slope.diff(s_x) + 2 * slope.diff(s_y) + 4 * k.diff(s_x, s_y)
    here = sp.Rational(11, 10)
    at = {s_x: here, s_y: here, xy: here}
    g = mlp.metric
    for fast, slow in ((g.A, slope), (g.B, bend)):
        assert abs(sp.N(fast.subs(s, here), 30) - sp.N(slow.subs(at), 30)) < sp.Float("1e-24", 10)


def test_the_metric_of_a_kernel_by_definition_is_the_same_object():
    mlp = infgeo.MLP("erf")
    by_definition = metric_by_definition(mlp.kernel.expr)
    at = {s: sp.Rational(3, 4), d: 4, **AT}
    for name in ("A", "B", "h", "ricci_scalar"):
        difference = getattr(by_definition, name) - getattr(mlp.metric, name)
        assert abs(sp.N(difference.subs(at), 30)) < sp.Float("1e-25", 10), name


# Curvature against Christoffel symbols.


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize(("name", "depth"), [(n, 1) for n in SMOOTH] + [("erf", 2)])
def test_ricci_scalar_against_christoffel_symbols(name, depth, dimension):
    mlp = infgeo.MLP(SMOOTH[name], depth=depth, weight_std=sp.Rational(4, 5), bias_std=sp.Rational(3, 5))
    if dimension == 3 and (name == "gelu" or depth > 1):
        pytest.skip("the twin takes 10 s there")
    g = mlp.metric
    x = coordinates(dimension)
    point = dict(zip(x, (sp.Rational(1, 2), sp.Rational(-3, 5), sp.Rational(2, 5)), strict=False))
    twin = Metric(g.matrix(dimension), x).at(point, digits=40)
    here = sum(value**2 for value in point.values())
    at = {s: here, d: dimension}
    assert abs(sp.N(g.ricci_scalar.subs(at), 40) - twin.ricci_scalar) < sp.Float("1e-30", 10)
    assert abs(sp.N(g.volume_element.subs(at), 40) - twin.volume_element) < sp.Float("1e-30", 10)
    ricci = g.ricci_tensor
    vector = sp.Matrix(list(point.values()))
    matrix = ricci.A.subs(at) * sp.eye(dimension) + ricci.B.subs(at) * vector * vector.T
    assert max(abs(entry) for entry in (matrix.evalf(40) - twin.ricci_tensor)) < sp.Float("1e-30", 10)


def test_sectional_curvatures_add_up():
    g = infgeo.MLP(GELU, depth=1).metric
    radial, tangential = g.sectional_curvature
    at = {s: sp.Rational(3, 4), d: 5, **AT}
    R = (d - 1) * (2 * radial + (d - 2) * tangential)
    assert abs(sp.N((R - g.ricci_scalar).subs(at), 30)) < 1e-25


@pytest.mark.parametrize(
    ("A", "B", "curvature"),
    [
        (1 / (1 + s / 4) ** 2, sp.Integer(0), sp.Integer(1)),  # the unit sphere, stereographic
        (1 / (1 - s / 4) ** 2, sp.Integer(0), sp.Integer(-1)),  # hyperbolic space, Poincare's ball
        (1 / (1 + s), -1 / (1 + s) ** 2, sp.Integer(1)),  # the unit sphere, gnomonic
        (1 / (1 - s), 1 / (1 - s) ** 2, sp.Integer(-1)),  # hyperbolic space, Klein's ball
        ((1 + s) ** 2, 4 * (1 + s) + 4 * s, sp.Integer(0)),  # flat space, |x| -> |x| + |x|^3
    ],
)
def test_spaces_of_constant_curvature(A, B, curvature):
    g = RadialMetric.from_functions(A, B)
    assert sp.simplify(g.ricci_scalar - curvature * d * (d - 1)) == 0
    assert all(sp.simplify(value - curvature) == 0 for value in g.sectional_curvature)
    assert g.is_flat is bool(curvature == 0)
    ricci = g.ricci_tensor
    assert sp.simplify(ricci.A - curvature * (d - 1) * A) == 0
    assert sp.simplify(ricci.B - curvature * (d - 1) * B) == 0


# Moments against quadrature, at depth, kinks included.


@pytest.mark.parametrize(("activation", "depth"), [("erf", 3), ("relu", 3), (GELU, 2), (sp.Max(z, 0) ** 2, 3)])
def test_deep_metric_from_quadrature_moments(activation, depth):
    """A and B by the recursion of the moments as it is written on paper, the moments by quadrature in 20 digits."""
    mlp = infgeo.MLP(activation, depth=depth, weight_std=sp.Rational(6, 5), bias_std=sp.Rational(2, 5))
    sides = mlp.activation.pieces.parts[0], mlp.activation.pieces.parts[-1]
    left, right = (as_function(side, z, "mpmath") for side in sides)
    slopes = [as_function(side.diff(z), z, "mpmath") for side in sides]

    def square(functions):
        return lambda t: functions[t > 0](t) ** 2

    with mpmath.workdps(24):
        weight, bias, here = mpmath.mpf("1.44"), mpmath.mpf("0.16"), mpmath.mpf("0.8")
        v, rate, A, B = bias + weight * here, weight, weight, mpmath.mpf(0)
        for layer in range(depth):
            m0 = moment(square(slopes), v)
            m0_prime = mpmath.diff(lambda t: moment(square(slopes), t), v, h=mpmath.mpf(10) ** -7)
            A, B = m0 * A, m0 * B + 2 * m0_prime * rate**2
            if layer < depth - 1:
                m_prime = mpmath.diff(lambda t: moment(square((left, right)), t), v, h=mpmath.mpf(10) ** -7)
                v, rate = bias + weight * moment(square((left, right)), v), weight * m_prime * rate
                A, B = weight * A, weight * B
        exact = {s: sp.Rational(4, 5)}
        # Central differences of step 1e-7 are right to about 1e-14.
        assert abs(mpmath.mpf(str(sp.N(mlp.metric.A.subs(exact), 25))) - A) < mpmath.mpf(10) ** -12
        assert abs(mpmath.mpf(str(sp.N(mlp.metric.B.subs(exact), 25))) - B) < mpmath.mpf(10) ** -12


@pytest.mark.parametrize("activation", ["erf", "relu", GELU])
def test_ntk_from_quadrature(activation):
    mlp = infgeo.MLP(activation, depth=2, weight_std=sp.Rational(6, 5), bias_std=sp.Rational(2, 5))
    phi = as_function(mlp.activation.expr, z)
    parts = mlp.activation.pieces.parts
    sides = [as_function(side.diff(z), z) for side in (parts[0], parts[-1])]

    def slope(t):
        return (t > 0) * (sides[1](t) + 0 * t) + (t <= 0) * (sides[0](t) + 0 * t)

    weight, bias = 1.44, 0.16
    p, q, c = (bias + weight * part for part in (1.1, 0.7, -0.3))
    theta = c
    for layer in range(2):
        k, k_prime = pair_moment(phi, phi, p, q, c), pair_moment(slope, slope, p, q, c)
        theta = k + k_prime * theta
        if layer == 0:
            theta = bias + weight * theta
            p, q = (bias + weight * pair_moment(phi, phi, part, part, part) for part in (p, q))
            c = bias + weight * k
    at = {s_x: sp.Rational(11, 10), s_y: sp.Rational(7, 10), xy: sp.Rational(-3, 10)}
    assert abs(float(mlp.kernel.expr.subs(at)) - k) < 1e-12
    assert abs(float(mlp.ntk.expr.subs(at)) - theta) < 1e-12


# What does not exist, scales, and printing.


def test_relu_ntk_and_step_kernel_have_no_metric():
    with pytest.raises(MetricDoesNotExist, match=r"\|x - y\|"):
        infgeo.MLP("relu").ntk.metric  # noqa: B018
    with pytest.raises(MetricDoesNotExist, match="jump"):
        infgeo.MLP(sp.sign(z)).metric  # noqa: B018


@pytest.mark.parametrize(("name", "depth"), [("erf", 1), ("erf", 2), ("gelu", 1), ("sin", 1), ("cubic", 1)])
def test_ntk_metric_is_the_mixed_derivative_of_the_ntk(name, depth):
    mlp = infgeo.MLP(SMOOTH[name], depth=depth, weight_std=sp.Rational(6, 5), bias_std=sp.Rational(2, 5))
    by_definition, g = metric_by_definition_at(mlp.ntk.expr, sp.Rational(11, 10)), mlp.ntk.metric
    for fast, slow in zip((g.A, g.B), by_definition, strict=True):
        assert abs(sp.N(fast.subs(s, sp.Rational(11, 10)), 30) - slow) < sp.Float("1e-24", 10)


def metric_by_definition_at(k, here):
    slope = k.diff(xy)
    bend = slope.diff(xy) + 2 * slope.diff(s_x) + 2 * slope.diff(s_y) + 4 * k.diff(s_x, s_y)
    at = {s_x: here, s_y: here, xy: here}
    return sp.N(slope.subs(at), 30), sp.N(bend.subs(at), 30)


def test_ntk_metric_of_a_kinked_derivative_from_distances():
    """The NTK of the rectified square has a metric though its derivatives diverge term by term: distances show it."""
    mlp = infgeo.MLP(sp.Max(z, 0) ** 2, weight_std=1, bias_std=HALF)
    g = mlp.ntk.metric
    k = sp.lambdify((s_x, s_y, xy), mlp.ntk.expr, "mpmath")
    # asin near 1 keeps half the digits, and the second difference loses 24 of them.
    with mpmath.workdps(120):
        h = mpmath.mpf(10) ** -12
        radial = (k(1, 1, 1) + k((1 + h) ** 2, (1 + h) ** 2, (1 + h) ** 2) - 2 * k(1, (1 + h) ** 2, 1 + h)) / h**2
        across = (k(1, 1, 1) + k(1 + h**2, 1 + h**2, 1 + h**2) - 2 * k(1, 1 + h**2, 1)) / h**2
    assert abs(radial - mpmath.mpf(str(sp.N(g.h.subs(s, 1), 30)))) < 1e-9
    assert abs(across - mpmath.mpf(str(sp.N(g.A.subs(s, 1), 30)))) < 1e-9


def test_scaling_rules():
    """phi(3z) is (sigma_w, sigma_b) -> 3 (sigma_w, sigma_b); 3 phi is R -> R/9."""
    R = infgeo.MLP(sp.erf(z)).metric.ricci_scalar
    inner = infgeo.MLP(sp.erf(3 * z)).metric.ricci_scalar
    outer = infgeo.MLP(3 * sp.erf(z)).metric.ricci_scalar
    assert sp.simplify(inner - R.subs({sigma_w: 3 * sigma_w, sigma_b: 3 * sigma_b}, simultaneous=True)) == 0
    assert sp.simplify(outer - R / 9) == 0


def test_fan_in_divides_the_input_weights_by_d():
    plain, fan_in = infgeo.MLP("erf", depth=2), infgeo.MLP("erf", depth=2, input_scale="fan_in")
    at = {s: 3, sigma_w: 1, sigma_b: HALF}
    # sigma_w^2 s / 3 at s = 3 is sigma_w^2 s at s = 1, in the first layer alone.
    assert abs(sp.N(3 * fan_in.metric.A.subs(d, 3).subs(at) - plain.metric.A.subs({**at, s: 1}))) < 1e-14


def test_numbers_and_symbols_give_the_same_formulas():
    symbols = infgeo.MLP("erf", depth=2).metric.A.subs({sigma_w: sp.Rational(1, 2), sigma_b: 2})
    numbers = infgeo.MLP("erf", depth=2, weight_std=0.5, bias_std=2.0).metric.A
    assert abs(sp.N((symbols - numbers).subs(s, 2), 30)) < 1e-28


def test_free_symbols_have_the_names_of_the_conventions():
    for depth in (1, 2):
        mlp = infgeo.MLP("erf", depth=depth)
        allowed = {"d", "s", "sigma_w", "sigma_b"}
        g = mlp.metric
        for result in (g.A, g.B, g.h, g.volume_element, g.ricci_scalar, g.ricci_tensor.A, *g.sectional_curvature):
            assert {symbol.name for symbol in result.free_symbols} <= allowed
        assert mlp.kernel.expr.free_symbols == {*mlp.kernel.symbols, sigma_w, sigma_b}


def test_printing():
    mlp = infgeo.MLP("erf", depth=2)
    assert "2 hidden layers" in str(mlp)
    assert "sigma_w > 0" in str(mlp.kernel) and "s_x = |x|^2" in str(mlp.kernel)
    assert "where" in str(mlp.metric.program.select(["R"]))
    for value in (mlp, mlp.kernel, mlp.metric, mlp.metric.program, mlp.metric.ricci_tensor):
        text = value._repr_latex_()
        assert text.startswith("$") and text.endswith("$") and (value is mlp or r"\sigma" in text)


def test_depth_costs_linearly_not_exponentially():
    lengths = [len(infgeo.MLP("erf", depth=depth).metric.program.bindings) for depth in (3, 4, 5, 9)]
    step = lengths[1] - lengths[0]
    assert lengths == [lengths[0] + step * extra for extra in (0, 1, 2, 6)]


@pytest.mark.parametrize(("name", "depth", "flat"), [("erf", 2, False), ("cube", 3, False), ("gelu", 1, False)])
def test_flatness_is_settled_by_a_number(name, depth, flat):
    assert infgeo.MLP(name, depth=depth).metric.is_flat is flat
