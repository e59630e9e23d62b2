"""The geometry of tanh, sigmoid, softplus and SiLU: against quadrature, between backends, by differences."""

import mpmath
import numpy as np
import pytest

import infgeo
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.numeric.runtime.gram import fast
from tests.oracle import moment, pair_moment

X = np.array([[1.0, 0.25], [0.3, -0.5], [2.0, 1.0], [1.0, 0.2500001], [0.0, 0.0]])
FUNCTIONS = {
    "tanh": (mpmath.tanh, lambda z: mpmath.sech(z) ** 2, np.tanh),
    "sigmoid": (
        lambda z: 1 / (1 + mpmath.exp(-z)),
        lambda z: mpmath.sech(z / 2) ** 2 / 4,
        lambda z: (1 + np.tanh(z / 2)) / 2,
    ),
    "softplus": (
        lambda z: mpmath.log1p(mpmath.exp(z)),
        lambda z: 1 / (1 + mpmath.exp(-z)),
        lambda z: np.logaddexp(0, z),
    ),
    "silu": (
        lambda z: z / (1 + mpmath.exp(-z)),
        lambda z: (1 + z * (1 - mpmath.tanh(z / 2)) / 2) * (1 + mpmath.tanh(z / 2)) / 2,
        lambda z: z * (1 + np.tanh(z / 2)) / 2,
    ),
}
BREAKS = [0, *(sign * x for x in (0.1, 0.5, 1, 2, 4, 8, 16, 32) for sign in (1, -1))]


def exact(slope, v):
    """E[phi'^2] and its first two derivatives in v, by quadrature with weights in t = z/sqrt(v)."""
    weights = (lambda t: 1, lambda t: (t * t - 1) / (2 * v), lambda t: ((t * t - 6) * t * t + 3) / (4 * v * v))
    return [moment(lambda z, w=w: slope(z) ** 2 * w(z / mpmath.sqrt(v)), v, BREAKS) for w in weights]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("exponent", [-6, -3, 0, 2, 6])
def test_moments_metric_and_curvature_at_all_variances(name, exponent):
    phi, slope, _ = FUNCTIONS[name]
    with mpmath.workdps(25):
        v = mpmath.mpf(13) / 10 * mpmath.mpf(10) ** exponent
        bias = v / 3  # of the variance
        s = v - bias
        m = moment(lambda z: phi(z) ** 2, v, BREAKS)
        f, f_1, f_2 = exact(slope, v)
        h, J = f + 2 * s * f_1, f * f_1 + s * (f * f_2 - f_1**2)
        R = 2 * (
            2 * (-2 * s * f_1 * J / (f * h) ** 2) + (-s * f_1**2 / (f**2 * h))
        )  # (d - 1)(2 K_rad + (d - 2) K_tan), d = 3
        size = f_1**2 * s / (f**2 * h) + 1 / (f * (1 + s))
        x = np.array([float(mpmath.sqrt(s)), 0.0, 0.0])
        geo = infgeo.MLP(name).numeric(1.0, float(mpmath.sqrt(bias)))
        g = geo.metric(x)
        assert abs(geo.kernel_diag(x) / m - 1) < 2e-12
        assert abs(g[1, 1] / f - 1) < 3e-12 and abs(g[0, 0] / h - 1) < 3e-11
        assert abs(geo.ricci_scalar(x) - R) < 1e-10 * (abs(R) + size)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("p", "q", "c"), [(1.3, 0.7, 0.5), (2.0, 2.5, -1.9), (0.01, 4.0, 0.15), (30.0, 1.0, 5.0)])
def test_kernels_by_two_dimensional_quadrature(name, p, q, c):
    phi = FUNCTIONS[name][2]
    places = [-8.0, -4, -2, -1, -0.5, 0, 0.5, 1, 2, 4, 8]
    slow = pair_moment(phi, phi, p, q, c, places)
    size = np.sqrt(pair_moment(phi, phi, p, p, p, places) * pair_moment(phi, phi, q, q, q, places))
    x, y = np.array([[np.sqrt(p), 0.0]]), np.array([[c / np.sqrt(p), np.sqrt(q - c * c / p)]])
    assert abs(infgeo.MLP(name).numeric(1.0, 0.0).kernel(x, y)[0, 0] - slow) < 2e-12 * size


