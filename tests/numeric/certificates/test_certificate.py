"""Every function of every closed form of the catalogue against 50 digits, by the certificates that emission writes."""

import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.errors import InvalidInput, NotAccurate
from infgeo.numeric.certificates import certificate
from infgeo.numeric.certificates.accuracy import measure
from infgeo.numeric.certificates.certificate import PAIRWISE, POINTWISE, certify

NUMERIC_ONLY = ("elu", "sigmoid", "silu", "softplus", "tanh")
CLOSED = [name for name in infgeo.activations.available() if name not in NUMERIC_ONLY]
JUMPS = ("sign", "step")
DEEP = ("erf", "gelu", "sin")
Z = sp.Symbol("z", real=True)


@pytest.mark.parametrize("name", CLOSED)
def test_one_layer_within_eight_ulp(name):
    """|x| from 1e-150 to 1e150, double precision."""
    found = {part.quantity: part for part in certify(infgeo.MLP(name))}
    assert set(found) == {"kernel", "kernel_distance"} if name in JUMPS else {*PAIRWISE, *POINTWISE}
    for part in found.values():
        assert part.holds, str(part)
        assert part.count > 20


@pytest.mark.parametrize("name", ["erf", "relu", "gelu", "sin", "gaussian", "square"])
def test_single_precision(name):
    for part in certify(infgeo.MLP(name), dtype="float32"):
        assert part.holds, str(part)
        assert part.quantity in PAIRWISE or part.worst <= 1, str(part)


