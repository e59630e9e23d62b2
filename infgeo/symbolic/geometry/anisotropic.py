"""Metrics and kernels of inputs with a scale for each coordinate: a radial one at Lambda x, Lambda = diag(scales)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sympy import Expr, ImmutableMatrix, Integer, Mul, Symbol, diag, latex

from infgeo.arguments import items, shown
from infgeo.conventions import s
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.symbolic.algebra.naming import SCALES, by_name
from infgeo.symbols import coordinates


@dataclass(frozen=True)
class AnisotropicMetric:
    """The metric Lambda g(Lambda x) Lambda of a radial g; made by `RadialMetric.per_coordinate`.

    Its matrix is A Lambda^2 + B (Lambda^2 x)(Lambda^2 x)^T, with A and B of g at s = |Lambda x|^2; R is that of g
    there. All are expressions of `coordinates`; other tensors are those of `infgeo.Metric(g.matrix, g.coordinates)`.
    """

    radial: Any  # a RadialMetric, which is made of this file
    scales: tuple[Expr, ...]

    @property
    def coordinates(self) -> tuple[Symbol, ...]:
        """The coordinates x_1 ... x_d."""
        return coordinates(len(self.scales))

    @property
    def matrix(self) -> ImmutableMatrix:
        """The matrix of the metric."""
        stretch, x = diag(*self.scales), self.coordinates
        into = {a: scale * a for a, scale in zip(x, self.scales, strict=True)}
        return (stretch * self.radial.matrix(len(x)).subs(into, simultaneous=True) * stretch).as_immutable()

    @property
    def volume_element(self) -> Expr:
        """The volume element sqrt(det g), that of the radial metric times the scales."""
        return Mul(*self.scales) * self._at_norm(self.radial.volume_element)

    @property
    def ricci_scalar(self) -> Expr:
        """The Ricci scalar, positive on spheres."""
        return self._at_norm(self.radial.ricci_scalar)

    def _at_norm(self, expr: Expr) -> Expr:
        return expr.subs(s, weighted(self.scales, self.coordinates, self.coordinates))

    def __str__(self) -> str:
        norm = weighted(self.scales, self.coordinates, self.coordinates)
        return f"A D + B D x (D x)^T, D = diag{tuple(a**2 for a in self.scales)}, s = {norm}\n{self.radial}"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle g = {latex(self.matrix)}$"


def weighted(scales: Iterable[Expr], x: Iterable[Symbol], y: Iterable[Symbol]) -> Expr:
    """Return x.Lambda^2 y."""
    return sum((scale**2 * a * b for scale, a, b in zip(scales, x, y, strict=True)), Integer(0))


def checked_scales(scales: Any) -> tuple[Expr, ...]:
    """Return the scales of coordinates as exact expressions, or raise InvalidInput."""
    found = items(scales, "scales", "a list of numbers or symbols, one for each coordinate")
    result = tuple(by_name(exact(value, f"scales[{i}]"), SCALES, f"scales[{i}]") for i, value in enumerate(found))
    for i, scale in enumerate(result):
        if scale.is_positive is False or (scale.is_number and not (scale.is_positive and scale.is_finite)):
            raise InvalidInput(f"scales[{i}] is {shown(found[i])}; pass finite numbers > 0, or symbols")
    if not result:
        raise InvalidInput("scales is empty; pass one for each coordinate")
    return result
