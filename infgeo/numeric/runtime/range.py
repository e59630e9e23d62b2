"""Where a format keeps its digits: how large and how small what the layers reach becomes at each point.

Formulas multiply up to four variances, so all of them must lie between the fourth roots of the smallest and the largest
number of the format. Lengths of points say little of that: after some layers with scales of 100, or of 1/100, variances
leave every format at points of length 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above, or below.
    from infgeo.numeric.runtime.blocks_numpy import _quiet
    from infgeo.numeric.runtime.common import InputError
    from infgeo.numeric.runtime.for_numpy import (
        _WIDEST,
        _double,
        _known,
        _log,
        _ratio,
        _sqrt,
        _sum_squares,
        _xp,
    )


def _examined(
    X: Any, layers: Sequence[Any], scalars: tuple, wanted: str, holds: Any = None, variances: tuple | None = None
) -> tuple[Any, Any]:
    """Return at which points float32 loses digits of what is `wanted` (see `_reached`), and at which double does.

    Raises InputError where the widest format does, or where results are no normal numbers of the format `holds`.
    """
    with _quiet():
        reached = _reached(layers, _double(X), scalars, wanted)
        lost = _lost(reached, reached.last.dtype)
        single = _lost(reached, _xp.float32)
        if variances:
            least, most = variances
            beyond = (reached.lowest < least) | (reached.highest > most)
            _refuse(beyond, reached, reached.last.dtype)
            lost = lost | beyond
        known = _known(lost)
        if known is not None and bool(known.any()):
            if _WIDEST is None:
                _refuse(lost, reached, reached.last.dtype)
            wider = _reached(_exact_layers(layers), _xp.asarray(X, dtype=_WIDEST), scalars, wanted)
            _refuse(_lost(wider, _WIDEST), wider, _WIDEST)
            reached = wider
        if holds is not None:
            _refuse(_beyond(reached, holds), reached, holds)
    return single, lost


def _exact_layers(layers: Sequence[Any]) -> list:
    """Return the layers with their like in a wider format, where there is one."""
    return [getattr(layer, "exact", layer) for layer in layers]


def _reached(layers: Sequence[Any], x: Any, scalars: tuple, wanted: str) -> SimpleNamespace:
    """Return the `lowest` and the `highest` of what the layers reach at each point, and the `last` of it.

    These are the variances of preactivations, the squared norms that are divided by, and for `wanted` the features'
    "kernel", with the tangent kernel ("ntk"); nothing for "metric". 0 is exact at x = 0; elsewhere it is what has
    become too small.
    """
    f = _sum_squares(x)
    size = _xp.amax(abs(x), -1)
    D = 0 * f
    reached = []
    for layer in layers:
        if layer.law is None:
            norm = f + layer.epsilon
            reached.append(norm)
            f, D = (_ratio(part, norm) for part in (layer.unit * f, D))
            continue
        v = layer.bias + layer.weight * f
        reached.append(v)
        m = layer.law.moment(v, *scalars)
        slope = 0 * v + 1  # what is missing is said elsewhere
        if wanted == "ntk" and layer.law.derivative_moment:
            slope = layer.law.derivative_moment(v, *scalars)
        learned = slope * (v + layer.weight * D)
        if layer.skip is None:
            f, D = m, learned
        else:
            f, D = layer.skip * f + layer.branch * m, layer.skip * D + layer.branch * (m + learned)
        # A need not keep its fourth power: results are looked at themselves.
    last = {"kernel": f, "ntk": f + D}.get(wanted, _sum_squares(0 * x) + 1)
    low, high = _xp.full_like(last, math.inf), _xp.zeros_like(last)
    for part in (*reached, last):
        part = _xp.where((size == 0) & (part == 0), 1.0, _xp.where(part == part, part, math.inf))
        low, high = _xp.minimum(low, part), _xp.maximum(high, part)
    return SimpleNamespace(lowest=low, highest=high, last=last, size=_xp.zeros_like(last) + size)


def _lost(reached: SimpleNamespace, dtype: Any) -> Any:
    """Return at which points a format does not keep its digits."""
    limits = _xp.finfo(dtype)
    return ~((reached.lowest >= limits.tiny**0.25) & (reached.highest <= limits.max**0.25))


def _beyond(reached: SimpleNamespace, dtype: Any) -> Any:
    """Return where the last, a positive number, is no normal number of a format."""
    limits = _xp.finfo(dtype)
    held = (reached.last >= float(limits.tiny)) & (reached.last <= float(limits.max))
    return ~(held | ((reached.size == 0) & (reached.last == 0)))


def _refuse(lost: Any, reached: SimpleNamespace, dtype: Any) -> None:
    """Raise InputError if digits are lost at any point, as far as that is known."""
    known = _known(lost)
    if known is None or not bool(known.any()):
        return
    (at,) = _xp.where(known.reshape(-1))
    size, low, high = (
        _in_words(_known(part).reshape(-1)[at[0]]) for part in (reached.size, reached.lowest, reached.highest)
    )
    raise InputError(
        f"at a point with coordinates up to {size} what the layers reach goes from {low} to {high}:"
        f" {getattr(dtype, '__name__', dtype)} does not keep the digits; rescale the points, weight_std or bias_std,"
        " pass float64 points if these are float32, or take backend='mpmath'"
        " with many digits (mpmath.mp.dps)"
    )


def _check_apart(X: Any, Y: Any, distance: Any) -> None:
    """Raise InputError where the squared difference of two points vanishes in the format, and they differ."""
    near = _known(distance < float(_xp.finfo(distance.dtype).tiny) * 1e8)
    X, Y = _known(X), _known(Y)
    if near is None or X is None or Y is None or near.ndim > 2 or not bool(near.any()):
        return
    rows, columns = _xp.where(near)
    step = max(1, 2**20 // X.shape[1])
    for start in range(0, len(rows), step):
        i, j = rows[start : start + step], columns[start : start + step]
        apart = (X[i] != Y[j]).any(-1)
        if bool(apart.any()):
            first = ", ".join(str(int(part[apart][0])) for part in (i, j))
            raise InputError(
                f"X[i] and Y[j] for i, j = {first} differ by so little that the square vanishes in {distance.dtype}:"
                " rescale the points, pass float64 points if these are float32, or take backend='numpy' or 'mpmath'"
            )


def _rooted(squares: Any, squared: bool, dtype: Any) -> Any:
    """Return distances, or their squares, in a format; raises InputError where they are no numbers of it."""
    result = squares if squared else _sqrt(squares)
    limits = _xp.finfo(dtype)
    lost = (squares > 0) & (result < float(limits.tiny)) | ~(result <= float(limits.max))
    known = _known(lost)
    if known is not None and bool(known.any()):
        raise InputError(
            f"a distance{' squared' * squared} of {_in_words(_known(result)[known][0])} leaves the range of {dtype}:"
            " rescale the points, pass float64 points if these are float32, or take backend='mpmath'"
            " with many digits (mpmath.mp.dps)"
        )
    return result


def _unknown_as_nan(result: Any, lost: Any) -> Any:
    """Return a result, not a number where digits are lost and no error could say so: in a transformation."""
    if _known(lost) is not None:
        return result
    return _xp.where(lost.reshape(lost.shape + (1,) * (result.ndim - lost.ndim)), math.nan, result)


def _representable(result: Any, X: Any, what: str, positive: bool = False) -> Any:
    """Return a result of single points, checked to be a finite number of the format, `positive` ones a normal one.

    At x = 0 it is what it is: there metrics may vanish. Raises InputError.
    """
    size = result.diagonal(0, -2, -1).sum(-1) if result.ndim == X.ndim + 1 else result
    bad = ~(_xp.isfinite(size) & (abs(size) >= float(_xp.finfo(size.dtype).tiny) * positive))
    bad = bad & (_xp.amax(abs(X), -1) > 0)
    known = _known(bad)
    if known is None:
        return _unknown_as_nan(result, bad)
    if bool(known.any()):
        largest = _in_words(_xp.amax(_known(_xp.zeros_like(size) + _xp.amax(abs(X), -1))[known], 0))
        raise InputError(
            f"{what} leaves the range of {result.dtype}, at points with coordinates up to {largest}: rescale the"
            " points, weight_std or bias_std, pass float64 points if these are float32, or take backend='mpmath'"
            " with many digits (mpmath.mp.dps)"
        )
    return result


def _in_words(x: Any) -> str:
    """Return a number of any format, roughly."""
    power = float(_log(x)) / math.log(10)
    return f"1e{round(power)}" if math.isfinite(power) else "0" if power < 0 else "infinity"