@pytest.mark.parametrize("name", ["tanh", "softplus"])
def test_backends_agree(name):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    mlp = infgeo.MLP(name)
    into = {"numpy": np.asarray, "torch": torch.tensor, "jax": jax.numpy.asarray, "mpmath": np.ndarray.tolist}
    geometries = {backend: mlp.numeric(1.3, 0.4, backend=backend) for backend in into}
    assert len({geo.kind for geo in geometries.values()}) == 1
    for function in ("kernel", "ntk", "kernel_distance", "volume_element", "ricci_scalar"):
        values = {}
        for backend, geo in geometries.items():
            found = getattr(geo, function)(into[backend](X))
            values[backend] = np.array(found if isinstance(found, list) else found.tolist(), dtype=float)
        for backend in ("numpy", "torch", "jax"):
            assert np.allclose(values[backend], values["mpmath"], rtol=1e-12, atol=1e-14), (function, backend)


def test_distances_of_close_points_and_deep_networks():
    mlp = infgeo.MLP("tanh", depth=2)
    geo, slow = mlp.numeric(1.4, 0.3), mlp.numeric(1.4, 0.3, method="quadrature")
    assert np.abs(geo.kernel(X) - slow.kernel(X)).max() < 1e-10
    assert np.allclose(geo.ricci_scalar(X[:3]), slow.ricci_scalar(X[:3]), rtol=1e-8)
    x = np.array([0.7, -0.4])
    step = 1e-7 * np.array([[0.6, 0.8]])
    expected = np.sqrt(step[0] @ geo.metric(x) @ step[0])
    assert abs(geo.kernel_distance(x[None], x[None] + step)[0, 0] / expected - 1) < 1e-6


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_derivatives_by_points_and_scales(backend):
    library = pytest.importorskip(backend)
    geo = infgeo.MLP("sigmoid").numeric(1.2, 0.5)
    step = 1e-5

    def total(x, scale, geo=geo):
        geo = infgeo.MLP("sigmoid").numeric(scale, 0.5)
        return float(geo.ntk(x).sum() + geo.ricci_scalar(x).sum())

    start = X[:3]
    if backend == "torch":
        points, scale = library.tensor(start, requires_grad=True), library.tensor(1.2, dtype=library.float64)
        scale.requires_grad_(True)
        other = infgeo.MLP("sigmoid").numeric(scale, 0.5, backend="torch")
        (other.ntk(points).sum() + other.ricci_scalar(points).sum()).backward()
        by_points, by_scale = points.grad.numpy(), float(scale.grad)
    else:
        library.config.update("jax_enable_x64", True)

        def value(x, scale):
            other = infgeo.MLP("sigmoid").numeric(scale, 0.5, backend="jax")
            return other.ntk(x).sum() + other.ricci_scalar(x).sum()

        by_points, by_scale = map(np.asarray, library.grad(value, argnums=(0, 1))(library.numpy.asarray(start), 1.2))
    assert abs(by_scale - (total(start, 1.2 + step) - total(start, 1.2 - step)) / (2 * step)) < 1e-7
    for i, j in np.ndindex(start.shape):
        moved = step * np.eye(6)[2 * i + j].reshape(3, 2)
        assert abs(by_points[i, j] - (total(start + moved, 1.2) - total(start - moved, 1.2)) / (2 * step)) < 1e-7


