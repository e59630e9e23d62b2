"""NumPy: checks of points, primitives, metric matrices and Gram matrices. See `common`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

if TYPE_CHECKING:  # In an emitted file these stand below.
    from infgeo.numeric.runtime.angle import _of_pairs
    from infgeo.numeric.runtime.blocks_numpy import _quiet
    from infgeo.numeric.runtime.common import InputError, _diagonal_layers, _pair_layers
    from infgeo.numeric.runtime.range import _exact_layers, _examined, _reached, _refuse, _rooted

_xp = np  # the array library, for code that is the same for NumPy and torch
_PARALLEL = 2.0**-4  # pairs with sin^2 of the angle below this are computed from the difference of the points
_POINTS = 2**12  # points at a time where each is computed by itself
_CHUNK = 2**20  # numbers held at a time for such differences
_WIDEST = np.longdouble  # wider than double on x86 alone
_LARGEST_SCALE = 1e38  # the fourth power of a larger one overflows


def _points(X: Any, name: str = "X", rows: bool = False) -> np.ndarray:
    """Return `X` as an array of float32 or float64 points (..., d); with `rows`, (N, d)."""
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise InputError(f"{name} is ragged: every point needs the same number of coordinates") from error
    except (TypeError, RuntimeError) as error:
        raise InputError(f"{name} cannot be made an array ({error}): pass rows of floats of equal length") from error
    if isinstance(X, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, masks are not kept: pass {name}.filled(...) or the rows in use")
    if array.dtype.kind in "iu" and not hasattr(X, "dtype"):
        array = array.astype(float)
    if array.dtype not in (np.float32, np.float64):
        raise InputError(f"{name} has dtype {array.dtype}: pass float64 or float32, for example {name}.astype(float)")
    if array.ndim == 0 or array.shape[-1] == 0 or (rows and array.ndim != 2):
        expected = "(N, d)" if rows else "(..., d)"
        raise InputError(
            f"{name} has shape {array.shape}, expected {expected} with d >= 1: reshape it to rows of points"
        )
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(
            f"{name}{list(where)} = {array[where]}: every coordinate must be finite; drop or mend that point"
        )
    return array


def _all(condition: Any) -> bool:
    return bool(np.all(condition))


def _known(x: Any) -> Any:
    """Return values, or None where they may not be looked at."""
    return np.asarray(x)


def _double(X: np.ndarray) -> np.ndarray:
    return X.astype(np.float64, copy=False)


def _largest(v: Any) -> Any:
    return float(np.max(v))


def _positive(x: Any) -> Any:
    return np.maximum(x, 0)


_sqrt = np.sqrt


def _log(x: Any) -> Any:
    """The logarithm, -inf at 0, where a metric vanishes."""
    with np.errstate(divide="ignore"):
        return np.log(x)


def _scalar(name: str, value: Any) -> float:
    kind = str(getattr(value, "dtype", ""))
    try:
        if (
            isinstance(value, (str, bytes, bool))
            or "bool" in kind
            or "complex" in kind
            or getattr(value, "requires_grad", False)
        ):
            raise TypeError("text, truth values, complex numbers and nodes of a graph are no numbers here")
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{name} = {value!r} must be a number") from error


def _with_exact(layers: Sequence[Any], network: Callable) -> None:
    """Give each layer its like in long double, where exponents grow with the variances and must not be rounded."""
    if any(layer.law and layer.law.exponential for layer in layers):
        for layer, exact in zip(layers, network(np.longdouble), strict=True):
            layer.exact = exact


def _diagonal_of(layers: Sequence[Any], X: np.ndarray, scalars: tuple, tangent: bool) -> np.ndarray:
    """Return k(x, x), or the tangent kernel at (x, x); squares of single precision overflow soon."""
    _, lost = _examined(X, layers, scalars, "ntk" if tangent else "kernel", X.dtype)

    def compute(points: np.ndarray, layers: Sequence[Any]) -> np.ndarray:
        return _diagonal_layers(layers, _sum_squares(points), scalars, tangent).astype(X.dtype)

    if any(layer.law and layer.law.grows for layer in layers):
        return compute(X.astype(np.longdouble), _exact_layers(layers))
    result = np.asarray(compute(_double(X), layers))
    if lost.any():
        result[lost] = compute(X[lost].astype(np.longdouble), _exact_layers(layers))
    return result[()]


def _dimension(X: np.ndarray) -> int:
    return X.shape[-1]


def _at_points(function: Callable, X: np.ndarray) -> np.ndarray:
    """Return `function` at the points, some at a time, so that what it computes on the way stays in the cache."""
    with _quiet():  # Branches not taken may divide by zero, and results lie beyond the format.
        if X.size <= _POINTS * X.shape[-1]:
            return function(X)
        rows = X.reshape(-1, X.shape[-1])
        first = function(rows[:_POINTS])
        result = np.empty((len(rows), *first.shape[1:]), first.dtype)
        result[:_POINTS] = first
        for start in range(_POINTS, len(rows), _POINTS):
            result[start : start + _POINTS] = function(rows[start : start + _POINTS])
    return result.reshape(X.shape[:-1] + first.shape[1:])


def _rounded(
    function: Callable,
    x: np.ndarray,
    arguments: tuple,
    variances: tuple | None,
    layers: Sequence[Any],
    scalars: tuple,
) -> np.ndarray:
    """Return function(x, |x|^2, arguments), computed in double precision and rounded."""
    _, lost = _examined(x, layers, scalars, "metric", variances=variances)
    if lost.any():
        _refuse(lost, _reached(layers, _double(x), scalars, "metric"), np.float64)
    return function(x, _sum_squares(_double(x)), arguments).astype(x.dtype)[()]


def _power(x: Any, halves: int) -> Any:
    """Return x^(halves/2) by products and a root: powers of long doubles take a hundred times as long."""
    result = np.sqrt(x) if halves % 2 else None
    halves //= 2
    while halves:
        if halves % 2:
            result = x if result is None else result * x
        halves //= 2
        x = x * x if halves else x
    return result


def _constant(like: np.ndarray, value: float) -> np.ndarray:
    return np.full_like(like, value)


def _where_nonnegative(x: Any, yes: Any, no: Any) -> Any:
    return np.where(x >= 0, yes, no)


def _ratio(a: Any, b: Any) -> Any:
    zero = b == 0
    return np.where(zero, 0, a / np.where(zero, 1, b))


def _exp_difference(a: Any, b: Any, difference: Any) -> Any:
    return np.where(
        difference >= 0, -np.exp(a) * np.expm1(-np.abs(difference)), np.exp(b) * np.expm1(-np.abs(difference))
    )


def _erf(x: Any, **options: Any) -> Any:
    """Return erf(x); SciPy has none of long double."""
    return special.erf(np.float64(x) if np.asarray(x).dtype == np.longdouble else x, **options)


def _exp_residual(x: Any, n: int) -> Any:
    """Return e^x - sum_{k<n} x^k/k!, by its series where |x| < 1."""
    if n == 1:
        return np.expm1(x)
    small, series = np.clip(x, -1, 1), 0 * x
    for k in range(n + 24, n - 1, -1):
        series = (series + 1) * small / k
    taylor, power = 0 * x, 1 + 0 * x
    for k in range(n):
        taylor, power = taylor + power, power * x / (k + 1)
    return np.where(np.abs(x) < 1, series * _power(small, 2 * n - 2) / math.factorial(n - 1), np.exp(x) - taylor)


# sin t - t cos t = sum_n (-1)^(n+1) 2n t^(2n+1) / (2n+1)!, used below t = 1.
_SERIES = [1 / 3, -1 / 30, 1 / 840, -1 / 45360, 1 / 3991680, -1 / 518918400, 1 / 93405312000, -1 / 22230464256000]


def _sin_minus_theta_cos(t: Any) -> Any:
    square = np.square(np.minimum(t, 1))
    series = np.full_like(square, _SERIES[-1])
    for coefficient in _SERIES[-2::-1]:
        series *= square
        series += coefficient
    result = np.asarray(t * square * series)
    large = ~(t < 1)
    if large.any():
        angle = np.asarray(t)[large]
        result[large] = np.sin(angle) - angle * np.cos(angle)
    return result


def _unit(X: np.ndarray) -> np.ndarray:
    """Return x/|x|, free of overflow; the first basis vector at x = 0."""
    largest = np.abs(X).max(axis=-1, keepdims=True)
    scaled = X / np.where(largest == 0, 1, largest)
    scaled[..., 0] += largest[..., 0] == 0
    return scaled / np.sqrt(np.square(scaled).sum(axis=-1, keepdims=True))


def _metric_matrix(X: np.ndarray, _: None, A: np.ndarray, shear: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Return A (I + shear x^ x^T) with the diagonal as A ((1 - x^_i^2) + eta x^_i^2), where nothing cancels."""
    X, A, shear, eta = (part.astype(float, copy=False) for part in (X, A, shear, eta))
    unit = _unit(X)
    squares = np.square(unit)
    rest = np.zeros_like(squares)
    rest[..., 1:] = np.cumsum(squares[..., :-1], axis=-1)
    rest[..., :-1] += np.cumsum(squares[..., :0:-1], axis=-1)[..., ::-1]
    g = (A * shear)[..., None, None] * unit[..., :, None] * unit[..., None, :]
    index = np.arange(X.shape[-1])
    g[..., index, index] = A[..., None] * (rest + eta[..., None] * squares)
    return g


