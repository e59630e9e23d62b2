"""Geodesics of rotation-invariant metrics: known spaces, a twin in many digits, the geodesic equation, edges."""

import pickle

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo import RadialMetric
from infgeo.errors import InvalidInput, NoClosedForm, NotConverged, SingularMetric
from infgeo.symbols import s

FLAT = RadialMetric.from_functions(sp.Rational(9, 4), 0)
HYPERBOLIC = RadialMetric.from_functions(4 / (1 - s) ** 2, 0, s < 1)
KLEIN = RadialMetric.from_functions(1 / (1 - s), 1 / (1 - s) ** 2, s < 1)
SPHERE = RadialMetric.from_functions(4 / (1 + s) ** 2, 0)
HEMISPHERE = RadialMetric.from_functions(sp.Integer(1), 1 / (1 - s))  # the sphere, projected along its axis
ERF = infgeo.MLP("erf").metric.at(sigma_w=1, sigma_b=1)
TIP = infgeo.MLP("square", bias_std=0).metric.at(sigma_w=1)
NETWORKS = {
    "erf": ERF,
    "erf, 3 layers": infgeo.MLP("erf", depth=3).metric.at(sigma_w=1, sigma_b=sp.Rational(1, 2)),
    "gelu": infgeo.MLP("gelu").metric.at(sigma_w=1, sigma_b=1),
    "cos": infgeo.MLP("cos").metric.at(sigma_w=1, sigma_b=1),
}
dot = lambda x, y: (x * y).sum(-1)  # noqa: E731


def norm(x):
    return np.linalg.norm(x, axis=-1)


def klein(x, y):
    wedge = dot(x, x) * dot(y, y) - dot(x, y) ** 2
    return np.arcsinh(np.sqrt(np.maximum(norm(x - y) ** 2 - wedge, 0) / ((1 - dot(x, x)) * (1 - dot(y, y)))))


def spherical(x, y):
    return 2 * np.arctan2(norm(x - y), np.sqrt(1 + dot(x, x) * dot(y, y) + 2 * dot(x, y)))


def lifted(x, y):
    x, y = (np.concatenate([part, np.sqrt(1 - dot(part, part))[..., None]], -1) for part in (x, y))
    return 2 * np.arctan2(norm(x - y), norm(x + y))


SPACES = [
    (FLAT, 1.0, lambda x, y: 1.5 * norm(x - y)),
    (FLAT, 1e6, lambda x, y: 1.5 * norm(x - y)),
    (HYPERBOLIC, 0.2, lambda x, y: 2 * np.arcsinh(norm(x - y) / np.sqrt((1 - dot(x, x)) * (1 - dot(y, y))))),
    (KLEIN, 0.2, klein),
    (SPHERE, 0.15, spherical),
    (HEMISPHERE, 0.2, lifted),
]


@pytest.mark.parametrize("space", range(len(SPACES)))
def test_distances_of_spaces_of_constant_curvature(space):
    metric, size, exact = SPACES[space]
    x, y = size * np.random.default_rng(space).normal(size=(2, 60, 3))
    assert metric.distance(x, y) == pytest.approx(exact(x, y), rel=2e-13)
    near = x + 1e-4 * y
    assert metric.distance(x, near) == pytest.approx(exact(x, near), rel=1e-7)


@pytest.mark.parametrize("metric", [HYPERBOLIC, KLEIN], ids=["ball", "klein"])
def test_distances_near_the_end_of_a_space(metric):
    """There |x| sqrt(A) has a pole, which a rule over log |x| misses: from |x| = 0.99 distances were short."""
    exact = SPACES[2][2] if metric is HYPERBOLIC else klein
    radii = np.array([0.9, 0.98, 0.999, 0.9999])
    for angle in (0.01, 1.5, 3.0):
        x, y = radii[:, None] * [1.0, 0], 0.85 * np.array([np.cos(angle), np.sin(angle)])
        assert metric.distance(x, y) == pytest.approx(exact(x, y), rel=1e-11)
        back = metric.exponential(y + 0 * x, metric.logarithm(y + 0 * x, x))
        assert np.abs(back - x).max() < 1e-10


