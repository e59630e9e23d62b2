"""Every argument of every public function, given what it is not: one clear error of the package, or an answer.

Among the wrong kinds is text in every container, which would leave its mark if it were evaluated as Python.
"""

from __future__ import annotations

import builtins
import inspect
import re
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import torch

import infgeo
from infgeo import analysis, finite, kernels, layers, magnification, pictures, reproduce, testing, tracking, training
from infgeo.adapters.gpytorch import InfiniteWidthKernel as OfGPyTorch
from infgeo.adapters.sklearn import InfiniteWidthKernel as OfSklearn
from infgeo.adapters.sklearn import RandomFeatures
from infgeo.errors import InfgeoError
from infgeo.expressions import exact
from infgeo.numeric.certificates.certificate import PAIRWISE, POINTWISE
from tests.wrong_kinds import CODE, WRONG

Z, T = sympy.symbols("z t", real=True)
S = infgeo.conventions.s
MLP, OPEN, LEAKY = infgeo.MLP("erf", weight_std=1, bias_std=1), infgeo.MLP("erf"), infgeo.MLP("leaky_relu")
CHEAP = infgeo.MLP("identity", weight_std=1, bias_std=1)
KERNEL = infgeo.Kernel(infgeo.MLP("identity").kernel.expr)
PLANE = infgeo.Metric(sympy.diag(1, Z**2), (Z, T))
FLAT = infgeo.RadialMetric.from_functions(sympy.Integer(1), sympy.Integer(0))
PROGRAM = MLP.metric_program
X = np.array([[0.5, 0.2], [1.0, -0.3], [0.1, 0.7]])
X32 = torch.tensor(X, dtype=torch.float32)
GEOMETRY = MLP.numeric()
NET = torch.nn.Linear(2, 2)
PULLBACK = finite.pullback(torch.nn.Linear(2, 3).double(), X)
PROBE = tracking.line([0.0, 0.0], [1.0, 1.0], points=3)
MAP = tracking.grid((-1, 1), points=2)
RECORDED = tracking.GeometryTracker(NET, X32)
RECORDED.step()
RECORDED = RECORDED.history
TRACKER = tracking.GeometryTracker(NET, X32)
TASK = training.xor()
VALUES = np.linspace(0.0, 1.0, 12)
GRID = np.stack(np.meshgrid(np.arange(4.0), np.arange(3.0), indexing="ij"), -1).reshape(-1, 2)
AGREEMENT = magnification.agreement(VALUES, VALUES**2)
BACKENDS: dict[str, Any] = {"torch": torch.tensor(X), "mpmath": X.tolist()}
if find_spec("jax"):
    BACKENDS["jax"] = X32.numpy()
