"""Numeric functions of kernels and metrics that are formulas, against the formulas in other arithmetic."""

import subprocess
import sys

import mpmath
import numpy as np
import pytest
import torch
from sympy import Rational, Symbol, exp, log, sin, sqrt

import infgeo
from infgeo import kernels
from infgeo.errors import InvalidInput, MetricDoesNotExist
from infgeo.symbols import s, s_x, s_y, xy

X = np.array([[0.5, -0.3], [1.2, 0.4], [1.2, 0.4 + 1e-7], [0.1, 0.9]])
ERF = infgeo.MLP("erf", weight_std=1, bias_std=1)
CASES = {
    "rbf": kernels.rbf(2),
    "rational quadratic": kernels.rational_quadratic(Rational(3, 4), 1),
    "polynomial": kernels.polynomial(2, 1),
    "exponential": kernels.exponential_dot_product(1),
    "matern": kernels.matern(Rational(5, 2), 1),
    "arc-cosine": kernels.arc_cosine(2),
    "sum": kernels.rbf(1) + ERF.kernel,
    "tangent": ERF.ntk,
    "user": infgeo.Kernel(exp(-(s_x + s_y - 2 * xy)) * (1 + xy)),
    "logarithm": infgeo.Kernel(10 - log(1 + s_x + s_y - 2 * xy)),
    "product": kernels.rbf(1) * ERF.kernel,
    "product of stationary kernels": kernels.rational_quadratic(Rational(3, 4), 1) * kernels.rational_quadratic(2, 1),
}


def _exact(expr, x, y):
    values = {s_x: sum(a * a for a in x), s_y: sum(b * b for b in y), xy: sum(a * b for a, b in zip(x, y, strict=True))}
    return expr.xreplace(values).evalf(40)


@pytest.mark.parametrize("name", CASES)
def test_kernels_and_distances_against_forty_digits(name):
    kernel = CASES[name]
    points = [[Rational(float(t)) for t in x] for x in X]
    exact = [[_exact(kernel.expr, x, y) for y in points] for x in points]
    norms = np.sqrt([float(exact[i][i]) for i in range(len(X))])
    geometry = kernel.numeric()
    error = geometry.kernel(X) - np.array(exact, float)
    assert np.abs(error / np.outer(norms, norms)).max() < 1e-14
    squares = [[float(exact[i][i] + exact[j][j] - 2 * exact[i][j]) for j in range(len(X))] for i in range(len(X))]
    tolerance = 1e-6 if name == "matern" else 1e-12  # (1 + x + x^2/3) exp(-x) cancels
    np.testing.assert_allclose(geometry.kernel_distance(X, squared=True), squares, rtol=tolerance)
    in_torch = kernel.numeric(backend="torch").kernel(torch.tensor(X))
    np.testing.assert_allclose(in_torch.numpy(), np.array(exact, float), rtol=0, atol=1e-13 * norms.max() ** 2)


def test_what_has_no_form_for_near_points_subtracts_kernels_of_others():
    """Of a ReLU with biases times an RBF kernel S - c psi would cancel: near points are refused."""
    kernel = kernels.rbf(1) * infgeo.MLP("relu", weight_std=1, bias_std=1).kernel
    far, far_in_digits = np.delete(X, 2, axis=0), np.delete(X, 2, axis=0).tolist()
    found, right = (
        kernel.numeric().kernel_distance(far),
        kernel.numeric(backend="mpmath").kernel_distance(far_in_digits),
    )
    np.testing.assert_allclose(found, np.array(right.tolist(), float), rtol=1e-12)
    assert (np.diag(found) == 0).all()  # where the rounding of k(x, x) would be a distance of 1e-8
    with pytest.raises(InvalidInput, match="so near to each other"):
        kernel.numeric().kernel_distance(X)


@pytest.mark.parametrize("backend", ["numpy", "torch", "mpmath"])
def test_a_kernel_that_is_no_number_says_so(backend):
    """Normalised features have no direction at x = 0."""
    points = {"numpy": np.array, "torch": torch.tensor, "mpmath": list}[backend]
    kernel = infgeo.Kernel(xy / sqrt(s_x) / sqrt(s_y)).numeric(backend=backend)
    assert abs(kernel.kernel(points([[1.0, 2.0], [2.0, -1.0]]))[0, 1]) < 1e-15
    with pytest.raises(InvalidInput, match=r"is no number at some|variance 0"):
        kernel.kernel(points([[1.0, 2.0], [0.0, 0.0]]))


def test_a_kernel_whose_metric_has_no_full_rank():
    kernel = infgeo.Kernel(xy / sqrt(s_x) / sqrt(s_y)).numeric()
    np.testing.assert_allclose(kernel.kernel_distance(np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]])), np.sqrt(2))
    with pytest.raises(MetricDoesNotExist, match="no full rank"):
        kernel.metric(X)


def test_stationary_kernels_far_from_the_origin():
    far = np.array([[1e6, 0.0], [1e6, 1e-3]])
    np.testing.assert_allclose(kernels.rbf().numeric(length_scale=1e-3).kernel(far)[0, 1], np.exp(-0.5), rtol=1e-12)


