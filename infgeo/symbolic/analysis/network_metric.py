"""The metric that a small network of one hidden layer has, with its weights as they are.

With features phi(z_a)/sqrt(n), z_a = w_a.x + b_a, and p_a = phi'(z_a)^2/n, q_a = phi'(z_a) phi''(z_a)/n

    g = sum_a p_a w_a w_a^T,    dg/2 = sum_a q_a w_a w_a w_a.

With |a b ...| the determinant of d rows of weights and p_S a product over units, by Cauchy and Binet

    det g = sum_{|S| = d} p_S |S|^2,    det g (w_a.g^-1 w_b) = sum_{|S| = d-1} p_S |a S| |b S|,
    det g ((w_a.g^-1 w_a)(w_b.g^-1 w_b) - (w_a.g^-1 w_b)^2) = sum_{|S| = d-2} p_S |a b S|^2,

and R = |dg/2|^2 - |tr dg/2|^2 of a Hessian metric (Shima 2007) becomes

    R = -(1/det g)^2 sum_ab q_a q_b (sum_{|S| = d-1} p_S |a S| |b S|) (sum_{|S| = d-2} p_S |a b S|^2).
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from sympy import Add, Expr, ImmutableDenseMatrix, Integer, Mul, Symbol, latex, sqrt

from infgeo.arguments import items
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.expressions import exact
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.geometry.any_metric import Metric
from infgeo.symbolic.networks.layers import as_activation
from infgeo.symbols import coordinates


@dataclass(frozen=True)
class NetworkMetric:
    """The metric of a network of one hidden layer with given weights, see `network_metric`."""

    activation: Activation
    weights: ImmutableDenseMatrix
    biases: tuple[Expr, ...]

    @property
    def coordinates(self) -> tuple[Symbol, ...]:
        """The coordinates x_1 ... x_d of the input."""
        return coordinates(self.weights.cols)

    @cached_property
    def matrix(self) -> ImmutableDenseMatrix:
        """The matrix of the metric."""
        rows = (self.weights.row(a) for a in range(self.weights.rows))
        return sum(
            (p * w.T * w for p, w in zip(self._p, rows, strict=True)), ImmutableDenseMatrix.zeros(self.weights.cols)
        )

    @cached_property
    def determinant(self) -> Expr:
        """The determinant det g, a sum over minors of the weights."""
        return self._sum(self.weights.cols, lambda units: self._minor(*units) ** 2)

    @property
    def volume_element(self) -> Expr:
        """The volume element sqrt(det g)."""
        return sqrt(self.determinant)

    @cached_property
    def ricci_scalar(self) -> Expr:
        """The Ricci scalar, positive on spheres, as a sum over units and minors; NoClosedForm where phi' jumps."""
        if not self.activation.smoothness >= 1:
            raise NoClosedForm(
                f"the slope of activation {self.activation.name} jumps, so that part of the curvature is in creases;"
                " take a smooth activation, or volume_element"
            )
        if self.weights.cols == 1:
            return Integer(0)
        q, total = self._slopes(1, 2), Integer(0)
        for a, b in combinations(range(self.weights.rows), 2):
            inner = self._sum(
                self.weights.cols - 1, lambda units, a=a, b=b: self._minor(a, *units) * self._minor(b, *units)
            )
            area = self._sum(self.weights.cols - 2, lambda units, a=a, b=b: self._minor(a, b, *units) ** 2)
            total += q[a] * q[b] * inner * area
        return -2 * total / self.determinant**2

    @property
    def metric(self) -> Metric:
        """The same as an `infgeo.Metric`, with all tensors, slower; they are left as they arise."""
        return Metric(self.matrix, self.coordinates, simplify=False)

    @cached_property
    def _p(self) -> tuple[Expr, ...]:
        return self._slopes(1, 1)

    def _slopes(self, one: int, other: int) -> tuple[Expr, ...]:
        """Return the product of two derivatives of phi at each unit, over n."""
        phi, z = self.activation.expr, self.activation.symbol
        product = phi.diff(z, one) * phi.diff(z, other) / self.weights.rows
        preactivations = self.weights * ImmutableDenseMatrix(self.coordinates) + ImmutableDenseMatrix(self.biases)
        return tuple(product.subs(z, value) for value in preactivations)

    def _minor(self, *units: int) -> Expr:
        return self.weights.extract(list(units), list(range(self.weights.cols))).det(method="berkowitz")

    def _sum(self, size: int, of_units: Any) -> Expr:
        """Return the sum over sets of units of the product of their p, times a function of the set."""
        sets = combinations(range(self.weights.rows), size)
        return Add(*(value * Mul(*(self._p[a] for a in units)) for units in sets if (value := of_units(units)) != 0))

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle g = {latex(self.matrix)}$"


def network_metric(activation: object, weights: Any, biases: Any = None) -> NetworkMetric:
    """Return the metric of a network of one hidden layer with these weights, as expressions of the input.

    Args:
        activation: phi, as `infgeo.MLP` takes it.
        weights: one row a unit, (n, d), numbers or symbols; a float is the decimal that it prints.
        biases: (n,); None for 0.

    The features are phi(w.x + b)/sqrt(n). The number of terms grows as n^d: it is for few units.

    Raises InvalidInput for shapes that do not fit and weights whose rank is below d.

    Example:
        Figure D.1, three units at the cube roots of unity with bias 1, at the origin:

        >>> from sympy import Rational, sqrt
        >>> half, height = Rational(1, 2), sqrt(3) / 2
        >>> g = network_metric("erf", [[1, 0], [-half, height], [-half, -height]], [1, 1, 1])
        >>> g.ricci_scalar.subs({x: 0 for x in g.coordinates})
        E*pi

    Source: arXiv 2301.11375, appendix on networks of finite width.
    """
    table = weights.tolist() if hasattr(weights, "tolist") else weights
    rows = [items(row, f"weights[{a}]") for a, row in enumerate(items(table, "weights", "one row a unit, (n, d)"))]
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        raise InvalidInput(f"weights has rows of length {[len(row) for row in rows]}; pass one row a unit, (n, d)")
    matrix = ImmutableDenseMatrix([[exact(value, "a weight") for value in row] for row in rows])
    given = [exact(value, "a bias") for value in items([0] * len(rows) if biases is None else biases, "biases")]
    if len(given) != len(rows):
        raise InvalidInput(f"biases has {len(given)} values for {len(rows)} units: pass one a unit")
    if matrix.rank() < matrix.cols:
        raise InvalidInput(f"weights has rank {matrix.rank()} in {matrix.cols} coordinates: the metric has no inverse")
    return NetworkMetric(as_activation(activation), matrix, tuple(given))
