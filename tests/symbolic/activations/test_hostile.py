"""Whatever expression is asked about, an answer or a verdict comes by itself, within 20 seconds."""

from __future__ import annotations

import time

import mpmath
import pytest
import sympy as sp

import infgeo
from infgeo.errors import InvalidInput, MetricDoesNotExist, NoClosedForm, SingularMetric
from infgeo.numeric.source.precision import precision_of_parts, precision_of_ricci
from infgeo.symbolic.algebra import limits, simplify
from infgeo.symbolic.expectations import one_variance as diagonal
from infgeo.symbolic.floats import difference

z = sp.Symbol("z", real=True)
OUTSIDE = [
    sp.tanh(z) ** 3,
    sp.exp(z**3),
    sp.exp(sp.exp(z)),
    1 / (1 + z**2),
    sp.sqrt(z**2 + 1),
    sp.log(1 + sp.exp(z)),
    sp.erf(z) ** 3,
    sp.erf(z**2),
    sp.erf(z + 1) * sp.erf(z),
    sp.besselj(0, z),
    sp.gamma(z),
    sp.sin(sp.sin(z)),
    sp.exp(-(sp.Abs(z) ** 3)),
    sp.sign(sp.sin(z)),
    sp.floor(z),
    sp.Mod(z, 1),
    sp.zeta(z),
    sp.Piecewise((sp.sin(z), z > 1), (z, True)),
    sp.Max(z, 0) + sp.cos(z),
    sp.Abs(z) ** sp.Rational(3, 2) + sp.Max(z - 1, 0),
    sp.sin(z) * sp.erf(z),
    sp.airyai(z),
    sp.atan(z),
]
POSSIBLE = [
    z**12,
    sp.cos(z) ** 4,
    sp.sin(z**2),
    (z + 1) ** 6 * sp.exp(-(z**2)),
    z * sp.exp(-(z**2) / 2) * sp.cos(3 * z),
    z**50,
    (z + 1) ** 20,
    sp.Max(z, 0) ** 15,
    sp.cos(z) ** 8,
    sp.cos(sp.Rational(123456, 10**6) * z),
    sp.exp(sp.Rational(123456, 10**6) * z),
    z**6 * sp.exp(-(z**2)) * sp.sin(z),
    z**5 * sp.exp(-(z**2) + z) * sp.cos(z),
    z**9 * sp.erf(z) * sp.exp(-(z**2) / 2),
]


@pytest.mark.parametrize("expr", OUTSIDE, ids=str)
def test_what_is_outside_says_so(expr):
    begin = time.process_time()
    with pytest.raises((NoClosedForm, MetricDoesNotExist)) as error:
        infgeo.MLP(expr).metric  # noqa: B018
    with pytest.raises(NoClosedForm):
        infgeo.MLP(expr, depth=2).kernel  # noqa: B018
    assert time.process_time() - begin < 20
    assert "activation" in str(error.value) or "term" in str(error.value)


@pytest.mark.parametrize("expr", POSSIBLE, ids=str)
def test_large_expressions_end(expr):
    begin = time.process_time()
    metric = infgeo.MLP(expr).metric
    assert metric.ricci_scalar.free_symbols
    assert time.process_time() - begin < 20


@pytest.mark.parametrize(
    "expr", [sp.sqrt(z), sp.log(z), sp.asin(z), z**z, z ** sp.Rational(1, 3), sp.I * z, 1 / z], ids=str
)
def test_what_is_no_real_function_is_refused(expr):
    with pytest.raises((InvalidInput, NoClosedForm)) as error:
        infgeo.MLP(expr).kernel  # noqa: B018
    assert isinstance(error.value, InvalidInput) == (expr != 1 / z)  # real, but not integrable: outside the class


@pytest.mark.parametrize(
    ("expr", "match"),
    [
        (sp.DiracDelta(z) + z, "delta function"),
        (sp.Integral(sp.exp(-(z**2)), (z, 0, z)), r"not evaluated: call \.doit\(\)"),
        (sp.Derivative(sp.erf(z), z, evaluate=False), r"not evaluated: call \.doit\(\)"),
        (sp.Symbol("A", commutative=False) * z, "do not commute"),
    ],
    ids=str,
)
def test_what_is_no_function_of_numbers_is_refused(expr, match):
    with pytest.raises(InvalidInput, match=match):
        infgeo.MLP(expr, variable=z)


def test_activations_that_are_constant_but_at_0_have_no_metric():
    for network in (infgeo.MLP(sp.sign(z) ** 2), infgeo.MLP(["erf", sp.sign(z) ** 2])):
        with pytest.raises(SingularMetric, match="constant on each side"):
            network.metric  # noqa: B018


