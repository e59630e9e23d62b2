"""Fisher metrics against their definition, E[d log p d log p], and against known curvature."""

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import fisher, geodesic, pullback, pullback_slice

X = torch.tensor([[0.3, -0.4], [1.0, 0.2], [-0.7, 0.9]], dtype=torch.float64)
COUNTS = torch.arange(60, dtype=torch.float64)
LOG_LIKELIHOODS = {
    "categorical": lambda f: torch.log_softmax(f, -1),
    "bernoulli": lambda f: torch.stack([nn.functional.logsigmoid(f), nn.functional.logsigmoid(-f)], -1),
    "poisson": lambda f: COUNTS * f[..., None] - f.exp()[..., None] - torch.lgamma(COUNTS + 1),
}


def network(outputs, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


@pytest.mark.parametrize("family", LOG_LIKELIHOODS)
def test_metric_is_the_mean_of_products_of_scores(family):
    net = network(4)

    def log_p(x):
        return LOG_LIKELIHOODS[family](net(x))

    scores = torch.stack([torch.autograd.functional.jacobian(log_p, x) for x in X])
    weights = torch.stack([log_p(x) for x in X]).exp().detach()
    expected = (weights[..., None, None] * scores[..., :, None] * scores[..., None, :]).flatten(1, -3).sum(1)
    assert torch.allclose(pullback(net, X, output=family).metric, expected, rtol=1e-11, atol=1e-13)
    assert torch.equal(pullback(net, X, output=family).metric, pullback(fisher(net, family), X).metric)


@pytest.mark.parametrize("classes", [3, 4, 6])
def test_all_distributions_of_some_classes_are_a_sphere(classes):
    x = torch.linspace(-1, 1, classes - 1, dtype=torch.float64)
    geometry = pullback(lambda f: nn.functional.pad(f, (0, 1)), x, output="fisher")
    assert float(geometry.ricci_scalar) == pytest.approx((classes - 1) * (classes - 2) / 4, rel=1e-10)
    hellinger = pullback(lambda f: nn.functional.pad(f, (0, 1)), x, output="hellinger")
    assert torch.allclose(4 * hellinger.metric, geometry.metric, rtol=1e-13)
    assert float(hellinger.ricci_scalar) == pytest.approx((classes - 1) * (classes - 2), rel=1e-10)


def test_hellinger_is_the_distance_of_roots_of_probabilities():
    near = torch.stack((X[0], X[0] + 1e-5 * X[1]))
    roots = network(4)(near).softmax(-1).detach().sqrt()
    step = pullback(network(4), near.mean(0), output="hellinger").metric @ X[1] @ X[1]
    assert float((roots[1] - roots[0]).square().sum()) == pytest.approx(1e-10 * float(step), rel=1e-6)


def test_large_logits_are_finite_and_few_classes_have_low_rank():
    flat = pullback(lambda x: 100 * nn.functional.pad(x, (0, 1)), [[5.0], [-5.0], [0.0]], output="fisher").metric
    assert flat[:, 0, 0].tolist() == pytest.approx([0.0, 0.0, 2500.0])
    net = network(2)
    assert pullback(net, X, output="fisher").rank.tolist() == [1, 1, 1]
    with pytest.raises(SingularMetric):
        _ = pullback(net, X, output="fisher").ricci_scalar


def test_predictions_that_are_certain_to_the_last_digit_are_refused():
    x = torch.tensor([[0.3, 0.2]], dtype=torch.float64)
    gaps = torch.tensor([[900.0, 0.0], [0.0, 0.0], [-900.0, 500.0]], dtype=torch.float64)
    assert float(pullback(lambda u: u @ gaps.T, x, output="fisher").metric.abs().max()) > 0
    with pytest.raises(InvalidInput, match="not finite at 1 point"):
        _ = pullback(lambda u: 10 * u @ gaps.T, x, output="fisher").metric
    one = pullback(lambda u: u[..., :1], x, output="fisher", singular="nan")  # a single class is always certain
    assert (one.metric == 0).all()


def test_slices_geodesics_and_the_module_itself():
    net = network(5).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    t = torch.tensor([0.2], dtype=torch.float64)
    along = pullback_slice(net, t, X[0], X[1:2] - X[0], output="fisher")
    g = pullback(net, X[0] + t * (X[1] - X[0]), output="fisher").metric
    assert float(along.metric) == pytest.approx(float((X[1] - X[0]) @ g @ (X[1] - X[0])), rel=1e-12)
    # Two distributions are 2 arccos(sum of sqrt(p q)) apart on the sphere, and no path in it is shorter.
    p, q = (net(x).softmax(-1).detach() for x in X[:2])
    assert float(geodesic(fisher(net), X[0], X[1]).length) >= float(2 * (p * q).sqrt().sum().acos())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_is_refused():
    with pytest.raises(InvalidInput, match="output"):
        pullback(network(3), X, output="gaussian")
    with pytest.raises(InvalidInput, match="layer"):
        pullback(network(3), X, output="fisher", layer="0")
    with pytest.raises(InvalidInput, match="family"):
        fisher(network(3), "euclidean")
