"""Curvature of any metric that SymPy can write down, by the textbook definitions in coordinates.

This is the slow twin of the closed forms of `infgeo.symbolic.geometry.metric`, and shares nothing with them: it knows
neither rotation invariance nor kernels. Conventions (Misner, Thorne & Wheeler 1973, ch. 8; the Ricci scalar is
positive on spheres, R = d (d - 1) / a^2 on the d-sphere of radius a):

    Gamma_{k,ij} = (d_i g_kj + d_j g_ki - d_k g_ij) / 2          Gamma^k_ij = g^{kl} Gamma_{l,ij}
    R^l_{ijk} = d_j Gamma^l_{ki} - d_k Gamma^l_{ji} + Gamma^l_{jm} Gamma^m_{ki} - Gamma^l_{km} Gamma^m_{ji}
    R_{lijk} = (d_i d_j g_lk + d_l d_k g_ij - d_l d_j g_ik - d_i d_k g_lj) / 2
               + g^{mn} (Gamma_{m,ij} Gamma_{n,lk} - Gamma_{m,ik} Gamma_{n,lj})
    R_ij = R^l_{ilj}                                             R = g^{ij} R_ij

The lowered form needs derivatives of the metric only, none of its inverse. A known implementation of these quantities
swaps the signs of the two quadratic terms of R^l_{ijk}. Its R is right in orthogonal coordinates of two dimensions, and
wrong in others and on the 3-sphere; for the metric of a one-layer network, where the derivative terms are minus twice
the quadratic ones, it is 3 times the true R.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product
from typing import Any

import sympy
from sympy import Expr, ImmutableDenseMatrix, ImmutableDenseNDimArray, Rational, Symbol

from infgeo.arguments import flag, instance, items, positive_integer, scalar, shown
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.symbolic.algebra.naming import check_distinct
from infgeo.symbolic.algebra.normal_form import normal_form
from infgeo.symbolic.algebra.substitution import called

_HALF = Rational(1, 2)


class _Curvature:
    """Tensors of a metric from its 2-jet: the matrix g, its first and its second derivatives."""

    matrix: ImmutableDenseMatrix

    @property
    def dimension(self) -> int:
        """The dimension d of the space."""
        return int(self.matrix.rows)

    @property
    def _first(self) -> Sequence[Any]:
        """The derivatives d_a g as a sequence over a."""
        raise NotImplementedError

    @property
    def _second(self) -> Sequence[Sequence[Any]]:
        """The derivatives d_a d_b g as a sequence of sequences over a and b."""
        raise NotImplementedError

    def _clean(self, expression: Any) -> Any:
        return expression

    def _minor(self, rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
        """Return the determinant of a submatrix, by expansion along its first row; every minor is kept."""
        if not rows:
            return sympy.S.One
        if (rows, columns) not in self._minors:
            self._minors[rows, columns] = self._clean(
                sum(
                    (-1) ** position * self.matrix[rows[0], column] * self._minor(rows[1:], _without(columns, column))
                    for position, column in enumerate(columns)
                )
            )
        return self._minors[rows, columns]

    @cached_property
    def _minors(self) -> dict[tuple[tuple[int, ...], tuple[int, ...]], Any]:
        return {}

    @cached_property
    def determinant(self) -> Expr:
        """The determinant det g."""
        everything = tuple(range(self.dimension))
        return self._minor(everything, everything)

    @cached_property
    def inverse(self) -> ImmutableDenseMatrix:
        """The inverse matrix g^{ij}, as adjugate over determinant (`Matrix.inv` does not end on metrics with roots)."""
        n, determinant, everything = self.dimension, self.determinant, tuple(range(self.dimension))

        def entry(i: int, j: int) -> Any:
            minor = self._minor(_without(everything, i), _without(everything, j))
            return self._clean((-1) ** (i + j) * minor / determinant)

        return ImmutableDenseMatrix(n, n, _symmetric(n, entry))

    @cached_property
    def volume_element(self) -> Expr:
        """The volume element sqrt(det g)."""
        return sympy.expand_power_base(sympy.sqrt(self.determinant))

    @cached_property
    def _christoffel_first_kind(self) -> list[list[list[Any]]]:
        """The symbols Gamma_{k,ij}, indexed [k][i][j]."""
        n, dg = self.dimension, self._first

        def block(k: int) -> list[list[Any]]:
            entry = _symmetric(n, lambda i, j: self._clean(_HALF * (dg[i][k, j] + dg[j][k, i] - dg[k][i, j])))
            return [[entry(i, j) for j in range(n)] for i in range(n)]

        return [block(k) for k in range(n)]

    @cached_property
    def christoffel(self) -> ImmutableDenseNDimArray:
        """Christoffel symbols of the second kind: `christoffel[k, i, j]` is Gamma^k_ij."""
        n, inverse, first = self.dimension, self.inverse, self._christoffel_first_kind
        entries: dict[tuple[int, int, int], Any] = {}
        for k in range(n):
            for i, j in combinations_with_replacement(range(n), 2):
                value = self._clean(sum(inverse[k, m] * first[m][i][j] for m in range(n)))
                entries[k, i, j] = entries[k, j, i] = value
        return _array(entries, n, 3)

    @cached_property
    def riemann_lowered(self) -> ImmutableDenseNDimArray:
        """Riemann tensor with all indices down: `riemann_lowered[l, i, j, k]` is R_{lijk} = g_{lm} R^m_{ijk}."""
        n, inverse, first, second = self.dimension, self.inverse, self._christoffel_first_kind, self._second
        pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
        entries: dict[tuple[int, ...], Any] = dict.fromkeys(product(range(n), repeat=4), sympy.S.Zero)
        for number, (m, i) in enumerate(pairs):
            for j, k in pairs[number:]:
                value = _HALF * (second[i][j][m, k] + second[m][k][i, j] - second[m][j][i, k] - second[i][k][m, j])
                for a, b in product(range(n), repeat=2):
                    value += inverse[a, b] * (first[a][i][j] * first[b][m][k] - first[a][i][k] * first[b][m][j])
                value = self._clean(value)
                for left, right in (((m, i), (j, k)), ((j, k), (m, i))):
                    entries[left + right] = entries[left[::-1] + right[::-1]] = value
                    entries[left[::-1] + right] = entries[left + right[::-1]] = -value
        return _array(entries, n, 4)

    @cached_property
    def riemann(self) -> ImmutableDenseNDimArray:
        """Riemann tensor: `riemann[l, i, j, k]` is R^l_{ijk}, antisymmetric in its last two indices."""
        n, inverse, lowered = self.dimension, self.inverse, self.riemann_lowered
        entries = {
            (m, i, j, k): self._clean(sum(inverse[m, a] * lowered[a, i, j, k] for a in range(n)))
            for m, i, j, k in product(range(n), repeat=4)
        }
        return _array(entries, n, 4)

    @cached_property
    def ricci_tensor(self) -> ImmutableDenseMatrix:
        """Ricci tensor R_ij = R^l_{ilj}."""
        n, inverse, lowered = self.dimension, self.inverse, self.riemann_lowered

        def entry(i: int, j: int) -> Any:
            return self._clean(
                sum(inverse[a, b] * lowered[a, i, b, j] for a, b in product(range(n), repeat=2) if a != i and b != j)
            )

        return ImmutableDenseMatrix(n, n, _symmetric(n, entry))

    @cached_property
    def ricci_scalar(self) -> Expr:
        """Ricci scalar R = g^{ij} R_ij, positive on spheres."""
        n, inverse, ricci = self.dimension, self.inverse, self.ricci_tensor
        return self._clean(sum(inverse[i, j] * ricci[i, j] for i, j in product(range(n), repeat=2)))


@dataclass(frozen=True)
class Metric(_Curvature):
    """A metric g_ij(x) given by a symbolic matrix; its curvature by the textbook definitions.

        ds^2 = g_ij dx^i dx^j

    Args:
        matrix: a symmetric d x d matrix of SymPy expressions (a `Matrix` or nested lists), exact: no floats.
        coordinates: the d distinct symbols that the entries are functions of, the same that the matrix has: to SymPy a
            real x_1 is not the x_1 of `symbols("x_1")`. Other symbols are parameters.
        simplify: bring every component to a normal form (default). With False they are left as they arise, which
            is quick to build and slow to read; see also `at`.

    The tensors (`inverse`, `christoffel`, `riemann`, `riemann_lowered`, `ricci_tensor`, `ricci_scalar`,
    `volume_element`) are computed on first use and kept. Their indices and signs are stated at the head of this module:
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
        """Check and freeze the arguments."""
        object.__setattr__(self, "simplify", flag(self.simplify, "simplify"))
        object.__setattr__(self, "coordinates", _checked_coordinates(self.coordinates))
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
    def _first(self) -> tuple[ImmutableDenseMatrix, ...]:
        return tuple(self.matrix.diff(a) for a in self.coordinates)

    @cached_property
    def _second(self) -> tuple[tuple[ImmutableDenseMatrix, ...], ...]:
        return tuple(tuple(first.diff(a) for a in self.coordinates) for first in self._first)

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
            tuple(number(first) for first in self._first),
            tuple(tuple(number(second) for second in row) for row in self._second),
        )

    def __str__(self) -> str:
        rows = ",\n ".join(f"[{', '.join(str(entry) for entry in row)}]" for row in self.matrix.tolist())
        return f"Metric in ({', '.join(str(symbol) for symbol in self.coordinates)}):\n[{rows}]"

    def _repr_latex_(self) -> str:
        names = r",\, ".join(sympy.latex(symbol) for symbol in self.coordinates)
        return rf"$\displaystyle g\left({names}\right) = {sympy.latex(self.matrix)}$"


