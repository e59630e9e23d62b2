"""Kernel algebra: metrics by the rules of sums, products and compositions against brute force."""

import itertools

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo import kernels
from infgeo.conventions import d, s, s_x, s_y, xy, z
from infgeo.errors import InvalidInput, MetricDoesNotExist
from infgeo.symbols import coordinates

HALF = sp.Rational(1, 2)
L = sp.Rational(7, 5)
RELU = infgeo.MLP("relu", depth=2, weight_std=sp.Rational(6, 5), bias_std=HALF).kernel
ERF = infgeo.MLP("erf", weight_std=1, bias_std=HALF).kernel
SMOOTH = {
    "rbf": kernels.rbf(L),
    "polynomial": kernels.polynomial(3, HALF),
    "rational quadratic": kernels.rational_quadratic(sp.Rational(3, 2), L),
    "sum": kernels.rbf(L) + 2 * kernels.polynomial(2, 1) + 1,
    "product": kernels.rbf(L) * kernels.polynomial(2, 1),
    "power": ERF**2,
    "composition": kernels.polynomial(2, 1).compose(ERF),
    "rbf of features": kernels.rbf(L).compose(ERF),
    "tangent": infgeo.MLP("erf", weight_std=1, bias_std=HALF).ntk + ERF,
    "radial units": kernels.radial_units(L, HALF).at(d=3),
}
KINKED = {
    "matern 3/2": kernels.matern(1.5, L),
    "matern 5/2": kernels.matern(sp.Rational(5, 2), L),
    "matern 7/2": kernels.matern(3.5, L),
    "relu product": RELU * kernels.rbf(L),
    "relu sum": RELU + ERF,
    "rbf of relu": kernels.rbf(L).compose(RELU),
    "relu of polynomial": RELU.compose(kernels.polynomial(2, 1)),
    "matern of relu": kernels.matern(2.5, L).compose(RELU),
    "arc-cosine 1": kernels.arc_cosine(1),
    "arc-cosine 2": kernels.arc_cosine(2),
    "arc-cosine 3": kernels.arc_cosine(3),
}
POINT = ("0.6", "-0.8", "0.5")


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_metric_from_squared_distances(name):
    """g(e, e) = lim |Phi(x + h e) - Phi(x - h e)|^2 / 4 h^2, which needs no derivative, in two directions."""
    kernel = {**SMOOTH, **KINKED}[name]
    k, g = (sp.lambdify((s_x, s_y, xy), kernel.expr, "mpmath"), kernel.metric)
    with mpmath.workdps(150):
        x = [mpmath.mpf(part) for part in POINT]
        here = mpmath.fdot(x, x)
        A, B = (sp.lambdify(s, part, "mpmath")(here) for part in (g.A, g.B))
        h = mpmath.mpf(10) ** -20
        for e in ([1, 0, 0], [mpmath.mpf("0.6"), 0, mpmath.mpf("0.8")]):
            a, b = ([xi + sign * h * ei for xi, ei in zip(x, e, strict=True)] for sign in (1, -1))
            aa, bb, ab = mpmath.fdot(a, a), mpmath.fdot(b, b), mpmath.fdot(a, b)
            distance = mpmath.re(k(aa, aa, aa) + k(bb, bb, bb) - 2 * k(aa, bb, ab))
            expected = A + B * mpmath.fdot(x, e) ** 2
            assert abs(distance / (4 * h * h) - expected) < mpmath.mpf(10) ** -15 * abs(expected)


@pytest.mark.parametrize("name", ["product", "composition", "polynomial", "sum", "radial units"])
def test_curvature_against_christoffel_symbols(name):
    g = SMOOTH[name].metric
    x = coordinates(2)
    point = dict(zip(x, (HALF, sp.Rational(-3, 5)), strict=True))
    twin = infgeo.Metric(g.matrix(2), x).at(point, digits=30)
    R = g.ricci_scalar.subs({s: sum(value**2 for value in point.values()), d: 2})
    assert abs(sp.N(R, 30) - twin.ricci_scalar) < sp.Float("1e-20", 10)


def test_flat_spaces():
    for kernel in (kernels.rbf(), kernels.rational_quadratic(), kernels.matern(1.5), kernels.linear(),
                   kernels.arc_cosine(1)):  # fmt: skip
        assert kernel.metric.is_flat and kernel.metric.ricci_scalar == 0


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_arc_cosine_metrics(order):
    """2 E[phi'^2] = n^2 (2n - 3)!! |x|^(2n - 2) on the tangent space, and n^2 (2n - 1)!! |x|^(2n - 2) along x."""
    g = kernels.arc_cosine(order).metric
    assert sp.simplify(g.A - order**2 * sp.factorial2(2 * order - 3) * s ** (order - 1)) == 0
    assert sp.simplify(g.h - order**2 * sp.factorial2(2 * order - 1) * s ** (order - 1)) == 0


