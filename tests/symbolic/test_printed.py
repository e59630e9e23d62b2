"""Every printed formula, read again from its text, against the numeric functions and quadrature of the activation.

Activations are those of the catalogue and sums, products and compositions that a small grammar draws.
"""

from __future__ import annotations

import random
import re
from functools import cache

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.errors import InfgeoError, MetricDoesNotExist, NoClosedForm, NotConverged
from infgeo.symbolic.activations.catalogue import get
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal

z = sp.Symbol("z", real=True)
R = sp.Rational
LONG = ("z_erf", "gabor", "sin", "cos", "gelu", "sinusoid", "rbf")
NUMERIC_ONLY = ("gelu_tanh", "logsigmoid", "mish", "sigmoid", "silu", "softplus", "softsign", "tanh", "tanhshrink")
CLOSED = [name for name in infgeo.activations.available() if name not in NUMERIC_ONLY]
OWN = {symbol.name for name in CLOSED for symbol in get(name).parameters}
NAMES = ("s_x", "s_y", "xy", "s", "d", "sigma_w", "sigma_b", "a", *sorted(OWN))
# |x|^2, |y|^2 and the cosine of the angle; then the scales, as numbers and for the symbols.
PAIRS = (
    (2.0, 1.5, 0.3),
    (1.3, 0.8, -0.7),
    (1.0, 1.2, 0.99999),
    (0.9, 1.1, -0.9999),
    (1e-3, 2e-3, 0.5),
    (30.0, 20.0, -0.4),
)
LONGEST = 1500  # characters of a kernel whose curvature is looked at too
SCALES = ((1, 0), (R(3, 2), R(1, 2)), (R(1, 10), 1))
CHIRPS = (sp.cos(z**2), sp.sin(z**2), sp.sin(2 * z**2) - z, sp.exp(-(z**2)) * sp.cos(z**2), z * sp.sin(z**2))


def atom(draw):
    a = draw.choice((1, 2, R(1, 2), -1, R(1, 3)))
    smooth = (z, z**2, z**3, sp.exp(-(z**2)), sp.exp(-(z**2) / 2), sp.exp(a * z / 2), sp.sin(a * z), sp.cos(a * z))
    chirps = (sp.sin(a * z**2), sp.cos(a * z**2))
    steps = (sp.Max(0, z), sp.Max(0, -z), sp.Abs(z), sp.sign(z), sp.Heaviside(z), sp.erf(a * z))
    return draw.choice(draw.choice((smooth, smooth, chirps, steps)))


def activation(draw, level=2):
    kind = draw.random() if level else 0
    if kind < 0.25:
        return atom(draw)
    left, right = activation(draw, level - 1), activation(draw, level - 1)
    if kind < 0.55:
        return draw.choice((1, -1, R(1, 2), 2)) * left + draw.choice((1, R(1, 3), -2)) * right
    inner = draw.choice((2, -1, R(1, 2))) * z + draw.choice((0, 0, 1, -R(1, 2)))
    return left * right if kind < 0.9 else left.subs(z, inner)


@cache
def read(text, names):
    expr = sp.parse_expr(
        text, local_dict={"BivariateNormal": BivariateNormal} | {name: sp.Symbol(name) for name in names}
    )
    used = sorted(expr.free_symbols, key=str)
    return [symbol.name for symbol in used], sp.lambdify(used, expr, "mpmath")


def value(text, at):
    names, function = read(str(text), tuple(sorted({*NAMES, *at})))
    return function(*(at[name] for name in names))


def output(program, name, at):
    """An output of a printed program: its lines, in order, as they stand."""
    known, lines = dict(at), {}
    for line in str(program.select([name])).splitlines():
        left, right = re.sub(r"^  (where)?\s+", "", line).split(" = ", 1)
        lines[left] = (line.startswith("  "), right)
    for left, (bound, right) in lines.items():
        if bound:
            known[left] = value(right, known)
    return value(lines[name][1], known)


def points(pair, draw):
    s_x, s_y, cosine = pair
    x = np.array([(s_x * (1 + draw.random() / 10)) ** 0.5, 0.0, 0.0])
    return x, s_y**0.5 * np.array([cosine, (1 - cosine**2) ** 0.5, 0.0])


def exactly(x, y, geo):
    x, y = ([mp.mpf(float(part)) for part in point] for point in (x, y))
    at = {"s_x": mp.fdot(x, x), "s_y": mp.fdot(y, y), "xy": mp.fdot(x, y), "s": mp.fdot(x, x), "d": mp.mpf(len(x))}
    return at | {name: mp.mpf(float(part)) for name, part in geo.parameters.items()}


def holds(got, wanted, size, what):
    assert abs(got - mp.mpf(float(wanted))) <= 1e-10 * float(size), (what, mp.nstr(got, 15), float(wanted))


