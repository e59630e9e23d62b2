"""Curvature of any metric from its first and second derivatives, by the textbook definitions in coordinates.

Conventions (Misner, Thorne & Wheeler 1973, ch. 8; the Ricci scalar is positive on spheres, R = d (d - 1) / a^2 on the
d-sphere of radius a):

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

from collections.abc import Callable
from functools import cached_property
from itertools import combinations_with_replacement, product
from typing import Any

import sympy
from sympy import Expr, ImmutableDenseMatrix, ImmutableDenseNDimArray, Rational

_HALF = Rational(1, 2)


class CurvatureTensors:
    """Tensors of a metric from its 2-jet: the matrix g, its first and its second derivatives."""

    matrix: ImmutableDenseMatrix
    first_derivatives: Any  # the matrices d_a g, a sequence over a
    second_derivatives: Any  # d_a d_b g, a sequence of sequences over a and b

    @property
    def dimension(self) -> int:
        """The dimension d of the space."""
        return int(self.matrix.rows)

    def _clean(self, expression: Any) -> Any:
        return expression

    @cached_property
    def determinant(self) -> Expr:
        """The determinant det g."""
        return self._clean(self.matrix.det(method="berkowitz"))

    @cached_property
    def inverse(self) -> ImmutableDenseMatrix:
        """The inverse matrix g^{ij}, as adjugate over determinant (`Matrix.inv` does not end on metrics with roots)."""
        n, adjugate = self.dimension, self.matrix.adjugate(method="berkowitz")
        return ImmutableDenseMatrix(n, n, symmetric(n, lambda i, j: self._clean(adjugate[i, j] / self.determinant)))

    @cached_property
    def volume_element(self) -> Expr:
        """The volume element sqrt(det g)."""
        return sympy.expand_power_base(sympy.sqrt(self.determinant))

    @cached_property
    def _first_kind(self) -> list[Callable[[int, int], Any]]:
        """The symbols Gamma_{k,ij} as functions of i and j."""
        n, dg = self.dimension, self.first_derivatives

        def block(k: int) -> Callable[[int, int], Any]:
            return symmetric(n, lambda i, j: self._clean(_HALF * (dg[i][k, j] + dg[j][k, i] - dg[k][i, j])))

        return [block(k) for k in range(n)]

    @cached_property
    def christoffel(self) -> ImmutableDenseNDimArray:
        """Christoffel symbols of the second kind: `christoffel[k, i, j]` is Gamma^k_ij."""
        n, inverse, first = self.dimension, self.inverse, self._first_kind

        def block(k: int) -> Callable[[int, int], Any]:
            return symmetric(n, lambda i, j: self._clean(sum(inverse[k, m] * first[m](i, j) for m in range(n))))

        blocks = [block(k) for k in range(n)]
        return _array(lambda k, i, j: blocks[k](i, j), n, 3)

    @cached_property
    def riemann_lowered(self) -> ImmutableDenseNDimArray:
        """Riemann tensor with all indices down: `riemann_lowered[l, i, j, k]` is R_{lijk} = g_{lm} R^m_{ijk}."""
        n, inverse, first, second = self.dimension, self.inverse, self._first_kind, self.second_derivatives
        pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
        entries: dict[tuple[int, ...], Any] = dict.fromkeys(product(range(n), repeat=4), sympy.S.Zero)
        for number, (m, i) in enumerate(pairs):
            for j, k in pairs[number:]:
                value = _HALF * (second[i][j][m, k] + second[m][k][i, j] - second[m][j][i, k] - second[i][k][m, j])
                for a, b in product(range(n), repeat=2):
                    value += inverse[a, b] * (first[a](i, j) * first[b](m, k) - first[a](i, k) * first[b](m, j))
                value = self._clean(value)
                for left, right in (((m, i), (j, k)), ((j, k), (m, i))):
                    entries[left + right] = entries[left[::-1] + right[::-1]] = value
                    entries[left[::-1] + right] = entries[left + right[::-1]] = -value
        return _array(lambda *index: entries[index], n, 4)

    @cached_property
    def riemann(self) -> ImmutableDenseNDimArray:
        """Riemann tensor: `riemann[l, i, j, k]` is R^l_{ijk}, antisymmetric in its last two indices."""
        n, inverse, lowered = self.dimension, self.inverse, self.riemann_lowered
        return _array(lambda m, *rest: self._clean(sum(inverse[m, a] * lowered[a, *rest] for a in range(n))), n, 4)

    @cached_property
    def ricci_tensor(self) -> ImmutableDenseMatrix:
        """Ricci tensor R_ij = R^l_{ilj}."""
        n, inverse, lowered = self.dimension, self.inverse, self.riemann_lowered

        def entry(i: int, j: int) -> Any:
            return self._clean(
                sum(inverse[a, b] * lowered[a, i, b, j] for a, b in product(range(n), repeat=2) if a != i and b != j)
            )

        return ImmutableDenseMatrix(n, n, symmetric(n, entry))

    @cached_property
    def ricci_scalar(self) -> Expr:
        """Ricci scalar R = g^{ij} R_ij, positive on spheres."""
        n, inverse, ricci = self.dimension, self.inverse, self.ricci_tensor
        return self._clean(sum(inverse[i, j] * ricci[i, j] for i, j in product(range(n), repeat=2)))


def symmetric(n: int, entry: Callable[[int, int], Any]) -> Callable[[int, int], Any]:
    """Wrap `entry` so that it is called once for each pair i <= j."""
    upper = {(i, j): entry(i, j) for i, j in combinations_with_replacement(range(n), 2)}
    return lambda i, j: upper[min(i, j), max(i, j)]


def _array(entry: Callable[..., Any], n: int, rank: int) -> ImmutableDenseNDimArray:
    return ImmutableDenseNDimArray([entry(*index) for index in product(range(n), repeat=rank)], (n,) * rank)