@dataclass(frozen=True)
class MetricAtPoint(_Curvature):
    """The tensors of a metric at one point, as numbers; made by `Metric.at`."""

    matrix: ImmutableDenseMatrix
    first_derivatives: tuple[ImmutableDenseMatrix, ...]
    second_derivatives: tuple[tuple[ImmutableDenseMatrix, ...], ...]

    @property
    def _first(self) -> tuple[ImmutableDenseMatrix, ...]:
        return self.first_derivatives

    @property
    def _second(self) -> tuple[tuple[ImmutableDenseMatrix, ...], ...]:
        return self.second_derivatives


def _symmetric(n: int, entry: Callable[[int, int], Any]) -> Callable[[int, int], Any]:
    """Wrap `entry` so that it is called once for each pair i <= j."""
    upper = {(i, j): entry(i, j) for i, j in combinations_with_replacement(range(n), 2)}
    return lambda i, j: upper[min(i, j), max(i, j)]


def _without(indices: tuple[int, ...], index: int) -> tuple[int, ...]:
    return tuple(other for other in indices if other != index)


def _array(entries: Mapping[Any, Any], n: int, rank: int) -> ImmutableDenseNDimArray:
    return ImmutableDenseNDimArray([entries[index] for index in product(range(n), repeat=rank)], (n,) * rank)


