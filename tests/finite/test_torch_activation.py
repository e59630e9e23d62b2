"""A SymPy activation in torch against mpmath's evaluation of SymPy's own derivatives, away from kinks."""

from __future__ import annotations

import copy
import pickle

import pytest
import sympy as sp
import torch

from infgeo.errors import InvalidInput
from infgeo.finite.torch_activation import TorchActivation, torch_activation
from tests.finite.twins import ERF, GELU, RELU, SILU, Z

SMOOTH = [
    ERF, GELU, SILU, sp.tanh(Z), sp.log(1 + sp.exp(Z)), sp.exp(-(Z**2)), sp.sqrt(2) * sp.cos(Z + 1), sp.sin(Z), Z**3,
    Z / sp.sqrt(1 + Z**2), 2**Z, sp.erfc(Z), sp.atan(Z), sp.asinh(Z), sp.tan(Z / 4), sp.sinh(Z) / sp.cosh(Z) ** 2,
    1 / (2 + Z**2), sp.cosh(Z), Z * sp.tanh(sp.log(1 + sp.exp(Z))), 1 / sp.cosh(Z), sp.log(2 + sp.sin(Z)), Z**2 + sp.pi,
]  # fmt: skip
KINKED = [
    (RELU, True), (sp.Max(Z / 10, Z), True), (sp.Abs(Z), True), (Z * sp.Heaviside(Z), True),
    (sp.Min(1, sp.Max(-1, Z)), True),
    (sp.Piecewise((-1, Z < -1), (1, Z > 1), (Z, True)), True), ((Z + sp.Abs(Z)) / 2, True), (Z * sp.sign(Z), True),
    (sp.Piecewise((Z, sp.And(Z > -1, Z < 1)), (0, True)), True),
    (sp.Piecewise((2 * Z, sp.Or(Z < -1, sp.Not(Z < 1))), (Z, True)), True),
    (Z, True), (3 * Z - 2, True), (sp.sign(Z), True), (sp.Piecewise((Z, Z > 0), (sp.exp(Z) - 1, True)), False),
    (sp.Max(0, Z) ** 2, False), (sp.Heaviside(Z) * sp.sin(Z), False), (sp.Max(sp.sin(Z), sp.cos(Z), -Z), False),
]  # fmt: skip

# no kink of the list above: 0, ±1, ±π/4 ...
GRID = [-3.7, -1.9, -1.1, -0.6, -0.013, 0.017, 0.31, 0.77, 1.3, 2.2, 3.9]


def reference(expr: sp.Expr) -> torch.Tensor:
    """Value and two derivatives on the grid, with 30 digits; central differences would not see 1e-15."""
    h = sp.Rational(1, 10**12)
    rows = []
    for v in GRID:
        at = [sp.N(expr.subs(Z, sp.Rational(str(v)) + k * h), 60) for k in (-1, 0, 1)]
        rows.append([float(at[1]), float((at[2] - at[0]) / (2 * h)), float((at[2] - 2 * at[1] + at[0]) / h**2)])
    return torch.tensor(rows, dtype=torch.float64).T


@pytest.mark.parametrize("expr", SMOOTH + [expr for expr, _ in KINKED], ids=str)
def test_values_and_derivatives(expr: sp.Expr) -> None:
    z = torch.tensor(GRID, dtype=torch.float64)
    activation = TorchActivation(expr, Z)
    expected = reference(expr)
    before = z.clone()
    jet, derivatives = activation.jet(z), activation.jet(z)[1:]
    products = [factor * part for factor, part in activation.products(z)]
    valued = [factor * part for factor, part in (*activation.products(z, 2, True), *activation.products(z, 1, True))]
    assert torch.equal(z, before)
    square, product = expected[1] ** 2, expected[1] * expected[2]
    for got, want in zip(
        (activation(z), *jet, *derivatives, *products, *valued),
        (*expected[[0, 0, 1, 2, 1, 2]], square, product, expected[0], square, product, expected[0], square),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=2e-14, atol=1e-14)
        assert got.shape == z.shape


@pytest.mark.parametrize(("expr", "flat"), KINKED, ids=str)
def test_piecewise_linear_is_decided_exactly(expr: sp.Expr, flat: bool) -> None:
    assert TorchActivation(expr, Z).piecewise_linear is flat


@pytest.mark.parametrize("expr", SMOOTH, ids=str)
def test_smooth_activations_are_not_piecewise_linear(expr: sp.Expr) -> None:
    assert not TorchActivation(expr, Z).piecewise_linear


@pytest.mark.parametrize("expr", [ERF, SILU, RELU, sp.Piecewise((1, Z > 0), (Z, True)), sp.Heaviside(Z) * Z], ids=str)
def test_float32_stays_float32_and_autograd_agrees(expr: sp.Expr) -> None:
    z = torch.tensor(GRID, dtype=torch.float32)
    activation = TorchActivation(expr, Z)
    assert {t.dtype for t in (activation(z), *activation.jet(z))} == {torch.float32}
    assert {t.dtype for _, t in activation.products(z)} == {torch.float32}
    z64 = z.double().requires_grad_()
    (slope,) = torch.autograd.grad(activation(z64).sum(), z64)
    torch.testing.assert_close(slope, activation.jet(z.double())[1], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("expr", [SILU, sp.log(1 + sp.exp(Z)), 1 / (1 + sp.exp(-Z)), 1 / (1 + sp.exp(Z)) ** 2], ids=str)
def test_large_arguments_do_not_overflow(expr: sp.Expr) -> None:
    for tensor in TorchActivation(expr, Z).jet(torch.tensor([-900.0, -400.0, 400.0, 900.0], dtype=torch.float64)):
        assert torch.isfinite(tensor).all()


def test_parameters_are_read_exactly() -> None:
    alpha, z = sp.Symbol("alpha"), torch.tensor([-2.0, 3.0], dtype=torch.float64)
    leaky = torch_activation(sp.Max(alpha * Z, Z), Z, (("alpha", 0.1),))
    assert leaky(z).tolist() == [-0.2, 3.0] and leaky.piecewise_linear
    assert TorchActivation(sp.Max(alpha * Z, Z), Z, (("alpha", 1.0),)).piecewise_linear
    with pytest.raises(InvalidInput, match=r"without a value: alpha; pass parameters=\{'alpha'"):
        TorchActivation(alpha * Z, Z)


def test_a_symbol_without_assumptions_is_taken_as_real() -> None:
    u = sp.Symbol("u")
    assert TorchActivation(sp.Abs(u), u).jet(torch.tensor([-1.0, 2.0]))[1].tolist() == [-1.0, 1.0]


def test_what_has_no_torch_form_is_named() -> None:
    with pytest.raises(InvalidInput, match="besselj"):
        TorchActivation(sp.besselj(0, Z), Z)
    with pytest.raises(InvalidInput, match="uses f "):
        TorchActivation(sp.Function("f")(Z), Z)
    with pytest.raises(InvalidInput, match="not real"):
        TorchActivation(sp.I * Z + 1, Z)


def test_copies_and_pickles() -> None:
    activation = TorchActivation(GELU, Z)
    z = torch.tensor(GRID, dtype=torch.float64)
    for twin in (copy.deepcopy(activation), pickle.loads(pickle.dumps(activation))):
        assert torch.equal(twin(z), activation(z))


def test_erf_shares_one_exponential() -> None:
    program = TorchActivation(ERF, Z)._program(2, True, False)
    assert [function for (function, _), _ in program.steps].count(torch.exp) == 1
    assert len(program.steps) == 4  # z², −z², exp, z exp
