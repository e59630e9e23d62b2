"""Rotation-invariant metrics in polar coordinates, against the twin by coordinates and numerical integrals."""

import mpmath
import pytest
import sympy as sp

import infgeo
from infgeo import RadialMetric
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.symbols import coordinates, d, r, s

CASES = {
    "any": RadialMetric.from_functions(1 + s**2, 2 - s / 3),
    "erf": infgeo.MLP("erf").metric.at(sigma_w=1, sigma_b=sp.Rational(1, 2)),
    "hyperbolic": RadialMetric.from_functions(4 / (1 - s) ** 2, 0, s < 1),
    "two layers": infgeo.MLP("erf", depth=2).metric.at(sigma_w=1, sigma_b=1),
}
POINT = (sp.Rational(1, 3), sp.Rational(2, 5), sp.Rational(-1, 2))


@pytest.mark.parametrize("name", ["any", "erf", "hyperbolic"])
def test_tensors_are_those_of_the_matrix(name):
    metric, x = CASES[name], coordinates(3)
    values = dict(zip(x, POINT, strict=True))
    twin = infgeo.Metric(metric.matrix(3), x, simplify=False).at(values, 30)
    here = values | {s: sum(v**2 for v in POINT)}
    for ours, theirs in ((metric.christoffel(3), twin.christoffel), (metric.riemann(3), twin.riemann)):
        for one, other in zip(sp.flatten(ours.tolist()), sp.flatten(theirs.tolist()), strict=True):
            assert abs((sp.sympify(one).subs(here) - other).evalf(25)) < 1e-20


@pytest.mark.parametrize("name", ["any", "erf", "hyperbolic"])
def test_laplacian_is_the_divergence_of_the_gradient(name):
    metric, x = CASES[name], coordinates(2)
    f = sp.sin(x[0]) * x[1] + x[0] * s + s**2
    square = sum(xi**2 for xi in x)
    g = metric.matrix(2)
    root, inverse = sp.sqrt(g.det()), g.inv()
    flow = [root * sum(inverse[i, j] * f.subs(s, square).diff(x[j]) for j in range(2)) for i in range(2)]
    twin = sum(flow[i].diff(x[i]) for i in range(2)) / root
    values = dict(zip(x, POINT, strict=False))
    ours = metric.laplacian(f).subs({d: 2, s: square}).subs(values)
    assert abs((ours - twin.subs(values)).evalf(25)) < 1e-20
    assert sp.simplify(RadialMetric.from_functions(sp.Integer(2), 0).laplacian(r**2) - d) == 0


@pytest.mark.parametrize("name", ["erf", "hyperbolic", "square", "flat", "sphere"])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_radii_and_balls_are_the_integrals(name, dimension):
    metric = {
        "square": infgeo.MLP("square", bias_std=0).metric.at(sigma_w=2),
        "flat": infgeo.MLP("relu").metric.at(sigma_w=1),
        "sphere": RadialMetric.from_functions(4 / (1 + s) ** 2, 0),
    }.get(name) or CASES[name]
    metric = metric.at(d=dimension)
    h, volume = (sp.lambdify(s, part, "mpmath") for part in (metric.h, metric.volume_element))
    with mpmath.workdps(25):
        end = mpmath.mpf(7) / 10
        radius = mpmath.quad(lambda t: mpmath.sqrt(h(t * t)), [0, end])
        sphere = 2 * mpmath.pi ** (mpmath.mpf(dimension) / 2) / mpmath.gamma(mpmath.mpf(dimension) / 2)
        ball = sphere * mpmath.quad(lambda t: volume(t * t) * t ** (dimension - 1), [0, end])
        for expr, exact in ((metric.radial_distance, radius), (metric.ball_volume, ball)):
            assert abs(expr.subs(r, sp.Rational(7, 10)).evalf(22) - exact) < 1e-18 * exact


def test_the_published_forms_of_one_layer_of_error_functions():
    b = sp.Symbol("b", positive=True)
    metric = infgeo.MLP("erf", weight_std=1, bias_std=sp.sqrt(b)).metric
    radius = sp.sqrt(2 / sp.pi) * r * (1 + 2 * b) ** sp.Rational(-1, 4)
    radius *= sp.hyper((sp.Rational(1, 2), sp.Rational(3, 4)), (sp.Rational(3, 2),), -2 * r**2 / (1 + 2 * b))
    volume = sp.sqrt(1 + 2 * b) * sp.log(1 + 2 * r**2 / (1 + 2 * b))
    values = {b: sp.Rational(1, 3), r: sp.Rational(6, 5)}
    for ours, theirs in ((metric.radial_distance, radius), (metric.at(d=2).ball_volume, volume)):
        assert abs((ours - theirs).subs(values).evalf(30)) < 1e-25
    assert RadialMetric.from_functions(4 / (1 - s) ** 2, 0).radial_distance == 2 * sp.atanh(r)


def test_spheres_conformal_radii_and_surfaces():
    for name in ("erf", "hyperbolic", "any"):
        metric, t = CASES[name], sp.Symbol("t", positive=True)
        rho, root = (part.subs(s, t**2) for part in (sp.sqrt(s) * sp.sqrt(metric.A), sp.sqrt(metric.h)))
        at = sp.Rational(2, 5)
        mean = (rho.diff(t) / rho / root).subs(t, at)
        assert abs((metric.sphere_mean_curvature.subs(r, at) - mean).evalf(20)) < 1e-15
        slope = (root**2 - rho.diff(t) ** 2).subs(t, at).evalf(20)
        if name != "any":
            surface, c = metric.embedding, metric.conformal_radius
            assert surface.signature == "minkowski" and slope < 0
            assert abs(surface.slope.subs(r, at).evalf(20) - sp.sqrt(-slope)) < 1e-15
            assert abs(((c.diff(r) / c).subs(r, at) - (root / rho).subs(t, at)).evalf(20)) < 1e-15
    sphere = RadialMetric.from_functions(sp.Integer(1), 1 / (1 - s)).embedding
    assert sphere.signature == "euclidean" and sphere.radius == r
    assert sp.simplify(sphere.slope**2 - r**2 / (1 - r**2)) == 0
    for power in (sp.Rational(1, 2), sp.Integer(1), sp.Integer(-1), sp.Rational(1, 3)):  # h/A = (1 + 2 s)^(2 power)
        metric = RadialMetric.from_functions(sp.Integer(1), ((1 + 2 * s) ** (2 * power) - 1) / s)
        c, at = metric.conformal_radius, sp.Rational(2, 5)
        assert abs(((c.diff(r) / c).subs(r, at) - (1 + 2 * at**2) ** power / at).evalf(20)) < 1e-12


def test_what_has_no_closed_form_names_the_numeric_way():
    with pytest.raises(NoClosedForm, match=r"take g.at\(...\).*its distance"):
        _ = CASES["two layers"].radial_distance
    with pytest.raises(NoClosedForm, match="integrate volume_element"):
        _ = infgeo.MLP("square").metric.ball_volume
    with pytest.raises(NoClosedForm, match="conformal radius"):
        _ = CASES["two layers"].conformal_radius


def test_metrics_of_undefined_functions():
    """x -> x f(|x|^2) makes flat metrics of all f; those of A = f alone are flat for some."""
    f = sp.Function("f")(s)
    assert RadialMetric.from_functions(f**2, 4 * f * f.diff(s) + 4 * s * f.diff(s) ** 2).is_flat
    assert not RadialMetric.from_functions(f, 0).is_flat
    with pytest.raises(InvalidInput, match=r"A = 0 .* pass a function > 0"):
        RadialMetric.from_functions(0, 1)
