"""Which linear layers' gradients are outer products, and that they are."""

import torch
from torch import nn

from infgeo.finite.by_parameters import factors, of_parameters, ready, split


class Mixed(nn.Module):
    """Layers used once, twice, for two positions, with a weight that is used elsewhere, and not at all."""

    def __init__(self):
        super().__init__()
        self.once, self.twice, self.positions, self.elsewhere, self.unused = (nn.Linear(4, 4) for _ in range(5))

    def forward(self, x):
        h = self.twice(torch.relu_(self.twice(self.once(x).tanh())))
        h = self.positions(torch.stack([h, h.sin()], 1)).sum(1)
        return self.elsewhere(h) + h @ self.elsewhere.weight


def test_layers_that_are_no_outer_products_are_left_to_others():
    torch.manual_seed(0)
    model = Mixed().double()
    source, w, x = of_parameters(model, torch.randn(5, 4).double(), "x", None, None, False, None)
    with ready(source) as f:
        r = torch.eye(4).double()
        layers, rest = split(f, w, model, x)
        assert [(layer.weight, layer.bias) for layer in layers] == [("once.weight", "once.bias")]
        others = {f"{name}.{kind}" for name in ("twice", "positions", "elsewhere") for kind in ("weight", "bias")}
        assert set(rest) == others  # f does not depend on what is unused
        ((inputs, sent),) = factors(f, w, layers, x, r)
    for point, h, rows in zip(x, inputs, sent, strict=True):
        for value, row in zip(model(point[None])[0], rows, strict=True):
            wanted = torch.autograd.grad(value, [model.once.weight, model.once.bias], retain_graph=True)
            torch.testing.assert_close(torch.outer(row, h), wanted[0])
            torch.testing.assert_close(row, wanted[1])
    assert not model.once._forward_hooks
