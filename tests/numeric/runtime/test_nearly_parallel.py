"""Angles carried through layers: tangent kernels with kinks at nearly parallel and opposite points, to 50 digits."""

import mpmath
import numpy as np
import pytest
import torch
from sympy import Abs, Max, Min, Rational, symbols

import infgeo
from infgeo.numeric.runtime.gram import fast

LAYERS = infgeo.layers
z = symbols("z", real=True)
EPS = np.finfo(float).eps
PROMISE = {"float64": 1e-12, "float32": 1e-5}
ANGLES = [0, 1e-9, 1e-6, 1e-3, 0.17, 0.26, 1.5, 2.9, np.pi - 1e-3, np.pi - 1e-9]
LENGTHS = [1e-3, 0.37, 3.1, 1e3]
RESIDUAL = ["relu", LAYERS.Residual("relu", skip=1, branch=2), LAYERS.Residual("abs", skip=2, branch=Rational(1, 50))]
NETWORKS = {
    "relu, 2 layers": infgeo.MLP("relu", depth=2),
    "relu, 3 layers": infgeo.MLP("relu", depth=3),
    "relu, 10 layers": infgeo.MLP("relu", depth=10),
    "abs, 5 layers": infgeo.MLP("abs", depth=5),
    "a sum, 3 layers": infgeo.MLP(Max(z, 0) + z / 3, depth=3),
    "hardly bent": infgeo.MLP([z + Abs(z) / 100, Max(z, 0) + Min(z, 0) / 100, "relu"]),
    "linear layers": infgeo.MLP(["identity", "relu", "identity", "abs"]),
    "normalised": infgeo.MLP([LAYERS.RMSNorm(0), "relu", LAYERS.RMSNorm(1), "leaky_relu", LAYERS.RMSNorm(0), "relu"]),
    "residual": infgeo.MLP(RESIDUAL),
    "residual, hardly bent": infgeo.MLP(
        ["identity", LAYERS.Residual("relu", skip=1, branch=Rational(1, 1000)), "relu"]
    ),
    "of degree 2": infgeo.MLP("rectified_square", depth=3),
    "of degrees 3 and 1": infgeo.MLP(["cube", "relu", "relu"]),
    "odd": infgeo.MLP(["erf", "relu"]),
}


def pairs_of_points():
    """Points at all angles and lengths, with the origin, and pairs of them, of different lengths most."""
    X = [[r * np.cos(0.4 + t), r * np.sin(0.4 + t), 0.0] for t in ANGLES for r in LENGTHS]
    X += [[-r * np.cos(0.4), -r * np.sin(0.4), 0.0] for r in LENGTHS] + [[0.0, 0.0, 0.0]]
    pairs = [(i, j) for i in range(len(X)) for j in range(i) if X[i] != X[j]]
    return np.array(X), [pairs[n] for n in np.random.default_rng(0).permutation(len(pairs))]


# Opposite directions at lengths 1e-3 and 1e3, parallel ones at these, and of one length at the angle 1e-9.
ALWAYS = [(40, 15), (36, 19), (3, 0), (5, 1)]


def worst(geo, exact, X, rows, pairs):
    """Return the largest error of kernel and tangent kernel at pairs, of the norms."""
    errors = []
    with mpmath.workdps(50):
        points = [[mpmath.mpf(float(x)) for x in row] for row in X]
        for kind, gram in zip(("kernel", "ntk"), map(np.asarray, geo.kernel_and_ntk(rows)), strict=True):
            diagonal, function = getattr(exact, f"{kind}_diag"), getattr(exact, kind)
            for i, j in [*ALWAYS, *pairs]:
                truth = function([points[i]], [points[j]])[0, 0]
                norm = mpmath.sqrt(diagonal([points[i]])[0] * diagonal([points[j]])[0])
                if norm:
                    errors.append(float(abs(mpmath.mpf(float(gram[i, j])) - truth) / norm))
    return max(errors)