EXPECTATIONS = [f"activation.{name}" for name in ("function", "derivative", "claims", "moments", "price")]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Text is a path to some functions, and they write there."""
    monkeypatch.chdir(tmp_path)


DISK = infgeo.MLP("erf", weight_std=1, bias_std=0).metric
# A function, and arguments with which it answers soon. Each argument of its signature is replaced by every wrong kind.
ENTRIES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "MLP": (infgeo.MLP, {"activation": "erf"}),
    "MLP of an expression": (infgeo.MLP, {"activation": Z**2, "variable": Z}),
    "MLP of layers": (
        lambda one, weight, bias: infgeo.MLP([one, "erf"], weight_std=[1, weight], bias_std=[bias, 0]),
        {"one": "erf", "weight": 1, "bias": 0},
    ),
    "MLP.numeric": (OPEN.numeric, {}),
    "MLP.numeric of coordinates": (
        lambda one, X: OPEN.numeric([1.0, one]).metric(X),
        {"one": 2.0, "X": X},
    ),
    "RadialMetric.per_coordinate": (FLAT.per_coordinate, {"scales": [1, 2]}),
    "Kernel.per_coordinate": (KERNEL.per_coordinate, {"scales": [1, T]}),
    "MLP.numeric with a parameter": (lambda alpha: LEAKY.numeric(alpha=alpha), {"alpha": 0.1}),
    "MLP.numeric by quadrature": (lambda one: OPEN.numeric(method="quadrature", weight_std=one), {"one": 1.0}),
    "coordinates": (infgeo.symbols.coordinates, {"dimension": 2}),
    **{
        f"{name}.at": (partial(lambda thing, one: thing.at(sigma_w=one), thing), {"one": 1})
        for name, thing in {"MLP": OPEN, "Kernel": OPEN.kernel, "RadialMetric": OPEN.metric}.items()
    },
    **{
        f"{name}.at of a mapping": (partial(lambda thing, one: thing.at(one), thing), {"one": {"sigma_w": 1}})
        for name, thing in {"MLP": OPEN, "Kernel": OPEN.kernel, "RadialMetric": OPEN.metric}.items()
    },
    "Program.at": (lambda one: PROGRAM.at(s=one), {"one": 1}),
    "Kernel.numeric": (KERNEL.numeric, {"parameters": {"sigma_w": 1.0, "sigma_b": 1.0}}),
    "Kernel.numeric of a scale": (lambda one: KERNEL.numeric(sigma_w=one, sigma_b=1.0), {"one": 1.0}),
    "RadialMetric.numeric": (FLAT.numeric, {}),
    "InfiniteWidthKernel of scikit-learn": (
        lambda X, Y, **options: OfSklearn(**options)(X, Y),
        {"X": X, "Y": None, **dict(OfSklearn().get_params())},
    ),
    "InfiniteWidthKernel of GPyTorch": (
        OfGPyTorch,
        {"activation": "erf"},
    ),
    "RandomFeatures": (
        lambda X, **options: RandomFeatures(**options).fit(X).transform(X),
        {"X": X, **(RandomFeatures(width=3).get_params())},
    ),
    "Dense": (layers.Dense, {"activation": "erf"}),
    "Residual": (layers.Residual, {"activation": "erf"}),
    "RMSNorm": (layers.RMSNorm, {}),
    "LayerNorm": (layers.LayerNorm, {}),
    "get": (infgeo.activations.get, {"name": "erf"}),
    "Kernel": (infgeo.Kernel, {"expr": KERNEL.expr}),
    "Kernel.compose": (KERNEL.compose, {"inner": KERNEL}),
    "Kernel +": (lambda other: KERNEL + other, {"other": 1}),
    "+ Kernel": (lambda other: other + KERNEL, {"other": 1}),
    "Kernel *": (lambda other: KERNEL * other, {"other": 1}),
    "* Kernel": (lambda other: other * KERNEL, {"other": 1}),
    "Kernel **": (lambda exponent: KERNEL**exponent, {"exponent": 2}),
    "polynomial": (kernels.polynomial, {"degree": 2}),
    "matern": (kernels.matern, {"nu": sympy.Rational(3, 2)}),
    "arc_cosine": (kernels.arc_cosine, {"order": 1}),
    **{
        name: (getattr(kernels, name), {})
        for name in ("rbf", "linear", "exponential_dot_product", "rational_quadratic", "radial_units")
    },
    "RadialMetric": (infgeo.RadialMetric, {"A": FLAT.A, "B": FLAT.B, "program": FLAT.program}),
    "RadialMetric.from_functions": (infgeo.RadialMetric.from_functions, {"A": 1 + S, "B": sympy.Integer(0)}),
    "RadialMetric.matrix": (FLAT.matrix, {"dimension": 2}),
    "Metric": (infgeo.Metric, {"matrix": [[1, 0], [0, Z**2]], "coordinates": (Z, T)}),
    "Metric of rows": (lambda one, other: infgeo.Metric([[one, 0], [0, 1]], (Z, other)), {"one": 1, "other": T}),
    "Metric.at": (PLANE.at, {"values": {Z: 1, T: 1}}),
    "Metric.at a value": (lambda one: PLANE.at({Z: one, T: 1}), {"one": 1}),
    "Metric.at a symbol": (lambda one: PLANE.at({_hashable(one): 1, T: 1}), {"one": Z}),
    "Program.evaluate": (
        lambda one, name, digits: PROGRAM.evaluate(name, {S: one, infgeo.conventions.d: 2}, digits),
        {"one": 1, "name": "A", "digits": 20},
    ),
    "Program.explicit": (PROGRAM.explicit, {"name": "A"}),
    "Program.select": (PROGRAM.select, {"names": ["A"]}),
    "curvature_sign": (analysis.curvature_sign, {"metric": FLAT}),
    "small_norm": (analysis.small_norm, {"metric": FLAT}),
    "large_norm": (analysis.large_norm, {"mlp": MLP}),
    "fixed_points": (analysis.fixed_points, {"mlp": infgeo.MLP("relu")}),
    "correlations": (analysis.correlations, {"mlp": infgeo.MLP("erf", weight_std=1, bias_std=1)}),
    "great_circles": (analysis.great_circles, {"mlp": MLP}),
    "network_metric": (analysis.network_metric, {"activation": "erf", "weights": [[1, 0], [0, 1]], "biases": [0, 1]}),
    "CoordinateKernel": (kernels.CoordinateKernel, {"expr": Z * T + 1, "x": (Z,), "y": (T,)}),
    "CoordinateKernel.conformal": (kernels.CoordinateKernel(Z * T + 1, (Z,), (T,)).conformal, {"factor": 1 + Z**2}),
    "law": (magnification.law, {"log_volume": VALUES, "before": 0 * VALUES, "shift": VALUES, "width": 10}),
    "learned_metric": (analysis.learned_metric, {"mlp": MLP, "examples": 1}),
    "learned": (infgeo.learned, {"mlp": MLP, "X": X, "y": [1.0] * len(X), "noise_variance": 0.1}),
    "edge_of_chaos": (analysis.edge_of_chaos, {"activation": "relu"}),
    "EdgeOfChaos.at": (analysis.edge_of_chaos("relu").at, {"variance": 1}),
    "finite_width": (infgeo.finite_width, {"mlp": MLP}),
    "FiniteWidth.at": (infgeo.finite_width(MLP).at, {"x": X}),
    "emit": (infgeo.emit, {"mlp": MLP, "certificate": "none"}),
    **{
        f"numeric {name}": (getattr(GEOMETRY, name), {"X": X})
        for name in ("kernel", "ntk", "kernel_and_ntk", "kernel_distance", "kernel_diag", "ntk_diag")
    },
    **{
        f"numeric {name}": (getattr(GEOMETRY, name), {"X": X})
        for name in ("metric", "volume_element", "log_volume_element", "ricci_scalar")
    },
    "numeric operator": (GEOMETRY.operator, {"X": X}),
    "numeric operator in torch": (MLP.numeric(backend="torch").operator, {"X": X}),
    "numeric operator block": (GEOMETRY.operator(X).block, {"rows": [0], "columns": [1]}),
    "numeric operator approximation_error": (GEOMETRY.operator(X).approximation_error, {"features": X}),
    **{
        f"numeric {name} in {backend}": (getattr(CHEAP.numeric(backend=backend), name), {"X": points})
        for backend, points in BACKENDS.items()
        for name in (*PAIRWISE, *POINTWISE, "kernel_diag", "ntk_diag", "kernel_and_ntk")
    },
    **{
        f"MLP.numeric of {backend}": (
            partial(lambda name, one: OPEN.numeric(backend=name, weight_std=one), backend),
            {"one": 1.0},
        )
        for backend in BACKENDS
    },
    "numeric by quadrature": (MLP.numeric(method="quadrature").kernel_diag, {"X": X[:1]}),
    "estimate": (finite.estimate, {"mlp": OPEN, "x": X, "width": 8, "samples": 2, "quantities": ["kernel"]}),
    "estimate of a parameter": (
        lambda one: finite.estimate(LEAKY, X, 8, 2, parameters={"alpha": one}, quantities="kernel"),
        {"one": 0.1},
    ),
    "sample_network": (finite.sample_network, {"mlp": OPEN, "input_dim": 2, "width": 4, "seed": 0}),
    "distance": (finite.distance, {"features": NET, "x": X32[:1], "y": X32[1:2], "steps": 8}),
    "fisher": (finite.fisher, {"features": NET}),
    "geodesic": (finite.geodesic, {"features": NET, "x": X32[:1], "y": X32[1:2], "steps": 8}),
    "logarithm": (finite.logarithm, {"features": NET, "x": X32[:1], "y": X32[1:2]}),
    "exponential": (finite.exponential, {"features": NET, "x": X32[:1], "v": X32[1:2] / 10, "tolerance": 1e-3}),
    "path_length": (finite.path_length, {"features": NET, "path": X32}),
    "frechet_mean": (finite.frechet_mean, {"features": NET, "points": X32, "tolerance": 0.1}),
    "graph_path": (finite.graph_path, {"features": NET, "cloud": X32, "x": X32[:1], "y": X32[1:2], "neighbours": 2}),
    "RadialMetric.distance": (DISK.distance, {"x": [1.0, 0.0], "y": [0.0, 1.0]}),
    "RadialMetric.geodesic": (DISK.geodesic, {"x": [1.0, 0.0], "y": [0.0, 1.0]}),
    "RadialMetric.exponential": (DISK.exponential, {"x": [1.0, 0.0], "v": [0.0, 1.0]}),
    "RadialMetric.logarithm": (DISK.logarithm, {"x": [1.0, 0.0], "y": [0.0, 1.0]}),
    "pullback": (finite.pullback, {"features": NET, "x": X32}),
    "pullback_slice": (
        finite.pullback_slice,
        {"features": NET, "t": [[0.1], [0.2]], "origin": [0.0, 1.0], "directions": [[1.0, 0.0]]},
    ),
    "Pullback.sectional_curvature": (PULLBACK.sectional_curvature, {"u": [1.0, 0.0], "v": [0.0, 1.0]}),
    "compare": (magnification.compare, {"first": [np.eye(2)], "second": [np.eye(2)]}),
    "kernel_angle": (magnification.kernel_angle, {"first": np.eye(3), "second": np.eye(3)}),
    "agreement": (magnification.agreement, {"log_volume": VALUES, "law": VALUES**2}),
    "by_layer": (
        lambda measure, log_volumes, law: magnification.by_layer(measure, log_volumes, law=law),
        {"measure": magnification.agreement, "log_volumes": {"one": VALUES}, "law": VALUES**2},
    ),
    "change": (magnification.change, {"before": AGREEMENT, "after": AGREEMENT}),
    "decision_boundary": (
        magnification.decision_boundary,
        {"coordinates": GRID, "scores": GRID[:, 0] - 1.5, "shape": (4, 3), "level": 0.0},
    ),
    "DecisionBoundary.distance": (
        magnification.decision_boundary(GRID, GRID[:, 0] - 1.5, level=0.0, shape=(4, 3)).distance,
        {"points": GRID},
    ),
    "magnification": (
        magnification.magnification,
        {"log10_volume": VALUES, "distance": VALUES**2, "band": 0.5, "permutations": 9},
    ),
    "magnification on a grid": (
        lambda points, shape, entropy: magnification.magnification(
            VALUES, VALUES**2, points=points, shape=shape, entropy=entropy, band=0.5, permutations=9
        ),
        {"points": GRID, "shape": (4, 3), "entropy": VALUES**3},
    ),
    "metric": (finite.metric, {"features": NET, "x": X32}),
    "log_volume": (finite.log_volume, {"features": NET, "x": X32}),
    "ricci_scalar": (finite.ricci_scalar, {"features": NET, "x": X32}),
    "ntk": (finite.ntk, {"module": NET, "X": X32}),
    "ntk_metric": (finite.ntk_metric, {"module": NET, "x": X32}),
    "volume_by_layer": (finite.volume_by_layer, {"features": torch.nn.Sequential(NET), "x": X32}),
    "expected_metric": (finite.expected_metric, {"features": [NET, NET], "x": X32, "samples": None}),
    "leaf_directions": (finite.leaf_directions, {"features": torch.nn.Linear(2, 1), "x": X32}),
    "walk_along_leaf": (
        finite.walk_along_leaf,
        {"features": torch.nn.Linear(2, 1), "x": X32, "direction": [1.0, 0.0], "steps": 2},
    ),
    "laplacian": (finite.laplacian, {"function": torch.nn.Linear(2, 1).double(), "geometry": PULLBACK}),
    "level_sets": (finite.level_sets, {"function": torch.nn.Linear(2, 1).double(), "geometry": PULLBACK}),
    "mesh_laplacian": (finite.mesh_laplacian, {"features": NET, "vertices": X32, "triangles": [[0, 1, 2]]}),
    "linearize": (finite.linearize, {"module": NET}),
    "geometry_map": (pictures.geometry_map, {"features": NET, "at": MAP}),
    "metric_ellipses": (pictures.metric_ellipses, {"features": torch.nn.Linear(2, 3).double(), "points": X}),
    "geodesics": (pictures.geodesics, {"found": X}),
    "training_curve": (pictures.training_curve, {"history": RECORDED}),
    "over_seeds": (magnification.over_seeds, {"results": [{"a": 1.0}, {"a": 2.0}, {"a": 1.5}]}),
    "sign_flip_p": (magnification.sign_flip_p, {"values": VALUES[1:5]}),
    "symmetry": (magnification.symmetry, {"points": GRID, "log_volume": VALUES, "resamples": 2}),
    "reproduce": (
        lambda name, scale, seeds, out, data: reproduce.reproduce(
            name, scale, seeds=seeds, device="no such device", out=out, data=data
        ),
        {"name": "fig1", "scale": "small", "seeds": (0, 1), "out": "out", "data": None},
    ),
    "check_kernel": (
        testing.check_kernel,
        {"k": kernels.linear(1), "points": X, "skip": ("positive_semidefinite",), "raises": False},
    ),
    "check_activation": (
        testing.check_activation,
        {"a": "identity", "skip": (*EXPECTATIONS, "kernel", "ntk"), "raises": False},
    ),
    "GeometryTracker": (tracking.GeometryTracker, {"model": NET, "at": X32}),
    "GeometryTracker.record": (TRACKER.record, {"step": 3}),
    "load": (tracking.load, {"path": "no such file"}),
    "History.quantity": (TRACKER.history.quantity, {"name": "log10_volume"}),
    "grid": (tracking.grid, {"points": 3}),
    "line": (tracking.line, {"x0": [0.0, 0.0], "x1": [1.0, 1.0], "points": 3}),
    "plane": (tracking.plane, {"x0": [0.0, 0.0], "x1": [1.0, 0.0], "x2": [0.0, 1.0], "points": 3}),
    "points": (tracking.points, {"x": X}),
    "Probe.inputs_at": (PROBE.inputs_at, {"coordinates": [[0.5]]}),
    "Probe.coordinates_of": (PROBE.coordinates_of, {"inputs": [[0.5, 0.5]]}),
    "Probe.barycentric_of": (
        tracking.plane([0.0, 0.0], [1.0, 0.0], [0.0, 1.0], points=3).barycentric_of,
        {"coordinates": [[0.5, 0.5]]},
    ),
    "Task.subset": (TASK.subset, {"n": 2}),
    "Task.to": (TASK.to, {"device": "cpu"}),
    "Recipe": (training.Recipe, {}),
    "Recipe.make_optimizer": (training.Recipe().make_optimizer, {"model": NET}),
    "Augmentation": (training.Augmentation, {}),
    "BarlowTwins": (training.BarlowTwins, {}),
    "SimCLR": (training.SimCLR, {}),
    "RandomView": (training.RandomView, {"augmentation": training.GREY_8}),
    "TwoViews": (training.TwoViews, {"augmentation": training.GREY_8}),
    "ContrastiveLoss": (
        training.ContrastiveLoss,
        {"objective": training.SimCLR(), "views": training.TwoViews(training.GREY_8)},
    ),
    "ContrastiveNetwork": (training.ContrastiveNetwork, {"encoder": NET, "projector": NET}),
    "activation_module": (training.activation_module, {"activation": "erf"}),
    "linear_readout": (
        training.linear_readout,
        {"encoder": NET, "inputs": TASK.inputs, "labels": TASK.labels, "iterations": 2},
    ),
    "mlp": (training.mlp, {"widths": (2, 3, 2)}),
    "projector": (training.projector, {"width": 2, "hidden": (3,), "embedding": 2}),
    "small_resnet": (training.small_resnet, {"blocks": (1,), "widths": (2,)}),
    "noisy_xor": (training.noisy_xor, {"points": 4, "test_points": 4}),
    "sinusoid": (training.sinusoid, {"points": 4, "test_points": 4}),
    "xor": (training.xor, {}),
    "digits": (training.digits, {}),
    "patches": (training.patches, {}),
    "mnist": (training.mnist, {"root": "no such folder"}),
    "cifar10": (training.cifar10, {"root": "no such folder"}),
    "train": (training.train, {"model": NET, "task": TASK, "recipe": training.Recipe()}),
    "validate": (
        infgeo.validate,
        {
            "mlp": infgeo.MLP("identity"),
            "input_dim": 2,
            "points": X[:1],
            "widths": (8,),
            "samples": 8,
            "quantities": ["kernel"],
        },
    ),
}


def _hashable(value: Any) -> Any:
    return value if getattr(value, "__hash__", None) else str(value)


def _arguments(function: Callable[..., Any], given: dict[str, Any]) -> list[str]:
    """Return the names of the arguments, those of the signature that can be given by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        *{**dict.fromkeys(k for k, p in inspect.signature(function).parameters.items() if p.kind in named), **given}
    ]


