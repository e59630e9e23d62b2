"""The jax backend: against NumPy and 50 digits, through every transformation, and never a silent loss of digits."""

import subprocess
import sys

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import z
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist
from infgeo.numeric.certificates.accuracy import measure
from infgeo.numeric.source.module import module_source
from infgeo.numeric.source.printing import JAX, scalar_source

jax = pytest.importorskip("jax")
jnp = jax.numpy
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else pytest.importorskip("jax.experimental").enable_x64

EPS = np.finfo(float).eps


def functions_of(mlp):
    """Return the public functions of a network, which take its scales as arguments."""
    namespace = {"__name__": "functions"}
    exec(module_source(mlp, "jax"), namespace)
    return namespace


X = np.random.default_rng(0).normal(size=(5, 3))
X[3] = X[1]
POINTWISE = ["kernel_diag", "ntk_diag", "metric", "volume_element", "log_volume_element", "ricci_scalar"]
PAIRWISE = ["kernel", "ntk", "kernel_distance"]
# The terms of R cancel: releases of XLA and processors round them each in their own way, to 13 units for sin.
ULP = {"ricci_scalar": 32}
RESIDUAL = infgeo.MLP(["relu", infgeo.layers.Residual("erf", skip=1, branch=2)])
# Shapes are few throughout: jax compiles every operation for each of them.


@pytest.fixture(autouse=True)
def double_precision():
    with enable_x64(True):
        yield


def close(value, truth, ulp, dtype=float):
    value, truth = np.asarray(value), np.asarray(truth, dtype=float)
    assert value.dtype == dtype and value.shape == truth.shape
    return (np.abs(value - truth) <= ulp * np.finfo(dtype).eps * np.abs(truth).max(initial=0)).all()


@pytest.mark.parametrize("mlp", [infgeo.MLP("erf"), RESIDUAL], ids=str)
def test_compiled_functions_agree(mlp):
    """XLA contracts a product and a sum to one operation, so the last digits differ; coincidences do not."""
    geo, truth = mlp.numeric(1.2, 0.5, backend="jax"), mlp.numeric(1.2, 0.5)
    for name in ("kernel", "ntk", "kernel_distance", "metric", "ricci_scalar"):
        assert close(jax.jit(getattr(geo, name))(X), getattr(truth, name)(X), ULP.get(name, 8)), name
    gram = np.asarray(jax.jit(geo.kernel)(X))
    assert (gram == gram.T).all() and gram[1, 3] == gram[1, 1]


def test_single_precision_is_kept_and_needs_no_switch():
    mlp, points = infgeo.MLP("erf", depth=3), X.astype(np.float32)
    kernel = functions_of(mlp)["kernel"]
    truth = mlp.numeric(1.2, 0.5)
    for enabled in (False, True):
        with enable_x64(enabled):
            geo = mlp.numeric(1.2, 0.5, backend="jax")
            for name in ("ricci_scalar",) if enabled else ("kernel", "ntk", *POINTWISE):
                assert close(getattr(geo, name)(points), getattr(truth, name)(points), 16, np.float32), name
            # Scales that are traced in double precision, or cut to single, do not change the dtype.
            value = jax.jit(lambda w: kernel(points, sigma_w=w, sigma_b=0.5))(np.float64(1.2))
            assert close(value, truth.kernel(points), 16, np.float32)


@pytest.mark.parametrize("points", [X, X.tolist(), X[0]], ids=["array", "list", "point"])
def test_doubles_are_refused_where_jax_would_cut_them(points):
    with enable_x64(False):
        geo = infgeo.MLP("erf").numeric(1.2, 0.5, backend="jax")
        with pytest.raises(InvalidInput, match=r"float64, which jax cuts to float32.*jax_enable_x64"):
            geo.metric(points)