@pytest.mark.parametrize("name", ["erf", "gelu", "cos", "cube", "z_erf"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_keeps_its_digits_without_a_wider_format(name, dtype):
    """|x| from 1e-6 to 1e6: cos and powers have metrics that vanish at 0, and z erf(z) numbers beyond 2^53."""
    found = {part.quantity: part for part in certify(infgeo.MLP(name), "torch", dtype)}
    assert set(found) == {*PAIRWISE, *POINTWISE}
    for part in found.values():
        assert part.holds, str(part)


def test_torch_s_ricci_scalar_of_erf_at_short_and_long_points():
    """Sums of terms >= 0 lose nothing and stay as they are; others are written for floats."""
    s = np.array([1e-300, 1e-3, 1.0, 1e76])
    points = np.sqrt(s)[:, None] * np.array([[1.0, 0.0, 0.0]])
    R = np.asarray(infgeo.MLP("erf").numeric(backend="torch").ricci_scalar(points))
    assert np.allclose(R, -np.pi * s * 2 * 5 / (2 * 3 * np.sqrt(3 + 2 * s)), rtol=1e-14, atol=0)
    assert infgeo.MLP("erf").metric_program.select(["R"]).adds_up
    assert not infgeo.MLP("cube").metric_program.select(["R"]).adds_up
    assert not infgeo.MLP("cos").metric_program.select(["A"]).adds_up


@pytest.mark.parametrize("name", DEEP)
def test_three_layers_within_64_ulp(name):
    for part in certify(infgeo.MLP(name, depth=3)):
        assert part.quantity in PAIRWISE or part.worst <= 64, str(part)


@pytest.mark.parametrize("name", ["square", "cube", "rectified_square"])
def test_metrics_that_vanish_at_the_origin(name):
    for part in certify(infgeo.MLP(name, depth=2)):
        assert part.holds, str(part)


@pytest.mark.parametrize("name", ["z_erf", "gaussian", "cos", "z**2*exp(-z**2/2)"])
@pytest.mark.parametrize("bias_std", [0.0, 1e-4])
def test_ricci_scalar_of_two_layers_at_small_points(name, bias_std):
    """Without bias psi has a pole at 0, and what is left of poles would lose every digit."""
    mlp = infgeo.MLP(name, depth=2, weight_std=1.25, bias_std=bias_std)
    own = {symbol.name: 0.75 for symbol in mlp.parameters}
    points = 1.0123 * np.geomspace(1e-40, 30, 8)[:, None] * np.array([[0.6, 0.8, 0.1]])
    found = measure(mlp, "ricci_scalar", points, parameters=own)
    assert found.worst <= 64, found


def test_the_ricci_scalar_of_powers_without_bias_is_that_of_cones():
    """Homogeneous features make a cone, which is flat where it is a surface: 0, and not what rounding leaves."""
    geo = infgeo.MLP("square", depth=2).numeric(weight_std=1.0, bias_std=0.0)
    points = np.array([[1e-30, 2e-30], [0.3, 0.4], [1e20, 1e21]])
    assert geo.ricci_scalar(points).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("phi", "depth"), [("relu", 2), ("relu", 3), ("leaky_relu", 3), ("abs", 3), (sp.Max(Z, 0) + Z / 3, 2)], ids=str
)
def test_deep_tangent_kernels_with_kinks(phi, depth):
    found = {part.quantity: part for part in certify(infgeo.MLP(phi, depth=depth))}
    assert found["ntk"].bound == 8 * depth
    for part in found.values():
        assert part.holds, str(part)


def test_kinks_after_activations_that_are_nearly_homogeneous():
    """Held to what all are held to; in jax, without twofold numbers, to the bound of the README."""
    found = {part.quantity: part for part in certify(infgeo.MLP(["erf", "relu"]))}
    assert found["ntk"].holds
    assert found["ntk"].bound == 16
    assert certificate._bound(infgeo.MLP(["relu", "erf", "abs"]), "ntk", "torch", "float64") == 24
    assert certificate._bound(infgeo.MLP(["relu", "erf", "abs"]), "ntk", "jax", "float64") == 2**24
    assert certificate._bound(infgeo.MLP(["relu", "erf"]), "ntk", "jax", "float64") == 16


def test_the_logarithm_of_a_volume_with_a_negative_parameter():
    """log A is a sum over factors, of which a^2 is a power of a negative number."""
    geo = infgeo.MLP("a*z**2", depth=2).numeric(weight_std=1.0, bias_std=0.5, a=-0.5)
    points = np.array([[0.3, 0.4], [1.0, 2.0]])
    np.testing.assert_allclose(geo.log_volume_element(points), np.log(geo.volume_element(points)), rtol=1e-14)


def test_what_cancels_in_deep_networks_is_refused():
    """With two equal layers of z erf(z) the leading order of R at large |x| is 0 for sigma_w = 1: see the README."""
    with pytest.raises(NotAccurate, match="ricci_scalar for numpy in float64"):
        infgeo.emit(infgeo.MLP("z_erf", depth=2, weight_std=1, bias_std=0))


def test_zeros_of_the_curvature_are_measured_by_their_condition():
    """E[phi phi''] of the third Hermite polynomial is 0 at sigma_b = 1, and with it R at x = 0."""
    found = {part.quantity: part for part in certify(infgeo.MLP("hermite_3", depth=2))}["ricci_scalar"]
    assert found.holds, str(found)
    assert 0 < found.conditioned <= 10
    assert f"at {found.conditioned}, near zeros, a unit is what half an ulp" in str(found)
    regular = {part.quantity: part for part in certify(infgeo.MLP("erf", depth=2))}["ricci_scalar"]
    assert regular.conditioned == 0
    assert "zeros" not in str(regular)


def test_the_condition_is_the_sum_of_what_half_an_ulp_moves():
    """R = -pi s (d - 1) (d + 2)/(2 sqrt(1 + 2 s)) for erf at sigma_w = 1, sigma_b = 0: s = |x|^2, and sigma_w^2 s."""
    values, step = {"sigma_w": 1.0, "sigma_b": 0.0}, 1e-6
    mlp = infgeo.MLP("erf")
    exact = float(mlp.numeric(weight_std=1.0, bias_std=0.0).ricci_scalar(np.array([[3.0, 0.0]]))[0])
    moved = [float(value) - exact for value in certificate._moved(mlp, "ricci_scalar", values, [3, 0], 0, step)]
    # d log R/d log |x| = 2 - 2 s/(1 + 2 s); sigma_b = 0 is not moved.
    np.testing.assert_allclose(moved, [exact * step * (2 - 18 / 19)] * 2, rtol=1e-4)


def test_layers_that_differ():
    mlp = infgeo.MLP(["erf", infgeo.layers.Residual("gelu"), infgeo.layers.RMSNorm(1)])
    for part in certify(mlp):
        assert part.holds, str(part)


def test_what_misses_its_bound_is_refused(monkeypatch):
    mlp = infgeo.MLP("relu", weight_std=1, bias_std=0)
    monkeypatch.setattr(certificate, "_bound", lambda *_: -1.0)
    certify.cache_clear()
    with pytest.raises(NotAccurate, match=r"kernel for numpy in float64: within .* misses its bound"):
        infgeo.emit(mlp)
    source = infgeo.emit(mlp, certificate="stated")
    certify.cache_clear()
    namespace = {"__name__": "emitted"}
    exec(source, namespace)
    stated = namespace["ricci_scalar"].certificate["float64"]
    assert stated["bound_in_ulp"] == -1.0
    assert stated["lengths"][0] < 1e-149
    with pytest.raises(InvalidInput, match="'required', 'stated', 'none'"):
        infgeo.emit(mlp, certificate="maybe")
    exec(infgeo.emit(mlp, certificate="none"), namespace)
    assert namespace["kernel"].certificate == {}


def test_geometries_carry_certificates():
    found = infgeo.MLP("relu").numeric().certificate
    assert [part.dtype for part in found["metric"]] == ["float64", "float32"]
    assert found["metric"][0].relative_error < 1e-15
    with pytest.raises(InvalidInput, match="mpmath"):
        _ = infgeo.MLP("relu").numeric(backend="mpmath").certificate


def test_a_wrong_digit_is_seen(monkeypatch):
    """A formula off by 1e-14 misses its bound."""
    from infgeo.numeric.geometry import NumericGeometry

    right = NumericGeometry.ricci_scalar

    def wrong(self, X):
        value = right(self, X)
        return value * (1 + 1e-14) if isinstance(value, np.ndarray) else value

    monkeypatch.setattr(NumericGeometry, "ricci_scalar", wrong)
    certify.cache_clear()
    found = {part.quantity: part for part in certify(infgeo.MLP("erf"))}
    certify.cache_clear()
    assert not found["ricci_scalar"].holds
    assert found["metric"].holds
