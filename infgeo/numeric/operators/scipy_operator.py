"""The Gram matrix of NumPy's points as a linear operator of SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from infgeo.arguments import real_number, shown
from infgeo.errors import InvalidInput
from infgeo.numeric.geometry import NumericGeometry
from infgeo.numeric.operators.approximation import ErrorNorms, approximation_error
from infgeo.numeric.operators.products import BlockedGram

_SIDES = "rows", "columns"


class GramOperator(LinearOperator):
    """K + noise I for the Gram matrix K, which products compute block after block and never hold: O(N) memory.

    `NumericGeometry.operator` makes it. Sums are in double precision; blocks, and vectors that they are multiplied by,
    have the points' dtype. Products are the same to the bit for every number of threads.
    """

    def __init__(
        self,
        geometry: NumericGeometry,
        X: Any,
        Y: Any = None,
        which: str = "kernel",
        noise: float = 0.0,
        threads: int | None = None,
    ) -> None:
        self.noise = real_number(noise, "noise", minimum=0.0)
        self._gram = geometry._call(which, X, Y, threads, make=BlockedGram)
        if self.noise and Y is not None:
            raise InvalidInput(f"noise = {noise} is for the matrix of X with itself: leave Y or noise out")
        self.geometry, self.which, self.threads = geometry, which, threads
        super().__init__(self._gram.dtype, self._gram.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross processes by the arguments."""
        X, *Y = self._gram.given
        return type(self), (self.geometry, X, Y[0] if Y else None, self.which, self.noise, self.threads)

    def _matmat(self, V: Any) -> np.ndarray:
        if np.iscomplexobj(V):
            return self._matmat(V.real) + 1j * self._matmat(V.imag)
        V = np.asarray(V)
        found = self._gram.product(V) + self.noise * V if self.noise else self._gram.product(V)
        return found.astype(np.result_type(self.dtype, V.dtype), copy=False)

    def _adjoint(self) -> GramOperator:
        if self._gram.symmetric:
            return self
        X, Y = self._gram.given
        return type(self)(self.geometry, Y, X, self.which, 0.0, self.threads)

    _transpose = _adjoint

    def diagonal(self) -> np.ndarray:
        """Return the diagonal (N,) of a symmetric matrix, with the noise."""
        if not self._gram.symmetric:
            raise InvalidInput("the diagonal is for the matrix of X with itself: leave Y out")
        return self._gram.diagonal + self.dtype.type(self.noise)

    def block(self, rows: Any, columns: Any) -> np.ndarray:
        """Return the matrix at some rows and columns, slices or arrays of numbers, (n, m)."""
        i, j = (_numbers(part, n, name) for part, n, name in zip((rows, columns), self.shape, _SIDES, strict=True))
        found = getattr(self.geometry, self.which)(
            self._gram.given[0][i], self._gram.given[-1][j], threads=self.threads
        )
        return found + self.dtype.type(self.noise) * (i[:, None] == j)

    def approximation_error(
        self, features: Any, *, probes: int = 20, iterations: int = 2, confidence: float = 0.99, seed: int = 0
    ) -> ErrorNorms:
        """Return how far features Phi (N, m) are from K, without the noise: norms of K - Phi Phi^T by random vectors.

        Arguments:
            features: of the points, one row for each, such as those of a Nystroem approximation or a random network.
            probes: number r of random vectors.
            iterations: of the power method, each a product with r vectors; more bring the bounds closer.
            confidence: the probability of the upper bound.
            seed: of the random vectors.
        """
        if not self._gram.symmetric:
            raise InvalidInput("features are compared with the matrix of X with itself: leave Y out")
        return approximation_error(self._gram, features, probes, iterations, confidence, seed)


def _numbers(part: Any, count: int, name: str) -> np.ndarray:
    """Return the numbers of rows or columns that an index stands for, or raise InvalidInput."""
    try:
        return np.atleast_1d(np.arange(count)[part]).reshape(-1)
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"{name} is {shown(part)}; pass a slice, or numbers from 0 to {count - 1}") from error


gram_operator = GramOperator
