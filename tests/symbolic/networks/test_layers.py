"""Networks whose layers differ, residual blocks and RMS normalisation: the fast recursion against slow twins."""

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import d, s, s_x, s_y, xy, z
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.symbolic.geometry.metric import RadialMetric
from infgeo.symbolic.networks.layers import Dense, Residual, RMSNorm

HALF = sp.Rational(1, 2)
SCALES = {"weight_std": sp.Rational(6, 5), "bias_std": sp.Rational(2, 5)}
SMOOTH = {
    "different": infgeo.MLP(["erf", "gaussian", z**2 / 3 + z], weight_std=[1, HALF, 2], bias_std=[HALF, 0, 1]),
    "residual": infgeo.MLP(["erf", Residual("erf", skip=HALF, branch=2), Residual("sin")], **SCALES),
    "norm last": infgeo.MLP(["erf", RMSNorm()], **SCALES),
    "norm between": infgeo.MLP(["sin", RMSNorm(HALF), "erf", RMSNorm(), Residual("erf")], **SCALES),
    "norm of the input": infgeo.MLP([RMSNorm(1), "erf", "erf"], **SCALES),
    "norm after a residual block": infgeo.MLP(["erf", Residual("erf"), RMSNorm(HALF)], **SCALES),
    "fan in": infgeo.MLP([RMSNorm(2), "erf", Residual("gelu")], input_scale="fan_in", **SCALES),
}
KINKED = {
    "relu residual": infgeo.MLP(["relu", Residual("relu"), "erf"], **SCALES),
    "relu norm": infgeo.MLP(["relu", RMSNorm(), "relu", RMSNorm(HALF)], **SCALES),
}


def at_three(expr, *symbols):
    """The expression at d = 3 as a function of mpf."""
    return sp.lambdify(symbols, expr.subs(d, 3), "mpmath", cse=True)


@pytest.mark.parametrize("kind", ["kernel", "ntk"])
@pytest.mark.parametrize("name", SMOOTH)
def test_metric_is_the_mixed_derivative_of_the_kernel(name, kind):
    """A = k_t and B = k_tt + 2 k_xt + 2 k_yt + 4 k_xy at |x|^2 = |y|^2 = x.y, by high-precision differences."""
    kernel = getattr(SMOOTH[name], kind)
    k, g = at_three(kernel.expr, s_x, s_y, xy), kernel.metric
    with mpmath.workdps(60):
        here = mpmath.mpf("1.1")

        def partial(*orders):
            return mpmath.diff(k, (here, here, here), orders)

        slow = partial(0, 0, 1), partial(0, 0, 2) + 2 * partial(1, 0, 1) + 2 * partial(0, 1, 1) + 4 * partial(1, 1, 0)
        for fast, twin in zip((g.A, g.B), slow, strict=True):
            assert abs(at_three(fast, s)(here) - twin) < mpmath.mpf(10) ** -20 * (1 + abs(twin))


@pytest.mark.parametrize("name", SMOOTH)
def test_curvature_is_that_of_the_functions_A_and_B(name):
    """The logarithmic recursion against the formula of the metric's docstring, A and B differentiated numerically."""
    mlp = SMOOTH[name]
    A, B = (at_three(part, s) for part in (mlp.metric.A, mlp.metric.B))
    general = RadialMetric.from_functions(*(sp.Function(letter)(s) for letter in "AB")).ricci_scalar.subs(d, 3)
    with mpmath.workdps(50):
        here = mpmath.mpf("0.8")
        values = {}
        for letter, function in (("A", A), ("B", B)):
            symbol = sp.Function(letter)(s)
            for order in (2, 1):
                values[symbol.diff(s, order)] = sp.Float(mpmath.diff(function, here, order), 50)
            values[symbol] = sp.Float(function(here), 50)
        slow = mpmath.mpf(general.subs(values).subs(s, sp.Rational(4, 5)).evalf(40))
        geo = mlp.numeric(backend="mpmath")
        fast = geo.ricci_scalar([mpmath.sqrt(here), mpmath.mpf(0), mpmath.mpf(0)])
        plain = mlp.metric.program.evaluate("R", {s: sp.Rational(4, 5), d: sp.Integer(3)}, 40)
        for value in (fast, mpmath.mpf(plain)):
            assert abs(value - slow) < mpmath.mpf(10) ** -20 * (1 + abs(slow))


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
@pytest.mark.parametrize("kind", ["kernel", "ntk"])
def test_numeric_functions_follow_the_same_layers(name, kind):
    mlp = {**SMOOTH, **KINKED}[name]
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))
    expr = getattr(mlp, kind).expr.subs(d, 3)
    expected = sp.lambdify((s_x, s_y, xy), expr, ["scipy", "numpy"])(
        (X * X).sum(1)[:, None], (Y * Y).sum(1)[None, :], X @ Y.T
    )
    for backend in ("numpy", "mpmath"):
        geo = mlp.numeric(backend=backend)
        points = (X, Y) if backend == "numpy" else (X.tolist(), Y.tolist())
        gram = getattr(geo, kind)(*points)
        assert np.allclose(np.array(gram.tolist(), float), expected, rtol=1e-12, atol=0), backend
    geo = mlp.numeric()
    gram = getattr(geo, kind)(X)
    assert np.array_equal(gram, gram.T)
    if kind == "kernel":
        assert np.array_equal(np.diag(gram), geo.kernel_diag(X))


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_distances_of_near_points_are_those_of_the_metric(name):
    mlp = {**SMOOTH, **KINKED}[name]
    geo = mlp.numeric()
    x = np.array([0.6, -0.3, 0.8])
    step = np.array([0.3, 0.5, -0.1])
    length = np.sqrt(step @ geo.metric(x) @ step)
    for h in (1e-6, 1e-9):
        y = x + h * step
        exact = np.sqrt((y - x) @ geo.metric((x + y) / 2) @ (y - x))
        assert abs(geo.kernel_distance(x[None], y[None])[0, 0] / exact - 1) < (1e-4 if name in KINKED else 1e-9)
    assert length > 0


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own, on first use
def test_torch_agrees_and_differentiates():
    torch = pytest.importorskip("torch")
    mlp = SMOOTH["norm between"]
    X = np.random.default_rng(1).standard_normal((3, 2))
    T = torch.tensor(X)
    geo, reference = mlp.numeric(backend="torch"), mlp.numeric()
    for name in ("kernel", "ntk", "kernel_distance", "metric", "volume_element", "ricci_scalar"):
        assert np.allclose(getattr(geo, name)(T).numpy(), getattr(reference, name)(X), rtol=1e-11, atol=1e-12), name

    def kernel(x, y):
        return geo.kernel(x[None], y[None])[0, 0]

    mixed = torch.func.jacfwd(torch.func.jacrev(kernel, 0), 1)(T[0], T[0])
    assert np.allclose(mixed.numpy(), reference.metric(X)[0], rtol=1e-9)


