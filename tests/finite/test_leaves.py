"""Leaves of equal output, against level sets that are known."""

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput, NotConverged, SingularMetric
from infgeo.finite import leaf_directions, walk_along_leaf

X = torch.tensor([[0.3, -0.4, 0.2, 1.0], [1.0, 0.2, -0.5, 0.1]], dtype=torch.float64)


def network(outputs, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, outputs)).double().eval()


@pytest.mark.parametrize(("output", "rank"), [("euclidean", 3), ("fisher", 2)])
def test_directions_are_a_basis_in_which_the_metric_is_known(output, rank):
    net = network(3)
    found = leaf_directions(net, X, output=output)
    basis = torch.cat((found.along, found.across), dim=1)
    assert (found.rank, found.along.shape) == (rank, (2, 4 - rank, 4))
    assert torch.allclose(basis @ basis.mT, torch.eye(4, dtype=torch.float64).expand(2, 4, 4), atol=1e-13)
    jacobian = torch.stack([torch.autograd.functional.jacobian(net, x) for x in X])
    if output == "fisher":  # probabilities do not change along leaves
        p = net(X).softmax(-1).detach()
        jacobian = (torch.diag_embed(p) - p[:, :, None] * p[:, None]) @ jacobian
    assert float((jacobian @ found.along.mT).abs().max()) < 1e-14
    assert float((jacobian @ found.across.mT).norm(dim=1).min()) > 1e-3
    assert bool((found.singular_values[:, rank - 1] > found.threshold).all())


def test_predictions_are_kept_along_a_walk():
    net = network(3)
    walk = walk_along_leaf(net, X, [1.0, 0.5, 0.0, 0.0], 30, output="fisher")
    kept = (net(walk.points).softmax(-1) - net(X).softmax(-1)[:, None]).detach().abs().max()
    assert float(kept) < 1e-8
    assert walk.rank == 2
    assert float(walk.drift.max()) < 5e-8
    assert walk.length.tolist() == pytest.approx([1.5, 1.5], rel=0.01)
    assert float((walk.points[:, -1] - X).norm(dim=1).min()) > 1
    one = walk_along_leaf(net, X[1], [1.0, 0.5, 0.0, 0.0], 30, output="fisher")
    assert torch.allclose(one.points, walk.points[1], atol=1e-7)


def test_a_walk_goes_straight_on():
    """On a sphere it is a great circle, to the second order of the steps."""
    walk = walk_along_leaf(lambda x: x.square().sum(-1, keepdim=True), [1.0, 0.0, 0.0], [0.0, 3.0, 4.0], 100)
    t = torch.linspace(0, 5, 101, dtype=torch.float64) * 1.0
    angle = t * float(walk.length) / 5
    circle = torch.stack((angle.cos(), 0.6 * angle.sin(), 0.8 * angle.sin()), -1)
    assert float((walk.points - circle).abs().max()) < 2e-3
    assert torch.allclose(walk.points.norm(dim=1), torch.ones(101, dtype=torch.float64), atol=1e-8)


def test_leaves_of_gaussians_are_those_of_their_outputs():
    walk = walk_along_leaf(network(2), X[0], [0.0, 0.0, 1.0, 0.0], 5, output="gaussian")
    assert (walk.rank, float(walk.drift.max()) < 1e-7) == (2, True)


def test_what_is_refused():
    net = network(3)
    with pytest.raises(SingularMetric, match="no leaf"):
        walk_along_leaf(network(5), X, X, 3)
    with pytest.raises(SingularMetric, match=r"ranks \[0, 1\]"):
        leaf_directions(lambda x: x.square().sum(-1, keepdim=True), [[0.0, 0.0], [1.0, 0.0]])
    with pytest.raises(InvalidInput, match="no part along"):
        walk_along_leaf(lambda x: x[..., :1], [0.0, 0.0], [1.0, 0.0], 3)
    with pytest.raises(InvalidInput, match="output is a function"):
        walk_along_leaf(net, X, X, 3, output=lambda f: f.diag())
    with pytest.raises(NotConverged, match="smaller step_length") as raised:
        walk_along_leaf(lambda x: x.square().sum(-1, keepdim=True), [1.0, 0.0], [0.0, 1.0], 3, drift=1e-30)
    assert raised.value.found.points.shape == (1, 2)


def test_a_change_of_rank_ends_the_walk_with_what_was_walked():
    def two(x):  # the second output has no derivative where x_1 < 1
        return torch.stack((x[..., 0], torch.relu(x[..., 1] - 1) ** 2), -1)

    with pytest.raises(SingularMetric, match="ranks") as raised:
        walk_along_leaf(two, [0.0, 0.5, 0.0], [0.0, 1.0, 0.0], 30)
    assert raised.value.found.rank == 1
    assert 0.9 < float(raised.value.found.points[-1, 1]) <= 1 + 1e-12
