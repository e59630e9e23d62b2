"""How many digits a function of |x| is computed with: its readable formula is measured before it is emitted.

The formulas that are read are also those that are computed. Where their terms cancel, doubles lose digits; where they
lose too many, the same formulas are computed in double-double numbers. Both are measured here by numbers of 53 and of
106 bits against numbers of 120 digits, at points and scales that are fixed: the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mpmath
from sympy import Expr, lambdify

from infgeo.conventions import Internal, d, s
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.numeric.source.printing import DOUBLE_DOUBLE as DOUBLE_DOUBLE_NUMBERS
from infgeo.numeric.source.printing import function_source
from infgeo.symbolic.algebra.graph import cse
from infgeo.symbolic.algebra.program import Names, Program
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.networks.propagate import propagate

if TYPE_CHECKING:
    from infgeo.symbolic.networks.network import MLP

PROMISED = 1e-12  # the largest relative error, for |x| and variances within RANGE
MEASURED = 2e-13  # what must be measured for that: libraries round exponentials and roots a little worse
RANGE = (1e-6, 1e6)
DOUBLE, DOUBLE_DOUBLE, DIGITS = 53, 106, 120  # the first two in bits
# Lengths of points. No round numbers: zeros of A', B and R like to be there.
LENGTHS = (*(f"1.0123e{k}" for k in (-12, -10, -8, -6, -5, -4, -3, -2, -1, 0)), "0.3217", "3.217")
LENGTHS += tuple(f"9.877e{k}" for k in (0, 1, 2, 3, 4, 5, 7, 9, 11))
# sigma_w, sigma_b, the activations' own parameters, d.
CASES = (("1", "0", "0.75", 3), ("1.25", "0.5", "1.5", 2), ("0.02", "1", "0.75", 3), ("30", "0.1", "0.4", 5))
STEP = mpmath.mpf(2) ** -130  # of a numerical derivative in numbers of DIGITS digits
BEYOND = 1e70  # variances that doubles are not asked for
LARGEST_EXPONENT = 1e6
SMALLEST = 1e-290  # of a value, or of its inverse, that doubles are asked for


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
    """The arguments of functions at a point, the exact values there, and between which numbers the variances lie."""

    arguments: tuple[Any, ...]
    exact: tuple[Any, ...]
    lowest: float
    highest: float

    @property
    def promised(self) -> bool:
        """Whether the point is one for which errors are promised."""
        length = float(mpmath.sqrt(self.arguments[0]))
        return RANGE[0] <= min(length, self.lowest) and max(length, self.highest) <= RANGE[1]


@lru_cache(maxsize=256)
def parts_of(mlp: MLP) -> tuple[Program, Precision]:
    """Return the program of A, s B/A, (A + s B)/A and B, and the precision that it needs."""
    return _chosen(mlp, mlp.metric_program.select(["A", "shear", "eta", "B"]))


@lru_cache(maxsize=256)
def ricci_of(mlp: MLP) -> tuple[Program, Precision]:
    """Return the program of R, and the precision that it needs.

    Of one layer R is written out, which has d in sums with s; they cancel at d = 2, where K_tan does not count.
    """
    program, n = mlp.metric_program, mlp.dimension
    K_rad, K_tan = (program.outputs[name] for name in ("K_rad", "K_tan"))
    apart = Program(program.bindings, {"R": (n - 1) * (2 * K_rad + (n - 2) * K_tan)})
    return _chosen(mlp, program.select(["R"]), apart.select(["R"]))


def _chosen(mlp: MLP, *programs: Program) -> tuple[Program, Precision]:
    """Return the first of equal programs that doubles are enough for, or the first with the precision it needs.

    An error is relative to the value or, near its zeros, to its size there: by how much it changes as |x| or a
    parameter changes by a factor e, to first order.
    """
    found = []
    for program in programs:
        if program.adds_up:
            return program, Precision(DOUBLE, 0.0, float("inf"), 0.0)
        function = compiled_for_mpmath(program, mlp)
        points = list(_points(function, mlp))
        found.append((program, _measured(DOUBLE, function, points)))
        if found[-1][1].error <= MEASURED:
            return found[-1]
    if not _in_double_double(program):
        return min(found, key=lambda pair: pair[1].error)
    precise = _measured(DOUBLE_DOUBLE, function, points)
    return min([*found, (programs[-1], precise)], key=lambda pair: pair[1].error)


def _in_double_double(program: Program) -> bool:
    """Return whether double-double numbers have all functions of a program."""
    try:
        function_source("function", program, [s], [x for x in program.inputs if x != s], DOUBLE_DOUBLE_NUMBERS, "")
    except NoClosedForm:
        return False
    return True


def compiled_for_mpmath(program: Program, mlp: MLP) -> Callable:
    """Return a program as a function of s, d and the parameters, in numbers of mpmath."""

    def where_nonnegative(x: Any, yes: Any, no: Any) -> Any:
        return yes if x >= 0 else no

    def exp(x: Any) -> Any:
        if x > LARGEST_EXPONENT:  # of a tower of exponentials mpmath would keep all digits
            raise OverflowError
        return mpmath.exp(x) if x > -LARGEST_EXPONENT else mpmath.mpf(0)

    primitives = {
        "exp": exp,
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


def _points(function: Callable, mlp: MLP) -> Iterator[Point]:
    names = Names()
    state = propagate(mlp.layers, Variances(names))
    reached = {str(i): part for i, part in enumerate(state.reached)}
    variances = compiled_for_mpmath(Program(tuple(names.bindings), reached), mlp)
    for weight_std, bias_std, own, dimension in CASES:
        scales = {"sigma_w": weight_std, "sigma_b": bias_std}
        texts = ["2" if part.is_integer else scales.get(part.name, own) for part in mlp.parameters]
        for length in LENGTHS:
            with mpmath.workprec(DOUBLE):  # all arguments are doubles
                d_value = mpmath.mpf(int(mlp.dimension) if mlp.dimension.is_number else dimension)
                arguments = (mpmath.mpf(length) ** 2, d_value, *map(mpmath.mpf, texts))
                sizes = _values(variances, arguments)
            if sizes is None or not all(1 / BEYOND < size < BEYOND for size in sizes):
                continue
            with mpmath.workdps(DIGITS):
                exact = _values(function, arguments)
            if exact is not None:
                yield Point(arguments, exact, float(min(sizes)), float(max(sizes)))


def _values(function: Callable, arguments: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return real numbers, or None where expectations are infinite."""
    try:
        values = tuple(map(mpmath.mpmathify, function(*arguments)))
    except (ZeroDivisionError, OverflowError):
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
    # Between a point that misses and the next one nothing is known.
    lowest = min((point.lowest for point in points if point.lowest > low), default=RANGE[0]) if low else low
    highest = max((point.highest for point in points if point.highest < high), default=RANGE[1])
    highest = high if high == float("inf") else highest
    return Precision(bits, lowest, highest, max(promised, default=0.0))


def _error(values: Sequence[Any], function: Callable, point: Point) -> float:
    """Return the largest error of the values that doubles hold, relative to their sizes."""
    held = [i for i, exact in enumerate(point.exact) if not exact or SMALLEST < abs(exact) < 1 / SMALLEST]
    with mpmath.workdps(DIGITS):
        errors = [abs(values[i] - point.exact[i]) for i in held]
        sizes = [abs(point.exact[i]) for i in held]
        if any(error > MEASURED * size for error, size in zip(errors, sizes, strict=True)):
            for place, argument in enumerate(point.arguments):
                if place == 1 or not argument:  # the dimension is a whole number
                    continue
                moved = list(point.arguments)
                moved[place] *= 1 + STEP
                changed = function(*moved)
                sizes = [size + abs(changed[i] - point.exact[i]) / STEP for i, size in zip(held, sizes, strict=True)]
        tiny = mpmath.mpf(SMALLEST)
        return max((float(error / max(size, tiny)) for error, size in zip(errors, sizes, strict=True)), default=0.0)
