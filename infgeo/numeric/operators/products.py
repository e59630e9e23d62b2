"""Products of Gram matrices with vectors, block after block: a block stays in the cache, and is used there.

Of a symmetric matrix the blocks right of the diagonal are computed, and used twice. Rows come in bands, whose sums are
added in order, so that the result does not depend on how many threads there are, nor on which is first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from infgeo.numeric.runtime.geometry import Geometry
from infgeo.numeric.runtime.gram.fast import FEW, HEIGHT, WIDTH, FastGram, Task, distinct, thread_count
from infgeo.numeric.runtime.gram.plain import chosen
from infgeo.numeric.runtime.layers import point_after
from infgeo.numeric.runtime.range import out_of_range
from infgeo.numeric.runtime.records import Array

BAND = 4 * HEIGHT  # rows that one thread takes
ROWS, COLUMNS = 16, 32  # of one product of BLAS
ON_HOST, ON_DEVICE = (64, 1024), (2048, 8192)  # rows and columns of blocks that are not compiled


class BlockedGram:
    """The Gram matrix of points, checked, that is there in blocks alone."""

    def __init__(
        self, geometry: Geometry, parameters: Mapping[str, Any], which: str, X: Array, Y: Array, threads: int | None
    ) -> None:
        """Hold the points, what the layers need of single ones, and the diagonal of a symmetric matrix."""
        self.geometry, self.which, xp = geometry, which, geometry.xp
        points = [xp.points(Z, name) for name, Z in (("X", X), ("Y", Y)) if Z is not None or name == "X"]
        self.given = tuple(np.array(Z) if isinstance(Z, np.ndarray) else Z for Z in points)
        X, Y = (*(0 + Z for Z in self.given), None)[:2]  # copies: what it keeps goes with these values
        X, Y, layers, own = distinct(*xp.detached(*geometry.prepared(parameters, X, Y, which)))
        self.X, self.Y, self.layers, self.own, self.symmetric = X, X if Y is None else Y, layers, own, Y is None
        self.shape, self.host = (len(X), len(self.Y)), xp.on_host(X)
        self.dtype = np.asarray(X[:0]).dtype if self.host else X.dtype
        self.threads = thread_count(threads, xp) if self.host else 1
        for points in (X,) if Y is None else (X, Y):
            out_of_range(xp, layers, points, own, which)
        if Y is None:
            with xp.quiet():
                h = point_after(xp, layers, xp.sum_squares(xp.double(X)), own, which == "ntk")
            self.diagonal = xp.cast(chosen(h, which)[0], X)
        self.fast, self.task = cast(FastGram, geometry.fast), None
        if self.host and self.shape[0] * self.shape[1] > FEW:
            task = Task(self.fast, xp, X, Y, layers, own, which, ())
            if task.strip is not None:
                self.task = task
                # Of transposed sides BLAS would start threads of its own.
                self.sides = [np.ascontiguousarray(Z, task.dtype) for Z in (np.asarray(X), np.asarray(self.Y).T)]

    def product(self, V: Array) -> Array:
        """Return the product with the columns of V, (M, k) -> (N, k), summed in double precision.

        On the host V and the result are NumPy's, elsewhere tensors.
        """
        V = V.astype(self.dtype, copy=False) if self.host else V.to(self.dtype)
        result = _zeros(V, self.shape[0])
        size = BAND if self.host else ON_DEVICE[0]
        starts = range(0, self.shape[0], size)
        pool = ThreadPoolExecutor(min(self.threads, max(1, len(starts))))
        try:
            for start, part in zip(
                starts, pool.map(lambda start: self._band(start, starts.step, V), starts), strict=True
            ):
                result[start : start + len(part)] += part
        finally:  # after an error or an interrupt the others stop after their band
            pool.shutdown(cancel_futures=True)
        return result

    def _band(self, start: int, size: int, V: Array) -> Array:
        """Return what some rows, and of a symmetric matrix their mirror images, add to the product from `start` on."""
        stop = min(start + size, self.shape[0])
        part = _zeros(V, self.shape[0] - start if self.symmetric else stop - start)
        blocks = self._by_broadcasting(start, stop) if self.task is None else self._compiled(self.task, start, stop)
        xp = self.geometry.xp
        multiply = times if self.host else xp.lib.matmul
        with xp.quiet():  # in this thread
            for rows, columns, block in blocks:
                part[rows.start - start : rows.stop - start] += multiply(block, V[columns])
                right = max(columns.start, rows.stop)
                if self.symmetric and right < columns.stop:
                    mirrored = block[:, right - columns.start :].T
                    part[right - start : columns.stop - start] += multiply(mirrored, V[rows])
        return part

    def _places(self, start: int, stop: int, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of blocks; those of a symmetric matrix begin at the diagonal."""
        for i in range(start, stop, height):
            for j in range(i if self.symmetric else 0, self.shape[1], width):
                yield slice(i, min(i + height, stop)), slice(j, min(j + width, self.shape[1]))

    def _by_broadcasting(self, start: int, stop: int) -> Iterator[tuple[slice, slice, Array]]:
        for rows, columns in self._places(start, stop, *(ON_HOST if self.host else ON_DEVICE)):
            (block,) = self.fast(
                self.geometry.xp, self.X[rows], self.Y[columns], self.layers, self.own, self.which, None, 1
            )
            yield rows, columns, np.asarray(block) if self.host else block

    def _compiled(self, task: Task, start: int, stop: int) -> Iterator[tuple[slice, slice, Array]]:
        """Yield blocks in one buffer, each overwritten by the next."""
        size, (X, YT) = HEIGHT * WIDTH, self.sides
        products, values, bad = np.empty(size, task.dtype), np.empty(size, self.dtype), np.empty((2, size), np.int64)
        none = np.empty((0, 0), self.dtype)
        for rows, columns in self._places(start, stop, HEIGHT, WIDTH):
            shape = rows.stop - rows.start, columns.stop - columns.start
            xy, block = (part[: shape[0] * shape[1]].reshape(shape) for part in (products, values))
            np.matmul(X[rows], YT[:, columns], out=xy)
            sides = task.rows[:, :, rows], task.columns[:, :, columns]
            series = task.row_series[:, rows], task.column_series[:, :, columns]
            outs = (block, none) if self.which == "kernel" else (none, block)
            count = task.strip(
                xy, 0, 0, False, task.kinds, task.numbers, *map(np.ascontiguousarray, sides), task.scalars,
                *map(np.ascontiguousarray, series), *outs, *bad,
            )  # fmt: skip
            if self.symmetric and rows.start == columns.start:
                np.fill_diagonal(block, np.asarray(self.diagonal)[rows])
            task.one_by_one([block], bad[:, :count], (rows.start, columns.start))
            yield rows, columns, block


def times(A: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Return A V, (n, m), (m, k) -> (n, k), from products so small that BLAS starts no threads of its own for them."""
    if V.shape[1] > COLUMNS:
        return np.concatenate([times(A, V[:, k : k + COLUMNS]) for k in range(0, V.shape[1], COLUMNS)], axis=1)
    if len(A) % ROWS == 0 and A.flags.c_contiguous:
        return (A.reshape(-1, ROWS, A.shape[1]) @ V).reshape(len(A), -1)
    if len(V) % ROWS == 0:
        parts = A.reshape(len(A), -1, ROWS).transpose(1, 0, 2), V.reshape(-1, ROWS, V.shape[1])
        return (parts[0] @ parts[1]).sum(0)
    return A @ V


def _zeros(V: Array, count: int) -> Array:
    """Return rows of zeros in double precision, beside V."""
    shape = (count, V.shape[1])
    return np.zeros(shape) if isinstance(V, np.ndarray) else V[:0].double().new_zeros(shape)