def test_residual_and_norm_reduce_to_what_they_must():
    plain = infgeo.MLP("erf", depth=2, **SCALES)
    without_skip = infgeo.MLP(["erf", Residual("erf", skip=0)], **SCALES)
    assert sp.simplify(plain.kernel.expr - without_skip.kernel.expr) == 0
    without_branch = infgeo.MLP(["erf", Residual("erf", branch=0)], **SCALES)
    assert sp.simplify(without_branch.metric.A - infgeo.MLP("erf", **SCALES).metric.A) == 0
    unit = infgeo.MLP(["erf", RMSNorm()], **SCALES).kernel.expr
    assert abs(unit.subs({s_x: 2, s_y: 2, xy: 2}).evalf(30) - 1) < sp.Float("1e-28", 10)
    same = infgeo.MLP(["erf", "erf"], **SCALES)
    assert same == plain and hash(same) == hash(plain) and str(same) == str(plain)


def test_normalised_input_is_a_sphere_times_nothing():
    with pytest.raises(SingularMetric, match="epsilon"):
        infgeo.MLP([RMSNorm(), "erf"], **SCALES).metric  # noqa: B018
    geo = infgeo.MLP([RMSNorm(), "erf"], **SCALES).numeric()
    X = np.array([[0.3, 0.4], [3.0, 4.0], [0.0, 0.0]])
    assert np.allclose(geo.kernel(X)[0, 1], geo.kernel_diag(X)[0], rtol=1e-14)
    assert np.isfinite(geo.kernel(X)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": [Residual("erf"), "erf"]}, "before the first residual block"),
        ({"activation": [RMSNorm()]}, "no Dense layer"),
        ({"activation": []}, "no Dense layer"),
        ({"activation": ["erf", "relu"], "depth": 3}, "depth = 3 with 2 layers"),
        ({"activation": ["erf", "relu"], "weight_std": [1]}, "1 values for 2 layers"),
        ({"activation": "erf", "depth": 2, "bias_std": [1, -1]}, "bias_std = -1"),
    ],
)
def test_refused_networks(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        infgeo.MLP(**arguments)
    with pytest.raises(InvalidInput, match="epsilon"):
        RMSNorm(-1)
    with pytest.raises(InvalidInput, match="skip"):
        Residual("erf", skip=-1)


def test_what_layers_share():
    mlp = infgeo.MLP(["erf", Dense("relu", weight_std=3)], bias_std=[0, 1])
    assert mlp.depth == 2
    for name in ("activation", "weight_std", "bias_std"):
        with pytest.raises(InvalidInput, match=f"different {name}"):
            getattr(mlp, name)
    assert infgeo.MLP(["relu", RMSNorm(), "relu"]).activation.name == "relu"
    assert [symbol.name for symbol in infgeo.MLP(["leaky_relu", RMSNorm(sp.Symbol("tau"))]).parameters] == [
        "tau", "sigma_w", "sigma_b", "alpha",
    ]  # fmt: skip


def test_programs_of_kernels_are_linear_in_the_depth():
    shallow, deep = (infgeo.MLP("erf", depth=n) for n in (2, 12))
    for name in ("kernel_program", "ntk_program"):
        sizes = [len(getattr(mlp, name).bindings) for mlp in (shallow, deep)]
        assert sizes[1] - sizes[0] <= 4 * 10
    values = {s_x: sp.Integer(1), s_y: sp.Integer(2), xy: sp.Rational(1, 3)}
    values |= {shallow.weight_std: sp.Rational(4, 5), shallow.bias_std: sp.Rational(1, 2)}
    for program, kernel in ((shallow.kernel_program, shallow.kernel), (shallow.ntk_program, shallow.ntk)):
        (name,) = program.outputs
        assert abs(program.evaluate(name, values, 30) - sp.N(kernel.expr.subs(values), 30)) < sp.Float("1e-27")
