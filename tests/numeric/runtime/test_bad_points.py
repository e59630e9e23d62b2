"""Points and scales of every odd kind: computed as they are, or refused with one clear error."""

import mpmath
import numpy as np
import pytest
import scipy.sparse
import torch

import infgeo
from infgeo.errors import InvalidInput

MLP = infgeo.MLP("relu", depth=2)
NUMPY, TORCH = MLP.numeric(), MLP.numeric(backend="torch")
X = np.random.default_rng(0).normal(size=(70, 3))  # more pairs than are computed one by one
FUNCTIONS = ("kernel", "ntk", "kernel_distance")


def changed(value, place=(2, 1)):
    Z = X.copy()
    Z[place] = value
    return Z


def read_only():
    Z = X.copy()
    Z.flags.writeable = False
    return Z


REFUSED = {
    "NaN": ((changed(np.nan),), r"X\[2, 1\] = nan: every coordinate must be finite"),
    "inf": ((changed(-np.inf),), r"X\[2, 1\] = -inf"),
    "inf in Y": ((X, changed(np.inf)), r"Y\[2, 1\] = inf"),
    "one point": ((X[0],), r"shape \(3,\), expected \(N, d\)"),
    "number": ((np.float64(1),), "shape"),
    "batch": ((X[None],), "shape"),
    "no coordinates": ((np.empty((4, 0)),), "with d >= 1"),
    "other d": ((X, X[:, :2]), "dimension 3 and Y of 2"),
    "integers": ((np.ones((3, 3), int),), "has dtype .*int64"),
    "truth values": ((np.ones((3, 3), bool),), "has dtype .*bool"),
    "complex": ((X + 0j,), "has dtype .*complex128"),
    "half": ((X.astype(np.float16),), "has dtype .*float16"),
    "mixed": ((X, X.astype(np.float32)), "X has dtype .*float64 and Y .*float32"),
    "ragged": (([[1.0, 2.0], [1.0]],), "X"),
    "text": (([["a", "b"]],), "X"),
    "None": (([[None, 1.0]],), "X"),
}
OF_NUMPY = {
    "masked": ((np.ma.masked_array(X, X > 0),), "masked"),
    "sparse": ((scipy.sparse.csr_matrix(X),), "X has dtype object"),
    "longdouble": ((X.astype(np.longdouble),), "has dtype"),
    "tensor with derivatives": ((torch.tensor(X, requires_grad=True),), "cannot be made an array"),
}
OF_TORCH = {
    "masked": ((np.ma.masked_array(X, X > 0),), "masked"),
    "huge": (([[10**400, 1]],), "cannot be made a tensor"),
    "bfloat16": ((torch.tensor(X).bfloat16(),), "has dtype torch.bfloat16"),
    "sparse": ((torch.tensor(X).to_sparse(),), "has layout torch.sparse_coo"),
    "backwards": ((X[::-1],), "negative"),
    "no values": ((torch.tensor(X), torch.empty(70, 3, dtype=torch.float64, device="meta")), "Y is on the device meta"),
}


def tensors(points):
    return tuple(torch.from_numpy(part) if isinstance(part, np.ndarray) else part for part in points)


CASES = [
    *((NUMPY, name, points, message) for name, (points, message) in (REFUSED | OF_NUMPY).items()),
    *((TORCH, name, tensors(points), message) for name, (points, message) in REFUSED.items()),
    *((TORCH, name, points, message) for name, (points, message) in OF_TORCH.items()),
]


@pytest.mark.parametrize(
    ("geo", "points", "message"),
    [(geo, points, message) for geo, _, points, message in CASES],
    ids=[f"{geo.backend} {name}" for geo, name, _, _ in CASES],
)
def test_refused(geo, points, message):
    for function in FUNCTIONS:
        with pytest.raises(InvalidInput, match=message):
            getattr(geo, function)(*points)


ACCEPTED = {
    "lists": (X.tolist(), np.float64),
    "lists of integers": ([[1, 2], [3, 4]], np.float64),
    "columns of a larger array": (np.repeat(X, 2, axis=1)[:, ::2], np.float64),
    "Fortran order": (np.asfortranarray(X), np.float64),
    "read-only": (read_only(), np.float64),
    "single precision": (X.astype(np.float32), np.float32),
    "none": (np.empty((0, 3)), np.float64),
    "one": (X[:1], np.float64),
    "zeros": (np.zeros((3, 3)), np.float64),
    "denormal": (np.full((3, 2), 5e-324), np.float64),
    "tiny": (X * 1e-160, np.float64),
}


