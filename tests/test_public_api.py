"""The names that users rely on: a change here is a change of the interface, for the changelog."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import sympy
import torch

import infgeo

ROOT = Path(__file__).resolve().parents[1]


def test_all_is_pinned():
    assert sorted(infgeo.__all__) == [
        "GeometryTracker",
        "Kernel",
        "MLP",
        "Metric",
        "NumericGeometry",
        "RadialGeodesic",
        "RadialMetric",
        "__version__",
        "activations",
        "analysis",
        "emit",
        "errors",
        "finite",
        "finite_width",
        "kernels",
        "layers",
        "learned",
        "magnification",
        "pictures",
        "reproduce",
        "symbols",
        "testing",
        "tracking",
        "training",
        "validate",
    ]


@pytest.mark.parametrize("name", infgeo.__all__)
def test_every_public_name_loads(name):
    assert getattr(infgeo, name) is getattr(infgeo, name)
    assert name in dir(infgeo)


def test_unknown_name_is_an_attribute_error_that_lists_the_names():
    with pytest.raises(AttributeError, match="MLP"):
        infgeo.nothing_of_the_kind  # noqa: B018


def test_every_public_function_and_class_has_a_docstring():
    for name in infgeo.__all__:
        value = getattr(infgeo, name)
        if not isinstance(value, str):
            assert inspect.getdoc(value), name


def test_exceptions_have_one_base():
    errors = infgeo.errors
    assert {"InfgeoError", "NoClosedForm", "MetricDoesNotExist"} <= set(vars(errors))
    for value in vars(errors).values():
        if inspect.isclass(value):
            assert issubclass(value, errors.InfgeoError)


def test_catalogue():
    assert {"erf", "relu"} <= set(infgeo.activations.available())


def test_mlp_takes_names_expressions_and_numbers():
    z, weight, bias = sympy.Symbol("z", real=True), sympy.Symbol("sigma_w", positive=True), sympy.Rational(1, 2)
    named = infgeo.MLP("erf", depth=1, weight_std=weight, bias_std=bias)
    written = infgeo.MLP(sympy.erf(z / sympy.sqrt(2)), weight_std=weight, bias_std=bias)
    assert named.depth == 1
    assert sympy.simplify(named.metric.ricci_scalar - written.metric.ricci_scalar) == 0


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_symbolic_names(activation):
    mlp = infgeo.MLP(activation)
    for kernel in (mlp.kernel, mlp.ntk):
        assert isinstance(kernel.expr, sympy.Expr)
        assert set(kernel.symbols) <= kernel.expr.free_symbols
    metric = mlp.metric
    assert isinstance(metric, infgeo.RadialMetric)
    for expression in (metric.A, metric.B, metric.volume_element, metric.ricci_scalar, *metric.sectional_curvature):
        assert isinstance(expression, sympy.Expr)
        assert {symbol.name for symbol in expression.free_symbols} <= {"d", "r", "s", "sigma_w", "sigma_b"}
    assert metric.matrix(3).shape == (3, 3)
    assert metric.ricci_tensor is not None
    assert metric.is_flat is (activation == "relu")
    assert len(metric.sectional_curvature) == 2
    assert sympy.simplify(mlp.kernel.metric.A - metric.A) == 0
    for value in (mlp.kernel, metric):
        assert str(value)
        assert value._repr_latex_().startswith("$")


def test_names_of_the_metric_of_the_tangent_kernel():
    assert infgeo.MLP("erf").ntk.metric.ricci_scalar.free_symbols
    with pytest.raises(infgeo.errors.MetricDoesNotExist):
        infgeo.MLP("relu").ntk.metric  # noqa: B018


def test_names_of_the_slow_twin():
    u, v = sympy.symbols("u v", positive=True)
    metric = infgeo.Metric(sympy.diag(v**-2, v**-2), (u, v))
    assert metric.christoffel.shape == (2, 2, 2)
    assert metric.riemann.shape == (2, 2, 2, 2)
    assert metric.ricci_tensor.shape == metric.inverse.shape == (2, 2)
    assert metric.ricci_scalar == -2
    assert metric.volume_element == v**-2


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_numeric_names(backend):
    geo = infgeo.MLP("erf").numeric(weight_std=1.0, bias_std=0.5, backend=backend)
    points = np.array([[0.1, 0.2, 0.3], [1.0, -2.0, 0.5]])
    X = points if backend == "numpy" else torch.from_numpy(points)
    kinds = {"numpy": np.ndarray, "torch": torch.Tensor}
    shapes = {
        "kernel": (2, 2),
        "ntk": (2, 2),
        "kernel_diag": (2,),
        "metric": (2, 3, 3),
        "volume_element": (2,),
        "log_volume_element": (2,),
        "ricci_scalar": (2,),
    }
    for name, shape in shapes.items():
        value = getattr(geo, name)(X)
        assert isinstance(value, kinds[backend]), name
        assert tuple(value.shape) == shape, name
    assert tuple(geo.kernel(X, X[:1]).shape) == tuple(geo.kernel_distance(X, X[:1]).shape) == (2, 1)


def test_mpmath_backend():
    geo = infgeo.MLP("erf").numeric(weight_std=1.0, bias_std=0.5, backend="mpmath")
    assert geo.ricci_scalar([[0.5, 0.25]]) is not None


@pytest.mark.parametrize("backend", ["numpy", "torch", "mpmath"])
def test_emitted_source_imports_nothing_of_infgeo(backend):
    source = infgeo.emit(infgeo.MLP("erf"), backend=backend, certificate="none")
    compile(source, "emitted.py", "exec")
    assert "import infgeo" not in source
    assert "from infgeo" not in source


def test_finite_names():
    mlp = infgeo.MLP("erf")
    network = infgeo.finite.sample_network(mlp, input_dim=3, width=64, seed=0)
    assert isinstance(network, torch.nn.Module)
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    pulled = infgeo.finite.pullback(network.to(torch.float64), x)
    assert tuple(pulled.metric.shape) == (2, 3, 3)
    assert tuple(pulled.log_volume_element.shape) == tuple(pulled.ricci_scalar.shape) == (2,)
    parameters = inspect.signature(infgeo.finite.estimate).parameters
    names = ["mlp", "x", "width", "samples", "sampler", "executor", "device", "dtype", "seed"]
    assert list(parameters)[: len(names)] == names
    assert (parameters["sampler"].default, parameters["seed"].default) == ("iid", 0)


def test_names_of_the_tangent_kernel():
    options = ["layer", "input_shape", "freeze", "dtype", "memory_budget"]
    assert list(inspect.signature(infgeo.finite.ntk).parameters) == ["module", "X", "Y", "output", *options]
    metric = inspect.signature(infgeo.finite.ntk_metric).parameters
    assert list(metric) == ["module", "x", "output", "directions", *options]
    assert list(inspect.signature(infgeo.finite.linearize).parameters) == ["module", "freeze"]
    linear = infgeo.finite.linearize(torch.nn.Linear(2, 3))
    assert isinstance(linear, infgeo.finite.Linearized)
    assert linear.tangent_features(torch.zeros(1, 2)).shape == (1, 27)


def test_names_of_leaves():
    walk = inspect.signature(infgeo.finite.walk_along_leaf).parameters
    names = ["features", "x", "direction", "steps", "step_length", "tolerance", "drift", "options"]
    assert list(walk) == names
    assert list(inspect.signature(infgeo.finite.leaf_directions).parameters) == [
        "features",
        "x",
        "tolerance",
        "options",
    ]
    assert list(inspect.signature(infgeo.finite.expected_metric).parameters) == ["features", "x", "samples", "options"]
    found = infgeo.finite.leaf_directions(torch.nn.Linear(3, 1), [[0.0, 1.0, 2.0]])
    assert (found.rank, found.along.shape, found.across.shape) == (1, (1, 2, 3), (1, 1, 3))
    assert (found.singular_values.shape, found.threshold.shape) == ((1, 1), (1,))


def test_names_of_functions_in_a_pullback():
    for name in ("laplacian", "level_sets"):
        assert list(inspect.signature(getattr(infgeo.finite, name)).parameters) == ["function", "geometry"]
    mesh = inspect.signature(infgeo.finite.mesh_laplacian).parameters
    assert list(mesh) == ["features", "vertices", "triangles", "options"]
    x = torch.ones(5, 3, dtype=torch.float64)
    found = infgeo.finite.level_sets(lambda x: x.norm(dim=-1), infgeo.finite.pullback(torch.nn.Identity(), x))
    assert (found.normal.shape, found.principal_curvatures.shape) == ((5, 3), (5, 2))
    assert found.mean_curvature.shape == found.gaussian_curvature.shape == (5,)


def test_names_of_comparisons():
    assert list(inspect.signature(infgeo.magnification.compare).parameters) == ["first", "second", "directions", "null"]
    result = infgeo.magnification.compare([np.eye(2)], [4 * np.eye(2)])
    for name in ("log_ratios", "log_volume_ratio", "anisotropy", "distances"):
        assert len(getattr(result, name)) == 1, name
    names = ["log volume ratio", "anisotropy", "distance", "scale-free distance", "shape distance"]
    assert list(result.statistics()) == names
    volumes = infgeo.finite.volume_by_layer(torch.nn.Sequential(torch.nn.Linear(2, 3)), [[0.0, 1.0]])
    assert volumes.layers == ("0",)
    assert volumes.log_volume.shape == volumes.increments.shape == (1, 1)


def test_names_of_a_pullback():
    assert {"Pullback", "pullback", "pullback_slice"} <= set(infgeo.finite.__all__)
    options = ["output", "layer", "input_shape", "freeze", "batched", "dtype", "singular", "memory_budget"]
    assert list(inspect.signature(infgeo.finite.pullback).parameters) == ["features", "x", *options]
    slices = inspect.signature(infgeo.finite.pullback_slice).parameters
    assert list(slices) == ["features", "t", "origin", "directions", *options]
    plane = infgeo.finite.pullback(lambda u: torch.cat((u.sin(), u.cos()), -1), torch.zeros(5, 2, dtype=torch.float64))
    shapes = {
        "metric": (2, 2),
        "christoffel": (2, 2, 2),
        "ricci_tensor": (2, 2),
        "second_fundamental_form": (4, 2, 2),
        "singular_values": (2,),
        **dict.fromkeys(("ricci_scalar", "gaussian_curvature", "volume_element", "log_volume_element"), ()),
        **dict.fromkeys(("transverse_ricci_scalar", "is_flat"), ()),
        "principal_directions": (2, 2),
        "mean_curvature_vector": (4,),
        **dict.fromkeys(("rank", "log_pseudo_volume"), ()),
    }
    for name, shape in shapes.items():
        assert tuple(getattr(plane, name).shape) == (5, *shape), name
    assert tuple(plane.sectional_curvature([1.0, 0.0], [0.0, 1.0]).shape) == (5,)
    assert (plane.width, plane.input_dim, plane.input_shape, plane.note) == (4, 2, (2,), "")


def test_names_of_training():
    training = infgeo.training
    assert {
        *("Task", "xor", "noisy_xor", "sinusoid", "digits", "mnist", "cifar10", "mlp", "activation_module"),
        *("Recipe", "RECIPES", "train", "TrainingResult", "Callback"),
    } <= set(training.__all__)
    options = ["seed", "callbacks", "checkpoint", "checkpoint_every", "device", "progress", "loss"]
    assert list(inspect.signature(training.train).parameters) == ["model", "task", "recipe", *options]
    network = ["widths", "activation", "parametrisation", "seed", "dtype", "parameters"]
    assert list(inspect.signature(training.mlp).parameters) == network
    assert {"xor", "sinusoid", "mnist", "cifar10", "barlow_twins", "simclr"} <= set(training.RECIPES)


def test_validate_names():
    parameters = inspect.signature(infgeo.validate).parameters
    assert list(parameters)[:2] == ["mlp", "input_dim"]
    report = get_type_hints(infgeo.validate)["return"]
    for name in ("passed", "table", "to_json", "plot"):
        assert hasattr(report, name) or name in getattr(report, "__dataclass_fields__", {}), name


def test_commands():
    from infgeo.cli import main

    assert callable(main)
    assert 'infgeo = "infgeo.cli:main"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
