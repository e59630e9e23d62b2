"""GPyTorch's own checks of kernels, on ours, and what it does not check: priors, constraints, gradients, training."""

import pickle
import unittest
from typing import ClassVar

import gpytorch
import pytest
import torch
from gpytorch.test.base_kernel_test_case import BaseKernelTestCase

import infgeo
from infgeo.adapters.gpytorch import InfiniteWidthKernel
from infgeo.errors import InvalidInput
from infgeo.numeric.operators.torch_operator import GramOperator

X = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class HostSuite(BaseKernelTestCase):
    """GPyTorch's checks for one kernel; the subclasses say which."""

    settings: ClassVar[dict]

    def create_kernel_no_ard(self, **kwargs):
        return InfiniteWidthKernel(**self.settings, **kwargs)


class TestErf(HostSuite, unittest.TestCase):
    settings: ClassVar = {"activation": "erf"}


class TestDeepRelu(HostSuite, unittest.TestCase):
    settings: ClassVar = {"activation": "relu", "depth": 3, "weight_std": 1.4}


class TestTangent(HostSuite, unittest.TestCase):
    settings: ClassVar = {"activation": "gelu", "kind": "ntk", "weight_std": 0.8}


class TestScaleForEachCoordinate(HostSuite, unittest.TestCase):
    settings: ClassVar = {"activation": "erf"}

    def create_kernel_ard(self, num_dims, **kwargs):
        return InfiniteWidthKernel("erf", ard_num_dims=num_dims, **kwargs)


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_values_and_diagonal_are_those_of_the_package(kind):
    kernel = InfiniteWidthKernel("relu", depth=2, kind=kind, weight_std=1.3, bias_std=0.4).double()
    geometry = infgeo.MLP("relu", depth=2).numeric(1.3, 0.4, backend="torch")
    expected = geometry.kernel(X) if kind == "nngp" else geometry.ntk(X)
    # The scales go through a softplus in single precision first.
    assert torch.allclose(kernel(X).to_dense(), expected, rtol=1e-6)
    assert torch.equal(kernel(X, diag=True), kernel(X).to_dense().diagonal())
    other = X.flip(0) + 1
    assert torch.allclose(kernel(X, other, diag=True), kernel(X, other).to_dense().diagonal(), rtol=1e-14)


def test_every_dimension_as_its_own_batch():
    kernel = InfiniteWidthKernel("erf").double()
    by_dimension = kernel.forward(X, X, last_dim_is_batch=True)
    assert by_dimension.shape == (3, 6, 6)
    assert torch.equal(by_dimension[1], kernel(X[:, 1:2]).to_dense())


def test_derivatives():
    kernel = InfiniteWidthKernel("erf", depth=2).double()
    points = X[:3].clone().requires_grad_()

    def gram(x, raw):
        return torch.func.functional_call(kernel, {"raw_weight_std": raw}, (x, x), {}).to_dense()

    def direct(x, raw):
        return torch.func.functional_call(_Forward(kernel), {"kernel.raw_weight_std": raw}, (x,))

    assert gram(points, kernel.raw_weight_std).shape == (3, 3)
    assert torch.autograd.gradcheck(direct, (points, kernel.raw_weight_std.detach().clone().requires_grad_()))


@pytest.mark.parametrize("settings", [{}, {"activation": "relu", "depth": 2, "kind": "ntk"}, {"activation": "gelu"}])
def test_derivatives_by_the_scales_of_constant_points(settings):
    """In blocks, backward twice, and under torch.func: all the same."""
    kernel = InfiniteWidthKernel(**settings).double()
    raw = (kernel.raw_weight_std.detach().clone(), kernel.raw_bias_std.detach().clone())
    names = ("kernel.raw_weight_std", "kernel.raw_bias_std")

    def total(*raw):
        gram = torch.func.functional_call(_Forward(kernel), dict(zip(names, raw, strict=True)), (X,))
        return (gram * torch.arange(36.0, dtype=torch.float64).reshape(6, 6)).sum()

    variables = tuple(part.requires_grad_() for part in raw)
    assert torch.autograd.gradcheck(total, variables)
    assert torch.autograd.gradgradcheck(total, variables)
    plain = torch.autograd.grad(total(*variables), variables)
    for found, other in zip(plain, torch.func.grad(total, (0, 1))(*raw), strict=True):
        assert torch.allclose(found, other, rtol=1e-11, atol=0)
    assert kernel(X.float()).to_dense().dtype == torch.float32


