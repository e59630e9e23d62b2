"""Rotation-invariant kernels as expressions of |x|^2, |y|^2 and x.y, their algebra, and the metric they induce.

Sums, products, nonnegative multiples and compositions of kernels are kernels, and their metrics follow from those of
the parts alone (see `kernels.radial`). Nothing is differentiated across a kink, so that the parts may be kernels of
ReLU networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from sympy import Expr, I, Integer, Rational, Symbol, latex, nan, oo, sqrt, symbols, zoo
from sympy.core.function import AppliedUndef

from infgeo.arguments import positive_integer
from infgeo.conventions import d, r, s, s_x, s_y, xy
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.symbolic.algebra.graph import substituted, symbols_of
from infgeo.symbolic.algebra.legend import written
from infgeo.symbolic.algebra.naming import PUBLIC, SCALES, assigned, by_name, check_distinct
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.geometry.anisotropic import checked_scales, weighted
from infgeo.symbolic.geometry.metric import RadialMetric, WithNumbers, assumptions_of
from infgeo.symbolic.kernels.metric_along_lines import metric_along_lines
from infgeo.symbolic.kernels.radial import Radial
from infgeo.symbols import coordinates

_COINCIDENCE = {s_x: s, s_y: s, xy: s}
_ARGUMENTS = dict.fromkeys((s_x, s_y, xy), "substitute into kernel.expr, for the symbols of infgeo.symbols")


@dataclass(frozen=True)
class Kernel(WithNumbers):
    """A kernel k(x, y) = expr, an expression of |x|^2, |y|^2 and x.y; kernels add, multiply, scale and compose.

    Args:
        expr: a SymPy expression of symbols called s_x, s_y and xy; d, sigma_w and sigma_b are those of
            `infgeo.symbols`, and its other symbols are parameters.

    Raises InvalidInput for an expression that is not symmetric in x and y, is complex or contains undefined functions.
    That it is positive semidefinite is not checked.

    Source: Burges 1999, Geometry and invariance in kernel based methods, for the metric.

    Example:
        >>> from sympy import exp, symbols
        >>> s_x, s_y, xy = symbols("s_x s_y xy")
        >>> k = Kernel((1 + xy) ** 2)
        >>> k.metric.A, k.metric.B
        (2*(s + 1), 2)
        >>> (k + 3 * Kernel(exp(-(s_x + s_y - 2 * xy) / 2))).metric.A
        2*s + 5
    """

    expr: Expr
    _symbol: ClassVar[str] = "k"
    __array_ufunc__ = None  # NumPy leaves sums and products with its numbers to the kernel

    def __post_init__(self) -> None:
        if type(self) is Kernel:
            object.__setattr__(self, "expr", _checked(self.expr))

    def at(self, values: Mapping[Any, Any] | None = None, /, **named: object) -> Kernel:
        """Return the kernel at values of its scales and parameters, by name; see `RadialMetric.at`.

        >>> from infgeo.kernels import rbf
        >>> rbf().at(length_scale=2).expr
        exp(-s_x/8 - s_y/8 + xy/4)
        """
        found = assigned(values, named, self._parameters(), "this kernel", _ARGUMENTS)
        return self._substituted(found) if found else self

    def _parameters(self) -> set[Symbol]:
        return symbols_of(self.expr) - set(_ARGUMENTS)

    def _substituted(self, found: dict[Symbol, Expr]) -> Kernel:
        return Kernel(substituted(self.expr, found))

    def per_coordinate(self, scales: Any) -> Expr:
        """Return k(D x, D y), D = diag(scales), in x_1 ... x_d and y_1 ... y_d; see `RadialMetric.per_coordinate`.

        >>> from infgeo.kernels import linear
        >>> linear(0).per_coordinate([1, 3])
        x_1*y_1 + 9*x_2*y_2
        """
        found = checked_scales(scales)
        x, y = coordinates(len(found)), symbols(f"y_1:{len(found) + 1}", real=True)
        into = {s_x: weighted(found, x, x), s_y: weighted(found, y, y), xy: weighted(found, x, y)}
        return self.expr.subs(into, simultaneous=True)

    @property
    def symbols(self) -> tuple[Symbol, Symbol, Symbol]:
        """The symbols that stand for |x|^2, |y|^2 and x.y."""
        return s_x, s_y, xy

    @property
    def assumptions(self) -> str:
        """What the symbols of the expression stand for, in words."""
        return assumptions_of(self.expr.free_symbols)

    @cached_property
    def diagonal(self) -> Expr:
        """The value k(x, x), an expression of s = |x|^2."""
        return tidy(self.expr.subs(_COINCIDENCE))

    @property
    def radial(self) -> Radial:
        """What sums, products and compositions take of a kernel."""
        f = self.diagonal
        return Radial(f, f.diff(s), self.metric.A, self.metric.B)

    @cached_property
    def metric(self) -> RadialMetric:
        """The induced metric g = d^2 k / dx dy at y = x (Burges 1999)."""
        return metric_by_definition(self.expr)

    def __add__(self, other: object) -> Kernel:
        """Return the sum with a kernel, or with a constant >= 0."""
        if not isinstance(other, Kernel):
            return _Combined(self.expr + _nonnegative(other), "scaled", (self, Integer(1)))
        return _Combined(self.expr + other.expr, "add", (self, other))

    __radd__ = __add__

    def __mul__(self, other: object) -> Kernel:
        """Return the product with a kernel, or with a constant >= 0."""
        if not isinstance(other, Kernel):
            constant = _nonnegative(other)
            return _Combined(constant * self.expr, "scaled", (self, constant))
        return _Combined(self.expr * other.expr, "times", (self, other))

    __rmul__ = __mul__

    def __pow__(self, exponent: object) -> Kernel:
        """Return the product of `exponent` copies, an integer >= 1."""
        exponent = positive_integer(exponent, "the exponent of a kernel", maximum=100)
        result: Kernel = self
        for _ in range(exponent - 1):
            result = result * self
        return result

    def compose(self, inner: Kernel) -> Kernel:
        """Return this kernel on the feature space of `inner`: |x|^2, |y|^2, x.y become inner(x, x), (y, y), (x, y)."""
        if not isinstance(inner, Kernel):
            raise InvalidInput(f"compose takes a kernel, not {inner!r}")
        f = inner.diagonal
        into = {s_x: f.subs(s, s_x), s_y: f.subs(s, s_y), xy: inner.expr}
        return _Combined(self.expr.subs(into, simultaneous=True), "after", (self, inner))

    def __str__(self) -> str:
        return f"k(x, y) = {self.expr}\n  ({self.assumptions})"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self._symbol}(x, y) = {latex(self.expr, symbol_names=written(()))}$"


@dataclass(frozen=True)
class _Combined(Kernel):
    """A kernel made of others by a method of `Radial`, the first of `parts` its object and the others its arguments."""

    method: str = field(compare=False, repr=False)
    parts: tuple[Kernel | Expr | dict[Symbol, Expr], ...] = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse parts whose parameters are called alike, but differ."""
        check_distinct(symbols_of(self.expr), "a kernel made of others")

    def _substituted(self, found: dict[Symbol, Expr]) -> Kernel:
        return _Combined(substituted(self.expr, found), "substituted", (self, found))

    @cached_property
    def metric(self) -> RadialMetric:
        """The induced metric, from those of the parts."""
        first, *others = (part.radial if isinstance(part, Kernel) else part for part in self.parts)
        found: Radial = getattr(first, self.method)(*others)
        return RadialMetric.from_functions(tidy(found.A), tidy(found.B))


