"""The learned metric of ReLU and its kin against integrals over the angles of the weights, nets and differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import leggauss

import infgeo
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.numeric.learned.relu_form import relu_form

# name -> slopes below and above 0
SLOPES = {"relu": (0.0, 1.0), "leaky_relu": (0.2, 1.0), "abs(z)": (-1.0, 1.0), "max(2*z, -z/2)": (-0.5, 2.0)}
NODES, MASSES = leggauss(48)


def network(name, **scales):
    mlp = infgeo.MLP(name, **scales)
    return mlp.at(alpha=0.2) if name == "leaky_relu" else mlp


def panels(ends):
    """Nodes and masses of Gauss-Legendre rules between ends."""
    low, high = ends[:-1, None], ends[1:, None]
    return ((low + high + (high - low) * NODES) / 2).ravel(), ((high - low) / 2 * MASSES).ravel()


def over_angles(name, X, y, noise, x, sigma_w, sigma_b):
    """The shift at x by an integral over the angle of the weights, of which there are two, bias included."""
    below, above = SLOPES[name]
    scales = np.r_[[sigma_w] * X.shape[1], sigma_b]
    points = (np.pad(np.vstack([X, x]), ((0, 0), (0, 1)), constant_values=1) * scales)[:, scales > 0]
    normal = np.arctan2(points[:, 1], points[:, 0]) + np.pi / 2
    kinks = np.unique(np.r_[normal, normal + np.pi] % (2 * np.pi))
    angle, mass = panels(np.r_[kinks, kinks[0] + 2 * np.pi])
    mass /= 2 * np.pi
    w = np.stack([np.cos(angle), np.sin(angle)], 1)
    z = w @ points.T
    phi, slope = np.where(z > 0, above * z, below * z)[:, :-1], np.where(z > 0, above, below)[:, -1]
    inverse = np.linalg.inv(2 * (phi.T * mass) @ phi + noise * np.eye(len(X)))  # the mean of |w|^2 is 2
    h = ((phi @ (np.outer(inverse @ y, inverse @ y) - inverse)) * phi).sum(1) / 2
    outer = 8 * np.einsum("n,ni,nj->ij", mass * slope**2 * h, w, w)  # of |w|^4 it is 8
    outer -= 4 * (mass @ h) * np.einsum("n,ni,nj->ij", mass * slope**2, w, w)
    scales = scales[scales > 0]
    return (outer * np.outer(scales, scales))[: X.shape[1], : X.shape[1]]


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize(("dimension", "sigma_w", "sigma_b"), [(2, 1.3, 0.0), (1, 0.7, 0.9)])
def test_metric_is_an_integral_over_the_angle_of_the_weights(name, dimension, sigma_w, sigma_b):
    """Also where x is a training point, opposite to one, close to one, tiny or large."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((5, dimension)), rng.standard_normal(5)
    learned = infgeo.learned(network(name, weight_std=sigma_w, bias_std=sigma_b), X, y, 0.3)
    assert learned.kind == "closed form"
    beside = rng.standard_normal(dimension)
    x = np.array([beside, X[0], -X[1], X[2] * (1 + 1e-9), X[2] + 1e-7 * beside, -X[3] + 1e-12, 1e-9 * X[4], 1e5 * X[4]])
    expected = np.array([over_angles(name, X, y, 0.3, point, sigma_w, sigma_b) for point in x])
    np.testing.assert_allclose(learned.metric(x), expected, rtol=0, atol=3e-14 * np.abs(expected).max())
    geo = network(name, weight_std=sigma_w, bias_std=sigma_b).numeric()
    traces = np.einsum("mij,mji->m", np.linalg.inv(geo.metric(x)), expected) / 2
    np.testing.assert_allclose(learned.volume_shift(x), traces, rtol=0, atol=1e-13 * np.abs(traces).max())
    np.testing.assert_array_equal(learned.standard_error(x), 0)


def over_sphere(below, above, a, b, x):
    """The mean of w w phi'(z_x)^2 phi(z_a) phi(z_b) over three weights of variance 1, less that of h = 1."""

    def phi(z):
        return np.where(z > 0, above * z, below * z)

    # In coordinates whose third axis is normal to b and x, their signs depend on the azimuth alone.
    frame = np.linalg.qr(np.stack([b, x, np.cross(b, x)], 1))[0].T
    a, b, x = frame @ a, frame @ b, frame @ x
    normal = np.array([np.arctan2(b[1], b[0]), np.arctan2(x[1], x[0])]) + np.pi / 2
    kinks = np.unique(np.r_[normal, normal + np.pi] % (2 * np.pi))
    full, slopes, product = np.zeros((3, 3)), np.zeros((3, 3)), 0.0
    for azimuth, width in zip(*panels(np.r_[kinks, kinks[0] + 2 * np.pi]), strict=True):
        kink = np.arctan2(a[2], -a[0] * np.cos(azimuth) - a[1] * np.sin(azimuth)) % np.pi
        angle, mass = panels(np.array([0, kink, np.pi]))
        mass = mass * np.sin(angle) * width / (4 * np.pi)
        w = np.stack([np.sin(angle) * np.cos(azimuth), np.sin(angle) * np.sin(azimuth), np.cos(angle)], 1)
        both, slope = phi(w @ a) * phi(w @ b), np.where(w @ x > 0, above, below) ** 2
        product += 3 * (mass @ both)  # |w|^2 and |w|^4 have the means 3 and 15
        full += 15 * np.einsum("n,ni,nj->ij", mass * both * slope, w, w)
        slopes += 3 * np.einsum("n,ni,nj->ij", mass * slope, w, w)
    return frame.T @ (full - product * slopes) @ frame


