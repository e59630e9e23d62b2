"""Volumes layer by layer: linear maps, the layer's own Jacobian on the tangent space, and infinite width."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import infgeo
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import pullback, volume_by_layer

X = torch.tensor([[0.3, -0.4], [1.0, 0.2], [-0.5, 2.0]], dtype=torch.float64)


def network(width=6, scale=1.0, depth=2, seed=0, bias=0.4):
    torch.manual_seed(seed)
    parts = []
    for n in [2] + [width] * (depth - 1):
        parts += [nn.Linear(n, width), nn.GELU()]
        nn.init.normal_(parts[-2].weight, std=scale / (1 if n == 2 else math.sqrt(n)))
        nn.init.normal_(parts[-2].bias, std=bias)
    return nn.Sequential(*parts).double()


def test_linear_maps_add_the_logarithm_of_their_determinants():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3))).double()
    volumes = volume_by_layer(model, X)
    assert volumes.layers == ("0", "1", "2")
    wanted = torch.stack([torch.linalg.slogdet(layer.weight)[1] for layer in model]).detach()
    torch.testing.assert_close(volumes.increments, wanted[:, None].expand(3, 3), rtol=1e-11, atol=1e-12)


def test_increments_are_those_of_each_layer_on_the_tangent_space():
    """Those of the layer's own Jacobian between the tangent spaces before and behind it; they sum to the last."""
    model = network()
    volumes = volume_by_layer(model, X)
    torch.testing.assert_close(volumes.increments.sum(0), pullback(model, X).log_volume_element)
    for k, x in enumerate(X):
        h, frame = x, torch.eye(2, dtype=torch.float64)
        for layer, found in zip(model, volumes.increments[:, k], strict=True):
            pushed = torch.func.jacfwd(layer)(h) @ frame
            torch.testing.assert_close(torch.linalg.svdvals(pushed).log().sum(), found)
            h, frame = layer(h), torch.linalg.qr(pushed)[0]


def test_named_modules_and_maps():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = network(), nn.Linear(6, 3).double()

        def forward(self, x):
            return self.head(self.body(x))

    model = Network()
    volumes = volume_by_layer(model, X.reshape(3, 1, 2), layers=["body.1", "body", "head"])
    assert volumes.log_volume.shape == (3, 3, 1)
    by_name = volume_by_layer({"early": lambda x: model.body[:2](x), "late": model}, X)
    torch.testing.assert_close(by_name.log_volume, volumes.log_volume[[0, 2], :, 0])
    with pytest.raises(InvalidInput, match=r"pass layers=\[\.\.\.\]"):
        volume_by_layer(model, X)
    with pytest.raises(InvalidInput, match="no layers"):
        volume_by_layer(nn.Sequential(), X)
    narrow = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).double()
    with pytest.raises(SingularMetric) as caught:
        volume_by_layer(narrow, X)
    assert caught.value.__notes__ == ["layer '1'"]
    assert volume_by_layer(narrow, X, singular="nan").increments[1].tolist() == [-math.inf] * 3


def test_wide_networks_have_the_increments_of_infinite_width():
    """Each layer's activations, whose metric is the width times that of φ/√n."""
    found = np.stack([volume_by_layer(network(300, 1.3, seed=k), X, layers=["1", "3"]).increments for k in range(8)])
    limits = [
        infgeo.MLP("gelu", depth=depth).numeric(weight_std=1.3, bias_std=0.4).log_volume_element(X.numpy())
        for depth in (1, 2)
    ]
    wanted = np.stack([limits[0] + math.log(300), limits[1] - limits[0]])
    z = (found.mean(0) - wanted) / (found.std(0, ddof=1) / math.sqrt(8))
    assert np.abs(z).max() < 5
    assert np.abs(found.mean(0) - wanted).max() < 0.05
