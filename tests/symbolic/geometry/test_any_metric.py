"""The slow twin: spaces of known curvature, in coordinates that hide nothing, and bad input."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from itertools import permutations, product

import pytest
from sympy import (
    Abs,
    Function,
    Matrix,
    Rational,
    S,
    asin,
    cos,
    cosh,
    diag,
    diff,
    eye,
    nan,
    pi,
    simplify,
    sin,
    sinh,
    sqrt,
    symbols,
)

from infgeo import Metric
from infgeo.errors import InfgeoError, InvalidInput
from infgeo.symbolic.algebra.normal_form import normal_form

X = symbols("x1:5", real=True)
u, v, r, theta, phi, chi = symbols("u v r theta phi chi", real=True)
sigma_w = symbols("sigma_w", positive=True)
sigma_b = symbols("sigma_b", nonnegative=True)


def pulled_back(matrix, coordinates, images, new):
    """The metric `matrix` in `coordinates`, after the substitution coordinates = images(new)."""
    jacobian = Matrix(images).jacobian(new)
    there = Matrix(matrix).subs(dict(zip(coordinates, images, strict=True)), simultaneous=True)
    return Metric(jacobian.T * there * jacobian, new)


def stereographic(d, curvature=1):
    s = sum(x**2 for x in X[:d])
    return 4 / (1 + curvature * s) ** 2 * eye(d)


def shallow_erf(d):
    """g = f I + 2 sigma_w^2 f'(q) x x^T with f = (2 sigma_w^2 / pi) (1 + 2 q)^(-1/2)."""
    x = Matrix(X[:d])
    p = 1 + 2 * (sigma_b**2 + sigma_w**2 * (x.T * x)[0])
    a = 2 * sigma_w**2 / pi
    return Metric(a / sqrt(p) * eye(d) - 2 * sigma_w**2 * a / sqrt(p) ** 3 * x * x.T, X[:d])


def textbook_ricci_scalar(metric, quadratic_sign=1):
    """R from the derivatives of the Christoffel symbols; -1 swaps the signs of the two quadratic terms."""
    gamma, x, d = metric.christoffel, metric.coordinates, range(metric.dimension)

    def riemann(m, i, j, k):
        linear = diff(gamma[m, k, i], x[j]) - diff(gamma[m, j, i], x[k])
        quadratic = sum(gamma[m, j, a] * gamma[a, k, i] - gamma[m, k, a] * gamma[a, j, i] for a in d)
        return linear + quadratic_sign * quadratic

    return normal_form(sum(metric.inverse[i, k] * riemann(m, i, m, k) for i, k, m in product(d, repeat=3)))


SPHERES = {
    "spherical 2": Metric(diag(1, sin(theta) ** 2), (theta, phi)),
    "spherical 3": Metric(diag(1, sin(chi) ** 2, sin(chi) ** 2 * sin(theta) ** 2), (chi, theta, phi)),
    "stereographic 2": Metric(stereographic(2), X[:2]),
    "stereographic 3": Metric(stereographic(3), X[:3]),
}
PLANES = {
    "polar": Metric(diag(1, r**2), (r, phi)),
    "sheared": pulled_back(eye(2), X[:2], (u + v**2, v + u**3), (u, v)),
    "sheared 3": pulled_back(eye(3), X[:3], (u + v**2, v, r + u * v), (u, v, r)),
}
HYPERBOLIC = {
    "half plane": Metric(diag(v**-2, v**-2), (u, v)),
    "sheared half plane": pulled_back(diag(X[1] ** -2, X[1] ** -2), X[:2], (u - v**2, v), (u, v)),
    "twisted half plane": pulled_back(diag(X[1] ** -2, X[1] ** -2), X[:2], (u * v, v + u**2), (u, v)),
    "disk": Metric(stereographic(2, -1), X[:2]),
    "sheared polar": pulled_back(diag(1, sinh(X[0]) ** 2), X[:2], (u, v + u**2), (u, v)),
}


