"""Gram matrices without derivatives: a compiled formula a pair where Numba is installed, else by broadcasting.

Products of points come from the linear algebra library, a strip of rows at a time. The formula of a pair takes
p q - c^2 as a difference; where that loses digits which the result needs, for nearly parallel preactivations and for
large exponents, the pair is left over, and computed from the difference of its points.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.gram.plain import chosen, gram_by_rows
from infgeo.numeric.runtime.gram.series import HermiteSeries
from infgeo.numeric.runtime.layers import pairs_after, point_after
from infgeo.numeric.runtime.range import out_of_range
from infgeo.numeric.runtime.records import Array

FEW = 2**20  # pairs below which nothing is compiled
HEIGHT = 128  # rows of a strip
WIDTH = 512  # columns of a strip at the most
ONE_BY_ONE = 2**13  # pairs at a time that are computed from the difference of their points
SOME = 500  # pairs by which the others are judged
TOLERANCE = {np.dtype(np.float64): 2.5e-13, np.dtype(np.float32): 5e-6}


@dataclass(frozen=True)
class PairLaw:
    """What the compiled formula of an activation needs to know.

    Args:
        extra: e, of the parameters, where it is one of rho = c / sqrt((p + e)(q + e)); or None.
        rate: the largest factor of a variance in an exponent, of the parameters; or None.
        order: how the kernel, or the one of the derivative, depends on a small 1 - rho^2: 0 smoothly, 1/2 by its root,
            1 by its inverse.
        series: what makes the coefficients of a kernel that is a series; or None.
    """

    extra: Callable | None = None
    rate: Callable | None = None
    order: float = 0
    series: HermiteSeries | None = None


@dataclass(frozen=True)
class FastGram:
    """What computes Gram matrices of one network.

    Args:
        laws: those of the activations.
        compiled: a function of whether tangent kernels are wanted, and of the format of the arithmetic, that returns
            `compiled.strip` and the PairLaw of each law; or None where nothing is compiled.
    """

    laws: Sequence[Any]
    compiled: Callable

    def __call__(
        self,
        xp: Any,
        X: Array,
        Y: Array,
        layers: Sequence[Any],
        own: tuple,
        wanted: str,
        out: Any = None,
        threads: Any = None,
    ) -> tuple:
        """Return the matrices of the "kernel", the tangent kernel ("ntk") or "both", in `out` where it is given."""
        threads = thread_count(threads, xp)
        if xp.differentiates(X, Y, layers, own):
            if out is not None:
                raise InputError(
                    "out is for results without derivatives: leave it out, or detach the points and scales"
                )
            return xp.gram(X, Y, layers, own, wanted)
        X, Y, layers, own = distinct(*xp.detached(X, Y, layers, own))
        y = X if Y is None else Y
        outs = outputs(xp, out, X, y, 2 if wanted == "both" else 1)
        kind = "kernel" if wanted == "kernel" else "ntk"
        for points in (X,) if Y is None else (X, Y):
            out_of_range(xp, layers, points, own, kind)
        task = Task(self, xp, X, Y, layers, own, wanted, outs) if len(X) * len(y) > FEW and xp.on_host(X) else None
        if task is None or task.strip is None:
            return gram_by_rows(xp, X, Y, layers, own, wanted, outs)
        with xp.quiet():
            task.run(threads)
        return outs


class Task:
    """One pair of matrices that is computed."""

    def __init__(
        self, fast: FastGram, xp: Any, X: Array, Y: Array, layers: Sequence[Any], own: tuple, wanted: str, outs: tuple
    ) -> None:
        """Hold the points, what the layers need of single ones, and the compiled function."""
        self.xp, self.X, self.Y, self.layers, self.own, self.wanted, self.outs = xp, X, Y, layers, own, wanted, outs
        self.tangent = wanted != "kernel"
        given = np.asarray(X[:0]).dtype
        self.strip: Any = None
        found = fast.compiled(self.tangent, "float64")
        if found is None:
            return
        kinds = [-1 if layer.law is None else number_of(fast.laws, layer.law) for layer in layers]
        laws = [None if n < 0 else found[1][n] for n in kinds]
        sharp = [law is not None and law.order > 0 for law in laws]
        single = given == np.float32 and sum(sharp) <= 1 and self.fits_single(X if Y is None else Y)
        self.dtype = np.dtype(np.float32 if single else np.float64)
        self.strip, _ = fast.compiled(self.tangent, self.dtype.name)
        scalars = [float(value) for value in own]
        # Of a cosine: some roundings of its own, and those of the product of points, which grow like a random walk.
        roundings = 8 + X.shape[1] ** 0.5 / 2
        rounding = roundings * float(np.finfo(self.dtype.type).eps) / 2 / TOLERANCE[given]
        numbers = np.zeros((len(layers), 10))
        for i, (layer, law) in enumerate(zip(layers, laws, strict=True)):
            if law is None:
                numbers[i, 0] = float(layer.unit)
                continue
            residual = hasattr(layer, "skip")
            factors = (float(layer.skip), float(layer.branch), 1.0) if residual else (0.0, 1.0, 0.0)
            # Each root in a row amplifies what the one before left: 1/2 + 1/4 + ...
            exponent = 1 if law.order == 1 else 1 / (1 - 2.0 ** -max(1, sum(sharp[i:])))
            near = rounding**exponent if law.order else 0.0
            rate = law.rate(*scalars) if law.rate else 0.0
            numbers[i, :7] = [float(layer.weight), float(layer.bias), *factors, near, rate]
        points = (X,) if Y is None else (X, Y)
        series = self.series(points, laws, numbers, scalars, TOLERANCE[given] / 10)
        if series is None:
            self.strip = None
            return
        self.column_series = series[-1]
        self.row_series = np.ascontiguousarray(series[0].transpose(0, 2, 1))
        self.numbers, self.scalars = numbers.astype(self.dtype), np.array(scalars, self.dtype)
        self.kinds = np.array(kinds)
        self.rows = self.sides(X, laws)
        self.columns = self.rows if Y is None else self.sides(Y, laws)
        for i, law in enumerate(laws):  # cosines of which e keeps away from 1 need no look
            if law is not None and law.extra is not None:
                largest = 1 - law.extra(*scalars) / max(
                    float(side[i, 0].max(initial=1)) ** 2 for side in (self.rows, self.columns)
                )
                self.numbers[i, 5] *= (1 - largest) * (1 + largest) < 2 * numbers[i, 5]

    def fits_single(self, Y: Array) -> bool:
        """Return whether single precision holds the variances that the layers reach."""
        limits = np.finfo(np.float32)
        for points in (self.X, Y):
            x = self.xp.double(points)
            for part in point_after(self.xp, self.layers, self.xp.sum_squares(x), self.own, self.tangent).reached:
                part = np.asarray(part)
                part = part[part != 0]
                if len(part) and not (part.min() >= limits.tiny**0.25 and part.max() <= limits.max**0.25):
                    return False
        return True

    def series(
        self, sides: Sequence[Array], laws: Sequence[PairLaw | None], numbers: np.ndarray, own: list, tolerance: float
    ) -> list[np.ndarray] | None:
        """Return the coefficients of laws that are series, (layers, terms, points) for each side; None if too many.

        How the terms are numbered goes to the last columns of `numbers`: the first, the distance, how many.
        """
        if not any(law is not None and law.series is not None for law in laws):
            return [np.empty((len(laws), 0, len(Z)), self.dtype) for Z in sides]
        reached, cosines = [self.reached(Z) for Z in sides], self.cosines(sides[0], sides[-1])
        found: list[np.ndarray] = []
        for i, law in enumerate(laws):
            if law is None or law.series is None:
                found.append(np.empty((0, 0)))
                continue
            v = np.concatenate([np.broadcast_to(part[i], len(Z)) for part, Z in zip(reached, sides, strict=True)])
            some = np.quantile(v, np.linspace(0, 1, 17))
            functions, given = self.layers[i].law, self.xp.lib.asarray(some)
            moments = [np.asarray(functions.moment(given, *self.own))]
            if self.tangent:
                moments.append(some * np.asarray(functions.derivative_moment(given, *self.own)))
            cut = law.series.cut(some, own, moments, cosines[i], tolerance)
            if cut is None:
                return None
            cosine, first, step, count = cut
            numbers[i, 5], numbers[i, 7:] = 1 - cosine**2, (first, step, count)
            found.append(law.series.coefficients(v, own, first + step * count)[first::step])
        longest = max(len(part) for part in found)
        result, start = [], 0
        for Z in sides:
            table = np.zeros((len(laws), longest, len(Z)), self.dtype)
            for i, part in enumerate(found):
                table[i, : len(part)] = part[:, start : start + len(Z)] if len(part) else 0
            result.append(table)
            start += len(Z)
        return result

    def cosines(self, X: Array, Y: Array) -> list[np.ndarray]:
        """Return cosines of the preactivations of some pairs at each layer."""
        spread = np.linspace(0, 1, SOME)
        rows = (spread * (len(X) - 1)).astype(int)
        columns = (spread * 97 % 1 * (len(Y) - 1)).astype(int)
        h, found = self.xp.pairs_of(self.xp.double(X[rows]), self.xp.double(Y[columns])), []
        for layer in self.layers:
            u = h if layer.law is None else layer.preactivations(h)
            found.append(np.asarray(u.c / self.xp.sqrt(u.p * u.q)))
            h = layer.pairs(self.xp, h, self.own, "kernel", [layer])
        return found

    def reached(self, Z: Array) -> list[np.ndarray]:
        """Return the variances, and norms, of each layer."""
        s = self.xp.sum_squares(self.xp.double(Z))
        return [np.asarray(part) for part in point_after(self.xp, self.layers, s, self.own, False).reached]

    def sides(self, Z: Array, laws: Sequence[PairLaw | None]) -> np.ndarray:
        """Return for each layer and point a size, the variance v or sqrt(v + e), and a scale, 1/sqrt(v + e)."""
        result = np.empty((len(laws), 2, len(Z)))
        for i, (law, part) in enumerate(zip(laws, self.reached(Z), strict=True)):
            extra = 0.0 if law is None or law.extra is None else law.extra(*map(float, self.own))
            root = np.sqrt(part + extra)
            inverse = np.where(root == 0, 0.0, 1 / np.where(root == 0, 1, root))
            result[i, 0] = root if law is not None and law.extra is not None else part
            result[i, 1] = inverse * (np.sqrt(float(self.layers[i].unit)) if law is None else 1)
        return result.astype(self.dtype)

    def run(self, threads: int) -> None:
        """Compute all strips, and then k(x, x) on the diagonal of symmetric matrices."""
        X = np.ascontiguousarray(np.asarray(self.X), self.dtype)
        YT = np.ascontiguousarray(X.T if self.Y is None else np.asarray(self.Y).T, self.dtype)
        N, M = len(X), YT.shape[1]
        names = {"both": ("kernel", "ntk")}.get(self.wanted, (self.wanted,))
        outs = dict(zip(names, map(np.asarray, self.outs), strict=True))
        none = np.empty((0, 0), outs[names[0]].dtype)
        starts = range(0, N, HEIGHT)
        corners = iter([(i, j) for i in starts for j in range(i if self.Y is None else 0, M, WIDTH)])

        def work() -> None:
            buffer, bad = np.empty(HEIGHT * WIDTH, self.dtype), np.empty((2, HEIGHT * WIDTH), np.int64)
            for start, left in corners:  # after an error or an interrupt the others stop at their next strip
                rows, columns = X[start : start + HEIGHT], YT[:, left : left + WIDTH]
                products = buffer[: len(rows) * columns.shape[1]].reshape(len(rows), columns.shape[1])
                np.matmul(rows, columns, out=products)
                count = self.strip(
                    products, start, left, self.Y is None, self.kinds, self.numbers, self.rows, self.columns,
                    self.scalars, self.row_series, self.column_series,
                    outs.get("kernel", none), outs.get("ntk", none), *bad,
                )  # fmt: skip
                self.one_by_one(list(outs.values()), bad[:, :count])

        threads = min(threads, -(-N // HEIGHT))
        if threads == 1:
            work()
        else:
            with ThreadPoolExecutor(threads - 1) as pool:
                try:
                    others = [pool.submit(work) for _ in range(threads - 1)]
                    work()
                    for done in others:
                        done.result()
                finally:
                    for _ in corners:
                        pass
        if self.Y is None:
            x = self.xp.double(self.X)
            h = point_after(self.xp, self.layers, self.xp.sum_squares(x), self.own, self.tangent)
            index = np.arange(N)
            for out, values in zip(self.outs, chosen(h, self.wanted), strict=True):
                np.asarray(out)[index, index] = np.asarray(values)

    def one_by_one(self, outs: Sequence[np.ndarray], pairs: np.ndarray, corner: tuple | None = None) -> None:
        """Compute some pairs, (2, n), from the difference of their points: of whole matrices, or blocks at a corner."""
        xp, Y, (top, left) = self.xp, self.X if self.Y is None else self.Y, corner or (0, 0)
        for first in range(0, pairs.shape[1], ONE_BY_ONE):
            rows, columns = pairs[:, first : first + ONE_BY_ONE]
            found = xp.pairs_of(xp.double(self.X[rows + top]), xp.double(Y[columns + left]))
            after = pairs_after(xp, self.layers, found, self.own, "ntk" if self.tangent else "kernel")
            own = chosen(point_after(xp, self.layers, found.p, self.own, self.tangent), self.wanted)
            for out, values, same in zip(outs, chosen(after, self.wanted), own, strict=True):
                values = np.where(np.asarray(found.delta) == 0, np.asarray(same), np.asarray(values))
                out[rows, columns] = values
                if self.Y is None and corner is None:
                    out[columns, rows] = values


def distinct(X: Array, Y: Array, *rest: Any) -> tuple:
    """Return X, Y and the rest, with None for a Y that has the points of X."""
    return X, None if Y is not None and X.shape == Y.shape and bool((X == Y).all()) else Y, *rest


def compiler(cache: bool) -> Callable | None:
    """Return the decorator that compiles a function, with what it has compiled kept beside its file; None without."""
    try:
        import numba
    except ImportError:
        return None
    decorator: Callable = numba.njit(nogil=True, error_model="numpy", cache=cache)
    return decorator


def number_of(laws: Sequence[Any], law: Any) -> int:
    """Return the place of a law."""
    return next(i for i, other in enumerate(laws) if other is law)


def thread_count(threads: Any, xp: Any) -> int:
    """Return `threads`, or as many as the library, OMP_NUM_THREADS or the processors that this process may use say."""
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
            raise InputError(f"threads = {threads!r} must be a whole number >= 1, or None for all processors")
        return int(threads)
    if hasattr(xp.lib, "get_num_threads"):
        return int(xp.lib.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def outputs(xp: Any, out: Any, X: Array, Y: Array, count: int) -> tuple:
    """Return the arrays to write to: `out`, checked, or new ones."""
    shape = len(X), len(Y)
    if out is None:
        return tuple(xp.empty(shape, X) for _ in range(count))
    try:
        outs = (out,) if count == 1 else tuple(out)
    except TypeError as error:
        raise InputError(f"out = {out!r} must be two arrays: (kernel, tangent kernel)") from error
    if len(outs) != count:
        raise InputError(f"out has {len(outs)} arrays, {count} are needed: (kernel, tangent kernel)")
    for array in outs:
        same = type(array) is type(X) and tuple(array.shape) == shape and array.dtype == X.dtype
        if not same or getattr(array, "device", None) != getattr(X, "device", None):
            got = f"{array.dtype} {tuple(array.shape)}" if hasattr(array, "dtype") else repr(type(array).__name__)
            raise InputError(f"out is {got}, it must be {X.dtype} {shape}, where the points are: {xp.name}.empty(...)")
        if getattr(array, "requires_grad", False):
            raise InputError("out requires grad: pass a tensor without derivatives")
        if xp.on_host(X):
            view = np.asarray(array)
            if not view.flags.writeable or (0 in view.strides and view.size > 1):
                raise InputError("out is read-only or expanded: pass an array of its own memory that can be written to")
            if any(np.may_share_memory(view, np.asarray(points)) for points in (X, Y)):
                raise InputError("out shares memory with the points: pass another array")
    if count == 2 and xp.on_host(X) and np.shares_memory(np.asarray(outs[0]), np.asarray(outs[1])):
        raise InputError("both arrays of out share memory: pass two")
    return outs
