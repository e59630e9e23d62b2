"""The checks of a kernel, on kernels of all kinds and on kernels that are wrong in one way each."""

from __future__ import annotations

import subprocess
import sys
import types

import numpy as np
import pytest
import sympy
import torch

import infgeo
from infgeo import kernels
from infgeo.errors import InvalidInput
from infgeo.testing import check_kernel

ERF = infgeo.MLP("erf")


GEO = ERF.numeric(1.0, 0.5)


IN_TORCH = ERF.numeric(1.0, 0.5, backend="torch")


KERNELS = {
    "erf": ERF.kernel,
    "erf, tangent": ERF.ntk,
    "deep relu": infgeo.MLP("relu", depth=2, bias_std=0).kernel,
    "rbf": kernels.rbf(),
    "polynomial": kernels.polynomial(3),
    "matern 3/2": kernels.matern(sympy.Rational(3, 2)),
    "sum and product": 2 * kernels.linear() * infgeo.MLP("relu", bias_std=0, weight_std=1).kernel + 1,
    "composition": kernels.rbf(1).compose(infgeo.MLP("gaussian").kernel),
    "expression": infgeo.Kernel(sympy.cos(sympy.Symbol("xy")) * 0 + sympy.exp(sympy.Symbol("xy") / 4)),
    "fan in": infgeo.MLP("erf", input_scale="fan_in").kernel,
}


@pytest.mark.parametrize("name", KERNELS)
def test_formulas(name):
    report = check_kernel(KERNELS[name], skip=["simulation"])
    assert report["metric"].status == "passed"
    assert (report["quadrature"].status == "passed") is hasattr(KERNELS[name], "network")


def test_a_kernel_without_a_metric_is_seen_to_have_none():
    report = check_kernel(kernels.matern(sympy.Rational(1, 2)))
    assert report["metric"].measured == pytest.approx(1.0, abs=0.01)
    tangent = check_kernel(infgeo.MLP("relu").numeric(1.0, 0.5, backend="torch").ntk, skip=["simulation"])
    assert tangent["metric"].measured == pytest.approx(1.0, abs=0.01)
    assert "no second derivatives" in tangent["hessian"].note


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_both_precisions(backend, dtype):
    report = check_kernel(infgeo.MLP("gelu").numeric(0.8, 0.3, backend=backend), dtype=dtype, skip=["simulation"])
    assert report["quadrature"].bound == pytest.approx(1e-10 if dtype == "float64" else 256 * 2.0**-23)
    assert (report["hessian"].status == "passed") is (backend == "torch")


def test_files_and_adapters_and_kernels_of_others():
    from gpytorch.kernels import RBFKernel
    from sklearn.gaussian_process.kernels import RBF, DotProduct

    from infgeo.adapters import gpytorch, sklearn

    module = types.ModuleType("written")
    exec(infgeo.emit(ERF), module.__dict__)
    assert check_kernel(module)["diagonal"].bound == 0
    assert check_kernel(sklearn.InfiniteWidthKernel("relu", depth=2, kind="ntk"))["quadrature"].status == "passed"
    ours = gpytorch.InfiniteWidthKernel("erf", weight_std=0.8).double()
    report = check_kernel(ours)
    assert report["quadrature"].measured < 1e-12
    assert report["hessian"].status == "passed"
    assert check_kernel(2.0 * RBF() + DotProduct())["diagonal"].status == "passed"
    assert check_kernel(RBFKernel().double())["hessian"].status == "passed"


def plain(X, Y=None):
    return GEO.kernel(X, Y)


def coincident(X, Y):
    return (X[:, None] == (X if Y is None else Y)[None]).all(-1)


def with_wrong_second_derivative(X, Y=None):
    """The values of a kernel, and its first derivatives at coincidence."""
    squared = torch.cdist(X, X if Y is None else Y).square() if Y is None else ((X[:, None] - Y[None]) ** 2).sum(-1)
    return IN_TORCH.kernel(X, Y) + 1e-3 * (squared - squared.detach())


def without_derivative(X, Y=None):
    same = (X[:, None] == (X if Y is None else Y)[None]).all(-1)
    k = IN_TORCH.kernel(X, Y)
    return torch.where(same, k.detach(), k)


def nan_derivative(X, Y=None):
    k = IN_TORCH.kernel(X, Y)
    squared = ((X[:, None] - (X if Y is None else Y)[None]) ** 2).sum(-1)
    return k + 0 * torch.sqrt(squared)


def of_its_neighbours(X, Y=None):
    return GEO.kernel(X, Y) * (1 + 1e-9 * len(X))


MILD = {"network": ERF, "weight_std": 1.0, "bias_std": 0.5, "skip": ["simulation"]}