@pytest.mark.parametrize("name", SLOPES)
def test_three_points_that_are_not_in_a_plane(name):
    rng = np.random.default_rng(2)
    for _ in range(3):
        a, b, x = rng.standard_normal((3, 3))
        inputs = np.array([np.r_[a, 1.0], np.r_[b, 1.0]])
        activation, weights = network(name).layers[0].activation, np.array([[0, 0.5], [0.5, 0]])
        form = relu_form(activation, np.array([1.0, 1, 1, 0]), inputs, weights)
        expected = over_sphere(*SLOPES[name], a, b, x)
        np.testing.assert_allclose(form.metric(x[None])[0], expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_metric_is_that_of_nets_within_their_errors():
    rng = np.random.default_rng(3)
    X, Y, x = rng.standard_normal((30, 4)), rng.standard_normal((30, 2)), rng.standard_normal((6, 4))
    closed, nets = (infgeo.learned(infgeo.MLP("relu", weight_std=1, bias_std=0.5), X, Y, 0.3) for _ in range(2))
    vars(nets)["_closed"] = None
    assert (closed.kind, nets.kind) == ("closed form", "nets")
    z = (nets.metric(x) - closed.metric(x)) / nets.standard_error(x)
    assert np.abs(z).max() < 6  # of Student's law with 7 degrees of freedom
    assert np.sqrt(np.square(z).mean()) < 1.6
    assert nets.standard_error(x).max() < 0.02 * np.abs(closed.metric(x)).max()


def test_many_points_are_summed_in_blocks():
    rng = np.random.default_rng(4)
    X, y, x = rng.standard_normal((300, 2)), rng.standard_normal(300), rng.standard_normal((400, 2))
    X[7], X[8] = 0, -X[9]
    learned = infgeo.learned(infgeo.MLP("relu", weight_std=1.3, bias_std=0), X, y, 5.0)
    found = learned.metric(x)
    for i in (0, 250, 399):
        expected = over_angles("relu", X, y, 5.0, x[i], 1.3, 0.0)
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        np.testing.assert_allclose(learned.metric(x[i]), found[i], rtol=1e-12)
    assert learned.metric(x[:0]).shape == (0, 2, 2)


@pytest.mark.parametrize("name", SLOPES)
def test_tensors_give_the_same_and_have_derivatives(name):
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((4, 2)), rng.standard_normal(4)
    learned = infgeo.learned(network(name, weight_std=1, bias_std=0), X, y, 0.3)
    points = np.vstack([X[:2], -X[2:3], rng.standard_normal((2, 2))])
    x = torch.tensor(points, requires_grad=True)
    np.testing.assert_allclose(learned.metric(x).detach().numpy(), learned.metric(points), rtol=1e-13)
    assert torch.autograd.gradcheck(learned.metric, (x[3:].detach().requires_grad_(),))
    assert torch.autograd.gradcheck(learned.volume_shift, (x[3:].detach().requires_grad_(),))
    # At training points and opposite to them the derivative is continuous.
    (gradient,) = torch.autograd.grad(learned.metric(x)[:3, 0, 1].sum(), x)
    for i, step in enumerate(1e-6 * np.eye(2)):
        change = learned.metric(points + step) - learned.metric(points - step)
        np.testing.assert_allclose(gradient[:3, i], change[:3, 0, 1] / 2e-6, rtol=0, atol=3e-6)


def test_the_limit_at_0_and_other_kinks_are_refused_with_a_remedy():
    X, y = np.array([[1.0, 0.5], [-0.3, 0.8]]), np.array([1.0, -1.0])
    learned = infgeo.learned(infgeo.MLP("relu", weight_std=1, bias_std=0), X, y, 0.3)
    with pytest.raises(InvalidInput, match=r"point 0.*beside it"):
        learned.metric(np.zeros(2))
    assert np.isfinite(learned.metric(np.array([1e-200, 0]))).all()
    # That of |z| is the same everywhere.
    modulus = infgeo.learned(infgeo.MLP("abs(z)", weight_std=1, bias_std=0), X, y, 0.3)
    np.testing.assert_array_equal(modulus.metric(np.zeros(2)), modulus.metric(X)[1])
    for name in ("relu6", "softplus", "max(z, -1)"):
        with pytest.raises(NoClosedForm, match="below 0"):
            relu_form(infgeo.MLP(name).layers[0].activation, np.ones(3), np.ones((1, 3)), np.ones((1, 1)))
