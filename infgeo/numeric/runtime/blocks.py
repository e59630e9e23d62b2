"""Gram matrices in blocks that fit the cache: in place, half of symmetric ones, in threads. For NumPy and torch.

Most pairs need less than `common._pair_layers` gives: p q - c^2 is a difference, but it loses digits for nearly
parallel preactivations alone, and many formulas do not feel that. So a block is computed by plain formulas, and the
pairs where both hold, nearly parallel and felt, are computed again from the difference of the points.

Laws with `extra` = e take p, q, c and Delta in other meanings: P = sqrt(p + e), Q = sqrt(q + e), the cosine
rho = c/(P Q) and 1 - rho^2. Of a first layer, one matrix product of scaled points gives rho. Tangent kernels of
several layers of degree 1 have a way of their own, see `bent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above, or below.
    from infgeo.numeric.runtime.bent import _bends, _versine_block, _versine_sides
    from infgeo.numeric.runtime.blocks_numpy import (
        _arange,
        _cast,
        _clip,
        _coincident,
        _contiguous,
        _empty,
        _one,
        _quiet,
        _side,
        _true,
        _wider,
    )
    from infgeo.numeric.runtime.common import _diagonal_layers, _pair_layers
    from infgeo.numeric.runtime.felt import _feels, _felt_from, _is_bounded, _is_first
    from infgeo.numeric.runtime.for_numpy import (
        _PARALLEL,
        _WIDEST,
        _close_pairs,
        _diagonal_of,
        _double,
        _ratio,
        _sum_squares,
        _xp,
    )
    from infgeo.numeric.runtime.range import _examined

_WAVES = 3 / 8  # shares of p + q from which |c| makes squares of sums and differences small
_SMALL = 2**12  # pairs below which blocks are not worth their overhead
_BUFFERS = 2**22  # numbers in all buffers together: 32 MiB of float64
_AGAIN = 2**16  # pairs that wait to be computed again
_PAIRS = 2**13  # pairs at a time where each is computed by itself
_STEP = 2**17  # coordinates of points held at a time for their differences


def _gram_in_blocks(
    X: Any, Y: Any, layers: Sequence[Any], scalars: tuple, wanted: str, outs: tuple, threads: int
) -> None:
    """Write the Gram matrix (N, M) of the kernel or the tangent kernel to `outs`, or both for `wanted` = "both".

    Coincident points take the values of the diagonal, to the bit, and the matrix of X with itself (Y is None) is
    symmetric.
    """
    kinds = {"both": ("kernel", "ntk")}.get(wanted, (wanted,))
    points, lost = _in_range((X,) if Y is None else (X, Y), layers, scalars, kinds[-1])
    task = SimpleNamespace(X=points[0], Y=points[-1], symmetric=Y is None, layers=layers, scalars=scalars)
    task.squares = tuple(map(_sum_squares, points))
    task.kinds, task.outs, task.tangent, task.format = kinds, outs, "ntk" in kinds, points[0].dtype
    if _grows(task) and _wider(X.dtype):
        task.format, task.layers = _wider(X.dtype), [getattr(layer, "exact", layer) for layer in layers]
        _all_pairs(task, _arange(X, len(X)), _arange(X, len(task.Y)))
    elif len(X) * len(task.Y) <= _SMALL or any(layer.law and not layer.law.kernel_block for layer in layers):
        _all_pairs(task, _arange(X, len(X)), _arange(X, len(task.Y)))
    else:
        _large(task, threads)
    _extremes(task, lost)
    for kind, result in zip(kinds, outs, strict=True):
        diagonal = _diagonal_of(layers, X, scalars, kind == "ntk")
        for rows, columns in _coincident(X, Y):
            result[rows[:, None], columns[None, :]] = diagonal[rows[:1]]
        if Y is None:
            index = _arange(X, len(X))
            result[index, index] = diagonal


def _grows(task: SimpleNamespace) -> bool:
    """Whether exponents grow with the variances, and these are so large that the format cannot hold them."""
    for i, layer in enumerate(task.layers):
        if layer.law and getattr(layer.law, "grows", False):
            for squares in task.squares:
                v = layer.bias + layer.weight * _diagonal_layers(task.layers[:i], squares, task.scalars, False)
                if len(v) and float(v.max()) > 1:
                    return True
    return False


def _all_pairs(task: SimpleNamespace, rows: Any, columns: Any) -> None:
    """Compute every pair of some rows and columns with all care; of a symmetric matrix also the mirror images."""
    rows, columns = (index.ravel() for index in _xp.meshgrid(rows, columns, indexing="ij"))
    if task.symmetric and len(rows) == len(task.X) ** 2:
        upper = rows <= columns
        rows, columns = rows[upper], columns[upper]
    _write_pairs(task, rows, columns)


def _write_pairs(task: SimpleNamespace, rows: Any, columns: Any) -> None:
    """Compute some pairs, and of a symmetric matrix their mirror images, with all care."""
    for result, values in zip(task.outs, _careful(task, rows, columns), strict=True):
        values = _cast(values, result.dtype)
        result[rows, columns] = values
        if task.symmetric:
            result[columns, rows] = values


def _in_range(points: tuple, layers: Sequence[Any], scalars: tuple, wanted: str) -> tuple[tuple, list]:
    """Return the points in a format that keeps the digits, and the rows that need a wider one than double."""
    found = [_examined(Z, layers, scalars, wanted, Z.dtype) for Z in points]
    if any(single.any() for single, _ in found):
        points = tuple(_double(Z) for Z in points)
    return points, [_true(lost)[0] for _, lost in found]


def _extremes(task: SimpleNamespace, lost: list) -> None:
    """Compute the pairs of the rows that leave double precision again, in a format of wider range."""
    task = SimpleNamespace(**vars(task) | {"format": _WIDEST})
    for i in lost[0]:
        _all_pairs(task, i[None], _arange(task.X, len(task.Y)))
    for j in lost[-1] if not task.symmetric else ():
        _all_pairs(task, _arange(task.X, len(task.X)), j[None])


def _careful(task: SimpleNamespace, rows: Any, columns: Any) -> list:
    """Return the values of some pairs, from the differences of their points."""
    results = [_empty(task.X, len(rows)) for _ in task.kinds]
    step = max(1, min(_PAIRS, _STEP // task.X.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        x, y = (_cast(Z[index[part]], task.format) for Z, index in ((task.X, rows), (task.Y, columns)))
        distance, omega, gram = _close_pairs(x, y)
        p, q, xy = _sum_squares(x), _sum_squares(y), (x * y).sum(axis=-1)
        state = SimpleNamespace(p=p, q=q, c=xy, omega=omega, delta=distance, Delta=gram)
        features, D = _pair_layers(task.layers, state, task.scalars, "ntk" if task.tangent else "kernel")
        for kind, values in zip(task.kinds, results, strict=True):
            values[part] = features.c + D if kind == "ntk" else features.c
    return results


def _large(task: SimpleNamespace, threads: int) -> None:
    """Compute all blocks, those above the diagonal alone where the matrix is symmetric."""
    task.rows = _sides(task, task.X, task.squares[0])
    task.columns = task.rows if task.symmetric else _sides(task, task.Y, task.squares[1])
    residual = any(layer.law and layer.skip is not None for layer in task.layers)
    task.bends = _bends(task)
    if task.bends:
        first = _versine_sides(task, task.X, task.squares[0], task.rows)
        task.versines = first, first if task.symmetric else _versine_sides(task, task.Y, task.squares[1], task.columns)
        return _work(task, threads, _versine_block, 4 + 2 * residual)
    # Pairs are computed again where 1 - rho^2 is below this (where it is felt, for laws without rho: then _PARALLEL).
    task.near = [
        _felt_from(task, i) if layer.law and layer.law.extra else _feels(task, i) * _PARALLEL
        for i, layer in enumerate(task.layers)
    ]
    task.bounded = [_is_bounded(task, i) for i in range(len(task.layers))]
    task.waves = [
        bool(layer.law and layer.law.kernel_of_squares and max(float(side[i].v.max()) for side in sides) > 1)
        for i, layer in enumerate(task.layers)
        for sides in [(task.rows, task.columns)]
    ]
    first = task.layers[0]
    task.scaled = None
    if first.law and first.law.extra and first.skip is None:
        task.scaled = tuple(_scaled(Z, first, sides[0]) for Z, sides in ((task.X, task.rows), (task.Y, task.columns)))
    x, y = task.scaled or (task.X, task.Y)
    task.factors = x, _contiguous(y.T)  # products of few columns are faster so
    scratch = max((_scratch(layer.law, task.tangent) for layer in task.layers if layer.law), default=0)
    return _work(task, threads, _block, (3 + task.tangent) * (1 + residual) + scratch)


def _work(task: SimpleNamespace, threads: int, block: Callable, needed: int) -> None:
    """Call `block` for all blocks, each thread with so many buffers of its own as are `needed`."""
    side = max(32, min(_side(task.X, threads), int((_BUFFERS / (threads * needed)) ** 0.5)))
    blocks = iter(
        [(i, j) for i in range(0, len(task.X), side) for j in range(i if task.symmetric else 0, len(task.Y), side)]
    )

    def work() -> None:
        buffers = [_empty(task.X, side * side) for _ in range(needed)]
        again: list[tuple] = []  # rows and columns of pairs that need more care
        waiting = 0
        with _quiet():  # The state of a thread.
            for i, j in blocks:
                waiting += block(task, slice(i, i + side), slice(j, j + side), buffers, again)
                if waiting > _AGAIN:
                    _compute_again(task, again)
                    waiting = 0
            _compute_again(task, again)

    threads = min(threads, -(-len(task.X) // side) * -(-len(task.Y) // side))
    if threads == 1:
        return work()
    with ThreadPoolExecutor(threads - 1) as pool:
        try:
            others = [pool.submit(work) for _ in range(threads - 1)]
            work()
            for done in others:
                done.result()
        finally:
            for _ in blocks:  # After an error or an interrupt the others stop at their next block.
                pass
    return None


def _sides(task: SimpleNamespace, Z: Any, h: Any) -> list[SimpleNamespace]:
    """Return for each layer what it needs of single points: h = |h|^2 before it, the variance v, P and 1/P."""
    sides = []
    for i, layer in enumerate(task.layers):
        side = SimpleNamespace(h=h)
        if layer.law:
            side.v = layer.bias + layer.weight * h
            if layer.law.extra:
                extra = layer.law.extra(*task.scalars)
                v = side.v
                if i == 0 and Z.dtype != _xp.float64:  # Single points cost little.
                    v = layer.bias + layer.weight * _sum_squares(_cast(Z, _xp.float64))
                length = _xp.sqrt(v + extra)
                side.length, side.inverse = (_cast(part, Z.dtype) for part in (length, _ratio(1.0, length)))
        sides.append(side)
        h = _diagonal_layers([layer], h, task.scalars, False)
    return sides


def _scaled(Z: Any, layer: Any, side: SimpleNamespace) -> Any:
    """Return points whose products are rho: (sqrt(weight) x, sqrt(bias)) / P."""
    weighted = Z * (layer.weight**0.5 * side.inverse)[:, None]
    return _xp.concatenate([weighted, (layer.bias**0.5 * side.inverse)[:, None]], 1)


def _scratch(law: Any, tangent: bool) -> int:
    return max(law.pair_buffers, law.first_buffers) if tangent else law.kernel_buffers


def _compute_again(task: SimpleNamespace, again: list[tuple]) -> None:
    """Compute some pairs, and their mirror images, with all care; empties the list."""
    if again:
        rows, columns = (_xp.concatenate(part) for part in zip(*again, strict=True))
        again.clear()
        _write_pairs(task, rows, columns)


def _block(task: SimpleNamespace, rows: slice, columns: slice, buffers: list, again: list[tuple]) -> int:
    """Compute one block, and its mirror image; add the pairs that need more care to `again`, return how many."""
    x, y = task.factors
    x, y = x[rows], y[:, columns]
    shape = len(x), y.shape[1]
    free = [buffer[: shape[0] * shape[1]].reshape(shape) for buffer in buffers]
    close: list = []  # indices into the block of pairs to compute again
    f: Any = _xp.matmul(x, y, out=free.pop())
    D: Any = None
    for i, layer in enumerate(task.layers):
        sides = task.rows[i], task.columns[i]
        if layer.law:
            f, D = _dense_block(task, i, rows, columns, f, D, free, close)
            continue
        p, q = (side.h[part] for side, part in zip(sides, (rows, columns), strict=True))
        for factor in (
            _ratio(layer.unit**0.5, _xp.sqrt(p + layer.epsilon))[:, None],
            _ratio(layer.unit**0.5, _xp.sqrt(q + layer.epsilon))[None, :],
        ):
            _xp.multiply(f, factor, out=f)
            if D is not None:
                _xp.multiply(D, factor, out=D)
        if D is not None:
            _xp.divide(D, layer.unit, out=D)
    blocks = {"kernel": f, "ntk": _xp.add(f, D, out=D) if task.tangent else None}
    return _store(task, rows, columns, blocks, free[-1], close, again)


def _store(
    task: SimpleNamespace,
    rows: slice,
    columns: slice,
    blocks: dict[str, Any],
    spare: Any,
    close: list,
    again: list[tuple],
) -> int:
    """Write a block and its mirror image; add pairs, at these indices into it, to `again`, and return how many.

    `spare` is a buffer: transposed within the cache, the mirror image is written as fast as the block.
    """
    shape = blocks[task.kinds[0]].shape
    if close:
        at = close[0] if len(close) == 1 else _xp.unique(_xp.concatenate(close))
        at = at // shape[1], at % shape[1]
        if task.symmetric and rows == columns:
            upper = at[0] < at[1]
            at = at[0][upper], at[1][upper]
        again.append((at[0] + rows.start, at[1] + columns.start))
    for kind, result in zip(task.kinds, task.outs, strict=True):
        values = blocks[kind]
        if task.symmetric:
            mirror = spare.reshape(shape[::-1])
            mirror[...] = values.T
            if rows == columns:  # The two values of a pair differ by rounding: take the same for both.
                _xp.maximum(values, mirror, out=values)
            else:
                result[columns, rows] = mirror
        result[rows, columns] = values
    return len(again[-1][0]) if close else 0


def _dense_block(
    task: SimpleNamespace, i: int, rows: slice, columns: slice, f: Any, D: Any, free: list, close: list
) -> tuple[Any, Any]:
    """Return the features' kernel and tangent kernel after a layer with weights; marks pairs to compute again.

    Buffers go back to `free`.
    """
    layer = task.layers[i]
    weight, bias, law = layer.weight, layer.bias, layer.law
    side, other = task.rows[i], task.columns[i]
    skipped = (
        [] if layer.skip is None else [_xp.multiply(x, layer.skip, out=free.pop()) for x in (f, D) if x is not None]
    )
    name = "kernel" if not task.tangent else "first" if _is_first(task, i) else "pair"
    c, sine = f, free.pop()
    if law.extra:
        if i > 0 or task.scaled is None:
            _affine_block(c, D, weight, bias, weight)
            _xp.multiply(side.inverse[rows, None], other.inverse[None, columns], out=sine)
            _xp.multiply(c, sine, out=c)
        _sine_block(task, i, c, sine, free[-1], close, getattr(law, f"{name}_has_sine"))
        p, q = side.length[rows, None], other.length[None, columns]
    else:
        p, q = side.v[rows, None], other.v[None, columns]
        _determinant_block(task, i, c, sine, free[-1], (side.h[rows, None], other.h[None, columns]), close)
        _affine_block(c, D, 1.0, bias, weight)
        if task.waves[i]:
            # Exponents p + q -+ 2c that cancel by more than a factor of 4.
            _xp.abs(c, out=free[-1])
            _xp.subtract(free[-1], _WAVES * p, out=free[-1])
            close += _true((free[-1] >= _WAVES * q).reshape(-1))
    used = [c, sine, *free]
    scratch = free[: getattr(law, f"{name}_buffers")]
    result = getattr(law, f"{name}_block")(p, q, c, sine, *scratch, *task.scalars)
    k: Any
    slope: Any
    k, slope = result if task.tangent else (result, None)
    if D is not None:
        _xp.multiply(slope, D, out=slope)
    if layer.skip is not None:
        _xp.multiply(k, layer.branch, out=k)
        if slope is not None:
            _xp.multiply(slope, layer.branch, out=slope)
            _xp.add(slope, k, out=slope)
        for part, old in zip((k, slope), skipped, strict=False):
            _xp.add(part, old, out=part)
    spare = [*used, *skipped, *([] if D is None else [D])]
    free[:] = [array for array in spare if array is not k and array is not slope]
    return k, slope


def _affine_block(c: Any, D: Any, weight: Any, bias: Any, weight_of_D: Any) -> None:
    """Write w c + b to c, and w D + c to D: the preactivations' kernel, and what multiplies that of the derivative."""
    if weight != 1:
        _xp.multiply(c, weight, out=c)
    if bias != 0:
        _xp.add(c, bias, out=c)
    if D is not None:
        _xp.multiply(D, weight_of_D, out=D)
        _xp.add(D, c, out=D)


