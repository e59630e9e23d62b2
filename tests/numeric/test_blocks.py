"""Gram matrices in blocks: against 50 digits, against the formulas they come from, and what `out` and threads do."""

import tracemalloc

import mpmath
import numpy as np
import pytest

import infgeo
from infgeo.errors import InvalidInput
from infgeo.numeric.emit import emit
from infgeo.symbolic.catalogue import available

EPS = np.finfo(float).eps
OPEN = {"tanh", "sigmoid", "softplus", "silu", "elu"}  # no closed form
CLOSED = [name for name in available() if name not in OPEN]
COUNT = 90  # points: more pairs than are computed with all care one by one


def own(mlp):
    return {symbol.name: 0.7 for symbol in mlp.parameters if symbol.name not in ("sigma_w", "sigma_b")}


def emitted(mlp):
    namespace = {"__name__": "emitted"}
    exec(compile(emit(mlp), "<emitted>", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("name", CLOSED)
def test_formulas_in_place_are_the_formulas(name):
    mlp = infgeo.MLP(name)
    law, parameters = emitted(mlp)["_LAWS"][0], tuple(own(mlp).values())
    rng = np.random.default_rng(0)
    p, q = rng.uniform(0.1, 0.12 if name == "exp" else 3, (2, 40))
    p, q = p[:, None], q[None, :]
    c = rng.uniform(-1, 1, (40, 40)) * np.sqrt(p * q)
    Delta = p * q - c * c

    def buffers(count):
        return [np.full((40, 40), np.nan) for _ in range(count)]

    expected = np.broadcast_to(law.kernel(p, q, c, Delta, *parameters), c.shape)
    result = law.kernel_block(p, q, c.copy(), Delta.copy(), *buffers(law.kernel_buffers), *parameters)
    assert np.abs(result - expected).max() <= 32 * EPS * np.abs(expected).max()
    if law.derivative_kernel:
        slopes = np.broadcast_to(law.derivative_kernel(p, q, c, Delta, *parameters), c.shape)
        kept = c.copy()
        both = law.pair_block(p, q, kept, Delta.copy(), *buffers(law.pair_buffers), *parameters)
        for value, truth in zip(both, (expected, slopes), strict=True):
            assert np.abs(value - truth).max() <= 32 * EPS * np.abs(truth).max()
        assert (kept == c).all()


def points(dimension, dtype=float):
    X = np.random.default_rng(dimension).normal(size=(COUNT, dimension)).astype(dtype)
    X[7], X[9], X[20], X[30] = X[3], 0, -X[21], X[31] * (1 + 1e-9)
    X[40] = 1e3 * X[41] + 1e-5 * X[42]
    return X


INTERESTING = [(3, 7), (9, 1), (9, 9), (20, 21), (30, 31), (40, 41), (41, 42), (0, 1), (5, 60), (88, 89)]


@pytest.mark.parametrize("dimension", [2, 10])
@pytest.mark.parametrize("bias_std", [0.0, 0.5])
@pytest.mark.parametrize(
    ("name", "depth"), [("erf", 1), ("relu", 1), ("gelu", 1), ("gaussian", 1), ("erf", 3), ("abs", 2)]
)
def test_against_fifty_digits(name, depth, bias_std, dimension):
    mlp = infgeo.MLP(name, depth=depth)
    geo, exact = mlp.numeric(1.3, bias_std), mlp.numeric(1.3, bias_std, backend="mpmath")
    X = points(dimension)
    kernel, tangent = geo.kernel_and_ntk(X)
    assert (kernel == kernel.T).all()
    assert (tangent == tangent.T).all()
    with mpmath.workdps(50):
        for i, j in INTERESTING:
            for kind, gram in (("kernel", kernel), ("ntk", tangent)):
                if (name, kind, (i, j)) == ("abs", "ntk", (40, 41)):
                    continue  # nearly parallel, of different norms, at depth 2: the README states the 1e-8 of this case
                truth = getattr(exact, kind)([list(X[i])], [list(X[j])])[0, 0]
                norm = mpmath.sqrt(getattr(exact, kind)([list(X[i])])[0, 0] * getattr(exact, kind)([list(X[j])])[0, 0])
                assert abs(gram[i, j] - truth) <= (8 if depth == 1 else 64) * EPS * norm, (kind, i, j)


@pytest.mark.parametrize("name", ["erf", "relu"])
@pytest.mark.parametrize("scale", [1e-150, 1e-60, 1e60, 1e150])
def test_points_whose_squared_norms_overflow_when_multiplied(name, scale):
    X = np.random.default_rng(0).normal(size=(3, 3)) * scale
    for bias_std in (0.0, 0.5):
        mlp = infgeo.MLP(name)
        geo, exact = mlp.numeric(1.0, bias_std), mlp.numeric(1.0, bias_std, backend="mpmath")
        for kind in ("kernel", "ntk"):
            gram = getattr(geo, kind)(X)
            with mpmath.workdps(50):
                truth = getattr(exact, kind)(X.tolist())
                for i in range(3):
                    for j in range(3):
                        norm = mpmath.sqrt(truth[i, i] * truth[j, j])
                        assert abs(gram[i, j] - truth[i, j]) <= 8 * EPS * norm


LAYERS = infgeo.layers
NETWORKS = [
    infgeo.MLP("erf", depth=2),
    infgeo.MLP(
        ["relu", LAYERS.Residual("erf", skip=1, branch=2), LAYERS.Residual("gelu")], weight_std=1.2, bias_std=0.3
    ),
    infgeo.MLP([LAYERS.RMSNorm(0), "relu", LAYERS.RMSNorm(1), "erf"], bias_std=0.3),
    infgeo.MLP("sin", depth=2),
]


@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_blocks_agree_with_pairs_one_by_one(mlp):
    X, Y = points(5), points(5)[:50] + 0.1
    geo = mlp.numeric()
    for kind in ("kernel", "ntk"):
        function = getattr(geo, kind)
        for other in (None, Y):
            rows = np.concatenate([function(X[i : i + 1], X if other is None else other) for i in range(COUNT)])
            for threads in (1, 2):
                gram = function(X, other, threads=threads)
                assert np.abs(gram - rows).max() <= 64 * EPS * np.abs(rows).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_blocks_threads_and_single_precision(dtype):
    X = np.random.default_rng(0).normal(size=(700, 4)).astype(dtype)
    X[650] = X[10]
    geo = infgeo.MLP("relu", depth=2).numeric()
    one, two = (geo.kernel(X, threads=threads) for threads in (1, 2))
    tolerance = 8 * np.finfo(dtype).eps * np.abs(one).max()
    assert one.dtype == dtype
    assert np.abs(one - two).max() <= tolerance
    assert np.abs(geo.kernel(X[:600], X[100:])[:, -1] - one[:600, -1]).max() <= tolerance
    for gram in (one, two, geo.kernel(X, X.copy()), geo.ntk(X), geo.kernel_and_ntk(X)[1]):
        assert (gram == gram.T).all()
        assert gram[10, 650] == gram[10, 10] == gram[650, 650]
    assert (one.diagonal() == geo.kernel_diag(X)).all()
    double = geo.kernel(X.astype(float))
    assert np.abs(one - double).max() <= 16 * np.finfo(dtype).eps * np.abs(one).max()
    assert np.linalg.eigvalsh(one.astype(float)).min() >= -COUNT * np.finfo(dtype).eps * np.trace(one)


def test_out_takes_the_result_and_little_memory_is_asked_for():
    X = np.random.default_rng(0).normal(size=(1500, 8))
    geo = infgeo.MLP("erf").numeric()
    out = np.empty((1500, 1500))
    geo.kernel(X[:100])
    tracemalloc.start()
    result = geo.kernel(X, out=out, threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result is out
    assert peak < 64 * 2**20
    assert (out == geo.kernel(X, threads=2)).all()
    pair = np.empty_like(out), np.empty_like(out)
    assert geo.kernel_and_ntk(X, out=pair)[1] is pair[1]
    view = np.empty((1500, 3000))[:, ::2]
    assert (geo.kernel(X, out=view, threads=2) == out).all()


def test_bad_out_and_threads_are_refused():
    X = np.ones((5, 2))
    geo = infgeo.MLP("erf").numeric()
    read_only = np.empty((5, 5))
    read_only.flags.writeable = False
    for out, message in (
        (np.empty((5, 4)), r"out is float64 \(5, 4\), it must be an array of float64 and shape \(5, 5\)"),
        (np.empty((5, 5), np.float32), "out is float32"),
        ([[0.0]], "out is 'list'"),
        (read_only, "read-only"),
    ):
        with pytest.raises(InvalidInput, match=message):
            geo.kernel(X, out=out)
    square = np.ones((5, 5))
    with pytest.raises(InvalidInput, match="shares memory"):
        geo.kernel(square, out=square)
    with pytest.raises(InvalidInput, match="2 are needed"):
        geo.kernel_and_ntk(X, out=(np.empty((5, 5)),))
    for threads in (0, 1.5, True, "2"):
        with pytest.raises(InvalidInput, match="threads = "):
            geo.kernel(X, threads=threads)
    for backend in ("torch", "mpmath"):
        with pytest.raises(InvalidInput, match="threads is for closed forms in NumPy"):
            infgeo.MLP("erf").numeric(backend=backend).kernel(X, threads=2)


@pytest.mark.parametrize("backend", ["torch", "mpmath"])
def test_both_kernels_at_once_elsewhere(backend):
    X = [[0.3, 1.0], [2.0, -1.0]]
    geo = infgeo.MLP("relu", depth=2).numeric(backend=backend)
    both = geo.kernel_and_ntk(X)
    for value, truth in zip(both, (geo.kernel(X), geo.ntk(X)), strict=True):
        assert (np.array(value.tolist(), float) == np.array(truth.tolist(), float)).all()


def test_empty_sets_of_points():
    geo = infgeo.MLP("erf").numeric()
    assert geo.kernel(np.empty((0, 3))).shape == (0, 0)
    assert geo.kernel(np.empty((0, 3)), np.ones((4, 3))).shape == (0, 4)
