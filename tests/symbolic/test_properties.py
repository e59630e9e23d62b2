"""Every closed form against integrals of the activation itself to 25 digits, at random parameters, depths 1 to 3."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise

import mpmath as mp
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import Delta, c, p, q, s_x, s_y, xy, z
from infgeo.conventions import variance as v
from infgeo.symbolic.activations.catalogue import get

DIGITS, WORKING = 25, 45
# Of each kind; the whole catalogue is held against quadrature by test_printed.py and testing/test_activation_check.py.
CLOSED = (
    "abs",
    "cube",
    "erf",
    "exp",
    "gaussian",
    "gelu",
    "leaky_relu",
    "rectified_square",
    "relu",
    "sign",
    "sin",
    "step",
)
JUMPS = ("sign", "step")
KINKED = (*JUMPS, "abs", "leaky_relu", "relu", "rectified_cube", "rectified_square")
DEEP = ("abs", "cos", "erf", "gaussian", "leaky_relu", "sign", "sin", "step")
USERS = (
    z**2 * sp.exp(-(z**2) / 2),
    sp.erf(z) + z / 5,
    sp.sin(2 * z) + z,
    sp.sin(z**2 / 3),
    z * sp.exp(-(z**2)) * sp.cos(2 * z),
    (sp.sin(z) + sp.cos(2 * z) + z) ** 2,
    z**2 * sp.erf(z) * sp.exp(-(z**2) / 2),
)


@cache
def legendre(count):
    """Nodes and weights on (0, 1)."""
    with mp.workdps(WORKING + 10):
        nodes = []
        for i in range(1, count + 1):
            x = mp.cos(mp.pi * (i - mp.mpf(1) / 4) / (count + mp.mpf(1) / 2))
            for _ in range(7):  # Newton: the first guess has two digits
                value = mp.legendre(count, x)
                slope = count * (x * value - mp.legendre(count - 1, x)) / (x * x - 1)
                x -= value / slope
            nodes.append(((1 + x) / 2, 1 / ((1 - x * x) * slope**2)))
        return nodes


@cache
def whole_line():
    """The trapezoidal rule for exp(-t^2/2)/sqrt(2 pi): exponentially accurate for entire functions."""
    with mp.workdps(WORKING + 10):
        step = mp.mpf(1) / 6
        points = [step * i for i in range(-90, 91)]
        return [(t, step * mp.exp(-t * t / 2) / mp.sqrt(2 * mp.pi)) for t in points]


def smooth_pair(f, variance_u, variance_v, covariance):
    along, across = covariance / mp.sqrt(variance_u), mp.sqrt(variance_v - covariance**2 / variance_u)
    total = mp.mpf(0)
    for t, weight in whole_line():
        # Beyond a circle the weights are below 1e-45.
        inner = mp.fsum(w * f(along * t + across * y) for y, w in whole_line() if t * t + y * y < 210)
        total += weight * f(mp.sqrt(variance_u) * t) * inner
    return total


def kinked_pair(f, variance_u, variance_v, covariance):
    """In polar coordinates of the standardised plane a kink at 0 is a ray: sectors without kinks, radius by panels."""
    root_u, root_v = mp.sqrt(variance_u), mp.sqrt(variance_v)
    angle = mp.acos(covariance / (root_u * root_v))
    # u = root_u r cos(a), v = root_v r cos(a - angle).
    edges = sorted({-mp.pi / 2, mp.pi / 2, angle - mp.pi / 2, angle + mp.pi / 2})
    edges.append(edges[0] + 2 * mp.pi)
    rule, total = legendre(24), mp.mpf(0)
    radii = [(4 * (i + x), 4 * w) for i in range(3) for x, w in rule]
    densities = [(r, w * r * mp.exp(-r * r / 2) / (2 * mp.pi)) for r, w in radii]
    for low, high in pairwise(edges):
        for x, w in rule:
            a = low + (high - low) * x
            u, v_ = root_u * mp.cos(a), root_v * mp.cos(a - angle)
            total += (high - low) * w * mp.fsum(weight * f(r * u) * f(r * v_) for r, weight in densities)
    return total


def single(f, variance, kinked):
    root = mp.sqrt(variance)
    if not kinked:
        return mp.fsum(w * f(root * t) ** 2 for t, w in whole_line())
    halves = [(4 * (i + x), 4 * w) for i in range(4) for x, w in legendre(30)]
    return mp.fsum(
        w * mp.exp(-t * t / 2) / mp.sqrt(2 * mp.pi) * (f(root * t) ** 2 + f(-root * t) ** 2) for t, w in halves
    )


def drawn(seed):
    """Random scales and a pair of points: weight, bias, |x|^2, |y|^2, x.y, all rational."""
    source = random.Random(seed)

    def between(low, high):
        return sp.Rational(source.randint(int(1000 * low), int(1000 * high)), 1000)

    weight, bias, s1, s2 = between(0.4, 1.2), between(0, 0.8), between(0.1, 1.5), between(0.1, 1.5)
    return weight, bias, s1, s2, between(-0.9, 0.9) * sp.Rational(str(round(float(sp.sqrt(s1 * s2)), 3)))


def expression(name):
    if isinstance(name, str):
        source = random.Random(name)
        values = {symbol: sp.Rational(source.randint(2, 9), 10) for symbol in get(name).parameters}
        return get(name).expr.subs(values)
    return name


def assert_agree(closed, integral, scale):
    assert abs(mp.mpf(sp.N(closed, WORKING, maxn=3000)) - integral) < mp.mpf(10) ** -DIGITS * abs(scale)


@pytest.mark.parametrize("name", [*CLOSED, *USERS], ids=str)
def test_expectations(name):
    """E[phi phi], E[phi' phi'], E[phi^2], E[phi'^2]."""
    expr = expression(name)
    kinked = name in KINKED
    pair = kinked_pair if kinked else smooth_pair
    law = infgeo.MLP(expr).dual
    weight, bias, s1, s2, product = drawn(str(name))
    at = {p: bias**2 + weight**2 * s1, q: bias**2 + weight**2 * s2, c: bias**2 + weight**2 * product}
    with mp.workdps(WORKING):
        variances = [mp.mpf(at[symbol].p) / at[symbol].q for symbol in (p, q, c)]
        here = at | {Delta: at[p] * at[q] - at[c] ** 2, v: at[p]}
        slopes = [] if name in JUMPS else [(sp.diff(expr, z).doit(), law.derivative_kernel, law.m0)]
        for function, kernel, moment in [(expr, law.kernel, law.m), *slopes]:
            f = sp.lambdify(z, function, "mpmath")
            norm = single(f, variances[0], kinked)
            assert_agree(moment.subs(here), norm, norm)
            scale = mp.sqrt(norm * single(f, variances[1], kinked))
            assert_agree(kernel.subs(here), pair(f, *variances), scale)


@pytest.mark.parametrize("name", DEEP)
def test_deep_kernels(name):
    """k^L by integrals of every layer in turn."""
    expr = expression(name)
    kinked = name in KINKED
    pair = kinked_pair if kinked else smooth_pair
    weight, bias, s1, s2, product = drawn(f"deep {name}")
    with mp.workdps(WORKING):
        f = sp.lambdify(z, expr, "mpmath")
        w2, b2 = (mp.mpf(scale.p) ** 2 / scale.q**2 for scale in (weight, bias))
        features = [mp.mpf(part.p) / part.q for part in (s1, s2, product)]
        for depth in (1, 2, 3):
            before = [b2 + w2 * part for part in features]
            features = [single(f, before[0], kinked), single(f, before[1], kinked), pair(f, *before)]
            kernel = infgeo.MLP(expr, depth=depth, weight_std=weight, bias_std=bias).kernel.expr
            closed = kernel.subs({s_x: s1, s_y: s2, xy: product})
            assert_agree(closed, features[2], mp.sqrt(features[0] * features[1]))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("name", ["erf", "gaussian", "sin", "cos", "probit"])
def test_metric_is_the_mixed_difference_of_the_kernel(name, depth):
    """A and h against second differences of k at 120 digits, so small that their error is below 20 digits."""
    weight, bias, s1, _, _ = drawn(f"metric{name}{depth}")
    mlp = infgeo.MLP(name, depth=depth)
    program, scales = mlp.metric_program, {mlp.weight_std: weight, mlp.bias_std: bias}
    with mp.workdps(160):
        k = sp.lambdify((s_x, s_y, xy), mlp.kernel.expr.subs(scales), "mpmath")
        s1_, step = mp.mpf(s1.p) / s1.q, mp.mpf(10) ** -30
        r = mp.sqrt(s1_)

        def across(i, j):
            return k(s1_ + step**2, s1_ + step**2, s1_ + i * j * step**2)

        def along(i, j):
            x, y = r + i * step, r + j * step
            return k(x * x, y * y, x * y)

        for name_, function in (("A", across), ("h", along)):
            second = mp.re(function(1, 1) - function(1, -1) - function(-1, 1) + function(-1, -1)) / (4 * step**2)
            value = mp.mpf(program.evaluate(name_, {infgeo.conventions.s: s1, **scales}, 40))
            assert abs(second - value) < mp.mpf(10) ** -20 * abs(value)


def test_a_wrong_formula_is_seen():
    """The comparison above fails for a kernel that is off by 1e-24."""
    with mp.workdps(WORKING):
        exact = single(mp.sin, mp.mpf(1), kinked=False)
        closed = infgeo.MLP("sin").dual.m.subs(v, 1)
        assert_agree(closed, exact, exact)
        with pytest.raises(AssertionError):
            assert_agree(closed * (1 + sp.Rational(1, 10**24)), exact, exact)
