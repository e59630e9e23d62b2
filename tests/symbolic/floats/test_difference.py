"""Difference programs against the direct formula at 120 digits, in float64 and in exact arithmetic."""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from scipy.interpolate import CubicSpline
from sympy.codegen.cfunctions import expm1, log1p

from infgeo.conventions import Delta, c, delta, omega, p, q
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra import primitives
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.floats.difference import difference_program

THETA = sp.atan2(c, sp.sqrt(1 + p + q + Delta))
THETA_0 = sp.atan2(c, sp.sqrt(Delta))
PI = sp.pi


def gelu_kernel():
    """Stein's lemma twice on E[u Phi(u) v Phi(v)], with E[n(u) n(v)] = 1/(2 pi S) for the normal density n."""
    s = sp.sqrt(1 + p + q + Delta)
    return c / 4 + c * THETA / (2 * PI) + (Delta + c**2 / (1 + p) + c**2 / (1 + q)) / (2 * PI * s)


def scaled(kernel, a):
    """The kernel of phi(a z)."""
    a = sp.sympify(a)
    return kernel.subs({p: a**2 * p, q: a**2 * q, c: a**2 * c, Delta: a**4 * Delta}, simultaneous=True)


def erf3_kernel():
    """phi = erf(3 z) + z/5; E[erf(3u) v] = 6 c / sqrt(pi (1 + 18 p))."""
    cross = 6 * c / (5 * sp.sqrt(PI)) * (1 / sp.sqrt(1 + 18 * p) + 1 / sp.sqrt(1 + 18 * q))
    return scaled(2 / PI * THETA, 3 * sp.sqrt(2)) + c / 25 + cross


def wave_pair_kernel():
    """phi = sin(3 z) + sin(z/2): a sum whose cross terms match no family."""

    def sine(a, b):
        return sp.exp(-(a**2 * p + b**2 * q) / 2) * sp.sinh(a * b * c)

    a, b = sp.Integer(3), sp.Rational(1, 2)
    return sine(a, a) + sine(b, b) + sine(a, b) + sine(b, a)


def cosine_pair_kernel():
    """phi = cos(3 z) + cos(z/2): even, and quadratic in z^2 at small variance."""

    def cosine(a, b):
        return sp.exp(-(a**2 * p + b**2 * q) / 2) * sp.cosh(a * b * c)

    a, b = sp.Integer(3), sp.Rational(1, 2)
    return cosine(a, a) + cosine(b, b) + cosine(a, b) + cosine(b, a)


def erf_pair_kernel():
    """phi = erf(z/sqrt 2) + erf(3 z/sqrt 2): cross angles asin(3c/sqrt((1+p)(1+9q))) outside the family theta_h."""

    def cross(x, y):
        return 2 / PI * sp.asin(3 * c / sp.sqrt((1 + x) * (1 + 9 * y)))

    return 2 / PI * THETA + scaled(2 / PI * THETA, 3) + cross(p, q) + cross(q, p)


GELU = gelu_kernel()
KERNELS = {
    "erf": 2 / PI * THETA,
    "erf_asin": 2 / PI * sp.asin(c / sp.sqrt((1 + p) * (1 + q))),
    "relu": sp.sqrt(Delta) / (2 * PI) + c / 4 + c * THETA_0 / (2 * PI),
    "step": sp.Rational(1, 4) + THETA_0 / (2 * PI),
    "abs": 2 / PI * (sp.sqrt(Delta) + c * THETA_0),
    "relu_squared": ((p * q + 2 * c**2) * (PI / 2 + THETA_0) + 3 * c * sp.sqrt(Delta)) / (2 * PI),
    "gauss": (1 + p + q + Delta) ** sp.Rational(-1, 2),
    "gauss_unreduced": ((1 + 3 * p) * (1 + 3 * q) - 9 * c**2) ** sp.Rational(-1, 2),
    "sin": sp.exp(-(p + q) / 2) * sp.sinh(c),
    "cos": sp.exp(-(p + q) / 2) * sp.cosh(c),
    "square": p * q + 2 * c**2,
    "cube": 9 * p * q * c + 6 * c**3,
    "gelu": GELU,
    "z_erf": 4 * GELU - c,
    "gelu3": scaled(GELU, 3) / 9,
    "erf3_linear": erf3_kernel(),
    "erf_pair": erf_pair_kernel(),
    "wave_pair": wave_pair_kernel(),
    "cosine_pair": cosine_pair_kernel(),
}
EVEN = {"abs", "gauss", "gauss_unreduced", "cos", "square", "z_erf", "cosine_pair"}


