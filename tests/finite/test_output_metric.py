"""Metrics that vary over output space, against scores, symbolic metrics, known spaces and flat features."""

import math
import pickle

import numpy as np
import pytest
import sympy
import torch
from torch import nn

import infgeo
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import exponential, geodesic, path_length, pullback, pullback_slice

X = torch.tensor([[0.3, -0.4, 0.2], [1.0, 0.2, -0.5], [-0.7, 0.9, 0.4]], dtype=torch.float64)


def network(outputs, inputs=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs)).double().eval()


def categorical(f):
    p = f.softmax(-1)
    return p.diag() - p[:, None] * p


def test_gaussian_metric_is_the_mean_of_products_of_scores():
    net = network(4)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    nodes, weights = torch.tensor(nodes), torch.tensor(weights / weights.sum())

    def log_p(x, at):
        mean, log_scale = net(x).chunk(2)
        return -log_scale[:, None] - ((at - mean[:, None]) / log_scale.exp()[:, None]).square() / 2

    for x, g in zip(X, pullback(net, X, output="gaussian").metric, strict=True):
        mean, log_scale = net(x).detach().chunk(2)
        at = mean[:, None] + log_scale.exp()[:, None] * nodes
        scores = torch.autograd.functional.jacobian(lambda x, at=at: log_p(x, at), x)
        expected = torch.einsum("q,kqi,kqj->ij", weights, scores, scores)
        assert torch.allclose(g, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("means", [1, 2])
def test_normal_distributions_are_hyperbolic_planes(means):
    skewed = network(2 * means, 2 * means)
    x = torch.randn(3, 2 * means, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = pullback(skewed, x, output="gaussian")
    assert torch.allclose(found.ricci_scalar, torch.tensor(-float(means)).double(), atol=1e-8)
    assert torch.allclose(found.ricci_tensor, -found.metric / 2, atol=1e-9)
    assert pickle.loads(pickle.dumps(found.metric)).equal(found.metric)
    if means == 1:
        assert torch.allclose(found.gaussian_curvature, found.sectional_curvature([1.0, 0.0], [0.4, 1.0]), atol=1e-9)


def test_paths_among_normal_distributions():
    means, log_scales = [0.0, 1.0], [0.0, 0.5]
    step = (means[1] ** 2 / 2 + (math.exp(0.5) - 1) ** 2) / (2 * math.exp(0.5))
    ends = [[m, s] for m, s in zip(means, log_scales, strict=True)]
    found = geodesic(lambda x: x, *ends, output="gaussian").require()
    assert float(found.length) == pytest.approx(math.sqrt(2) * math.acosh(1 + step), rel=1e-8)
    assert float(found.residual) < 1e-3
    there = exponential(lambda x: x, ends[0], found.velocity, output="gaussian")
    assert there.tolist() == pytest.approx(ends[1], abs=1e-5)
    assert float(path_length(lambda x: x, found.points, output="gaussian")) == pytest.approx(float(found.length))


def test_curvature_is_that_of_the_symbolic_metric():
    a, b = sympy.symbols("a b", real=True)
    f = sympy.Matrix([a + b**2, b, a * b])  # three outputs of two inputs
    h = sympy.Matrix([[1 + f[1] ** 2, f[0], 0], [f[0], 3 + f[0] ** 2, 0], [0, 0, 1]])
    jacobian = f.jacobian([a, b])
    metric = infgeo.Metric(jacobian.T * h * jacobian, (a, b))
    at = {a: sympy.Rational(3, 10), b: sympy.Rational(-2, 5)}

    def features(x):
        a, b = x.unbind(-1)
        return torch.stack((a + b**2, b, a * b), -1)

    def form(y):
        u, v, w = y.unbind(-1)
        zero = 0 * w
        return torch.stack([1 + v**2, u, zero, u, 3 + u**2, zero, zero, zero, 1 + zero]).reshape(3, 3)

    found = pullback(features, [0.3, -0.4], output=form)
    assert float(found.ricci_scalar) == pytest.approx(float(metric.ricci_scalar.subs(at)), rel=1e-10)
    for value, expected in ((found.christoffel, metric.christoffel), (found.ricci_tensor, metric.ricci_tensor)):
        numbers = np.array([float(e.subs(at)) for e in sympy.flatten(expected)])
        assert value.flatten().tolist() == pytest.approx(numbers, rel=1e-9, abs=1e-12)


def test_without_full_rank_it_is_the_route_of_flat_features():
    net = network(5)
    flat, varying = pullback(net, X, output="fisher"), pullback(net, X, output=categorical)
    for name in ("metric", "ricci_scalar", "ricci_tensor", "christoffel", "log_volume_element", "singular_values"):
        assert torch.allclose(getattr(flat, name), getattr(varying, name), rtol=1e-9, atol=1e-12), name
    assert varying.rank.tolist() == [3, 3, 3]
    planes = [found.sectional_curvature([1.0, 0.0, 0.3], X.flip(0)) for found in (flat, varying)]
    assert torch.allclose(*planes, rtol=1e-9)
    slices = [pullback_slice(net, [[0.1, 0.2]], X[0], X[1:] - X[0], output=o) for o in ("fisher", categorical)]
    assert torch.allclose(slices[0].ricci_scalar, slices[1].ricci_scalar, rtol=1e-9)
    paths = [geodesic(net, X[:1], X[1:2], steps=16, output=o) for o in ("fisher", categorical)]
    assert torch.allclose(paths[0].length, paths[1].length, rtol=1e-6)
    ends = [exponential(net, X, X / 4, output=o) for o in ("fisher", categorical)]
    assert torch.allclose(*ends, atol=1e-7)


@pytest.mark.parametrize("classes", [3, 5])
def test_curvature_across_leaves_is_that_of_all_distributions(classes):
    expected = torch.tensor((classes - 1) * (classes - 2) / 4).double()
    logits = torch.randn(2, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for output in ("fisher", categorical):
        found = pullback(network(classes, classes), logits, output=output)
        assert found.rank.tolist() == [classes - 1] * 2
        assert torch.allclose(found.transverse_ricci_scalar, expected, rtol=1e-7)
    narrow = pullback(network(3), X)
    assert torch.allclose(narrow.transverse_ricci_scalar, narrow.ricci_scalar, atol=1e-12)
    curve = pullback(lambda x: x.sum(-1, keepdim=True).sin(), X)
    assert curve.transverse_ricci_scalar.tolist() == [0, 0, 0]


def test_precision_of_the_features_is_that_of_the_metric():
    net = network(4, 2).float()
    x = X[:, :2]
    single, double = pullback(net, x.float(), output="gaussian"), pullback(network(4, 2), x, output="gaussian")
    assert torch.allclose(single.ricci_scalar, double.ricci_scalar, rtol=1e-4)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda f: f, "matrix"),
        (lambda f: f.unknown, "fails on float64"),
        (lambda f: torch.eye(4), "float64 matrix"),
        (lambda f: f[:, None] * f.flip(0), "not symmetric"),
        (lambda f: -torch.eye(4, dtype=f.dtype), "eigenvalue -1"),
        (lambda f: torch.eye(4, dtype=f.dtype) / 0, "not finite"),
    ],
)
def test_functions_that_give_no_metric_are_refused(output, words):
    with pytest.raises(InvalidInput, match=words):
        _ = pullback(network(4), X, output=output).metric


