"""Curvature of any metric that SymPy can write down, from its matrix.

This is the slow twin of the closed forms of `infgeo.symbolic.geometry.metric`, and shares nothing with them: it knows
neither rotation invariance nor kernels. Definitions and signs stand in `geometry.curvature_tensors`.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import sympy
from sympy import Expr, ImmutableDenseMatrix, Rational, Symbol

from infgeo.arguments import flag, instance, items, positive_integer, scalar, shown
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.symbolic.algebra.naming import called, check_distinct
from infgeo.symbolic.algebra.normal_form import normal_form
from infgeo.symbolic.geometry.curvature_tensors import CurvatureTensors


@dataclass(frozen=True)
class Metric(CurvatureTensors):
    """A metric g_ij(x) given by a symbolic matrix; its curvature by the textbook definitions.

        ds^2 = g_ij dx^i dx^j

    Args:
        matrix: a symmetric d x d matrix of SymPy expressions (a `Matrix` or nested lists), exact: no floats.
        coordinates: the d distinct symbols that the entries are functions of, the same that the matrix has: to SymPy a
            real x_1 is not the x_1 of `symbols("x_1")`. Other symbols are parameters.
        simplify: bring every component to a normal form (default). With False they are left as they arise, which
            is quick to build and slow to read; see also `at`.

    The tensors (`inverse`, `christoffel`, `riemann`, `riemann_lowered`, `ricci_tensor`, `ricci_scalar`,
    `volume_element`) are computed on first use and kept. Their indices and signs are stated in `curvature_tensors`:
    `christoffel[k, i, j]` is Gamma^k_ij and `riemann[l, i, j, k]` is R^l_{ijk}.

    Domain and limits: the normal form is complete for rational functions of the coordinates, of roots of such
    functions, and of sin, cos, sinh, cosh; within it a component that is zero is returned as 0. Other functions are
    treated as independent of each other. The cost grows as d^4; beyond d = 4 prefer `at`.

    Raises:
        InvalidInput: if the matrix is not square, not symmetric, identically singular or not of the size of the
            coordinates, if it holds a float, if the coordinates are not distinct symbols, if two symbols share a name,
            or if the matrix has symbols and none of them is a coordinate.

    >>> from sympy import Matrix, diag, sin, symbols
    >>> theta, phi = symbols("theta phi", real=True)
    >>> sphere = Metric(diag(1, sin(theta) ** 2), (theta, phi))
    >>> sphere.ricci_scalar
    2
    >>> sphere.christoffel[0, 1, 1]
    -sin(theta)*cos(theta)
    >>> x, y = symbols("x y", real=True)
    >>> print(Metric(Matrix([[1, 0], [0, 1 + x**2]]), (x, y)))
    Metric in (x, y):
    [[1, 0],
     [0, x**2 + 1]]
    """

    matrix: ImmutableDenseMatrix
    coordinates: tuple[Symbol, ...]
    simplify: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "simplify", flag(self.simplify, "simplify"))
        object.__setattr__(self, "coordinates", checked_coordinates(self.coordinates))
        object.__setattr__(self, "matrix", _checked_matrix(self.matrix, self.coordinates))
        _check_symbols(self.matrix.free_symbols, self.coordinates)
        if not _is_regular(self.matrix):
            raise InvalidInput(
                f"the metric {self.matrix.tolist()} has determinant 0 everywhere, but a metric must have an inverse: "
                "remove dependent coordinates, or add the directions that the matrix lacks"
            )

    def _clean(self, expression: Any) -> Any:
        return normal_form(expression) if self.simplify else expression

    @cached_property
    def first_derivatives(self) -> tuple[ImmutableDenseMatrix, ...]:
        """The matrices d_a g."""
        return tuple(self.matrix.diff(a) for a in self.coordinates)

    @cached_property
    def second_derivatives(self) -> tuple[tuple[ImmutableDenseMatrix, ...], ...]:
        """The matrices d_a d_b g."""
        return tuple(tuple(first.diff(a) for a in self.coordinates) for first in self.first_derivatives)

    def at(self, values: Mapping[Any, Any], digits: int = 50) -> MetricAtPoint:
        """Return the same tensors as numbers at one point: quick at any d, for any functions.

        Args:
            values: symbols, or names, -> an exact number for every coordinate and every other symbol of the metric.
            digits: significant digits carried (the last few may be lost to cancellation).

        Raises:
            InvalidInput: if a symbol has no value, if a value is a float or not a finite real number, or if the metric
                is singular or not finite there.

        >>> from sympy import Rational, diag, sin, symbols
        >>> theta, phi = symbols("theta phi", real=True)
        >>> sphere = Metric(diag(1, sin(theta) ** 2), (theta, phi))
        >>> sphere.at({theta: Rational(1, 3), phi: 0}).ricci_scalar.n(20)
        2.0000000000000000000
        """
        digits = positive_integer(digits, "digits", maximum=10_000)
        instance(values, "values", Mapping, "a mapping of the symbols to exact numbers")
        free = sorted(self.matrix.free_symbols | set(self.coordinates), key=str)
        point = {called(key, free, "this metric"): _checked_value(key, value) for key, value in values.items()}
        missing = set(free) - set(point)
        if missing:
            names = ", ".join(sorted(str(symbol) for symbol in missing))
            raise InvalidInput(f"no value for {names}: a metric is evaluated at numbers for all of its symbols")

        def number(matrix: ImmutableDenseMatrix) -> ImmutableDenseMatrix:
            return matrix.applyfunc(lambda entry: entry.subs(point).doit().evalf(digits))

        matrix = number(self.matrix)
        if not all(entry.is_Number and entry.is_finite for entry in matrix) or matrix.det(method="berkowitz") == 0:
            raise InvalidInput(
                f"the metric is {matrix.tolist()} at {point}: singular or not finite, choose another point"
            )
        return MetricAtPoint(
            matrix,
            tuple(map(number, self.first_derivatives)),
            tuple(tuple(map(number, row)) for row in self.second_derivatives),
        )

    def __str__(self) -> str:
        rows = ",\n ".join(f"[{', '.join(str(entry) for entry in row)}]" for row in self.matrix.tolist())
        return f"Metric in ({', '.join(str(symbol) for symbol in self.coordinates)}):\n[{rows}]"

    def _repr_latex_(self) -> str:
        names = r",\, ".join(sympy.latex(symbol) for symbol in self.coordinates)
        return rf"$\displaystyle g\left({names}\right) = {sympy.latex(self.matrix)}$"


@dataclass(frozen=True)
class MetricAtPoint(CurvatureTensors):
    """The tensors of a metric at one point, as numbers; made by `Metric.at`."""

    matrix: ImmutableDenseMatrix
    first_derivatives: tuple[ImmutableDenseMatrix, ...]
    second_derivatives: tuple[tuple[ImmutableDenseMatrix, ...], ...]


def checked_coordinates(coordinates: object) -> tuple[Symbol, ...]:
    """Return the coordinates as a tuple of distinct symbols, or raise InvalidInput."""
    if isinstance(coordinates, Symbol):
        coordinates = (coordinates,)
    if isinstance(coordinates, Set):
        raise InvalidInput(f"coordinates = {shown(coordinates)} have no order: pass a tuple of symbols")
    result = items(coordinates, "coordinates", "a sequence of SymPy symbols: symbols('x y', real=True)")
    if other := [part for part in result if not isinstance(part, Symbol)]:
        raise InvalidInput(
            f"the coordinate {shown(other[0])} is not a SymPy symbol: make it with symbols('x y', real=True)"
        )
    if len(set(result)) != len(result):
        raise InvalidInput(f"the coordinates {result} are not distinct: give every direction a symbol of its own")
    if not result:
        raise InvalidInput("coordinates = () is empty: a metric needs at least one coordinate")
    return result


def _checked_matrix(matrix: object, coordinates: tuple[Symbol, ...]) -> ImmutableDenseMatrix:
    result = _matrix(matrix)
    if result.rows != result.cols:
        raise InvalidInput(f"the matrix has shape {result.shape}, but a metric is square: d x d for d coordinates")
    if result.rows != len(coordinates):
        raise InvalidInput(
            f"the matrix has shape {result.shape}, but there are {len(coordinates)} coordinates {coordinates}: "
            "give one row and one column for each coordinate"
        )
    for i, j in product(range(result.rows), repeat=2):
        entry = result[i, j]
        if entry.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
            raise InvalidInput(f"g[{i}, {j}] = {entry} is not finite: a metric has finite entries")
        if i > j and entry != result[j, i] and normal_form(entry - result[j, i]) != 0:
            raise InvalidInput(
                f"the matrix is not symmetric: g[{j}, {i}] = {result[j, i]} but g[{i}, {j}] = {entry}; "
                "symmetrise it as (g + g.T) / 2 if that is what you mean"
            )
    return result


def _check_symbols(free: set[Symbol], coordinates: tuple[Symbol, ...]) -> None:
    """Refuse coordinates that are not those of the matrix: the metric would be taken for a constant one."""
    names = {symbol.name: symbol for symbol in coordinates}
    for symbol in sorted(free - set(coordinates), key=str):
        if symbol.name in names:
            own = ", ".join(sorted(str(part) for part in free if part.name in names))
            raise InvalidInput(
                f"the coordinate {symbol} is another symbol than the {symbol} of the matrix: their assumptions differ."
                f" Pass the matrix's own {own}: those of RadialMetric.matrix are infgeo.symbols.coordinates(d)"
            )
    check_distinct(free | set(coordinates), "this metric")
    if free and not free & set(coordinates):
        raise InvalidInput(
            f"none of the coordinates {coordinates} occurs in the matrix, which depends on"
            f" {', '.join(sorted(map(str, free)))}: give the symbols that its entries are functions of"
        )


def _is_regular(matrix: ImmutableDenseMatrix) -> bool:
    """Tell whether det g is not identically zero: by its value at rational points, or else by its normal form."""
    symbols = sorted(matrix.free_symbols, key=str)
    for k in range(2):
        point = {symbol: Rational(3 * i + 5 + k, 7 * i + 11) for i, symbol in enumerate(symbols)}
        value = matrix.subs(point).evalf(30).det(method="berkowitz")
        if value.is_Number and value.is_finite and abs(value) > Rational(1, 10**15):
            return True
    return bool(normal_form(matrix.det(method="berkowitz")) != 0)


def _matrix(matrix: Any) -> ImmutableDenseMatrix:
    """Return a SymPy matrix, nested lists or an array of expressions as a matrix."""
    arrays = isinstance(matrix, sympy.MatrixBase | sympy.NDimArray) or hasattr(matrix, "dtype")
    rows = matrix.tolist() if arrays else matrix
    if isinstance(rows, list | tuple) and rows and all(isinstance(row, list | tuple) for row in rows):
        if len({len(row) for row in rows}) == 1:
            entry = [[_scalar(x, f"g[{i}, {j}]") for j, x in enumerate(row)] for i, row in enumerate(rows)]
            return ImmutableDenseMatrix(entry)
    raise InvalidInput(f"matrix = {shown(matrix)} is not a matrix of expressions: pass a SymPy Matrix or nested lists")


def _scalar(value: object, name: str) -> Expr:
    """Return an expression, or a number that is no float."""
    result = exact(value, name)
    rough = value.has(sympy.Float) if isinstance(value, Expr) else not isinstance(scalar(value), numbers.Rational)
    if rough:
        raise InvalidInput(
            f"{name} = {shown(value)} holds a float, but a metric is exact: use Rational, as in Rational(1, 2)"
        )
    return result


def _checked_value(symbol: object, value: object) -> Expr:
    result = _scalar(value, str(symbol))
    if not result.is_number or not result.is_real or not result.is_finite:
        raise InvalidInput(f"{symbol} = {shown(value)} is not a finite real number: pass an integer or a Rational")
    return result