@pytest.mark.parametrize("name", SPHERES)
def test_unit_spheres_have_ricci_scalar_d_times_d_minus_1(name):
    sphere = SPHERES[name]
    d = sphere.dimension
    assert sphere.ricci_scalar == d * (d - 1)
    assert (sphere.ricci_tensor - (d - 1) * sphere.matrix).applyfunc(simplify) == Matrix.zeros(d)


@pytest.mark.parametrize("name", PLANES)
def test_flat_space_is_flat_in_any_coordinates(name):
    plane = PLANES[name]
    assert plane.ricci_scalar == 0
    assert all(component == 0 for component in plane.riemann.reshape(plane.dimension**4))


@pytest.mark.parametrize("name", HYPERBOLIC)
def test_hyperbolic_plane_has_ricci_scalar_minus_2(name):
    assert HYPERBOLIC[name].ricci_scalar == -2


def test_sphere_of_radius_a_in_non_orthogonal_coordinates():
    a = symbols("a", positive=True)
    sphere = pulled_back(a**2 * diag(1, sin(X[0]) ** 2), X[:2], (u + v, v), (u, v))
    assert sphere.ricci_scalar == 2 / a**2
    assert sphere.volume_element == a**2 * Abs(sin(u + v))


def test_warped_product():
    """dr^2 + w(r)^2 (dx^2 + dy^2) has R = -4 w''/w - 2 (w'/w)^2 (O'Neill 1983, ch. 7, with flat fibres)."""
    w = Function("w")(r)
    metric = Metric(diag(1, w**2, w**2), (r, *X[:2]))
    assert simplify(metric.ricci_scalar + 4 * w.diff(r, 2) / w + 2 * (w.diff(r) / w) ** 2) == 0
    hyperbolic = Metric(diag(1, cosh(r) ** 2, cosh(r) ** 2 * cosh(X[0]) ** 2), (r, *X[:2]))
    assert hyperbolic.ricci_scalar == -6


def test_shallow_erf_network():
    d = 2
    metric = shallow_erf(d)
    s = sum(x**2 for x in X[:d])
    p = 1 + 2 * (sigma_b**2 + sigma_w**2 * s)
    expected = -pi * sigma_w**2 * s * (d - 1) * (d + 2) / (2 * (1 + 2 * sigma_b**2) * sqrt(p))
    assert simplify(metric.ricci_scalar / expected) == 1
    volume = (2 * sigma_w**2 / pi) ** Rational(d, 2) * sqrt(1 + 2 * sigma_b**2) * p ** -Rational(d + 2, 4)
    assert simplify(metric.volume_element / volume) == 1
    assert metric.ricci_scalar.count_ops() < 40


def test_christoffel_symbols_are_metric_compatible():
    metric = PLANES["sheared"]
    for k, i, j in product(range(2), repeat=3):
        derivative = metric.matrix[i, j].diff(metric.coordinates[k])
        transported = sum(
            metric.christoffel[m, k, i] * metric.matrix[m, j] + metric.christoffel[m, k, j] * metric.matrix[i, m]
            for m in range(2)
        )
        assert simplify(derivative - transported) == 0
        assert metric.christoffel[k, i, j] == metric.christoffel[k, j, i]


def test_symmetries_of_the_riemann_tensor():
    metric = pulled_back(diag(1, 1 + X[0] ** 2, 1 + X[1] ** 2 * X[0] ** 2), X[:3], (u, v + u**2, r), (u, v, r))
    lowered, raised, d = metric.riemann_lowered, metric.riemann, range(3)
    assert any(component != 0 for component in lowered.reshape(81))
    for a, i, j, k in product(d, repeat=4):
        assert simplify(raised[a, i, j, k] + raised[a, i, k, j]) == 0
        assert lowered[a, i, j, k] == -lowered[i, a, j, k] == lowered[j, k, a, i]
        assert simplify(raised[a, i, j, k] + raised[a, j, k, i] + raised[a, k, i, j]) == 0
        assert simplify(sum(metric.matrix[a, m] * raised[m, i, j, k] for m in d) - lowered[a, i, j, k]) == 0
    for i, j in product(d, repeat=2):
        assert simplify(sum(raised[m, i, m, j] for m in d) - metric.ricci_tensor[i, j]) == 0