def test_arc_cosine_kernels_as_printed():
    """J_0 = pi - theta, J_1 = sin theta + (pi - theta) cos theta, J_2 = 3 sin cos + (pi - theta)(1 + 2 cos^2)."""
    at = {s_x: sp.Rational(7, 5), s_y: sp.Rational(3, 2), xy: sp.Rational(-2, 3)}
    theta = sp.acos((xy / sp.sqrt(s_x * s_y)).subs(at))
    sine, cosine, rest = sp.sin(theta), sp.cos(theta), sp.pi - theta
    J = [rest, sine + rest * cosine, 3 * sine * cosine + rest * (1 + 2 * cosine**2)]
    for order in range(3):
        printed = sp.sqrt(s_x * s_y).subs(at) ** order * J[order] / sp.pi
        assert abs(sp.N(kernels.arc_cosine(order).expr.subs(at) - printed, 30)) < sp.Float("1e-25", 10)


def test_the_deep_kernel_is_a_composition():
    layer = infgeo.MLP("relu", weight_std=1, bias_std=HALF).kernel
    deep = infgeo.MLP("relu", depth=2, weight_std=1, bias_std=HALF)
    at = {s_x: sp.Rational(7, 5), s_y: sp.Rational(3, 2), xy: sp.Rational(-2, 3)}
    assert abs(sp.N((layer.compose(layer).expr - deep.kernel.expr).subs(at), 30)) < sp.Float("1e-25", 10)
    assert sp.simplify(layer.compose(layer).metric.A - deep.metric.A) == 0


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_gram_matrices_are_positive_semidefinite(name):
    k = sp.lambdify((s_x, s_y, xy), {**SMOOTH, **KINKED}[name].expr, "mpmath")
    points = np.random.default_rng(0).standard_normal((5, 2)).tolist()
    gram = mpmath.matrix(5, 5)
    for i, j in itertools.product(range(5), repeat=2):
        a, b = points[i], points[j]
        gram[i, j] = mpmath.re(k(mpmath.fdot(a, a), mpmath.fdot(b, b), mpmath.fdot(a, b)))
    assert min(mpmath.eigsy(gram, eigvals_only=True)) > -1e-12 * mpmath.norm(gram)


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5, 4.5])
def test_matern_is_the_bessel_form(nu):
    """2^(1 - nu) / Gamma(nu) t^nu K_nu(t) with t = sqrt(2 nu) |x - y| / l (Rasmussen & Williams 2006, eq. 4.14)."""
    k = sp.lambdify((s_x, s_y, xy), kernels.matern(nu, L).expr, "mpmath")
    t = mpmath.sqrt(2 * nu) * mpmath.sqrt(mpmath.mpf("0.9")) / mpmath.mpf(L.p) * L.q
    bessel = 2 ** mpmath.mpf(1 - nu) / mpmath.gamma(nu) * t**nu * mpmath.besselk(nu, t)
    assert abs(k(mpmath.mpf(1), mpmath.mpf("0.5"), mpmath.mpf("0.3")) - bessel) < 1e-14
    assert kernels.matern(nu, L).diagonal == 1


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (kernels.matern(0.5, 4), r"\(1/2\) \|x - y\| \+"),
        (kernels.arc_cosine(0), "jump"),
        (ERF + kernels.arc_cosine(0), "jump"),
    ],
)
def test_kernels_without_a_metric(kernel, message):
    with pytest.raises(MetricDoesNotExist, match=message):
        kernel.metric  # noqa: B018


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: infgeo.Kernel(s_x + xy), "not symmetric"),
        (lambda: infgeo.Kernel(sp.I * xy), "real expression"),
        (lambda: infgeo.Kernel(sp.Function("f")(xy)), "undefined function"),
        (lambda: infgeo.Kernel("xy"), "SymPy expression"),
        (lambda: -1 * ERF, "constant >= 0"),
        (lambda: ERF + (-1), "constant >= 0"),
        (lambda: xy * ERF, "constant >= 0"),
        (lambda: ERF**0, "integer >= 1"),
        (lambda: ERF.compose(z), "takes a kernel"),
        (lambda: kernels.matern(1), "half-integer"),
        (lambda: kernels.polynomial(0), "degree is 0"),
        (lambda: kernels.rbf(-1), "length_scale = -1"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


def test_symbols_of_any_assumptions_and_exact_floats():
    kernel = infgeo.Kernel(sp.Symbol("xy") * 0.5)
    assert kernel.expr == xy / 2 and kernel == infgeo.Kernel(xy / 2)
    assert "s_x = |x|^2" in str(kernels.rbf()) and kernels.rbf()._repr_latex_().startswith("$")


def arc_cosine_by_angle(n, theta, p, q):
    """The published form (1/pi) |x|^n |y|^n J_n(theta), J_n = (-1)^n sin^(2n+1) (1/sin d/dtheta)^n ((pi - t)/sin t)."""
    t = sp.Symbol("t")
    J = (sp.pi - t) / sp.sin(t)
    for _ in range(n):
        J = J.diff(t) / sp.sin(t)
    J = sp.expand(sp.simplify((-1) ** n * sp.sin(t) ** (2 * n + 1) * J))
    return (p * q) ** sp.Rational(n, 2) * J.subs(t, theta) / sp.pi


@pytest.mark.parametrize("n", [1, 2, 3])
def test_user_kernels_whose_derivatives_are_quotients_of_zeros(n):
    """Arc-cosine kernels as a user types them have the metrics of their networks."""
    expr = arc_cosine_by_angle(n, sp.acos(xy / sp.sqrt(s_x * s_y)), s_x, s_y)
    found, known = infgeo.Kernel(expr).metric, kernels.arc_cosine(n).metric
    assert sp.simplify(found.A - known.A) == sp.simplify(found.B - known.B) == 0


@pytest.mark.parametrize("name", ["rectified_power_2", "leaky_relu", "relu"])
def test_metric_along_lines_agrees_with_the_expectation(name):
    """The kernel's formula alone, with biases and parameters, against differentiation under the expectation."""
    mlp = infgeo.MLP(name)
    found = infgeo.Kernel(mlp.kernel.expr).metric
    assert sp.simplify(found.A - mlp.metric.A) == sp.simplify(found.B - mlp.metric.B) == 0


def test_user_kernels_without_a_metric_say_so_with_the_leading_order():
    step = infgeo.MLP("step", weight_std=1, bias_std=0).kernel.expr
    # k = 1/4 + asin(rho)/(2 pi), so that the squared distance is theta/pi, and theta = |x - y|/|x| to first order.
    with pytest.raises(MetricDoesNotExist, match=r"\(1/\(pi\*sqrt\(s\)\)\) \|x - y\| \+"):
        _ = infgeo.Kernel(step).metric
    laplace = sp.exp(-sp.sqrt(s_x + s_y - 2 * xy)) * (1 + xy)
    with pytest.raises(MetricDoesNotExist, match=r"2\*\(s \+ 1\)\) \|x - y\| \+"):
        _ = infgeo.Kernel(laplace).metric


def test_radial_units_are_a_layer_of_random_centres():
    """The expectation over centres is a product of one-dimensional ones."""
    x, y, kernel = (HALF, sp.Rational(-7, 5)), (sp.Rational(6, 5), HALF), kernels.radial_units(L, 2 * HALF).at(d=2)
    at = {s_x: sum(a * a for a in x), s_y: sum(b * b for b in y), xy: sum(a * b for a, b in zip(x, y, strict=True))}
    with mpmath.workdps(25):
        expected = mpmath.mpf(1)
        for a, b in zip(x, y, strict=True):
            squares = sp.lambdify(z, ((a - z) ** 2 + (b - z) ** 2) / (2 * L**2), "mpmath")
            mean = mpmath.quad(lambda u, f=squares: mpmath.exp(-f(u)) * mpmath.npdf(u), [-12, -4, 0, 4, 12])
            expected *= mean
        assert abs(mpmath.mpf(sp.N(kernel.expr.subs(at), 25)) - expected) < mpmath.mpf(10) ** -20


def test_radial_units_are_simulated():
    """Features and Jacobians of networks with drawn centres, by z-scores over replicates."""
    rng, width, spread = np.random.default_rng(3), 0.8, 1.5
    X = np.array([[0.3, -1.4, 0.2], [1.2, 0.5, 0.0]])
    geometry = kernels.radial_units(width, spread).at(d=3).numeric()
    away = X[:, None] - spread * rng.standard_normal((64, 1, 4096, 3))  # (replicates, points, units, d)
    features = np.exp(-np.square(away).sum(-1) / (2 * width**2))
    J = -away / width**2 * features[..., None]
    for drawn, exact in (
        (np.einsum("rin,rjn->rij", features, features) / 4096, geometry.kernel(X)),
        (np.einsum("rpni,rpnj->rpij", J, J) / 4096, geometry.metric(X)),
    ):
        z = (drawn.mean(0) - exact) / (drawn.std(0, ddof=1) / 8)
        assert np.abs(z).max() < 4.5 and np.abs(z).mean() < 2