def divided(kernel: Kernel, norm: Expr) -> Kernel:
    """Return k(x, y) / sqrt(F(x) F(y)) for F = `norm` > 0, a function of s (conformal: Amari & Wu 1999)."""
    expr = kernel.expr / sqrt(norm.subs(s, s_x) * norm.subs(s, s_y))
    return _Combined(expr, "divided", (kernel, norm, norm.diff(s)))


def _checked(expr: object) -> Expr:
    """Return the expression of a kernel in the symbols of `conventions`, or raise InvalidInput."""
    result = by_name(exact(expr, "kernel"), (s_x, s_y, xy, d, *SCALES), "kernel")
    if undefined := result.atoms(AppliedUndef):
        raise InvalidInput(f"kernel {result} contains the undefined function {min(map(str, undefined))}")
    if result.has(I, nan, oo, zoo):
        raise InvalidInput(f"kernel {result} must be a real expression of s_x = |x|^2, s_y = |y|^2 and xy = x.y")
    require_symmetric(result, {s_x: s_y, s_y: s_x}, "s_x and s_y are exchanged")
    return result


def require_symmetric(expr: Expr, exchange: Mapping[Symbol, Symbol], said: str) -> None:
    """Raise InvalidInput where a kernel changes when these symbols are exchanged: by its value at a rational point."""
    swapped = expr.xreplace(exchange)
    if swapped != expr:
        point = {symbol: Rational(3 + i, 7) for i, symbol in enumerate(sorted(expr.free_symbols, key=str))}
        value = (swapped - expr).subs(point).evalf(30)
        if not value.is_number or abs(value) > Rational(1, 10**20):
            raise InvalidInput(f"kernel {expr} is not symmetric: it must stay the same when {said}")


def _nonnegative(value: object) -> Expr:
    result = by_name(exact(value, "factor of a kernel"), PUBLIC, "factor of a kernel")
    arguments = {s, r, *_ARGUMENTS}
    if result.free_symbols & arguments or result.is_negative or not (result.is_real or result.free_symbols):
        raise InvalidInput(
            f"{value} must be a constant >= 0: only then is the result a kernel (write Kernel(...) of it)"
        )
    return result


def metric_by_definition(expr: Expr) -> RadialMetric:
    r"""Return the metric \partial_x \partial_y k at y = x of a kernel that is smooth at coincidence.

    With k a function of |x|^2, |y|^2 and t = x.y:  A = k_t  and  B = k_tt + 2 k_xt + 2 k_yt + 4 k_xy.
    Where the derivatives are 0/0 or their divergences cancel (arc-cosine and Matern kernels), the distance of features
    is expanded along lines.

    Raises MetricDoesNotExist where it diverges, NoClosedForm where that expansion is not found.
    """
    slope = expr.diff(xy)
    second = slope.diff(xy) + 2 * slope.diff(s_x) + 2 * slope.diff(s_y) + 4 * expr.diff(s_x, s_y)
    A, B = (part.subs(_COINCIDENCE) for part in (slope, second))
    if not any(part.has(zoo, oo, nan) for part in (A, B)):
        return RadialMetric.from_functions(tidy(A), tidy(B))
    return RadialMetric.from_functions(*metric_along_lines(expr))