def pairs(kind, count=12, dimension=3):
    """Return rows X and Y: angles from 1e-9 to 0.1 and radii from 1e-3 to 1e3."""
    rng = np.random.default_rng(4)
    x, across = rng.normal(size=(2, count, dimension))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    across -= (across * x).sum(axis=1, keepdims=True) * x
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle, radius = 10.0 ** rng.uniform(-9, -1, (count, 1)), 10.0 ** rng.uniform(-3, 3, (count, 1))
    near = x * np.cos(angle) + across * np.sin(angle)
    other = {"random": across, "near": near, "unequal": 1.7 * near, "antiparallel": -x, "origin": 0 * x}[kind]
    return radius * x, radius * other


@pytest.mark.parametrize("compiled", [False, True], ids=["", "jit"])
@pytest.mark.parametrize(("name", "depth", "bias_std"), [("erf", 1, 0.0), ("relu", 1, 0.7), ("relu", 3, 0.7)])
def test_kernel_and_distance_against_fifty_digits(name, depth, bias_std, compiled):
    mlp = infgeo.MLP(name, depth=depth)
    geo, truth = (mlp.numeric(1.3, bias_std, backend=backend) for backend in ("jax", "mpmath"))
    transform = jax.jit if compiled else lambda function: function
    functions = [transform(geo.kernel), transform(geo.kernel_distance)]
    for kind in ("random", "near", "unequal", "antiparallel", "origin"):
        left, right = pairs(kind)
        compare(*(np.asarray(function(left, right)).diagonal() for function in functions), truth, left, right, depth)


def compare(kernel, distance, truth, left, right, depth):
    with mpmath.workdps(50):
        for i, (x, y) in enumerate(zip(left[:, None], right[:, None], strict=True)):
            exact, apart = truth.kernel(x, y)[0, 0], truth.kernel_distance(x, y)[0, 0]
            norm = mpmath.sqrt(truth.kernel_diag(x)[0] * truth.kernel_diag(y)[0])
            assert abs(kernel[i] - exact) <= 8 * depth * EPS * norm
            assert abs(distance[i] - apart) <= 64 * EPS * apart


@pytest.mark.parametrize("quantity", ["metric", "log_volume_element", "ricci_scalar"])
@pytest.mark.parametrize(("name", "depth"), [("erf", 1), ("erf", 3)])
def test_pointwise_functions_against_mpmath(name, depth, quantity):
    rng = np.random.default_rng(1)
    points = rng.normal(size=(30, 3)) * np.geomspace(1e-6, 1e6, 30)[:, None]
    assert measure(infgeo.MLP(name, depth=depth), quantity, points, 1.3, 0.7, backend="jax") <= 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mlp", [infgeo.MLP("relu", depth=2), infgeo.MLP("erf")], ids=["relu", "erf"])
def test_gram_matrices_are_symmetric_and_have_the_diagonal_of_kernel_diag(mlp, dtype):
    points = np.random.default_rng(1).normal(size=(12, 3)).astype(dtype)
    points[7], points[11] = points[3], 0
    geo = mlp.numeric(1.3, 0.7, backend="jax")
    for gram, diagonal in ((geo.kernel(points), geo.kernel_diag(points)), (geo.ntk(points), geo.ntk_diag(points))):
        assert (gram == gram.T).all() and gram[3, 7] == gram[3, 3] == gram[7, 7]
        assert (jnp.diag(gram) == diagonal).all()
        assert np.linalg.eigvalsh(np.asarray(gram, float)).min() > -12 * np.finfo(dtype).eps * np.trace(gram)
    assert (jnp.diag(geo.kernel(points, points)) == geo.kernel_diag(points)).all()
    assert (jnp.diag(geo.kernel_distance(points)) == 0).all()


def test_half_the_hessian_of_the_squared_distance_is_the_metric():
    geo, x = infgeo.MLP("relu").numeric(1.2, 0.5, backend="jax"), jnp.array([0.3, -0.7])

    def squared(y):
        both = jnp.stack([x, y])
        return jnp.array([1.0, 1.0, -1.0]) @ jnp.array([*geo.kernel_diag(both), 2 * geo.kernel(x[None], y[None])[0, 0]])

    assert np.allclose(jax.jit(jax.hessian(squared))(x) / 2, geo.metric(x), rtol=1e-12, atol=1e-14)


