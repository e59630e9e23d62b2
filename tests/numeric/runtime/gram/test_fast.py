"""Compiled Gram matrices: against 50 digits, against the formulas they come from, and what `out` and threads do."""

import importlib.util
import sys
import tracemalloc
from types import ModuleType

import mpmath
import numpy as np
import pytest
import torch

import infgeo
from infgeo.errors import InvalidInput
from infgeo.numeric.runtime.gram import fast
from infgeo.numeric.source import pair
from infgeo.numeric.source.compiled_module import compiled_module
from infgeo.symbolic.activations.catalogue import available
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.expectations.dual import dual

OPEN = {"gelu_tanh", "logsigmoid", "mish", "sigmoid", "silu", "softplus", "softsign", "tanh", "tanhshrink"}
CLOSED = [name for name in available() if name not in OPEN]
COUNT = 90
PROMISE = {"float64": 1e-12, "float32": 1e-5}  # of the norms


@pytest.fixture(autouse=True)
def _compiled_from_few_pairs_on(monkeypatch):
    monkeypatch.setattr(fast, "FEW", 1000)


def own(mlp):
    return {symbol.name: 0.7 for symbol in mlp.parameters if symbol.name not in ("sigma_w", "sigma_b")}


def interpreted(source):
    """Return the module of compiled source as Python runs it."""
    module = ModuleType("interpreted")
    exec(source.replace("numba.njit(", "(lambda **_: lambda function: function)("), module.__dict__)
    return module


@pytest.mark.parametrize("name", CLOSED)
def test_compiled_formulas_are_the_formulas(name, monkeypatch):
    """The text that Numba compiles, run by Python, against the formulas by broadcasting."""
    monkeypatch.setattr(pair, "compiled_module", interpreted)
    mlp = infgeo.MLP(name)
    geo = mlp.numeric(0.6, 0.4, **own(mlp))
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[7], X[9], X[20] = X[3], 0, -X[21]
    # Exponents that are quotients of variances, and tails of normal distributions, are computed by broadcasting.
    broadcast = name == "gabor" or dual(mlp.activation).kernel.has(BivariateNormal)
    assert bool(pair.compiled_source(mlp, False, "float64")) != broadcast
    for kind in ("kernel", "ntk"):
        if kind == "ntk" and infgeo.activations.get(name).smoothness < 0:
            continue
        monkeypatch.setattr(fast, "FEW", 1000)
        found = getattr(geo, kind)(X)
        monkeypatch.setattr(fast, "FEW", 10**9)
        plain, norm = getattr(geo, kind)(X), np.sqrt(getattr(geo, f"{kind}_diag")(X))
        assert (found == found.T).all()
        assert np.abs(found - plain).max() <= 1e-13 * np.outer(norm, norm).max()
        assert np.abs(getattr(geo, kind)(X, X[:30]) - plain[:, :30]).max() <= 1e-13 * np.outer(norm, norm).max()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_polynomial_of_the_inverse_sine(dtype):
    """Its coefficients are those of Chebyshev's approximation, and its values right to one rounding."""
    mpmath.mp.dps = 40

    def rest(t):
        if t < mpmath.mpf("1e-12"):
            return mpmath.mpf(1) / 6 + 3 * t / 40
        return (mpmath.asin(mpmath.sqrt(t)) / mpmath.sqrt(t) - 1) / t

    with mpmath.workdps(40):
        coefficients = [float(c) for c in mpmath.chebyfit(rest, [0, mpmath.mpf(1) / 4], len(pair.ARCSINE[dtype]))]
    assert coefficients == pytest.approx(pair.ARCSINE[dtype], rel=1e-12)
    asin = interpreted(pair.compiled_source(infgeo.MLP("erf"), False, dtype)).asin
    kind = np.dtype(dtype).type
    x = np.linspace(-1, 1, 4001).astype(dtype)
    values = np.array([asin(kind(part)) for part in x], float)
    exact = np.arcsin(x.astype(float))
    assert np.abs(values - exact).max() <= 2 * np.finfo(dtype).eps


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
    geo, exact, tensors = (mlp.numeric(1.3, bias_std, backend=name) for name in ("numpy", "mpmath", "torch"))
    X = points(dimension)
    grams = {
        "numpy": geo.kernel_and_ntk(X),
        "torch": [gram.numpy() for gram in tensors.kernel_and_ntk(torch.tensor(X))],
    }
    for gram in (*grams["numpy"], *grams["torch"]):
        assert (gram == gram.T).all()
    with mpmath.workdps(50):
        for i, j in INTERESTING:
            for n, kind in enumerate(("kernel", "ntk")):
                truth = getattr(exact, kind)([list(X[i])], [list(X[j])])[0, 0]
                norm = mpmath.sqrt(getattr(exact, kind)([list(X[i])])[0, 0] * getattr(exact, kind)([list(X[j])])[0, 0])
                for backend, both in grams.items():
                    bound = PROMISE["float64"] * norm
                    assert abs(both[n][i, j] - truth) <= bound, (backend, kind, i, j)


