"""Gram matrices and feature distances: exact diagonals, nearly parallel points, every backend."""

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo.conventions import z
from tests.oracle import as_function, pair_moment

EPS = np.finfo(float).eps
GELU = z * (1 + sp.erf(z / sp.sqrt(2))) / 2
CASES = [("erf", 1, 1.3, 0.7), ("erf", 1, 1.3, 0.0), ("relu", 1, 1.3, 0.7), ("relu", 1, 1.3, 0.0), (GELU, 1, 1.3, 0.7)]
DEEP = [("erf", 3, 1.3, 0.7), ("relu", 3, 1.3, 0.7), ("relu", 2, 1.3, 0.0)]


def pairs(kind, seed=0, count=12, dimension=3):
    """Yield pairs of points: angles from 1e-9, equal and unequal norms, radii from 1e-3 to 1e6."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x = rng.normal(size=dimension)
        x /= np.linalg.norm(x)
        across = rng.normal(size=dimension)
        across -= (across @ x) * x
        across /= np.linalg.norm(across)
        angle = 10.0 ** rng.uniform(-9, -1)
        radius = 10.0 ** rng.uniform(-3, 6 if kind == "unequal" else 3)
        y = {
            "random": rng.normal(size=dimension),
            "near": x * np.cos(angle) + across * np.sin(angle),
            "unequal": 1.7 * (x * np.cos(angle) + across * np.sin(angle)),
            "parallel": 2 * x,
            "antiparallel": -x,
            "origin": 0 * x,
        }[kind]
        yield (radius * x)[None], (radius * y)[None]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("kind", ["random", "near", "unequal", "parallel", "antiparallel", "origin"])
@pytest.mark.parametrize("case", CASES + DEEP, ids=str)
def test_kernel_and_distance_against_fifty_digits(case, kind, backend):
    activation, depth, weight_std, bias_std = case
    mlp = infgeo.MLP(activation, depth=depth)
    geo, truth = (mlp.numeric(weight_std, bias_std, backend=name) for name in (backend, "mpmath"))
    array = torch.tensor if backend == "torch" else np.asarray
    for X, Y in pairs(kind):
        kernel = float(geo.kernel(array(X), array(Y))[0, 0])
        distance = float(geo.kernel_distance(array(X), array(Y))[0, 0])
        with mpmath.workdps(50):
            exact, exact_distance = (getattr(truth, name)(X, Y)[0, 0] for name in ("kernel", "kernel_distance"))
            norm = mpmath.sqrt(truth.kernel_diag(X)[0] * truth.kernel_diag(Y)[0])
            assert abs(kernel - exact) <= 8 * depth * EPS * norm + 5e-324
            assert abs(distance - exact_distance) <= 64 * EPS * exact_distance


@pytest.mark.parametrize("name", ["erf", "relu"])
def test_one_minus_rho_at_angle_one_millionth(name):
    """1 - rho from the distance of two points of equal norm, to 1e-13, where 1 - k/k loses 4 digits of 16."""
    angle = 1e-6
    X, Y = np.array([[1.0, 0.0]]), np.array([[np.cos(angle), np.sin(angle)]])
    for bias_std in (0.0, 0.5):
        mlp = infgeo.MLP(name)
        geo, truth = mlp.numeric(1.0, bias_std), mlp.numeric(1.0, bias_std, backend="mpmath")
        value = geo.kernel_distance(X, Y)[0, 0] ** 2 / (2 * geo.kernel_diag(X)[0])
        with mpmath.workdps(50):
            kx, ky, kxy = truth.kernel_diag(X)[0], truth.kernel_diag(Y)[0], truth.kernel(X, Y)[0, 0]
            # Y is on the unit circle up to a rounding; this is the same quotient without any other.
            exact = (kx + ky - 2 * kxy) / (2 * kx)
            assert abs(value / exact - 1) < 1e-13


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("name", ["erf", "relu"])
def test_symmetric_gram_matrices(name, depth, dtype):
    X = np.random.default_rng(1).normal(size=(40, 3)).astype(dtype)
    X[7] = X[3]
    X[11] = 0
    for backend in ("numpy", "torch"):
        geo = infgeo.MLP(name, depth=depth).numeric(1.3, 0.7, backend=backend)
        points = torch.tensor(X) if backend == "torch" else X
        for kind in ("kernel", "ntk"):
            gram = np.asarray(getattr(geo, kind)(points))
            assert gram.dtype == dtype
            assert (gram == gram.T).all()
            assert gram[3, 7] == gram[3, 3] == gram[7, 7]
            assert np.linalg.eigvalsh(gram.astype(float)).min() > -40 * np.finfo(dtype).eps * np.trace(gram)
        gram, diagonal = np.asarray(geo.kernel(points)), np.asarray(geo.kernel_diag(points))
        assert (np.diag(gram) == diagonal).all()
        assert (np.asarray(geo.kernel(points, points)).diagonal() == diagonal).all()
        assert (np.asarray(geo.kernel_distance(points)).diagonal() == 0).all()


def test_large_problems_take_the_blocked_path_and_agree():
    """torch forms all differences of a small problem, and those of nearly parallel points of a large one."""
    X = np.random.default_rng(2).normal(size=(1500, 4))
    X[1::2] = X[::2] * (1 + 1e-7)
    geo, tensors = (infgeo.MLP("relu").numeric(1.3, 0.0, backend=name) for name in ("numpy", "torch"))
    fast, blocked = geo.kernel_distance(X), tensors.kernel_distance(torch.tensor(X)).numpy()
    small = tensors.kernel_distance(torch.tensor(X[:40])).numpy()
    assert np.abs(fast / np.where(blocked == 0, 1, blocked) - 1)[blocked > 0].max() < 64 * EPS
    assert np.allclose(fast[:40, :40], small, rtol=64 * EPS, atol=0)


@pytest.mark.parametrize("activation", ["erf", "relu", GELU])
def test_kernel_against_quadrature(activation):
    mlp = infgeo.MLP(activation)
    phi = as_function(mlp.activation.expr, z)
    X = np.random.default_rng(3).normal(size=(4, 2))
    gram = mlp.numeric(1.3, 0.7).kernel(X)
    pre = 0.49 + 1.69 * X @ X.T
    for i in range(4):
        for j in range(i):
            assert abs(gram[i, j] - pair_moment(phi, phi, pre[i, i], pre[j, j], pre[i, j])) < 1e-13


def test_odd_activations_have_odd_kernels():
    """Without bias, erf maps a point and its mirror image to opposite features, to the bit."""
    X = np.array([[1.0, 2.0], [-1.0, -2.0], [1.0, 2.0]])
    gram = infgeo.MLP("erf").numeric(1.3, 0.0).kernel(X)
    assert gram[0, 0] == gram[0, 2] == -gram[0, 1]


@pytest.mark.parametrize("activation", ["max(z, z**2) + exp(-abs(z))", "abs(z) * exp(-z**2 / 2)"])
def test_constants_within_a_program_are_taken_by_torch(activation):
    mlp = infgeo.MLP(activation, weight_std=1, bias_std=0.3)
    X = np.array([[0.1, 0.2], [0.3, -0.1], [-0.1, -0.2]])
    for quantity in ("kernel", "kernel_distance"):
        expected = getattr(mlp.numeric(), quantity)(X)
        found = getattr(mlp.numeric(backend="torch"), quantity)(torch.tensor(X))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)