def _series(t):
    total = 0.0
    for n in range(12, 0, -1):
        total = (-1) ** (n + 1) * 2 * n / float(sp.factorial(2 * n + 1)) + t**2 * total
    return t**3 * total


def _exp_difference_numpy(a, b, d):
    return np.where(d > 0, -np.exp(a) * np.expm1(-np.abs(d)), np.exp(b) * np.expm1(-np.abs(d)))


def _ratio_numpy(a, b):
    return np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b))


NUMPY = {
    sp.exp: np.exp, sp.log: np.log, expm1: np.expm1, log1p: np.log1p, sp.sinh: np.sinh, sp.cosh: np.cosh,
    sp.sin: np.sin, sp.cos: np.cos, sp.atan2: np.arctan2, sp.Abs: np.abs, sp.sign: np.sign,
    primitives.where_nonnegative: lambda x, a, b: np.where(x >= 0, a, b),
    primitives.ratio: _ratio_numpy,
    primitives.exp_difference: _exp_difference_numpy,
    primitives.sin_minus_theta_cos: lambda t: np.where(t < 1, _series(np.minimum(t, 1)), np.sin(t) - t * np.cos(t)),
}  # fmt: skip
MPMATH = {
    sp.exp: mp.exp, sp.log: mp.log, expm1: mp.expm1, log1p: mp.log1p, sp.sinh: mp.sinh, sp.cosh: mp.cosh,
    sp.sin: mp.sin, sp.cos: mp.cos, sp.atan2: lambda y, x: mp.atan2(y, x) if x or y else mp.mpf(0),
    sp.asin: mp.asin, sp.atan: mp.atan, sp.Abs: abs, sp.sign: mp.sign,
    primitives.where_nonnegative: lambda x, a, b: a if x >= 0 else b,
    primitives.ratio: lambda a, b: a / b if b else mp.mpf(0),
    primitives.exp_difference: lambda a, b, d: mp.exp(a) - mp.exp(b),
    primitives.sin_minus_theta_cos: lambda t: mp.sin(t) - t * mp.cos(t),
}  # fmt: skip


def evaluate(e, values, table, number):
    """Evaluate an expression tree: the least printer there is."""
    if e.is_Symbol:
        return values[e]
    if not e.args or e.is_Number:
        return number(e)
    args = [evaluate(a, values, table, number) for a in e.args]
    if e.is_Add:
        return functools.reduce(lambda a, b: a + b, args)
    if e.is_Mul:
        return functools.reduce(lambda a, b: a * b, args)
    if e.is_Pow:
        if e.exp == sp.Rational(1, 2):
            return np.sqrt(args[0]) if table is NUMPY else mp.sqrt(args[0])
        if e.exp == sp.Rational(-1, 2):
            return 1 / (np.sqrt(args[0]) if table is NUMPY else mp.sqrt(args[0]))
        return args[0] ** (int(e.exp) if e.exp.is_Integer else args[1])
    return table[e.func](*args)


ARGUMENTS = (p, q, omega, delta, c, Delta)


def operations(program: Program) -> int:
    return int(sum(sp.count_ops(e) for e in (*(e for _, e in program.bindings), *program.outputs.values())))


def run(program: Program, inputs, table, number):
    values = dict(zip(ARGUMENTS, inputs, strict=True))
    for symbol, e in program.bindings:
        values[symbol] = evaluate(e, values, table, number)
    return [evaluate(e, values, table, number) for e in program.outputs.values()]


def run_numpy(program, inputs):
    with np.errstate(under="ignore", over="ignore", invalid="ignore", divide="ignore"):
        return run(program, inputs, NUMPY, float)


def run_mpmath(program, inputs):
    return run(program, inputs, MPMATH, lambda e: mp.mpf(sp.N(e, mp.mp.dps + 5)))


@functools.cache
def program(name) -> Program:
    return difference_program(KERNELS[name])


