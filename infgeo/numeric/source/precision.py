"""How many digits a function of |x| is computed with: its readable formula is measured before it is emitted.

The formulas that are read are also those that are computed. Where their terms cancel, doubles lose digits; where they
lose too many, the same formulas are computed in double-double numbers. Both are measured here by numbers of 53 and of
100 bits against numbers of 120 digits, at points and scales that are fixed: the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mpmath
from sympy import Expr, lambdify
from sympy import exp as sympy_exp

from infgeo.conventions import Internal, d, s
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.numeric.source.of_formula import Formula
from infgeo.numeric.source.printing import DOUBLE_DOUBLE as DOUBLE_DOUBLE_NUMBERS
from infgeo.numeric.source.printing import function_source
from infgeo.symbolic.algebra.bivariate_normal import bivariate_normal
from infgeo.symbolic.algebra.graph import cse
from infgeo.symbolic.algebra.program import Names, Program
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.floats.normal_tails import program_with_tails
from infgeo.symbolic.networks.existence import require_metric
from infgeo.symbolic.networks.propagate import propagate
from infgeo.symbolic.networks.recursion import metric_program

if TYPE_CHECKING:
    from infgeo.symbolic.networks.network import MLP

PROMISED = 1e-12  # the largest relative error, for |x| and variances within RANGE
MEASURED = 2e-13  # what must be measured for that: libraries round exponentials and roots a little worse
RANGE = (1e-6, 1e6)
# In bits, and in digits. Of 106 bits that double-double numbers have, their operations lose some to rounding.
DOUBLE, DOUBLE_DOUBLE, DIGITS = 53, 100, 120
# Lengths of points. No round numbers: zeros of A', B and R like to be there.
LENGTHS = (*(f"1.0123e{k}" for k in (-12, -10, -8, -6, -5, -4, -3, -2, -1, 0)), "0.3217", "3.217")
LENGTHS += tuple(f"9.877e{k}" for k in (0, 1, 2, 3, 4, 5, 7, 9, 11))
# sigma_w, sigma_b, the activations' own parameters.
CASES = (("1", "0", "0.75"), ("1.25", "0.5", "1.5"), ("0.02", "1", "0.75"), ("30", "0.1", "0.4"))
DIMENSION = 2  # in input scales and norms, where it is open
STEP = mpmath.mpf(2) ** -130  # of a numerical derivative in numbers of DIGITS digits
BEYOND = 1e70  # variances that doubles are not asked for
LARGEST_EXPONENT = 1e6
FLAT = 1e-50  # of the curvature of a sphere: what mpmath leaves of 0
SMALLEST = 1e-290  # of a value, or of its inverse, that doubles are asked for


def _scaled_erfc(a: mpmath.mpf, x: mpmath.mpf, rest: mpmath.mpf) -> mpmath.mpf:
    """Return e^a erfc(x) with an error of some roundings, as libraries do: of `rest` = a - x^2 where x >= 0."""
    if x < 0:
        return mpmath.exp(a) * mpmath.erfc(x)
    with mpmath.extraprec(60 + 4 * max(0, mpmath.mag(x))):
        scaled = mpmath.exp(x * x) * mpmath.erfc(x) if x < 1e4 else _erfcx_far(x)
    return mpmath.exp(rest) * scaled


def _erfcx_far(x: mpmath.mpf) -> mpmath.mpf:
    """Return e^(x^2) erfc(x) at large x by its asymptotic series."""
    total = term = mpmath.mpf(1)
    for n in range(1, 40):
        term *= -(2 * n - 1) / (2 * x * x)
        total += term
    return total / (x * mpmath.sqrt(mpmath.pi))


def _scaled_quadrant(
    a: mpmath.mpf, h: mpmath.mpf, k: mpmath.mpf, n: mpmath.mpf, n_: mpmath.mpf, rest: mpmath.mpf
) -> mpmath.mpf:
    angle = mpmath.atan2(n, h) + mpmath.atan2(n_, k)  # of the sides, from the corner's to each
    return mpmath.exp(a) * bivariate_normal(-h, -k, mpmath.cos(angle), mpmath.sin(angle))


TAILS = {"scaled_erfc": _scaled_erfc, "scaled_quadrant": _scaled_quadrant}


@dataclass(frozen=True)
class Precision:
    """How a function is computed.

    Args:
        bits: DOUBLE or DOUBLE_DOUBLE.
        lowest, highest: between them all variances must lie for the function to have its digits.
        error: the largest error at points of RANGE.
    """

    bits: int
    lowest: float
    highest: float
    error: float


EXACT = Precision(DOUBLE, 0.0, float("inf"), 0.0)  # of what adds up


@dataclass(frozen=True)
class Variances:
    """The squared norm f of the features and what the layers `reached`: variances, and norms that are divided by."""

    names: Names
    f: Expr = s
    reached: tuple[Expr, ...] = ()

    def _let(self, expr: Expr) -> Expr:
        return self.names.let(f"f_{len(self.names.bindings)}", expr)

    def affine(self, weight: Expr, bias: Expr) -> Variances:
        """See `networks.propagate`."""
        return replace(self, f=self._let(bias + weight * self.f))

    def activate(self, law: Dual) -> Variances:
        """See `networks.propagate`."""
        return replace(self, f=self._let(law.m.xreplace({v: self.f})), reached=(*self.reached, self.f))

    def over_norm(self, epsilon: Expr, width: Expr) -> Variances:
        """See `networks.propagate`."""
        norm = self._let(self.f + width * epsilon)
        return replace(self, f=self._let(width * self.f / norm), reached=(*self.reached, norm))

    def centred(self) -> Variances:
        """Not known: `subject_of` refuses networks with layer normalisation."""
        raise NotImplementedError

    def add(self, branch: Variances, skip: Expr) -> Variances:
        """See `networks.propagate`."""
        return replace(branch, f=self._let(skip * self.f + branch.f))


@dataclass(frozen=True)
class Point:
    """The arguments of functions at a point, the exact values, their least sizes, and the range of the variances."""

    arguments: tuple[Any, ...]
    exact: tuple[Any, ...]
    least: tuple[Any, ...]
    lowest: float
    highest: float

    @property
    def promised(self) -> bool:
        """Whether the point is one for which errors are promised."""
        length = float(mpmath.sqrt(self.arguments[0]))
        return RANGE[0] <= min(length, self.lowest) and max(length, self.highest) <= RANGE[1]


@lru_cache(maxsize=256)
def program_of(mlp: MLP) -> Program:
    """Return the program of the metric and its curvatures, without R, of which the shortest form takes long to find."""
    require_metric(mlp.layers)
    program = metric_program(mlp.layers, ("A", "shear", "eta", "B", "K_rad", "K_tan"))
    return program_with_tails(program.substituted({} if mlp.dimension == d else {d: mlp.dimension}))


@lru_cache(maxsize=256)
def ricci_program(mlp: MLP) -> Program:
    """Return the program of R: the sum of K_rad and K_tan, unless nothing cancels in R written out.

    Written out, d stands in sums with s, which cancel at d = 2, where K_tan does not count.
    """
    program, n = program_of(mlp), mlp.dimension
    if program.select(["K_rad", "K_tan"]).adds_up and mlp.metric_program.select(["R"]).adds_up:
        return mlp.metric_program.select(["R"])
    K_rad, K_tan = (program.outputs[name] for name in ("K_rad", "K_tan"))
    return Program(program.bindings, {"R": (n - 1) * (2 * K_rad + (n - 2) * K_tan)}).select(["R"])


@lru_cache(maxsize=256)
def precision_of_parts(mlp: MLP) -> Precision:
    """Return the precision that A, s B/A, (A + s B)/A and B need."""
    return _needed(program_of(mlp).select(["A", "shear", "eta", "B"]), mlp)


@lru_cache(maxsize=256)
def precision_of_ricci(mlp: MLP) -> Precision:
    """Return the precision that R needs: that of K_rad and K_tan, unless nothing cancels."""
    if ricci_program(mlp).adds_up:
        return EXACT
    return _needed(program_of(mlp).select(["A", "K_rad", "K_tan"]), mlp)


def _needed(program: Program, mlp: MLP) -> Precision:
    """Return the precision that a program needs: double if its error is small, or if there is no better one.

    An error is relative to the value or, near its zeros, to its size there: by how much it changes as |x| or a
    parameter changes by a factor e, to first order. Curvatures that are 0 have the size 1/(A s) of spheres.
    """
    if program.adds_up:
        return EXACT
    function = _for_mpmath(program, mlp)
    points = list(_points(function, mlp, "K_rad" in program.outputs))
    double = _measured(DOUBLE, function, points)
    if double.error <= MEASURED or not _in_double_double(program):
        return double
    return min(double, _measured(DOUBLE_DOUBLE, function, points), key=lambda precision: precision.error)


def _in_double_double(program: Program) -> bool:
    """Return whether double-double numbers have all functions of a program."""
    try:
        function_source("function", program, [s], [x for x in program.inputs if x != s], DOUBLE_DOUBLE_NUMBERS, "")
    except NoClosedForm:
        return False
    return True


def _for_mpmath(program: Program, mlp: MLP) -> Callable:
    """Return a program as a function of s, d and the parameters, in numbers of mpmath."""

    def where_nonnegative(x: Any, yes: Any, no: Any) -> Any:
        return yes if x >= 0 else no

    def exp(x: Any) -> Any:
        if x > LARGEST_EXPONENT:  # of a tower of exponentials mpmath would keep all digits
            raise OverflowError
        return mpmath.exp(x) if x > -LARGEST_EXPONENT else mpmath.mpf(0)

    primitives = {
        **TAILS,
        "exp": exp,
        "erfc": lambda x: mpmath.mpf(0) if x > 0 and x * x > LARGEST_EXPONENT else mpmath.erfc(x),
        "where_nonnegative": where_nonnegative,
        "ratio": lambda a, b: a / b if b else mpmath.mpf(0),
    }
    symbols = (Internal(f"t{i}") for i in range(10**6))
    shared, outputs = cse(list(program.outputs.values()), symbols)
    return lambdify(
        [s, d, *mlp.parameters],
        list(program.outputs.values()),
        modules=[primitives, "mpmath"],
        cse=lambda _: ([*program.bindings, *shared], outputs),
    )


@lru_cache(maxsize=256)
def _variances(mlp: MLP) -> Callable:
    names = Names()
    state = propagate(mlp.layers, Variances(names))
    reached = {str(i): part for i, part in enumerate(state.reached)}
    return _for_mpmath(program_with_tails(Program(tuple(names.bindings), reached)), mlp)


def _reached(mlp: MLP, arguments: Sequence[Any]) -> tuple[float, float] | None:
    """Return the smallest and the largest variance of the layers; None where they are infinite or beyond doubles."""
    with mpmath.workprec(DOUBLE):
        sizes = _values(_variances(mlp), arguments)
    if sizes is None or not all(1 / BEYOND < size < BEYOND for size in sizes):
        return None
    return float(min(sizes)), float(max(sizes))


def variances_at(mlp: MLP | Formula, values: Mapping[str, float], length: float) -> tuple[float, float] | None:
    """Return the smallest and the largest variance of the layers at |x| = `length`; None where they are infinite.

    Of a user's formulas there are none; nothing is promised of them.
    """
    if isinstance(mlp, Formula):
        return 0.0, float("inf")
    parameters = (values[symbol.name] for symbol in mlp.parameters)
    return _reached(mlp, [mpmath.mpf(x) for x in (length**2, _dimension(mlp), *parameters)])


def _dimension(mlp: MLP) -> Any:
    return mpmath.mpf(int(mlp.dimension) if mlp.dimension.is_number else DIMENSION)


def _points(function: Callable, mlp: MLP, curvatures: bool) -> Iterator[Point]:
    for weight_std, bias_std, own in CASES:
        scales = {"sigma_w": weight_std, "sigma_b": bias_std}
        texts = ["2" if part.is_integer else scales.get(part.name, own) for part in mlp.parameters]
        for length in LENGTHS:
            with mpmath.workprec(DOUBLE):  # all arguments are doubles
                arguments = (mpmath.mpf(length) ** 2, _dimension(mlp), *map(mpmath.mpf, texts))
            reached = _reached(mlp, arguments)
            if reached is None:
                continue
            with mpmath.workdps(DIGITS):
                exact = _values(function, arguments)
                least = [mpmath.mpf(SMALLEST)] * len(exact or ())
                if exact is not None and curvatures:
                    round_ = 1 / (exact[0] * arguments[0])
                    least = [round_ if abs(part) < FLAT * round_ else least[0] for part in exact]
            if exact is not None:
                yield Point(arguments, exact, tuple(least), *reached)


def _values(function: Callable, arguments: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return real numbers, or None where expectations are infinite."""
    try:
        values = tuple(map(mpmath.mpmathify, function(*arguments)))
    except (ZeroDivisionError, OverflowError, TypeError):  # of a root of rounding, a complex number has no order
        return None
    return values if all(isinstance(value, mpmath.mpf) and mpmath.isfinite(value) for value in values) else None


