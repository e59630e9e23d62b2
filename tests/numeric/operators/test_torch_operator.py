"""The operator of GPyTorch: values, derivatives and solutions against those of the matrix."""

import copy
import pickle
import sys

import pytest
import torch

import infgeo
from infgeo.errors import InvalidInput, MissingExtra
from infgeo.numeric.operators import products, torch_operator
from infgeo.numeric.runtime.arrays.of_torch import TorchArrays

gpytorch = pytest.importorskip("gpytorch")


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scales(several=False):
    values = [1.2, 0.7, 0.5] if several else 1.2, 0.4
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]


@pytest.fixture(autouse=True)
def _several_blocks(monkeypatch):
    monkeypatch.setattr(torch_operator, "_SIDE", 32)


@pytest.mark.parametrize("cross", [False, True], ids=["X", "X, Y"])
@pytest.mark.parametrize("of_points", [False, True], ids=["scales", "scales and points"])
@pytest.mark.parametrize(("name", "which", "several"), [("erf", "ntk", False), ("relu", "kernel", True)])
def test_products_and_their_derivatives(name, which, several, of_points, cross):
    given = scales(several)
    X, Y = draw(70, 3).requires_grad_(of_points), draw(50, 3, seed=1).requires_grad_(of_points) if cross else None
    geo = infgeo.MLP(name).numeric(*given, backend="torch")
    operator, K = geo.operator(X, Y, which=which), getattr(geo, which)(X, Y)
    U, V = draw(70, 2, seed=2), draw(K.shape[1], 2, seed=3).requires_grad_()
    inputs = [*given, V, *([X] if of_points else []), *([Y] if of_points and cross else [])]
    torch.testing.assert_close(operator @ V, K @ V, rtol=1e-12, atol=1e-12)
    found, right = (torch.autograd.grad((U * (A @ V)).sum(), inputs) for A in (operator, K))
    torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_where_compiled_code_reads_nothing(dtype, monkeypatch):
    """The route of devices, on tensors of the processor."""
    monkeypatch.setattr(TorchArrays, "on_host", lambda self, X: False)
    monkeypatch.setattr(products, "ON_DEVICE", (16, 32))
    geo, X, Y = infgeo.MLP("relu").numeric(backend="torch"), draw(70, 3).to(dtype), draw(50, 3, seed=1).to(dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for operator, K in ((geo.operator(X), geo.kernel(X)), (geo.operator(X, Y), geo.kernel(X, Y))):
        V = draw(K.shape[1], 2, seed=2).to(dtype)
        torch.testing.assert_close(operator @ V, K @ V, rtol=tolerance, atol=20 * tolerance)
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    geo = infgeo.MLP("relu").numeric(scale, backend="torch")
    found, right = (torch.autograd.grad((K @ X).sum(), scale) for K in (geo.operator(X), geo.kernel(X)))
    torch.testing.assert_close(found, right, rtol=10 * tolerance, atol=0)


def test_an_activation_of_parameters_that_are_trained():
    alpha = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    geo, X = infgeo.MLP("leaky_relu").numeric(backend="torch", parameters={"alpha": alpha}), draw(40, 3)
    found, right = (torch.autograd.grad((A @ X).sum(), alpha) for A in (geo.operator(X), geo.kernel(X)))
    torch.testing.assert_close(found, right)


def test_scales_of_kinks_away_from_0_are_trained():
    scale, X = torch.tensor(1.2, dtype=torch.float64, requires_grad=True), draw(9, 2)
    geo = infgeo.MLP("hardtanh").numeric(scale, 0.5, backend="torch")
    found, right = (torch.autograd.grad((A @ X).sum(), scale) for A in (geo.operator(X), geo.kernel(X)))
    torch.testing.assert_close(found, right)


def test_entries_and_parts():
    X, Y = draw(60, 3), draw(50, 3, seed=1)
    geo = infgeo.MLP("erf", depth=2).numeric(backend="torch")
    for operator, K in ((geo.operator(X), geo.kernel(X)), (geo.operator(X, Y), geo.kernel(X, Y))):
        i, j = torch.arange(50), torch.arange(50).flip(0)
        for got, right in (
            (operator.to_dense(), K),
            (geo.operator(X, noise=0.1).to_dense(), geo.kernel(X) + 0.1 * torch.eye(60, dtype=X.dtype)),
            (operator.diagonal(), K.diagonal()) if operator.is_square else (operator.mT.to_dense(), K.mT),
            (operator[3:9, 2:7].to_dense(), K[3:9, 2:7]),
            (operator[i, j], K[i, j]),
            (operator[5], K[5]),
            (operator @ draw(2, K.shape[1], 3), K @ draw(2, K.shape[1], 3)),
        ):
            torch.testing.assert_close(got, right, rtol=1e-12, atol=1e-12)
    for other in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):  # after products
        torch.testing.assert_close(other @ Y, operator @ Y, rtol=0, atol=0)
    single = geo.operator(X.float()) @ X.float()
    torch.testing.assert_close(single, geo.kernel(X).float() @ X.float(), rtol=1e-4, atol=1e-4)


def test_solvers_of_gpytorch():
    """By conjugate gradients and Lanczos, preconditioned, with their derivatives: the log determinant is stochastic."""
    X, noise = draw(150, 2), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    given = [*scales(), noise]
    geo, y = infgeo.MLP("erf").numeric(*given[:2], backend="torch"), torch.sin(X[:, :1])
    K = geo.kernel(X) + noise * torch.eye(150, dtype=X.dtype)
    solved = torch.linalg.solve(K, y)
    settings = gpytorch.settings
    with (
        settings.max_cholesky_size(1),
        settings.cg_tolerance(1e-5),
        settings.num_trace_samples(100),
        settings.min_preconditioning_size(10),
        settings.max_preconditioner_size(10),
        torch.random.fork_rng(),
    ):
        torch.manual_seed(0)
        operator = geo.operator(X, noise=noise)
        torch.testing.assert_close(operator.solve(y), solved, rtol=1e-4, atol=1e-5)
        quadratic, logdet = operator.inv_quad_logdet(y, logdet=True)
        slopes = torch.autograd.grad(quadratic, given, retain_graph=True), torch.autograd.grad(logdet, given)
    right = (y.mT @ solved).sum(), torch.logdet(K)
    torch.testing.assert_close(quadratic, right[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(logdet, right[1], rtol=0.02, atol=0)
    for found, value, tolerance in zip(slopes, right, (1e-4, 0.05), strict=True):
        torch.testing.assert_close(
            found, torch.autograd.grad(value, given, retain_graph=True), rtol=tolerance, atol=1e-4
        )


def test_without_gpytorch_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "linear_operator", None)
    monkeypatch.delitem(sys.modules, torch_operator.__name__)
    with pytest.raises(MissingExtra, match=r"pip install 'infgeo\[gpytorch\]'"):
        infgeo.MLP("erf").numeric(backend="torch").operator(draw(5, 2))


def test_noise_belongs_to_a_symmetric_matrix():
    geo, X = infgeo.MLP("erf").numeric(backend="torch"), draw(9, 2)
    with pytest.raises(InvalidInput, match="leave Y or noise out"):
        geo.operator(X, X[:3], noise=torch.tensor(0.1))
