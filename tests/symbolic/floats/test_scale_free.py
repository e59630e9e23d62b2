"""The functions of the variance behind deep metrics in float arithmetic, against quadrature over the activation."""

import mpmath
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import variance, z
from infgeo.symbolic.algebra.primitives import exp_residual, where_nonnegative
from infgeo.symbolic.expectations.dual import dual
from infgeo.symbolic.floats.scale_free_laws import NoTail, scale_free_law

NAMES = ("erf", "gelu", "gaussian", "sin", "square", "z_erf", "probit")
FUNCTIONS = ("Psi", "M", "H", "N", "W", "U", "Theta", "L")


def evaluate(expr, v):
    at = expr.xreplace({variance: sp.Float(v, 30)})
    at = at.replace(where_nonnegative, lambda x, a, b: a if x >= 0 else b)
    at = at.replace(exp_residual, lambda x, n: sp.exp(x) - sum(x**k / sp.factorial(k) for k in range(n)))
    return mpmath.mpf(str(sp.N(at, 25)))


def by_quadrature(name, v):
    """The definitions as expectations: v m' = E[z phi phi'], v m0' by phi'' or a difference of variances."""
    phi = sp.lambdify(z, infgeo.activations.get(name).expr, "mpmath")
    slope = sp.lambdify(z, infgeo.activations.get(name).expr.diff(z), "mpmath")
    root = mpmath.sqrt(v)

    def mean(f):
        pieces = [0, 0.3, 1, 2.5, 6, 12]
        density = lambda t: mpmath.exp(-(t**2) / 2) / mpmath.sqrt(2 * mpmath.pi)  # noqa: E731
        return sum(mpmath.quad(lambda t, sign=sign: f(sign * root * t) * density(t), pieces) for sign in (-1, 1))

    m, m0 = mean(lambda x: phi(x) ** 2), mean(lambda x: slope(x) ** 2)
    both, steep = mean(lambda x: x * phi(x) * slope(x)), mean(lambda x: x**2 * slope(x) ** 2) / v
    M, H, W = both / m, both**2 / (v * m * m0), steep / m0
    Psi = (W - 1) / 2
    across = mean(lambda x: (x * slope(x) - both / m * phi(x)) ** 2) / (v * m0)
    Theta = M - 1 - Psi
    return {"Psi": Psi, "M": M, "H": H, "N": H - M, "W": W, "U": across, "Theta": Theta, "L": H * Theta / v}


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_the_expectations_that_they_stand_for(name):
    law = scale_free_law(dual(infgeo.activations.get(name)))
    with mpmath.workdps(20):
        for v in (0.05, 3.0):
            truth = by_quadrature(name, mpmath.mpf(v))
            for function in FUNCTIONS:
                assert abs(evaluate(law[function], v) - truth[function]) < 1e-10, (function, v)


@pytest.mark.parametrize("name", NAMES[:5])
def test_derivatives_by_the_variance(name):
    law = scale_free_law(dual(infgeo.activations.get(name)))
    step = mpmath.mpf("1e-6")
    with mpmath.workdps(25):
        for v in (0.05, 3.0):
            for function in ("Psi", "M", "H", "N", "W", "U", "Theta"):
                high, low = (evaluate(law[function], v + sign * step) for sign in (1, -1))
                assert abs(evaluate(law[f"d{function}"], v) - (high - low) / (2 * step)) < 1e-9, (function, v)


def test_powers_make_constants():
    law = scale_free_law(dual(infgeo.activations.get("cube")))
    values = {function: law[function] for function in FUNCTIONS}
    expected = {"Psi": 2, "M": 3, "W": 5, "U": 0, "Theta": 0, "L": 0}
    assert {function: sp.simplify(values[function]) for function in expected} == expected


@pytest.mark.parametrize(
    ("name", "end"), [("gaussian", -1), ("gaussian", 1), ("scaled_gaussian", -1), ("square", 1), ("cos", -1)]
)
def test_tails_are_what_functions_tend_to(name, end):
    """The rest is the function less its limit, the gap what its logarithmic slope is off the degree by, at any v."""
    law = scale_free_law(dual(infgeo.activations.get(name)))
    own = {symbol: sp.Rational(3, 4) for symbol in infgeo.activations.get(name).parameters}
    for function in ("Psi", "M", "H", "U", "W"):
        tail = law.tail(function, sp.Integer(end))
        whole, slope, rest, gap = (
            part.xreplace(own) for part in (law[function], law[f"d{function}"], tail.rest, tail.gap)
        )
        for v in (0.3, 2.0):
            assert abs(evaluate(whole, v) - tail.limit - evaluate(rest, v)) < 1e-12
            assert abs(v * evaluate(slope, v) - tail.degree * evaluate(rest, v) - evaluate(gap, v)) < 1e-12
        # Towards the end the rest is a power.
        near, nearer = (evaluate(rest, sp.Float(10, 30) ** (end * power)) for power in (8, 10))
        if rest != 0:
            assert abs(mpmath.log(nearer / near) / mpmath.log(10) - 2 * end * tail.degree) < 1e-6


def test_functions_that_tend_to_no_power_have_no_tail():
    with pytest.raises(NoTail):
        scale_free_law(dual(infgeo.activations.get("cos"))).tail("Psi", sp.Integer(1))