def test_gradients_are_finite_at_the_origin_and_on_the_diagonal():
    geo = infgeo.MLP("relu").numeric(1.2, 0.0, backend="jax")
    for name in (*PAIRWISE, "metric", "ricci_scalar"):
        slope = jax.jit(jax.grad(lambda a, name=name: getattr(geo, name)(a).sum()))
        for points in (X, np.zeros((5, 3)), np.concatenate([X[:2], -X[:3]])):
            assert np.isfinite(slope(points)).all(), name


@pytest.mark.parametrize("bias_std", [0.0, 0.1])
def test_a_vanishing_metric_whether_the_scales_are_known_or_traced(bias_std):
    mlp = infgeo.MLP("square", depth=2)
    points = np.array([[0.0, 0.0], [0.5, 0.1]])
    geo, functions = mlp.numeric(1.0, 0.0), functions_of(mlp)
    for name in ("metric", "volume_element", "log_volume_element", "ricci_scalar"):
        truth = getattr(geo if bias_std == 0 else mlp.numeric(1.0, bias_std), name)(points)
        known = functions[name](points, sigma_w=1.0, sigma_b=bias_std)
        traced = jax.jit(lambda b, name=name: functions[name](points, sigma_w=1.0, sigma_b=b))(bias_std)
        for value in (known, traced):
            assert np.allclose(value, truth, rtol=1e-12, atol=1e-14, equal_nan=True), name


def test_infinite_expectations_are_refused_where_values_are_known():
    geo = infgeo.MLP(sp.exp(z**2 / 4)).numeric(1.0, 0.0, backend="jax")
    inside, outside = np.diag([0.5, 0.6]), np.diag([0.5, 1.1])
    assert abs(float(geo.kernel(inside)[0, 0]) - 0.75**-0.5) < 1e-15
    for function in (geo.kernel, geo.kernel_diag, geo.metric):
        with pytest.raises(ExpectationDiverges, match="variance 1"):
            function(outside)
    assert np.isfinite(jax.jit(geo.kernel)(inside)).all()
    step = infgeo.MLP(sp.sign(z)).numeric(1.0, 0.5, backend="jax")
    assert step.kernel(X).shape == (5, 5)
    with pytest.raises(MetricDoesNotExist, match="jump"):
        step.metric(X)
    with pytest.raises(ExpectationDiverges, match="tangent kernel"):
        step.ntk(X)


