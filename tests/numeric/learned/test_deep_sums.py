"""Learned geometry of several layers against linear networks, one layer, and explicit laws that know no lemma."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import infgeo
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NotConverged
from infgeo.finite.differentiate import load_forward_mode
from infgeo.numeric.learned.deep_sums import deep_sums

XOR = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
LABELS = np.array([-1.0, 1, 1, -1])
DEEP = infgeo.MLP("erf", depth=2)
PLANE = np.array([[0.3, -0.4], [0.0, 0.0], [1.0, 1.0], [-2.0, 0.7]])


def assert_within(found, expected, error, rounding=1e-6):
    """Compare numbers that have standard errors, or of a quadrature differences of two rules."""
    z = (found - expected) / (error + rounding * np.abs(expected).max())
    assert np.abs(z).max() < 5, z  # standard errors of eight nets have 7 degrees of freedom


@pytest.mark.parametrize(("depth", "examples"), [(1, 1), (2, 1), (2, 3), (3, 3)])
def test_linear_networks_learn_alike_in_every_layer(depth, examples):
    """Without biases K^l is x'y at unit scale, and every layer adds K M K to its shift."""
    rng = np.random.default_rng(depth)
    X, y, x = rng.standard_normal((examples, 2)), rng.standard_normal((examples, 2)), rng.standard_normal((3, 2))
    x[0] = X[0]  # where the training points determine the preactivation
    learned = infgeo.learned(infgeo.MLP("identity", depth=depth, weight_std=1, bias_std=0), X, y, 0.3)
    inverse = np.linalg.inv(X @ X.T + 0.3 * np.eye(examples))
    M = inverse @ y @ y.T @ inverse - 2 * inverse
    for layer in range(1, depth + 1):
        shift = layer * X.T @ M @ X
        metric, error = learned.metric(x, layer=layer), learned.standard_error(x, layer=layer)
        assert_within(metric, np.broadcast_to(shift, metric.shape), error)
        size = np.abs(x @ shift @ x.T).max()
        assert_within(learned.kernel(x, layer=layer), x @ shift @ x.T, learned.standard_error(x, "kernel", layer=layer))
        assert learned.standard_error(x, "kernel", layer=layer).max() < 0.01 * size
        assert_within(learned.volume_shift(x, layer=layer), np.trace(shift) / 2, 2 * np.abs(error).max())


def nodes_of(covariance, count):
    """Gauss-Hermite nodes for a Gaussian law that may be degenerate, (N, q), and their weights."""
    line, mass = np.polynomial.hermite_e.hermegauss(count)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-12 * values[-1]
    grids = [np.meshgrid(*[part] * int(kept.sum()), indexing="ij") for part in (line, mass / mass.sum())]
    standard, masses = (np.stack([axis.ravel() for axis in part], -1) for part in grids)
    weights = masses.prod(1)
    return standard @ (vectors[:, kept] * values[kept] ** 0.5).T, weights


CASES = {
    "erf": (lambda z: torch.erf(z / 2**0.5), lambda z: (2 / np.pi) ** 0.5 * torch.exp(-z * z / 2)),
    "tanh": (torch.tanh, lambda z: 1 - torch.tanh(z) ** 2),
}
WEIGHT, BIAS, NOISE = 0.6, 0.4, 0.1