def inputs_of(x, y):
    """p, q, omega, delta, c, Delta of two vectors of the plane, to the working precision of mpmath."""
    (a, b), (u, v) = x, y
    pp, qq = a * a + b * b, u * u + v * v
    squares = (a - u) * (a + u) + (b - v) * (b + v), (a - u) ** 2 + (b - v) ** 2
    return (pp, qq, *squares, a * u + b * v, (a * v - b * u) ** 2)


def direct(kernel, inputs):
    """D^2 and m(p) - m(q) from their definitions."""
    pp, qq, _, _, cc, det = inputs

    def k(*values):
        return evaluate(
            kernel, dict(zip((p, q, c, Delta), values, strict=True)), MPMATH, lambda e: mp.mpf(sp.N(e, mp.mp.dps + 5))
        )

    zero = mp.mpf(0)
    first, second = k(pp, pp, pp, zero), k(qq, qq, qq, zero)
    return first + second - 2 * k(pp, qq, cc, det), first - second


def configurations(radii, steps, seed=0):
    """Pairs of vectors: displaced by step * |x| radially, tangentially and in mixed directions; and far apart."""
    generator = np.random.default_rng(seed)
    pairs = []
    for radius in radii:
        turn = mp.mpf(generator.uniform(0, 6))
        x = (radius * mp.cos(turn), radius * mp.sin(turn))
        for step in steps:
            oblique = mp.mpf("1e-3"), mp.mpf("0.6"), 1, mp.pi / 2, mp.mpf("2.2"), mp.pi - mp.mpf("1e-6")
            for direction in (0, *oblique, mp.pi):
                along, across = radius * step * mp.cos(direction), radius * step * mp.sin(direction)
                if direction in (0, mp.pi):
                    y = tuple(a * (1 + step * (1 if direction == 0 else -1)) for a in x)
                else:
                    moved = mp.mpc(along, across) * mp.expj(turn)
                    y = (x[0] + moved.real, x[1] + moved.imag)
                pairs.append((x, y))
        for other in (mp.mpf("1e-3"), mp.mpf("0.3"), 1, 7, 1000):
            for angle in (0, mp.mpf("1e-7"), mp.mpf("0.2"), 1, mp.pi / 2, 2, 3, mp.pi):
                y = (other * radius * mp.cos(turn + angle), other * radius * mp.sin(turn + angle))
                y = tuple(other * a * (1 if angle == 0 else -1) for a in x) if angle in (0, mp.pi) else y
                pairs.append((x, y))
        pairs.append((x, (mp.mpf(0), mp.mpf(0))))
    return pairs


RADII = ["1e-6", "1e-3", "0.1", "0.7", "1.3", "4", "30", "1e3", "1e6"]
STEPS = ["1e-150", "1e-75", "1e-20", "1e-12", "1e-8", "1e-4", "1e-2", "0.3", "1"]


def errors(name, radii=RADII, steps=STEPS):
    """Relative errors of D^2 (float64 inputs correctly rounded), with the condition number of the rounded inputs."""
    rows = []
    with mp.workdps(420):
        pairs = configurations([mp.mpf(r) for r in radii], [mp.mpf(s) for s in steps])
        exact = [inputs_of(*pair) for pair in pairs]
        references = [direct(KERNELS[name], values) for values in exact]
        floats = np.array([[float(v) for v in values] for values in exact]).T
        found = run_numpy(program(name), list(floats))
        for i, (values, (distance, moment)) in enumerate(zip(exact, references, strict=True)):
            rows.append((values, distance, moment, *(float(np.broadcast_to(f, len(pairs))[i]) for f in found)))
    return rows


# Bounds in units of the rounding u = 2^-53. Correctly rounded inputs perturb D^2 by at most a few u (it is a sum of
# terms of one sign in delta, Delta, omega^2 up to a factor < 3), and the programs chain 10 to 30 rounded operations on
# such terms: 32 u = 3.6e-15. Angles of two scales may use a plain difference that loses a factor of 32 (and are sums of
# four): 32 * 10 u = 3.6e-14.
U = 2.0**-53
TENS_OF_ULP = dict.fromkeys(KERNELS, 32) | {"erf_pair": 320}
TINY = 1e-290  # below it inputs and results are subnormal, or products of them are


