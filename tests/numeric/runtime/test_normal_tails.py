"""Tails of normal distributions times exponentials."""

from itertools import product

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo.conventions import Delta, c, p, q
from infgeo.errors import InvalidInput
from infgeo.numeric.runtime.arrays.of_mpmath import MpmathArrays
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.double_double import DoubleDouble
from infgeo.numeric.runtime.double_double_erf import dd_erf, dd_erfc, dd_erfcx
from infgeo.numeric.runtime.normal_tails import erfcx_by_sums
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal, bivariate_normal
from infgeo.symbolic.algebra.primitives import scaled_quadrant
from infgeo.symbolic.floats.normal_tails import with_tails

XP = NumpyArrays()


def corners(count=120):
    """Return corners and angles: alone, on the diagonal, on the axes, nearly parallel and antiparallel."""
    rng = np.random.default_rng(0)
    for i in range(count):
        h, k = rng.normal(size=2) * rng.choice([0.1, 1, 3, 10])
        h = 0.0 if i % 7 == 0 else h
        k = h * (1 + rng.choice([0, 1e-9, 1e-3])) if i % 5 == 0 else k
        angle = rng.uniform(-1, 1) * np.pi / 2
        if i % 3 == 0:
            angle = np.sign(angle) * (np.pi / 2 - 10 ** rng.uniform(-9, -1))
        yield float(h), float(k), float(np.sin(angle)), float(np.cos(angle))


def test_quadrants_against_the_arc_and_against_the_slabs():
    with mpmath.workdps(30):
        for h, k, y, x in corners():
            if h == k == 0:  # the angle is lost
                continue
            h_, k_, y_, x_ = map(mpmath.mpf, (h, k, y, x))
            radius = mpmath.hypot(x_, y_)
            corner = h_, k_, (k_ * radius - h_ * y_) / x_, (h_ * radius - k_ * y_) / x_
            expected = bivariate_normal(-h_, -k_, y_, x_)
            assert abs(float(XP.scaled_quadrant(0, *map(float, corner), None)) - expected) < 1e-15
            if x > 1e-3:
                slabs = MpmathArrays().scaled_quadrant(0, *corner, None)
                assert abs(slabs - expected) < 1e-20


@pytest.mark.parametrize("size", [1.0, 30.0, 1e3, 1e6])
def test_exponentials_that_would_overflow(size):
    """The square of exp(u) where u < 0: e^(p/2 + q/2 + c) P(X > (p + c)/sqrt(p), Y > (q + c)/sqrt(q))."""
    p, q, c = size, 0.7 * size, 0.3 * size
    h, k = (p + c) / np.sqrt(p), (q + c) / np.sqrt(q)
    with XP.quiet():  # branches not taken may overflow
        n, n_ = (np.sqrt((p * q - c * c) / part) for part in (p, q))
        value = float(XP.scaled_quadrant((p + q + 2 * c) / 2, h, k, n, n_, 0.0))
    with mpmath.workdps(40):
        p_, q_, c_ = map(mpmath.mpf, (p, q, c))
        area = p_ * q_ - c_ * c_

        def line(u):  # of exp(u + v) over v < 0, given u: e^(u + mean + V/2) P(N > (mean + V)/sqrt(V))
            mean, width = c_ / p_ * u, area / p_
            turned = (mean + width) / mpmath.sqrt(2 * width)
            tail = (
                mpmath.erfc(turned) * mpmath.exp(turned**2) if turned < 1e6 else 1 / (turned * mpmath.sqrt(mpmath.pi))
            )
            return mpmath.exp(u - u * u / (2 * p_) - mean**2 / (2 * width)) * tail / 2

        expected = mpmath.quad(line, [-200, -20, -5, -1, 0]) / mpmath.sqrt(2 * mpmath.pi * p_)
    assert abs(value / expected - 1) < 1e-13


def test_erfcx_of_libraries_without_it():
    x = np.array([0, 1e-12, 1e-3, 0.4, 0.999, 1.0, 2.0, 6.2, 6.3, 20.0, 1e3, 1e8])
    assert np.abs(erfcx_by_sums(XP, x) / XP.erfcx(x) - 1).max() < 1e-15


