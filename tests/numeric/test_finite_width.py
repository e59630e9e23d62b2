"""Finite width at any depth against closed forms, products of Wishart matrices, automatic derivatives, networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sympy import Rational

import infgeo
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NoClosedForm

X = np.array([[0.7, 0.2, -0.4, 0.9], [0.0, 0.0, 0.0, 0.0], [0.01, 0.0, 2.0, -1.0]])


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["erf", "relu", "gaussian", "sin"])
def test_one_layer_is_that_of_the_closed_form(name, dimension):
    mlp = infgeo.MLP(name, weight_std=1, bias_std=Rational(1, 2))
    closed = infgeo.finite_width(mlp)
    found = closed.at(X[:, :dimension])
    for i, x in enumerate(X[:, :dimension]):
        at = {infgeo.symbols.s: float((x**2).sum()), infgeo.symbols.d: dimension}
        assert found.log_volume_bias[i] == pytest.approx(float(closed.log_volume_bias.subs(at)), rel=1e-8)
        assert found.log_volume_variance[i] == pytest.approx(float(closed.log_volume_variance.subs(at)), rel=1e-8)
    assert np.abs(found.kernel_bias).max() == 0 and np.abs(found.metric_bias).max() == 0
    assert found.metric_bias.shape == (3, dimension, dimension)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_linear_networks_are_products_of_wishart_matrices(depth):
    mlp = infgeo.MLP("identity", depth=depth, weight_std=1, bias_std=0)
    for d in (1, 2, 3, 4):
        found = infgeo.finite_width(mlp).at(X[0, :d])
        s = (X[0, :d] ** 2).sum()
        np.testing.assert_allclose(found.kernel_variance, 2 * depth * s**2, rtol=1e-10)
        np.testing.assert_allclose(found.log_volume_bias, -depth * d * (d + 1) / 4, rtol=1e-10)
        np.testing.assert_allclose(found.log_volume_variance, depth * d / 2, rtol=1e-10)
        np.testing.assert_allclose(found.metric_bias, 0, atol=1e-12)


@pytest.mark.parametrize("scales", [((0.7, 0.3), (0.8, 0.2)), ((0.6, 0.4), (0.8, 0.0), (0.6, 0.4))])
@pytest.mark.parametrize("name", ["erf", "sin"])
def test_bias_and_spread_by_automatic_differentiation(name, scales):
    """The delta method as it is written: second derivatives of the moments of explicit laws of (z, dz)."""
    phi, slope = {
        "erf": (lambda z: torch.erf(z / 2**0.5), lambda z: (2 / np.pi) ** 0.5 * torch.exp(-z * z / 2)),
        "sin": (torch.sin, torch.cos),
    }[name]
    x = torch.tensor([0.6, -0.3], dtype=torch.float64)
    line, mass = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(20))
    standard = torch.cartesian_prod(line, line, line)
    mass = torch.cartesian_prod(mass, mass, mass).prod(1) / mass.sum() ** 3

    def unit(law):
        """phi^2, phi phi' dz, phi'^2 dz dz of the nodes, as a symmetric matrix (3, 3) of (phi, phi' dz)."""
        z = standard @ torch.linalg.cholesky(law.reshape(3, 3)).T
        f = torch.cat([phi(z[:, :1]), slope(z[:, :1]) * z[:, 1:]], 1)
        return (f[:, :, None] * f[:, None, :]).flatten(1)

    def means(law):
        return mass @ unit(law)

    rows = torch.cat([x[:, None], torch.eye(2, dtype=torch.float64)], 1).T  # z and dz in the weights
    moments, bias, covariance = (rows @ rows.T).flatten(), torch.zeros(9).double(), torch.zeros(9, 9).double()
    for weight, of_bias in scales:
        law = weight**2 * moments
        law = law + of_bias**2 * torch.eye(9, dtype=torch.float64)[0]
        bias, covariance = weight**2 * bias, weight**4 * covariance
        values = unit(law)
        moments = mass @ values
        first, second = torch.func.jacrev(means)(law), torch.func.hessian(means)(law)
        bias = first @ bias + torch.einsum("abc,bc->a", second, covariance) / 2
        centred = values - moments
        covariance = first @ covariance @ first.T + (centred * mass[:, None]).T @ centred
    g, of_metric = moments.reshape(3, 3)[1:, 1:], covariance.reshape(3, 3, 3, 3)[1:, 1:, 1:, 1:]

    def log_volume(metric):
        return torch.linalg.slogdet(metric)[1] / 2

    gradient, hessian = torch.func.grad(log_volume)(g), torch.func.hessian(log_volume)(g)
    shift = (gradient * bias.reshape(3, 3)[1:, 1:]).sum() + (hessian * of_metric).sum() / 2
    spread = torch.einsum("ij,ijkl,kl->", gradient, of_metric, gradient)
    weights, biases = zip(*scales, strict=True)
    found = infgeo.finite_width(infgeo.MLP([name] * len(scales), weight_std=weights, bias_std=biases)).at(x.numpy())
    assert abs(bias[0]) > 1e-3
    for value, expected in (
        (found.kernel_bias, bias[0]),
        (found.kernel_variance, covariance[0, 0]),
        (found.metric_bias, bias.reshape(3, 3)[1:, 1:]),
        (found.log_volume_bias, shift),
        (found.log_volume_variance, spread),
    ):
        np.testing.assert_allclose(value, expected.numpy(), rtol=1e-6, atol=1e-9)


def networks(rng, count, n, x):
    """The kernel, the metric and the log volume at x of erf networks of two layers, by matrices of weights."""
    values, slopes = (
        np.broadcast_to(x[:, None], (count, len(x), 1)),
        np.broadcast_to(np.eye(len(x)), (count, *[len(x)] * 2)),
    )
    for i in range(2):
        w = 1.3 * rng.standard_normal((count, n, values.shape[1])) / (values.shape[1] ** 0.5 if i else 1)
        z = torch.from_numpy(w @ values + 0.4 * rng.standard_normal((count, n, 1)))
        values, slopes = (
            torch.erf(z / 2**0.5).numpy(),
            (2 / np.pi) ** 0.5 * torch.exp(-z * z / 2).numpy() * (w @ slopes),
        )
    metric = np.einsum("bni,bnj->bij", slopes, slopes) / n
    return (values[..., 0] ** 2).mean(1), metric, np.linalg.slogdet(metric)[1] / 2


def test_two_layers_are_those_of_networks():
    """Means over networks at two widths, without their next order; z-scores from batches."""
    mlp, x, rng = (
        infgeo.MLP("erf", depth=2, weight_std=1.3, bias_std=0.4),
        np.array([0.8, 0.5]),
        np.random.default_rng(4),
    )
    geo, found = mlp.numeric(), infgeo.finite_width(mlp).at(x)
    limits = geo.kernel_diag(x), geo.metric(x), geo.log_volume_element(x)
    shifts = []
    for n in (16, 32):
        batches = [networks(rng, 1000, n, x) for _ in range(40)]
        means = [np.stack([batch[i].mean(0) for batch in batches]) for i in range(3)]
        shifts.append([n * (mean - limit) for mean, limit in zip(means, limits, strict=True)])
        spread = n * np.array([batch[0].var() for batch in batches])
        assert abs(spread.mean() - found.kernel_variance) < 0.1 * found.kernel_variance
    z = []
    for one, two, expected in zip(*shifts, (found.kernel_bias, found.metric_bias, found.log_volume_bias), strict=True):
        error = np.hypot(one.std(0, ddof=1), 2 * two.std(0, ddof=1)) / 40**0.5
        z.append(np.ravel((2 * two.mean(0) - one.mean(0) - expected) / error))
    z = np.concatenate(z)
    assert np.abs(z).max() < 4
    assert abs(found.log_volume_bias) > 20 * error  # resolved


def test_shapes_and_layers():
    mlp = infgeo.MLP(["erf", "tanh"], weight_std=[1, 0.7], input_scale="fan_in")
    grid = X.reshape(3, 1, 4)
    found = infgeo.finite_width(mlp).at(grid)
    assert found.kernel_bias.shape == found.log_volume_bias.shape == (3, 1)
    assert found.metric_bias.shape == (3, 1, 4, 4)
    np.testing.assert_allclose(infgeo.finite_width(mlp).at(X[0]).metric_bias, found.metric_bias[0, 0])
    turned = infgeo.finite_width(mlp).at(X[0, ::-1].copy())
    np.testing.assert_allclose(turned.metric_bias, found.metric_bias[0, 0][::-1, ::-1], atol=1e-14)
    assert infgeo.finite_width(mlp).at(np.empty((0, 4))).metric_bias.shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("mlp", "x", "error", "message"),
    [
        ("erf", X, InvalidInput, "mlp is 'erf'"),
        (infgeo.MLP(["erf", infgeo.layers.Residual("erf")]), X, InvalidInput, "dense layers"),
        (infgeo.MLP("erf", depth=2), X * np.nan, InvalidInput, "finite"),
        (infgeo.MLP("erf", depth=2, bias_std=0), X, InvalidInput, "variance 0: give a bias, or drop x = 0"),
        (infgeo.MLP("leaky_relu", depth=2), X, InvalidInput, r"mlp.at\(alpha=...\)"),
        (infgeo.MLP(["erf", "step"]), X, MetricDoesNotExist, "jump"),
        (infgeo.MLP(["erf", "exp(z**2/10)"]), X, ExpectationDiverges, "phi'"),
    ],
)
def test_bad_arguments_are_refused(mlp, x, error, message):
    with pytest.raises(error, match=message):
        infgeo.finite_width(mlp).at(x)


@pytest.mark.parametrize("mlp", [infgeo.MLP("erf", depth=2), infgeo.MLP("tanh")])
def test_where_there_is_no_formula_there_are_values(mlp):
    corrections = infgeo.finite_width(mlp)
    for name in ("metric_covariance", "log_volume_bias", "log_volume_variance", "volume_bias", "ricci_bias"):
        with pytest.raises(NoClosedForm, match=r"infgeo.finite_width\(mlp\).at\(x\)"):
            getattr(corrections, name)
    with pytest.raises(NoClosedForm):
        corrections.determinant_moments(10, 2)
    assert corrections.at(X[0]).log_volume_variance > 0