@pytest.mark.parametrize("name", KERNELS)
def test_float64_accuracy(name):
    worst = 0.0
    for (_, qq, *_, det), distance, moment, found, found_moment in errors(name):
        if name == "step" and (0 < det < TINY or qq == 0):
            continue  # D^2 ~ sqrt(Delta) with a subnormal Delta; phi(0) is a convention
        assert np.isfinite(found) and found >= 0
        if distance == 0:
            assert abs(found) == 0
        elif distance > TINY:
            worst = max(worst, float(abs(found - distance) / distance))
        if moment != 0 and TINY < abs(moment) and name != "step":
            assert abs(found_moment - moment) <= 1e-12 * abs(moment)
    print(f"{name}: max relative error {worst:.1e}, {operations(program(name))} operations")
    assert worst <= TENS_OF_ULP[name] * U


@pytest.mark.parametrize("name", KERNELS)
def test_float64_accuracy_at_random(name):
    """Norms 1e-6 to 1e6, steps 1e-20 to 3, angles 1e-9 to pi, log-uniform; half of the pairs are far apart."""
    generator = np.random.default_rng(5)
    pairs = []
    with mp.workdps(130):
        for i in range(200):
            x, step = mp.mpf(10) ** generator.uniform(-6, 6), mp.mpf(10) ** generator.uniform(-20, 0.5)
            angle = generator.uniform(0, np.pi) * mp.mpf(10) ** (generator.uniform(-9, 0) if i % 3 else 0)
            y = x * (1 + step * mp.expj(angle)) if i % 2 else mp.mpf(10) ** generator.uniform(-6, 6) * mp.expj(angle)
            turn = mp.expj(generator.uniform(0, 6))
            pairs.append([((v * turn).real, (v * turn).imag) for v in (x, y)])
        exact = [inputs_of(*pair) for pair in pairs]
        references = [direct(KERNELS[name], values)[0] for values in exact]
        found, _ = run_numpy(program(name), list(np.array([[float(v) for v in values] for values in exact]).T))
        worst = max(abs(a - b) / b for a, b in zip(found, references, strict=True))
    assert worst <= TENS_OF_ULP[name] * U


@pytest.mark.parametrize("name", KERNELS)
def test_exact_arithmetic(name):
    """In exact arithmetic the program is the definition, far apart, antiparallel, near, and at the origin."""
    generator = np.random.default_rng(1)
    with mp.workdps(160):
        vectors = [tuple(mp.mpf(v) for v in row) for row in generator.normal(size=(12, 2))]
        pairs = list(zip(vectors[:6], vectors[6:], strict=True))
        x = vectors[0]
        for factor in ("1", "-1", "0", "2", "-0.3", "1.0000001", "-1.0000001"):
            pairs.append((x, tuple(mp.mpf(factor) * a for a in x)))
        pairs.append(((x[0] * 40, x[1] * 40), (x[0] * 41, -x[1])))
        pairs.append(((mp.mpf(0), mp.mpf(0)), (mp.mpf(0), mp.mpf(0))))
        for pair in pairs:
            inputs = inputs_of(*pair)
            if name == "step" and inputs[1] == 0:
                continue  # phi(0) is a convention
            expected = direct(KERNELS[name], inputs)
            for found, value in zip(run_mpmath(program(name), inputs), expected, strict=True):
                assert abs(found - value) <= mp.mpf("1e-120") * (1 + abs(value))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("square", [0.0, 1e-12, 1.0, 1e12])
def test_coincident_inputs_have_distance_zero(name, square):
    distance, moment = run_numpy(program(name), [square, square, 0.0, 0.0, square, 0.0])
    assert distance == 0 and moment == 0


@pytest.mark.parametrize("name", sorted(EVEN))
def test_even_activations_do_not_see_a_reflection(name):
    """phi(-z) = phi(z): D^2(x, -x) = 0 and D^2(x, -y) = D^2(x, y)."""
    found, _ = run_numpy(program(name), [2.0, 2.0, 0.0, 8.0, -2.0, 0.0])
    assert found == 0
    near = run_numpy(program(name), [1.0, 1.0, 0.0, 2.0**-40, 1 - 2.0**-41, 2.0**-40 - 2.0**-82])[0]
    far = run_numpy(program(name), [1.0, 1.0, 0.0, 4 - 2.0**-40, 2.0**-41 - 1, 2.0**-40 - 2.0**-82])[0]
    assert abs(far - near) <= 8 * U * near


