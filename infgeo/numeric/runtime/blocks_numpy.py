"""NumPy: what Gram matrices in blocks need of it. See `blocks`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # In an emitted file these stand above.
    from infgeo.numeric.runtime.blocks import _gram_in_blocks
    from infgeo.numeric.runtime.common import InputError


def _gram(
    X: np.ndarray,
    Y: np.ndarray | None,
    layers: Sequence[Any],
    scalars: tuple,
    wanted: str,
    out: Any = None,
    threads: int | None = None,
) -> Any:
    """Return the Gram matrix (N, M) of the kernel or the tangent kernel, or both for `wanted` = "both"."""
    if Y is not None and Y.shape == X.shape and (X is Y or np.array_equal(X, Y)):
        Y = None
    X = np.ascontiguousarray(X)
    Y = None if Y is None else np.ascontiguousarray(Y)
    shape = len(X), len(X if Y is None else Y)
    outs = _outputs(out, shape, X.dtype, 2 if wanted == "both" else 1, [X] if Y is None else [X, Y])
    with _quiet():  # Where a formula has no value, the pair is computed again.
        _gram_in_blocks(X, Y, layers, scalars, wanted, outs, _thread_count(threads))
    return outs if wanted == "both" else outs[0]


def _outputs(out: Any, shape: tuple, dtype: Any, count: int, inputs: list) -> tuple:
    """Return the arrays to write to: `out`, checked, or new ones."""
    if out is None:
        return tuple(np.empty(shape, dtype) for _ in range(count))
    try:
        outs = (out,) if count == 1 else tuple(out)
    except TypeError as error:
        raise InputError(f"out = {out!r} must be two arrays: (kernel, tangent kernel)") from error
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
    if count == 2 and np.shares_memory(*outs):
        raise InputError("both arrays of out share memory: pass two")
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


def _coincident(X: np.ndarray, Y: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows and the columns of each set of equal points (of more than one point for X with itself)."""
    weights = np.cos(np.arange(1, X.shape[1] + 1)).astype(X.dtype)
    points = [X] if Y is None else [X, Y]
    step = max(1, 2**20 // X.shape[1])
    parts = [(part[i : i + step] * weights).sum(axis=-1) for part in points for i in range(0, len(part), step)]
    keys = np.concatenate([np.empty(0, X.dtype), *parts])
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    tied = ordered[1:] == ordered[:-1]
    if not tied.any():
        return
    starts = np.append(0, np.flatnonzero(~tied) + 1)
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


def _side(like: np.ndarray, threads: int) -> int:
    """Points on a side of a block; several threads take longer ones, to hold their common lock less often."""
    single = like.itemsize < 8
    return (400 if single else 296) if threads > 1 else (240 if single else 208)


def _quiet() -> Any:
    return np.errstate(all="ignore")


def _wider(dtype: Any) -> Any:
    return np.float64 if dtype == np.float32 else np.longdouble


def _cast(a: np.ndarray, dtype: Any) -> np.ndarray:
    return a.astype(dtype, copy=False)


def _contiguous(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a)


def _empty(like: np.ndarray, count: int) -> np.ndarray:
    return np.empty(count, like.dtype)


def _false(like: np.ndarray, shape: tuple) -> np.ndarray:
    return np.zeros(shape, bool)


def _one(like: np.ndarray) -> float:
    return 1.0


def _values(like: np.ndarray, values: list[float]) -> np.ndarray:
    return np.array(values, like.dtype)


def _arange(like: np.ndarray, count: int) -> np.ndarray:
    return np.arange(count)


def _true(mask: np.ndarray) -> tuple:
    """Return the indices where a mask is true, an array for each axis."""
    return np.nonzero(mask)


def _clip(a: np.ndarray, low: float, high: float | None) -> None:
    np.clip(a, low, high, out=a)