@pytest.mark.parametrize("activation", ["erf", "relu", "tanh"])
def test_a_scale_for_each_coordinate(activation):
    """Its values are those of the package, its derivatives those of differences, in blocks and by the graph."""
    scales = torch.tensor([1.4, 0.3, 0.8], dtype=torch.float64)
    kind = "ntk" if activation == "relu" else "nngp"
    kernel = InfiniteWidthKernel(activation, kind=kind, ard_num_dims=3, weight_std=scales, bias_std=0.5).double()
    geometry = infgeo.MLP(activation).numeric(scales, 0.5, backend="torch")
    expected = geometry.ntk(X) if kind == "ntk" else geometry.kernel(X)
    torch.testing.assert_close(kernel(X).to_dense(), expected, rtol=1e-6, atol=0)
    names = ("kernel.raw_weight_std", "kernel.raw_bias_std")

    def total(*raw):
        gram = torch.func.functional_call(_Forward(kernel), dict(zip(names, raw, strict=True)), (X[:4],))
        return (gram * torch.arange(16.0, dtype=torch.float64).reshape(4, 4)).sum()

    variables = tuple(part.detach().clone().requires_grad_() for part in (kernel.raw_weight_std, kernel.raw_bias_std))
    assert variables[0].shape == (1, 3)
    assert torch.autograd.gradcheck(total, variables, fast_mode=True)
    plain = torch.autograd.grad(total(*variables), variables)
    for found, other in zip(plain, torch.func.grad(total, (0, 1))(*variables), strict=True):
        torch.testing.assert_close(found, other, rtol=1e-10, atol=1e-13)
    copy = pickle.loads(pickle.dumps(kernel))
    assert torch.equal(copy(X, diag=True), kernel(X, diag=True))


def test_batches_of_scales_for_each_coordinate():
    batch = InfiniteWidthKernel("erf", batch_shape=torch.Size([2]), ard_num_dims=3).double()
    batch.weight_std = torch.tensor([[[0.5, 1.0, 2.0]], [[1.0, 1.0, 0.2]]], dtype=torch.float64)
    single = InfiniteWidthKernel("erf", weight_std=[1.0, 1.0, 0.2], ard_num_dims=3).double()
    torch.testing.assert_close(batch(X).to_dense()[1], single(X).to_dense(), rtol=1e-6, atol=0)
    assert torch.equal(batch[1](X).to_dense(), batch(X).to_dense()[1])
    batch.weight_std = [3.0, 2.0, 1.0]
    assert batch.weight_std[1, 0].tolist() == pytest.approx([3.0, 2.0, 1.0])
    for settings, message in (
        ({"weight_std": [1.0, 2.0]}, r"weight_std has shape \(2,\)"),
        ({"weight_std": [1.0, -2.0, 1.0]}, "must be finite, > 0"),
        ({"ard_num_dims": 0}, "ard_num_dims is 0"),
        ({"ard_num_dims": None, "weight_std": [1.0, 2.0]}, r"weight_std has shape \(2,\)"),
    ):
        with pytest.raises(InvalidInput, match=message):
            InfiniteWidthKernel(**{"ard_num_dims": 3} | settings)
    with pytest.raises(InvalidInput, match="last_dim_is_batch"):
        single.forward(X, X, last_dim_is_batch=True)
    with pytest.raises((InvalidInput, RuntimeError), match=r"3|dimensionality"):
        single(X[:, :2]).to_dense()


