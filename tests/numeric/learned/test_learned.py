"""Learned geometry against quadrature over all weights, sampled weights, finite differences and simulated steps."""

from __future__ import annotations

import copy
import pickle
from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import erf

import infgeo
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NoClosedForm, NotConverged

XOR = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
LABELS = np.array([-1.0, 1, 1, -1])
PLANE = np.array([[0.3, -0.4], [0.0, 0.0], [1.0, 1.0], [-2.0, 0.7]])
# name -> phi, phi'
FUNCTIONS = {
    "erf": (lambda z: erf(z / 2**0.5), lambda z: (2 / np.pi) ** 0.5 * np.exp(-z * z / 2)),
    "gaussian": (lambda z: np.exp(-z * z / 2), lambda z: -z * np.exp(-z * z / 2)),
    "square": (lambda z: z * z, lambda z: 2 * z),
    "probit": (lambda z: (1 + erf(z / 2**0.5)) / 2, lambda z: np.exp(-z * z / 2) / (2 * np.pi) ** 0.5),
    "erf(z) + z/2": (lambda z: erf(z) + z / 2, lambda z: 2 / np.pi**0.5 * np.exp(-z * z) + 0.5),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
    "exp(z/2)": (lambda z: np.exp(z / 2), lambda z: np.exp(z / 2) / 2),
}
CLOSED = ("erf", "gaussian", "square", "probit", "erf(z) + z/2")


def extended(x):
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def weight_of_learning(name, nodes, mass, X, Y, noise):
    """The centred h of a posterior at nodes, from the definition; the kernel is a sum over the nodes too."""
    phi = FUNCTIONS[name][0](nodes @ extended(X).T)
    kernel = (phi * mass[:, None]).T @ phi
    inverse = np.linalg.inv(kernel + noise * np.eye(len(X)))
    h = ((phi @ (inverse @ Y @ Y.T @ inverse - Y.shape[1] * inverse)) * phi).sum(1) / 2
    return h - mass @ h


def brute_force(name, X, y, noise, x, sigma_w=1.0, sigma_b=1.0, step=0.2, edge=8.0):
    """The shift of the metric by a trapezoidal rule over all weights."""
    d = X.shape[1]
    line = np.arange(-edge, edge + step / 2, step)
    w = np.array(list(product(line, repeat=d + (sigma_b > 0))))
    w = w[np.square(w).sum(1) < edge**2]
    mass = np.exp(-np.square(w).sum(1) / 2)
    mass /= mass.sum()
    w = np.c_[w[:, :d] * sigma_w, w[:, d] * sigma_b if sigma_b else np.zeros(len(w))]
    h = weight_of_learning(name, w, mass, X, y.reshape(len(X), -1), noise)
    slope = FUNCTIONS[name][1](w @ extended(x).T) ** 2
    return np.einsum("nm,ni,nj->mij", slope * (h * mass)[:, None], w[:, :d], w[:, :d], optimize=True)


@pytest.mark.parametrize("name", [*CLOSED, "tanh", "exp(z/2)"])
def test_metric_is_that_of_quadrature_over_all_weights(name):
    learned = infgeo.learned(infgeo.MLP(name, weight_std=0.9, bias_std=0.5), XOR, LABELS, 0.2)
    assert learned.kind == ("closed form" if name in CLOSED else "quadrature")
    wide = {"step": 0.25, "edge": 11.0} if name == "exp(z/2)" else {}
    expected = brute_force(name, XOR, LABELS, 0.2, PLANE, 0.9, 0.5, **wide)
    size, error = np.abs(expected).max(), learned.standard_error(PLANE)
    assert np.all(np.abs(learned.metric(PLANE) - expected) <= error + 1e-8 * size)
    assert np.all(error <= (0 if name in CLOSED else 1e-2 * size))


