"""Every function of every closed form of the catalogue against mpmath, by the certificates that emission writes."""

import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.errors import InvalidInput, NotAccurate
from infgeo.numeric.certificates import certificate
from infgeo.numeric.certificates.certificate import PAIRWISE, POINTWISE, certify

NUMERIC_ONLY = ("gelu_tanh", "logsigmoid", "mish", "sigmoid", "silu", "softplus", "softsign", "tanh", "tanhshrink")
CLOSED = [name for name in infgeo.activations.available() if name not in NUMERIC_ONLY]
JUMPS = ("sign", "step")
# Kernels with the bivariate normal distribution: mpmath integrates, and distances of neighbours are refused.
INTEGRALS = ("elu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "relu6", "selu", "softshrink")
CLOSED = [name for name in CLOSED if name not in INTEGRALS or name in ("elu", "relu6")]
Z = sp.Symbol("z", real=True)


def check(mlp, *arithmetic, functions=(*PAIRWISE, *POINTWISE)):
    found = {part.quantity: part for part in certify(mlp, *arithmetic)}
    assert set(found) == set(functions)
    for part in found.values():
        assert part.holds, str(part)
        assert part.count > 20
    return found


@pytest.mark.parametrize("name", CLOSED)
def test_one_layer(name):
    functions = {"functions": ("kernel", "kernel_distance")} if name in JUMPS else {}
    if name in INTEGRALS:
        found = {part.quantity: part for part in certify(infgeo.MLP(name))}
        assert {"kernel", "ntk", *POINTWISE} <= set(found)
        assert all(part.holds for part in found.values()), found
        return
    check(infgeo.MLP(name), **functions)


@pytest.mark.parametrize("name", ["erf", "relu", "gelu", "cos", "gaussian", "square"])
def test_single_precision(name):
    check(infgeo.MLP(name), "numpy", "float32")


@pytest.mark.parametrize("name", ["erf", "gelu", "cos", "cube", "z_erf"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch(name, dtype):
    check(infgeo.MLP(name), "torch", dtype)


@pytest.mark.parametrize("name", ["erf", "gelu", "cos", "gaussian", "square", "cube", "rectified_square"])
def test_two_layers(name):
    check(infgeo.MLP(name, depth=2))


def test_kernels_that_double_double_numbers_are_for(monkeypatch):
    """At small variances the terms of z sin z cancel; its distances keep fewer digits, and `emit` says so."""
    mlp = infgeo.MLP("z*sin(z)", depth=2)
    found = {part.quantity: part for part in certify(mlp)}
    assert all(part.holds for name, part in found.items() if name != "kernel_distance")
    assert 1e-12 < found["kernel_distance"].error < 1e-11
    monkeypatch.setattr(certificate, "certify", lambda *_: tuple(found.values()))
    with pytest.raises(NotAccurate, match="kernel_distance"):
        infgeo.emit(mlp)


@pytest.mark.parametrize("name", ["erf", "sin"])
def test_three_layers(name):
    check(infgeo.MLP(name, depth=3))


def test_the_ricci_scalar_of_powers_without_bias_is_that_of_cones():
    """Homogeneous features make a cone, which is flat where it is a surface: 0 to the digits of its terms, 1/(A s)."""
    geo = infgeo.MLP("square", depth=2).numeric(weight_std=1.0, bias_std=0.0)
    points = np.array([[0.3, 0.4], [10.0, 11.0]])
    A = geo.metric(points * np.array([1.0, 0.0]))[:, 1, 1]
    assert np.all(np.abs(geo.ricci_scalar(points)) < 1e-12 / (A * np.square(points).sum(axis=1)))


@pytest.mark.parametrize(
    ("phi", "depth"), [("relu", 2), ("relu", 3), ("leaky_relu", 3), ("abs", 3), (sp.Max(Z, 0) + Z / 3, 2)], ids=str
)
def test_deep_tangent_kernels_with_kinks(phi, depth):
    check(infgeo.MLP(phi, depth=depth))


def test_kinks_after_activations_that_are_nearly_homogeneous():
    check(infgeo.MLP(["erf", "relu"]))


def test_logarithms_where_A_overflows():
    """E[phi'^2] = exp(2 v) of exp(z), also behind another layer."""
    for names, length in (("exp", 100.0), (["relu", "exp"], 60.0)):
        geo = infgeo.MLP(names).numeric(weight_std=1.0, bias_std=0.0)
        values = geo.log_volume_element(np.array([[length / 4, 0.0], [length / 2, 0.0]]))
        assert np.isfinite(values).all()
        assert values[1] > 700


def test_the_logarithm_of_a_volume_with_a_negative_parameter():
    """log A is a sum over factors, of which a^2 is a power of a negative number."""
    geo = infgeo.MLP("a*exp(z)", depth=2).numeric(weight_std=0.5, bias_std=0.5, a=-0.5)
    points = np.array([[0.3, 0.4], [1.0, 2.0]])
    np.testing.assert_allclose(geo.log_volume_element(points), np.log(geo.volume_element(points)), rtol=1e-14)


def test_layers_that_differ():
    check(infgeo.MLP(["erf", infgeo.layers.Residual("gelu"), infgeo.layers.RMSNorm(1)]))


def test_what_misses_its_bound_is_refused(monkeypatch):
    mlp = infgeo.MLP("relu", weight_std=1, bias_std=0)
    monkeypatch.setattr(certificate, "BOUNDS", {"float64": -1.0, "float32": -1.0})
    certify.cache_clear()
    with pytest.raises(NotAccurate, match=r"kernel for numpy in float64: relative error .* misses its bound"):
        infgeo.emit(mlp)
    source = infgeo.emit(mlp, certificate="stated")
    certify.cache_clear()
    namespace = {"__name__": "emitted"}
    exec(source, namespace)
    stated = namespace["ricci_scalar"].certificate["float64"]
    assert stated["bound"] == -1.0
    assert stated["lengths"][0] < 1e-8
    with pytest.raises(InvalidInput, match="'required', 'stated', 'none'"):
        infgeo.emit(mlp, certificate="maybe")
    exec(infgeo.emit(mlp, certificate="none"), namespace)
    assert namespace["kernel"].certificate == {}


def test_geometries_carry_certificates():
    found = infgeo.MLP("relu").numeric().certificate
    assert [part.dtype for part in found["metric"]] == ["float64", "float32"]
    assert found["metric"][0].error < 1e-15
    with pytest.raises(InvalidInput, match="mpmath"):
        _ = infgeo.MLP("relu").numeric(backend="mpmath").certificate


def test_a_wrong_digit_is_seen(monkeypatch):
    """A formula off by 1e-11 misses its bound."""
    from infgeo.numeric.geometry import NumericGeometry

    right = NumericGeometry.ricci_scalar

    def wrong(self, X):
        value = right(self, X)
        return value * (1 + 1e-11) if isinstance(value, np.ndarray) else value

    monkeypatch.setattr(NumericGeometry, "ricci_scalar", wrong)
    certify.cache_clear()
    found = {part.quantity: part for part in certify(infgeo.MLP("erf"))}
    certify.cache_clear()
    assert not found["ricci_scalar"].holds
    assert found["metric"].holds
