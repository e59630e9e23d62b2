"""NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special

from infgeo.numeric.runtime.arrays.library import ArrayLibrary, taken
from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.gram.plain import ROWS, distances_in_range, gram_by_rows
from infgeo.numeric.runtime.nearly_parallel import of_pairs, subtracted
from infgeo.numeric.runtime.range import out_of_range
from infgeo.numeric.runtime.records import Array, Law, Pairs

PARALLEL = 2.0**-2  # pairs with sin^2 of the angle below this are computed from the difference of the points
POINTS = 2**12  # points at a time where each is computed by itself
CHUNK = 2**18  # coordinates held at a time for differences


class NumpyArrays(ArrayLibrary):
    """NumPy, see `protocol.Arrays`."""

    lib, name, kind = np, "np", np.ndarray
    sqrt = staticmethod(np.sqrt)

    def points(self, X: Array, name: str = "X", rows: bool = False) -> np.ndarray:
        """Return `X` as an array of float32 or float64 points (..., d); with `rows`, (N, d)."""
        try:
            array = np.asarray(X)
        except ValueError as error:
            raise InputError(f"{name} is ragged: every point needs the same number of coordinates") from error
        except (TypeError, RuntimeError) as error:
            raise self.no_array(name, error) from error
        if isinstance(X, np.ma.MaskedArray):
            raise InputError(
                f"{name} is a masked array, masks are not kept: pass {name}.filled(...) or the rows in use"
            )
        if array.dtype.kind in "iu" and not hasattr(X, "dtype"):
            array = array.astype(float)
        if array.dtype not in (np.float32, np.float64):
            raise self.of_wrong_dtype(name, array.dtype)
        self.shaped(array, name, rows)
        finite = np.isfinite(array)
        if not finite.all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise InputError(
                f"{name}{list(where)} = {array[where]}: every coordinate must be finite; drop or mend that point"
            )
        return array

    def scalar(self, name: str, value: Any) -> float:
        """Return the value of a parameter as a float; raises InputError."""
        kind = str(getattr(value, "dtype", ""))
        wrong = isinstance(value, (str, bytes, bool)) or "bool" in kind or "complex" in kind
        try:
            if wrong or getattr(value, "requires_grad", False):
                raise TypeError("text, truth values, complex numbers and nodes of a graph are no numbers here")
            return float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InputError(f"{name} = {value!r} must be a number") from error

    def all(self, condition: Any) -> bool:
        """Return whether a condition holds everywhere."""
        return bool(np.all(condition))

    def largest(self, v: Array) -> float:
        """Return the largest value."""
        return float(np.max(v))

    def double(self, X: Array) -> np.ndarray:
        """Return an array in double precision."""
        return np.asarray(X, np.float64)

    def cast(self, result: Array, like: np.ndarray) -> Any:
        """Return a result in the format of an array; numbers as NumPy's functions return them."""
        with np.errstate(over="ignore"):
            return np.asarray(result).astype(like.dtype, copy=False)[()]

    def log(self, x: Array) -> Any:
        """Return the logarithm, -inf at 0, where a metric vanishes."""
        return np.log(x)

    def positive(self, x: Array) -> Any:
        """Return max(x, 0)."""
        return np.maximum(x, 0)

    def constant(self, like: Array, value: float) -> np.ndarray:
        """Return an array of one value."""
        return np.full_like(like, value)

    def erf(self, x: Array) -> Any:
        """Return the error function."""
        return special.erf(x)

    def erfc(self, x: Array) -> Any:
        """Return 1 - erf(x)."""
        return special.erfc(x)

    def erfcx(self, x: Array) -> Any:
        """Return e^(x^2) erfc(x)."""
        return special.erfcx(x)

    def at_points(self, function: Callable, X: np.ndarray) -> np.ndarray:
        """Return the function of points, some at a time, so that what it computes on the way stays in the cache."""
        with np.errstate(all="ignore"):  # Branches not taken may divide by zero.
            if X.size <= POINTS * X.shape[-1]:
                return function(X)
            rows = X.reshape(-1, X.shape[-1])
            parts = [function(rows[start : start + POINTS]) for start in range(0, len(rows), POINTS)]
        return np.concatenate(parts).reshape(X.shape[:-1] + parts[0].shape[1:])

    def metric_matrix(self, X: Array, A: Array, shear: Array, eta: Array, B: Array = None) -> np.ndarray:
        """Return A (I + shear x^ x^T) with the diagonal as A ((1 - x^_i^2) + eta x^_i^2), where nothing cancels."""
        largest = np.abs(X).max(-1, keepdims=True)
        unit = X / np.where(largest == 0, 1, largest)
        unit[..., 0] += largest[..., 0] == 0
        unit = unit / np.sqrt(np.square(unit).sum(-1, keepdims=True))
        squares = np.square(unit)
        rest = np.zeros_like(squares)
        rest[..., 1:] = np.cumsum(squares[..., :-1], -1)
        rest[..., :-1] += np.cumsum(squares[..., :0:-1], -1)[..., ::-1]
        g = (A * shear)[..., None, None] * unit[..., :, None] * unit[..., None, :]
        index = np.arange(X.shape[-1])
        g[..., index, index] = A[..., None] * (rest + eta[..., None] * squares)
        return g

    def pairs(self, X: np.ndarray, Y: np.ndarray) -> Pairs:
        """Return the pairs of all rows of X (N, d) and Y (M, d)."""
        sx, sy, xy = self.sum_squares(X)[:, None], self.sum_squares(Y)[None, :], X @ Y.T
        delta, omega, Delta = sx + sy - 2 * xy, sx - sy, sx * sy - xy * xy
        rows, columns = np.nonzero(PARALLEL * (sx * sy) >= Delta)
        step = max(1, CHUNK // X.shape[1])
        for start in range(0, len(rows), step):
            i, j = rows[start : start + step], columns[start : start + step]
            delta[i, j], omega[i, j], Delta[i, j] = self.close_pairs(X[i], Y[j])
        return Pairs(sx, sy, xy, omega, delta, Delta)

    def kernel(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> Any:
        """Return E[phi(u) phi(v)]."""
        return of_pairs(self, law.kernel, law.kernel_of_squares, pairs, scalars)

    def derivative_kernel(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> Any:
        """Return E[phi'(u) phi'(v)]."""
        return of_pairs(self, law.derivative_kernel, law.derivative_of_squares, pairs, scalars)

    def differences(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> tuple[Any, Any]:
        """Return E[(phi(u) - phi(v))^2] and E[phi(u)^2] - E[phi(v)^2]; branches not taken may divide by zero."""
        if law.difference is None:
            return subtracted(self, law, pairs, scalars, pairs.delta != 0)
        Delta = pairs.Delta
        if not law.derivative_moment:  # a jump: between 0 and x there is a right angle, as the kernel has it
            Delta = np.where((Delta == 0) & (pairs.c == 0) & (pairs.delta > 0), np.finfo(float).tiny, Delta)
        return law.difference(pairs.p, pairs.q, pairs.omega, pairs.delta, pairs.c, Delta, *scalars)

    def refined(
        self, function: Callable, sign: Array, pairs: Pairs, scalars: Sequence[Any], values: tuple
    ) -> tuple[Any, ...]:
        """Return function(p, q, c, omega, delta, Delta) of the pairs where `sign` > 0, and `values` of the others."""
        where = sign > 0
        if not where.any():
            return values
        values = tuple(np.array(value + 0 * sign) for value in values)
        for value, found in zip(values, function(*taken(pairs, where), *scalars), strict=True):
            value[where] = np.where(np.isfinite(found), found, value[where])
        return values

    def power_of_two(self, n: Any) -> Any:
        """Return 2^n."""
        return np.ldexp(np.ones_like(n), np.clip(n, -20000, 20000).astype(int))

    def quiet(self) -> Any:
        """Return a context in which branches not taken may divide by zero."""
        return np.errstate(all="ignore")

    def gram(self, X: Array, Y: Array, layers: Sequence[Any], scalars: Sequence[Any], wanted: str) -> tuple:
        """Return the Gram matrices of all pairs."""
        for points in (X,) if Y is None else (X, Y):
            out_of_range(self, layers, points, scalars, "kernel" if wanted == "kernel" else "ntk")
        return gram_by_rows(self, X, Y, layers, scalars, wanted)

    def distance(self, X: Array, Y: Array, layers: Sequence[Any], scalars: Sequence[Any], squared: bool) -> np.ndarray:
        """Return |Phi(x) - Phi(y)|, or its square, for every pair of rows, some rows at a time."""
        for points in (X, Y):
            out_of_range(self, layers, points, scalars, "kernel")
        step = max(1, ROWS // (len(Y) + 1))
        parts = [np.empty((0, len(Y)), X.dtype)]
        with self.quiet():
            for start in range(0, len(X), step):
                parts.append(distances_in_range(self, X[start : start + step], Y, layers, scalars, squared))
        return np.concatenate(parts)

    def differentiates(self, *values: Array) -> bool:
        """Return whether somebody may want derivatives: never."""
        return False

    def detached(self, *values: Array) -> tuple:
        """Return values without their graph: as they are."""
        return values

    def on_host(self, X: np.ndarray) -> bool:
        """Return whether compiled code can read an array."""
        return True

    def empty(self, shape: tuple, like: np.ndarray) -> np.ndarray:
        """Return an array to write to."""
        return np.empty(shape, like.dtype)

    def formats(self) -> list[tuple[str, int, Callable]]:
        """Return the formats of the self-test: name, bits, and what makes points of numbers."""
        return [
            (name, bits, lambda rows, name=name: np.array(rows, name))
            for name, bits in (("float64", 53), ("float32", 24))
        ]