def test_double_double_error_functions():
    x = np.array([1e-12, 1e-3, 0.4999, 0.5, 0.5001, 1.0, 3.0, 8.8, 8.9, 20.0])
    with mpmath.workdps(60):
        exact = {
            dd_erf: lambda t: mpmath.erf(t),
            dd_erfc: lambda t: mpmath.erfc(t),
            dd_erfcx: lambda t: mpmath.exp(t * t) * mpmath.erfc(t),
        }
        for function, of in exact.items():
            value = function(DoubleDouble(x, 0 * x, XP))
            for t, high, low in zip(x, value.high, value.low, strict=True):
                if float(of(mpmath.mpf(t))) > 1e-200:
                    assert abs((mpmath.mpf(high) + mpmath.mpf(low)) / of(mpmath.mpf(t)) - 1) < 1e-30


NEIGHBOURS = [
    "max(z-1, 0)",
    "exp(-abs(z + 1/3))",
    "exp(-2*abs(z))",
    "exp(z/6 - 1/4 + min(0, 2*z))",
    "softshrink",
    "relu6",
    "elu",
]


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_kernels_of_nearly_parallel_points(name):
    """At all angles kernels with kinks away from 0 and exponentials between them keep their digits."""
    mlp, x = infgeo.MLP(name), np.array([1.095, 2.772, -0.3418])
    geo, exact = mlp.numeric(), mlp.numeric(backend="mpmath")
    generator = np.random.default_rng(0)
    for sign, step in [*product((1, -1), (1e-15, 1e-12, 1e-8)), (1, 1e-4)]:
        y = sign * x + step * generator.normal(size=3)
        for function in ("kernel", "ntk"):
            value = getattr(geo, function)(x[None], y[None])[0, 0]
            with mpmath.workdps(30):
                wanted = getattr(exact, function)([list(x)], [list(y)])[0, 0]
            norm = np.sqrt(getattr(geo, f"{function}_diag")(np.array([x, y])).prod())
            assert abs(value - wanted) < 1e-12 * norm, (sign, step, function)


@pytest.mark.parametrize(
    "text, exponent",
    [
        ("exp(z/6 - 1/4 + min(0, 2*z))", -sp.Rational(1, 2)),
        ("exp(-(z - 1)**2)*max(z, 0)", -2),
        ("exp(-z**2 + z)*abs(z - 1)", -(p + q - 2 * c) / (2 * Delta)),
    ],
)
def test_exponents_at_corners_of_quadrants_are_those_of_the_activation(text, exponent):
    """The last argument is what exponentials and density have at the kinks: nothing is left in it that cancels."""
    [found] = {part.args[5] for part in with_tails(infgeo.MLP(text).dual.kernel).atoms(scaled_quadrant)}
    assert sp.factor(found - exponent) == 0 and sp.count_ops(found) <= sp.count_ops(exponent) + 2


def test_gaussians_beside_kinks_are_taken_at_ordinary_points():
    mlp, x = infgeo.MLP("exp(-z**2/2)*abs(z-1)", weight_std=1, bias_std=1), np.array([[0.1, 0.05], [1.0, -0.5]])
    by_rules = mlp.numeric(method="quadrature")
    assert np.allclose(mlp.numeric().kernel(x), by_rules.kernel(x), rtol=1e-9)


@pytest.mark.parametrize("backend", ["numpy", "torch", "mpmath"])
def test_exponentials_of_both_signs_at_large_variances(backend):
    """Of exp(-|z|) the density of the preactivations is smooth beside the exponentials: Gauss and Laguerre's rule."""
    geo = infgeo.MLP("exp(-abs(z))").numeric(30.0, 0.1, backend=backend)
    nodes, weights = np.polynomial.laguerre.laggauss(40)
    for x, y in np.random.default_rng(0).normal(size=(4, 2, 3)):
        p, q, c = (0.01 + 900 * part for part in (x @ x, y @ y, x @ y))
        u, v = nodes[:, None], nodes[None, :]
        density = sum(np.exp(-(q * u**2 - 2 * s * c * u * v + p * v**2) / (2 * (p * q - c**2))) for s in (1, -1))
        wanted = 2 * (weights[:, None] * weights * density).sum() / (2 * np.pi * np.sqrt(p * q - c**2))
        one, other = (torch.tensor(z[None]) if backend == "torch" else z[None].tolist() for z in (x, y))
        if backend == "numpy":
            one, other = np.array(one), np.array(other)
        assert float(geo.kernel(one, other)[0, 0]) == pytest.approx(wanted, rel=1e-11)