LAYERS = infgeo.layers
NETWORKS = [
    infgeo.MLP("erf", depth=2),
    infgeo.MLP(
        ["relu", LAYERS.Residual("erf", skip=1, branch=2), LAYERS.Residual("gelu")], weight_std=1.2, bias_std=0.3
    ),
    infgeo.MLP([LAYERS.RMSNorm(0), "relu", LAYERS.RMSNorm(1), "erf"], bias_std=0.3),
    infgeo.MLP("sin", depth=2),
]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_blocks_agree_with_pairs_one_by_one(mlp, backend):
    X, Y = points(5), points(5)[:50] + 0.1
    geo, slow = mlp.numeric(backend=backend), mlp.numeric()
    array = torch.tensor if backend == "torch" else np.array
    for kind in ("kernel", "ntk"):
        for other in (X, Y):
            rows = np.concatenate([getattr(slow, kind)(X[i : i + 1], other) for i in range(COUNT)])
            for threads in (1, 2):
                gram = np.asarray(getattr(geo, kind)(array(X), array(other), threads=threads))
                assert np.abs(gram - rows).max() <= PROMISE["float64"] * np.abs(rows).max()


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_blocks_threads_and_single_precision(dtype, backend):
    X = np.random.default_rng(0).normal(size=(700, 4)).astype(dtype)
    X[650] = X[10]
    geo = infgeo.MLP("relu", depth=2).numeric(backend=backend)
    array = torch.tensor if backend == "torch" else np.array

    def gram(name, *points, **options):
        return np.asarray(getattr(geo, name)(*map(array, points), **options))

    one, two = (gram("kernel", X, threads=threads) for threads in (1, 2))
    tolerance = PROMISE[np.dtype(dtype).name] * np.abs(one).max()
    assert one.dtype == dtype
    assert np.abs(one - two).max() <= tolerance
    assert np.abs(gram("kernel", X[:600], X[100:])[:, -1] - one[:600, -1]).max() <= tolerance
    for full in (one, two, gram("kernel", X, X.copy()), gram("ntk", X), gram("kernel_and_ntk", X)[1]):
        assert (full == full.T).all()
        assert abs(full[10, 650] - full[10, 10]) <= tolerance and full[10, 10] == full[650, 650]
    assert (one.diagonal() == gram("kernel_diag", X)).all()
    assert (gram("ntk", X).diagonal() == gram("ntk_diag", X)).all()
    double = gram("kernel", X.astype(float))
    assert np.abs(one - double).max() <= tolerance
    assert np.linalg.eigvalsh(one.astype(float)).min() >= -COUNT * np.finfo(dtype).eps * np.trace(one)


def test_out_takes_the_result_and_little_memory_is_asked_for():
    X = np.random.default_rng(0).normal(size=(1500, 8))
    X[::2] = X[1::2] * 1.000001  # many pairs that need care
    geo = infgeo.MLP("erf").numeric()
    out = np.empty((1500, 1500))
    geo.kernel(X[:100])
    for function, outs in ((geo.kernel_and_ntk, (np.empty_like(out), np.empty_like(out))), (geo.kernel, out)):
        tracemalloc.start()
        result = function(X, out=outs, threads=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert result is outs or result == outs
        assert peak < 64 * 2**20
    view = np.empty((1500, 3000))[:, ::2]
    assert (geo.kernel(X, out=view, threads=2) == out).all()


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("name", ["sin", "gelu", "rectified_square"])
def test_close_points_far_away(name, backend):
    """There p, q and c are large and their differences small: exp(c - (p + q)/2) must not be taken from c."""
    mlp = infgeo.MLP(name)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(70, 5)) * 1e3
    Y = X + 0.1 * rng.normal(size=X.shape)
    geo, exact = mlp.numeric(backend=backend, **own(mlp)), mlp.numeric(backend="mpmath", **own(mlp))
    array = torch.tensor if backend == "torch" else np.array
    for kind in ("kernel", "ntk"):
        gram = np.asarray(getattr(geo, kind)(array(X), array(Y)))
        with mpmath.workdps(50):
            for i in range(3):
                truth = getattr(exact, kind)([list(X[i])], [list(Y[i])])[0, 0]
                norm = getattr(exact, f"{kind}_diag")([list(X[i])])[0]
                assert abs(gram[i, i] - truth) <= PROMISE["float64"] * norm


