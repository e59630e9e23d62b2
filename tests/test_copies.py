"""What users hold crosses processes and is copied: networks, kernels, metrics, numeric functions, reports."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cloudpickle
import joblib
import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo.testing import check_kernel

POINTS = [[0.6, 0.8], [1.0, -2.0]]
BACKENDS = {"numpy": np.array, "torch": torch.tensor, "jax": lambda rows: np.array(rows, np.float32), "mpmath": list}
WAYS = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "cloudpickle": lambda value: cloudpickle.loads(cloudpickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def text(value):
    return str(np.asarray(value).tolist()) if not isinstance(value, mpmath.matrix) else str(value)


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("backend", list(BACKENDS))
def test_numeric_geometries(backend, way):
    if backend == "jax":
        pytest.importorskip("jax")
    X = BACKENDS[backend](POINTS)
    for geo in (
        infgeo.MLP("erf").numeric(1.0, 0.5, backend=backend),
        infgeo.MLP("leaky_relu", weight_std=1).numeric(bias_std=0.5, backend=backend, alpha=0.2),
    ):
        other = WAYS[way](geo)
        assert other == geo
        assert hash(other) == hash(geo)
        assert (text(other.kernel(X)), text(other.metric(X[0]))) == (text(geo.kernel(X)), text(geo.metric(X[0])))
        assert text(WAYS[way](geo.ricci_scalar)(X)) == text(geo.ricci_scalar(X))
        with pytest.raises(TypeError):
            other.parameters["sigma_w"] = 2.0


@pytest.mark.parametrize("way", list(WAYS))
def test_everything_else(way, tmp_path):
    mlp = infgeo.MLP(["relu", infgeo.layers.Residual("erf"), infgeo.layers.RMSNorm(1)], weight_std=[1, 2], bias_std=0)
    x, y = sp.symbols("x y", real=True)
    sphere = infgeo.Metric(sp.Matrix([[1, 0], [0, sp.sin(x) ** 2]]), (x, y))
    kernel = infgeo.kernels.rbf() + 2 * infgeo.MLP("erf").kernel * infgeo.kernels.rbf() + 1
    composed = infgeo.kernels.rbf().compose(infgeo.MLP("erf").kernel)
    for value in (mlp, infgeo.MLP("erf").metric, infgeo.MLP("erf").ntk, sphere, kernel, composed, mlp.kernel_program):
        assert WAYS[way](value) == value
    assert WAYS[way](sphere).ricci_scalar == 2
    assert WAYS[way](kernel).metric == kernel.metric
    assert WAYS[way](composed).metric.A == composed.metric.A
    quadrature = infgeo.MLP("tanh").numeric(1.0, 0.5, method="quadrature")
    assert WAYS[way](quadrature).kernel_diag(np.ones((1, 2))) == quadrature.kernel_diag(np.ones((1, 2)))
    report = check_kernel(lambda x, y=None: x @ (x if y is None else y).T)
    assert str(WAYS[way](report)) == str(report)
    activation = infgeo.finite_width(infgeo.MLP("relu", weight_std=1, bias_std=1))
    assert WAYS[way](activation).volume_bias.factor() == activation.volume_bias.factor()
    joblib.dump(quadrature, tmp_path / "geometry")
    assert joblib.load(tmp_path / "geometry") == quadrature


def test_the_rule_of_a_combined_kernel_is_that_of_the_metric():
    one, two = infgeo.kernels.rbf(), infgeo.MLP("erf", weight_std=1, bias_std=0).kernel
    for kernel in (one + two, one * two, 3 * two, two + 5):
        by_definition = infgeo.Kernel(kernel.expr).metric
        at = {symbol: sp.Rational(2, 3) for symbol in (kernel.metric.A + kernel.metric.B).free_symbols}
        for part in ("A", "B"):
            difference = (getattr(kernel.metric, part) - getattr(by_definition, part)).subs(at)
            assert abs(sp.N(difference, 30)) < sp.Float("1e-25")


def test_processes():
    xs = [np.array([[0.6, 0.8]]), np.array([[1.0, 2.0]])]
    geo = infgeo.MLP("erf").numeric()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(geo.ricci_scalar, xs)) == [geo.ricci_scalar(x) for x in xs]


@pytest.mark.parametrize("way", WAYS)
def test_errors_say_the_same_elsewhere(way):
    for error in (infgeo.errors.MissingExtra("a plot", "plot"), infgeo.errors.InvalidInput("x is 3")):
        assert str(WAYS[way](error)) == str(error)
