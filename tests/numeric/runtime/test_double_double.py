"""Features that are nearly parallel where points are not, and kernels from tiny to huge points, against 50 digits."""

import mpmath
import numpy as np
import pytest
import torch
from sympy import Symbol, erf, sin

import infgeo
from infgeo.numeric.runtime import double_double as dd
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.arrays.of_torch import TorchArrays
from infgeo.numeric.runtime.gram import fast
from infgeo.numeric.source.module import module_source

z = Symbol("z", real=True)
EPS = np.finfo(float).eps
RMS = infgeo.layers.RMSNorm(0)
# (layers, sigma_w): the first is nearly homogeneous at small or at large points.
NETWORKS = {
    "erf, relu": (["erf", "relu"], 1.3),
    "sin, abs": (["sin", "abs"], 1.3),
    "two of erf, relu": (["erf", "erf", "relu"], 1.3),
    "steep erf, relu": ([erf(3 * z), "relu"], 1.3),
    "gelu, relu": (["gelu", "relu"], 20.0),
    "gelu, erf": (["gelu", "erf"], 50.0),
    "erf, step": (["erf", "step"], 1.3),
    "erf, normalised": (["erf", RMS, "relu", RMS], 1.3),
    "residual": (["sin", infgeo.layers.Residual("relu"), "abs"], 1.3),
}
LENGTHS = (1e-3, 0.0371, 0.37, 3.1, 1e3)


def points_and_pairs(seed):
    """Parallel and opposite points of different lengths, to 1e-9 and less, and others."""
    angles = (0.0, 1e-9, 1e-4, 1.5, np.pi)
    X = np.array([[r * np.cos(0.4 + t), r * np.sin(0.4 + t)] for r in LENGTHS for t in angles])
    parallel = [(5 * i, 5 * j) for i in range(5) for j in range(i)]
    other = [(i, j) for i in range(len(X)) for j in range(i)]
    return X, parallel + [other[n] for n in np.random.default_rng(seed).permutation(len(other))[:6]]


def worst(geo, exact, name, X, rows, pairs):
    """Return the largest error at pairs: of the norms, that of a distance of itself."""
    found = np.asarray(getattr(geo, name)(rows))
    errors = [0.0]
    with mpmath.workdps(50):
        points = [[mpmath.mpf(float(x)) for x in row] for row in X]
        for i, j in pairs:
            truth = getattr(exact, name)([points[i]], [points[j]])[0, 0]
            size = truth
            if name != "kernel_distance":
                diagonal = getattr(exact, f"{name}_diag")
                size = mpmath.sqrt(diagonal([points[i]])[0] * diagonal([points[j]])[0])
            if size > 1e-20:
                errors.append(float(abs(mpmath.mpf(float(found[i, j])) - truth) / size))
    return max(errors)


