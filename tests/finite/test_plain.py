"""Every activation of torch is differentiated twice in forward mode, for all directions at once, and rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from torch import nn
from torch.nn import functional

from infgeo.finite.differentiate import FORWARD, choose
from infgeo.finite.feature_map import FeatureMap
from infgeo.finite.stack import as_stack
from tests.finite.twins import double_backward, points

DOUBLE = torch.float64
# Between the kinks of all of them.
Z = torch.tensor([-7.3, -3.7, -2.2, -0.9, -0.41, -0.03, 0.02, 0.37, 0.8, 1.7, 2.9, 6.7, 21.0], dtype=DOUBLE)


def logistic(z: Any) -> Any:
    return 1 / (1 + mpmath.exp(-z))


def softplus(z: Any) -> Any:
    return mpmath.log(1 + mpmath.exp(z))


def selu(z: Any) -> Any:
    alpha, scale = mpmath.mpf("1.6732632423543772848170429916717"), mpmath.mpf("1.0507009873554804934193349852946")
    return scale * (z if z > 0 else alpha * mpmath.expm1(z))


def gelu_tanh(z: Any) -> Any:
    return z / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3)))


# Class -> module and the definition in its documentation, in mpmath.
ELEMENTWISE: dict[str, tuple[nn.Module, Callable[[Any], Any]]] = {
    "CELU": (nn.CELU(0.5), lambda z: z if z > 0 else mpmath.expm1(2 * z) / 2),
    "ELU": (nn.ELU(1.3), lambda z: z if z > 0 else mpmath.mpf(1.3) * mpmath.expm1(z)),
    "GELU": (nn.GELU(), lambda z: z * mpmath.ncdf(z)),
    "GELU, tanh": (nn.GELU("tanh"), gelu_tanh),
    "Hardshrink": (nn.Hardshrink(), lambda z: z if abs(z) > 0.5 else mpmath.mpf(0)),
    "Hardsigmoid": (nn.Hardsigmoid(), lambda z: min(max(z + 3, 0), 6) / mpmath.mpf(6)),
    "Hardswish": (nn.Hardswish(), lambda z: z * min(max(z + 3, 0), 6) / mpmath.mpf(6)),
    "Hardtanh": (nn.Hardtanh(-0.5, 2.0), lambda z: min(max(z, mpmath.mpf(-0.5)), mpmath.mpf(2))),
    "LeakyReLU": (nn.LeakyReLU(0.25), lambda z: z if z > 0 else z / 4),
    "LogSigmoid": (nn.LogSigmoid(), lambda z: -softplus(-z)),
    "Mish": (nn.Mish(), lambda z: z * mpmath.tanh(softplus(z))),
    "PReLU": (nn.PReLU(init=0.25).double(), lambda z: z if z > 0 else z / 4),
    "RReLU": (nn.RReLU(0.25, 0.75).eval(), lambda z: z if z > 0 else z / 2),
    "ReLU": (nn.ReLU(), lambda z: max(z, mpmath.mpf(0))),
    "ReLU6": (nn.ReLU6(), lambda z: min(max(z, mpmath.mpf(0)), mpmath.mpf(6))),
    "SELU": (nn.SELU(), selu),
    "SiLU": (nn.SiLU(), lambda z: z * logistic(z)),
    "Sigmoid": (nn.Sigmoid(), logistic),
    "Softplus": (nn.Softplus(2.0, 50.0), lambda z: softplus(2 * z) / 2),
    "Softplus, linear beyond": (nn.Softplus(1.0, 5.0), lambda z: softplus(z) if z <= 5 else z),
    "Softshrink": (nn.Softshrink(), lambda z: z - mpmath.sign(z) / 2 if abs(z) > 0.5 else mpmath.mpf(0)),
    "Softsign": (nn.Softsign(), lambda z: z / (1 + abs(z))),
    "Tanh": (nn.Tanh(), mpmath.tanh),
    "Tanhshrink": (nn.Tanhshrink(), lambda z: z - mpmath.tanh(z)),
    "Threshold": (nn.Threshold(0.1, 20.0), lambda z: z if z > 0.1 else mpmath.mpf(20)),
}


class SelfAttention(nn.Module):
    def __init__(self, weights: bool = False) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(4, 2, batch_first=True, dtype=DOUBLE), weights

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        tokens = h.unflatten(1, (2, 4))
        return self.attention(tokens, tokens, tokens, need_weights=self.weights)[0].flatten(1)


torch.manual_seed(0)
CENTRES = torch.randn(9, 8, dtype=DOUBLE)
TOGETHER: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "GLU": nn.GLU(),
    "LogSoftmax": nn.LogSoftmax(-1),
    "MultiheadAttention": SelfAttention().eval(),
    "MultiheadAttention, weights": SelfAttention(weights=True).eval(),
    "Softmax": nn.Softmax(-1),
    "Softmax2d": lambda h: nn.Softmax2d()(h.reshape(-1, 4, 2, 1)).flatten(1),
    "Softmin": nn.Softmin(-1),
    "batch_norm": lambda h: functional.batch_norm(h, torch.ones(8).double(), torch.full((8,), 2.0).double()),
    "cdist": lambda h: torch.cdist(h.unsqueeze(1), CENTRES).squeeze(1),
    "cdist, p = 3": lambda h: torch.cdist(h, CENTRES, p=3.0),
    "cosine_similarity": lambda h: functional.cosine_similarity(h.unsqueeze(1), CENTRES, dim=-1),
    "group_norm": lambda h: functional.group_norm(h, 2),
    "instance_norm": lambda h: functional.instance_norm(h.reshape(-1, 2, 4)).flatten(1),
    "layer_norm": lambda h: functional.layer_norm(h, (8,)),
    "local_response_norm": lambda h: functional.local_response_norm(h.reshape(-1, 4, 2), 3).flatten(1),
    "normalize": functional.normalize,
    "pairwise_distance": lambda h: functional.pairwise_distance(h.unsqueeze(1), CENTRES),
    "rms_norm": lambda h: functional.rms_norm(h, (8,)),
    "scaled_dot_product_attention": lambda h: functional.scaled_dot_product_attention(
        *(3 * (h.reshape(-1, 2, 4),))
    ).flatten(1),
}
# In place, and by the names that the functions have in torch.
SPELLINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "SiLU in place": nn.SiLU(inplace=True),
    "Mish in place": lambda h: functional.mish(h, True),
    "Hardsigmoid in place": lambda h: (functional.hardsigmoid(h, inplace=True), h)[1],
    "Hardswish in place": nn.Hardswish(inplace=True),
    "ELU in place": functional.elu_,
    "CELU in place": torch.celu_,
    "RReLU in place": nn.RReLU(inplace=True).eval(),
    "LeakyReLU in place": functional.leaky_relu_,
    "Hardtanh in place": functional.hardtanh_,
    "SELU by torch": torch.selu,
    "PReLU by torch": lambda h: torch.prelu(h, torch.tensor([0.25], dtype=DOUBLE)),
    "RReLU by torch": lambda h: torch.rrelu(h, 0.25, 0.75),
    "SiLU natively": torch._C._nn.silu,
    "GLU natively": torch._C._nn.glu,
}


def test_no_activation_of_torch_is_left_out() -> None:
    named = {name.split(",")[0] for name in (*ELEMENTWISE, *TOGETHER)}
    assert set(torch.nn.modules.activation.__all__) == named & set(torch.nn.modules.activation.__all__)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_first_and_second_derivatives_are_those_of_the_definition(name: str) -> None:
    module, definition = ELEMENTWISE[name]
    feature_map = FeatureMap(module, (1,))
    with feature_map.ready() as f:
        assert choose(f, Z[:, None], True) is FORWARD
        slope, bend = (t.flatten() for t in FORWARD(f, Z[:, None], True))  # type: ignore[union-attr]
    stack = as_stack(nn.Sequential(nn.Linear(1, 1, dtype=DOUBLE), module))
    assert stack is not None  # the fast routes, whose rules these are, too
    value, fast_slope, fast_bend = stack.activations[0].jet(Z.clone())
    with mpmath.workdps(40):
        for i, z in enumerate(mpmath.mpf(u) for u in Z.tolist()):
            exact = [mpmath.diff(definition, z, n, h=mpmath.mpf("1e-12")) if n else definition(z) for n in range(3)]
            found = ((value[i], 0), (slope[i], 1), (fast_slope[i], 1), (bend[i], 2), (fast_bend[i], 2))
            for number, order in found:
                assert abs(float(number) - exact[order]) <= 1e-13 + 1e-12 * abs(exact[order]), (name, float(z), order)


# Where torch has no second derivatives at all, the twin is another formula.
BY_HAND: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "cdist": lambda h: (h.unsqueeze(1) - CENTRES).square().sum(-1).sqrt(),
    "cdist, p = 3": lambda h: (h.unsqueeze(1) - CENTRES).abs().pow(3).sum(-1).pow(1 / 3),
    "Hardsigmoid in place": lambda h: h / 6 + 1 / 2,
}


def after_a_layer(act: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: act(torch.tanh(functional.linear(x, CENTRES[:8, :2], CENTRES[:8, 2])).clone())


@pytest.mark.parametrize("name", [*TOGETHER, *SPELLINGS])
def test_other_activations_are_differentiated_forward_and_as_by_double_backward(name: str) -> None:
    act = {**TOGETHER, **SPELLINGS}[name]
    features, twin = after_a_layer(act), after_a_layer(BY_HAND.get(name, act))
    x = points(1, 2, seed=3)
    with FeatureMap(features, (2,)).ready() as f:
        assert choose(f, x, True) is FORWARD
        jacobian, hessian = FORWARD(f, x, True)
    j, h = double_backward(twin, x[0])
    torch.testing.assert_close(jacobian[0], j, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(hessian[0], h, rtol=1e-10, atol=1e-12)  # type: ignore[index]