# Products of variances leave single precision where activations are of higher degree.
CASES = [(name, dtype) for name in NETWORKS for dtype in (np.float64, np.float32)]
CASES = [(name, dtype) for name, dtype in CASES if dtype == np.float64 or not name.startswith("of degree")]


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.parametrize("bias_std", [0.0, 0.01, 1.0])
def test_deep_kernels_keep_their_digits(name, bias_std, dtype, monkeypatch):
    """Few points by broadcasting, many by the compiled formula."""
    monkeypatch.setattr(fast, "FEW", 5000)
    mlp = NETWORKS[name]
    own = {symbol.name: 0.01 for symbol in mlp.parameters if symbol.name not in ("sigma_w", "sigma_b")}
    X, pairs = pairs_of_points()
    X = X.astype(dtype)
    many = np.concatenate([X, np.random.default_rng(1).normal(size=(60, 3)).astype(dtype)])
    exact = mlp.numeric(1.3, bias_std, "mpmath", **own)
    for backend, array in (("numpy", np.array), ("torch", torch.tensor)):
        geo = mlp.numeric(1.3, bias_std, backend, **own)
        for rows in (X, many):
            start = 25 * (len(rows) > len(X)) + 50 * (backend == "torch")  # other pairs for each of the four
            found = worst(geo, exact, X, array(rows), pairs[start : start + 15])
            assert found <= PROMISE[np.dtype(dtype).name], (backend, len(rows))


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_relu_against_the_recursion_of_its_angle(bias):
    """Cho & Saul's recursion, written out at 50 digits, at every pair of 70 points in the plane."""
    depth = 4
    X = np.random.default_rng(2).normal(size=(70, 2))
    X[1::2] = X[::2] * 2 + 1e-9 * X[1::2]
    gram = infgeo.MLP("relu", depth=depth).numeric(1.3, bias).ntk(X)
    with mpmath.workdps(50):
        w, b = mpmath.mpf(1.3) ** 2, mpmath.mpf(bias) ** 2
        for i in range(0, 70, 7):
            for j in range(max(0, i - 1), 70, 5):
                x, y = ([mpmath.mpf(value) for value in X[n]] for n in (i, j))
                p, q, c = b + w * mpmath.fdot(x, x), b + w * mpmath.fdot(y, y), b + w * mpmath.fdot(x, y)
                D, norm = mpmath.mpf(0), mpmath.mpf(0)
                for layer in range(depth):
                    if layer:
                        p, q, c, D = b + w * p, b + w * q, b + w * c, w * D
                    rho = max(min(c / mpmath.sqrt(p * q), mpmath.mpf(1)), mpmath.mpf(-1))
                    angle = mpmath.acos(rho)
                    D = (1 - angle / mpmath.pi) / 2 * (c + D)
                    c = mpmath.sqrt(p * q) * (mpmath.sin(angle) + (mpmath.pi - angle) * rho) / (2 * mpmath.pi)
                    p, q = p / 2, q / 2
                    norm = c + D
                assert abs(gram[i, j] - norm) <= 8 * depth * EPS * mpmath.sqrt(gram[i, i] * gram[j, j])


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("layers", [["relu"], RESIDUAL, ["abs", "step"]], ids=["relu", "residual", "jump"])
def test_distances_that_are_angles_alone(layers, backend):
    """After a normalisation without epsilon, or a jump, distances of nearly parallel points are relatively accurate."""
    mlp = infgeo.MLP([*layers, LAYERS.RMSNorm(0)])
    geo, exact = (mlp.numeric(1.0, 0.0, kind) for kind in (backend, "mpmath"))
    X = np.array([[r * np.cos(t), r * np.sin(t)] for t in (0.3, 0.3 + 1e-9, 0.3 + 1e-5, 0.4) for r in (0.1, 3.0)])
    found = np.asarray(geo.kernel_distance(torch.tensor(X) if backend == "torch" else X))
    with mpmath.workdps(50):
        for i in range(2, len(X)):
            for j in range(i - i % 2):
                truth = exact.kernel_distance([list(X[i])], [list(X[j])])[0, 0]
                assert abs(found[i, j] / truth - 1) <= 16 * len(mlp.with_weights) * EPS


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_angles_of_features_of_close_lengths(backend):
    """Of parallel points the determinant is a square of their variances' difference, which rounds less than these."""
    mlp = infgeo.MLP([LAYERS.Dense("z*exp(-z**2/4)", 1.33, 0), LAYERS.RMSNorm(0)])
    geo, exact = mlp.numeric(backend=backend), mlp.numeric(backend="mpmath")
    x = np.array([[0.2, -0.11]])
    for step in (1e-4, 1e-8):
        y = x * (1 + step)
        points = [torch.tensor(part) if backend == "torch" else part for part in (x, y)]
        with mpmath.workdps(50):
            truth = exact.kernel_distance([list(x[0])], [list(y[0])])[0, 0]
            assert abs(np.asarray(geo.kernel_distance(*points))[0, 0] / truth - 1) <= 1e-13


