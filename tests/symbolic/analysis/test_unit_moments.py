"""Finite width from moments of a unit: against explicit units, automatic differentiation, and Wishart laws."""

import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo.numeric.quadrature.one_layer import moments_at, predictions
from infgeo.symbolic.analysis import unit_moments

CASES = [("erf", 0.9, 1.2, 0.7), ("gelu", 0.9, 0.8, 0.4), ("sin", 0.5, 1.0, 0.0), ("gaussian", 0.6, 0.7, 0.5)]


def rule(activation, r, weight_std, bias_std, d):
    """Nodes (w (k, d), slope, second derivative) and weights of one unit: Gauss-Hermite in every direction.

    The rule loses its digits where phi' is much narrower than z, so the scales are small.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    few, their_weights = np.polynomial.hermite_e.hermegauss(5)  # the transverse weights enter as polynomials
    weights, their_weights = weights / weights.sum(), their_weights / their_weights.sum()
    z = activation.symbol
    first, second = (sp.lambdify(z, sp.diff(activation.expr, z, k), "scipy") for k in (1, 2))
    axes = [nodes, nodes if bias_std else np.zeros(1), *[few] * (d - 1)]
    masses = [weights, weights if bias_std else np.ones(1), *[their_weights] * (d - 1)]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    mass = np.prod(np.stack([g.ravel() for g in np.meshgrid(*masses, indexing="ij")]), axis=0)
    w = weight_std * np.delete(grid, 1, axis=1)
    at = r * w[:, 0] + bias_std * grid[:, 1]
    return w, first(at) * np.ones_like(at), second(at) * np.ones_like(at), mass


def parts(activation, r, weight_std, bias_std, d):
    """Each unit's part of the flattened (g, T), (k, d^2 + d^3), and the weights."""
    w, first, second, mass = rule(activation, r, weight_std, bias_std, d)
    g = np.einsum("k,ki,kj->kij", first**2, w, w)
    t = np.einsum("k,ki,kj,kl->kijl", first * second, w, w, w)
    return np.concatenate([g.reshape(len(w), -1), t.reshape(len(w), -1)], axis=1), mass


def curvature(state, d):
    g, t = state[: d * d].reshape(d, d), state[d * d :].reshape(d, d, d)
    inverse = torch.linalg.inv((g + g.T) / 2)
    norm = torch.einsum("abc,def,ad,be,cf->", t, t, inverse, inverse, inverse)
    trace = torch.einsum("ab,abc->c", inverse, t)
    return norm - trace @ inverse @ trace


def log_volume(state, d):
    return torch.logdet(state[: d * d].reshape(d, d)) / 2


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(("name", "r", "weight_std", "bias_std"), CASES)
def test_bias_and_spread_by_automatic_differentiation(name, r, weight_std, bias_std, d):
    """Delta method as it is written: F'' and F' by autograd, contracted with the covariance of explicit units."""
    activation = infgeo.MLP(name).activation
    one, mass = parts(activation, r, weight_std, bias_std, d)
    mean = mass @ one
    centred = one - mean
    covariance = torch.from_numpy((centred * mass[:, None]).T @ centred)
    state = torch.from_numpy(mean)
    moments = moments_at(activation, r, weight_std, bias_std, {})
    known = predictions(moments, d, 10)
    for quantity, function in (("ricci_scalar", curvature), ("log_volume_element", log_volume)):
        hessian = torch.func.hessian(lambda s, f=function: f(s, d))(state)
        gradient = torch.func.grad(lambda s, f=function: f(s, d))(state)
        bias, variance = float((hessian * covariance).sum() / 2), float(gradient @ covariance @ gradient)
        assert known[quantity].bias == pytest.approx(bias, rel=1e-7, abs=1e-10), quantity
        assert known[quantity].variance == pytest.approx(variance, rel=1e-7, abs=1e-10), quantity
    assert unit_moments.ricci(moments, d) == pytest.approx(float(curvature(state, d)), rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("name", "r", "weight_std", "bias_std"), CASES[:2])