def test_training_finds_the_coordinate_that_matters():
    kernel = InfiniteWidthKernel("erf", ard_num_dims=3).double()
    points = 2 * torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    values, optimizer = torch.sin(points[:, 1]), torch.optim.Adam(kernel.parameters(), lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        gram = kernel(points).to_dense() + 1e-3 * torch.eye(30, dtype=torch.float64)
        loss = torch.logdet(gram) + values @ torch.linalg.solve(gram, values)
        loss.backward()
        optimizer.step()
    scales = kernel.weight_std.detach()[0]
    assert scales.argmax() == 1 and scales[1] > 2 * scales[[0, 2]].max()


@pytest.mark.parametrize("diag", [False, True])
@pytest.mark.parametrize("settings", [{}, {"activation": "relu", "depth": 2, "kind": "ntk"}, {"activation": "gelu"}])
def test_equal_values_of_two_variables_are_differentiated_apart(settings, diag):
    """d k(x, y) / dx at y = x holds y fixed: half the total derivative of k(x, x), both orders of differentiation."""
    kernel = InfiniteWidthKernel(**settings).double()
    x = X.clone().requires_grad_()
    weights = torch.eye(6, dtype=torch.float64)
    (apart,) = torch.autograd.grad((kernel.forward(x, X.clone(), diag=diag) * (1 if diag else weights)).sum(), x)
    (total,) = torch.autograd.grad(kernel.forward(x, x, diag=True).sum(), x)
    torch.testing.assert_close(2 * apart, total, rtol=1e-12, atol=1e-14)
    _, forward = torch.func.jvp(lambda a: kernel.forward(a, X, diag=True), (X.clone(),), (torch.ones_like(X),))
    torch.testing.assert_close(2 * forward, total.sum(-1).detach(), rtol=1e-12, atol=1e-14)


def test_no_points_and_unequal_numbers_of_points():
    kernel = InfiniteWidthKernel("erf").double()
    assert kernel(X[:0]).to_dense().shape == (0, 0)
    assert kernel(X[:0], diag=True).shape == (0,)
    assert kernel.forward(X[:0], X[:0].clone(), diag=True).shape == (0,)
    with pytest.raises(InvalidInput, match="6 and 2 points"):
        kernel.forward(X, X[:2], diag=True)


def test_python_floats_keep_their_digits():
    """A kernel in double precision takes 0.1, not float32's 0.1, from every entry that takes numbers."""
    start = torch.tensor(0.1, dtype=torch.float64)
    kernel = InfiniteWidthKernel("relu", weight_std=start, bias_std=start.clone()).double()
    for _ in range(2):
        for scale in (kernel.weight_std, kernel.bias_std):
            assert abs(scale.item() - 0.1) < 1e-15
        kernel.weight_std, kernel.bias_std = 0.3, 0.3
        kernel.initialize(weight_std=0.1)
        kernel.bias_std = 0.1
    interval = gpytorch.constraints.Interval(0.05, 0.7)
    bounded = InfiniteWidthKernel("relu", weight_std=0.2, weight_std_constraint=interval).double()
    bounded.weight_std = 0.1
    assert abs(bounded.weight_std.item() - 0.1) < 1e-15
    mixed = InfiniteWidthKernel("relu", weight_std=start)  # the other scale is float32
    mixed(X).to_dense().sum().backward()
    assert (mixed.raw_weight_std.grad.dtype, mixed.raw_bias_std.grad.dtype) == (torch.float64, torch.float32)


class _Forward(torch.nn.Module):
    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def forward(self, x):
        return self.kernel.forward(x, x)


def test_priors_constraints_and_pickling():
    prior = gpytorch.priors.LogNormalPrior(0.0, 1.0)
    kernel = InfiniteWidthKernel(
        "relu", weight_std=0.7, weight_std_constraint=gpytorch.constraints.Interval(0.5, 2.0), bias_std_prior=prior
    )
    assert kernel.weight_std.item() == pytest.approx(0.7)
    kernel.weight_std = 1.5
    assert kernel.weight_std.item() == pytest.approx(1.5)
    kernel.initialize(bias_std=0.25)
    assert kernel.bias_std.item() == pytest.approx(0.25)
    (name, _, found, closure, setting) = next(iter(kernel.named_priors()))
    assert (name, found) == ("bias_std_prior", prior)
    setting(kernel, torch.tensor(0.5))
    assert closure(kernel).item() == pytest.approx(0.5)
    copy = pickle.loads(pickle.dumps(kernel))
    assert torch.equal(copy(X.float()).to_dense(), kernel(X.float()).to_dense())
    other = InfiniteWidthKernel("relu", weight_std_constraint=gpytorch.constraints.Interval(0.5, 2.0))
    other.load_state_dict(kernel.state_dict(), strict=False)
    assert torch.equal(other.weight_std, kernel.weight_std)


def test_training_finds_likelier_scales():
    class Model(gpytorch.models.ExactGP):
        def __init__(self, likelihood):
            super().__init__(X, X[:, 0] * X[:, 1], likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = InfiniteWidthKernel("erf", depth=2) + gpytorch.kernels.ConstantKernel()

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))

    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    model = Model(likelihood).double().train()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = -objective(model(X), X[:, 0] * X[:, 1])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in model.covar_module.parameters())