@pytest.mark.parametrize("name", ["sigmoid", "silu", ["relu", "tanh"]])
@pytest.mark.parametrize("scales", [(0.03, 0.0), (2.0, 0.7)])
def test_series_are_the_sums_over_nodes(name, scales, monkeypatch):
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3))
    points[7], points[8], points[9] = points[6], 1.0000001 * points[6], -points[6]
    points[10], points[11] = [1.0, 0, 0], [0, 1.0, 0]
    geo = infgeo.MLP(name).numeric(*scales)
    plain = geo.kernel_and_ntk(points)
    ran = []
    monkeypatch.setattr(fast, "FEW", 0)
    run = fast.Task.run
    monkeypatch.setattr(fast.Task, "run", lambda task, threads: ran.append(task.dtype) or run(task, threads))
    for dtype, bound in ((np.float64, 1e-13), (np.float32, 5e-6)):
        for expected, found in zip(plain, geo.kernel_and_ntk(points.astype(dtype)), strict=True):
            norm = np.sqrt(np.diagonal(expected))
            assert np.abs((found - expected) / np.outer(norm, norm)).max() < bound
    assert len(ran) == 2


def test_large_variances_are_left_to_the_sums_over_nodes(monkeypatch):
    monkeypatch.setattr(fast, "FEW", 0)
    points = 1e3 * np.random.default_rng(1).normal(size=(20, 2))
    K = infgeo.MLP("tanh").numeric(1.0, 1.0).kernel(points)
    unit = points / np.linalg.norm(points, axis=1)[:, None]
    assert np.abs(K - 2 / np.pi * np.arcsin(np.clip(unit @ unit.T, -1, 1))).max() < 0.02  # of the sign


def test_methods_say_what_they_are():
    mlp = infgeo.MLP("tanh")
    geo = mlp.numeric()
    assert (geo.method, geo.tolerance) == ("mixture", None) and "method='mixture'" in repr(geo)
    assert geo.kind == "mixture, |error of phi| <= 4.6e-14, of phi' <= 8.6e-13"
    assert mlp.numeric(method="quadrature").kind == "quadrature, relative error <= 1e-09"
    assert infgeo.MLP("erf").numeric().kind == "closed form"
    assert infgeo.MLP("z/(1 + abs(z))").numeric().method == "quadrature"
    with pytest.raises(NoClosedForm, match="outside the class"):
        mlp.numeric(method="closed_form")
    with pytest.raises(NoClosedForm, match="not linear in functions tanh"):
        infgeo.MLP("z/(1 + abs(z))").numeric(method="mixture")
    with pytest.raises(NoClosedForm, match="leave method out"):
        infgeo.MLP("erf").numeric(method="mixture")


def test_emitted_files_say_that_they_are_mixtures_and_pass_their_test():
    with pytest.raises(InvalidInput, match="is for closed forms"):
        infgeo.emit(infgeo.MLP("tanh"), certificate="required")
    source = infgeo.emit(infgeo.MLP("tanh"), style="fast")
    assert "mixture of error functions: |error of phi| <= 4.6e-14, of phi' <= 8.6e-13" in source
    module = {"__name__": "emitted"}
    exec(compile(source, "emitted", "exec"), module)
    assert module["_main"]() == 0
    points = np.random.default_rng(2).normal(size=(30, 2))
    assert np.abs(module["kernel"](points) - infgeo.MLP("tanh").numeric(1.0, 1.0).kernel(points)).max() < 1e-14


def test_simulated_networks_of_tanh():
    mlp = infgeo.MLP("tanh", depth=2, weight_std=1, bias_std=0.5)
    estimate = infgeo.finite.estimate(mlp, X[:2], 2000, 40, seed=0, quantities=["metric"]).metric
    score = (estimate.mean.numpy() - mlp.numeric().metric(X[:2])) / estimate.standard_error.numpy()
    assert np.abs(score).max() < 4.5


def test_a_kernel_without_closed_form_beside_a_mixture_is_refused_with_its_reason():
    mlp = infgeo.MLP(["max(0, z) + sin(z)", "tanh"])
    geo = mlp.numeric(1.0, 0.5)
    assert geo.method == "mixture" and np.isfinite(geo.ricci_scalar(np.eye(3))).all()
    for function in (geo.kernel, geo.ntk, geo.kernel_distance):
        with pytest.raises(NoClosedForm, match="quadrature"):
            function(np.eye(3), np.eye(3))
    by_rules = mlp.numeric(1.0, 0.5, method="quadrature").kernel(np.eye(3))
    assert np.allclose(np.diag(by_rules), geo.kernel_diag(np.eye(3)), rtol=1e-9)
