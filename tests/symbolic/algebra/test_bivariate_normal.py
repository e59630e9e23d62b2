"""The bivariate normal distribution function."""

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import special

import infgeo
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal, bivariate_normal, normal

h, k, rho = sp.symbols("h k rho", real=True)
POINTS = [
    (h_, k_, rho_)
    for h_ in ("-2.5", "0", "0.3", "1.7")
    for k_ in ("-0.4", "0.3", "3")
    for rho_ in ("-0.99", "-0.3", "0", "0.8", "0.9999")
]


@pytest.mark.parametrize(("h_", "k_", "rho_"), POINTS[::3])
def test_against_the_integral_over_one_variable(h_, k_, rho_):
    with mpmath.workdps(30):
        a, b, r = map(mpmath.mpf, (h_, k_, rho_))
        root = mpmath.sqrt(1 - r * r)
        edge = b / r if r else mpmath.mpf(0)
        cuts = sorted({mpmath.mpf(-12), *(t for t in (edge, edge - 9 * root, edge + 9 * root) if -12 < t < a), a})
        slab = mpmath.quad(lambda t: mpmath.npdf(t) * mpmath.ncdf((b - r * t) / root), cuts)
        value = BivariateNormal(*map(sp.Rational, (h_, k_, rho_))).evalf(25)
        assert abs(mpmath.mpf(str(value)) - slab) < mpmath.mpf(10) ** -22


def test_parallel_and_antiparallel():
    with mpmath.workdps(25):
        same = bivariate_normal(mpmath.mpf(1), mpmath.mpf("1.5"), mpmath.mpf(1), mpmath.mpf("1e-12"))
        assert abs(same - mpmath.ncdf(1)) < mpmath.mpf(10) ** -20
        opposite = bivariate_normal(mpmath.mpf(1), mpmath.mpf("0.5"), mpmath.mpf(-1), mpmath.mpf("1e-12"))
        assert abs(opposite - (mpmath.ncdf(1) + mpmath.ncdf("0.5") - 1)) < mpmath.mpf(10) ** -20

        # P(X < -1, Y < 1) where Y is nearly -X: none; and between -1 and -0.7.
        nothing = bivariate_normal(mpmath.mpf(-1), mpmath.mpf(1), mpmath.mpf(-1), mpmath.mpf("1e-30"))
        assert abs(nothing) < mpmath.mpf(10) ** -20
        some = bivariate_normal(mpmath.mpf("-0.7"), mpmath.mpf(1), mpmath.mpf(-1), mpmath.mpf("1e-12"))
        assert abs(some - (mpmath.ncdf("-0.7") + mpmath.ncdf(1) - 1)) < mpmath.mpf(10) ** -20


@pytest.mark.parametrize("symbol", [h, k, rho])
def test_derivatives_against_differences(symbol):
    at = {h: sp.Rational(3, 10), k: sp.Rational(-1, 2), rho: sp.Rational(2, 5)}
    function = BivariateNormal(h, k, rho)
    step = sp.Rational(1, 10**10)
    ahead, behind = (function.subs({**at, symbol: at[symbol] + sign * step}).evalf(40) for sign in (1, -1))
    assert abs((ahead - behind) / (2 * step) - function.diff(symbol).subs(at).evalf(40)) < 1e-18


def test_the_derivatives_by_an_arc_are_those_of_its_correlation():
    y, x = sp.symbols("y x", positive=True)
    by_arc = BivariateNormal(h, k, y, x)
    by_rho = BivariateNormal(h, k, rho).diff(rho)
    correlation = y / sp.sqrt(x**2 + y**2)
    at = {h: sp.Rational(3, 10), k: sp.Rational(-1, 2), y: sp.Rational(2), x: sp.Rational(1, 2)}
    for symbol in (y, x):
        chain = by_rho.subs(rho, correlation) * correlation.diff(symbol)
        assert abs(sp.N((by_arc.diff(symbol) - chain).subs(at), 25)) < 1e-20


def test_special_values():
    assert BivariateNormal(0, 0, rho) == sp.Rational(1, 4) + sp.atan2(rho, sp.sqrt(1 - rho**2)) / (2 * sp.pi)
    assert BivariateNormal(h, k, 0) == normal(h) * normal(k)
    assert BivariateNormal(h, sp.oo, rho) == normal(h)
    assert BivariateNormal(-sp.oo, k, rho) == 0
    assert sp.latex(BivariateNormal(h, k, rho)) == r"\Phi_{2}\left(h, k; \rho\right)"


def test_lambdify_takes_numbers_arrays_and_mpmath():
    """As it does functions of SymPy; also where the correlation is 1 or -1, and at 0."""
    names = sp.symbols("h k y x", real=True)
    of_four, of_three = (sp.lambdify(names[:n], BivariateNormal(*names[:n])) for n in (4, 3))
    at = [(0.3, -0.2, 0.5), (-4.0, 1.0, -0.9), (0.7, 0.7, 1.0), (0.7, 0.9, -1.0), (0.0, 0.0, 0.6)]
    h, k, rho = np.transpose(at)
    below = special.ndtr
    expected = [
        *(float(BivariateNormal(*(sp.Rational(str(x)) for x in point)).evalf(20)) for point in at[:2]),
        below(0.7),
        below(0.7) - below(-0.9),
        0.25 + np.arcsin(0.6) / (2 * np.pi),
    ]
    np.testing.assert_allclose(of_three(h, k, rho), expected, rtol=1e-13)
    np.testing.assert_allclose(of_four(h, k, 2 * rho, 2 * np.sqrt(1 - rho**2)), expected, rtol=1e-13)
    assert float(of_three(0.3, -0.2, 0.5)) == pytest.approx(expected[0], rel=1e-14)
    in_mpmath = sp.lambdify(names[:3], BivariateNormal(*names[:3]), "mpmath")
    assert float(in_mpmath(*map(mpmath.mpf, ("0.3", "-0.2", "0.5")))) == pytest.approx(expected[0], rel=1e-14)


def test_kernels_with_it_are_lambdified():
    kernel = infgeo.MLP("elu", weight_std=1, bias_std=sp.Rational(1, 2)).kernel
    x, y = np.array([[0.3, -0.5], [1.1, 0.4]])
    found = sp.lambdify([infgeo.symbols.s_x, infgeo.symbols.s_y, infgeo.symbols.xy], kernel.expr)(x @ x, y @ y, x @ y)
    assert float(found) == pytest.approx(kernel.numeric().kernel(x[None], y[None])[0, 0], rel=1e-12)