WRONG = {
    "diagonal of k(X)": (lambda X, Y=None: plain(X, Y) + (1e-9 * np.eye(len(X)) if Y is None else 0), {}, "diagonal"),
    "own diagonal": (plain, {"diagonal": lambda X: GEO.kernel_diag(X) * (1 + 1e-12)}, "diagonal"),
    "own diagonal, shape": (plain, {"diagonal": lambda X: GEO.kernel_diag(X)[:, None]}, "diagonal"),
    "white noise": (lambda X, Y=None: plain(X, Y) + 0.1 * coincident(X, Y), {}, "continuity"),
    "asymmetric": (lambda X, Y=None: plain(X, Y) * (1 + 1e-12 * np.sign(X[:, :1])), {}, "symmetry"),
    "indefinite": (lambda X, Y=None: plain(X, Y) - 0.1, {}, "positive_semidefinite"),
    "indefinite by little": (lambda X, Y=None: plain(X, Y) - 1e-6 * coincident(X, Y), {}, "positive_semidefinite"),
    "off by 1e-9": (lambda X, Y=None: plain(X, Y) * (1 + 1e-9), MILD, "quadrature"),
    "NaN at coincidence": (lambda X, Y=None: np.where(coincident(X, Y), np.nan, plain(X, Y)), {}, "finite"),
    "shape": (lambda X, Y=None: plain(X, Y)[:, :1], {}, "finite"),
    "neighbours": (of_its_neighbours, {}, "evaluation"),
    "metric": (plain, {"metric": lambda X: GEO.metric(X) * (1 + 1e-4)}, "metric"),
    "metric across": (plain, {"metric": lambda X: GEO.metric(X) + 1e-3 * (1 - np.eye(3))}, "metric"),
    "metric of the last axis": (plain, {"metric": lambda X: GEO.metric(X) * np.diag([1, 1, 1.01])}, "metric"),
    "metric without symmetry": (plain, {"metric": lambda X: GEO.metric(X) + np.diag([1e-3, 0], 1)[:3, :3]}, "metric"),
    "metric, shape": (plain, {"metric": lambda X: GEO.metric(X)[:, :2]}, "metric"),
    "complex": (lambda X, Y=None: plain(X, Y) + 1e-3j, {}, "finite"),
    "metric of jumps": (infgeo.MLP("step").numeric().kernel, {"metric": GEO.metric}, "metric"),
    "distance": (plain, {"distance": lambda X, Y=None: GEO.kernel_distance(X, Y) * (1 + 1e-9)}, "distance"),
    "distance at 0": (plain, {"distance": lambda X, Y=None: GEO.kernel_distance(X, Y) + 1e-12}, "distance"),
    "second derivative": (with_wrong_second_derivative, {}, "hessian"),
    "no derivative": (without_derivative, {}, "gradient"),
    "NaN derivative": (nan_derivative, {}, "gradient"),
    "raises": (lambda X, Y=None: plain(X, Y) if len(X) < 5 else 1 / 0, {}, "symmetry"),
}


ALONE = (
    *("own diagonal", "own diagonal, shape", "off by 1e-9", "metric", "distance", "distance at 0"),
    *("second derivative", "asymmetric", "metric across", "metric of the last axis", "metric without symmetry"),
)


@pytest.mark.parametrize("name", WRONG)
def test_each_defect_is_caught_by_the_check_for_it(name):
    k, options, expected = WRONG[name]
    report = check_kernel(k, raises=False, **options)
    failures = [check.name for check in report.failures]
    assert expected in failures
    assert not report
    if name in ALONE:
        assert failures == [expected]


def test_the_right_kernel_passes_where_the_wrong_ones_fail():
    for options in ({}, MILD, {"metric": GEO.metric, "distance": GEO.kernel_distance, "diagonal": GEO.kernel_diag}):
        assert check_kernel(plain, **options).passed
    assert check_kernel(lambda X, Y=None: IN_TORCH.kernel(X, Y)).passed


@pytest.mark.parametrize(
    ("k", "options", "message"),
    [
        (3.0, {}, "k = 3.0 is no kernel"),
        (lambda X: X, {}, "takes neither arrays nor tensors"),
        (plain, {"kind": "rbf"}, "kind is 'rbf'"),
        (plain, {"skip": ["nothing"]}, "skip names nothing"),
        (plain, {"points": [[1.0, 2.0]]}, "two or more rows"),
        (plain, {"points": [[1.0, np.nan], [0.0, 1.0]]}, "finite"),
        (plain, {"points": "abc"}, "cannot be made an array"),
        (plain, {"input_dim": 0}, "input_dim is 0"),
        (plain, {"input_dim": 2.5}, "input_dim is 2.5"),
        (plain, {"seed": "a"}, "seed is 'a'"),
        (plain, {"network": "erf"}, "must be an infgeo.MLP"),
        (plain, {"dtype": "float16"}, "dtype is dtype\\('float16'\\)"),
        (kernels.rbf(), {"parameters": {"length": 2.0}}, "values are given for length"),
        (infgeo.MLP("exp(z**2)").kernel, {}, "pass smaller weight_std and bias_std"),
    ],
)
def test_bad_input_is_one_clear_error(k, options, message):
    with pytest.raises(InvalidInput, match=message):
        check_kernel(k, **options)


def test_points_of_the_user_and_values_of_parameters():
    def cosine(X, Y=None):
        X, Y = (Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in (X, X if Y is None else Y))
        return X @ Y.T

    with np.errstate(invalid="ignore"):
        assert check_kernel(cosine, raises=False)["finite"].status == "failed"  # it has no value at 0
    assert check_kernel(cosine, points=[[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]).configuration["d"] == 2
    report = check_kernel(ERF.kernel, weight_std=0.7, bias_std=0.0, input_dim=2, skip=["simulation"])
    assert report.configuration == {"d": 2, "seed": 0, "sigma_b": 0.0, "sigma_w": 0.7}


def test_importing_the_kit_loads_no_torch():
    program = "import infgeo, sys; infgeo.testing.checks; print('torch' in sys.modules)"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert completed.stdout.strip() == "False"


def test_a_backend_without_arrays_of_numpy():
    report = check_kernel(ERF.numeric(1.0, 0.5, backend="mpmath"), dtype="float32", skip="simulation")
    assert report["metric"].status == report["distance"].status == report["quadrature"].status == "passed"


def test_opposite_points_of_one_dimension():
    """Without biases ReLU features of x and -x have no common unit: k = 0 in every network, but for rounding."""
    assert check_kernel(infgeo.MLP("relu").numeric(1.0, 0.0), input_dim=1)["simulation"].status == "passed"
