"""The formulas that the page shows, as MathML, and as LaTeX for copying; SymPy prints both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sympy import Expr, Function, Heaviside, Integer, Symbol, atan, atan2, erf, erfc, latex, symbols
from sympy.printing.mathml import mathml as presentation

from infgeo.conventions import d, s, sigma_b, sigma_w
from infgeo.conventions import variance as v
from infgeo.explorer.shown import Shown
from infgeo.numeric.source.mixture import NODE_A, NODE_B
from infgeo.symbolic.algebra.simplify import tidy

# Left side, relation, right side. A prime after a name is a derivative, by s where rows change names (<-), else by v.
Row = tuple[Symbol, str, Expr]
LONG, LONGEST_KERNEL = 300, 400  # characters: of R beyond it is written with named values, kernels are left out
A, A1, B, B1, u, v1, h, h1, t, t1 = symbols("A A' B B' u v' h h' t t'")
f, f1, f2, J, m, m1, m0, m01, R, K_rad, K_tan = symbols("f f' f'' J m m' m_0 m'_0 R K_rad K_tan")
_NODES = {NODE_A: Symbol("a_i"), NODE_B: Symbol("a_j")}
_CURVATURE: list[Row] = [(R, "=", (d - 1) * (2 * K_rad + (d - 2) * K_tan))]
# The metric of any depth.
DEEP: dict[str, list[Row]] = {
    "Begin with (s = |x|²; a prime is the derivative by s, of m and m₀ by v)": [
        (v, "=", sigma_b**2 + sigma_w**2 * s),
        (v1, "=", sigma_w**2),
        (A, "=", sigma_w**2),
        (B, "=", Integer(0)),
    ],
    "Each layer": [(B, "<-", m0 * B + 2 * m01 * v1**2), (A, "<-", m0 * A)],
    "Between layers": [
        (v1, "<-", sigma_w**2 * m1 * v1),
        (v, "<-", sigma_b**2 + sigma_w**2 * m),
        (A, "<-", sigma_w**2 * A),
        (B, "<-", sigma_w**2 * B),
    ],
    "Curvature": [
        (h, "=", A + s * B),
        (t, "=", A + s * A1),
        (K_tan, "=", (A * B - 2 * A * A1 - s * A1**2) / (A**2 * h)),
        (K_rad, "=", (t * (A1 * h + A * h1) - 2 * A * h * t1) / (A * h) ** 2),
        *_CURVATURE,
    ],
}


def mathml(expr: Expr) -> str:
    """Return an expression as presentation MathML, without the element `math`."""
    known = expr.replace(Heaviside, lambda x, *_: Function("Θ")(x)).replace(atan2, Function("atan2")).xreplace(_NODES)
    text = str(presentation(known, printer="presentation"))
    text = re.sub(r"<mi>(\w)('+)</mi>", r'<mrow><mi>\1</mi><mo lspace="0" rspace="0">\2</mo></mrow>', text)
    return text.replace("<mo>-</mo>", "<mo>−</mo>").replace("&ExponentialE;", "e")


def tex(expr: Expr) -> str:
    """Return an expression as LaTeX."""
    return str(latex(expr.xreplace(_NODES), symbol_names={K_rad: r"K_\mathrm{rad}", K_tan: r"K_\mathrm{tan}"}))


def written(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Return rows as a list of MathML elements and one of lines of LaTeX."""
    relations = {"=": ("=", "="), "<-": ("←", r"\leftarrow")}
    rows = list(rows)
    return {
        "mathml": [
            f"<math>{mathml(left)}<mo>{relations[sign][0]}</mo>{mathml(right)}</math>" for left, sign, right in rows
        ],
        "latex": [f"{tex(left)} &{relations[sign][1]} {tex(right)}" for left, sign, right in rows],
    }


def one_layer(shown: Shown) -> list[Row]:
    """Return A, B and R of one layer: as functions of s, or where these are long by f(v) = sigma_w^2 E[phi'^2]."""
    if shown.no_metric:
        return []
    if not (shown.is_mixture or shown.law.m0.has(atan, erf, erfc)):  # with these R is long
        metric = shown.network.metric
        if len(str(metric.ricci_scalar)) <= LONG:
            return [(A, "=", metric.A), (B, "=", metric.B), (R, "=", metric.ricci_scalar)]
    named = m0 if shown.is_mixture else shown.law.m0
    rows: list[Row] = [(u, "=", sigma_w**2 * s), (v, "=", sigma_b**2 + u), (f, "=", sigma_w**2 * named)]
    if not shown.is_mixture:
        rows += [(f1, "=", sigma_w**2 * tidy(named.diff(v))), (f2, "=", sigma_w**2 * tidy(named.diff(v, 2)))]
    return [
        *rows,
        (A, "=", f),
        (B, "=", 2 * sigma_w**2 * f1),
        (h, "=", f + 2 * u * f1),
        (J, "=", f * f1 + u * (f * f2 - f1**2)),
        (K_tan, "=", -(sigma_w**2) * u * f1**2 / (f**2 * h)),
        (K_rad, "=", -2 * sigma_w**2 * u * f1 * J / (f * h) ** 2),
        *_CURVATURE,
    ]


def expectations(shown: Shown) -> list[Row]:
    """Return m and m0, of a mixture for a pair of nodes."""
    index = "ij" if shown.is_mixture else ""
    rows: list[Row] = [(Symbol(f"m_{index}") if index else m, "=", shown.law.m)]
    return rows if shown.no_metric else [*rows, (Symbol(f"m_0{index}"), "=", shown.law.m0)]


def kernel(shown: Shown) -> Sequence[Row]:
    """Return E[phi(u) phi(v)], unless it is long."""
    value = shown.law.kernel
    return [] if shown.is_mixture or len(str(value)) > LONGEST_KERNEL else [(Symbol("k"), "=", value)]