def kernels_hold(mlp, geo, pairs, draw, quadrature):
    for number, pair in enumerate(pairs):
        x, y = points(pair, draw)
        at = exactly(x, y, geo)
        norm = float(np.sqrt(np.prod(geo.kernel_diag(np.array([x, y])))))
        K = geo.kernel(x[None], y[None])[0, 0]
        holds(value(mlp.kernel.expr, at), K, norm, (str(mlp), "kernel", pair))
        holds(output(mlp.kernel_program, "kernel", at), K, norm, (str(mlp), "kernel program", pair))
        if quadrature is not None and number in (1, 3):
            try:
                integral = quadrature.kernel(x[None], y[None])[0, 0]
            except NotConverged:  # fast waves
                continue
            assert abs(integral - K) <= 1e-8 * norm, (str(mlp), "quadrature", pair)
        try:
            norm = float(np.sqrt(np.prod(geo.ntk_diag(np.array([x, y])))))
        except InfgeoError:  # a jump
            continue
        N = geo.ntk(x[None], y[None])[0, 0]
        holds(value(mlp.ntk.expr, at), N, norm, (str(mlp), "ntk", pair))
        holds(output(mlp.ntk_program, "ntk", at), N, norm, (str(mlp), "ntk program", pair))


def metrics_hold(mlp, geo, pairs, draw):
    try:
        g = mlp.metric
    except MetricDoesNotExist:
        return
    for pair in pairs:
        x, y = points(pair, draw)
        at = exactly(x, y, geo)
        metric, R_ = geo.metric(x), float(geo.ricci_scalar(x))
        A, size = metric[1, 1], abs(metric[0, 0]) + metric[1, 1]
        holds(value(g.A, at), A, A, (str(mlp), "A", pair))
        holds(value(g.B, at) * at["s"], metric[0, 0] - A, size, (str(mlp), "B", pair))
        holds(value(g.volume_element, at), geo.volume_element(x), geo.volume_element(x), (str(mlp), "volume", pair))
        curvature = abs(R_) + 1 / (A * (1 + float(at["s"])))
        holds(value(g.ricci_scalar, at), R_, curvature, (str(mlp), "R", pair))
        holds(output(g.program, "R", at), R_, curvature, (str(mlp), "R of the program", pair))


def everything_holds(mlp, seed, pairs=PAIRS, quadrature=True):
    draw = random.Random(seed)
    parameters = {symbol.name: 0.7 for symbol in mlp.parameters if not symbol.name.startswith("sigma")}
    scales = {"weight_std": 1.25, "bias_std": 0.5} if "sigma_w" in {x.name for x in mlp.parameters} else {}
    geo = mlp.numeric(**scales, **parameters)
    other = mlp.numeric(**scales, **parameters, method="quadrature") if quadrature else None
    with mp.workdps(60):
        kernels_hold(mlp, geo, pairs, draw, other)
        metrics_hold(mlp, geo, pairs, draw)


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) if x in LONG else x for x in CLOSED])
def test_the_catalogue(name):
    everything_holds(infgeo.MLP(name), CLOSED.index(name), PAIRS[1:4:2])


@pytest.mark.parametrize("expr", [CHIRPS[0], *(pytest.param(x, marks=pytest.mark.slow) for x in CHIRPS[1:])], ids=str)
def test_chirps(expr):
    everything_holds(infgeo.MLP(expr, weight_std=1, bias_std=0), 7, PAIRS[:4])


def test_the_kernels_of_chirps_are_right():
    """Of cos(z^2) and sin(z^2) at |x|^2 = 2, |y|^2 = 3/2 and x.y = 1/2, by quadrature and by simulation."""
    at = {"s_x": mp.mpf(2), "s_y": mp.mpf("1.5"), "xy": mp.mpf("0.5")}
    for phi, right in ((sp.cos(z**2), 0.186988), (sp.sin(z**2), 0.100939)):
        assert abs(value(infgeo.MLP(phi, weight_std=1, bias_std=0).kernel.expr, at) - right) < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_activations_of_the_grammar(seed):
    """The first one of each seed that has a closed form."""
    draw = random.Random(seed)
    weight, bias = SCALES[seed % len(SCALES)]
    while True:
        expr = sp.sympify(activation(draw, 1))
        if not expr.free_symbols:
            continue
        mlp = infgeo.MLP(expr, weight_std=weight, bias_std=bias)
        try:
            assert mlp.kernel_program is not None
        except NoClosedForm:
            continue
        return everything_holds(mlp, seed, PAIRS[:3])


def test_powers_of_products_of_unknown_sign():
    """The volume element of a phi is |a|^d that of phi, at negative a too."""
    volume = infgeo.MLP("a*erf(z)", weight_std=1, bias_std=0).metric.volume_element
    plain = infgeo.MLP("erf(z)", weight_std=1, bias_std=0).metric.volume_element
    at = {"a": mp.mpf(-2), "s": mp.mpf("0.7"), "d": mp.mpf(3)}
    assert abs(value(volume, at) / value(plain, at) - 8) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 104))
def test_more_of_the_grammar(seed):
    draw = random.Random(seed)
    weight, bias = SCALES[seed % len(SCALES)]
    for _ in range(3):
        expr = sp.sympify(activation(draw))
        if not expr.free_symbols:
            continue
        mlp = infgeo.MLP(expr, weight_std=weight, bias_std=bias)
        try:
            if len(str(mlp.kernel_program)) < LONGEST:
                everything_holds(mlp, seed, PAIRS[:4])
        except NoClosedForm:
            continue


@pytest.mark.slow
@pytest.mark.parametrize("name", ["erf", "relu", "sin", "square", "step"])
def test_two_layers(name):
    everything_holds(infgeo.MLP(get(name).expr, depth=2, weight_std=R(5, 4), bias_std=R(1, 2)), 3, PAIRS[:2], False)