def _pairs(X: np.ndarray, Y: np.ndarray) -> SimpleNamespace:
    """Return the state (p, q, c, omega, delta, Delta) of every pair of rows: of the inputs themselves."""
    sx, sy = _sum_squares(X)[:, None], _sum_squares(Y)[None, :]
    xy = X @ Y.T
    distance, omega, gram = sx + sy - 2 * xy, sx - sy, sx * sy - xy * xy
    rows, columns = np.nonzero(gram <= 4 * _PARALLEL * (sx * sy))
    step = max(1, _CHUNK // X.shape[1])
    for start in range(0, len(rows), step):
        i, j = rows[start : start + step], columns[start : start + step]
        distance[i, j], omega[i, j], gram[i, j] = _close_pairs(X[i], Y[j])
    return SimpleNamespace(p=sx, q=sy, c=xy, omega=omega, delta=distance, Delta=gram)


def _close_pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return |x - y|^2, |x|^2 - |y|^2 and |x|^2 |y|^2 - (x.y)^2 for nearly parallel points.

    The last is |x|^2 |y - t x|^2 with t = x.y/|x|^2; products of halves of the digits make the residual exact.
    """
    difference = y - x
    s = _sum_squares(x)
    divisor = np.where(s == 0, 1, s)
    t = ((x * y).sum(axis=-1) / divisor)[..., None]
    coarse, leading, product = _leading_half(t), _leading_half(x), t * x
    fine, trailing = t - coarse, x - leading
    residual = (y - product) - (((coarse * leading - product) + coarse * trailing + fine * leading) + fine * trailing)
    residual = residual - ((x * residual).sum(axis=-1) / divisor)[..., None] * x  # t is rounded
    return _sum_squares(difference), -(difference * (x + y)).sum(axis=-1), s * _sum_squares(residual)


def _leading_half(a: np.ndarray) -> np.ndarray:
    """Return `a` rounded to half its digits (Dekker's splitting)."""
    shifted = a * a.dtype.type(2 ** ((np.finfo(a.dtype).nmant + 2) // 2) + 1)
    return shifted - (shifted - a)


def _sum_squares(X: np.ndarray) -> np.ndarray:
    return np.square(X).sum(axis=-1)


def _distance(X: np.ndarray, Y: np.ndarray, layers: Sequence[Any], scalars: tuple, squared: bool) -> np.ndarray:
    """Return |Phi(x) - Phi(y)|, or its square, for every pair of rows, some rows at a time."""
    result = np.empty((len(X), len(Y)), X.dtype)
    wide = any(layer.law and layer.law.exponential for layer in layers)
    wide = any(_examined(Z, layers, scalars, "kernel")[1].any() or _is_tiny(Z) for Z in (X, Y)) or wide
    if wide or X.dtype == np.float32:
        wider = np.longdouble if wide else np.float64
        layers, X, Y = _exact_layers(layers), X.astype(wider), Y.astype(wider)
    step = max(1, 2**13 // (len(Y) + 1))
    with _quiet():  # Branches not taken may divide by zero, and results lie beyond the format.
        for start in range(0, len(X), step):
            pairs = _pairs(X[start : start + step], Y)
            squares = _positive(_pair_layers(layers, pairs, scalars, "distance")[0].delta)
            result[start : start + step] = _rooted(squares, squared, result.dtype)
    return result


def _is_tiny(X: np.ndarray) -> bool:
    """Whether differences of coordinates may have squares that vanish in double precision."""
    return bool(((np.abs(X) < 1e-130) & (X != 0)).any())


def _kernel_of(law: Any, state: SimpleNamespace, scalars: tuple) -> Any:
    """Return the kernel of pairs of preactivations."""
    return _of_pairs(law.kernel, law.kernel_of_squares, state, scalars)


def _derivative_kernel_of(law: Any, state: SimpleNamespace, scalars: tuple) -> Any:
    """Return the kernel of the derivative."""
    return _of_pairs(law.derivative_kernel, law.derivative_of_squares, state, scalars)


def _differences(law: Any, state: SimpleNamespace, scalars: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Return |phi(u) - phi(v)|^2 and E[phi(u)^2 - phi(v)^2]; branches not taken may divide by zero."""
    Delta = state.Delta
    if not law.derivative_moment:  # a jump: between 0 and x there is a right angle, as the kernel has it
        Delta = np.where((Delta == 0) & (state.c == 0) & (state.delta > 0), np.finfo(Delta.dtype).tiny, Delta)
    with np.errstate(all="ignore"):
        return law.difference(state.p, state.q, state.omega, state.delta, state.c, Delta, *scalars)


def _refined(function: Callable, sign: Any, state: SimpleNamespace, scalars: tuple, values: Any) -> np.ndarray:
    """Return function(p, q, c, Delta) of the pairs where `sign` > 0, and `values` of the others."""
    where = sign > 0
    if not where.any():
        return values
    parts = [np.broadcast_to(part, where.shape)[where] for part in (state.p, state.q, state.c, state.Delta)]
    values = np.array(np.broadcast_to(values, where.shape))
    with np.errstate(all="ignore"):
        found = function(*parts, *scalars)
    values[where] = np.where(np.isfinite(found), found, values[where])
    return values


def _settled(x: Any) -> Any:
    return x


def _power_of_two(n: Any) -> Any:
    return np.ldexp(np.ones_like(n), np.clip(n, -20000, 20000).astype(int))


def _formats() -> list[tuple]:
    """Return the formats of the self-test: name, bits, what makes points, and how many points make blocks."""
    return [
        (dtype.__name__, bits, lambda rows, dtype=dtype: np.array(rows, dtype), 70) for dtype, bits in _BITS.items()
    ]


_BITS: dict[Any, int] = {np.float64: 53, np.float32: 24}
_mixed_derivative: Callable | None = None
_SAME = 0  # what the self-test allows between the same formula in two functions


def _ready(function: Callable) -> Callable:
    """Return a function as the self-test calls it."""
    return function
