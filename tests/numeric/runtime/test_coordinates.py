"""Weights with a standard deviation for each coordinate: against quadrature, derivatives of the kernel, and twins."""

import importlib.util
import pickle

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo.errors import InvalidInput
from infgeo.symbols import sigma_w
from tests.oracle import as_function, pair_moment

STD, BIAS = [1.3, 0.4, 2.0], 0.6
RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3))
TAU = sp.Symbol("tau", positive=True)
# In closed form, with a kink, a mixture, by quadrature.
KINDS = ["erf", "relu", "tanh", "softsign"]
NETWORKS = {
    **{name: infgeo.MLP(name) for name in KINDS},
    "deep": infgeo.MLP(["erf", "gelu"], weight_std=[sigma_w, TAU]),
    "fan-in": infgeo.MLP("erf", input_scale="fan_in"),
}
BACKENDS = ["numpy", "torch", "mpmath", *(["jax"] if importlib.util.find_spec("jax") else [])]


def geometry(name, std=STD, backend="torch"):
    parameters = {"tau": 1.7} if name == "deep" else {}
    return NETWORKS[name].numeric(std, BIAS, backend=backend, parameters=parameters)


def points(backend):
    if backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    return {"torch": torch.tensor, "mpmath": np.ndarray.tolist}.get(backend, np.asarray)


def numbers(value):
    """Return what any backend returns as an array."""
    if isinstance(value, mpmath.matrix):
        return np.array(value.tolist(), dtype=float)
    return np.array([numbers(part) for part in value]) if isinstance(value, list) else np.asarray(value, dtype=float)


@pytest.mark.parametrize("name", ["erf", "relu", "tanh"])
def test_kernel_is_the_expectation_over_weights_of_these_scales(name):
    activation = NETWORKS[name].activation
    phi = as_function(activation.expr, activation.symbol)
    squares, found = np.square(STD), geometry(name, backend="numpy").kernel(X, Y)
    for i, x in enumerate(X):
        for j, y in enumerate(Y):
            p, q, c = (squares @ (a * b) + BIAS**2 for a, b in ((x, x), (y, y), (x, y)))
            assert found[i, j] == pytest.approx(pair_moment(phi, phi, p, q, c), abs=1e-11)


