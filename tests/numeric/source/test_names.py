"""Parameters of any name in numeric functions: values are those of the network with plain names."""

import subprocess
import sys

import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.adapters.sklearn import InfiniteWidthKernel
from infgeo.errors import InvalidInput
from infgeo.numeric.source.names import in_code, public_name

W = sp.Symbol("w", real=True)
X = np.array([[0.5, -0.3], [1.2, 0.4], [0.1, 0.9]])
FUNCTIONS = ("kernel", "ntk", "kernel_diag", "ntk_diag", "kernel_distance", "metric", "volume_element", "ricci_scalar")
NAMES = [
    ("a", "b", "c"),
    ("d", "s", "xy"),
    ("p", "t1", "beta_1"),
    ("squared", "options", "method"),
    ("µ", "ﬁ", "ſ"),
    ("X", "out", "threads"),
    ("backend", "parameters", "self"),
    ("np", "float", "inverse_1"),
    ("Delta", "near", "x_1"),
]
VALUES = (0.3, 0.8, 0.25)


def _mlp(names):
    first, second, third = (sp.Symbol(name, real=True) for name in names)
    return infgeo.MLP(first + second * W + third * W**2, variable=W)


def _values(geometry, points):
    return [np.asarray(getattr(geometry, name)(points)) for name in FUNCTIONS]


@pytest.fixture(scope="module")
def twin():
    plain = ("alpha", "beta", "gamma")
    return _values(_mlp(plain).numeric(0.7, 0.4, parameters=dict(zip(plain, VALUES, strict=True))), X)


@pytest.mark.parametrize("names", NAMES)
def test_values_do_not_depend_on_names(names, twin):
    geometry = _mlp(names).numeric(0.7, 0.4, parameters=dict(zip(names, VALUES, strict=True)))
    for found, expected in zip(_values(geometry, X), twin, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_keywords_where_they_are_clear():
    mlp = infgeo.MLP(sp.Symbol("method") * W + sp.Symbol("weight_std") * W**2, variable=W)
    geometry = mlp.numeric(method=0.5, parameters={"weight_std": 0.25, "sigma_w": 2.0})
    assert dict(geometry.parameters) == {"method": 0.5, "weight_std": 0.25, "sigma_w": 2.0, "sigma_b": 1.0}
    with pytest.raises(InvalidInput, match="may be the scale or the parameter"):
        mlp.numeric(method=0.5, weight_std=1.0)
    with pytest.raises(InvalidInput, match="given twice"):
        infgeo.MLP("a*z").numeric(a=1.0, parameters={"a": 2.0})
    with pytest.raises(InvalidInput, match="a = -inf"):
        infgeo.MLP("a*z").numeric(a=-float("inf"))


@pytest.mark.parametrize("names", [NAMES[0], NAMES[5]])
def test_emitted_files_with_such_names_check_themselves(names, tmp_path):
    path = tmp_path / "emitted.py"
    path.write_text(infgeo.emit(_mlp(names), certificate="none"), encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_quadrature_gradients_and_adapters():
    text = "c*tanh(p*z)"
    values = {"c": 0.5, "p": 2.0}
    found = infgeo.MLP(text).numeric(method="quadrature", parameters=values).kernel(X[:2])
    expected = infgeo.MLP("tanh(2*z)/2").numeric(method="quadrature").kernel(X[:2])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    kernels = [
        InfiniteWidthKernel("c*z**2 + d*z", parameters={"c": 0.5, "d": 2.0}),
        InfiniteWidthKernel("z**2/2 + 2*z"),
    ]
    (one, first), (two, second) = (kernel(X, eval_gradient=True) for kernel in kernels)
    np.testing.assert_allclose(one, two, rtol=1e-12)
    np.testing.assert_allclose(first, second, rtol=1e-12)


def test_names_in_code_are_apart_and_go_back():
    mlp = _mlp(("c", "alpha", "own_c"))
    names = [symbol.name for symbol in in_code(mlp).parameters]
    assert sorted(names) == ["alpha", "own_c", "own_own_c", "sigma_b", "sigma_w"]
    assert sorted(map(public_name, names)) == ["alpha", "c", "own_c", "sigma_b", "sigma_w"]
    plain = infgeo.MLP("leaky_relu")
    assert in_code(plain) == plain


def test_validation_with_such_names():
    report = infgeo.validate(
        infgeo.MLP("c*z**2 + z"), 2, X[:2], parameters={"c": 0.5}, widths=(64,), samples=24, quantities=["kernel"]
    )
    assert report.passed
