"""The page loads nothing, and its formulas give in JavaScript what the package gives in Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import mpmath
import numpy as np
import pytest
from sympy import Rational, Symbol, lambdify
from sympy import symbols as symbols_of

import infgeo
from infgeo import symbols
from infgeo.conventions import variance as v
from infgeo.explorer.mathematics import DEEP, expectations, kernel, one_layer, written
from infgeo.explorer.page import page
from infgeo.explorer.shown import SHOWN
from infgeo.symbolic.algebra.bivariate_normal import bivariate_normal

NAMED = {shown.text: shown for shown in SHOWN}
SCALES = {1: (1.5, 0.1), 2: (0.7, 0.0), 3: (0.5, 0.3)}
RADII, ANGLES = [0.2, 0.7, 1.5], [0, 3, 60, 90, 150, 180]
DEEP_TOO = ("erf", "tanh", "relu", "cos")  # the fold over the layers is one for all
CASES = [(text, depth) for depth in SCALES for text in (NAMED if depth == 1 else DEEP_TOO)]


def run_in_node(expression: str, **given: object) -> object:
    """Return the value of an expression of JavaScript after the first script of the page; NaN is null."""
    if shutil.which("node") is None:
        pytest.skip("there is no node to run JavaScript in")
    script = re.search(r'<script id="geometry">(.*?)</script>', page(), re.DOTALL)[1]
    constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in given.items())
    program = f"{script}\n{constants}process.stdout.write(JSON.stringify({expression}));"
    done = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


class Links(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_loads_nothing():
    links = Links()
    links.feed(page())
    assert links.found == ["data:,"]  # no icon
    assert set(re.findall(r"https?://[^\"' ]*", page())) == {"http://www.w3.org/2000/svg"}  # the name of SVG
    assert not re.search(
        r"@import|\bimport\(|fetch\(|XMLHttpRequest|url\((?!#)|/\* (style|geometry|explorer) \*/", page()
    )


@pytest.mark.parametrize(("text", "depth"), CASES)
def test_numbers_are_those_of_the_package(text, depth):
    shown, (sigma_w, sigma_b), dimension = NAMED[text], SCALES[depth], 3
    network = {"activation": text, "depth": depth, "sigma_w": sigma_w, "sigma_b": sigma_b, "d": dimension}
    cosines = np.cos(np.deg2rad(ANGLES)).tolist()
    geo = infgeo.MLP(text, depth=depth).at(shown.values).numeric(weight_std=sigma_w, bias_std=sigma_b)
    found = run_in_node(
        "radii.map((r) => kernelsOf(network, r, cosines))", network=network, radii=RADII, cosines=cosines
    )
    for r, values in zip(RADII, found, strict=True):
        turned = r * np.stack([cosines, np.sin(np.deg2rad(ANGLES)), np.zeros(len(ANGLES))], axis=-1)
        expected = geo.kernel(turned[:1], turned)[0]
        assert values == pytest.approx(expected, rel=1e-6, abs=1e-6 * expected[0])
    if shown.no_metric:
        return
    expression = "radii.map((r) => ({...geometryOf(network, r), distance: distanceOf(network, r)}))"
    nodes, weights = np.polynomial.legendre.leggauss(60)
    for r, row in zip(RADII, run_in_node(expression, network=network, radii=RADII), strict=True):
        x = np.array([r, 0.0, 0.0])
        g = geo.metric(x)
        along = geo.metric((nodes[:, None] + 1) / 2 * x)[:, 0, 0]
        circle = g[1, 1] * r**2  # curvature is counted in 1/circle: near zeros of R its terms are of that size
        assert row["A"] == pytest.approx(g[1, 1], rel=1e-6)
        assert row["B"] == pytest.approx((g[0, 0] - g[1, 1]) / r**2, rel=1e-6, abs=1e-9 * g[1, 1] / r**2)
        assert row["log_volume"] == pytest.approx(float(geo.log_volume_element(x)), rel=1e-6, abs=1e-6)
        assert row["R"] == pytest.approx(float(geo.ricci_scalar(x)), rel=1e-6, abs=1e-9 / circle)
        assert row["distance"] == pytest.approx(float(np.sum(weights * np.sqrt(along)) * r / 2), rel=1e-6)


def test_the_profile_is_that_of_the_embedding_and_of_the_distance():
    g = infgeo.MLP("erf", weight_std=1, bias_std=0).metric
    network = {"activation": "erf", "depth": 1, "sigma_w": 1, "sigma_b": 0, "d": 2}
    rows = run_in_node("profileOf(network, 3).filter((row) => 'distance' in row)", network=network)
    assert g.embedding.signature == "minkowski" and len(rows) == 32
    for row in rows[::6]:
        slope, distance = (float(expr.subs(symbols.r, row["r"])) for expr in (g.embedding.slope, g.radial_distance))
        assert -row["excess"] == pytest.approx(slope**2, rel=1e-9)
        assert row["distance"] == pytest.approx(distance, rel=1e-6)
    slope = lambdify(symbols.r, g.embedding.slope, "mpmath")
    heights = [float(mpmath.quad(slope, [0, row["r"]])) for row in rows[::15]]
    assert [row["height"] for row in rows[::15]] == pytest.approx(heights, rel=1e-6)


def test_special_functions():
    xs = [-30, -3, -2.1, -1, -1e-8, 0, 1e-5, 0.3, 1.9, 2, 2.1, 5, 12, 26]
    found = run_in_node("xs.map((x) => [erf(x), erfc(x), x < -20 ? 0 : erfcx(x)])", xs=xs)
    for x, (one, other, scaled) in zip(xs, found, strict=True):
        assert one == pytest.approx(float(mpmath.erf(x)), rel=1e-14)
        assert other == pytest.approx(float(mpmath.erfc(x)), rel=1e-12)
        assert scaled == pytest.approx(0 if x < -20 else float(mpmath.exp(x * x) * mpmath.erfc(x)), rel=1e-12)
    turns = [(-1, 1e-3), (-0.8, 0.6), (0, 1), (0.6, 0.8), (1, 1e-3)]
    points = [(h, k, y, x) for h, k in [(-0.1, -0.1), (1, -2), (-1, 1), (-3, -4), (2, 2)] for y, x in turns]
    with mpmath.workdps(50):
        expected = [float(bivariate_normal(*map(mpmath.mpf, point))) for point in points]
    nearly = [(-1, 1, -1), (2, 2, -1), (2, 2, 1), (-1, 1, 1), (-3, -4, 1)]  # parallel or antiparallel
    expected += [0, 2 * float(mpmath.ncdf(2)) - 1, *(float(mpmath.ncdf(h)) for h in (2, -1, -4))]
    found = run_in_node(
        "points.map((point) => BivariateNormal(...point))", points=points + [(*p, 1e-30) for p in nearly]
    )
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-14)


def test_the_formulas_that_are_shown_give_the_same_numbers():
    point = {symbols.s: Rational(1, 2), symbols.sigma_w: Rational(6, 5), symbols.sigma_b: Rational(1, 3), symbols.d: 3}
    x, scales = np.array([0.5**0.5, 0, 0]), {"weight_std": 1.2, "bias_std": 1 / 3}
    for text in ("erf", "sin", "gelu", "hardtanh", "gaussian", "square"):
        known = dict(point)
        for name, _, value in one_layer(NAMED[text]):
            known[name] = value.xreplace(known).evalf(20)
        expected = infgeo.MLP(text).numeric(**scales).ricci_scalar(x)
        assert float(known[Symbol("R")]) == pytest.approx(float(expected), rel=1e-9)
    law, numbers = NAMED["erf"].law, {one: value for one, value in point.items() if one != symbols.s}
    functions = {"m": law.m, "m'": law.m.diff(v), "m_0": law.m0, "m'_0": law.m0.diff(v)}
    named = {Symbol(name): value.xreplace(numbers) for name, value in functions.items()}
    known = {}
    begin, layer, between, curvature = DEEP.values()
    for name, _, value in [*begin, *layer, *between, *layer, *curvature]:
        primes = {Symbol(f"{one}'"): known[one].diff(symbols.s) for one in set(symbols_of("A h t")) & set(known)}
        known[name] = value.xreplace(numbers).xreplace(named).xreplace({**primes, **known})
    expected = infgeo.MLP("erf", depth=2).numeric(**scales).ricci_scalar(x)
    assert float(known[Symbol("R")].subs(point)) == pytest.approx(float(expected), rel=1e-9)


def test_formulas_are_well_formed():
    rows = [row for part in DEEP.values() for row in part]
    rows += [row for shown in SHOWN for part in (one_layer, expectations, kernel) for row in part(shown)]
    texts = written(rows)
    for text in texts["mathml"]:
        names = {node.tag for node in ElementTree.fromstring(unescape(text).replace("<<", "&lt;<")).iter()}
        assert names <= {
            "math",
            "mrow",
            "mi",
            "mn",
            "mo",
            "mfrac",
            "msqrt",
            "mroot",
            "msub",
            "msup",
            "msubsup",
            "mfenced",
        }
        assert "mfenced" not in names  # browsers do not know it
    for text in texts["latex"]:
        assert text.count("{") == text.count("}") and text.count("&") == 1


@pytest.mark.parametrize("text", ["erf", "leaky_relu", "tanh", "z + sin(z)**2", "step"])
def test_the_python_line_runs(text):
    shown = NAMED[text]
    line = shown.python.format(depth=2, sigma_w=1, sigma_b=0.5, d=3)
    names: dict[str, object] = {}
    exec(line, names)
    found = names.get("g", names.get("geo"))
    network = infgeo.MLP(text, depth=2).at(shown.values).at(sigma_w=1, sigma_b=0.5)
    if shown.no_metric:
        assert found.expr == network.kernel.expr
    elif shown.is_mixture:
        assert found.ricci_scalar([1.0, 0.0]) == network.numeric().ricci_scalar([1.0, 0.0])
    else:
        assert found.A == network.metric.A and found.dimension == 3