@pytest.mark.parametrize("geo", [NUMPY, TORCH], ids=["numpy", "torch"])
@pytest.mark.parametrize("case", list(ACCEPTED))
def test_accepted(case, geo):
    points, dtype = ACCEPTED[case]
    plain = np.array(points, dtype, order="C")
    functions = FUNCTIONS
    if case == "tiny":
        functions = [function for function in FUNCTIONS if function != "kernel_distance"]
        with pytest.raises(InvalidInput, match="the square vanishes in"):
            geo.kernel_distance(points)
    for function in functions:
        result = np.asarray(getattr(geo, function)(points))
        assert result.dtype == dtype
        assert result.shape == (len(plain), len(plain))
        assert np.isfinite(result).all()
        assert (result == getattr(NUMPY, function)(plain)).all() or np.allclose(
            result, getattr(NUMPY, function)(plain), rtol=64 * np.finfo(dtype).eps, atol=64 * np.finfo(dtype).eps
        )
    for kind in ("kernel", "ntk"):
        diagonal = np.asarray(getattr(geo, f"{kind}_diag")(points)) if len(plain) else np.empty(0, dtype)
        for gram in (getattr(geo, kind)(points), getattr(geo, kind)(points, points)):
            assert (np.asarray(gram).diagonal() == diagonal).all()
    if "kernel_distance" in functions:
        assert (np.asarray(geo.kernel_distance(points)).diagonal() == 0).all()


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_scales(backend):
    for weight_std, bias_std in (
        (0.0, 1.0),
        (-1.0, 1.0),
        (np.nan, 1.0),
        (np.inf, 1.0),
        (1.0, -1.0),
        (1.0, np.nan),
        (1.0, "2"),
        (1.0, [1.0, 2.0]),
        (True, 1.0),
        (np.True_, 1.0),
        (1j, 1.0),
        (np.complex128(1), 1.0),
        (10**400, 1.0),
        (1e39, 1.0),
        (torch.tensor(True), 1.0),
        (torch.tensor(1.0, device="meta"), 1.0),
    ):
        with pytest.raises(InvalidInput, match="sigma_"):
            MLP.numeric(weight_std, bias_std, backend=backend)
    assert MLP.numeric(1.0, 0.0, backend=backend).kernel([[0.0, 0.0]])[0, 0] == 0


def test_a_node_of_a_graph_is_no_scale_of_numpy():
    with pytest.raises(InvalidInput, match="sigma_w"):
        MLP.numeric(torch.tensor(1.0, requires_grad=True))


FAR = np.array([[1e36, 2e36], [1e36, 2e36 * (1 + 1e-9)], [3e20, 1e20], [1.0, -2.0], [1e-30, 3e-30], [2e-37, 1e-37]])
FAR32 = np.array([[1e18, 2e18], [1e18, 2.1e18], [1.0, -2.0], [1e-25, 3e-25]], np.float32)


@pytest.mark.parametrize("activation", ["erf", "relu"])
@pytest.mark.parametrize("points", [FAR, FAR32], ids=["float64", "float32"])
def test_products_of_squared_lengths_leave_the_format(activation, points):
    """Against 50 digits, relatively for distances, and of the norms for kernels; no warning, no NaN, one diagonal."""
    mlp = infgeo.MLP(activation)
    geo, exact = mlp.numeric(1.0, 0.5), mlp.numeric(1.0, 0.5, backend="mpmath")
    limits = np.finfo(points.dtype)
    with mpmath.workdps(900):
        rows = [[mpmath.mpf(float(x)) for x in row] for row in points]
        norms = [mpmath.sqrt(k) for k in exact.kernel_diag(rows)]
        for function in ("kernel", "kernel_distance"):
            values, truth = getattr(geo, function)(points), getattr(exact, function)(rows)
            for i, j in np.ndindex(values.shape):
                size = norms[i] * norms[j] if function == "kernel" else truth[i, j]
                if float(limits.tiny) < size < float(limits.max):
                    assert abs(mpmath.mpf(float(values[i, j])) - truth[i, j]) <= 16 * float(limits.eps) * size
    assert (geo.kernel(points).diagonal() == geo.kernel_diag(points)).all()
    assert (geo.kernel_distance(points).diagonal() == 0).all()


@pytest.mark.parametrize("activation", ["erf", "relu"])
@pytest.mark.parametrize("count", [3, 70])
def test_large_scales_in_single_precision(activation, count):
    points = X[:count].astype(np.float32)
    geo = infgeo.MLP(activation, depth=2).numeric(1e9, 0.0)
    truth = geo.kernel(points.astype(float))
    assert (np.abs(geo.kernel(points) - truth) <= 1e-6 * np.abs(truth).max()).all()
    if activation == "relu":
        with pytest.raises(InvalidInput, match="float32 does not keep the digits"):
            infgeo.MLP(activation, depth=2).numeric(1e12, 0.0).kernel(points)


def test_torch_says_where_points_leave_double_precision():
    erf = infgeo.MLP("erf").numeric(1.0, 0.0, backend="torch")
    points = torch.tensor([[1e160, 0.0], [1.0, 0.0]], dtype=torch.float64)
    for function in ("kernel", "kernel_distance", "kernel_diag"):
        with pytest.raises(InvalidInput, match=r"torch\.float64 does not keep the digits"):
            getattr(erf, function)(points)
    single = torch.tensor([[1e20, 0.0], [1.0, 0.0]]).requires_grad_()
    assert torch.isfinite(erf.kernel(single)).all()
    assert torch.equal(erf.kernel(single).diagonal(), erf.kernel_diag(single))


@pytest.mark.parametrize(
    "points", [torch.tensor(X).to_sparse(), torch.empty(2, 3, device="meta")], ids=["sparse", "meta"]
)
def test_tensors_without_values_are_refused_by_mpmath(points):
    with pytest.raises(InvalidInput, match="not an array of real numbers"):
        MLP.numeric(backend="mpmath").kernel_diag(points)


@pytest.mark.parametrize("geo", [NUMPY, TORCH], ids=["numpy", "torch"])
def test_pairs_of_outputs(geo):
    empty = np.empty if geo is NUMPY else lambda shape: torch.empty(shape, dtype=torch.float64)
    points = X if geo is NUMPY else torch.tensor(X)
    kernel, ntk = geo.kernel_and_ntk(points)
    both = empty((2, 70, 70))
    geo.kernel_and_ntk(points, out=tuple(both))
    assert (both[0] == kernel).all() and (both[1] == ntk).all()
    rows = empty((71, 70))
    for out, message in (((rows[:70], rows[1:]), "share memory"), (3, "must be two"), ((both[0],), "are needed")):
        with pytest.raises(InvalidInput, match=message):
            geo.kernel_and_ntk(points, out=out)