def test_what_such_kernels_do_not_keep_is_refused():
    """Variances beyond their range; the metric has no such range."""
    geo = infgeo.MLP("hardtanh").numeric(weight_std=1.0, bias_std=0.0)
    far = np.array([[1e5, 0.0]])
    for function in (geo.kernel, geo.ntk, geo.kernel_distance):
        with pytest.raises(InvalidInput, match="reach goes"):
            function(far)
    assert np.isfinite(geo.ricci_scalar(far)).all()


def test_parameters_keep_the_digits_of_numbers():
    x = np.array([[1.095, 2.772, -0.3418]])
    one = infgeo.MLP("max(z-a, 0)*exp(-b*z)").numeric(1.0, 1.0, a=1.0, b=0.25)
    other = infgeo.MLP("max(z-1, 0)*exp(-z/4)").numeric(1.0, 1.0)
    for step in (1e-14, 1e-10, 1e-6):
        y = x + step * np.array([0.3, 1.0, -0.2])
        assert one.kernel(x, y) == pytest.approx(other.kernel(x, y), rel=1e-12)


@pytest.mark.parametrize("angle", [1e-14, 1e-12, 1e-8, 1e-1])
def test_distances_of_neighbours(angle):
    """By subtraction they would be rounding: 0.13 at 1e-12, where 3e-12 is right."""
    mlp, x = infgeo.MLP("hardtanh", weight_std=1, bias_std=0.3), 10 * np.array([0.6, -0.8])
    y = 10 * np.array([0.6 * np.cos(angle) + 0.8 * np.sin(angle), 0.6 * np.sin(angle) - 0.8 * np.cos(angle)])
    with mpmath.workdps(30):
        wanted = mlp.numeric(backend="mpmath").kernel_distance([list(x)], [list(y)])[0, 0]
    assert mlp.numeric().kernel_distance(x[None], y[None])[0, 0] == pytest.approx(float(wanted), rel=1e-12)


def test_distances_by_subtraction_are_refused():
    """An activation with parameters has no integrals, and what jumps has distances of its own order."""
    geo = infgeo.MLP("max(z - a, 0)").numeric(1.0, 1.0, a=1.0)
    with pytest.raises(InvalidInput, match="lost where kernels are subtracted"):
        geo.kernel_distance(np.array([[1.0, 2.0], [1.0, 2.001]]))


@pytest.mark.parametrize(
    ("text", "scale"),
    [("max(0, z/6 - 1/2)", 0.5), ("max(z - 1, 0)**2", 0.5), ("hardswish", 1.0), ("softshrink", 1.0), ("elu", 0.1)],
)
def test_kernels_of_neighbours_far_below_a_kink(text, scale):
    """Sums of 1 and error functions near -1 lost 2e-7 of the norm here, six deviations below the kink."""
    mlp = infgeo.MLP(text, weight_std=scale, bias_std=scale)
    for angle in (1e-9, 1e-4, 1.0):
        x, y = np.array([1.0, 0.0]), np.array([np.cos(angle), np.sin(angle)])
        value = mlp.numeric().kernel(np.array([x, y]))[0, 1]
        with mpmath.workdps(30):
            exact = mlp.numeric(backend="mpmath").kernel([list(x), list(y)])
        assert abs(value - exact[0, 1]) < 1e-12 * mpmath.sqrt(exact[0, 0] * exact[1, 1]), angle


@pytest.mark.parametrize(("text", "most"), [("hardtanh", 200), ("hardswish", 250), ("relu6", 220), ("elu", 180)])
def test_kernels_of_pieces_are_sums_over_their_distributions(text, most):
    """What cancels is gone: no term of a kernel is the negative of another, and each quadrant stands once."""
    kernel = infgeo.MLP(text).dual.kernel
    quadrants = [part for part in sp.preorder_traversal(kernel) if isinstance(part, BivariateNormal)]
    assert sp.count_ops(kernel) <= most and len(quadrants) == len(set(quadrants))