def test_several_outputs_one_dimension_and_no_bias():
    X, Y = np.array([[0.5], [-1.0], [2.0]]), np.array([[1.0, 0.0], [0.3, -1.0], [0.0, 2.0]])
    x = np.array([[0.2], [1.5]])
    learned = infgeo.learned(infgeo.MLP("erf", weight_std=1.3, bias_std=0), X, Y, 0.5)
    expected = brute_force("erf", X, Y, 0.5, x, 1.3, 0.0, step=0.05)
    np.testing.assert_allclose(learned.metric(x), expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(learned.ricci_shift(x), 0, atol=1e-15)
    fan_in = infgeo.learned(infgeo.MLP("erf", weight_std=1.3, bias_std=0.2, input_scale="fan_in"), XOR, LABELS, 0.5)
    plain = infgeo.learned(infgeo.MLP("erf", weight_std=1.3 / 2**0.5, bias_std=0.2), XOR, LABELS, 0.5)
    np.testing.assert_allclose(fan_in.metric(PLANE), plain.metric(PLANE), atol=1e-14)


def test_many_training_points_and_inputs_are_summed_in_blocks():
    rng = np.random.default_rng(3)
    X, y, x = rng.standard_normal((230, 1)), rng.standard_normal(230), rng.standard_normal((50, 1))
    learned = infgeo.learned(infgeo.MLP("erf", weight_std=1, bias_std=1), X, y, 0.5)
    expected = brute_force("erf", X, y, 0.5, x, step=0.1)
    np.testing.assert_allclose(learned.metric(x), expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(learned.metric(x[7]), learned.metric(x)[7], rtol=1e-12)


@pytest.mark.parametrize("name", ["erf", "relu"])
def test_metric_and_kernel_are_those_of_sampled_weights(name):
    """In three dimensions, where nothing is a product rule; z-scores from batches."""
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((5, 3)), rng.standard_normal(5)
    x = np.array([[0.4, -0.2, 0.9], [0.0, 0.0, 0.0]])
    learned = infgeo.learned(infgeo.MLP(name, weight_std=1, bias_std=1), X, y, 0.3)
    metrics, kernels = [], []
    for _ in range(30):
        w = rng.standard_normal((40_000, 4))
        mass = np.full(len(w), 1 / len(w))
        phi, slope = (f(w @ extended(x).T) for f in FUNCTIONS[name])
        h = weight_of_learning(name, w, mass, X, y[:, None], 0.3) * mass
        metrics.append(np.einsum("nm,ni,nj->mij", slope**2 * h[:, None], w[:, :3], w[:, :3]))
        kernels.append(phi.T @ (phi * h[:, None]))
    for values, found, error in (
        (np.array(metrics), learned.metric(x), learned.standard_error(x)),
        (np.array(kernels), learned.kernel(x), learned.standard_error(x, "kernel")),
    ):
        z = (values.mean(0) - found) / np.hypot(values.std(0, ddof=1) / 30**0.5, error)
        assert np.abs(z).max() < 4
        assert np.abs(z).mean() < 1.3


def scalar_curvature(metric, x):
    """R from the Christoffel symbols of a metric, by automatic differentiation: it knows no layer."""
    first = torch.func.jacfwd(metric)

    def symbols(at):
        dg, inverse = first(at), torch.linalg.inv(metric(at))
        lower = (torch.einsum("ijk->ijk", dg) + torch.einsum("ikj->ijk", dg) - torch.einsum("jki->ijk", dg)) / 2
        return torch.einsum("il,ljk->ijk", inverse, lower)

    gamma, dgamma = symbols(x), torch.func.jacfwd(symbols)(x)
    ricci = torch.einsum("ijki->jk", dgamma) - torch.einsum("iijk->jk", dgamma)
    ricci = ricci + torch.einsum("iil,ljk->jk", gamma, gamma) - torch.einsum("ikl,lij->jk", gamma, gamma)
    return (torch.linalg.inv(metric(x)) * ricci).sum()


@pytest.mark.parametrize("dimension", [2, 3])
def test_ricci_shift_is_the_derivative_of_the_curvature(dimension):
    rng = np.random.default_rng(dimension)
    X, y, x = rng.standard_normal((4, dimension)), rng.standard_normal(4), rng.standard_normal((2, dimension))
    mlp = infgeo.MLP("erf", weight_std=1, bias_std=1)
    learned = infgeo.learned(mlp, X, y, 0.3)

    def changed(step):
        def metric(at):
            q = 3 + 2 * at @ at  # 1 + 2 (sigma_b^2 + sigma_w^2 s), sigma_w = sigma_b = 1
            prior = 2 / np.pi * (torch.eye(dimension) / q**0.5 - 2 * torch.outer(at, at) / q**1.5)
            return prior + step * learned._closed.metric(at[None])[0]

        return metric

    for point, found in zip(x, learned.ricci_shift(x), strict=True):
        at = torch.from_numpy(point)
        up, down = (float(scalar_curvature(changed(step), at)) for step in (1e-4, -1e-4))
        assert float(scalar_curvature(changed(0.0), at)) == pytest.approx(float(mlp.numeric().ricci_scalar(point)))
        assert (up - down) / 2e-4 == pytest.approx(float(found), rel=1e-5)


def test_ricci_shift_by_quadrature_is_that_of_the_closed_form():
    closed, sums = (infgeo.learned(infgeo.MLP("erf", weight_std=1, bias_std=1), XOR, LABELS, 0.1) for _ in range(2))
    vars(sums)["_closed"] = None
    assert (closed.kind, sums.kind) == ("closed form", "quadrature")
    np.testing.assert_allclose(sums.ricci_shift(PLANE), closed.ricci_shift(PLANE), rtol=1e-5)


def test_width_gives_the_value_of_a_network():
    mlp = infgeo.MLP("erf", weight_std=1, bias_std=1)
    learned, geo = infgeo.learned(mlp, XOR, LABELS, 0.1), mlp.numeric()
    np.testing.assert_allclose(learned.metric(PLANE, width=50), geo.metric(PLANE) + learned.metric(PLANE) / 50)
    np.testing.assert_allclose(learned.kernel(PLANE, width=50), geo.kernel(PLANE) + learned.kernel(PLANE) / 50)
    step = 1e-6
    log_volume = [np.linalg.slogdet(geo.metric(PLANE) + e * learned.metric(PLANE))[1] / 2 for e in (step, -step)]
    np.testing.assert_allclose(learned.volume_shift(PLANE), (log_volume[0] - log_volume[1]) / (2 * step), rtol=1e-6)
    for name in ("volume_shift", "ricci_shift"):
        method = getattr(learned, name)
        np.testing.assert_allclose(method(PLANE, width=20), method(PLANE) / 20)


@pytest.mark.parametrize("name", ["erf", "gaussian"])
def test_tensors_give_the_same_and_have_derivatives(name):
    learned = infgeo.learned(infgeo.MLP(name, weight_std=1, bias_std=1), XOR, LABELS, 0.1)
    x = torch.tensor(PLANE[[0, 3]], requires_grad=True)
    for method in (learned.metric, learned.volume_shift, learned.ricci_shift, learned.kernel):
        np.testing.assert_allclose(method(x).detach().numpy(), method(PLANE[[0, 3]]), rtol=1e-10)
    assert torch.autograd.gradcheck(learned.metric, (x,))
    assert torch.autograd.gradcheck(learned.volume_shift, (x,))
    single = learned.metric(x.detach().float())
    assert single.dtype == torch.float32
    assert learned.metric(PLANE.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(single.numpy(), learned.metric(PLANE[[0, 3]]), rtol=1e-5)


def test_shapes_broadcast_over_leading_axes():
    learned = infgeo.learned(infgeo.MLP("erf"), XOR, LABELS, 0.1)
    grid = PLANE.reshape(2, 2, 2)
    assert learned.metric(grid).shape == (2, 2, 2, 2)
    assert learned.volume_shift(grid).shape == learned.ricci_shift(grid).shape == (2, 2)
    assert learned.volume_shift(PLANE[0]).shape == ()
    assert learned.kernel(PLANE, XOR[:3]).shape == (4, 3)
    assert learned.metric(np.empty((0, 2))).shape == (0, 2, 2)
    np.testing.assert_array_equal(learned.metric(grid).reshape(4, 2, 2), learned.metric(PLANE))


def test_equal_points_with_other_labels_are_those_of_their_means():
    """Two labels at a point are one, their mean, with half the noise; where the noise is small, digits are lost."""
    mlp, twice = infgeo.MLP("erf"), XOR[[0, 0, 1, 1]]
    labels = np.array([1.0, 0.2, -0.7, -0.1])
    value = infgeo.learned(mlp, twice, labels, 0.1).metric(PLANE)
    # The determinant of the noise enters the prior term alone, which equal points share.
    merged = infgeo.learned(mlp, XOR[:2], np.array([0.6, -0.4]), 0.05).metric(PLANE)
    np.testing.assert_allclose(value, merged, rtol=1e-9)
    for noise, y in ((1e-6, labels), (0.1, 1e160 * labels)):
        with pytest.raises(InvalidInput, match="digits are lost"):
            infgeo.learned(mlp, twice, y, noise).metric(PLANE)


def test_the_symmetry_of_the_task_is_that_of_the_shift():
    learned = infgeo.learned(infgeo.MLP("erf"), XOR, LABELS, 0.1)
    flip = np.array([[0.0, 1], [1, 0]])  # exchanges the coordinates, and keeps the labels
    np.testing.assert_allclose(learned.metric(PLANE @ flip), flip @ learned.metric(PLANE) @ flip, atol=1e-13)
    np.testing.assert_allclose(learned.metric(-PLANE), learned.metric(PLANE), atol=1e-13)
    opposite = infgeo.learned(infgeo.MLP("erf"), XOR, -LABELS, 0.1)
    np.testing.assert_allclose(opposite.metric(PLANE), learned.metric(PLANE), rtol=1e-13)


def step_of_networks(rng, networks, width, X, y, eta, mean_field):
    """Return what a step of gradient descent does to the metric at PLANE[0], by hand-written erf networks.

    In mean-field parametrisation what the labels do: the rest falls with the width.
    """
    phi, slope = FUNCTIONS["erf"]
    at = np.r_[PLANE[0], 1.0]
    w, a = rng.standard_normal((networks, width, 3)), rng.standard_normal((networks, width))
    z = w @ extended(X).T

    def metric(w):
        s = slope(w @ at) ** 2
        return np.einsum("bn,bni,bnj->bij", s, w[..., :2], w[..., :2]) / width

    change, scale, rate = 0.0, (width if mean_field else width**0.5), (eta * width if mean_field else eta)
    for labels, weight in ((y, 1), (0 * y, -1)) if mean_field else ((y, 1),):
        for sign in (1, -1):  # of the readout, whose odd powers drop out
            f = np.einsum("bn,bna->ba", sign * a, phi(z)) / scale
            pull = np.einsum("ba,bn,bna->bna", labels - f, sign * a, slope(z)) / scale
            change = change + weight * metric(w + rate * pull @ extended(X)) / 2
    return change if mean_field else change - metric(w)


@pytest.mark.parametrize(("parametrisation", "eta"), [("ntk", 0.6), ("mean_field", 0.03)])
def test_gradient_step_is_that_of_simulated_networks(parametrisation, eta):
    rng = np.random.default_rng(11)
    mlp = infgeo.MLP("erf", weight_std=1, bias_std=1)
    learned = infgeo.learned(mlp, XOR, LABELS, rule="gradient_step", learning_rate=eta, parametrisation=parametrisation)
    assert learned.kind == "closed form"
    mean_field = parametrisation == "mean_field"
    width = 400
    batches = []
    for _ in range(40):
        batches.append(step_of_networks(rng, 250, width, XOR, LABELS, eta, mean_field).mean(0))
    shifts = np.array(batches) * (1 if mean_field else width)
    error = shifts.std(0, ddof=1) / len(shifts) ** 0.5
    z = (shifts.mean(0) - learned.metric(PLANE[0])) / error
    assert np.abs(z).max() < 4, (shifts.mean(0), error, learned.metric(PLANE[0]))
    assert np.abs(learned.metric(PLANE[0])).max() > 8 * error.max()  # resolved


def test_labels_may_be_lists_tensors_columns_and_whole_numbers():
    expected = infgeo.learned(infgeo.MLP("erf"), XOR, LABELS, 0.1).metric(PLANE)
    for X, y in (
        (XOR.tolist(), LABELS.tolist()),
        (torch.tensor(XOR), torch.tensor(LABELS)),
        (XOR, LABELS[:, None]),
        (XOR, LABELS.astype(int)),
    ):
        np.testing.assert_allclose(infgeo.learned(infgeo.MLP("erf"), X, y, 0.1).metric(PLANE), expected, rtol=1e-14)


def test_pickles_and_copies():
    learned = infgeo.learned(infgeo.MLP("erf"), XOR, LABELS, 0.1)
    expected = learned.metric(PLANE)
    for other in (pickle.loads(pickle.dumps(learned)), copy.deepcopy(learned)):
        np.testing.assert_array_equal(other.metric(PLANE), expected)


ERF = infgeo.MLP("erf")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("erf", XOR, LABELS, 0.1), {}, "mlp is 'erf'"),
        ((infgeo.MLP(["erf", infgeo.layers.RMSNorm()]), XOR, LABELS, 0.1), {}, "dense layers"),
        ((ERF, XOR[0], LABELS, 0.1), {}, r"X has shape \(2,\)"),
        ((ERF, XOR * np.nan, LABELS, 0.1), {}, "finite"),
        ((ERF, torch.tensor(XOR).bfloat16(), LABELS, 0.1), {}, r"X\.double\(\)"),
        ((ERF, 1e200 * XOR, LABELS, 0.1), {}, "rescale the points"),
        ((ERF, XOR, LABELS[:3], 0.1), {}, r"y has shape \(3,\).*\(4,\) or \(4, C\)"),
        ((ERF, XOR, 1.0, 0.1), {}, "y"),
        ((ERF, XOR, LABELS, 0.0), {}, "noise_variance is 0.0"),
        ((ERF, XOR, LABELS, -1), {}, "noise_variance is -1"),
        ((ERF, XOR, LABELS), {}, "noise_variance is None"),
        ((ERF, XOR[[0, 0]], LABELS[:2], 1e-16), {}, "close or equal"),
        ((ERF, XOR, LABELS, 0.1), {"rule": "adam"}, "'posterior', 'gradient_step'"),
        ((ERF, XOR, LABELS, 0.1), {"learning_rate": 0.1}, "learning_rate"),
        ((ERF, XOR, LABELS), {"rule": "gradient_step"}, "learning_rate is None"),
        ((ERF, XOR, LABELS), {"rule": "gradient_flow"}, "time is None"),
        ((ERF, XOR, LABELS), {"rule": "gradient_flow", "time": -1}, "time is -1"),
        ((ERF, XOR, LABELS), {"rule": "gradient_flow", "time": np.inf, "parametrisation": "mean_field"}, "time is inf"),
        ((ERF, XOR, LABELS), {"rule": "gradient_flow", "time": 1, "learning_rate": 1}, "learning_rate is given"),
        ((ERF, XOR, LABELS, 0.1), {"rule": "gradient_step", "learning_rate": 1}, "noise_variance"),
        ((ERF, XOR, LABELS), {"rule": "gradient_step", "learning_rate": 1, "parametrisation": "mup"}, "'mean_field'"),
        ((infgeo.MLP("relu"), XOR, LABELS), {"rule": "gradient_step", "learning_rate": 1}, "kink"),
        ((infgeo.MLP("leaky_relu"), XOR, LABELS, 0.1), {}, r"mlp.at\(alpha=...\)"),
    ],
)
def test_bad_arguments_are_refused_with_a_remedy(arguments, options, message):
    with pytest.raises(InvalidInput, match=message):
        infgeo.learned(*arguments, **options)