def twin(metric, a, b, angle):
    """The distance between radii a <= b at an angle, from Clairaut's integrals over r in 40 digits."""
    A, h = (sp.lambdify(s, part, "mpmath") for part in (metric.A, metric.h))
    rho = lambda r: r * mpmath.sqrt(A(r * r))  # noqa: E731

    def integral(L, start, end, power):  # r = start + t^2 takes the root from the turning point
        def integrand(t):
            r = start + t * t
            N = mpmath.sqrt(h(r * r))
            return 2 * t * N * (L / rho(r)) ** power * rho(r) ** (1 - power) / mpmath.sqrt(rho(r) ** 2 - L * L)

        top = mpmath.sqrt(end - start)
        return (
            mpmath.quad(integrand, [top / 10**6, top / 10**3, top / 30, top / 3, top])
            + integrand(top / 10**6) * top / 10**6
        )

    def both(L, power):
        nearest = mpmath.findroot(lambda r: rho(r) - L, (a / 10**3, a), solver="anderson", tol=1e-30)
        return integral(L, nearest, a, power) + integral(L, nearest, b, power)

    top = rho(a)
    assert both(top * (1 - mpmath.mpf(10) ** -3), 1) < angle  # else the geodesic does not turn
    L = mpmath.findroot(lambda L: both(L, 1) - angle, (top / 50, top * 0.99), solver="anderson", tol=1e-20)
    return both(L, 0)


@pytest.mark.parametrize("name", ["erf", "cos"])
def test_distances_agree_with_integrals_in_many_digits(name):
    with mpmath.workdps(30):
        exact = twin(NETWORKS[name], mpmath.mpf(1), mpmath.mpf("1.5"), mpmath.mpf(2))
    x, y = np.array([1.0, 0.0]), 1.5 * np.array([np.cos(2.0), np.sin(2.0)])
    assert NETWORKS[name].distance(x, y) == pytest.approx(float(exact), rel=3e-11)  # the twin's end is cut


@pytest.mark.parametrize("name", NETWORKS)
def test_points_satisfy_the_geodesic_equation_and_the_logarithm_inverts_the_exponential(name):
    metric = NETWORKS[name]
    x, y = np.random.default_rng(1).normal(size=(2, 5, 2))
    path = metric.geodesic(x, y)
    assert metric.exponential(x, path.velocity) == pytest.approx(y, abs=1e-13)
    assert metric.exponential(y, -path.arrival) == pytest.approx(x, abs=1e-13)
    assert metric.logarithm(x, y) == pytest.approx(path.velocity)
    g = np.array([metric.matrix(2).subs(dict(zip(infgeo.symbols.coordinates(2), p, strict=True))) for p in x], float)
    assert np.sqrt(np.einsum("pi,pij,pj->p", path.velocity, g, path.velocity)) == pytest.approx(path.length, rel=1e-13)
    assert np.sign(path.velocity) == pytest.approx(np.sign(-metric.geodesic(y, x).arrival))
    step = 1e-3
    gamma = sp.lambdify([*infgeo.symbols.coordinates(2), s], metric.christoffel(2).tolist())
    for t in (0.2, 0.5 + 3 * step, 0.8):
        p = path.points(t + step * np.arange(-2, 3))
        slope = (8 * (p[:, 3] - p[:, 1]) - (p[:, 4] - p[:, 0])) / (12 * step)
        bend = (16 * (p[:, 3] + p[:, 1]) - (p[:, 4] + p[:, 0]) - 30 * p[:, 2]) / (12 * step**2)
        for q, u, a in zip(p[:, 2], slope, bend, strict=True):
            force = np.einsum("kij,i,j->k", np.array(gamma(*q, q @ q), float), u, u)
            assert a == pytest.approx(-force, abs=1e-7 * (1 + norm(u) ** 2))


@pytest.mark.parametrize("metric", [ERF, TIP, NETWORKS["gelu"]], ids=["erf", "tip", "gelu"])
def test_triangle_inequality_and_symmetry(metric):
    x, y, z = np.random.default_rng(2).normal(size=(3, 200, 2)) * np.exp(
        np.random.default_rng(3).normal(size=(3, 200, 1))
    )
    xy, yz, xz = metric.distance(x, y), metric.distance(y, z), metric.distance(x, z)
    assert (xz <= (xy + yz) * (1 + 1e-13)).all()
    assert metric.distance(y, x) == pytest.approx(xy, rel=1e-14)
    t = np.linspace(0, 1, 5)
    p = metric.geodesic(x, y).points(t)
    assert metric.distance(p[:, :-1], p[:, 1:]) == pytest.approx(np.repeat(xy[:, None] / 4, 4, 1), rel=1e-10)