@pytest.mark.parametrize("text", ["max(-2, min(1, z))", "hardtanh", "relu6"])
def test_moments_at_small_variances(text):
    """Constants and error functions near 1 lost 1.4e-10 of E[phi^2] = v here."""
    mlp = infgeo.MLP(text, weight_std=1e-3, bias_std=1e-3)
    value = mlp.numeric().kernel_diag(np.array([[1.0, 0.0]]))[0]
    with mpmath.workdps(40):
        exact = mlp.numeric(backend="mpmath").kernel_diag([[1, 0]])[0]
    assert abs(value - exact) < 1e-12 * exact


@pytest.mark.parametrize("name", ["softshrink", "max(0, z-1)"])
def test_geometry_where_all_slopes_are_tails(name):
    """Where A underflows its logarithm stays, and R until it overflows: of densities over tails nothing is 0/0."""
    network, x = infgeo.MLP(name), np.array([[0.6, 0.8]])
    exact, geo = (network.numeric(1.0, 0.0, backend=backend) for backend in ("mpmath", "numpy"))
    for length, with_curvature in ((1e-3, False), (0.06, True), (1.0, True), (100.0, True)):
        with mpmath.workdps(40):
            points = [[mpmath.mpf(float(u)) * mpmath.mpf(length) for u in x[0]]]
            wanted = [getattr(exact, part)(points)[0] for part in ("log_volume_element", "ricci_scalar")]
        assert geo.log_volume_element(length * x)[0] == pytest.approx(float(wanted[0]), rel=1e-12)
        if with_curvature:
            assert geo.ricci_scalar(length * x)[0] == pytest.approx(float(wanted[1]), rel=1e-12)
    geo = network.numeric(1.0, 0.0, backend="torch")
    point = torch.tensor(1e-3 * x, requires_grad=True)
    (slope,) = torch.autograd.grad(geo.log_volume_element(point).sum(), point)
    step = np.array([[1e-8, 0.0]])
    near = [float(network.numeric(1.0, 0.0).log_volume_element(1e-3 * x + sign * step)[0]) for sign in (1, -1)]
    assert float(slope[0, 0]) == pytest.approx((near[0] - near[1]) / 2e-8, rel=1e-6)


def test_two_layers_of_tails_have_numeric_functions():
    """Tails of tails are beyond the numbers of mpmath, where precision is measured."""
    geo = infgeo.MLP("softshrink", depth=2).numeric(1.0, 0.0)
    assert np.isfinite(geo.ricci_scalar(np.array([[3.0, 4.0]]))).all()


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("elu", lambda z: z if z > 0 else mpmath.expm1(z)),
        ("exp(-abs(z))", lambda z: mpmath.exp(-abs(z))),
        ("max(0, sinh(z/3))", lambda z: mpmath.sinh(z / 3) if z > 0 else mpmath.mpf(0)),
    ],
)
@pytest.mark.parametrize("length", [0.01, 0.7])
def test_exactly_opposite_and_equal_points_against_an_integral_over_one_variable(text, function, length):
    mlp = infgeo.MLP(text, weight_std=1, bias_std=0)
    x = length * np.array([[0.6, 0.8]])
    points = np.concatenate([x, -x])
    found = {
        "numpy": mlp.numeric().kernel(points),
        "torch": mlp.numeric(backend="torch").kernel(torch.tensor(points)).numpy(),
        "mpmath": np.array(mlp.numeric(backend="mpmath").kernel(points.tolist()).tolist(), dtype=float),
    }
    density = {sign: lambda t, s=sign: function(t * length) * function(s * t * length) for sign in (1, -1)}
    breaks = [-12, -4, -1, 0, 1, 4, 12]
    same, opposite = (float(mpmath.quad(lambda t, s=s: density[s](t) * mpmath.npdf(t), breaks)) for s in (1, -1))
    for values in found.values():
        np.testing.assert_allclose(values, [[same, opposite], [opposite, same]], rtol=0, atol=1e-13 * same)
