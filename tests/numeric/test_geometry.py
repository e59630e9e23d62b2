"""`MLP.numeric` and `infgeo.emit`: shapes, dtypes, derivatives, standalone files, and what is refused."""

import ast
import builtins
import inspect
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo.conventions import z
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist
from infgeo.numeric.source.module import PUBLIC

X = np.random.default_rng(0).normal(size=(5, 3))
POINTWISE = {"metric": (3, 3), "volume_element": (), "log_volume_element": (), "ricci_scalar": (), "kernel_diag": ()}
PAIRWISE = ["kernel", "ntk", "kernel_distance"]
NETWORKS = [infgeo.MLP("erf"), infgeo.MLP("relu"), infgeo.MLP("erf", depth=3), infgeo.MLP("relu", depth=2)]


def as_backend(points, backend):
    return torch.tensor(points) if backend == "torch" else points


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_shapes_and_dtypes_are_kept(mlp, dtype, backend):
    geo = mlp.numeric(1.0, 0.5, backend=backend)
    for name, shape in POINTWISE.items():
        for leading in ((), (5,), (2, 5), (0,)):
            points = np.broadcast_to(X[0], (*leading, 3)).astype(dtype)
            result = getattr(geo, name)(as_backend(points, backend))
            assert tuple(result.shape) == (*leading, *shape), name
            assert str(result.dtype).endswith(np.dtype(dtype).name), name
    points, others = (as_backend(X[:n].astype(dtype), backend) for n in (5, 2))
    for name in PAIRWISE:
        result = getattr(geo, name)(points, others)
        assert tuple(result.shape) == (5, 2) and str(result.dtype).endswith(np.dtype(dtype).name)


@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_backends_agree(mlp):
    geo, tensors, exact = (mlp.numeric(1.2, 0.5, backend=name) for name in ("numpy", "torch", "mpmath"))
    for name in (*POINTWISE, *PAIRWISE):
        value = getattr(geo, name)(X)
        assert np.allclose(value, getattr(tensors, name)(torch.tensor(X)).numpy(), rtol=1e-13, atol=1e-15), name
        other = getattr(exact, name)(X)
        if name == "metric":
            other = [matrix.tolist() for matrix in other]
        elif isinstance(other, mpmath.matrix):
            other = other.tolist()
        assert np.allclose(value, np.array(other, dtype=float), rtol=1e-13, atol=1e-15), name


@pytest.mark.parametrize("mlp", NETWORKS[:3], ids=str)
def test_emitted_and_symbolic_agree(mlp):
    from infgeo.conventions import d, s, sigma_b, sigma_w

    geo, g = mlp.numeric(1.2, 0.5), mlp.metric
    at = {s: float(X[0] @ X[0]), d: 3, sigma_w: 1.2, sigma_b: 0.5}
    A, B, R = (float(part.subs(at)) for part in (g.A, g.B, g.ricci_scalar))
    assert np.allclose(geo.metric(X[0]), A * np.eye(3) + B * np.outer(X[0], X[0]), rtol=1e-13)
    assert np.isclose(geo.ricci_scalar(X[0]), R, rtol=1e-12, atol=0)
    assert np.isclose(geo.volume_element(X[0]), np.sqrt(np.linalg.det(geo.metric(X[0]))), rtol=1e-12)


@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_torch_results_are_differentiable(mlp):
    geo = mlp.numeric(1.2, 0.5, backend="torch")
    points = torch.tensor(X[:3], requires_grad=True)
    others = torch.tensor(X[3:], requires_grad=True)
    for name in POINTWISE:
        assert torch.autograd.gradcheck(getattr(geo, name), (points,)), name
    for name in PAIRWISE:
        assert torch.autograd.gradcheck(getattr(geo, name), (points, others)), name
    for name in ("kernel", "ntk"):
        (slope,) = torch.autograd.grad(getattr(geo, name)(points).sum(), points)
        assert torch.isfinite(slope).all(), name
    origin = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    for name in (*POINTWISE, "kernel"):
        (slope,) = torch.autograd.grad(getattr(geo, name)(origin).sum(), origin)
        assert torch.isfinite(slope).all(), name