@pytest.mark.parametrize("bias_std", [0.0, 0.01])
@pytest.mark.parametrize("name", NETWORKS)
def test_nearly_homogeneous_activations_before_kinks_and_jumps(name, bias_std, monkeypatch):
    """Few points by broadcasting, many by the compiled formula; single precision as well."""
    monkeypatch.setattr(fast, "FEW", 5000)
    layers, weight_std = NETWORKS[name]
    mlp = infgeo.MLP(layers)
    X, pairs = points_and_pairs(len(name))
    many = np.concatenate([X, np.random.default_rng(1).normal(size=(60, 2))])
    exact, own, other = (mlp.numeric(weight_std, bias_std, kind) for kind in ("mpmath", "numpy", "torch"))
    kinds = ["kernel", "kernel_distance"] if "step" in layers else ["kernel", "ntk", "kernel_distance"]
    for kind in kinds:
        bound = 1e-12
        assert worst(own, exact, kind, X, X, pairs) <= bound, kind
        assert worst(other, exact, kind, X, torch.tensor(many), pairs) <= bound, kind
        if kind != "kernel_distance":
            single = X.astype(np.float32)
            assert worst(own, exact, kind, single, single, pairs) <= 1e-5, kind
    assert worst(own, exact, kinds[-2], X, many, pairs) <= 1e-12


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_double_double_numbers(backend):
    """Every function on numbers of 106 bits, against mpmath; e^x and sin x lose what x has before its unit."""
    rng = np.random.default_rng(0)
    high = np.concatenate([rng.normal(size=40), 10 ** rng.uniform(-20, 2.5, 40) * rng.choice([-1, 1], 40)])
    low = high * rng.normal(size=80) * 2.0**-56
    array, xp = (np.array, NumpyArrays()) if backend == "numpy" else (torch.tensor, TorchArrays())
    x = dd.DoubleDouble(array(high), array(low), xp)
    y = dd.DoubleDouble(array(high[::-1].copy()), 0.0, xp)
    with mpmath.workdps(60):
        exact = [mpmath.mpf(float(a)) + mpmath.mpf(float(b)) for a, b in zip(high, low, strict=True)]
        others = [mpmath.mpf(float(a)) for a in high[::-1]]
        cases = {
            "expm1": (dd.dd_expm1(x), mpmath.expm1),
            "exp": (dd.dd_exp(x), mpmath.exp),
            "atan": (dd.dd_atan(x), mpmath.atan),
            "sqrt": (dd.dd_sqrt(x * x), abs),
            "power": (dd.dd_power(x * x, 3), lambda a: abs(a) ** 3),
            "quotient": (1 / x, lambda a: 1 / a),
            "powers": (x**5 - 3, lambda a: a**5 - 3),
            "sin": (dd.dd_sin(x), mpmath.sin),
            "cos": (dd.dd_cos(x), mpmath.cos),
        }
        pairs = {name: (value, [function(a) for a in exact]) for name, (value, function) in cases.items()}
        angles = [mpmath.atan2(a, b) for a, b in zip(exact, others, strict=True)]
        pairs["atan2"] = dd.dd_atan2(x, y), angles
        falls = [mpmath.exp(-abs(a)) - mpmath.exp(-abs(b)) for a, b in zip(exact, others, strict=True)]
        sizes = dd.DoubleDouble(array(-abs(high[::-1])), 0.0, xp), dd.dd_sqrt(x * x)
        pairs["difference"] = (
            dd.dd_exp_difference(-sizes[1], sizes[0], -(sizes[1] + sizes[0])),
            falls,
        )
        for name, (value, truths) in pairs.items():
            for i, truth in enumerate(truths):
                found = mpmath.mpf(float(value.high[i])) + mpmath.mpf(float(value.low[i]))
                size = 1 if name in ("sin", "cos") else abs(truth)
                assert abs(found - truth) <= mpmath.mpf(2) ** -98 * size, (name, high[i])


def test_values_with_derivatives_are_those_without():
    """torch gives the same digits where derivatives are asked for, and these agree with differences."""
    geo = infgeo.MLP(["erf", "relu"]).numeric(1.3, 0.0, "torch")
    x = torch.tensor([[0.03, 0.01]], dtype=torch.float64)
    X = torch.cat([x, 0.01 * x, 3 * x, -x])
    plain = geo.ntk(X)
    traced = geo.ntk(X.clone().requires_grad_()).detach()
    norms = torch.sqrt(torch.outer(plain.diagonal(), plain.diagonal()))
    assert ((plain - traced).abs() <= 16 * EPS * norms).all()

    def entry(point):
        return geo.ntk(point[None], torch.tensor([[0.5, 0.4]], dtype=torch.float64))[0, 0]

    gradients = [derivative(entry)(x[0]) for derivative in (torch.func.jacrev, torch.func.jacfwd)]
    steps = 1e-6 * torch.eye(2, dtype=torch.float64)
    differences = torch.stack([(entry(x[0] + step) - entry(x[0] - step)) / 2e-6 for step in steps])
    for gradient in gradients:
        torch.testing.assert_close(gradient, differences, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "layers", [["erf", "relu"], ["sin", "abs"], ["gelu", "abs"], ["erf", "erf", "leaky_relu"], ["sinusoid", "relu"]]
)
@pytest.mark.parametrize("size", [1e-2, 1.0, 30.0])
def test_second_derivatives_of_distances_are_the_metric(layers, size):
    mlp = infgeo.MLP(layers)
    own = {symbol.name: 0.75 for symbol in mlp.parameters if symbol.name not in ("sigma_w", "sigma_b")}
    geo = mlp.numeric(1.3, 0.0, "torch", **own)
    x = size * torch.tensor([0.3, -0.7], dtype=torch.float64)
    metric = geo.metric(x)
    hessian = torch.func.hessian(lambda y: geo.kernel_distance(x[None], y[None], squared=True)[0, 0])(x)
    mixed = torch.func.jacfwd(torch.func.jacrev(lambda a, b: geo.kernel(a[None], b[None])[0, 0], 1), 0)(x, x)
    for found in (hessian / 2, mixed):
        assert (found - metric).abs().max() <= 1e-12 * metric.abs().max()


