"""What torch and jax do alike: derivatives of every result, also at coincident points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from infgeo.numeric.runtime.arrays.library import ArrayLibrary
from infgeo.numeric.runtime.gram.plain import distances, gram_at_once
from infgeo.numeric.runtime.nearly_parallel import of_pairs, subtracted
from infgeo.numeric.runtime.records import Array, Law, Pairs

# What coincident pairs are replaced by in formulas that are singular there, so that no gradient is 0 * inf.
HARMLESS = {"p": 1.0, "q": 1.0, "c": 0.0, "omega": 0.0, "delta": 2.0, "Delta": 1.0}


class DifferentiableArrays(ArrayLibrary):
    """An array library with derivatives."""

    def fixed(self, x: Array) -> Any:
        """Return an array as a constant."""
        raise NotImplementedError

    def identity(self, X: Array) -> Any:
        """Return the matrix I of the points' dimension."""
        raise NotImplementedError

    def sqrt(self, x: Array) -> Any:
        """Return the square root, with derivative 0 at 0: what it multiplies vanishes or cancels there."""
        zero = x == 0
        return self.lib.where(zero, 0, self.lib.sqrt(self.lib.where(zero, 1, x)))

    def log(self, x: Array) -> Any:
        """Return the logarithm, -inf at 0."""
        return self.lib.log(x)

    def positive(self, x: Array) -> Any:
        """Return max(x, 0), with the derivative of x at 0."""
        return self.lib.where(x < 0, 0, x)

    def metric_matrix(self, X: Array, A: Array, shear: Array, eta: Array, B: Array = None) -> Any:
        """Return A I + B x x^T; where |s B| > A/2 in the form A ((1 - x^_i^2) + eta x^_i^2), where nothing cancels."""
        identity = self.identity(X)
        steep = abs(shear) > 0.5
        plain = A[..., None, None] * identity + B[..., None, None] * X[..., :, None] * X[..., None, :]
        safe = self.lib.where(steep[..., None], X, 1)
        scaled = safe / self.fixed(self.lib.amax(abs(safe), -1))[..., None]
        unit = scaled / self.lib.sqrt((scaled * scaled).sum(-1))[..., None]
        squares = unit * unit
        others = (squares[..., None, :] * (1 - identity)).sum(-1)
        diagonal = A[..., None] * (others + eta[..., None] * squares)
        outer = (A * shear)[..., None, None] * unit[..., :, None] * unit[..., None, :]
        stable = outer * (1 - identity) + diagonal[..., None] * identity
        return self.lib.where(steep[..., None, None], stable, plain)

    def quiet(self) -> Any:
        """Return a context; nothing warns here."""
        return nullcontext()

    def gram(self, X: Array, Y: Array, layers: Sequence[Any], scalars: Sequence[Any], wanted: str) -> tuple:
        """Return the Gram matrices of all pairs."""
        return gram_at_once(self, X, Y, layers, scalars, wanted)

    def distance(self, X: Array, Y: Array, layers: Sequence[Any], scalars: Sequence[Any], squared: bool) -> Any:
        """Return |Phi(x) - Phi(y)|, or its square, for every pair of rows."""
        return distances(self, X, Y, layers, scalars, squared)

    def with_coincident(self, pairs: Pairs) -> Pairs:
        """Return pairs of inputs with x.y from the norms where points coincide: c = p to the bit, with derivatives."""
        c = self.lib.where(pairs.delta == 0, (pairs.p + pairs.q - pairs.delta) / 2, pairs.c)
        return replace(pairs, c=c)

    def apart(self, pairs: Pairs) -> tuple[Any, Pairs]:
        """Return which pairs coincide, and the pairs with harmless ones in their place."""
        same = pairs.delta == 0
        parts = {name: self.lib.where(same, x, getattr(pairs, name)) for name, x in HARMLESS.items()}
        return same, Pairs(**parts)

    def squared_distance_near(self, moment: Callable | None, slope: Callable | None, pairs: Pairs, scalars: Any) -> Any:
        """Return m0 delta + m0' omega^2 / 2 at the mean variance: the squared distance to second order.

        Its value and derivatives up to the second at coincident points are those of the distance (0 if m0 is infinite).
        """
        if moment is None or slope is None:
            return 0 * pairs.delta
        v = (pairs.p + pairs.q) / 2
        return moment(v, *scalars) * pairs.delta + slope(v, *scalars) * pairs.omega * pairs.omega / 2

    def kernel(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> Any:
        """Return E[phi(u) phi(v)]."""
        same, apart = self.apart(pairs)
        near = self.squared_distance_near(law.derivative_moment, law.derivative_slope, pairs, scalars)
        mean = (law.moment(pairs.p, *scalars) + law.moment(pairs.q, *scalars)) / 2
        value = of_pairs(self, law.kernel, law.kernel_of_squares, apart, scalars)
        return self.lib.where(same, mean - near / 2, value)

    def derivative_kernel(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> Any:
        """Return E[phi'(u) phi'(v)]."""
        same, apart = self.apart(pairs)
        near = self.squared_distance_near(law.second_moment, law.second_slope, pairs, scalars)
        assert law.derivative_moment is not None and law.derivative_kernel is not None
        mean = (law.derivative_moment(pairs.p, *scalars) + law.derivative_moment(pairs.q, *scalars)) / 2
        value = of_pairs(self, law.derivative_kernel, law.derivative_of_squares, apart, scalars)
        return self.lib.where(same, mean - near / 2, value)

    def differences(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> tuple[Any, Any]:
        """Return E[(phi(u) - phi(v))^2] and E[phi(u)^2] - E[phi(v)^2]."""
        if law.difference is None:
            return subtracted(self, law, pairs, scalars)
        same, apart = self.apart(pairs)
        Delta = apart.Delta
        if not law.derivative_moment:  # a jump: between 0 and x there is a right angle, as the kernel has it
            Delta = self.lib.where((Delta == 0) & (apart.c == 0), float(self.lib.finfo(Delta.dtype).tiny), Delta)
        squared, moments = law.difference(apart.p, apart.q, apart.omega, apart.delta, apart.c, Delta, *scalars)
        near = self.squared_distance_near(law.derivative_moment, law.derivative_slope, pairs, scalars)
        across = law.moment(pairs.p, *scalars) - law.moment(pairs.q, *scalars)
        return self.lib.where(same, near, squared), self.lib.where(same, across, moments)