def explicit_shifts(name, depth, X, Y, x, counts):
    """Shifts of second moments of features at one coordinate, in all layers of a network, by Gauss-Hermite rules.

    Of (z_x, dz_x, z_y, z_a, ...) the features are (phi_x, phi'_x dz_x, phi_y, phi_a, ...): no lemma is used, and
    derivatives are automatic.
    """
    phi, slope = CASES[name]
    data = slice(3, None)

    def moments(z, mass, factor=1.0):
        f = torch.stack([phi(z[:, 0]), slope(z[:, 0]) * z[:, 1], *phi(z[:, 2:]).T], -1)
        return f, (f * (mass * factor)[:, None]).T @ f

    def next_law(second):
        has_bias = torch.tensor([1.0, 0.0] + [1.0] * (len(second) - 2), dtype=torch.float64)  # a derivative has none
        return BIAS**2 * torch.outer(has_bias, has_bias) + WEIGHT**2 * second

    def next_moments(second):
        z, mass = map(torch.from_numpy, nodes_of(np.eye(len(second)), counts[2]))
        return moments(z @ torch.linalg.cholesky(next_law(second)).T, mass)[1]

    def entering(z, mass, matrix):
        f, _ = moments(z, mass)
        h = ((f[:, data] @ matrix) * f[:, data]).sum(1)
        return moments(z, mass, h - mass @ h)[1]

    linear = np.array([[x[0, 0], 1.0], [1.0, 0.0], [x[1, 0], 1.0], *np.c_[X, np.ones(len(X))]])  # of (w, b)
    units, second = [nodes_of(linear @ np.diag([WEIGHT**2, BIAS**2]) @ linear.T, counts[0])], []
    for layer in range(depth):
        if layer > 0:
            units.append(nodes_of(next_law(second[-1]).numpy(), counts[1]))
        units[-1] = tuple(map(torch.from_numpy, units[-1]))
        second.append(moments(*units[-1])[1])
    inverse = np.linalg.inv(second[-1][data, data].numpy() + NOISE * np.eye(len(X)))
    matrices = [torch.from_numpy(inverse @ Y @ Y.T @ inverse - inverse) / 2]
    for value in second[-2::-1]:
        backward = torch.func.grad(lambda v: (matrices[0] * next_moments(v)[data, data]).sum())(value)[data, data]
        matrices.insert(0, (backward + backward.T) / 2)
    load_forward_mode()
    shifts: list[torch.Tensor] = []
    for layer in range(depth):
        shift = entering(*units[layer], matrices[layer])
        if layer > 0:
            shift = shift + torch.func.jvp(next_moments, (second[layer - 1],), (shifts[-1],))[1]
        shifts.append(shift)
    return [shift.numpy() for shift in shifts]


@pytest.mark.parametrize(("name", "examples", "depth"), [("erf", 1, 3), ("erf", 2, 2), ("tanh", 2, 2)])
def test_layers_are_covariances_and_derivatives_of_explicit_laws(name, examples, depth):
    X, Y, x = np.array([[0.9], [-0.4]])[:examples], np.array([[1.5], [0.3]])[:examples], np.array([[0.5], [-1.1]])
    rules = ((30, 15, 13), (24, 12, 11)) if examples == 1 else ((40, 12, 10), (30, 10, 8))
    fine, coarse = (explicit_shifts(name, depth, X, Y, x, counts) for counts in rules)
    learned = infgeo.learned(infgeo.MLP(name, depth=depth, weight_std=WEIGHT, bias_std=BIAS), X, Y, NOISE)
    assert learned.kind == ("quadrature" if examples == 1 else "nets")
    for layer, shift, other in zip(range(1, depth + 1), fine, coarse, strict=True):
        gap = np.abs(shift - other)
        of_kernel, of_metric = (learned.standard_error(x, kind, layer=layer) for kind in ("kernel", "metric"))
        metric, kernel = learned.metric(x[:1], layer=layer)[0, 0, 0], learned.kernel(x, layer=layer)
        assert_within(metric, shift[1, 1], of_metric[0, 0, 0] + gap[1, 1], 1e-8)
        assert_within(kernel, shift[[0, 2]][:, [0, 2]], of_kernel + gap[[0, 2]][:, [0, 2]], 1e-8)
        assert of_metric[0, 0, 0] + gap[1, 1] < 0.005 * abs(shift[1, 1])


@pytest.mark.parametrize("name", ["erf", "relu"])
def test_one_layer_is_that_of_sums_over_its_weights(name):
    """The same shifts by nets in the weights and by nets in the values at the training points."""
    learned = infgeo.learned(infgeo.MLP(name), XOR, LABELS, 0.2)
    sums = deep_sums(learned.mlp, XOR, learned._matrix)
    metric, error = sums.metric(PLANE, 1)
    assert_within(metric, learned.metric(PLANE), np.hypot(error, learned.standard_error(PLANE)))
    kernel, error = sums.kernel(PLANE, XOR[:2], 1)
    assert_within(
        kernel, learned.kernel(PLANE, XOR[:2]), np.hypot(error, learned.standard_error(PLANE, "kernel").max())
    )


