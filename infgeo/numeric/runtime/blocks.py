"""Gram matrices of NumPy arrays in blocks that fit the cache: in place, half of symmetric ones, in threads.

Most pairs need less than `common._pair_layers` gives: p q - c^2 is a difference, but it loses digits for nearly
parallel preactivations alone, and many formulas do not feel that. So a block is computed by plain formulas, and the
pairs where both hold, nearly parallel and felt, are computed again from the difference of the points.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # In an emitted file these stand above.
    from infgeo.numeric.runtime.common import InputError, _diagonal_layers, _pair_layers
    from infgeo.numeric.runtime.for_numpy import _CHUNK, _PAIRS, _PARALLEL, _close_pairs, _ratio, _sum_squares

_SIDE = 208  # points on a side of a block of one thread; several threads take longer sides, to hold their lock less
_SMALL = 2**12  # pairs below which blocks are not worth their overhead
_BUFFERS = 2**23  # numbers in all buffers together: 64 MiB of float64


def _gram(
    X: np.ndarray,
    Y: np.ndarray | None,
    layers: Sequence[Any],
    scalars: tuple,
    wanted: str,
    out: Any = None,
    threads: int | None = None,
) -> Any:
    """Return the Gram matrix (N, M) of the kernel or the tangent kernel, or both for `wanted` = "both".

    Coincident points take the values of the diagonal, to the bit, and the matrix of X with itself is symmetric.
    """
    if Y is not None and Y.shape == X.shape and (X is Y or np.array_equal(X, Y)):
        Y = None
    symmetric, Y = Y is None, X if Y is None else Y
    X, Y = np.ascontiguousarray(X), np.ascontiguousarray(Y)
    kinds = {"both": ("kernel", "ntk")}.get(wanted, (wanted,))
    outs = _outputs(out, (len(X), len(Y)), np.result_type(X, Y), len(kinds), (X, Y))
    task = SimpleNamespace(
        X=X, Y=Y, layers=layers, scalars=scalars, kinds=kinds, outs=outs, tangent="ntk" in kinds, symmetric=symmetric
    )
    task.format = outs[0].dtype
    threads = _thread_count(threads)
    with np.errstate(all="ignore"):  # Where a formula has no value, the pair is computed again.
        if len(X) * len(Y) <= _SMALL or any(layer.law and not layer.law.kernel_block for layer in layers):
            _all_pairs(task, np.arange(len(X)), np.arange(len(Y)))
        else:
            _large(task, threads)
        _extremes(task)
        for kind, result in zip(kinds, outs, strict=True):
            for rows, columns in _coincident(X, None if symmetric else Y):
                value = _diagonal_layers(layers, _sum_squares(X[rows[:1]]), scalars, kind == "ntk")
                result[np.ix_(rows, columns)] = value
            if symmetric:
                np.fill_diagonal(result, _diagonal_layers(layers, _sum_squares(X), scalars, kind == "ntk"))
    return outs if wanted == "both" else outs[0]


def _outputs(out: Any, shape: tuple, dtype: Any, count: int, inputs: tuple) -> tuple:
    """Return the arrays to write to: `out`, checked, or new ones."""
    if out is None:
        return tuple(np.empty(shape, dtype) for _ in range(count))
    outs = (out,) if count == 1 else tuple(out)
    if len(outs) != count:
        raise InputError(f"out has {len(outs)} arrays, {count} are needed: (kernel, tangent kernel)")
    for array in outs:
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(type(array).__name__)
            raise InputError(f"out is {got}, it must be an array of {dtype} and shape {shape}: np.empty({shape}, ...)")
        if not array.flags.writeable:
            raise InputError("out is read-only: pass an array that can be written to")
        if any(np.may_share_memory(array, points) for points in inputs):
            raise InputError("out shares memory with the points: pass another array")
    return outs


def _thread_count(threads: int | None) -> int:
    """Return `threads`, or OMP_NUM_THREADS, or the number of processors that this process may use."""
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
            raise InputError(f"threads = {threads!r} must be a whole number >= 1, or None for all processors")
        return int(threads)
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _all_pairs(task: SimpleNamespace, rows: np.ndarray, columns: np.ndarray) -> None:
    """Compute every pair of some rows and columns with all care; of a symmetric matrix also the mirror images."""
    rows, columns = (index.ravel() for index in np.meshgrid(rows, columns, indexing="ij"))
    if task.symmetric and len(rows) == len(task.X) ** 2:
        upper = rows <= columns
        rows, columns = rows[upper], columns[upper]
    for result, values in zip(task.outs, _careful(task, rows, columns), strict=True):
        result[rows, columns] = values
        if task.symmetric:
            result[columns, rows] = values


def _extremes(task: SimpleNamespace) -> None:
    """Compute the pairs of very long and very short points again, in a format of wider range, one point at a time.

    There products of squared norms overflow or vanish, though the kernel may not.
    """
    wider = np.float64 if task.outs[0].dtype == np.float32 else np.longdouble
    task = SimpleNamespace(**vars(task) | {"format": wider})
    for i in _extreme(task.X):
        _all_pairs(task, np.array([i]), np.arange(len(task.Y)))
    for j in _extreme(task.Y) if not task.symmetric else ():
        _all_pairs(task, np.arange(len(task.X)), np.array([j]))


def _extreme(X: np.ndarray) -> np.ndarray:
    """Return the rows whose fourth power of the norm overflows, or vanishes though they do not."""
    largest = np.maximum(X.max(axis=1, initial=0), -X.min(axis=1, initial=0))
    low, high = float(np.finfo(X.dtype).tiny) ** 0.125, (float(np.finfo(X.dtype).max) ** 0.25 / X.shape[1]) ** 0.5
    return np.flatnonzero((largest > high) | ((largest < low) & (largest > 0)))


def _careful(task: SimpleNamespace, rows: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
    """Return the values of some pairs, from the differences of their points."""
    results = [np.empty(len(rows), result.dtype) for result in task.outs]
    step = max(1, min(_PAIRS, _CHUNK // task.X.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        x, y = (Z[index[part]].astype(task.format) for Z, index in ((task.X, rows), (task.Y, columns)))
        distance, omega, gram = _close_pairs(x, y)
        p, q, xy = _sum_squares(x), _sum_squares(y), (x * y).sum(axis=-1)
        state = SimpleNamespace(p=p, q=q, c=xy, omega=omega, delta=distance, Delta=gram)
        features, D = _pair_layers(task.layers, state, task.scalars, "ntk" if task.tangent else "kernel")
        for kind, values in zip(task.kinds, results, strict=True):
            values[part] = features.c + D if kind == "ntk" else features.c
    return results


def _large(task: SimpleNamespace, threads: int) -> None:
    """Compute all blocks, those above the diagonal alone where the matrix is symmetric."""
    task.rows = _variances(task, _sum_squares(task.X))
    task.columns = task.rows if task.symmetric else _variances(task, _sum_squares(task.Y))
    task.felt = [_feels(task, i) for i in range(len(task.layers))]
    residual = any(layer.law and layer.skip is not None for layer in task.layers)
    needed = (3 + task.tangent) * (1 + residual) + max(
        _scratch(layer.law, task.tangent) for layer in task.layers if layer.law
    )
    side = _SIDE * (2 if threads > 1 else 1)
    side = max(32, min(side, int((_BUFFERS / (threads * needed)) ** 0.5)))
    blocks = iter(
        [(i, j) for i in range(0, len(task.X), side) for j in range(i if task.symmetric else 0, len(task.Y), side)]
    )

    def work() -> None:
        buffers = [np.empty(side * side, task.outs[0].dtype) for _ in range(needed)]
        with np.errstate(all="ignore"):  # The state of a thread.
            for i, j in blocks:
                _block(task, slice(i, i + side), slice(j, j + side), buffers)

    threads = min(threads, -(-len(task.X) // side) * -(-len(task.Y) // side))
    if threads == 1:
        return work()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()
        finally:
            for _ in blocks:  # After an error or an interrupt the others stop at their next block.
                pass
    return None


def _variances(task: SimpleNamespace, s: np.ndarray) -> list[np.ndarray]:
    """Return |h|^2 before each layer, from |x|^2 on."""
    return [_diagonal_layers(task.layers[:i], s, task.scalars, False) for i in range(len(task.layers))]


def _scratch(law: Any, tangent: bool) -> int:
    return law.pair_buffers if tangent else law.kernel_buffers


def _block(task: SimpleNamespace, rows: slice, columns: slice, buffers: list[np.ndarray]) -> None:
    """Compute one block, and its mirror image."""
    x, y = task.X[rows], task.Y[columns]
    shape = len(x), len(y)
    free = [buffer[: shape[0] * shape[1]].reshape(shape) for buffer in buffers]
    close = np.zeros(shape, bool) if any(task.felt) else None
    f: Any = np.matmul(x, y.T, out=free.pop())
    D: Any = None
    for i, layer in enumerate(task.layers):
        p, q = task.rows[i][rows, None], task.columns[i][None, columns]
        if layer.law is None:
            for factor in (_ratio(layer.unit, np.sqrt(p + layer.epsilon)), _ratio(1.0, np.sqrt(q + layer.epsilon))):
                np.multiply(f, factor, out=f)
                if D is not None:
                    np.multiply(D, factor, out=D)
            if D is not None:
                np.divide(D, layer.unit, out=D)
            continue
        f, D = _dense_block(task, layer, p, q, f, D, free, close if task.felt[i] else None)
        if close is not None and task.felt[i] and close.all():
            break  # all pairs are computed again
    blocks = {"kernel": f, "ntk": np.add(f, D, out=D) if task.tangent else None}
    if close is not None and close.any():
        at = np.nonzero(np.triu(close) if task.symmetric and rows == columns else close)
        careful = _careful(task, at[0] + rows.start, at[1] + columns.start)
        for kind, values in zip(task.kinds, careful, strict=True):
            blocks[kind][at] = values
    for kind, result in zip(task.kinds, task.outs, strict=True):
        if task.symmetric:
            _mirror(result, blocks[kind], rows, columns)
        else:
            result[rows, columns] = blocks[kind]


def _mirror(result: np.ndarray, values: np.ndarray, rows: slice, columns: slice) -> None:
    """Write a block above the diagonal, and its mirror image; of one on the diagonal the upper half counts."""
    if rows == columns:
        values = np.where(np.tri(len(values), k=-1, dtype=bool), values.T, values)
    result[rows, columns] = values
    if rows != columns:
        result[columns, rows] = values.T


def _dense_block(
    task: SimpleNamespace, layer: Any, p: Any, q: Any, f: np.ndarray, D: Any, free: list, close: Any
) -> tuple[np.ndarray, Any]:
    """Return the features' kernel and tangent kernel after a layer with weights; marks pairs to compute again.

    With u = w f, P = w p, Q = w q: c = u + b and Delta = P Q + b (P + Q) - u (u + 2 b). Buffers go back to `free`.
    """
    weight, bias, law = layer.weight, layer.bias, layer.law
    skipped = (
        [] if layer.skip is None else [np.multiply(x, layer.skip, out=free.pop()) for x in (f, D) if x is not None]
    )
    P, Q = weight * p, weight * q
    c, t, Delta = f, free.pop(), free.pop()
    if weight != 1:
        np.multiply(c, weight, out=c)
    if bias == 0:
        np.square(c, out=t)
        np.multiply(P, Q, out=Delta)
    else:
        np.add(c, 2 * bias, out=t)
        np.multiply(t, c, out=t)
        np.multiply(P, Q + bias, out=Delta)
        np.add(Delta, bias * Q, out=Delta)
        np.add(c, bias, out=c)
    np.subtract(Delta, t, out=Delta)
    if close is not None:
        # Delta <= r (Delta + t): all but a share r of the terms of Delta cancelled.
        np.multiply(t, _PARALLEL / (1 - _PARALLEL), out=t)
        close |= t >= Delta
    np.maximum(Delta, 0, out=Delta)
    free.append(t)
    used = [c, Delta, *free]
    count = _scratch(law, task.tangent)
    scratch = free[:count]
    if task.tangent:
        k, slope = law.pair_block(bias + P, bias + Q, c, Delta, *scratch, *task.scalars)
        if D is None:
            np.multiply(slope, c, out=slope)
        else:
            np.multiply(D, weight, out=D)
            np.add(D, c, out=D)
            np.multiply(slope, D, out=slope)
    else:
        k, slope = law.kernel_block(bias + P, bias + Q, c, Delta, *scratch, *task.scalars), None
    if layer.skip is not None:
        np.multiply(k, layer.branch, out=k)
        if slope is not None:
            np.multiply(slope, layer.branch, out=slope)
            np.add(slope, k, out=slope)
        for part, old in zip((k, slope), skipped, strict=False):
            np.add(part, old, out=part)
    spare = [*used, *skipped, *([] if D is None else [D])]
    free[:] = [array for array in spare if array is not k and array is not slope]
    return k, slope


def _feels(task: SimpleNamespace, i: int) -> bool:
    """Whether the formulas of a layer feel the rounding of p q - c^2, or of c, by more than that of their values.

    Asked of a grid over the variances, for parallel and opposite preactivations: a change by 64 (16) roundings must
    not change the kernel (and that of the derivative, for tangent kernels) by more than 32 of its norm.
    """
    layer = task.layers[i]
    if layer.law is None:
        return False
    p, q = (_grid(layer.bias + layer.weight * side[i]) for side in (task.rows, task.columns))
    p, q = p[:, None], q[None, :]
    eps = np.finfo(p.dtype).eps
    formulas = [(layer.law.kernel, layer.law.moment)]
    if task.tangent:
        formulas.append((layer.law.derivative_kernel, layer.law.derivative_moment))
    for kernel, moment in formulas:
        norm = np.sqrt(moment(p, *task.scalars)) * np.sqrt(moment(q, *task.scalars))
        for share in (0.0, 2.0**-40, 2.0**-20, 2.0**-10, _PARALLEL):
            Delta = share * p * q
            for c in (np.sqrt(p * q - Delta), -np.sqrt(p * q - Delta)):
                value = kernel(p, q, c, Delta, *task.scalars)
                rounded = kernel(p, q, c, Delta + 64 * eps * p * q, *task.scalars)
                shifted = kernel(p, q, c + 16 * eps * np.sqrt(p * q), Delta, *task.scalars)
                if not all(np.all(np.abs(x - value) <= 32 * eps * norm) for x in (rounded, shifted)):
                    return True
    return False


def _grid(v: np.ndarray) -> np.ndarray:
    """Return 9 values over the range of `v`, evenly in the logarithm."""
    largest = v.max()
    smallest = max(v.min(), largest * 1e-30, np.finfo(v.dtype).tiny)
    return np.geomspace(smallest, max(largest, smallest), 9).astype(v.dtype)


def _coincident(X: np.ndarray, Y: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows and the columns of each set of equal points (of more than one point for X with itself)."""
    weights = np.cos(np.arange(1, X.shape[1] + 1)).astype(X.dtype)
    points = [X] if Y is None else [X, Y]
    step = max(1, _CHUNK // X.shape[1])
    parts = [(part[i : i + step] * weights).sum(axis=-1) for part in points for i in range(0, len(part), step)]
    keys = np.concatenate([np.empty(0, X.dtype), *parts])
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=np.nan) != 0)
    ends = np.append(starts[1:], len(order))
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        members = order[start:end]
        while len(members) > 1:
            # Different points of equal key are told apart here.
            equal = np.array([(_row(X, Y, m) == _row(X, Y, members[0])).all() for m in members])
            group, members = members[equal], members[~equal]
            if Y is None:
                rows = columns = group
            else:
                rows, columns = group[group < len(X)], group[group >= len(X)] - len(X)
            if len(rows) and len(columns) and len(group) > 1:
                yield rows, columns


def _row(X: np.ndarray, Y: np.ndarray | None, member: int) -> np.ndarray:
    return X[member] if member < len(X) or Y is None else Y[member - len(X)]