@pytest.mark.parametrize("name", ENTRIES)
def test_wrong_kinds_end_in_one_error_of_the_package(name):
    function, given = ENTRIES[name]
    for argument in _arguments(function, given):
        for kind, make in WRONG.items():
            try:
                function(**given | {argument: make()})
            except InfgeoError as error:
                assert len(str(error)) < 1500, (argument, kind)
            except Exception as error:
                raise AssertionError(f"{name}({argument}=<{kind}>): {type(error).__name__}: {error}") from error
            assert not builtins.CANARY, f"{name}({argument}=<{kind}>) evaluates text"


# What is made by functions of the table, or read-only data, and what has no arguments.
RESULTS = {
    *("Agreement", "Association", "Check", "Column", "ConformanceReport", "CurvatureSign", "DecisionBoundary"),
    *("EdgeOfChaos", "Expansion", "Figure", "FiniteEstimates", "FixedPoint", "History", "Magnification", "Outcome"),
    *("Probe", "Pullback", "ResNet", "SampledNetwork", "SeedSummary", "SummaryRow", "Symmetry", "Task"),
    *("TrainingResult", "Callback", "available", "families", "listing", "resnet34", "Certificate"),
    *("Circle", "CorrelationPoint", "PathGeodesic", "RadialGeodesic", "LearnedGeometry", "Law", "NetworkMetric"),
    *("Linearized", "LayerVolumes", "Comparison", "LeafDirections", "LeafWalk", "LevelSets"),
    *("CIFAR_CROPS", "COLOUR_32", "GREY_8", "NumericGeometry"),
}