def test_maxima_of_multiples_of_z_have_a_kink_at_0_for_every_sign_of_the_factors():
    a = sp.Symbol("a", real=True)
    s_x, s_y, xy = infgeo.MLP("erf").kernel.symbols
    for function, first, second in ((sp.Max, a, 0), (sp.Max, 1, a), (sp.Min, a, -1)):
        network = infgeo.MLP(function(first * z, second * z), variable=z, weight_std=1, bias_std=0)
        kernel, sides = network.kernel.expr, network.activation.pieces.parts
        for value in (sp.Rational(-5, 2), sp.Rational(2, 3)):
            low, high = sorted(sp.sympify(slope).subs(a, value) for slope in (first, second))
            right, left = (high, low) if function is sp.Max else (low, high)
            # Kernels do not tell phi(z) from phi(-z).
            assert [side.subs({a: value, infgeo.conventions.z: 1}) for side in sides] == [left, right]
            slopes = sp.Piecewise((right * z, z > 0), (left * z, True))
            known = infgeo.MLP(slopes, weight_std=1, bias_std=0).kernel.expr
            at = {s_x: sp.Rational(7, 8), s_y: sp.Rational(3, 5), xy: sp.Rational(1, 4), a: value}
            assert abs((kernel - known).subs(at).evalf(30)) < sp.Float("1e-25")


def test_powers_of_a_number_are_exponentials():
    s_x, s_y, xy = infgeo.MLP("erf").kernel.symbols
    kernel = infgeo.MLP(2**z, weight_std=1, bias_std=0).kernel.expr
    assert sp.simplify(sp.log(kernel) - sp.log(2) ** 2 * (s_x + s_y + 2 * xy) / 2) == 0


def test_growing_waves_have_numbers_and_distances():
    """E[e^(u+v) sin u sin v] = e^((p+q)/2 + c) (e^(-d/2) cos(...) - e^(...) cos(...))/2, by complex exponentials."""
    geometry = infgeo.MLP("exp(z)*sin(z)").numeric(weight_std=1.0, bias_std=0.0)
    x, y = [0.5, 0.75], [0.5 + 2**-26, 0.75]

    def kernel(left, right):
        p, q, c = (mpmath.fdot(first, second) for first, second in ((left, left), (right, right), (left, right)))

        def moment(b, b_):  # E[e^(b u + b_ v)]
            return mpmath.exp((b * b * p + 2 * b * b_ * c + b_ * b_ * q) / 2)

        up, down = mpmath.mpc(1, 1), mpmath.mpc(1, -1)
        return mpmath.re(moment(up, down) + moment(down, up) - moment(up, up) - moment(down, down)) / 4

    with mpmath.workdps(50):
        exact = mpmath.sqrt(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))
        assert abs(geometry.kernel([x], [y])[0, 0] / kernel(x, y) - 1) < 1e-15
    assert abs(geometry.kernel_distance([x], [y])[0, 0] / exact - 1) < 1e-14


@pytest.mark.parametrize(
    "expr",
    [sum(sp.exp(-i * z**2) / i for i in range(1, 11)), (1 + z + z**2) ** 15, z**9 * sp.erf(z) * sp.exp(-(z**2) / 2)],
    ids=str,
)
def test_sums_of_many_terms_are_measured_in_time(expr):
    begin = time.process_time()
    network = infgeo.MLP(expr)
    assert network.ntk_program.outputs
    assert precision_of_parts(network).error < 1e-12 and precision_of_ricci(network).error < 1e-12
    assert time.process_time() - begin < 20


def test_high_powers_and_long_decimals_against_known_moments():
    """E[z^100] = 99!! v^50, and E[cos(a u) cos(a v)] = exp(-a^2 (p + q)/2) cosh(a^2 c)."""
    s_x, s_y, xy = infgeo.MLP("erf").kernel.symbols
    w, b = sp.Rational(1, 3), 0
    kernel = infgeo.MLP(z**50, weight_std=w, bias_std=b).kernel.expr
    assert kernel.subs({s_x: 2, s_y: 2, xy: 2}) == sp.factorial2(99) * sp.Rational(2, 9) ** 50
    a = sp.Rational(123456, 10**6)
    kernel = infgeo.MLP(sp.cos(a * z), weight_std=1, bias_std=0).kernel.expr
    expected = sp.exp(-(a**2) * (s_x + s_y) / 2) * sp.cosh(a**2 * xy)
    at = {s_x: 7, s_y: 5, xy: 3}
    assert abs((kernel - expected).subs(at).evalf(40)) < sp.Float("1e-35")


