"""Functions of Dask arrays of points, as Dask arrays of blocks: larger than memory, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from infgeo.errors import InvalidInput
from infgeo.numeric.geometry import NumericGeometry

_PAIRS = ("kernel", "ntk", "kernel_distance")


def in_blocks(geometry: NumericGeometry, name: str, X: Any, *arguments: Any) -> Any:
    """Return a function of points that are chunked along rows, in blocks that are computed where Dask puts them.

    Arguments are those of the method `name` of a geometry. What is wrong with the values of points is raised when their
    block is computed.
    """
    if geometry.backend != "numpy":
        raise InvalidInput(f"Dask arrays are for backend = 'numpy', this is {geometry.backend}: take that")
    if name == "kernel_and_ntk":
        return tuple(in_blocks(geometry, kind, X, *arguments) for kind in ("kernel", "ntk"))
    pairwise = name in _PAIRS
    X = _rows(X, "X", pairwise)
    if not pairwise:
        axes = tuple(range(X.ndim - 1))
        new = {X.ndim: X.shape[-1], X.ndim + 1: X.shape[-1]} if name == "metric" else {}
        indices = (*axes, *new), X, tuple(range(X.ndim))
        return da.blockwise(partial(geometry._call, name), *indices, new_axes=new, concatenate=True, meta=_meta(X))
    Y, *rest = arguments
    if rest and isinstance(rest[0], tuple):
        out, threads = rest[0]
        if out is not None:
            raise InvalidInput("out is for arrays in memory, and X is a Dask array: leave it out")
        rest = [(None, 1 if threads is None else threads)]  # Dask has its own
    block = partial(_block, geometry, name, tuple(rest))
    if Y is None:
        return _symmetric(block, name, X)
    Y = _rows(Y, "Y", True)
    if X.shape[1] != Y.shape[1]:
        raise InvalidInput(f"X has points of dimension {X.shape[1]} and Y of {Y.shape[1]}: they must agree")
    return da.blockwise(block, "ij", X, "ik", Y, "jk", concatenate=True, meta=_meta(X))


def _block(geometry: NumericGeometry, name: str, rest: tuple, x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    return geometry._call(name, x, y, *rest)


def _symmetric(block: Callable, name: str, X: Any) -> Any:
    """Return the matrix of points with themselves: blocks left of the diagonal are the mirror images of others."""
    key, count = f"{name}-{tokenize(block, X)}", X.numblocks[0]
    graph: dict[Any, Any] = {}
    for i in range(count):
        graph[key, i, i] = (block, (X.name, i, 0))
        for j in range(i + 1, count):
            graph[key, i, j] = (block, (X.name, i, 0), (X.name, j, 0))
            graph[key, j, i] = (np.transpose, (key, i, j))
    layers = HighLevelGraph.from_collections(key, graph, dependencies=[X])
    return da.Array(layers, key, (X.chunks[0], X.chunks[0]), meta=_meta(X))


def _rows(X: Any, name: str, pairwise: bool) -> Any:
    """Return points as a Dask array whose chunks hold whole points."""
    try:
        array = da.asarray(X)
        np.dtype(array.dtype)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{name} cannot be made a Dask array ({error}): pass one, or an array of NumPy") from error
    if array.ndim == 0 or (pairwise and array.ndim != 2):
        raise InvalidInput(f"{name} has shape {array.shape}, expected {'(N, d)' if pairwise else '(..., d)'}")
    if np.isnan(array.shape[-1]):
        raise InvalidInput(f"{name} has points of unknown dimension: call its compute_chunk_sizes() first")
    return array.rechunk({array.ndim - 1: -1})


def _meta(X: Any) -> np.ndarray:
    return np.empty(0, X.dtype)
