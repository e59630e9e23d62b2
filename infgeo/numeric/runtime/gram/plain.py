"""Gram matrices by broadcasting: with derivatives all pairs at once, without them some rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infgeo.numeric.runtime.layers import pairs_after, point_after
from infgeo.numeric.runtime.range import check_apart, marked, out_of_range, rooted
from infgeo.numeric.runtime.records import Array, Pairs

ROWS = 2**14  # pairs at a time, whose values stay in the cache
ON_DEVICES = 2**22  # and on devices, which are slow to start


def chosen(h: Any, wanted: str) -> tuple:
    """Return the kernel, the tangent kernel ("ntk") or "both" of features."""
    k = h.c if isinstance(h, Pairs) else h.f
    return (k,) if wanted == "kernel" else (k + h.D,) if wanted == "ntk" else (k, k + h.D)


def gram_by_rows(
    xp: Any, X: Array, Y: Array, layers: Sequence[Any], scalars: Any, wanted: str, outs: Any = None
) -> tuple:
    """Return the Gram matrices (N, M) of X and Y, or of X with itself where Y is None; coincident points take k(x, x).

    In double precision, written to `outs` where they are given; without derivatives.
    """
    x, slope = xp.double(X), wanted != "kernel"
    y, kind = x if Y is None else xp.double(Y), "ntk" if slope else "kernel"
    outs = outs or tuple(xp.lib.empty((len(x), len(y)), dtype=X.dtype) for _ in chosen(Pairs(*[0.0] * 6), wanted))
    step = max(1, (ROWS if xp.on_host(X) else ON_DEVICES) // (len(y) + 1))
    with xp.quiet():
        diagonal = chosen(point_after(xp, layers, xp.sum_squares(x), scalars, slope), wanted)
        for start in range(0, len(x), step):
            rows, first = slice(start, start + step), start if Y is None else 0
            pairs = xp.pairs(x[rows], y[first:])
            found = chosen(pairs_after(xp, layers, pairs, scalars, kind), wanted)
            for out, values, own in zip(outs, found, diagonal, strict=True):
                values = xp.lib.where(pairs.delta == 0, own[rows][:, None], values)
                out[rows, first:] = values
                if Y is None:
                    size = values.shape[0]
                    out[rows, rows] = xp.lib.triu(values[:, :size]) + xp.lib.triu(values[:, :size], 1).T
                    out[start + size :, rows] = values[:, size:].T
    return outs


def gram_at_once(xp: Any, X: Array, Y: Array, layers: Sequence[Any], scalars: Any, wanted: str) -> tuple:
    """Return the Gram matrices of X and Y with derivatives; that of X with itself (Y is None) is symmetric."""
    x, kind = xp.double(X), "kernel" if wanted == "kernel" else "ntk"
    y = x if Y is None else xp.double(Y)
    lost = [out_of_range(xp, layers, Z, scalars, kind) for Z in (X, X if Y is None else Y)]
    found = chosen(pairs_after(xp, layers, xp.pairs(x, y), scalars, kind), wanted)
    results = tuple(marked(xp, marked(xp, xp.cast(part, X), lost[0]).T, lost[1]).T for part in found)
    return results if Y is not None else tuple(xp.lib.triu(part) + xp.lib.triu(part, 1).T for part in results)


def distances(xp: Any, X: Array, Y: Array, layers: Sequence[Any], scalars: Any, squared: bool) -> Array:
    """Return |Phi(x) - Phi(y)|, or its square, for every pair of rows."""
    lost = [out_of_range(xp, layers, Z, scalars, "kernel") for Z in (X, Y)]
    result = distances_in_range(xp, X, Y, layers, scalars, squared)
    return marked(xp, marked(xp, result, lost[0]).T, lost[1]).T


def distances_in_range(xp: Any, X: Array, Y: Array, layers: Sequence[Any], scalars: Any, squared: bool) -> Array:
    """Return the same of points at which no digits are lost."""
    pairs = xp.pairs(xp.double(X), xp.double(Y))
    check_apart(xp, X, Y, pairs.delta)
    squares = xp.positive(pairs_after(xp, layers, pairs, scalars, "distance").delta)
    return xp.cast(rooted(xp, squares, squared, X), X)