@pytest.mark.parametrize("name", ["cos", "gaussian", "z_erf", "cube"])
def test_derivatives_where_the_metric_vanishes_at_the_origin(name):
    """At x = 0 alone R is not a number, nor its derivatives; the forms for floats have derivatives elsewhere."""
    geo = infgeo.MLP(name).numeric(1.0, 0.0, backend="torch")
    points = torch.tensor(np.vstack([X[:3], 0.01 * X[:1], 6 * X[:1]]), requires_grad=True)
    for quantity in POINTWISE:
        assert torch.autograd.gradcheck(getattr(geo, quantity), (points,), atol=1e-4, rtol=1e-4), quantity
    (slope,) = torch.autograd.grad(geo.ricci_scalar(points).sum(), points)
    assert torch.isfinite(slope).all()
    assert torch.isnan(geo.ricci_scalar(torch.zeros(1, 3, dtype=torch.float64))).all()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch.func's own
def test_torch_kernel_is_the_metric_s_potential():
    """The metric is the mixed derivative of the kernel: autograd through the Gram matrix meets the closed form."""
    geo = infgeo.MLP("erf", depth=2).numeric(1.2, 0.5, backend="torch")
    x = torch.tensor(X[0])

    def mixed(y):
        def kernel(a):
            return geo.kernel(a[None], y[None])[0, 0]

        return torch.func.grad(kernel)(x * (1 + 1e-9))

    assert torch.allclose(torch.func.jacfwd(mixed)(x), geo.metric(x), rtol=1e-6)


def test_parameters_may_be_tensors_with_gradients():
    scale = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    geo = infgeo.MLP("erf").numeric(scale, 0.5, backend="torch")
    (slope,) = torch.autograd.grad(geo.kernel(torch.tensor(X)).sum(), scale)
    step = 1e-6
    low, high = (infgeo.MLP("erf").numeric(1.2 + h, 0.5).kernel(X).sum() for h in (-step, step))
    assert abs(float(slope) - (high - low) / (2 * step)) < 1e-7


@pytest.mark.parametrize("name", ["kernel", "ntk", "kernel_distance", *POINTWISE])
def test_numbers_do_not_go_to_the_default_device(name):
    """What is computed is where the points are, also where new tensors would be elsewhere: here, without values."""
    points, scale = torch.tensor(X[:3]), torch.tensor(0.5, dtype=torch.float64)
    for weight_std in (1.2, [1.2, 1.0, 0.5]):
        function = getattr(infgeo.MLP("erf").numeric(weight_std, scale, backend="torch"), name)
        expected = function(points)
        with torch.device("meta"):
            assert torch.equal(function(points), expected)


def test_parameters_of_the_activation():
    alpha = sp.Symbol("alpha", real=True)
    mlp = infgeo.MLP(sp.Piecewise((z, z > 0), (alpha * z, True)))
    assert np.allclose(mlp.numeric(1.0, 0.5, alpha=0.0).kernel(X), infgeo.MLP("relu").numeric(1.0, 0.5).kernel(X))
    with pytest.raises(InvalidInput, match="alpha"):
        mlp.numeric(1.0, 0.5)
    with pytest.raises(InvalidInput, match="beta"):
        mlp.numeric(1.0, 0.5, beta=1.0)