@pytest.mark.parametrize("name", NETWORKS)
def test_metric_and_volume_are_those_of_the_kernel(name):
    """g = d^2 k/dx dy at y = x, which knows nothing of scales; the volume element is that of the matrix."""
    geo, x = geometry(name), torch.tensor(X[0])
    found = geo.metric(x)

    def k(a, b):
        return geo.kernel(a[None], b[None])[0, 0]

    expected = torch.func.jacfwd(torch.func.grad(lambda h: k(x + h, x - h)))(torch.zeros(3, dtype=x.dtype))
    diagonal = torch.func.hessian(geo.kernel_diag)(x)
    # k(x + h, x - h) has the Hessian 2 (k_xx - k_xy), and k(x, x) the Hessian 2 (k_xx + k_xy).
    assert torch.allclose(found, (diagonal - expected) / 4, rtol=1e-7, atol=1e-9)
    assert float(geo.log_volume_element(x)) == pytest.approx(float(torch.logdet(found)) / 2, abs=1e-11)
    assert float(geo.volume_element(x)) == pytest.approx(float(torch.det(found)) ** 0.5, rel=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree(backend):
    network = "erf" if backend == "jax" else "deep"  # it compiles for long
    ours, others = (geometry(network, backend=name) for name in (backend, "numpy"))
    at = points(backend)
    for name in ("kernel", "ntk", "kernel_distance"):
        assert np.allclose(numbers(getattr(ours, name)(at(X), at(Y))), getattr(others, name)(X, Y), rtol=1e-13)
    for name in ("kernel_diag", "ntk_diag", "metric", "volume_element", "log_volume_element", "ricci_scalar"):
        assert np.allclose(numbers(getattr(ours, name)(at(X))), getattr(others, name)(X), rtol=1e-12, atol=1e-15)


def test_tangent_kernel_is_that_of_sampled_networks():
    """E[J.J'] over unit weights omega of w_i = weight_std_i omega_i, biases and readouts, by z-scores."""
    rng, n = np.random.default_rng(0), 60_000
    omega, b = rng.normal(size=(n, 3)), rng.normal(size=n)
    x, y = X[0], Y[0]
    phi, slope = (lambda z: np.maximum(z, 0)), (lambda z: (z > 0).astype(float))
    u, v = ((omega * STD) @ a + BIAS * b for a in (x, y))
    trained = ((np.square(STD) * x) @ y + BIAS**2) * slope(u) * slope(v)
    values = phi(u) * phi(v) + trained
    z = (values.mean() - geometry("relu", backend="numpy").ntk(x[None], y[None])[0, 0]) / values.std() * n**0.5
    assert abs(z) < 4


@pytest.mark.parametrize("name", ["erf", "relu", "tanh"])
def test_derivatives_by_scales(name):
    x, std = torch.tensor(X), torch.tensor(STD, dtype=torch.float64, requires_grad=True)
    for method in ("kernel", "ntk", "kernel_distance", "metric", "log_volume_element", "volume_element"):
        function = lambda scales, method=method: getattr(geometry(name, scales), method)(x)  # noqa: E731
        assert torch.autograd.gradcheck(function, (std,), atol=1e-6, fast_mode=True)
    assert torch.autograd.gradcheck(lambda s: geometry("erf", s).ricci_scalar(x), (std,), fast_mode=True)
    # Scales may be a list of nodes too.
    parts = [torch.tensor(value, requires_grad=True, dtype=torch.float64) for value in STD]
    geometry(name, parts).kernel(x).sum().backward()
    geometry(name, std).kernel(x).sum().backward()
    assert torch.allclose(torch.stack([part.grad for part in parts]), std.grad)


@pytest.mark.skipif("jax" not in BACKENDS, reason="no jax")
def test_jax_traces_scales():
    points("jax")
    import jax

    value = jax.jit(jax.grad(lambda scales: geometry("erf", scales, "jax").log_volume_element(X).sum()))
    std = torch.tensor(STD, dtype=torch.float64, requires_grad=True)
    geometry("erf", std).log_volume_element(torch.tensor(X)).sum().backward()
    assert np.allclose(value(np.array(STD)), std.grad, rtol=1e-12)


def test_curvature_is_that_of_the_slow_twin():
    g = infgeo.MLP("erf", weight_std=1).metric.per_coordinate([sp.Rational(3, 2), sp.Rational(2, 5)])
    at = dict(zip(g.coordinates, (sp.Rational(1, 3), sp.Rational(-4, 5)), strict=True))
    at[infgeo.symbols.sigma_b] = sp.Rational(1, 2)
    twin = infgeo.Metric(g.matrix, g.coordinates, simplify=False).at(at).ricci_scalar
    found = infgeo.MLP("erf").numeric([1.5, 0.4], 0.5).ricci_scalar(np.array([1 / 3, -0.8]))
    assert float(found) == pytest.approx(float(twin), rel=1e-13)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_distances_belong_to_the_metric(backend):
    """The logarithm has the length of the distance, leads back, and for near points is their difference."""
    at, geo = points(backend), geometry("erf", backend=backend)
    x, y = at(X[:3]), at(Y)
    v = geo.logarithm(x, y)
    lengths = np.sqrt(np.einsum("ni,nij,nj->n", numbers(v), numbers(geo.metric(x)), numbers(v)))
    assert np.allclose(numbers(geo.distance(x, y)), lengths, rtol=1e-12)
    assert np.allclose(numbers(geo.exponential(x, v)), Y, rtol=1e-10)
    assert np.allclose(numbers(geo.logarithm(x, x + 1e-6 * y)), 1e-6 * Y, rtol=1e-4)
    with pytest.raises(InvalidInput, match="geodesic from weight_std"):
        geo.geodesic(x, y)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("style", ["plain", "fast"])
def test_emitted_files_take_them(backend, style):
    names: dict = {"__name__": "emitted"}
    exec(infgeo.emit(infgeo.MLP("erf"), backend, certificate="none", style=style), names)
    geo, at = geometry("erf", backend=backend), points(backend)
    for name in ("kernel", "ntk", "metric", "log_volume_element", "ricci_scalar"):
        found = names[name](at(X), sigma_w=STD, sigma_b=BIAS)
        assert np.allclose(found, getattr(geo, name)(at(X)), rtol=1e-13)
    with pytest.raises(ValueError, match="sigma_w has 2 values, and points have 3"):
        names["metric"](at(X), sigma_w=[1.0, 2.0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_scales_are_named(backend):
    at, mlp = points(backend), infgeo.MLP("erf")
    for std in ([1, -2.5, 2], [1, 0, 1], [1, float("nan"), 1], [1, float("inf"), 1]):
        with pytest.raises(InvalidInput, match=rf"sigma_w = \[1, {std[1]}, \d\] must be finite and > 0"):
            mlp.numeric(std, backend=backend)
    for std in ([1, "2", 3], [1, [2], 3], [1, None, 3], [1, True, 3]):
        if backend != "mpmath" or std[1] != "2":  # of which text is a number
            with pytest.raises(InvalidInput, match=r"sigma_w\[1\]"):
                mlp.numeric(std, backend=backend)
    for std in ([], [[1.0, 2.0, 3.0]], np.ones((3, 2))):
        with pytest.raises(InvalidInput, match="sigma_w"):
            mlp.numeric(std, backend=backend)
    for std in ([1.0, 2.0], np.ones(1), [1.0] * 4):
        with pytest.raises(InvalidInput, match=f"sigma_w has {len(std)} values, and points have 3 coordinates"):
            mlp.numeric(std, backend=backend).metric(at(X))
    for other in (infgeo.MLP("erf", weight_std=[2]), infgeo.MLP(["erf", "erf"], weight_std=[TAU, sigma_w])):
        with pytest.raises(InvalidInput, match=r"weight_std|sigma_w"):
            other.numeric([1.0, 2.0, 3.0], backend=backend, parameters={"tau": 1.0} if other.depth == 2 else None)
    with pytest.raises(InvalidInput, match="sigma_b"):
        mlp.numeric(1.0, [1.0, 2.0, 3.0], backend=backend)
    if backend != "mpmath":
        with pytest.raises(InvalidInput, match="inf"):
            mlp.numeric([1e30, 1.0, 1.0], backend=backend).metric(at(1e300 * X))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_single_precision_is_kept_and_what_it_does_not_hold_is_refused(backend):
    at, exact = points(backend), geometry("erf", backend="numpy")
    geo, x = geometry("erf", backend=backend), at(X.astype(np.float32))
    for name in ("kernel", "ntk", "metric", "log_volume_element", "ricci_scalar"):
        found = getattr(geo, name)(x)
        assert found.dtype == x.dtype and np.allclose(found, getattr(exact, name)(X), rtol=1e-5, atol=1e-5)
    with pytest.raises(InvalidInput, match=r"the metric leaves the range of (torch\.)?float32"):
        geometry("erf", [1.0, 1e-25, 1.0], backend).metric(x)


def test_copies_and_pickles_keep_them():
    geo, g = geometry("erf", backend="numpy"), infgeo.MLP("erf", weight_std=1).metric.per_coordinate([TAU, 2])
    assert (pickle.loads(pickle.dumps(geo)).metric(X) == geo.metric(X)).all()
    assert pickle.loads(pickle.dumps(g)) == g and "tau**2" in str(g) and "tau" in g._repr_latex_()


def test_many_coordinates_neither_overflow_nor_underflow():
    """log sqrt det g at d = 600 against LAPACK, and the volume element where the product of scales has no number."""
    rng, d = np.random.default_rng(1), 600
    std, x = np.exp(rng.normal(size=d) + 2), rng.normal(size=d) / 50
    geo = infgeo.MLP("identity").numeric(std, 0.5)
    assert np.log(std).sum() > 1000
    assert float(geo.log_volume_element(x)) == pytest.approx(np.linalg.slogdet(geo.metric(x))[1] / 2, rel=1e-12)
    halved = infgeo.MLP("z/8").numeric(std, 0.5)
    expected = np.exp(np.log(std).sum() - d * np.log(8))
    assert float(halved.volume_element(x)) == pytest.approx(expected, rel=1e-10)