def test_what_does_not_exist_is_said():
    with pytest.raises(ExpectationDiverges, match="E\\[phi\\^4\\]"):
        infgeo.learned(infgeo.MLP("exp(z**2/8)"), XOR, LABELS, 0.1)
    growing = infgeo.learned(infgeo.MLP("exp(z**2/40)"), XOR, LABELS, 0.1)
    with pytest.raises(ExpectationDiverges, match="below 5"):
        growing.metric(np.array([3.0, 0.0]))
    with pytest.raises(MetricDoesNotExist):
        infgeo.learned(infgeo.MLP("step"), XOR, LABELS, 0.1).metric(PLANE)
    with pytest.raises(NotConverged, match="smaller norm"):  # steep functions of the weights
        infgeo.learned(infgeo.MLP("tanh"), XOR, LABELS, 0.1).metric(np.array([60.0, 0.0]))
    relu, clipped = (infgeo.learned(infgeo.MLP(name), XOR, LABELS, 0.1) for name in ("relu", "relu6"))
    assert (relu.kind, clipped.kind) == ("closed form", "nets")
    for kinked in (relu, clipped):
        with pytest.raises(NoClosedForm, match="creases"):
            kinked.ricci_shift(PLANE)
    with pytest.raises(InvalidInput, match=r"x\.detach\(\)"):
        clipped.metric(torch.tensor(PLANE, requires_grad=True))
    for point, message in ((np.zeros(3), "3 coordinates"), (np.full(2, 1e200), "variance inf; pass up to")):
        with pytest.raises(InvalidInput, match=message):
            relu.metric(point)
    with pytest.raises(InvalidInput, match=r"x\.double\(\)"):
        relu.metric(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(InvalidInput, match="width"):
        relu.metric(PLANE, width=0)
    with pytest.raises(InvalidInput, match="quantity"):
        relu.standard_error(PLANE, "ricci")