def test_equal_points_and_gram_matrices():
    """Two labels at a point are their mean with half the noise, and a Gram matrix of shifts is symmetric."""
    twice, once = XOR[[0, 0, 1, 1]], XOR[:2]
    one = infgeo.learned(DEEP, twice, np.array([1.0, 0.2, -0.7, -0.1]), 0.1)
    other = infgeo.learned(DEEP, once, np.array([0.6, -0.4]), 0.05)
    for layer in (1, 2):
        error = np.hypot(one.standard_error(PLANE, layer=layer), other.standard_error(PLANE, layer=layer))
        assert_within(one.metric(PLANE, layer=layer), other.metric(PLANE, layer=layer), error)
    gram = one.kernel(PLANE)
    np.testing.assert_array_equal(gram, gram.T)
    assert_within(one.kernel(PLANE[1:], PLANE[:1])[:, 0], gram[0, 1:], one.standard_error(PLANE, "kernel")[0, 1:])


def test_layers_scales_and_shapes():
    X, y, x = XOR[:1], np.array([2.0]), PLANE[[0, 2]]
    mixed = infgeo.MLP(["erf", "tanh"], weight_std=[1, 1.3], bias_std=[0, 0.4], input_scale="fan_in")
    learned = infgeo.learned(mixed, X, y, 0.3)
    metric, first = learned.metric(x), learned.metric(x, layer=1)
    assert learned.kernel(x[None], X).shape == (1, 2, 1)
    assert learned.metric(np.empty((0, 2))).shape == (0, 2, 2)
    np.testing.assert_array_equal(learned.metric(x, layer=2), metric)
    np.testing.assert_allclose(learned.metric(x[1]), metric[1], rtol=1e-10)
    np.testing.assert_array_equal(learned.metric(torch.from_numpy(x[None])).numpy(), metric[None])
    for other in (pickle.loads(pickle.dumps(learned)), copy.deepcopy(learned)):
        np.testing.assert_array_equal(other.metric(x, layer=1), first)
    prior = infgeo.MLP(["erf"], weight_std=[1], bias_std=[0], input_scale="fan_in").numeric().metric(x)
    for layer, limit, shift in ((1, prior, first), (2, mixed.numeric().metric(x), metric)):
        volumes = [np.linalg.slogdet(limit + step * shift)[1] / 2 for step in (1e-6, -1e-6)]
        np.testing.assert_allclose(learned.volume_shift(x, layer=layer), (volumes[0] - volumes[1]) / 2e-6, atol=1e-6)
    np.testing.assert_allclose(learned.volume_shift(x, width=50), learned.volume_shift(x) / 50)
    biased = mixed.numeric().metric(x) + (infgeo.finite_width(mixed).at(x).metric_bias + metric) / 50
    np.testing.assert_allclose(learned.metric(x, width=50), biased)
    np.testing.assert_allclose(learned.metric(x, width=50, layer=1), prior + first / 50)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one: one.metric(PLANE, layer=3), "layer is 3, the network has 2: pass one of 1 to 2"),
        (lambda one: one.kernel(PLANE, layer=0), "layer is 0"),
        (lambda one: one.kernel(PLANE, width=10), "take the shift"),
        (lambda one: one.ricci_shift(PLANE), "ricci_shift is that of one layer"),
        (lambda one: one.metric(torch.tensor(PLANE, requires_grad=True)), r"x\.detach\(\)"),
        (lambda one: one.metric(np.zeros(3)), "3 coordinates"),
        (lambda _: infgeo.learned(DEEP, XOR, LABELS, rule="gradient_step", learning_rate=1), "rule='posterior'"),
        (lambda _: infgeo.learned(DEEP, np.zeros((1001, 2)), np.zeros(1001), 0.1), "1 to 1000 training points"),
        (
            lambda _: infgeo.learned(infgeo.MLP(["erf", infgeo.layers.Residual("erf")]), XOR, LABELS, 0.1),
            "dense layers",
        ),
    ],
)
def test_bad_arguments_are_refused_with_a_remedy(call, message):
    learned = infgeo.learned(DEEP, XOR[:1], LABELS[:1], 0.1)
    with pytest.raises(InvalidInput, match=message):
        call(learned)


def test_what_does_not_exist_is_said():
    with pytest.raises(MetricDoesNotExist):
        infgeo.learned(infgeo.MLP(["erf", "step"]), XOR, LABELS, 0.1).kernel(PLANE)
    with pytest.raises(NotConverged, match="smaller norm"):  # phi'(z)^2 is large in very few nodes
        infgeo.learned(DEEP, XOR, LABELS, 0.1).metric(np.array([2e4, 0.0]))
    with pytest.raises(ExpectationDiverges, match="E\\[phi\\^4\\]"):
        infgeo.learned(infgeo.MLP(["erf", "exp(z**2/10)"]), XOR, LABELS, 0.1).kernel(PLANE)
