"""Which pairs of a Gram matrix feel that p q - c^2 is a difference, and must be computed again. See `blocks`."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above, or below.
    from infgeo.numeric.runtime.blocks_numpy import _false, _true, _values
    from infgeo.numeric.runtime.for_numpy import _PARALLEL, _all, _xp


def _feels(task: SimpleNamespace, i: int) -> bool:
    """Whether the formulas of a layer feel the rounding of p q - c^2, or of c, by more than that of their values.

    Asked of a grid over the variances, for parallel and opposite preactivations: a change by 64 (16) roundings must
    not change the kernel (and that of the derivative, for tangent kernels) by more than 32 of its norm.
    """
    layer = task.layers[i]
    if layer.law is None:
        return False
    p, q = _grid(task.rows[i].v)[:, None], _grid(task.columns[i].v)[None, :]
    eps = float(_xp.finfo(p.dtype).eps)
    formulas = [(layer.law.kernel, layer.law.moment)]
    if task.tangent:
        formulas.append((layer.law.derivative_kernel, layer.law.derivative_moment))
    for kernel, moment in formulas:
        norm = _xp.sqrt(moment(p, *task.scalars)) * _xp.sqrt(moment(q, *task.scalars))
        for share in (0.0, 2.0**-40, 2.0**-20, 2.0**-10, _PARALLEL):
            Delta = share * p * q
            for c in (_xp.sqrt(p * q - Delta), -_xp.sqrt(p * q - Delta)):
                value = kernel(p, q, c, Delta, *task.scalars)
                rounded = kernel(p, q, c, Delta + 64 * eps * p * q, *task.scalars)
                shifted = kernel(p, q, c + 16 * eps * _xp.sqrt(p * q), Delta, *task.scalars)
                if not all(_all(abs(x - value) <= 32 * eps * norm) for x in (rounded, shifted)):
                    return True
    return False


def _felt_from(task: SimpleNamespace, i: int) -> float:
    """Return the largest 1 - rho^2, from a grid, where a change of rho changes a value by 4 times as much; or 0.

    Changes of values are in units of their norm, and asked of a grid over the variances.
    """
    law = task.layers[i].law
    name = "kernel" if not task.tangent else "first" if _is_first(task, i) else "pair"
    v = _grid(task.rows[i].v)
    w = v if task.symmetric else _grid(task.columns[i].v)
    extra = law.extra(*task.scalars)
    P, Q = _xp.sqrt(v + extra)[None, :, None], _xp.sqrt(w + extra)[None, None, :]
    digits = round(-math.log2(_xp.finfo(v.dtype).eps))
    levels = [2.0**-n for n in (*range(1, 9), *range(12, digits - 7, 4))]
    sine = _values(v, levels + levels)[:, None, None]
    sign = _values(v, [1.0] * len(levels) + [-1.0] * len(levels))[:, None, None]
    shape = len(sine), len(v), len(w)
    P, Q = P + 0 * sine, Q + 0 * sine  # torch does not spread a product of thin ones over `out`
    values = []
    for shift in (-1 / 16, 1 / 16):
        part = sine * (1 + shift)
        rho, part, *scratch = (
            x + _values(v, [0.0] * len(v))[None, :, None] + _values(v, [0.0] * len(w))[None, None, :]
            for x in (sign * _xp.sqrt(1 - part), part, *[sine] * getattr(law, f"{name}_buffers"))
        )
        result = getattr(law, f"{name}_block")(P, Q, rho, part, *scratch, *task.scalars)
        values.append(result if task.tangent else (result,))
    step = abs(_xp.sqrt(1 - sine * 15 / 16) - _xp.sqrt(1 - sine * 17 / 16))
    moments = [law.moment] + ([law.derivative_moment] if task.tangent else [])
    felt = _false(v, shape)
    for n, moment in enumerate(moments):
        norm = _xp.sqrt(moment(v, *task.scalars))[None, :, None] * _xp.sqrt(moment(w, *task.scalars))[None, None, :]
        if n and name == "first":
            norm = norm * (_xp.sqrt(v)[:, None] * _xp.sqrt(w)[None, :])[None]
        felt |= ~(abs(values[0][n] - values[1][n]) <= 4 * step * norm)
    # What the variances allow: rho^2 <= p q / (P Q)^2.
    felt &= (1 - sine) * (P * Q) ** 2 <= (v[:, None] * w[None, :])[None] * (1 + 2.0**-8)
    indices = _true(felt)[0] % len(levels)
    if len(indices) == 0:
        return 0.0
    first = int(indices.min())
    return 1.5 * levels[first] if first < 8 else levels[first - 1]


def _is_first(task: SimpleNamespace, i: int) -> bool:
    """Whether no layer before this one has weights: there is no tangent kernel yet."""
    return not any(layer.law for layer in task.layers[:i])


def _is_bounded(task: SimpleNamespace, i: int) -> bool:
    """Whether no rounding can bring rho beyond 1: p and q are small against e / eps."""
    law = task.layers[i].law
    if not law or not law.extra:
        return True
    largest = max(float(side[i].v.max()) for side in (task.rows, task.columns))
    return bool(2**10 * float(_xp.finfo(task.X.dtype).eps) * largest < law.extra(*task.scalars))


def _grid(v: Any) -> Any:
    """Return 5 of the values of `v`, evenly by rank, and 4 over their range, evenly in the logarithm."""
    limits = _xp.finfo(v.dtype)
    ranked = v[_xp.argsort(v)]
    largest = min(float(ranked[-1]), float(limits.max))
    smallest = max(float(ranked[0]), largest * 1e-12, float(limits.tiny))
    ratio = max(largest, smallest) / smallest
    values = [smallest * math.exp(math.log(ratio) * i / 3) for i in range(4)]
    return _values(v, [max(float(ranked[(len(v) - 1) * i // 4]), smallest) for i in range(5)] + values)