def test_metrics_and_their_curvature():
    sphere = infgeo.RadialMetric.from_functions(4 / (1 + Symbol("s")) ** 2, 0)
    for backend, points in (("numpy", X), ("torch", torch.tensor(X)), ("mpmath", X.tolist())):
        values = sphere.numeric(backend=backend).ricci_scalar(points)
        np.testing.assert_allclose([float(value) for value in values], 2.0, rtol=1e-14)
    np.testing.assert_allclose(sphere.numeric().volume_element(X), 4 / (1 + (X**2).sum(-1)) ** 2, rtol=1e-14)
    a = Symbol("a", positive=True)
    values = infgeo.RadialMetric.from_functions(a / (1 + s) ** 2, 0).numeric(a=2.0).ricci_scalar(X)
    np.testing.assert_allclose(values, 4.0, rtol=1e-14)
    # erf: the metric of a kernel is the network's, by another way
    geometry = ERF.metric.numeric()
    for name in ("metric", "log_volume_element", "ricci_scalar"):
        np.testing.assert_allclose(getattr(geometry, name)(X), getattr(ERF.numeric(), name)(X), rtol=1e-13)


def test_at_two_dimensions_nothing_cancels_far_out():
    values = kernels.polynomial(2, 1).numeric().ricci_scalar(np.array([[1e5, 0.0]]))
    formula = kernels.polynomial(2, 1).metric.ricci_scalar.subs({infgeo.symbols.d: 2, s: 10**10})
    np.testing.assert_allclose(values, float(formula.evalf(30)), rtol=1e-13)


def test_derivatives_at_coincident_points_are_the_metric():
    kernel = kernels.rational_quadratic(1, 1).numeric(backend="torch")
    x = torch.tensor([0.3, -0.8], dtype=torch.float64)
    mixed = torch.func.jacrev(torch.func.jacrev(lambda a, b: kernel.kernel(a[None], b[None])[0, 0], 1), 0)(x, x)
    np.testing.assert_allclose(mixed, kernel.metric(x), rtol=1e-12)


@pytest.mark.parametrize("name", ["rbf", "sphere", "tangent", "kinked"])
def test_emitted_files_check_themselves(name, tmp_path):
    what = {
        "rbf": kernels.rbf(),
        "sphere": infgeo.RadialMetric.from_functions(4 / (1 + s) ** 2, 0),
        "tangent": ERF.ntk,
        "kinked": infgeo.MLP("relu").ntk,  # which refuses near points
    }[name]
    path = tmp_path / "emitted.py"
    path.write_text(infgeo.emit(what, certificate="none"), encoding="utf-8")
    assert "import infgeo" not in path.read_text()
    done = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert infgeo.emit(ERF.kernel, certificate="none") == infgeo.emit(ERF, certificate="none")


def test_certificates_are_stated():
    certificate = kernels.rbf().numeric(length_scale=1.0).certificate
    assert set(certificate) == {
        "kernel",
        "kernel_distance",
        "metric",
        "volume_element",
        "log_volume_element",
        "ricci_scalar",
    }
    assert all(part.holds for parts in certificate.values() for part in parts)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: kernels.rbf().numeric(), InvalidInput, "length_scale.* needs a value"),
        (lambda: kernels.rbf(1).numeric(weight_std=1.0), InvalidInput, "unknown parameter 'weight_std'"),
        (lambda: kernels.rbf().numeric(length_scale=-1.0), InvalidInput, "> 0"),
        (lambda: kernels.rbf(1).numeric(backend="cupy"), InvalidInput, "backend"),
        (lambda: kernels.rbf(1).numeric().ntk(X), InvalidInput, "ntk is not among the functions"),
        (lambda: kernels.matern(Rational(1, 2), 1).numeric().metric(X), MetricDoesNotExist, "induces no metric"),
        (
            lambda: infgeo.RadialMetric.from_functions(1 - s, 0).numeric().volume_element(X),
            MetricDoesNotExist,
            "no metric",
        ),
        (
            lambda: infgeo.MLP("exp(z**2)", weight_std=1, bias_std=0).metric.numeric().metric(X),
            MetricDoesNotExist,
            "no metric",
        ),
        (lambda: infgeo.MLP("erf", input_scale="fan_in").ntk.numeric(), InvalidInput, "take kernel.at"),
        (lambda: infgeo.RadialMetric.from_functions(1, 0).at(d=3).numeric().metric(X), InvalidInput, "dimension 2"),
        (
            lambda: infgeo.Kernel(sin(sqrt(s_x + s_y - 2 * xy)) / sqrt(s_x + s_y - 2 * xy)).numeric(),
            InvalidInput,
            "divides by 0 at y = x",
        ),
        (lambda: infgeo.emit("erf"), InvalidInput, "emit takes a network, a kernel or a metric"),
    ],
)
def test_what_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_mpmath_keeps_its_digits():
    with mpmath.workdps(40):
        value = kernels.rbf(1).numeric(backend="mpmath").kernel([[mpmath.mpf(1), 0], [0, 0]])[0, 1]
        assert abs(value - mpmath.exp(mpmath.mpf(-1) / 2)) < mpmath.mpf(10) ** -38


@pytest.mark.parametrize("name", ["step", "sign"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_point_has_no_distance_to_itself_where_features_jump(name, backend):
    """At x = 0 the limit of k is half of k(0, 0), or 0."""
    geo = (infgeo.MLP(name, weight_std=1, bias_std=0).kernel * kernels.rbf(1)).numeric(backend=backend)
    points = {"numpy": np.array, "torch": torch.tensor}[backend](np.array([[0.0, 0.0], [1.0, 2.0]]))
    distances = np.asarray(geo.kernel_distance(points))
    assert distances[0, 0] == distances[1, 1] == 0
    total = float(geo.kernel_diag(points)[0] + geo.kernel_diag(points)[1] - 2 * geo.kernel(points)[0, 1])
    assert distances[0, 1] ** 2 == pytest.approx(total, rel=1e-12)