BAD = {
    "integers": (np.ones((2, 3), dtype=int), "int64"),
    "half": (np.ones((2, 3), dtype=np.float16), "float16"),
    "complex": (np.ones((2, 3), dtype=complex), "complex128"),
    "nan": (np.array([[1.0, np.nan]]), r"X\[0, 1\] = nan"),
    "inf": (np.array([[1.0, -np.inf]]), r"X\[0, 1\] = -inf"),
    "ragged": ([[1.0, 2.0], [3.0]], "equal length"),
    "text": ([["1.5", "2"]], "dtype"),
    "truth values": ([[True, False]], "bool"),
    "scalar": (1.0, "shape"),
    "no coordinates": (np.ones((2, 0)), "d >= 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_points_are_refused(name):
    points, message = BAD[name]
    geo = infgeo.MLP("erf").numeric(1.0, 0.5, backend="jax")
    for function in (geo.metric, geo.kernel):
        with pytest.raises(InvalidInput, match=message):
            function(points)
    if isinstance(points, np.ndarray) and name != "scalar":
        with pytest.raises(InvalidInput, match=message):
            geo.metric(jnp.asarray(points))


def test_bad_scales_and_shapes():
    for std in (0.0, -1.0, float("nan"), float("inf"), "1.5", True, np.ones((2, 2)), jnp.ones((1, 2))):
        with pytest.raises(InvalidInput, match="sigma_w"):
            infgeo.MLP("erf").numeric(std, 0.5, backend="jax")
    geo = infgeo.MLP("identity").numeric(jnp.asarray(1.0), np.float32(0.5), backend="jax")
    with pytest.raises(InvalidInput, match=r"\(N, d\)"):
        geo.kernel(X[0])
    with pytest.raises(InvalidInput, match="dimension 3 and Y of 2"):
        geo.kernel(X, X[:, :2])
    with pytest.raises(InvalidInput, match="threads is for closed forms and mixtures in NumPy"):
        geo.kernel(X, threads=2)
    for leading in ((), (0,), (2, 5)):
        assert geo.metric(np.ones((*leading, 3), np.float32)).shape == (*leading, 3, 3)
    assert geo.kernel(np.empty((0, 3)), X).shape == (0, 5)
    assert close(
        geo.kernel([[1, 0], [jnp.asarray(0.0), 1.0]]), infgeo.MLP("identity").numeric(1.0, 0.5).kernel(np.eye(2)), 8
    )


def test_the_differences_of_all_pairs_never_stand_in_memory():
    from infgeo.numeric.runtime.arrays.of_jax import differences_of_pairs as close_pairs

    shapes = [jax.ShapeDtypeStruct((300, 50), np.float64)] * 2
    used = close_pairs.lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    assert used < 4 * 300 * 300 * 8 < 300 * 300 * 50 * 8


def test_functions_of_scalars_are_right_for_known_and_for_traced_values():
    from infgeo.numeric.runtime.arrays.of_jax import scalars

    module = {"scalars": scalars, "jax": jax, "jnp": jnp}
    a = sp.Symbol("a", real=True)
    functions = [sp.exp, sp.log, sp.sin, sp.cos, sp.sinh, sp.cosh, sp.tanh, sp.atan, sp.asin, sp.acos, sp.sqrt, sp.erf]
    for function in (*functions, lambda x: sp.atan2(x, 2), lambda x: sp.Max(x, sp.Rational(1, 3)), sp.sign, sp.Abs):
        expr = function(-a / 2) if function in (sp.sign, sp.Abs) else function(a / 2)
        evaluate = eval(f"lambda a: {scalar_source(expr, JAX)}", module)
        truth = float(expr.subs(a, sp.Rational(3, 4)).evalf(30))
        assert isinstance(evaluate(0.75), float) and abs(evaluate(0.75) - truth) <= 2 * EPS * abs(truth), expr
        assert abs(jax.jit(evaluate)(0.75) - truth) <= 4 * EPS * abs(truth), expr


def test_a_missing_jax_is_named_with_its_remedy_and_is_not_needed_to_emit():
    program = (
        "import sys; sys.modules['jax'] = None\n"
        "import infgeo\n"
        "assert 'import jax' in infgeo.emit(infgeo.MLP('erf'), backend='jax')\n"
        "try:\n    infgeo.MLP('erf').numeric(backend='jax')\n"
        "except infgeo.errors.MissingExtra as error:\n    assert \"pip install 'infgeo[jax]'\" in str(error)\n"
        "else:\n    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def _relative(value, truth):
    return float(np.max(np.abs(np.asarray(value) - truth)) / np.max(np.abs(truth)))


@pytest.mark.parametrize(
    ("function", "traced"), [("kernel", "X"), ("ntk", "Y"), ("kernel_and_ntk", "both"), ("kernel_distance", "X")]
)
def test_one_argument_may_be_traced_and_the_other_not(function, traced):
    """A posterior mean has the data as constants; against differences."""
    geo, data = infgeo.MLP("relu").numeric(1.3, 0.6, backend="jax"), jnp.asarray(X[:2])
    x = jnp.array([0.3, -1.0, 0.5])

    def total(v):
        pair = {"X": (v[None], data), "Y": (data, v[None]), "both": (v[None], 2 * v[None] - 1)}[traced]
        result = getattr(geo, function)(*pair)
        return sum(part.sum() for part in result) if isinstance(result, tuple) else result.sum()

    value, by_slope = jax.jit(total), jax.jit(jax.grad(total))
    slope = np.array([float(value(x + h) - value(x - h)) / 2e-5 for h in 1e-5 * jnp.eye(3)])
    assert _relative(total(x), float(value(x))) < 1e-13
    assert _relative(by_slope(x), slope) < 1e-7


def test_every_transformation_of_what_is_traced_beside_a_constant():
    geo, data = infgeo.MLP("identity").numeric(1.3, 0.6, backend="jax"), jnp.asarray(X[:2])
    x = jnp.array([0.3, -1.0, 0.5])
    batch = jnp.stack([x, x + 1])

    def total(v):
        return (geo.kernel(v[None], data) ** 2).sum()

    value, by_slope = jax.jit(total), jax.jit(jax.grad(total))
    slope = np.array([float(value(x + h) - value(x - h)) / 2e-5 for h in 1e-5 * jnp.eye(3)])
    for transformed in (jax.jacfwd(total), jax.jacrev(jax.checkpoint(total))):
        assert _relative(jax.jit(transformed)(x), slope) < 1e-7
    assert _relative(jax.jit(jax.vmap(jax.grad(total)))(batch)[0], slope) < 1e-7
    assert _relative(jax.lax.map(total, batch)[0], float(value(x))) < 1e-13
    scanned = jax.lax.scan(lambda carry, v: (carry + total(v), None), 0.0, batch)[0]
    assert _relative(scanned, float(value(x) + value(x + 1))) < 1e-13
    bend = np.stack([(by_slope(x + h) - by_slope(x - h)) / 2e-5 for h in 1e-5 * jnp.eye(3)])
    assert _relative(jax.jit(jax.hessian(total))(x), bend) < 1e-6


@pytest.mark.slow  # XLA compiles 8 layers; the shallow networks of the next test guard the same rule
def test_float32_is_computed_in_double_where_layers_must_be():
    deep = infgeo.MLP("relu", depth=8, weight_std=100, bias_std=0)
    exact = deep.numeric().ntk(X)
    geo = deep.numeric(backend="jax")
    for function in (geo.ntk, jax.jit(geo.ntk)):
        assert _relative(function(X.astype(np.float32)), exact) < 1e-5


def test_what_layers_reach_decides_in_jax_too():
    """Beyond the format there is an error outside of transformations, and NaN inside."""
    deep = infgeo.MLP("relu", depth=8, weight_std=100, bias_std=0)
    erf = infgeo.MLP("erf").numeric(1.0, 0.5, backend="jax")
    far = np.concatenate([X[:2], 1e80 * X[:1]])
    for function in ("kernel", "kernel_distance", "ricci_scalar"):
        with pytest.raises(InvalidInput, match="does not keep the digits"):
            getattr(erf, function)(far)
        inside = np.asarray(jax.jit(getattr(erf, function))(far))
        assert np.isnan(inside[2]).all()
        assert np.isfinite(inside[:2, :2] if function in ("kernel", "kernel_distance") else inside[:2]).all()
    with enable_x64(False), pytest.raises(InvalidInput, match="float32 does not keep the digits"):
        deep.numeric(backend="jax").kernel(X.astype(np.float32))


def test_distances_that_kinks_lose_stay_lost_after_a_normalisation():
    mlp = infgeo.MLP([infgeo.layers.Dense("max(z, z**2)", 0.5, 0.3), infgeo.layers.RMSNorm(epsilon=0.01)])
    x, near, apart = X[:1], X[:1] * (1 + 1e-4), X[1:2]
    geo = mlp.numeric(backend="jax")
    with pytest.raises(InvalidInput, match="lost where kernels are subtracted"):
        geo.kernel_distance(x, near)
    np.testing.assert_allclose(geo.kernel_distance(x, apart), mlp.numeric().kernel_distance(x, apart), rtol=1e-12)