def test_direct_formula_loses_what_the_program_keeps():
    """At |x - y| = 1e-9 the formula for erf has no correct digit; that is why the program exists."""
    x, step = 1.0, 1e-9
    y = x + step
    inputs = [x * x, y * y, (x - y) * (x + y), (x - y) ** 2, x * y, 0.0]
    with mp.workdps(60):
        expected = direct(KERNELS["erf"], [mp.mpf(v) for v in (x * x, mp.mpf(y) ** 2, 0, 0, mp.mpf(x) * y, 0)])[0]

    def k(a, b, cov):
        return 2 / np.pi * np.arctan2(cov, np.sqrt(1 + a + b))

    naive = k(inputs[0], inputs[0], inputs[0]) + k(inputs[1], inputs[1], inputs[1]) - 2 * k(*inputs[:2], inputs[4])
    assert abs(naive - expected) > expected / 2
    assert abs(run_numpy(program("erf"), inputs)[0] - expected) < 32 * U * expected


ACTIVATIONS = {
    "erf": lambda z: mp.erf(z / mp.sqrt(2)),
    "relu_squared": lambda z: max(z, 0) ** 2,
    "gelu": lambda z: z * mp.ncdf(z),
    "gelu3": lambda z: z * mp.ncdf(3 * z),
    "z_erf": lambda z: z * mp.erf(z / mp.sqrt(2)),
    "erf3_linear": lambda z: mp.erf(3 * z) + z / 5,
    "erf_pair": lambda z: mp.erf(z / mp.sqrt(2)) + mp.erf(3 * z / mp.sqrt(2)),
    "wave_pair": lambda z: mp.sin(3 * z) + mp.sin(z / 2),
    "cosine_pair": lambda z: mp.cos(3 * z) + mp.cos(z / 2),
    "cos": mp.cos,
    "cube": lambda z: z**3,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_kernels_of_this_file_by_quadrature(name):
    """E[(phi(u) - phi(v))^2] by a two-dimensional trapezoidal rule; kinks limit it to 1e-5, smooth phi to 1e-8."""
    phi = ACTIVATIONS[name]
    nodes = np.linspace(-9, 9, 721)
    weights = np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi) * (nodes[1] - nodes[0])
    pp, qq, cc = 0.8, 1.3, 0.5
    table = np.vectorize(lambda z: float(phi(z)))
    u = np.sqrt(pp) * nodes
    grid = np.linspace(-30, 30, 60001)
    values = table(grid)
    v = cc / np.sqrt(pp) * nodes[:, None] + np.sqrt(qq - cc**2 / pp) * nodes[None, :]
    difference_squared = (table(u)[:, None] - CubicSpline(grid, values)(v)) ** 2
    expected = weights @ difference_squared @ weights
    found, _ = run_numpy(program(name), [pp, qq, pp - qq, pp + qq - 2 * cc, cc, pp * qq - cc**2])
    assert abs(found - expected) < (1e-5 if name == "relu_squared" else 1e-8) * expected


def test_program_is_straight_line_and_short():
    for name in KERNELS:
        known = set(ARGUMENTS)
        for symbol, e in program(name).bindings:
            assert e.free_symbols <= known and symbol not in known
            known.add(symbol)
        assert all(e.free_symbols <= known for e in program(name).outputs.values())
    assert operations(program("erf")) <= 60
    assert operations(program("relu")) <= 16


def test_equivalent_forms_share_a_program():
    assert program("erf") == program("erf_asin")


@pytest.mark.parametrize(
    ("kernel", "named"),
    [
        (sp.besseli(0, c), "besseli"),
        (THETA_0**2, "nonlinearly"),
        (c / 2 + sp.Float("0.1"), "floating"),
        ((p * q) ** sp.Rational(1, 3), "vanish"),
    ],
)
def test_unsupported_subexpressions_are_named(kernel, named):
    with pytest.raises(NoClosedForm, match=named):
        difference_program(kernel)