def test_every_public_function_is_in_the_table():
    missing = set()
    for name in infgeo.__all__:
        value = getattr(infgeo, name)
        inner = value.__all__ if isinstance(value, types.ModuleType) and name != "errors" else [name]
        owner = value if isinstance(value, types.ModuleType) else infgeo
        missing |= {one for one in inner if callable(getattr(owner, one, None))}
    missing -= {name.split(" ")[0].split(".")[0] for name in ENTRIES} | RESULTS | {"errors"}
    assert not missing


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: infgeo.MLP("erf", depth=10**8), "depth"),
        (lambda: infgeo.MLP(["erf"] * 10**5), "at most 1000"),
        (lambda: infgeo.MLP("erf", weight_std=None), "leave it out"),
        (lambda: infgeo.MLP("erf", weight_std=1e155).numeric(), "range of float64"),
        (lambda: finite.estimate(MLP, X, 8, 2, parameters=3), "parameters is 3"),
        (lambda: finite.estimate(MLP, X, 8, 2, quantities=3), "quantities is 3"),
        (lambda: finite.estimate(MLP, X, 8, 2, memory_budget=10**30), "memory_budget"),
        (lambda: infgeo.validate(MLP, 2, executor=1.5), "executor is 1.5"),
        (lambda: infgeo.finite_width("erf"), "mlp is 'erf'"),
        (lambda: infgeo.MLP("erf", weight_std=sympy.Function(CODE)(Z)), "undefined function"),
        (lambda: infgeo.MLP("erf", weight_std=sympy.Symbol(CODE, positive=True)), "parameter name"),
        (lambda: infgeo.MLP("max(sqrt(z), z)"), "is complex, at z = -7/5"),
        (lambda: infgeo.MLP("log(relu(z))"), "infinite or undefined"),
        (lambda: infgeo.MLP("1/relu(z)"), "infinite or undefined"),
        (lambda: infgeo.MLP("sqrt(1 - z)"), "is complex, at z = 7/5"),
        (lambda: testing.check_kernel(KERNEL, dtype="float16"), "dtype"),
        (lambda: training.Augmentation(flip=2.0), "probability"),
        (lambda: analysis.edge_of_chaos("relu").at(-1), "variance = -1"),
        (lambda: OPEN.numeric(weight_std=b"1").kernel(X), "must be a number"),
        (lambda: tracking.GeometryTracker(NET, X32, every=b"12"), "every is b'12'"),
    ],
)
def test_one_error_that_names_argument_and_value(call, words):
    with pytest.raises(InfgeoError, match=words):
        call()


def test_numbers_of_every_library_are_exact():
    numbers = [
        *(0.1, np.float64(0.1), np.float32(0.1), Fraction(1, 10), Decimal("0.1"), mpmath.mpf("0.1")),
        *(sympy.Float("0.1"), sympy.Rational(1, 10), np.array(0.1)),
    ]
    assert {exact(number, "one") for number in numbers} == {sympy.Rational(1, 10)}
    assert {exact(number, "two") for number in (2, np.int64(2), np.array(2), sympy.Integer(2), 2.0)} == {2}
    assert exact(Z + 0.5, "sum") == Z + sympy.Rational(1, 2)


def test_sympy_converts_nothing_of_a_user():
    """`sympify` without strict=True, and what parses text, evaluate it: the package calls none of them."""
    calls = re.compile(r"\b(sympify|sp\.S|sympy\.S|nsimplify|parse_expr)\(")
    for path in Path(infgeo.__file__).parent.rglob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if calls.search(line) and "strict=True" not in line:
                raise AssertionError(f"{path}:{number}: {line.strip()}")


def test_text_that_is_evaluated_would_be_seen():
    sympy.sympify(CODE)
    assert builtins.CANARY == [1]
    builtins.CANARY.clear()
