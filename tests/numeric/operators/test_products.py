"""Products without the matrix: against the matrix, compiled and not, for every number of threads."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from scipy.sparse.linalg import cg, eigsh

import infgeo
from infgeo.errors import ExpectationDiverges, InvalidInput
from infgeo.numeric.operators import products
from infgeo.numeric.operators.products import times

TOLERANCE = {"float64": 1e-13, "float32": 1e-5}


def points(dtype="float64", count=700, seed=0):
    """Return points of which two coincide, two nearly, and one is 0."""
    X = np.random.default_rng(seed).standard_normal((count, 3))
    X[7], X[8], X[9] = X[count - 2], X[count - 3] * (1 + 1e-9), 0
    return X.astype(dtype)


@pytest.mark.parametrize(
    ("name", "which", "dtype", "few"),
    [
        ("erf", "kernel", "float64", 1000),
        ("erf", "kernel", "float32", 10**9),
        ("relu", "ntk", "float32", 1000),
        ("relu", "ntk", "float64", 10**9),
        ("step", "kernel", "float64", 1000),  # with pairs that are computed one by one
        ("tanh", "kernel", "float64", 1000),  # a series
    ],
)
def test_products_are_those_of_the_matrix(name, which, dtype, few, monkeypatch):
    monkeypatch.setattr(products, "FEW", few)
    count, other = (150, 140) if name == "tanh" else (700, 650)  # more rows than a band has
    geo, X, Y = infgeo.MLP(name).numeric(bias_std=0.5), points(dtype, count), points(dtype, other, 1)
    for K, operator in (
        (getattr(geo, which)(X), geo.operator(X, which=which)),
        (getattr(geo, which)(X, Y), geo.operator(X, Y, which=which)),
    ):
        assert operator.dtype == dtype
        assert operator.shape == K.shape
        K = K.astype(float)
        for V, values, product in (
            (np.random.default_rng(2).standard_normal((K.shape[1], 40)), K, operator),
            (np.random.default_rng(3).standard_normal(K.shape[0]), K.T, operator.H),
        ):
            error = np.abs(product @ V - values @ V).max()
            assert error <= TOLERANCE[dtype] * (np.abs(values) @ np.abs(V)).max()
    assert np.array_equal(geo.operator(X, which=which).diagonal(), np.diag(getattr(geo, which)(X)))


def test_every_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(products, "FEW", 1000)
    geo, X = infgeo.MLP("erf").numeric(), points(count=2000)
    first = geo.operator(X, threads=1) @ X
    assert all(np.array_equal(first, geo.operator(X, threads=threads) @ X) for threads in (2, 5))


def test_noise_blocks_copies_and_complex_vectors():
    geo, X = infgeo.MLP("relu", depth=2).numeric([1.0, 2.0, 0.5], 0.3), points(count=90)
    operator, K = geo.operator(X, noise=0.5), geo.kernel(X) + 0.5 * np.eye(90)
    X[:] = 0  # the operator keeps its own
    near = {"rtol": 1e-13, "atol": 1e-13}
    np.testing.assert_allclose(operator.block(slice(3, 20), [5, -1]), K[3:20][:, [5, -1]], **near)
    np.testing.assert_allclose(operator.diagonal(), np.diag(K), **near)
    V = np.linspace(0, 1, 90) + 1j
    for one in (operator, copy.deepcopy(operator), pickle.loads(pickle.dumps(operator)), operator.T):
        np.testing.assert_allclose(one @ V, K @ V, **near)


def test_solvers_of_scipy():
    geo, X = infgeo.MLP("erf").numeric(), points(count=120)
    K, y = geo.kernel(X) + 0.1 * np.eye(120), np.sin(X[:, 0])
    operator = geo.operator(X, noise=0.1)
    found, failed = cg(operator, y, rtol=1e-11)
    assert not failed
    np.testing.assert_allclose(found, np.linalg.solve(K, y), atol=1e-8)
    np.testing.assert_allclose(
        eigsh(operator, k=2, v0=np.ones(operator.shape[0]))[0], np.linalg.eigvalsh(K)[-2:], rtol=1e-12
    )


def test_kernels_of_users():
    geo, X = infgeo.kernels.rbf(1).numeric(), points(count=300)
    np.testing.assert_allclose(geo.operator(X) @ X, geo.kernel(X) @ X, rtol=1e-12, atol=1e-12)
    with pytest.raises(InvalidInput, match="not among the functions"):
        geo.operator(X, which="ntk")


def test_memory_does_not_grow_with_the_matrix(monkeypatch):
    monkeypatch.setattr(products, "FEW", 1000)
    operator = infgeo.MLP("erf").numeric().operator(points(count=3000), threads=2)
    operator @ np.ones(3000)
    tracemalloc.start()
    operator @ np.ones(3000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000**2 * 8 / 8


@pytest.mark.parametrize(("n", "m", "k"), [(128, 512, 1), (128, 500, 70), (100, 128, 3), (7, 9, 2)])
def test_small_products(n, m, k):
    A, V = np.random.default_rng(0).standard_normal((n, m)), np.random.default_rng(1).standard_normal((m, k))
    for B in (A, np.asfortranarray(A), np.hstack([A, A])[:, :m]):
        np.testing.assert_allclose(times(B, V), A @ V, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda geo, X: geo.operator(X, which="metric"), "choose from 'kernel', 'ntk'"),
        (lambda geo, X: geo.operator(X, noise=-1.0), "noise is -1.0"),
        (lambda geo, X: geo.operator(X, X, noise=1.0), "leave Y or noise out"),
        (lambda geo, X: geo.operator(X[0]), r"expected \(N, d\)"),
        (lambda geo, X: geo.operator(X + np.nan), "must be finite"),
        (lambda geo, X: geo.operator(X, X[:, :2]), "they must agree"),
        (lambda geo, X: geo.operator(X, threads=0), "threads = 0"),
        (lambda geo, X: geo.operator(X * 1e200), "does not keep the digits"),
        (lambda geo, X: geo.operator(X, X[:5]).diagonal(), "leave Y out"),
        (lambda geo, X: infgeo.MLP("erf").numeric(backend="mpmath").operator(X), "in NumPy and torch"),
        (lambda geo, X: infgeo.MLP("erf").numeric(method="quadrature").operator(X), "closed forms and mixtures"),
    ],
)
def test_what_has_no_operator(call, words):
    with pytest.raises(InvalidInput, match=words):
        call(infgeo.MLP("erf").numeric(), points(count=20))


def test_no_tangent_kernel_no_operator():
    with pytest.raises(ExpectationDiverges, match="no tangent kernel"):
        infgeo.MLP("step").numeric().operator(points(count=20), which="ntk")