def test_exponents_of_large_numbers_are_scaled_and_scaled_back():
    """On the way exp(exponent) is E, an exponential of its own class."""
    x = sp.Symbol("x", positive=True)
    for exponent in (sp.Rational(37, 5), sp.Rational(3721041, 15625)):
        expr = (sp.exp(-exponent * x) + sp.exp(exponent)) * sp.exp(-2 * exponent * x)
        assert abs(((simplify.tidy(expr) - expr) / expr).subs(x, sp.Rational(2, 7)).evalf(30)) < sp.Float("1e-25")


def test_sums_of_many_exponentials_stay_as_they_are():
    """As polynomials in exp(-2 x) they have a degree at which factoring takes seconds; few ones are factored."""
    x = sp.Symbol("x", positive=True)
    many, few = (sum(sp.exp(-2 * k**2 * x) / k for k in range(1, n)) / (1 + x) + x**2 / (1 + x) for n in (9, 3))
    assert simplify.tidy(many) == many
    assert simplify.tidy(few).is_Mul and sp.factor(simplify.tidy(few) - few) == 0
    mlp = infgeo.MLP("cos(z)**8", weight_std=1, bias_std=1)
    wave = sum(sp.binomial(8, k) * sp.cos((8 - 2 * k) * z) for k in range(9)) / 2**8
    at = {infgeo.conventions.s: sp.Rational(1, 3)}
    v = sp.Rational(4, 3)
    # E[sin(a z) sin(b z)] = (exp(-(a - b)^2 v/2) - exp(-(a + b)^2 v/2))/2
    coefficients = {a: wave.diff(z).coeff(sp.sin(a * z)) for a in range(2, 10, 2)}
    exact = sum(
        x * y * (sp.exp(-((a - b) ** 2) * v / 2) - sp.exp(-((a + b) ** 2) * v / 2)) / 2
        for a, x in coefficients.items()
        for b, y in coefficients.items()
    )
    assert abs((mlp.metric.A.subs(at) / exact).evalf(40) - 1) < sp.Float("1e-30")


@pytest.mark.parametrize(("shift", "even"), [(0, True), (1, False)])
def test_long_kernels_keep_their_parity(shift, even):
    """A long kernel is compared with its mirror image at a point; distances of close points show what follows."""
    p, q, c, det = (getattr(infgeo.conventions, name) for name in ("p", "q", "c", "Delta"))
    expr = z**2 * sp.exp(-(z**2)) * sp.cos(z + shift)
    kernel = infgeo.MLP(expr).dual.kernel
    assert simplify.longer(kernel, limits.FACTOR_LIMIT)
    assert difference._even_at_a_point(kernel) == even
    geometry = infgeo.MLP(expr).numeric(weight_std=1.0, bias_std=0.0)
    step = sp.Rational(1, 2**17)
    for sign in (1, -1):  # y near x and near -x
        x = sp.Matrix([sp.Rational(1, 2), sp.Rational(3, 4)])
        y = sign * (x + sp.Matrix([step, 0]))
        at = {p: x.dot(x), q: y.dot(y), c: x.dot(y)}
        at[det] = at[p] * at[q] - at[c] ** 2
        ends = [kernel.subs({p: at[end], q: at[end], c: at[end], det: 0}) for end in (p, q)]
        exact = sp.sqrt((ends[0] + ends[1] - 2 * kernel.subs(at)).evalf(40))
        points = [[[float(part) for part in point]] for point in (x, y)]
        assert abs(geometry.kernel_distance(*points)[0, 0] / exact - 1) < 1e-9


def test_moments_are_one_quotient_for_each_irrational_part():
    law = infgeo.MLP(z**9 * sp.erf(z) * sp.exp(-(z**2) / 2)).dual
    v = infgeo.conventions.variance
    assert sp.count_ops(law.m) < 120  # written out as it is reduced by parts it has 900
    raw = law.value.subs({p: v for p in law.value.free_symbols - {infgeo.conventions.Delta}}).subs(
        infgeo.conventions.Delta, 0
    )
    assert abs((law.m / raw).subs(v, sp.Rational(5, 7)).evalf(40) - 1) < sp.Float("1e-30")
    # A quotient by a sum of irrational parts is left as it is.
    mixed = sp.Add(*[v**k / (1 + sp.sqrt(1 + v)) ** k for k in range(1, 40)])
    assert diagonal.gathered(mixed) == mixed


@pytest.mark.parametrize("text", ["z*sin(z)", "z**2 + cos(2*z)"])
def test_logarithms_of_real_choices_have_no_conjugates(text):
    """Absolute values of `where_nonnegative` were written with conjugates, which have no NumPy form."""
    assert "conjugate" not in infgeo.emit(infgeo.MLP(text, depth=2), certificate="none")