@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_many_strips_of_deep_networks(dimension, monkeypatch):
    """Rectangles, threads, mirror images: against the same pairs by broadcasting; on a line all points are parallel."""
    monkeypatch.setattr(fast, "FEW", 5000)
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(500, dimension)), rng.normal(size=(230, dimension))
    for mlp in (NETWORKS["relu, 3 layers"], NETWORKS["residual"], NETWORKS["normalised"]):
        own = {symbol.name: 0.25 for symbol in mlp.parameters if symbol.name not in ("sigma_w", "sigma_b")}
        geo = mlp.numeric(1.2, 0.0, **own)
        whole, kernel, part = geo.ntk(X, threads=2), geo.kernel(X), geo.ntk(X, Y)
        norms = np.sqrt(np.outer(geo.ntk_diag(X), geo.ntk_diag(X)))
        assert (whole == whole.T).all()
        assert (whole.diagonal() == geo.ntk_diag(X)).all()
        both = geo.kernel_and_ntk(X)
        assert (np.abs(both[0] - kernel) <= 1e-12 * norms).all()
        assert (np.abs(both[1] - whole) <= 1e-12 * norms).all()
        for i in (0, 211, 499):
            row = geo.ntk(X[i : i + 1], X)[0]
            assert (np.abs(whole[i] - row) <= 1e-12 * norms[i]).all()
            row = geo.ntk(X[i : i + 1], Y)[0]
            assert (np.abs(part[i] - row) <= 1e-12 * np.sqrt(geo.ntk_diag(X[i]) * geo.ntk_diag(Y))).all()


def test_lengths_far_apart():
    """Of the shorter of two points mpmath needs no more digits, and NumPy's matrices and pairs agree with it."""
    X = np.random.default_rng(4).normal(size=(80, 3))
    X[:2] *= 1e30
    geo, exact = (NETWORKS["relu, 3 layers"].numeric(1.3, 0.0, name) for name in ("numpy", "mpmath"))
    for i, j in ((0, 5), (5, 0), (1, 6)):
        pair = [list(X[i])], [list(X[j])]
        with mpmath.workdps(30):
            truth = exact.ntk(*pair)[0, 0]
        with mpmath.workdps(500):
            assert abs(truth / exact.ntk(*pair)[0, 0] - 1) < 1e-25
        for gram in (geo.ntk(X)[i, j], geo.ntk(X[[i]], X[[j]])[0, 0]):
            assert abs(gram / truth - 1) < 1e-12


SUM_OF_ABS = ["identity", LAYERS.Residual("abs", skip=1, branch=1), "relu"]


@pytest.mark.parametrize(
    "network, quantity, weight_std",
    [
        (infgeo.MLP("erf"), "kernel_distance", 1.2),
        (NETWORKS["relu, 3 layers"], "ntk", 1.2),
        (NETWORKS["linear layers"], "ntk", 1.2),
        (infgeo.MLP(SUM_OF_ABS), "ntk", 1.2),
        (infgeo.MLP("hardtanh"), "kernel", 1.2),
        (infgeo.MLP("mish"), "kernel_distance", 1.2),
        (infgeo.MLP("elu"), "kernel", 1e-3),
    ],
    ids=["odd", "relu", "linear", "residual", "corner", "quadrature", "slopes"],
)
def test_derivatives_at_right_angles(network, quantity, weight_std):
    """Without biases, and where lengths are equal or x is orthogonal to y - x: |c| and the like have derivatives."""
    x, step = np.array([1.0, 0.0, 0.0]), 1e-5
    Y = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.6, 0.8, 0.0], [1.0, 2.0, 0.0]])
    values = getattr(network.numeric(weight_std, 0.0), quantity)(x + step * np.concatenate([np.eye(3), -np.eye(3)]), Y)
    difference = (values[:3] - values[3:]).T / (2 * step)
    function = getattr(network.numeric(weight_std, 0.0, backend="torch"), quantity)
    found = torch.func.jacrev(lambda point: function(point[None], torch.from_numpy(Y))[0])(torch.from_numpy(x))
    assert np.abs(found.numpy() - difference).max() < 1e-6 * np.abs(difference).max()
