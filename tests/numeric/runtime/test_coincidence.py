"""Coincident points: derivatives of the kernels through torch, distances and diagonals, against the metric."""

import numpy as np
import pytest
import torch
from torch.func import hessian, jacfwd, jacrev, vmap

import infgeo

LAYERS = infgeo.layers
NETWORKS = {
    "erf": infgeo.MLP("erf", weight_std=1.1, bias_std=0.3),
    "relu": infgeo.MLP("relu", depth=3, weight_std=1.1, bias_std=0.3),
    "gelu": infgeo.MLP("gelu", depth=2, weight_std=1.1, bias_std=0.3),
    "residual": infgeo.MLP(["relu", LAYERS.Residual("erf", skip=1, branch=2)], weight_std=1.1, bias_std=0.3),
    "norm first": infgeo.MLP([LAYERS.RMSNorm(0.1), "erf", LAYERS.RMSNorm(0), "relu"], weight_std=1.1, bias_std=0.3),
}
POINTS = {"away": [0.6, -0.8, 0.3], "origin": [0.0, 0.0, 0.0], "tiny": [1e-200, 0.0, -1e-200]}


@pytest.mark.parametrize("place", list(POINTS))
@pytest.mark.parametrize("name", list(NETWORKS))
def test_derivatives_are_the_metric(name, place):
    geo = NETWORKS[name].numeric(backend="torch")
    x = torch.tensor(POINTS[place], dtype=torch.float64)
    metric = geo.metric(x)

    def kernel(a, b):
        return geo.kernel(a[None], b[None])[0, 0]

    def half_square(b):
        return (geo.kernel_diag(b) - 2 * kernel(x, b)) / 2

    def close(value, truth):
        return bool(torch.allclose(value, truth, rtol=1e-10, atol=1e-12))

    for outer, inner in ((jacfwd, jacrev), (jacrev, jacfwd), (jacrev, jacrev), (jacfwd, jacfwd)):
        assert close(outer(inner(kernel, 0), 1)(x, x), metric)
    assert close(hessian(half_square)(x), metric)
    batch = vmap(jacfwd(jacrev(kernel, 0), 1))(torch.stack([x, x + 1]), torch.stack([x, x + 1]))
    assert close(batch[0], metric)
    assert close(batch[1], geo.metric(x + 1))
    for function, diagonal in (("kernel", "kernel_diag"), ("ntk", "ntk_diag")):
        for derivative in (jacfwd, jacrev):
            half = derivative(lambda a, f=function: getattr(geo, f)(a[None], x[None])[0, 0])(x)
            assert close(half, derivative(getattr(geo, diagonal))(x) / 2)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(("size", "dtype"), [(1e-100, float), (1e-30, float), (1e-12, float), (1e-15, np.float32)])
@pytest.mark.parametrize("name", ["erf", "relu", "gelu", "residual"])
def test_distance_of_close_points_is_that_of_the_metric(name, size, dtype, backend):
    """|Phi(x) - Phi(y)| = sqrt(h.g.h) for y = x + h, to the order of |h|, near the origin."""
    x = (size * np.array([[0.3, 1.0, -0.2]])).astype(dtype)
    y = (size * np.array([[0.1, -0.4, 0.7]])).astype(dtype)
    geo, double = NETWORKS[name].numeric(backend=backend), NETWORKS[name].numeric()
    array = torch.tensor if backend == "torch" else np.array
    distance = np.asarray(geo.kernel_distance(array(x), array(y)))[0, 0]
    h = (y.astype(float) - x) / size
    truth = np.sqrt((h @ double.metric(np.zeros(3)) @ h.T)[0, 0]) * size
    assert abs(distance / truth - 1) < 16 * np.finfo(dtype).eps + 10 * size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_path_has_the_same_diagonal(name, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3)).astype(dtype)
    X[3], X[5], X[7] = X[4], 0, -X[6]
    X[8] = np.finfo(dtype).smallest_subnormal
    for backend in ("numpy", "torch"):
        geo = NETWORKS[name].numeric(backend=backend)
        array = torch.tensor if backend == "torch" else np.array
        for kind in ("kernel", "ntk"):
            function = getattr(geo, kind)
            diagonal = np.asarray(getattr(geo, f"{kind}_diag")(array(X)))
            grams = [function(array(X), array(X)), *(function(array(X), threads=threads) for threads in (1, 2))]
            both = geo.kernel_and_ntk(array(X))[kind == "ntk"]
            for gram in map(np.asarray, (*grams, both)):
                assert (gram == gram.T).all()
                assert (gram.diagonal() == diagonal).all()
                assert gram[3, 4] == diagonal[3]
            few = np.asarray(function(array(X[:9])))
            assert (few.diagonal() == diagonal[:9]).all()
            assert (np.asarray(function(array(X), array(X[:9]))).diagonal() == diagonal[:9]).all()


@pytest.mark.parametrize("name", ["erf", "relu", "gelu"])
@pytest.mark.parametrize("depth", [1, 2])
def test_half_the_hessian_of_the_squared_distance_is_the_metric(name, depth):
    geo = infgeo.MLP(name, depth=depth).numeric(1.3, 0.7, backend="torch")
    x = torch.tensor([0.4, -0.9, 0.2], dtype=torch.float64)

    def squared(y):
        return geo.kernel_distance(x[None], y[None], squared=True)[0, 0]

    for transform in (torch.func.hessian, lambda f: torch.func.jacrev(torch.func.jacfwd(f))):
        assert torch.allclose(transform(squared)(x) / 2, geo.metric(x), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", ["numpy", "torch", "mpmath"])
def test_squares_of_distances(backend):
    geo = infgeo.MLP("gelu").numeric(1.3, 0.7, backend=backend)
    rows = [[0.5, 1.0], [0.5, 1.0000001], [-2.0, 3.0]]
    X = {"numpy": np.array, "torch": lambda x: torch.tensor(x, dtype=torch.float64)}.get(backend, lambda x: x)(rows)
    plain, squares = (np.array(geo.kernel_distance(X, squared=s).tolist(), float) for s in (False, True))
    assert np.allclose(squares, plain**2, rtol=1e-14, atol=0)


@pytest.mark.parametrize("activation", ["step", "sign", ["step", "erf"]])
@pytest.mark.parametrize("backend", ["numpy", "torch", "mpmath"])
def test_a_jump_at_zero_without_biases(activation, backend):
    """Distances from x = 0 are those of the kernel, also where an angle has no meaning."""
    geo = infgeo.MLP(activation).numeric(1.0, 0.0, backend=backend)
    points = [[0.0, 0.0], [0.3, 0.1], [-0.3, -0.1]]
    k, squared = (
        np.array(part.tolist(), float) for part in (geo.kernel(points), geo.kernel_distance(points, None, True))
    )
    diagonal = k.diagonal()
    assert np.abs(squared - (diagonal[:, None] + diagonal - 2 * k)).max() < 1e-14