def test_bad_input_is_one_clear_error():
    for settings, message in (
        ({"kind": "rbf"}, "kind is 'rbf'"),
        ({"weight_std": -1.0}, "weight_std = -1.0 must be finite, > 0"),
        ({"bias_std": float("inf")}, "bias_std = inf must be finite"),
        ({"weight_std": 3.0, "weight_std_constraint": gpytorch.constraints.Interval(0.5, 2.0)}, "constraint"),
        ({"ard_num_dims": 2.5}, "ard_num_dims is 2.5; pass an integer"),
        ({"weight_std": "a"}, "weight_std = 'a' must be a number"),
        ({"weight_sdt": 2.0}, "weight_sdt = 2.0 is no argument"),
        ({"activation": "leaky_relu", "parameters": [1]}, "pass a mapping"),
        ({"weight_std": True}, "weight_std = True must be a number"),
        ({"bias_std": torch.ones(2)}, r"bias_std has shape \(2,\)"),
        ({"weight_std_prior": 3}, "weight_std_prior is 3; pass a prior"),
        ({"bias_std_constraint": 3}, "bias_std_constraint is 3; pass a constraint"),
        ({"activation": ["erf", "relu"], "depth": 3}, "activation lists 2 layers"),
    ):
        with pytest.raises(InvalidInput, match=message):
            InfiniteWidthKernel(**settings)
    with pytest.raises(InvalidInput, match=r"x1 is torch.float64 on cpu and x2 torch.float32"):
        InfiniteWidthKernel()(X, X.float()).to_dense()
    with pytest.raises(InvalidInput, match=r"layout torch\.sparse"):
        InfiniteWidthKernel()(X.to_sparse()).to_dense()
    with pytest.raises(InvalidInput, match=r"batches of points \(3,\) and \(3,\) and batch_shape \(4,\)"):
        InfiniteWidthKernel(batch_shape=torch.Size([4])).forward(X.expand(3, 6, 3), X.expand(3, 6, 3))
    for points in (X.half(), X.long(), X * float("nan")):
        with pytest.raises(InvalidInput, match=r"X has dtype|must be finite"):
            InfiniteWidthKernel()(points).to_dense()