def test_torch_writes_to_out_without_derivatives_alone():
    X = torch.tensor(np.random.default_rng(0).normal(size=(300, 3)))
    geo = infgeo.MLP("erf").numeric(backend="torch")
    out, other = torch.empty(2, 300, 300, dtype=torch.float64)
    assert (geo.kernel_and_ntk(X, out=(out, other))[1] == geo.ntk(X)).all()
    assert geo.kernel(X, out=out) is out
    wished = X.clone().requires_grad_()
    with torch.no_grad():
        assert (geo.kernel(wished, out=other) == out).all()
    assert geo.kernel(wished).requires_grad
    for bad, points, message in (
        (out, wished, "without derivatives"),
        (out[:, 1:], X, r"out is torch.float64 \(300, 299\)"),
        (out.float(), X, "out is torch.float32"),
        (out.numpy(), X, r"out is float64 \(300, 300\)"),
        (torch.empty(300, dtype=torch.float64).expand(300, 300), X, "expanded"),
        (out.clone().requires_grad_(), X, "requires grad"),
        (out, out, "shares memory"),
    ):
        with pytest.raises(InvalidInput, match=message):
            geo.kernel(points, out=bad)
    with pytest.raises(InvalidInput, match="share memory"):
        geo.kernel_and_ntk(X, out=(out, out))


def test_bad_out_and_threads_are_refused():
    X = np.ones((5, 2))
    geo = infgeo.MLP("erf").numeric()
    read_only = np.empty((5, 5))
    read_only.flags.writeable = False
    for out, message in (
        (np.empty((5, 4)), r"out is float64 \(5, 4\), it must be float64 \(5, 5\)"),
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
    with pytest.raises(InvalidInput, match="threads is for closed forms and mixtures in NumPy and torch"):
        infgeo.MLP("erf").numeric(backend="mpmath").kernel(X, threads=2)


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


@pytest.mark.parametrize("name", ["sin", "rbf", "sin(z) + cos(2*z)"])
def test_exponentials_at_large_variances(name):
    """Exponents p + q - 2c lose the digits of large variances; close, opposite and other points."""
    X = 5 * np.random.default_rng(0).standard_normal((80, 3))
    X[1], X[3], X[5] = -X[0] * (1 + 1e-6), X[2] * (1 + 1e-5), X[4] + 1e-2
    mlp = infgeo.MLP(name)
    reference, some = mlp.numeric(backend="mpmath", **own(mlp)), [0, 1, 2, 3, 4, 5, 40, 79]
    rows = [[mpmath.mpf(float(x)) for x in X[i]] for i in some]
    for method in ("kernel", "ntk"):
        K = getattr(mlp.numeric(**own(mlp)), method)(X)
        with mpmath.workdps(50):
            exact, diagonal = (getattr(reference, f"{method}{end}")(rows) for end in ("", "_diag"))
            for a, i in enumerate(some):
                for b, j in enumerate(some):
                    norm = mpmath.sqrt(diagonal[a] * diagonal[b])
                    assert abs(mpmath.mpf(float(K[i, j])) - exact[a, b]) <= PROMISE["float64"] * norm


def test_a_numba_that_does_not_load_is_done_without(monkeypatch):
    """A release that does not go with that of NumPy raises ImportError; the formulas are broadcast."""
    compiled_module.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    X = np.random.default_rng(0).normal(size=(40, 3))
    found = infgeo.MLP("erf", depth=2).numeric(0.7, 0.2).kernel(X)
    compiled_module.cache_clear()
    assert (found == found.T).all() and np.isfinite(found).all()


def test_nowhere_to_keep_what_is_compiled(monkeypatch, tmp_path):
    """A folder that cannot be made: what is compiled is used and not kept."""
    pytest.importorskip("numba")
    (tmp_path / "file").write_text("")
    compiled_module.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    X = np.random.default_rng(0).normal(size=(40, 3))
    geo = infgeo.MLP("step").numeric(0.7, 0.2)
    found = geo.kernel(X)
    compiled_module.cache_clear()
    monkeypatch.setattr(fast, "FEW", 10**9)
    assert np.abs(found - geo.kernel(X)).max() <= PROMISE["float64"] * np.abs(found).max()


@pytest.mark.parametrize("rest", [b"", b"\x00" * 64])
def test_what_a_crash_left_of_compiled_files_is_compiled_again(rest, monkeypatch, tmp_path):
    """Numba unpickles them, and raised what pickle does."""
    pytest.importorskip("numba")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = "import numba\n\n\n@numba.njit(cache=True)\ndef successor(x):\n    return x + 1\n"
    for _ in range(2):
        compiled_module.cache_clear()
        assert compiled_module(source).successor(2.0) == 3.0
        files = list(tmp_path.glob("infgeo/__pycache__/*.nb?"))
        assert len(files) == 2
        for file in files:
            file.write_bytes(rest)
    compiled_module.cache_clear()