@pytest.mark.parametrize(
    "metric",
    [SPHERES["spherical 3"], PLANES["sheared"], HYPERBOLIC["twisted half plane"], shallow_erf(2)],
    ids=["sphere", "plane", "hyperbolic", "erf"],
)
def test_lowered_formula_agrees_with_derivatives_of_the_christoffel_symbols(metric):
    assert normal_form(textbook_ricci_scalar(metric) - metric.ricci_scalar) == 0


def test_swapped_quadratic_signs_are_caught():
    """A known implementation swaps the two quadratic terms; these metrics tell, and one layer of erf gives 3 R."""
    for metric in (PLANES["sheared"], HYPERBOLIC["twisted half plane"], SPHERES["spherical 3"]):
        assert normal_form(textbook_ricci_scalar(metric, quadratic_sign=-1) - metric.ricci_scalar) != 0
    erf = shallow_erf(2)
    assert normal_form(textbook_ricci_scalar(erf, quadratic_sign=-1) - 3 * erf.ricci_scalar) == 0


@pytest.mark.parametrize(
    "metric",
    [SPHERES["spherical 2"], SPHERES["stereographic 2"], PLANES["polar"], HYPERBOLIC["disk"]],
    ids=["spherical", "stereographic", "polar", "disk"],
)
def test_orthogonal_coordinates_of_surfaces_hide_the_swapped_signs(metric):
    """Why the spaces above are not enough in these coordinates."""
    assert normal_form(textbook_ricci_scalar(metric, quadratic_sign=-1) - metric.ricci_scalar) == 0


def test_without_simplification_the_values_are_the_same():
    metric = shallow_erf(2)
    raw = Metric(metric.matrix, metric.coordinates, simplify=False)
    point = {X[0]: Rational(1, 3), X[1]: Rational(-2, 5), sigma_w: Rational(3, 2), sigma_b: Rational(1, 7)}
    assert abs((raw.ricci_scalar - metric.ricci_scalar).subs(point).evalf(30, chop=True)) < Rational(1, 10**25)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_at_a_point(d):
    metric = shallow_erf(d)
    point = dict(zip(X, (Rational(1, 3), Rational(-2, 5), Rational(1, 2), Rational(3, 4)), strict=True))
    values = {x: point[x] for x in X[:d]} | {sigma_w: Rational(3, 2), sigma_b: Rational(1, 7)}
    s = sum(point[x] ** 2 for x in X[:d])
    w, b = Rational(9, 4), Rational(1, 49)
    expected = -pi * w * s * (d - 1) * (d + 2) / (2 * (1 + 2 * b) * sqrt(1 + 2 * b + 2 * w * s))
    there = metric.at(values)
    assert abs(there.ricci_scalar - expected.evalf(50)) < Rational(1, 10**45)
    assert abs(there.volume_element**2 - metric.matrix.subs(values).evalf(50).det()) < Rational(1, 10**45)


def test_at_a_point_with_functions_outside_the_normal_form():
    metric = Metric(diag(1 + asin(u / 2) ** 2, 2 + cos(u * v)), (u, v))
    values = {u: Rational(1, 3), v: 2}
    assert abs(metric.at(values).ricci_scalar - metric.ricci_scalar.subs(values).evalf(50)) < Rational(1, 10**40)


def test_one_dimension_has_no_curvature():
    line = Metric([[1 + u**2]], (u,))
    assert line.ricci_scalar == 0
    assert line.christoffel[0, 0, 0] == u / (1 + u**2)
    assert line.volume_element == sqrt(1 + u**2)


def test_metric_is_a_frozen_value():
    plane = PLANES["polar"]
    with pytest.raises(FrozenInstanceError):
        plane.matrix = eye(2)
    assert plane == Metric([[1, 0], [0, r**2]], [r, phi])
    assert hash(plane) == hash(Metric([[1, 0], [0, r**2]], [r, phi]))


def test_text_and_latex():
    plane = PLANES["polar"]
    assert str(plane) == "Metric in (r, phi):\n[[1, 0],\n [0, r**2]]"
    assert plane._repr_latex_().startswith(r"$\displaystyle g\left(r,\, \phi\right) = \left[\begin{matrix}1 & 0")