def _sine_block(task: SimpleNamespace, i: int, c: Any, sine: Any, t: Any, close: list, needed: bool) -> None:
    """Write 1 - c^2 if it is needed, mark the pairs where it is small and felt, and keep c in [-1, 1]; t is scratch.

    As (1 - c) (1 + c), whose factors are exact where they are small: formulas take it and c for one angle.
    """
    near = task.near[i]
    if not needed and not near and task.bounded[i]:
        return
    _xp.subtract(_one(c), c, out=sine)
    _xp.add(c, 1, out=t)
    _xp.multiply(sine, t, out=sine)
    least = sine.min()
    if near and least <= near:
        close += _true((sine <= near).reshape(-1))
    if least < 0:
        _clip(sine, 0, None)
        _clip(c, -1, 1)


def _determinant_block(task: SimpleNamespace, i: int, c: Any, Delta: Any, t: Any, squares: tuple, close: list) -> None:
    """Write p q - c^2 of the preactivations to Delta, and u = w c to c; t is scratch.

    With P = w p, Q = w q: Delta = P Q + b (P + Q) - u (u + 2 b).
    """
    weight, bias = task.layers[i].weight, task.layers[i].bias
    P, Q = (weight * part for part in squares)
    if weight != 1:
        _xp.multiply(c, weight, out=c)
    if bias == 0:
        _xp.square(c, out=t)
        _xp.multiply(P, Q, out=Delta)
    else:
        _xp.add(c, 2 * bias, out=t)
        _xp.multiply(t, c, out=t)
        _xp.multiply(P, Q + bias, out=Delta)
        _xp.add(Delta, bias * Q, out=Delta)
    _xp.subtract(Delta, t, out=Delta)
    if task.near[i]:
        # Delta <= r (Delta + t): all but a share r of the terms of Delta cancelled.
        _xp.multiply(t, _PARALLEL / (1 - _PARALLEL), out=t)
        close += _true((t >= Delta).reshape(-1))
    _clip(Delta, 0, None)