@pytest.mark.parametrize("settings", [{}, {"activation": "relu", "depth": 2, "kind": "ntk"}])
def test_diagonal_of_many_pairs(settings):
    """More pairs than a block holds, some of them coincident; also its derivatives."""
    kernel = InfiniteWidthKernel(**settings).double()
    one = torch.randn(101, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    two = one.detach().flip(0).clone()
    pairs, whole = kernel.forward(one, two, diag=True), kernel.forward(one, two).diagonal()
    torch.testing.assert_close(pairs, whole, rtol=1e-14, atol=0)
    weights = torch.linspace(-1, 1, 101, dtype=torch.float64)
    gradients = [torch.autograd.grad((values * weights).sum(), one)[0] for values in (pairs, whole)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)


def test_batches_and_composition():
    """Batches of scales and of points, in sums and products, lazily indexed, as trained and copied kernels are."""
    batch = InfiniteWidthKernel("erf", batch_shape=torch.Size([2])).double()
    batch.weight_std = torch.tensor([0.5, 1.5], dtype=torch.float64).reshape(2, 1, 1)
    single = InfiniteWidthKernel("erf", weight_std=1.5).double()
    torch.testing.assert_close(batch(X).to_dense()[1], single(X).to_dense(), rtol=1e-6, atol=0)
    assert torch.equal(batch[1](X).to_dense(), batch(X).to_dense()[1])
    torch.testing.assert_close(batch(X)[1, 2:, :3].to_dense(), batch(X).to_dense()[1, 2:, :3])
    for kernel in (
        gpytorch.kernels.ScaleKernel(InfiniteWidthKernel("relu", active_dims=[0, 2])),
        InfiniteWidthKernel("erf") + gpytorch.kernels.RBFKernel(),
        InfiniteWidthKernel("erf") * InfiniteWidthKernel("relu", depth=2, kind="ntk"),
    ):
        kernel.double()
        dense = kernel(X).to_dense()
        torch.testing.assert_close(kernel(X, diag=True), dense.diagonal())
        dense.sum().backward()
        assert all(parameter.grad is not None for parameter in kernel.parameters())
        assert torch.equal(pickle.loads(pickle.dumps(kernel))(X).to_dense(), dense)


def test_constraints_say_where_training_starts():
    constraint = gpytorch.constraints.Interval(0.5, 4.0, initial_value=3.0)
    kernel = InfiniteWidthKernel(weight_std_constraint=constraint)
    assert (kernel.weight_std.item(), kernel.bias_std.item()) == (pytest.approx(3.0), pytest.approx(1.0))
    assert InfiniteWidthKernel(weight_std=2.0, weight_std_constraint=constraint).weight_std.item() == pytest.approx(2.0)


@pytest.mark.filterwarnings("ignore")  # of dynamo
def test_compiled_models_call_the_kernel_as_it_is():
    kernel = InfiniteWidthKernel("erf").double()
    compiled = torch.compile(lambda x: 2 * kernel.forward(x, x), backend="eager")
    assert torch.equal(compiled(X), 2 * kernel.forward(X, X))


def test_without_the_matrix_a_model_trains_and_predicts_as_with_it():
    X = torch.randn(120, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, settings = torch.sin(X[:, 0]), gpytorch.settings

    class Model(gpytorch.models.ExactGP):
        def __init__(self, matrix_free):
            super().__init__(X, y, gpytorch.likelihoods.GaussianLikelihood())
            self.mean = gpytorch.means.ZeroMean()
            self.kernel = gpytorch.kernels.ScaleKernel(InfiniteWidthKernel("erf", matrix_free=matrix_free))

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

    found = []
    for matrix_free in (False, True):
        model = Model(matrix_free).double()
        with (
            settings.max_cholesky_size(1 if matrix_free else 1000),
            settings.cg_tolerance(1e-5),
            settings.num_trace_samples(300),
            settings.min_preconditioning_size(10),
            torch.random.fork_rng(),
        ):
            torch.manual_seed(0)
            gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)(model(X), y).backward()
            model.eval()
            with torch.no_grad():
                prediction = model(X[:9] + 0.1)
                found.append([*(p.grad.clone() for p in model.parameters()), prediction.mean, prediction.variance])
        assert isinstance(model.kernel.base_kernel(X).evaluate_kernel(), GramOperator) is matrix_free
    torch.testing.assert_close(found[1][:-2], found[0][:-2], rtol=0.1, atol=2e-3)
    torch.testing.assert_close(found[1][-2:], found[0][-2:], rtol=1e-3, atol=1e-4)
    with pytest.raises(InvalidInput, match="matrix_free is for single matrices"):
        InfiniteWidthKernel(matrix_free=True)(X.expand(2, 120, 2)).to_dense()