def _checked_coordinates(coordinates: Any) -> tuple[Symbol, ...]:
    if isinstance(coordinates, Symbol):
        coordinates = (coordinates,)
    if isinstance(coordinates, Set):
        raise InvalidInput(f"coordinates = {shown(coordinates)} have no order: pass a tuple of symbols")
    result = items(coordinates, "coordinates", "a sequence of SymPy symbols: symbols('x y', real=True)")
    for symbol in result:
        if not isinstance(symbol, Symbol):
            raise InvalidInput(
                f"the coordinate {shown(symbol)} is not a SymPy symbol: make it with symbols('x y', real=True)"
            )
    if len(set(result)) != len(result):
        raise InvalidInput(f"the coordinates {result} are not distinct: give every direction a symbol of its own")
    if not result:
        raise InvalidInput("coordinates = () is empty: a metric needs at least one coordinate")
    return result


def _checked_matrix(matrix: Any, coordinates: tuple[Symbol, ...]) -> ImmutableDenseMatrix:
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
    check_distinct(free, "the matrix")
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


def _scalar(value: Any, name: str) -> Expr:
    """Return an expression, or a number that is no float."""
    result = exact(value, name)
    rough = value.has(sympy.Float) if isinstance(value, Expr) else not isinstance(scalar(value), numbers.Rational)
    if rough:
        raise InvalidInput(
            f"{name} = {shown(value)} holds a float, but a metric is exact: use Rational, as in Rational(1, 2)"
        )
    return result


def _checked_value(symbol: Any, value: Any) -> Expr:
    result = _scalar(value, str(symbol))
    if not result.is_number or not result.is_real or not result.is_finite:
        raise InvalidInput(f"{symbol} = {shown(value)} is not a finite real number: pass an integer or a Rational")
    return result
