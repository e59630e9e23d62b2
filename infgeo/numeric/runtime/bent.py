"""Tangent kernels of many layers of ReLU and its like in blocks, carried by the versine of the angle. See `blocks`.

Of an activation of degree 1, a z + b |z|, pairs of lengths P, Q at an angle t with the versine 1 - cos t need

    versine' = versine - bend (sin t - t cos t),    E[phi'(u) phi'(v)] = m0 (1 - bend t),

with bend = 2 b^2 / (pi (a^2 + b^2)). With depth all angles become small, and a cosine has no digits of small angles.
The versine has: its terms are of the order of t at most, so they leave t an error of one rounding of 1. The features
of biases and residual blocks are independent of those they are added to, and turn the pair: where cos(A) and sin(A)
are the shares of x, cos(B) and sin(B) those of y,

    versine' = cos(A) cos(B) versine + sin(A) sin(B) versine_added + 1 - cos(A - B).

D, the tangent kernel, is carried in units of P Q.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above, or below.
    from infgeo.numeric.runtime.blocks import _STEP, _store
    from infgeo.numeric.runtime.blocks_numpy import _cast, _clip, _one, _true
    from infgeo.numeric.runtime.common import _diagonal_layers
    from infgeo.numeric.runtime.for_numpy import _ratio, _sum_squares, _xp

_NEAR = 2.0**-5  # versines below this come from the difference of unit vectors; so near 2, pairs take all care
_SLIGHT = 2.0**-6  # an activation that bends less leaves nearly opposite pairs nearly opposite


def _bends(task: SimpleNamespace) -> list | None:
    """Return the bend of each layer; None for kernels that are not computed here."""
    laws = [layer.law for layer in task.layers if layer.law]
    if not task.tangent or len(laws) < 2 or not all(law.bend for law in laws):
        return None
    return [float(layer.law.bend(*task.scalars)) if layer.law else 0.0 for layer in task.layers]


def _versine_sides(task: SimpleNamespace, Z: Any, squares: Any, sides: list[SimpleNamespace]) -> SimpleNamespace:
    """Return what single points give: unit vectors, final lengths, and for each layer the turns by its additions."""
    turns = []
    for layer, side in zip(task.layers, sides, strict=True):
        bias = skip = None
        if layer.law and layer.bias != 0:
            bias = _turn(layer.weight * side.h, 0 * side.h + layer.bias)
        if layer.law and layer.skip is not None:
            skip = _turn(layer.skip * side.h, layer.branch * layer.law.moment(side.v, *task.scalars))
        turns.append(SimpleNamespace(bias=bias, skip=skip))
    unit = Z * _ratio(1.0, _xp.sqrt(squares))[:, None]
    length = _xp.sqrt(_diagonal_layers(task.layers, squares, task.scalars, False))
    return SimpleNamespace(unit=unit, length=_cast(length, Z.dtype), turns=turns)


def _turn(kept: Any, added: Any) -> SimpleNamespace:
    """Return the shares of squared lengths, and factors of sqrt(2) sin((A - B)/2), whose square is 1 - cos(A - B)."""
    angle = _xp.arctan2(_xp.sqrt(added), _xp.sqrt(kept))
    sine, cosine = _xp.sin(angle / 2), _xp.cos(angle / 2)
    left, right = _xp.stack([2**0.5 * sine, -(2**0.5) * cosine], 1), _xp.stack([cosine, sine], 1)
    return SimpleNamespace(kept=_xp.cos(angle), added=_xp.sin(angle), left=left, right=right)


def _versine_block(task: SimpleNamespace, rows: slice, columns: slice, buffers: list, again: list[tuple]) -> int:
    """Compute one block as `blocks._block` does."""
    left, right = task.versines
    x, y = left.unit[rows], right.unit[columns]
    shape = len(x), len(y)
    versine, D, s, t, *kept = (buffer[: shape[0] * shape[1]].reshape(shape) for buffer in buffers)
    one = _one(versine)
    _xp.matmul(x, y.T, out=versine)
    _xp.subtract(one, versine, out=versine)
    _of_close_pairs(versine, x, y)
    started, opposite = False, True  # whether D has a value; whether pairs may be nearly opposite
    close: list = []
    for i, layer in enumerate(task.layers):
        if not layer.law:  # a normalisation changes lengths alone (the unit of features is 1)
            continue
        turns = left.turns[i], right.turns[i]
        before = kept[: 1 + started] if layer.skip is not None else []
        for copy, part in zip(before, (versine, D), strict=False):
            _xp.multiply(part, one, out=copy)
        if turns[0].bias:
            # The biases of two points are the same: their versine is 0.
            _mix([versine, D][: 1 + started], "kept", [turn.bias for turn in turns], rows, columns, s)
            _add_turn(versine, [turn.bias for turn in turns], rows, columns, s)
        if opposite:
            close += _true((versine >= 2 - _NEAR).reshape(-1))
            opposite = task.bends[i] < _SLIGHT or layer.skip is not None
        _bend(versine, D, started, task.bends[i], s, t)
        if before:
            _xp.subtract(D, versine, out=D)  # the tangent kernel of the block: its kernel, 1 - versine, and D
            _xp.add(D, one, out=D)
            _mix([versine, D], "added", [turn.skip for turn in turns], rows, columns, s)
            _mix(before, "kept", [turn.skip for turn in turns], rows, columns, s)
            for part, old in zip((versine, D), before, strict=False):
                _xp.add(part, old, out=part)
            _add_turn(versine, [turn.skip for turn in turns], rows, columns, s)
        started = True
    _xp.subtract(one, versine, out=versine)
    _xp.add(D, versine, out=D)
    blocks = {"kernel": versine, "ntk": D}
    for kind in task.kinds:
        _xp.multiply(blocks[kind], left.length[rows, None], out=blocks[kind])
        _xp.multiply(blocks[kind], right.length[None, columns], out=blocks[kind])
    return _store(task, rows, columns, blocks, s, close, again)


def _of_close_pairs(versine: Any, x: Any, y: Any) -> None:
    """Write |x - y|^2 / 2 to small versines of unit vectors."""
    flat, width = versine.reshape(-1), versine.shape[1]
    (near,) = _true(flat <= _NEAR)
    step = max(1, _STEP // x.shape[1])
    for start in range(0, len(near), step):
        at = near[start : start + step]
        flat[at] = _sum_squares(x[at // width] - y[at % width]) / 2


def _bend(versine: Any, D: Any, started: bool, bend: float, s: Any, t: Any) -> None:
    """Apply an activation: D becomes (1 - bend t) (D + cos t). s and t are scratch."""
    one = _one(versine)
    if started:
        _xp.subtract(D, versine, out=D)
        _xp.add(D, one, out=D)
    else:
        _xp.subtract(one, versine, out=D)
    _xp.subtract(2 * one, versine, out=s)
    _xp.multiply(s, versine, out=s)
    _xp.sqrt(s, out=s)
    _xp.multiply(s, bend, out=s)  # bend sin t
    _xp.multiply(versine, 0.5, out=t)
    _xp.sqrt(t, out=t)
    _xp.arcsin(t, out=t)
    _xp.multiply(t, 2 * bend, out=t)  # bend t
    _xp.subtract(s, versine, out=s)
    _xp.subtract(one, versine, out=versine)
    _xp.multiply(versine, t, out=versine)
    _xp.subtract(versine, s, out=versine)
    _clip(versine, 0, None)
    _xp.subtract(one, t, out=t)
    _xp.multiply(D, t, out=D)


def _mix(parts: list, share: str, turns: list, rows: slice, columns: slice, s: Any) -> None:
    """Multiply by the shares of both points; s is scratch."""
    x, y = (getattr(turn, share) for turn in turns)
    _xp.multiply(x[rows, None], y[None, columns], out=s)
    for part in parts:
        _xp.multiply(part, s, out=part)


def _add_turn(versine: Any, turns: list, rows: slice, columns: slice, s: Any) -> None:
    """Add 1 - cos(A - B); s is scratch."""
    _xp.matmul(turns[0].left[rows], turns[1].right[columns].T, out=s)
    _xp.square(s, out=s)
    _xp.add(versine, s, out=versine)