def test_covariance_of_the_metric(name, r, weight_std, bias_std, d):
    activation = infgeo.MLP(name).activation
    one, mass = parts(activation, r, weight_std, bias_std, d)
    g = one[:, : d * d] - mass @ one[:, : d * d]
    covariance = ((g * mass[:, None]).T @ g).reshape(d, d, d, d)
    known = unit_moments.metric_covariance(moments_at(activation, r, weight_std, bias_std, {}), d)
    expected = np.zeros((d, d, d, d))
    for i, j, k, m in itertools.product(range(d), repeat=4):
        if (i, j) == (k, m) or (i, j) == (m, k):
            name = "radial" if i == j == 0 else "tangential" if i == j else "mixed" if 0 in (i, j) else "off-diagonal"
            expected[i, j, k, m] = known[name]
        elif i == j and k == m:
            expected[i, j, k, m] = known["radial, tangential" if 0 in (i, k) else "tangential, tangential"]
    assert covariance == pytest.approx(expected, rel=1e-8, abs=1e-12)
    if d > 1:
        mean = np.einsum("iijj->", covariance[1:, 1:, 1:, 1:]) / (d - 1) ** 2
        assert known["mean tangential"] == pytest.approx(mean, rel=1e-8)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (2, 2), (3, 2), (5, 3), (4, 4), (30, 5)])
def test_determinant_of_a_linear_network_is_that_of_a_wishart_matrix(n, d):
    activation = infgeo.MLP("linear").activation if "linear" in infgeo.activations.available() else None
    activation = activation or infgeo.MLP(sp.Symbol("z", real=True)).activation
    first, second = unit_moments.determinant_moments(moments_at(activation, 0.8, 1.3, 0.6, {}), n, d)
    assert first == pytest.approx(math.prod((n - i) / n for i in range(d)))
    assert second == pytest.approx(math.prod((n - i) * (n - i + 2) / n**2 for i in range(d)), rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 2), (3, 2), (4, 2), (3, 3)])
def test_determinant_by_summing_over_the_units_of_a_small_population(n, d):
    """E[(det g)^2] over all n-tuples of explicit units, whose transverse weights have the moments of Gaussian ones."""
    # two kinds of units with (a, w_1); transverse weights from a 3-point rule with the moments of a Gaussian up to 5
    kinds = [(0.7, 1.1, 0.4), (1.9, -0.6, 0.6)]
    points, weights = np.array([-(3**0.5), 0.0, 3**0.5]), np.array([1, 4, 1]) / 6
    units = []
    for a, w1, p in kinds:
        for index in itertools.product(range(3), repeat=d - 1):
            units.append((math.sqrt(a) * np.array([w1, *points[list(index)]]), p * math.prod(weights[list(index)])))
    vectors, mass = np.array([u for u, _ in units]), np.array([m for _, m in units])
    moment = {k: sum(p * a**2 * w1**k for a, w1, p in kinds) for k in (0, 2, 4)}
    f, h = sum(p * a for a, _, p in kinds), sum(p * a * w1**2 for a, w1, p in kinds)
    moments = unit_moments.UnitMoments(1.0, f, h, h**0.5, moment, {}, {}, {})
    first, second = unit_moments.determinant_moments(moments, n, d)
    total = np.zeros(2)
    for tuple_ in itertools.product(range(len(units)), repeat=n):
        v = vectors[list(tuple_)]
        det = np.linalg.det(v.T @ v / n)
        total += math.prod(mass[list(tuple_)]) * np.array([det, det**2])
    limit = h * f ** (d - 1)
    assert total[0] / limit == pytest.approx(first, rel=1e-9)
    assert total[1] / limit**2 == pytest.approx(second, rel=1e-9)


@pytest.mark.parametrize("name", ["erf", "gaussian", "sin"])
def test_closed_forms_are_those_of_the_quadrature(name):
    mlp = infgeo.MLP(name)
    exact = infgeo.finite_width(mlp)
    for r, weight_std, bias_std, d in ((0.9, 1.2, 0.7, 3), (2.5, 0.6, 0.0, 2)):
        moments = moments_at(mlp.activation, r, weight_std, bias_std, {})
        values = {"d": d, "s": r**2, "sigma_w": weight_std, "sigma_b": bias_std}

        def number(expr, values=values):
            return float(expr.subs({symbol: values[symbol.name] for symbol in expr.free_symbols}))

        for key, value in unit_moments.metric_covariance(moments, d).items():
            assert number(exact.metric_covariance[key]) == pytest.approx(value, rel=1e-7, abs=1e-9), key
        bias, variance = unit_moments.log_volume(moments, d)
        assert number(exact.log_volume_bias) == pytest.approx(bias, rel=1e-7)
        assert number(exact.log_volume_variance) == pytest.approx(variance, rel=1e-7)
        assert number(exact.volume_bias) == pytest.approx(bias + variance / 2, rel=1e-7)
        assert number(exact.ricci_bias) == pytest.approx(unit_moments.ricci_bias(moments, d), rel=1e-6)
        first, second = unit_moments.determinant_moments(moments, 20, d)
        assert number(exact.determinant_moments(20, d)[1]) == pytest.approx(second, rel=1e-7)
        assert number(exact.determinant_moments(20, d)[0]) == pytest.approx(first, rel=1e-12)