def _measured(bits: int, function: Callable, points: Sequence[Point]) -> Precision:
    """Return the largest error with numbers of some bits, and between which variances none was too large."""
    errors = []
    for point in points:
        with mpmath.workprec(bits):
            values = _values(function, point.arguments)
        errors.append(float("inf") if values is None else _error(values, function, point))
    promised = [error for error, point in zip(errors, points, strict=True) if point.promised]
    pairs = [(point.lowest, point.highest) for error, point in zip(errors, points, strict=True) if error > MEASURED]
    low = max((low for low, high in pairs if low * high < 1), default=0.0)
    high = min((high for low, high in pairs if low * high >= 1), default=float("inf"))
    # Between a point that misses and the next one nothing is known, but that errors are promised in RANGE.
    lowest = min((point.lowest for point in points if point.lowest > low), default=RANGE[0]) if low else low
    highest = max((point.highest for point in points if point.highest < high), default=RANGE[1])
    lowest, highest = min(lowest, RANGE[0]), high if high == float("inf") else max(highest, RANGE[1])
    return Precision(bits, lowest, highest, max(promised, default=0.0))


def _error(values: Sequence[Any], function: Callable, point: Point) -> float:
    """Return the largest error of the values that doubles hold, relative to their sizes."""
    held = [
        SMALLEST < max(abs(exact), least) < 1 / SMALLEST for exact, least in zip(point.exact, point.least, strict=True)
    ]
    with mpmath.workdps(DIGITS):
        errors = [abs(value - exact) * on for value, exact, on in zip(values, point.exact, held, strict=True)]
        sizes = [max(abs(exact), least) for exact, least in zip(point.exact, point.least, strict=True)]
        if any(error > MEASURED * size for error, size in zip(errors, sizes, strict=True)):
            for place, argument in enumerate(point.arguments):
                if place == 1 or not argument:  # the dimension is a whole number
                    continue
                moved = function(*point.arguments[:place], argument * (1 + STEP), *point.arguments[place + 1 :])
                sizes = [size + abs(a - b) / STEP for size, a, b in zip(sizes, moved, point.exact, strict=True)]
        return max(float(error / size) for error, size in zip(errors, sizes, strict=True))


SIZES = tuple(mpmath.mpf(f"1.0123e{k}") for k in range(-6, 7))  # variances


@lru_cache(maxsize=256)
def cancels(moment: Expr) -> bool:
    """Return whether a moment of an activation, a function of v, loses more digits in doubles than is promised.

    Where it does, so does the kernel, which is the moment at coincident points. Moments without exponentials do not.
    """
    if not moment.has(sympy_exp):
        return False
    own = sorted(moment.free_symbols - {v}, key=lambda symbol: symbol.name)
    primitives = {**TAILS, "exp_difference": lambda a, b, gap: mpmath.exp(b) * mpmath.expm1(gap)}
    function = lambdify([v, *own], moment, [primitives, "mpmath"])
    for size in SIZES:
        try:
            with mpmath.workdps(DIGITS):
                exact = function(size, *[mpmath.mpf("0.75")] * len(own))
            with mpmath.workprec(DOUBLE):
                value = function(size, *[mpmath.mpf("0.75")] * len(own))
        except (OverflowError, ZeroDivisionError):
            continue
        if SMALLEST < abs(exact) < 1 / SMALLEST and abs(value - exact) > MEASURED * abs(exact):
            return True
    return False