def test_points_at_the_centre_on_a_line_and_far_away():
    x = np.array([1.0, 2.0, 0.0])

    def symbolic(radius):
        return float(ERF.radial_distance.subs(infgeo.symbols.r, radius).evalf())

    for size in (1e-6, 1.0, 1e6, 1e9):
        away = size * x
        radius = symbolic(size * sp.sqrt(5))
        assert ERF.distance(0 * x, away) == pytest.approx(radius, rel=1e-12)
        assert ERF.distance(away, -away) == pytest.approx(2 * radius, rel=1e-12)
        assert ERF.distance(away, away * 2) == pytest.approx(symbolic(2 * size * sp.sqrt(5)) - radius, rel=1e-9)
    opposite = ERF.geodesic(x, -2 * x)
    assert opposite.through_centre and opposite.nearest == 0 and not opposite.is_cut
    assert opposite.points([0.0, 1.0]) == pytest.approx(np.stack([x, -2 * x]))
    assert ERF.distance(x, -x + 1e-9) == pytest.approx(float(ERF.distance(x, -x)), rel=1e-8)
    assert ERF.distance(x, x) == 0 and ERF.geodesic(x, x).velocity == pytest.approx(0 * x)
    assert ERF.exponential(0 * x, ERF.logarithm(0 * x, x)) == pytest.approx(x, rel=1e-13)
    step = 1e-11 * np.array([1.0, 0.0, 0.0])
    g = infgeo.MLP("erf").numeric().metric(x)
    assert ERF.distance(x, x + step) == pytest.approx(np.sqrt(g[0, 0]) * ((x + step) - x)[0], rel=1e-10)
    assert ERF.distance(x[:1], -x[:1]) == pytest.approx(float(ERF.distance(np.array([1.0, 0]), np.array([-1.0, 0]))))


def test_a_tip_is_gone_through_where_that_is_shortest():
    x = np.array([1.0, 0.0])
    path = TIP.geodesic(x, np.array([-1.0, 0.2]))
    assert path.through_centre and path.length == pytest.approx(np.sqrt(3) * (1 + 1.04))  # sqrt(h) = 2 sqrt(3) r
    assert path.points([0.0, 0.3, 1.0])[:, 1] == pytest.approx([0, 0, 0.2], abs=1e-12)
    beside = TIP.geodesic(x, np.array([0.0, 1.0]))
    # rho = 2 r^2 against the radius sqrt(3) r^2: flat, with angles 2/sqrt(3) times as large
    assert not beside.through_centre
    assert beside.length == pytest.approx(2 * np.sqrt(3) * np.sin(np.pi / 4 * 2 / np.sqrt(3)), rel=1e-13)
    with pytest.raises(SingularMetric, match="0 is a tip"):
        TIP.logarithm(0 * x, x)


def test_cut_points_and_the_other_way_on_a_cone_of_less_than_the_full_angle():
    cone = RadialMetric.from_functions(sp.Integer(1), 3 / s)  # rho = r, R = 2 r: half the full angle
    x = np.array([1.0, 0.0])
    opposite = cone.geodesic(x, -x)
    assert opposite.is_cut and not opposite.through_centre
    assert opposite.length == pytest.approx(4 * np.sin(np.pi / 4), rel=1e-13)
    y = np.array([np.cos(2.5), np.sin(2.5)])
    assert cone.geodesic(x, y, way="around").length == pytest.approx(4 * np.sin((2 * np.pi - 2.5) / 4), rel=1e-12)
    assert cone.distance(x, y) == pytest.approx(4 * np.sin(2.5 / 4), rel=1e-12)
    path = cone.geodesic(x, y, way="around")
    assert cone.exponential(x, path.velocity) == pytest.approx(y, abs=1e-12)
    with pytest.raises(InvalidInput, match="no geodesic the other way round"):
        ERF.geodesic(x, y, way="around")


