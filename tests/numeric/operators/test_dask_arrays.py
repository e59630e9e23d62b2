"""Functions of Dask arrays: against those of arrays in memory, and on processes of which one is killed."""

import os
import signal
import time

import numpy as np
import pytest
import torch

import infgeo
from infgeo.errors import InvalidInput

da = pytest.importorskip("dask.array")

GEO = infgeo.MLP("erf").numeric([1.0, 2.0, 0.5, 1.0], 0.4)
X = np.random.default_rng(0).standard_normal((50, 4))
CHUNKED = da.from_array(X, chunks=(20, 2))


@pytest.mark.parametrize("name", ["kernel", "ntk", "kernel_distance"])
def test_pairs_of_points(name):
    function, Y = getattr(GEO, name), X[:30] + 1
    found = function(CHUNKED)
    assert found.chunks == ((20, 20, 10),) * 2
    assert found.dtype == float
    values = found.compute(scheduler="synchronous")
    np.testing.assert_allclose(values, function(X), rtol=1e-14, atol=1e-14)
    assert name == "kernel_distance" or (values == values.T).all()
    for one, other in ((CHUNKED, Y), (X, da.from_array(Y, chunks=7))):
        np.testing.assert_allclose(function(one, other).compute(), function(X, Y), rtol=1e-14)


def test_both_kernels():
    for found, right in zip(GEO.kernel_and_ntk(CHUNKED), GEO.kernel_and_ntk(X), strict=True):
        np.testing.assert_allclose(found.compute(), right, rtol=1e-14)


@pytest.mark.parametrize("shape", [(50, 4), (5, 10, 4), (4,)])
def test_single_points(shape):
    points = X.ravel()[: np.prod(shape)].reshape(shape)
    chunked = da.from_array(points.astype(np.float32), chunks=3)
    for name in ("kernel_diag", "metric", "volume_element", "log_volume_element", "ricci_scalar"):
        found, right = getattr(GEO, name)(chunked), getattr(GEO, name)(points.astype(np.float32))
        assert (found.shape, found.dtype) == (right.shape, np.float32)
        np.testing.assert_array_equal(found.compute(), right)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: infgeo.MLP("erf").numeric(backend="torch").kernel(CHUNKED), "for backend = 'numpy', this is torch"),
        (lambda: GEO.kernel(CHUNKED, out=np.empty((50, 50))), "out is for arrays in memory"),
        (lambda: GEO.kernel(CHUNKED[0]), r"expected \(N, d\)"),
        (lambda: GEO.kernel(CHUNKED, X[:, :3]), "dimension 4 and Y of 3"),
        (lambda: GEO.kernel(CHUNKED, torch.tensor(X)), "Y cannot be made a Dask array"),
        (lambda: GEO.metric(CHUNKED[:, CHUNKED[0] > 0]), "unknown dimension"),
        (lambda: GEO.kernel(CHUNKED, threads=0).compute(), "threads = 0"),
        (lambda: GEO.kernel(da.from_array(X * np.nan)).compute(), "must be finite"),
    ],
)
def test_what_has_no_blocks(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_worker_that_is_killed_changes_nothing():
    distributed = pytest.importorskip("distributed", reason="the extra dask brings clusters")
    points = np.random.default_rng(1).standard_normal((1200, 4))
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        blocks = GEO.kernel(da.from_array(points, chunks=(100, 4)))
        future = client.compute(blocks)
        first, *_ = client.run(os.getpid).values()
        time.sleep(0.2)  # the rest of the blocks are yet to come
        assert future.status == "pending"
        os.kill(first, signal.SIGKILL)
        found = future.result(timeout=60)
    np.testing.assert_allclose(found, GEO.kernel(points), rtol=1e-13, atol=1e-14)
