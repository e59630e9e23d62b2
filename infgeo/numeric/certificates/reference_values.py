"""What an emitted file has beside its functions: where it comes from, and reference values that it checks itself by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import mpmath
from sympy import exp

from infgeo.errors import ExpectationDiverges, InfgeoError, InvalidInput, MetricDoesNotExist
from infgeo.numeric.source.methods import methods_of
from infgeo.symbolic.activations.catalogue import get
from infgeo.symbolic.algebra.simplify import longer
from infgeo.symbolic.networks.network import MLP

if TYPE_CHECKING:
    from infgeo.numeric.source.of_formula import Formula

DIGITS, FEWER, PRINTED = 50, 20, 25
LONGEST = 200  # characters of a closed form that is quoted
# Coordinates that float32 holds exactly: two in general position, one beside the first, a far and a near one.
_POINTS = (
    ("0.59375", "-0.8125", "0.34375"),
    ("-0.25", "0.71875", "1.125"),
    ("0.593994140625", "-0.812744140625", "0.343505859375"),
    ("1.75", "-2.125", "1.0"),
    ("0.0625", "-0.03125", "0.09375"),
)
_NEAR = 2  # the one beside the first
_SCALES = {"sigma_w": Fraction(5, 4), "sigma_b": Fraction(1, 2)}
_OWN = Fraction(3, 4)  # of a parameter of the activation
_SHRUNK = [Fraction(1, 4**k) for k in range(4)]  # for activations whose expectations are finite at small points alone
_LARGEST = 1e30  # of the values, and of what they are made of in single precision
_OF_PAIRS = ("kernel", "ntk", "kernel_distance")
FUNCTIONS = (*_OF_PAIRS, "metric", "volume_element", "log_volume_element", "ricci_scalar")


def closed_forms(mlp: MLP | Formula) -> str:
    """Return the closed forms of one hidden layer as lines of text, those that are short."""
    if not isinstance(mlp, MLP) or len(mlp.layers) > 1:
        return ""  # the head of a file of a kernel or a metric shows it
    forms: dict[str, Any] = {}
    try:
        forms["kernel"] = mlp.kernel.expr
        forms |= {"A": mlp.metric.A, "B": mlp.metric.B, "R": mlp.metric.ricci_scalar}
    except InfgeoError:
        pass
    short = {name: str(form) for name, form in forms.items() if not longer(form, LONGEST)}  # an operation is a letter
    lines = [f"    {name} = {text}" for name, text in short.items() if len(text) <= LONGEST]
    if not lines:
        return ""
    return "\n".join(["Closed forms, with s = |x|^2, s_x = |x|^2, s_y = |y|^2, xy = x.y:", *lines, ""])


def self_test_data(mlp: MLP | Formula, near: bool = True) -> str:
    """Return the source of the reference: parameters, points (`near` ones too), each function's values to 25 digits.

    Errors are counted in units in the last place of `sizes`: of a kernel the norms, of a metric its entries, of the
    Ricci scalar the larger of itself and d (d - 1)/(A |x|^2). The bounds are below what is promised in
    double precision, so that a wrong digit is seen.
    """
    values: dict[str, Fraction] = {}
    points: list[list[Fraction]] = []
    reference: list[tuple[str, int, list[str] | None, list[float]]] = []
    for values, points in _candidates(mlp):
        if not near:
            del points[_NEAR]
        try:
            if not _finite(mlp, values, points):
                continue
            with mpmath.workdps(FEWER if _integrated(mlp) else DIGITS):
                reference = _reference(mlp, values, points)
        except ExpectationDiverges:
            continue
        largest = max((size for *_, sizes in reference for size in sizes), default=0.0)
        if len(reference) == len(_functions(mlp)) and largest < _LARGEST:
            break
    lines = [
        "# The self-test: python FILE. By mpmath, for points and parameters that are exact in binary.",
        f"_VALUES: dict[str, str] = {_exact(values)!r}",
        f"_INPUTS: list[list[str]] = {[[_decimal(x) for x in point] for point in points]!r}",
        "# Function; bound on its error in units in the last place (ulp) of the sizes; values; sizes.",
        "_REFERENCE: list[tuple[str, int, list[str] | None, list[float]]] = [",
    ]
    for name, bound, exact, sizes in reference:
        lines += [f"    ({name!r}, {bound}, {exact!r}, {sizes!r}),"]
    return "\n".join([*lines, "]"])


def _candidates(mlp: MLP | Formula) -> Iterator[tuple[dict[str, Fraction], list[list[Fraction]]]]:
    d = int(mlp.dimension) if mlp.dimension.is_number else len(_POINTS[0])
    for factor in _SHRUNK:
        values = {}
        for symbol in mlp.parameters:
            value = _SCALES.get(symbol.name, Fraction(2) if symbol.is_integer else _OWN)
            values[symbol.name] = value * factor if symbol.name in _SCALES else value
        yield values, [[Fraction(x) * factor for x in (*point, *d * "0")[:d]] for point in _POINTS]


def _finite(mlp: MLP | Formula, values: dict[str, Fraction], points: list[list[Fraction]]) -> bool:
    """Whether double precision holds the kernel; of towers of exponentials mpmath would keep all digits."""
    if not any(layer.activation.expr.has(exp) for layer in mlp.with_weights):
        return True
    import numpy as np

    from infgeo.numeric.geometry import numeric

    with np.errstate(all="ignore"):
        diagonal = numeric(mlp, parameters={name: float(value) for name, value in values.items()}).kernel_diag
        try:
            return bool(np.isfinite(diagonal(np.array(points, dtype=float))).all())
        except InvalidInput:
            return False


def _reference(
    mlp: MLP | Formula, values: dict[str, Fraction], points: list[list[Fraction]]
) -> list[tuple[str, int, list[str] | None, list[float]]]:
    """Return name, bound, values and sizes of every function that has a value, or says that it does not exist."""
    from infgeo.numeric.geometry import numeric

    numbers = {name: mpmath.mpf(value.numerator) / value.denominator for name, value in values.items()}
    geo = numeric(mlp, backend="mpmath", parameters=numbers)
    X = [[mpmath.mpf(x.numerator) / x.denominator for x in point] for point in points]
    norms = [mpmath.sqrt(k) for k in geo.kernel_diag(X)] if "kernel" in _functions(mlp) else []
    results: list[tuple[str, int, list[str] | None, list[float]]] = []
    for name in _functions(mlp):
        try:
            exact = flat(getattr(geo, name)(X))
        except (MetricDoesNotExist, ExpectationDiverges):
            results.append((name, 0, None, []))
            continue
        sizes = [abs(value) for value in exact]
        if name in ("kernel", "ntk"):
            if name == "ntk":
                norms = [mpmath.sqrt(k) for k in geo.ntk_diag(X)]
            sizes = [a * b for a in norms for b in norms]
        elif name == "log_volume_element":
            sizes = [max(size, mpmath.mpf(1)) for size in sizes]
        elif name == "ricci_scalar":
            spheres = [sphere(geo.metric(x), x) for x in X]
            sizes = [max(pair) for pair in zip(sizes, spheres, strict=True)]
        if not all(math.isfinite(float(value)) for value in (*exact, *sizes)):
            continue
        results.append((name, _bound(mlp, name), [mpmath.nstr(v, PRINTED) for v in exact], [_short(s) for s in sizes]))
    return results


def _functions(mlp: MLP | Formula) -> tuple[str, ...]:
    found = tuple(name for name in FUNCTIONS if name in getattr(mlp, "functions", FUNCTIONS))
    # In many digits integrals over pairs take minutes.
    return found if not _integrated(mlp) else tuple(name for name in found if name not in _OF_PAIRS)


def _integrated(mlp: MLP | Formula) -> bool:
    return "quadrature" in methods_of(mlp).values()


def _bound(mlp: MLP | Formula, name: str) -> int:
    """Return a bound on the error of a function, in ulp; of other activations than erf and ReLU 16 times as much."""
    depth = len(mlp.with_weights)  # 0 for formulas
    stated = {get(activation).expr for activation in ("erf", "relu")}
    factor = 1 if depth and {layer.activation.expr for layer in mlp.with_weights} <= stated else 16
    factor *= 8 if _integrated(mlp) else 1
    if name in ("kernel", "ntk"):
        return factor * 8 * max(depth, 1)
    if name == "kernel_distance":
        return factor * 64
    if name == "ricci_scalar":
        return factor * (8 if depth <= 1 else max(128, 64 * (depth - 1)))
    return factor * (8 if depth <= 1 else max(16, 8 * depth))


def sphere(g: mpmath.matrix, x: list[Any]) -> Any:
    """Return d (d - 1)/(A |x|^2), the curvature of the sphere through x around the origin, embedded with factor A."""
    # A is what every vector orthogonal to x is stretched by.
    d = len(x)
    if d == 1:
        return mpmath.mpf(0)
    A = (sum(g[i, i] for i in range(d)) - _quadratic(g, x) / mpmath.fsum(x, squared=True)) / (d - 1)
    return d * (d - 1) / (A * mpmath.fsum(x, squared=True))


def _quadratic(g: mpmath.matrix, x: list[Any]) -> Any:
    return mpmath.fsum(x[i] * g[i, j] * x[j] for i in range(len(x)) for j in range(len(x)))


def flat(values: Any) -> list[Any]:
    """Return the numbers of nested lists, or of a matrix of mpmath."""
    nested = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(nested, list):
        return [number for value in nested for number in flat(value)]
    return [nested]


def _short(size: Any) -> float:
    return float(f"{float(size):.3g}")


def _decimal(value: Fraction) -> str:
    """Return a dyadic number in full."""
    return mpmath.nstr(mpmath.mpf(value.numerator) / value.denominator, PRINTED, strip_zeros=True)


def _exact(values: dict[str, Fraction]) -> dict[str, str]:
    return {name: _decimal(value) for name, value in values.items()}