@pytest.mark.parametrize(
    ("matrix", "coordinates", "words"),
    [
        ([[1, 0, 0], [0, 1, 0]], (u, v), "square"),
        ([[1, 0], [0, 1]], (u, v, r), "3 coordinates"),
        ([[1, u], [v, 1]], (u, v), "not symmetric"),
        ([[1, 0], [0, 1]], (u, u), "distinct"),
        ([[1, 0], [0, u**2]], (u, symbols("u")), "two symbols called u"),
        ([[1, 0], [0, 1]], (u, 1), "not a SymPy symbol"),
        ([[1, 0], [0, 1]], "uv", "sequence of SymPy symbols"),
        ([[1, 0], [0, 1]], 3, "sequence of SymPy symbols"),
        (Matrix(0, 0, []), (), "at least one"),
        ([[u**2, u * v], [u * v, v**2]], (u, v), "determinant 0"),
        ([[1, 1], [1, sin(u) ** 2 + cos(u) ** 2]], (u, v), "determinant 0"),
        ([[0.5, 0], [0, 1]], (u, v), "use Rational"),
        ([[1, 0], [0, 2.0 * u]], (u, v), "use Rational"),
        ([[1, 0], [0, nan]], (u, v), "not finite"),
        ([[1, 0], [0, S.Infinity]], (u, v), "not finite"),
        ([[1, 0], [0, True]], (u, v), "must be a number"),
        ([[1, 0], [0]], (u, v), "not a matrix"),
        ("[[1, 0], [0, 1]]", (u, v), "nested lists"),
        (None, (u, v), "not a matrix"),
    ],
)
def test_bad_input_is_refused_with_a_reason(matrix, coordinates, words):
    with pytest.raises(InvalidInput, match=words):
        Metric(matrix, coordinates)


def test_equal_entries_written_differently_are_symmetric():
    assert Metric([[2, (u + 1) ** 2], [u**2 + 2 * u + 1, 2]], (u, v)).dimension == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({r: 1}, "no value for phi"),
        ({r: 0.5, phi: 0}, "a float"),
        ({r: nan, phi: 0}, "finite real"),
        ({r: S.ImaginaryUnit, phi: 0}, "finite real"),
        ({r: "1", phi: 0}, "must be a number"),
        ({r: 0, phi: 0}, "singular"),
    ],
)
def test_bad_points_are_refused_with_a_reason(values, words):
    with pytest.raises(InvalidInput, match=words):
        PLANES["polar"].at(values)


@pytest.mark.parametrize("digits", [0, -3, 1.5, True, "50"])
def test_bad_digits_are_refused(digits):
    with pytest.raises(InfgeoError, match="digits"):
        PLANES["polar"].at({r: 1, phi: 0}, digits=digits)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_order_of_coordinates_does_not_matter(order):
    full = diag(1, X[0] ** 2, 1 + X[1] ** 2) + Matrix(3, 3, lambda i, j: Rational(i * j, 4))
    matrix = Matrix(3, 3, lambda i, j: full[order[i], order[j]])
    values = {X[0]: 2, X[1]: 3, X[2]: 5}
    reference = Metric(full, X[:3]).at(values).ricci_scalar
    assert abs(Metric(matrix, [X[i] for i in order]).at(values).ricci_scalar - reference) < Rational(1, 10**45)


@pytest.mark.slow
def test_plane_waves_with_hyperbolic_functions_of_unknown_ones():
    """SymPy's trigsimp raises NotImplementedError on these; the twin knows the function and takes numbers."""
    W, wave = Function("W")(u, v), u * v / 3

    def plane(w):
        return Metric(Matrix([[cosh(w), sinh(w)], [sinh(w), cosh(w)]]), (u, v))

    at = {u: Rational(1, 3), v: Rational(2, 5)}
    R = plane(W).ricci_scalar.subs(W, wave).doit().subs(at).n(30)
    assert abs(R - plane(wave).at(at).ricci_scalar) < Rational(1, 10**20) * abs(R)
