"""The conformance kit on the catalogue, on kernels of all kinds, and on kernels that are wrong in one way each."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import types
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy
import torch

import infgeo
from infgeo import kernels
from infgeo.errors import ConformanceError, InvalidInput
from infgeo.symbolic.networks.layers import Residual, RMSNorm
from infgeo.testing import check_activation, check_kernel, simulated
from infgeo.testing.layer_quadrature import expectation
from infgeo.testing.simulated import LEVEL, _deviations, _verdict, tangent_gram
from infgeo.testing.subject import Truth

NUMERIC_ONLY = ("elu", "sigmoid", "silu", "softplus", "tanh")
CLOSED = [name for name in infgeo.activations.available() if name not in NUMERIC_ONLY]
# The metric of the tangent kernel takes seconds to derive; tests/symbolic does it for more.
NTK_METRIC = ("erf", "relu", "identity", "gaussian", "cube", "sign", "step")
ERF = infgeo.MLP("erf")
GEO = ERF.numeric(1.0, 0.5)
IN_TORCH = ERF.numeric(1.0, 0.5, backend="torch")


@pytest.mark.parametrize("name", CLOSED)
def test_every_closed_form_of_the_catalogue(name):
    skip = () if name in NTK_METRIC else ("ntk.metric", "ntk.hessian", "ntk.formula_metric")
    report = check_activation(name, skip=skip)
    assert report["kernel.quadrature"].status == report["kernel.metric"].status == "passed"
    assert report["activation.moments"].status == report["kernel.formula"].status == "passed"
    jumps = name in ("sign", "step")
    assert (report["ntk"].status == "skipped") if jumps else (report["ntk.quadrature"].status == "passed")
    assert report["kernel.hessian"].status == ("skipped" if jumps else "passed")
    heavy = name == "exp"  # the square of exp(z) has tails that no number of networks shows
    assert report["kernel.simulation"].status == ("skipped" if heavy else "passed")


@pytest.mark.parametrize("name", ["tanh"])
def test_activations_without_a_closed_form(name):
    report = check_activation(name)
    assert report["kernel.simulation"].status == report["kernel.metric"].status == "passed"
    assert report["ntk.simulation"].status == "passed"
    assert report["kernel.quadrature"].note == "k is integrated numerically itself"
    assert "outside the class" in report["activation.moments"].note


KERNELS = {
    "erf": ERF.kernel,
    "erf, tangent": ERF.ntk,
    "deep relu": infgeo.MLP("relu", depth=2, bias_std=0).kernel,
    "rbf": kernels.rbf(),
    "polynomial": kernels.polynomial(3),
    "matern 3/2": kernels.matern(sympy.Rational(3, 2)),
    "sum and product": 2 * kernels.linear() * infgeo.MLP("relu", bias_std=0, weight_std=1).kernel + 1,
    "composition": kernels.rbf(1).compose(infgeo.MLP("gaussian").kernel),
    "expression": infgeo.Kernel(sympy.cos(sympy.Symbol("xy")) * 0 + sympy.exp(sympy.Symbol("xy") / 4)),
    "fan in": infgeo.MLP("erf", input_scale="fan_in").kernel,
}


@pytest.mark.parametrize("name", KERNELS)
def test_formulas(name):
    report = check_kernel(KERNELS[name], skip=["simulation"])
    assert report["metric"].status == "passed"
    assert (report["quadrature"].status == "passed") is hasattr(KERNELS[name], "network")


def test_a_kernel_without_a_metric_is_seen_to_have_none():
    report = check_kernel(kernels.matern(sympy.Rational(1, 2)))
    assert report["metric"].measured == pytest.approx(1.0, abs=0.01)
    tangent = check_kernel(infgeo.MLP("relu").numeric(1.0, 0.5, backend="torch").ntk, skip=["simulation"])
    assert tangent["metric"].measured == pytest.approx(1.0, abs=0.01)
    assert "no second derivatives" in tangent["hessian"].note


LAYERS = [
    infgeo.layers.RMSNorm(sympy.Rational(1, 10)),
    "erf",
    infgeo.layers.Residual("relu", skip=1, branch=sympy.Rational(1, 2)),
]


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_layers_that_differ(kind):
    """The recursion by quadrature and the simulation share no code with the closed forms."""
    report = check_kernel(infgeo.MLP(LAYERS).numeric(1.2, 0.4), kind=kind)
    assert report["quadrature"].status == report["simulation"].status == "passed"


def test_depth_three_by_quadrature():
    report = check_kernel(infgeo.MLP("relu", depth=3).numeric(1.4, 0.1).ntk, skip=["simulation", "metric"])
    assert report["quadrature"].measured < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_both_precisions(backend, dtype):
    report = check_kernel(infgeo.MLP("gelu").numeric(0.8, 0.3, backend=backend), dtype=dtype, skip=["simulation"])
    assert report["quadrature"].bound == pytest.approx(1e-10 if dtype == "float64" else 256 * 2.0**-23)
    assert (report["hessian"].status == "passed") is (backend == "torch")


def test_files_and_adapters_and_kernels_of_others():
    from gpytorch.kernels import RBFKernel
    from sklearn.gaussian_process.kernels import RBF, DotProduct

    from infgeo.adapters import gpytorch, sklearn

    module = types.ModuleType("written")
    exec(infgeo.emit(ERF), module.__dict__)
    assert check_kernel(module)["diagonal"].bound == 0
    assert check_kernel(sklearn.InfiniteWidthKernel("relu", depth=2, kind="ntk"))["quadrature"].status == "passed"
    ours = gpytorch.InfiniteWidthKernel("erf", weight_std=0.8).double()
    report = check_kernel(ours)
    assert report["quadrature"].measured < 1e-12
    assert report["hessian"].status == "passed"
    assert check_kernel(2.0 * RBF() + DotProduct())["diagonal"].status == "passed"
    assert check_kernel(RBFKernel().double())["hessian"].status == "passed"


def plain(X, Y=None):
    return GEO.kernel(X, Y)


def coincident(X, Y):
    return (X[:, None] == (X if Y is None else Y)[None]).all(-1)


def with_wrong_second_derivative(X, Y=None):
    """The values of a kernel, and its first derivatives at coincidence."""
    squared = torch.cdist(X, X if Y is None else Y).square() if Y is None else ((X[:, None] - Y[None]) ** 2).sum(-1)
    return IN_TORCH.kernel(X, Y) + 1e-3 * (squared - squared.detach())


def without_derivative(X, Y=None):
    same = (X[:, None] == (X if Y is None else Y)[None]).all(-1)
    k = IN_TORCH.kernel(X, Y)
    return torch.where(same, k.detach(), k)


def nan_derivative(X, Y=None):
    k = IN_TORCH.kernel(X, Y)
    squared = ((X[:, None] - (X if Y is None else Y)[None]) ** 2).sum(-1)
    return k + 0 * torch.sqrt(squared)


def of_its_neighbours(X, Y=None):
    return GEO.kernel(X, Y) * (1 + 1e-9 * len(X))


MILD = {"network": ERF, "weight_std": 1.0, "bias_std": 0.5, "skip": ["simulation"]}
WRONG = {
    "diagonal of k(X)": (lambda X, Y=None: plain(X, Y) + (1e-9 * np.eye(len(X)) if Y is None else 0), {}, "diagonal"),
    "own diagonal": (plain, {"diagonal": lambda X: GEO.kernel_diag(X) * (1 + 1e-12)}, "diagonal"),
    "own diagonal, shape": (plain, {"diagonal": lambda X: GEO.kernel_diag(X)[:, None]}, "diagonal"),
    "white noise": (lambda X, Y=None: plain(X, Y) + 0.1 * coincident(X, Y), {}, "continuity"),
    "asymmetric": (lambda X, Y=None: plain(X, Y) * (1 + 1e-12 * np.sign(X[:, :1])), {}, "symmetry"),
    "indefinite": (lambda X, Y=None: plain(X, Y) - 0.1, {}, "positive_semidefinite"),
    "indefinite by little": (lambda X, Y=None: plain(X, Y) - 1e-6 * coincident(X, Y), {}, "positive_semidefinite"),
    "off by 1e-9": (lambda X, Y=None: plain(X, Y) * (1 + 1e-9), MILD, "quadrature"),
    "NaN at coincidence": (lambda X, Y=None: np.where(coincident(X, Y), np.nan, plain(X, Y)), {}, "finite"),
    "shape": (lambda X, Y=None: plain(X, Y)[:, :1], {}, "finite"),
    "neighbours": (of_its_neighbours, {}, "evaluation"),
    "metric": (plain, {"metric": lambda X: GEO.metric(X) * (1 + 1e-4)}, "metric"),
    "metric across": (plain, {"metric": lambda X: GEO.metric(X) + 1e-3 * (1 - np.eye(3))}, "metric"),
    "metric of the last axis": (plain, {"metric": lambda X: GEO.metric(X) * np.diag([1, 1, 1.01])}, "metric"),
    "metric without symmetry": (plain, {"metric": lambda X: GEO.metric(X) + np.diag([1e-3, 0], 1)[:3, :3]}, "metric"),
    "metric, shape": (plain, {"metric": lambda X: GEO.metric(X)[:, :2]}, "metric"),
    "complex": (lambda X, Y=None: plain(X, Y) + 1e-3j, {}, "finite"),
    "metric of jumps": (infgeo.MLP("step").numeric().kernel, {"metric": GEO.metric}, "metric"),
    "distance": (plain, {"distance": lambda X, Y=None: GEO.kernel_distance(X, Y) * (1 + 1e-9)}, "distance"),
    "distance at 0": (plain, {"distance": lambda X, Y=None: GEO.kernel_distance(X, Y) + 1e-12}, "distance"),
    "second derivative": (with_wrong_second_derivative, {}, "hessian"),
    "no derivative": (without_derivative, {}, "gradient"),
    "NaN derivative": (nan_derivative, {}, "gradient"),
    "raises": (lambda X, Y=None: plain(X, Y) if len(X) < 5 else 1 / 0, {}, "symmetry"),
}
ALONE = (
    *("own diagonal", "own diagonal, shape", "off by 1e-9", "metric", "distance", "distance at 0"),
    *("second derivative", "asymmetric", "metric across", "metric of the last axis", "metric without symmetry"),
)


@pytest.mark.parametrize("name", WRONG)
def test_each_defect_is_caught_by_the_check_for_it(name):
    k, options, expected = WRONG[name]
    report = check_kernel(k, raises=False, **options)
    failures = [check.name for check in report.failures]
    assert expected in failures
    assert not report
    if name in ALONE:
        assert failures == [expected]


def test_the_right_kernel_passes_where_the_wrong_ones_fail():
    for options in ({}, MILD, {"metric": GEO.metric, "distance": GEO.kernel_distance, "diagonal": GEO.kernel_diag}):
        assert check_kernel(plain, **options).passed
    assert check_kernel(lambda X, Y=None: IN_TORCH.kernel(X, Y)).passed


def test_simulation_catches_what_is_off_by_several_standard_errors():
    options = {"network": ERF, "weight_std": 1.0, "bias_std": 0.5, "raises": False, "skip": ["quadrature"]}
    assert check_kernel(plain, **options)["simulation"].status == "passed"
    wrong = check_kernel(lambda X, Y=None: plain(X, Y) * 1.03, **options)
    assert [check.name for check in wrong.failures] == ["simulation"]
    tangent = infgeo.MLP("relu").numeric(1.0, 0.5).ntk
    wrong = check_kernel(
        lambda X, Y=None: tangent(X, Y) * 0.9, **(options | {"network": infgeo.MLP("relu")}), kind="ntk"
    )
    assert [check.name for check in wrong.failures] == ["simulation"]
    deep = infgeo.MLP("relu", depth=2)
    numeric = deep.numeric(1.0, 0.5)
    wrong = check_kernel(lambda X, Y=None: numeric.kernel(X, Y) * 1.3, **(options | {"network": deep}))
    assert [check.name for check in wrong.failures] == ["simulation"]


def test_verdict_has_its_level():
    """Normal data around the truth are rejected about as often as stated; shifted by 6 errors they always are."""
    generator, level, runs = np.random.default_rng(0), LEVEL, 3000
    values = generator.normal(size=(runs, 1, 3, 3))
    outcomes = [_verdict(np.zeros((3, 3)), mean / 8, np.full((1, 3, 3), 1 / 8), (64,), 65) for mean in values]
    assert sum(measured > bound for measured, bound, _ in outcomes) <= 3  # Student's t expects more than this
    assert LEVEL == level == 1e-4
    measured, bound, _ = _verdict(np.full((3, 3), 6 / 8), values[0] / 8, np.full((1, 3, 3), 1 / 8), (64,), 65)
    assert measured > bound


def test_a_network_scaled_by_its_inputs_is_simulated_as_the_one_that_writes_it_out():
    """The square of exp(z) has tails too heavy at variance 1, and at 1/400 it has not."""
    options = {"input_dim": 400, "skip": ["metric", "gradient", "hessian", "quadrature"], "raises": False}
    scaled = check_kernel(infgeo.MLP("exp", bias_std=0, input_scale="fan_in").numeric(1.0), **options)
    written = check_kernel(infgeo.MLP("exp", bias_std=0).numeric(1 / 20), **options)
    assert scaled["simulation"].status == "passed"
    assert scaled["simulation"].measured == pytest.approx(written["simulation"].measured, rel=1e-6)


@pytest.mark.parametrize("input_scale", [None, "fan_in"])
@pytest.mark.parametrize(
    "layers",
    [
        ["relu", "erf"],
        ["relu", Residual("erf", skip=sympy.Symbol("g", positive=True), branch=2), "erf"],
        [RMSNorm(sympy.Rational(1, 3)), "relu", RMSNorm(2), "erf"],
    ],
)
def test_the_tails_are_judged_at_the_variances_of_the_layers(layers, input_scale, monkeypatch):
    """The variance of a layer is that of the kernel of the layers before it, in closed form."""
    seen, expected = [], []
    x = np.random.default_rng(0).normal(size=(1, 4))
    count = sum(not isinstance(layer, RMSNorm) for layer in layers)
    mlp = infgeo.MLP(layers, weight_std=[2, 1, 3][:count], bias_std=1, input_scale=input_scale)
    values = {symbol.name: 0.5 for symbol in mlp.parameters}
    monkeypatch.setattr(simulated, "_skewness", lambda _function, v, _order: seen.append(v) or 0.0)
    simulated._require_light_tails(Truth(mlp, "nngp", values), x, 1)
    for i, layer in enumerate(mlp.layers):
        if isinstance(layer, RMSNorm):
            continue
        preactivation = infgeo.layers.Dense("identity", layer.weight_std, layer.bias_std)
        before = infgeo.MLP([*mlp.layers[:i], preactivation], input_scale=input_scale)
        given = {name: values[name] for name in map(str, before.parameters)}
        expected.append(float(before.numeric(**given).kernel_diag(x)[0]))
    assert seen == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("depth", [1, 2])
def test_simulated_tangent_kernel_against_backpropagation_by_hand(depth):
    mlp = infgeo.MLP("erf", depth=depth)
    truth = Truth(mlp, "ntk", {"sigma_w": 1.3, "sigma_b": 0.6})
    network = infgeo.finite.sample_network(mlp, 2, 40, 7, weight_std=1.3, bias_std=0.6)
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    readout = torch.randn(40, generator=torch.Generator().manual_seed(7 ^ 0x5EED), dtype=torch.float64)
    with torch.no_grad():
        z, states = x @ network.weights[0].T + network.biases[0], [x]
        slopes = []
        for layer in range(depth):
            phi, slope = network.activation.jet(z, order=1)
            phi, slope = phi.clone(), slope.clone()
            slopes.append(slope)
            states.append(phi)
            if layer + 1 < depth:
                z = phi @ network.weights[layer + 1].T + network.biases[layer + 1]
        expected = states[-1] @ states[-1].T / 40
        back = readout / 40**0.5 * slopes[-1]
        for layer in reversed(range(depth)):
            size = 1.0 if layer == 0 else 40.0
            expected += (back @ back.T) * (1.3**2 / size * states[layer] @ states[layer].T + 0.6**2)
            if layer:
                back = (back @ network.weights[layer]) * slopes[layer - 1]
    assert torch.allclose(tangent_gram(network, truth, x, 7), expected, rtol=1e-12)
    assert len(_deviations(network, truth)) == 2 * depth


def test_quadrature_against_williams():
    """The kernel of Williams (1997) by hand at 30 digits, depth 1 and 2."""
    x, y = np.array([0.3, -1.2]), np.array([0.9, 0.5])
    with mpmath.workdps(30):
        bias, weight = mpmath.mpf("0.25"), mpmath.mpf("1.69")

        def through(p, q, c):
            return 2 / mpmath.pi * mpmath.asin(c / mpmath.sqrt((1 + p) * (1 + q)))

        def affine(*parts):
            return [bias + weight * part for part in parts]

        a, b = ([mpmath.mpf(t) for t in point] for point in (x, y))
        p, q, c = affine(mpmath.fdot(a, a), mpmath.fdot(b, b), mpmath.fdot(a, b))
        first = [through(p, p, p), through(q, q, q), through(p, q, c)]
        p, q, c = affine(*first)
        exact = [float(first[2]), float(through(p, q, c))]
    for depth, value in enumerate(exact, start=1):
        truth = Truth(infgeo.MLP("erf", depth=depth), "nngp", {"sigma_w": 1.3, "sigma_b": 0.5})
        assert expectation(truth, x, y)[0] == pytest.approx(value, rel=1e-13)


def test_a_wrong_derivation_is_caught(monkeypatch):
    """Moments, kernels and metrics of the wrong function: of 1.0001 erf."""
    from infgeo.symbolic.activations.catalogue import get
    from infgeo.testing import expectations

    wrong = replace(get("erf"), expr=sympy.Rational(10001, 10000) * get("erf").expr)
    monkeypatch.setattr(expectations, "dual", lambda _: infgeo.MLP(wrong.expr).dual)
    report = check_activation("erf", raises=False, skip=["kernel", "ntk"])
    assert [check.name for check in report.failures] == ["activation.moments"]


def test_activations_of_all_kinds():
    z, a = sympy.symbols("z a", real=True)
    report = check_activation(sympy.exp(a * z**2), parameters={"a": 0.8}, skip=["ntk"])
    assert report.configuration["a"] == 0.8
    assert report.configuration["sigma_b"] < 0.5
    report = check_activation(["identity", "relu"], skip=["ntk"])
    assert {"activation_1.moments", "activation_2.moments"} <= {check.name for check in report.checks}
    assert check_activation(infgeo.MLP("erf", weight_std=1, bias_std=0), skip=["ntk"]).passed
    assert check_activation("max(z - 1, 0)", skip=["ntk"])["kernel.simulation"].status == "passed"


SIGNS = np.array([1.0, -1.0, 0.5])
BILINEAR = {
    "a kernel": (lambda X, Y: X @ Y.T, []),
    "negative": (lambda X, Y: -X @ Y.T, ["positive_semidefinite"]),
    "of both signs": (lambda X, Y: (X * SIGNS[: X.shape[1]]) @ Y.T, ["positive_semidefinite"]),
    "negative where vectors are short": (lambda X, Y: np.tanh(X @ Y.T - 1), ["positive_semidefinite"]),
    "distances": (
        lambda X, Y: X @ Y.T - np.square(X).sum(1)[:, None] / 2 - np.square(Y).sum(1) / 2,
        ["positive_semidefinite"],
    ),
}


@pytest.mark.parametrize("points", [None, [[1.0, 1.0, 0.0], [2.0, 2.0, 0.5], [1.0, 3.0, 2.0]]])
@pytest.mark.parametrize("name", BILINEAR)
def test_verdict_does_not_depend_on_how_a_processor_rounds(name, points):
    """Products of rows and of blocks differ by rounding of their terms, which may be larger than k(x, x)."""
    k, failures = BILINEAR[name]

    def on_some_processor(X, Y=None):
        Y = X if Y is None else Y
        units = np.random.default_rng((len(X), len(Y))).uniform(-4, 4, (len(X), len(Y)))
        return k(X, Y) + units * 2.0**-53 * (np.abs(X) @ np.abs(Y).T)

    report = check_kernel(on_some_processor, raises=False, points=points)
    assert [check.name for check in report.failures] == failures


def test_report_error_and_json():
    with pytest.raises(ConformanceError, match="positive_semidefinite") as caught:
        check_kernel(lambda X, Y=None: -X @ (X if Y is None else Y).T)
    assert isinstance(caught.value, AssertionError)
    report = caught.value.report
    assert pickle.loads(pickle.dumps(caught.value)).report.subject == report.subject
    text = report.table()
    assert "FAILED: 1 of" in text
    assert "requires: the Gram matrix" in text
    assert "k is not computed in torch" in text
    document = json.loads(report.to_json())
    assert document["passed"] is False
    assert document["checks"][0] == {
        "name": "finite",
        "requirement": report["finite"].requirement,
        "status": "passed",
        "measured": 0.0,
        "bound": 0.0,
        "note": "",
    }
    with pytest.raises(KeyError, match="no check 'nothing'"):
        report["nothing"]
    nothing = check_kernel(plain, skip=[check.name for check in report.checks], raises=False)
    assert not nothing.passed
    assert "nothing was checked" in nothing.table()


@pytest.mark.parametrize(
    ("k", "options", "message"),
    [
        (3.0, {}, "k = 3.0 is no kernel"),
        (lambda X: X, {}, "takes neither arrays nor tensors"),
        (plain, {"kind": "rbf"}, "kind is 'rbf'"),
        (plain, {"skip": ["nothing"]}, "skip names nothing"),
        (plain, {"points": [[1.0, 2.0]]}, "two or more rows"),
        (plain, {"points": [[1.0, np.nan], [0.0, 1.0]]}, "finite"),
        (plain, {"points": "abc"}, "cannot be made an array"),
        (plain, {"input_dim": 0}, "input_dim is 0"),
        (plain, {"input_dim": 2.5}, "input_dim is 2.5"),
        (plain, {"seed": "a"}, "seed is 'a'"),
        (plain, {"network": "erf"}, "must be an infgeo.MLP"),
        (plain, {"dtype": "float16"}, "dtype is dtype\\('float16'\\)"),
        (kernels.rbf(), {"parameters": {"length": 2.0}}, "values are given for length"),
        (infgeo.MLP("exp(z**2)").kernel, {}, "pass smaller weight_std and bias_std"),
    ],
)
def test_bad_input_is_one_clear_error(k, options, message):
    with pytest.raises(InvalidInput, match=message):
        check_kernel(k, **options)


def test_points_of_the_user_and_values_of_parameters():
    def cosine(X, Y=None):
        X, Y = (Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in (X, X if Y is None else Y))
        return X @ Y.T

    with np.errstate(invalid="ignore"):
        assert check_kernel(cosine, raises=False)["finite"].status == "failed"  # it has no value at 0
    assert check_kernel(cosine, points=[[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]).configuration["d"] == 2
    report = check_kernel(ERF.kernel, weight_std=0.7, bias_std=0.0, input_dim=2, skip=["simulation"])
    assert report.configuration == {"d": 2, "seed": 0, "sigma_b": 0.0, "sigma_w": 0.7}


def test_importing_the_kit_loads_no_torch():
    program = "import infgeo, sys; infgeo.testing.kernel_check; print('torch' in sys.modules)"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert completed.stdout.strip() == "False"


@pytest.mark.parametrize("backend", ["mpmath", "jax"])
def test_backends_without_arrays_of_numpy(backend):
    if backend == "jax":
        pytest.importorskip("jax")
    report = check_kernel(ERF.numeric(1.0, 0.5, backend=backend), dtype="float32", skip="simulation")
    assert report["metric"].status == report["distance"].status == report["quadrature"].status == "passed"


def test_opposite_points_of_one_dimension():
    """Without biases ReLU features of x and -x have no common unit: k = 0 in every network, but for rounding."""
    assert check_kernel(infgeo.MLP("relu").numeric(1.0, 0.0), input_dim=1)["simulation"].status == "passed"


def test_quadrature_has_no_distance_at_coincidence():
    points = np.random.default_rng(0).normal(size=(3, 2))
    geo = infgeo.MLP("tanh").numeric(1.0, 0.5, method="quadrature")
    assert (geo.kernel_distance(points).diagonal() == 0).all()
