"""Activations of torch.nn, as modules and by the names of their classes."""

import pytest
import sympy as sp
import torch
from torch import nn

import infgeo
from infgeo.errors import InvalidInput

MODULES = [
    nn.CELU(2.0), nn.ELU(0.5), nn.GELU(), nn.GELU("tanh"), nn.Hardshrink(), nn.Hardsigmoid(), nn.Hardswish(),
    nn.Hardtanh(-2, 3), nn.Identity(), nn.LeakyReLU(0.1), nn.LogSigmoid(), nn.Mish(), nn.PReLU(), nn.RReLU().eval(),
    nn.ReLU(), nn.ReLU6(), nn.SELU(), nn.SiLU(), nn.Sigmoid(), nn.Softplus(2.0), nn.Softshrink(0.3), nn.Softsign(),
    nn.Tanh(), nn.Tanhshrink(), nn.Threshold(0.1, 20.0),
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_is_its_formula(module):
    activation = infgeo.MLP(module).activation
    z = torch.linspace(-7, 7, 29, dtype=torch.float64) + 0.0123
    with torch.no_grad():
        values = module.double()(z)
    for point, value in zip(z.tolist(), values.tolist(), strict=True):
        assert abs(float(activation.expr.subs(activation.symbol, point)) - value) < 1e-9 + 1e-6 * (
            isinstance(module, nn.Softplus)
        )


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_class_that_has_an_entry_is_found_by_its_name(module):
    name = type(module).__name__
    if name in ("Threshold",):
        with pytest.raises(infgeo.errors.UnknownActivation):
            infgeo.MLP(name)
        return
    defaults = type(module)()
    expr = infgeo.MLP(name).activation
    values = {symbol: sp.Rational(1, 100) for symbol in expr.parameters}
    if name in ("PReLU", "RReLU"):  # leaky ReLU with a slope that is learned, or drawn
        return
    with torch.no_grad():
        value = float(defaults(torch.tensor([-0.3], dtype=torch.float64)))
    assert abs(float(expr.expr.subs({**values, expr.symbol: sp.Rational(-3, 10)})) - value) < 1e-9


def test_other_modules_are_refused_with_the_list():
    for module in (nn.Linear(2, 2), nn.Softmax(-1), nn.PReLU(3), type("Own", (nn.ReLU,), {})()):
        with pytest.raises(InvalidInput, match=r"torch\.nn|one a feature"):
            infgeo.MLP(module)