def test_scales_of_outputs_may_differ_by_many_decades():
    """Of σ = e^200 the metric has entries 1e-174 and 2. Of small probabilities R cancels, and is refused in time."""
    x = torch.tensor([[0.3, 200.0], [0.3, -150.0]], dtype=torch.float64)
    assert torch.allclose(pullback(lambda x: 2 * x, x / 2, output="gaussian").ricci_scalar, torch.tensor(-1.0).double())
    logits = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64) - torch.arange(0, 90.0, 3)[:, None] * torch.tensor(
        [0, 1.0, 0]
    )
    found = pullback(lambda x: nn.functional.pad(x, (0, 1)), logits, output=categorical, singular="nan").ricci_scalar
    assert torch.allclose(found.nan_to_num(1.5), torch.tensor(1.5).double(), atol=1e-3)
    assert bool(found[:8].isfinite().all() & found[-15:].isnan().all())
    with pytest.raises(InvalidInput, match="cancels"):
        _ = pullback(lambda x: nn.functional.pad(x, (0, 1)), logits[-1:], output=categorical).ricci_scalar


def test_what_is_refused():
    with pytest.raises(InvalidInput, match="measure a slice"):
        _ = pullback(network(4), X, output="gaussian", memory_budget=1000).ricci_scalar
    for output in ("gaussian", "expected"):
        with pytest.raises(InvalidInput, match="as many logarithms of scales"):
            pullback(network(3), X, output=output)
    with pytest.raises(InvalidInput, match="at least one path"):
        path_length(network(4), X[:0].reshape(0, 3, 3), output="gaussian")
    with pytest.raises(InvalidInput, match="normal vectors"):
        _ = pullback(network(4), X, output="gaussian").second_fundamental_form
    with pytest.raises(SingularMetric):
        _ = pullback(network(2), X, output="gaussian").ricci_scalar