EXTREME = [
    ("erf", 1e-36),
    ("erf", 1e20),
    ("erf", 1e36),
    ("relu", 1e-36),
    ("relu", 1e36),
    ("step", 1e36),
    ("gelu", 1e8),
    ("gelu", 1e36),
    ("gaussian", 1e17),
    ("z_erf", 1e17),
    ("cos", 1e-10),
    ("gabor", 1e-7),
    ("sin", 300.0),
    ("cos", 300.0),
    ("sinusoid", 1e5),
    ("sinusoid", 1e17),
    ("rbf", 1e17),
    (sin(z) + z / 2, 300.0),
]


@pytest.mark.parametrize(("phi", "length"), EXTREME, ids=str)
def test_tiny_and_huge_points(phi, length):
    """Coincident but for a rounding, parallel, opposite, and across; the diagonals as well."""
    mlp = infgeo.MLP(phi)
    own = {symbol.name: 0.75 for symbol in mlp.parameters if symbol.name not in ("sigma_w", "sigma_b")}
    geo, exact = (mlp.numeric(1.3, 0.0, kind, **own) for kind in ("numpy", "mpmath"))
    x = length * np.array([0.6, 0.7])
    X = np.array([x, x * [1 + 4 * EPS, 1], 1.7 * x, x + 1e-9 * x[::-1] * [1, -1], -x, -x * [1 + 4 * EPS, 1], x[::-1]])
    with mpmath.workdps(1400):
        points = [[mpmath.mpf(float(part)) for part in row] for row in X]
        for name in ("kernel", "kernel_distance") if phi == "step" else ("kernel", "ntk", "kernel_distance"):
            found = getattr(geo, name)(X)
            distances = name == "kernel_distance"
            if not distances:
                diagonal = getattr(exact, f"{name}_diag")(points)
                assert found.diagonal() == pytest.approx([float(value) for value in diagonal], rel=1e-12)
            for j in range(1, len(X)):
                truth = getattr(exact, name)([points[0]], [points[j]])[0, 0]
                size = truth if distances else mpmath.sqrt(diagonal[0] * diagonal[j])
                if not distances or truth > 1e-18 * mpmath.sqrt(exact.kernel_diag([points[0]])[0]):
                    assert abs(mpmath.mpf(float(found[0, j])) - truth) <= 1e-12 * size, (name, j)


def test_who_takes_double_double_numbers():
    """What is homogeneous, last, or before what feels no angle, has no need of them; nor has the file of it."""

    def laws(*layers):
        namespace = {"__name__": "emitted"}
        source = module_source(infgeo.MLP(list(layers)), "numpy")
        exec(source, namespace)
        assert ("determinant_by(" in source) == any(law.determinant for law in namespace["_LAWS"])
        return [bool(law.determinant) for law in namespace["_LAWS"]]

    assert laws("erf", "relu") == [True, False]
    assert laws("relu", "erf", "abs") == [False, True, False]
    assert laws("sin", "cos") == [False, False]
    assert laws("erf") == [False]
    assert laws("relu", "abs") == [False, False]


def test_exponential_differences_have_derivatives_where_they_vanish():
    """Of sin at orthogonal points."""
    geo = infgeo.MLP("sin").numeric(1.0, 0.0, "torch")
    x, y = torch.eye(2, dtype=torch.float64)

    def entry(point):
        return geo.kernel(point[None], y[None])[0, 0]

    expected = np.exp(-1.0) * torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(torch.func.jacrev(entry)(x), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(torch.func.jacfwd(entry)(x), expected, rtol=1e-14, atol=0)
