"""Activations as mixtures of error functions: the nodes, the decomposition and its errors, against the functions."""

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.errors import NoClosedForm
from infgeo.numeric.source.mixture import LOG_COSH_ERRORS, NODE_A, NODES, TANH_ERRORS, mixture_of
from infgeo.symbolic.networks.layers import as_activation

GRID = [mpmath.mpf(k) / 16 for k in range(481)]
EXACT = [(mpmath.mpf(a), mpmath.mpf(w)) for a, w in NODES]


def mixed(z, order):
    """The derivative of sum_i w_i erf(a_i z) of order 0 or 1."""
    if order:
        return mpmath.fsum(w * 2 * a / mpmath.sqrt(mpmath.pi) * mpmath.exp(-((a * z) ** 2)) for a, w in EXACT)
    return mpmath.fsum(w * mpmath.erf(a * z) for a, w in EXACT)


def test_nodes_keep_their_bounds_at_forty_digits():
    with mpmath.workdps(40):
        assert abs(mpmath.fsum(w for _, w in EXACT) - 1) < 1e-17 and min(w for _, w in EXACT) > 0
        error = [mixed(z, 0) - mpmath.tanh(z) for z in GRID]
        slope = [mixed(z, 1) - mpmath.sech(z) ** 2 for z in GRID]
        for n, bounds in enumerate(TANH_ERRORS):
            largest = max(abs(z**n * e) for z, e in zip(GRID, error, strict=True))
            steepest = max(
                abs(z**n * e_1 + (n * z ** (n - 1) * e if n else 0))
                for z, e, e_1 in zip(GRID, error, slope, strict=True)
            )
            assert bounds[0] / 2 < largest <= bounds[0] and bounds[1] / 2 < steepest <= bounds[1]
        root = mpmath.sqrt(mpmath.pi)
        integrated = [
            mpmath.fsum(w * (z * mpmath.erf(a * z) + mpmath.expm1(-((a * z) ** 2)) / (a * root)) for a, w in EXACT)
            - mpmath.log(mpmath.cosh(z))
            for z in GRID
        ]
        assert LOG_COSH_ERRORS[0] / 2 < max(map(abs, integrated)) <= LOG_COSH_ERRORS[0]
        assert LOG_COSH_ERRORS[1] == TANH_ERRORS[0][0]


@pytest.mark.parametrize(
    "text",
    [
        "tanh(z)",
        "1/(1 + exp(-z))",
        "z/(1 + exp(-z))",
        "log(1 + exp(z))",
        "-log(1 + exp(-z))",
        "z - tanh(z)",
        "z/(1 + exp(-1.702*z))",
        "log(1 + exp(3*z))/3",
        "(exp(z) - exp(-z))/(exp(z) + exp(-z))",
        "exp(z)/(1 + exp(z))",
        "tanh(z) + tanh(2*z)/3 - z**2/5",
        "1.7159*tanh(2*z/3)",
        "log(cosh(z))",
        "log(1/cosh(2*z))/2 + z",
        "erf(z) + z**2*tanh(z)",
    ],
)
def test_sums_over_nodes_are_the_function_to_the_stated_error(text):
    activation = as_activation(text)
    mixture = mixture_of(activation)
    z = activation.symbol
    node = sp.Add(*(term.expr for term in mixture.terms))
    with mpmath.workdps(40):
        part, phi = sp.lambdify((z, NODE_A), node, "mpmath"), sp.lambdify(z, activation.expr, "mpmath")
        slope, phi_1 = (
            sp.lambdify((z, NODE_A), node.diff(z), "mpmath"),
            sp.lambdify(z, activation.expr.diff(z), "mpmath"),
        )
        for x in (sign * x for x in GRID[1::7] for sign in (1, -1)):
            error = mpmath.fsum(w * part(x, a) for a, w in EXACT) - phi(x)
            error_1 = mpmath.fsum(w * slope(x, a) for a, w in EXACT) - phi_1(x)
            assert abs(error) <= mixture.error and abs(error_1) <= mixture.slope_error


@pytest.mark.parametrize(
    "text",
    [
        "tanh(z)**2",
        "z/cosh(z)",
        "z*tanh(log(1 + exp(z)))",
        "tanh(z + 1)",
        "z/(1 + abs(z))",
        "log(2 + exp(z))",
        "erf(z)",
    ],
)
def test_what_is_not_linear_in_the_logistic_function_is_no_mixture(text):
    with pytest.raises(NoClosedForm, match="not linear in functions tanh"):
        mixture_of(as_activation(text))


def test_a_parameter_stays_a_symbol():
    bound = mixture_of(as_activation("log(1 + exp(beta*z))/beta")).error
    assert [symbol.name for symbol in bound.free_symbols] == ["beta"]
    geo = infgeo.MLP("log(1 + exp(beta*z))/beta").numeric(1.0, 0.5, beta=2.0)
    twin = infgeo.MLP("log(1 + exp(2*z))/2").numeric(1.0, 0.5)
    X = np.array([[0.3, -0.5], [1.0, 2.0]])
    assert (
        np.abs(geo.kernel(X) - twin.kernel(X)).max() < 1e-14
        and geo.kind == "mixture, |error of phi| <= 3.7e-14, of phi' <= 2.3e-14"
    )