@pytest.mark.parametrize("backend", ["numpy", "torch", "mpmath"])
def test_emitted_files_stand_alone(tmp_path, backend):
    source = infgeo.emit(infgeo.MLP("erf", depth=2), backend=backend, certificate="none")
    assert "infgeo" not in "".join(line for line in source.splitlines() if "import" in line and line[0] in "if")
    path = tmp_path / "erf_geometry.py"
    path.write_text(source)
    script = (
        "import sys; sys.modules['infgeo'] = None\n"
        f"import erf_geometry as g\n"
        f"points = {X.tolist()}\n"
        "if 'torch' in sys.modules: import torch; points = torch.tensor(points, dtype=torch.float64)\n"
        "print(repr(float(g.ricci_scalar(points)[0])), g.kernel(points, sigma_w=1.2)[0, 1])\n"
        "loaded = {'numpy', 'torch', 'scipy', 'sympy'} & set(sys.modules)\n"
        "print(' '.join(sorted(loaded)), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    expected = infgeo.MLP("erf", depth=2).numeric().ricci_scalar(X)[0]
    assert abs(float(run.stdout.split()[0]) / expected - 1) < 1e-13
    assert "sympy" not in run.stderr
    if backend == "mpmath":
        assert run.stderr.strip() == ""


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax", "mpmath"])
@pytest.mark.parametrize("mlp", [*NETWORKS, infgeo.MLP("gelu"), infgeo.MLP("sign")], ids=str)
def test_sources_hold_nothing_that_is_not_used(mlp, backend):
    """Every import and top-level definition of an emitted module is used in it, and every name it uses is there."""
    tree = ast.parse(infgeo.emit(mlp, backend, certificate="none"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    defined = set(PUBLIC)
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {(alias.asname or alias.name).split(".")[0] for alias in node.names} - {"annotations"}
        else:
            targets = getattr(node, "targets", [node.target] if isinstance(node, ast.AnnAssign) else [])
            names = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            names |= {node.name} if hasattr(node, "name") else set()
        assert names <= used | set(PUBLIC) | {"__all__"}, names - used
        defined |= names
    local = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    local |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    local |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    local |= {part.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for part in node.names}
    local |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert used <= defined | local | set(dir(builtins))


def test_emit_signatures_name_the_parameters():
    namespace: dict = {}
    exec(infgeo.emit(infgeo.MLP("leaky_relu"), certificate="none"), namespace)
    signature = inspect.signature(namespace["ricci_scalar"])
    assert list(signature.parameters) == ["X", "sigma_w", "sigma_b", "alpha"]
    assert signature.parameters["alpha"].default is inspect.Parameter.empty
    assert signature.parameters["sigma_w"].default == 1.0
    with pytest.raises(InvalidInput, match="numpy"):
        infgeo.emit(NETWORKS[0], backend="cupy")
    with pytest.raises(InvalidInput, match=r"infgeo\.MLP"):
        infgeo.emit("erf")


@pytest.mark.parametrize("backend", ["numpy", "torch", "mpmath"])
def test_infinite_expectations_are_refused_and_the_limit_named(backend):
    """E[exp(z^2/2)] is infinite from variance 1 on: exp(z^2/4) has a kernel below, and none above."""
    mlp = infgeo.MLP(sp.exp(z**2 / 4))
    inside, outside = (as_backend(np.diag([0.5, last]), backend) for last in (0.6, 1.1))
    geo = mlp.numeric(1.0, 0.0, backend=backend)
    # k = 1/sqrt((1 - p/2)(1 - q/2) - c^2/4) at p = 1/4.
    assert abs(float(geo.kernel(inside)[0, 0]) - 0.75**-0.5) < 1e-15
    for function in (geo.kernel, geo.ntk, geo.kernel_diag, geo.metric, geo.ricci_scalar, geo.kernel_distance):
        with pytest.raises(ExpectationDiverges, match="variance 1"):
            function(outside)
    with pytest.raises(ExpectationDiverges, match="variance 1"):
        geo.kernel(inside, outside)


def test_mpmath_keeps_its_digits_at_depth():
    with mpmath.workdps(15):
        low = infgeo.MLP("erf", depth=2).numeric(backend="mpmath").ricci_scalar([mpmath.mpf(10) ** 6, mpmath.mpf(0)])
    with mpmath.workdps(80):
        high = infgeo.MLP("erf", depth=2).numeric(backend="mpmath").ricci_scalar([mpmath.mpf(10) ** 6, mpmath.mpf(0)])
    assert abs(low / high - 1) < 1e-13


def test_lists_of_numbers_and_numpy_scalars_are_welcome():
    geo = infgeo.MLP("erf", weight_std=np.float64(0.5), bias_std=np.float32(0.25)).numeric()
    assert (geo.kernel([[1, 0], [0, 1]]) == geo.kernel(np.eye(2))).all()


def test_scales_may_be_other_symbols():
    mlp = infgeo.MLP("erf", weight_std=sp.Symbol("a", positive=True), bias_std=0)
    with pytest.raises(InvalidInput, match="'a' needs a value"):
        mlp.numeric()
    same = infgeo.MLP("erf", weight_std=2, bias_std=0).numeric()
    assert np.allclose(mlp.numeric(a=2.0).ricci_scalar(X), same.ricci_scalar(X), rtol=1e-14)


BAD = {
    "integers": (np.ones((2, 3), dtype=int), "astype"),
    "objects": (np.array([[None, 1.0]]), "dtype object"),
    "complex": (np.ones((2, 3), dtype=complex), "complex128"),
    "half": (np.ones((2, 3), dtype=np.float16), "float16"),
    "nan": (np.array([[1.0, np.nan]]), r"X\[0, 1\] = nan"),
    "inf": (np.array([[1.0, np.inf]]), r"X\[0, 1\] = inf"),
    "scalar": (np.float64(1.0), "shape"),
    "no coordinates": (np.ones((2, 0)), "d >= 1"),
    "ragged": ([[1.0, 2.0], [3.0]], "ragged"),
    "text": (["a", "b"], "dtype"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_points_are_refused_with_value_and_remedy(name):
    points, message = BAD[name]
    geo = infgeo.MLP("erf").numeric(1.0, 0.5)
    for function in (geo.metric, geo.kernel, geo.ricci_scalar, geo.kernel_diag):
        with pytest.raises(InvalidInput, match=message):
            function(points)


@pytest.mark.parametrize("backend", ["torch", "mpmath"])
@pytest.mark.parametrize("name", ["nan", "inf", "ragged", "complex", "no coordinates"])
def test_bad_points_of_other_backends(name, backend):
    points = BAD[name][0]
    if backend == "torch" and not isinstance(points, list):
        points = torch.tensor(points)
    with pytest.raises(InvalidInput, match="X"):
        infgeo.MLP("erf").numeric(1.0, 0.5, backend=backend).metric(points)


def test_kernel_needs_rows_of_equal_dimension():
    geo = infgeo.MLP("erf").numeric(1.0, 0.5)
    with pytest.raises(InvalidInput, match=r"\(N, d\)"):
        geo.kernel(X[0])
    with pytest.raises(InvalidInput, match="dimension 3 and Y of 2"):
        geo.kernel(X, X[:, :2])


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf"), "1.5", True])
def test_bad_scales(std):
    for backend in ("numpy", "torch"):
        with pytest.raises(InvalidInput, match="sigma_w"):
            infgeo.MLP("erf").numeric(std, 0.5, backend=backend)


def test_scales_that_are_given_twice_and_unknown_backends():
    with pytest.raises(InvalidInput, match="already"):
        infgeo.MLP("erf", weight_std=2).numeric(weight_std=1.0)
    with pytest.raises(InvalidInput, match="backend"):
        infgeo.MLP("erf").numeric(backend="cupy")


def test_a_missing_metric_is_said_where_it_is_asked_for():
    geo = infgeo.MLP(sp.sign(z)).numeric(1.0, 0.5)
    assert geo.kernel(X).shape == (5, 5)
    with pytest.raises(MetricDoesNotExist, match="jump"):
        geo.metric(X)
    with pytest.raises(ExpectationDiverges, match="tangent kernel"):
        geo.ntk(X)


def test_default_scales_are_those_of_the_paper():
    default, explicit = infgeo.MLP("erf").numeric(), infgeo.MLP("erf").numeric(1.0, 1.0)
    assert (default.kernel(X) == explicit.kernel(X)).all()


def test_fan_in():
    fan_in = infgeo.MLP("erf", depth=2, input_scale="fan_in").numeric(1.0, 0.5)
    plain = infgeo.MLP("erf", depth=2).numeric(1.0, 0.5)
    scaled = X / np.sqrt(3)
    for name in ("kernel", "ntk", "ricci_scalar"):
        assert np.allclose(getattr(fan_in, name)(X), getattr(plain, name)(scaled), rtol=1e-13)
    assert np.allclose(fan_in.metric(X), plain.metric(scaled) / 3, rtol=1e-13)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch.func's own
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", ["erf", "relu", "gelu", "sin", "rectified_square"])
def test_second_derivatives_at_coincident_points(name, depth):
    """The mixed derivative of the kernel at y = x, through autograd at y = x itself, is the metric; so for the NTK."""
    from infgeo.conventions import s

    mlp = infgeo.MLP(name, depth=depth, weight_std=1, bias_std=sp.Rational(1, 2))
    geo, x = mlp.numeric(backend="torch"), torch.tensor([0.3, -0.7, 0.5], dtype=torch.float64)

    def mixed(kernel):
        entry = lambda a, b: kernel(a[None], b[None])[0, 0]  # noqa: E731
        return torch.func.jacfwd(torch.func.jacrev(entry, argnums=1), argnums=0)(x, x)

    assert torch.allclose(mixed(geo.kernel), geo.metric(x), rtol=1e-12, atol=1e-14)
    if name != "relu":
        A, B = (float(sp.N(part.subs(s, sp.Rational(83, 100)))) for part in (mlp.ntk.metric.A, mlp.ntk.metric.B))
        exact = A * torch.eye(3, dtype=torch.float64) + B * torch.outer(x, x)
        assert torch.allclose(mixed(geo.ntk), exact, rtol=1e-12, atol=1e-13)
    points = torch.stack([x, x, -x])
    for transform in (torch.func.jacfwd, torch.func.jacrev):
        assert torch.func.vmap(transform(geo.metric))(points).shape == (3, 3, 3, 3)