@pytest.mark.parametrize("metric", [ERF, NETWORKS["gelu"], HYPERBOLIC], ids=["erf", "gelu", "hyperbolic"])
def test_derivatives_of_tensors(metric):
    x, y = (
        0.2 * torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ).requires_grad_()
    for function in (metric.distance, metric.logarithm, lambda a, b: metric.exponential(a, b - a)):
        assert torch.autograd.gradcheck(function, (x, y), eps=1e-5, atol=1e-7, rtol=1e-6)
    path = metric.geodesic(x, y)
    value = path.length.sum()
    slopes = torch.autograd.grad(value, (x, y))
    g = metric.numeric(backend="torch").metric
    for point, vector, slope in ((x, -path.velocity, slopes[0]), (y, path.arrival, slopes[1])):  # first variation
        assert torch.allclose((g(point) @ (vector / path.length[:, None])[..., None])[..., 0], slope, rtol=1e-10)
    assert torch.allclose(
        path.points([0.3]), torch.as_tensor(metric.geodesic(x.detach().numpy(), y.detach().numpy()).points([0.3]))
    )
    (again,) = torch.autograd.grad(metric.distance(x, y).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        again.sum().backward()
    at_centre = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert all(
        torch.isfinite(part).all()
        for part in torch.autograd.grad(metric.distance(at_centre, y[:1]).sum(), (at_centre, y))
    )


def test_numeric_geometry_has_the_same_and_results_pickle():
    x, y = np.random.default_rng(4).normal(size=(2, 3))
    geo = infgeo.MLP("erf").numeric(weight_std=1.0, bias_std=1.0)
    assert geo.distance(x, y) == ERF.distance(x, y)
    assert geo.exponential(x, geo.logarithm(x, y)) == pytest.approx(y)
    assert infgeo.kernels.rbf().numeric(length_scale=2.0).distance(x, y) == pytest.approx(norm(x - y) / 2)
    path = pickle.loads(pickle.dumps(geo.geodesic(x, y)))
    assert path.points([1.0])[0] == pytest.approx(y)
    with pytest.raises(InvalidInput, match="for NumPy and torch"):
        infgeo.MLP("erf").numeric(backend="mpmath").distance(x, y)
    with pytest.raises(NoClosedForm, match="mixture"):
        infgeo.MLP("tanh").numeric().distance(x, y)


def test_shapes_and_bad_input():
    x, y = np.ones((4, 1, 3)), np.random.default_rng(0).normal(size=(5, 3))
    assert ERF.distance(x, y).shape == (4, 5) and ERF.geodesic(x, y).points([0.1, 0.2]).shape == (4, 5, 2, 3)
    assert ERF.distance(np.ones((0, 3)), np.ones(3)).shape == (0,)
    for metric, a, b, text in (
        (infgeo.MLP("erf").metric, x, y, r"has the symbol sigma_b: take g.at\(sigma_b"),
        (ERF, np.ones(2), np.ones(3), "they must agree"),
        (ERF, np.ones((2, 3)), np.ones((4, 3)), "do not fit"),
        (ERF, [np.nan, 1.0], [1.0, 1.0], "must be finite"),
        (ERF.at(d=2), np.ones(3), np.zeros(3), "was taken at d = 2"),
        (HYPERBOLIC, np.array([0.5, 0.0]), np.array([1.5, 0.0]), r"not finite and positive definite at \|x\| = 1:"),
        (SPHERE, np.array([0.5, 0.0]), np.array([1.5, 0.0]), "circles that shrink"),
    ):
        with pytest.raises(InvalidInput, match=text):
            metric.distance(a, b)
    with pytest.raises(InvalidInput, match="leaves the points where the metric exists"):
        ERF.exponential(np.array([1.0, 0.0]), np.array([100.0, 0.0]))
    with pytest.raises(InvalidInput, match="pass fractions"):
        ERF.geodesic(x, y).points([2.0])
    squeezed = RadialMetric.from_functions(1 / (1 + s**4), 0)  # what is beyond the equator is narrower
    with pytest.raises(InvalidInput, match="paths that cross this one"):
        squeezed.distance(np.array([0.8, 0.0]), np.array([-0.8, 0.1]))
    assert squeezed.distance(np.array([0.1, 0.0]), np.array([-0.1, 0.1])) == pytest.approx(np.sqrt(0.05), rel=1e-3)


def test_metrics_that_lose_digits_in_doubles_are_computed_in_more():
    metric = infgeo.MLP("relu6").metric.at(sigma_w=1, sigma_b=1)
    x = 1e6 * np.array([1.0, 0.0])
    with mpmath.workdps(30):
        h = sp.lambdify(s, metric.h, "mpmath")
        edges = [0, 1e-2, 1, 3, 10, *(10.0**k for k in range(2, 7))]
        exact = mpmath.quad(lambda r: mpmath.sqrt(h(r * r)), edges)
    assert metric.distance(x, 0 * x) == pytest.approx(float(exact), rel=1e-12)


def test_far_points():
    """Opposite ends of an erf network: twice the radius where angles have digits, else an error."""
    g, x = infgeo.MLP("erf", weight_std=1, bias_std=1).metric, np.array([1.0, 2.0, 0.0])
    for size in (1e3, 1e6):
        radius = float(g.radial_distance.subs(infgeo.symbols.r, size * np.sqrt(5)).evalf())
        assert abs(float(g.distance(size * x, -size * x)) / (2 * radius) - 1) < 1e-9
    with pytest.raises(NotConverged, match="too closely"):
        g.distance(1e24 * x, -1e24 * x)
    with pytest.raises(InvalidInput, match="1e-100"):
        g.distance(1e-200 * x, x)
