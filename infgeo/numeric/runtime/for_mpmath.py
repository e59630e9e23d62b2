"""mpmath: the same geometry at any precision (`mpmath.mp.dps`), point by point. See `common`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import mpmath

if TYPE_CHECKING:  # In an emitted file these stand below.
    from infgeo.numeric.runtime.angle import _of_pairs
    from infgeo.numeric.runtime.common import InputError, _diagonal_layers, _pair_layers


_LARGEST_SCALE = mpmath.inf


def _points(X: Any, name: str = "X", rows: bool = False) -> list:
    """Return `X` as nested lists of mpf: one point, or lists of points of equal length; with `rows`, N points."""
    try:
        points = _convert(X.tolist() if hasattr(X, "tolist") else X)
    except (TypeError, ValueError, RuntimeError) as error:  # tensors without values raise the last, and a kind of it
        raise InputError(
            f"{name} = {X!r} is not an array of real numbers: pass lists of floats, strings or mpf"
        ) from error
    shape = _shape(points, name)
    if not shape or shape[-1] == 0 or (rows and len(shape) != 2):
        expected = "(N, d)" if rows else "(..., d)"
        raise InputError(f"{name} has shape {shape}, expected {expected} with d >= 1: reshape it to rows of points")
    return points


def _convert(nested: Any) -> Any:
    if isinstance(nested, (list, tuple)):
        return [_convert(item) for item in nested]
    value = mpmath.mpf(nested)
    if not mpmath.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


def _shape(nested: Any, name: str) -> tuple[int, ...]:
    if not isinstance(nested, list):
        return ()
    shapes = {_shape(item, name) for item in nested}
    if len(shapes) > 1:
        raise InputError(f"{name} is ragged: every point needs the same number of coordinates")
    return (len(nested), *(shapes.pop() if shapes else ()))


def _at_points(function: Callable, points: list) -> Any:
    """Apply `function` to every point of nested lists."""
    if isinstance(points[0], list):
        return [_at_points(function, item) for item in points]
    return function(points)


_sqrt, _log = mpmath.sqrt, mpmath.log


def _scalar(name: str, value: Any) -> Any:
    try:
        return mpmath.mpf(None if isinstance(value, bool) else value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} = {value!r} must be a number") from error


def _remembered(function: Callable) -> Callable:
    """Return a function of numbers that keeps its last values, at the precision they were asked for."""
    known: dict[tuple, Any] = {}

    def remembered(*arguments: Any) -> Any:
        key = (mpmath.mp.prec, *arguments)
        if key not in known:
            if len(known) >= 4096:
                known.clear()
            known[key] = function(*arguments)
        return known[key]

    remembered.__doc__ = function.__doc__
    return remembered


def _rounded(function: Callable, x: Sequence[Any], arguments: tuple, *_: Any) -> Any:
    """Return function(x, |x|^2, arguments), computed with twice the digits."""
    with mpmath.workprec(2 * mpmath.mp.prec):
        result = function(x, _sum_squares(x), arguments)
    return result.apply(mpmath.mpf) if isinstance(result, mpmath.matrix) else +result


def _representable(result: Any, X: Any, *_: Any) -> Any:
    """Return a result: every number is one of this format."""
    return result


def _with_exact(layers: Sequence[Any], network: Callable) -> None:
    """Nothing: there is no wider format."""


def _diagonal_of(layers: Sequence[Any], X: Any, scalars: tuple, tangent: bool) -> Any:
    """Return k(x, x), or the tangent kernel at (x, x)."""
    return _diagonal_layers(layers, _sum_squares(X), scalars, tangent)


def _dimension(points: list) -> Any:
    while isinstance(points[0], list):
        points = points[0]
    return mpmath.mpf(len(points))  # 1/d of an int is a float


def _all(condition: Any) -> bool:
    return bool(condition)


def _largest(v: Any) -> Any:
    return v


def _positive(x: Any) -> Any:
    return max(x, mpmath.mpf(0))


def _constant(like: Any, value: Any) -> Any:
    return mpmath.mpf(value)


def _where_nonnegative(x: Any, yes: Any, no: Any) -> Any:
    return yes if x >= 0 else no


def _sum_squares(x: Sequence[Any]) -> Any:
    return mpmath.fsum(x, squared=True)


def _metric_matrix(x: Sequence[Any], _: None, A: Any, shear: Any, eta: Any) -> Any:
    """Return A (I + shear x^ x^T), a mpmath.matrix."""
    s, d = _sum_squares(x), len(x)
    g = mpmath.matrix(d, d)
    for i in range(d):
        for j in range(d):
            if i != j:
                g[i, j] = A * shear * x[i] * x[j] / s if s else mpmath.mpf(0)
        part = x[i] ** 2 / s if s else mpmath.mpf(0)
        rest = mpmath.fsum(xj**2 for j, xj in enumerate(x) if j != i) / s if s else mpmath.mpf(1)
        g[i, i] = A * (rest + eta * part)
    return g


def _ratio(a: Any, b: Any) -> Any:
    return a / b if b else mpmath.mpf(0)


def _pair(x: Sequence[Any], y: Sequence[Any]) -> SimpleNamespace:
    """Return the state (p, q, c, omega, delta, Delta) of two points: of the inputs themselves."""
    differences = [a - b for a, b in zip(x, y, strict=True)]
    p, q, distance = _sum_squares(x), _sum_squares(y), _sum_squares(differences)
    along = mpmath.fdot(x if p <= q else y, differences)  # of the longer one both terms of Delta may be much larger
    return SimpleNamespace(
        p=p,
        q=q,
        c=mpmath.fdot(x, y),
        omega=mpmath.fdot(differences, [a + b for a, b in zip(x, y, strict=True)]),
        delta=distance,
        Delta=_positive(min(p, q) * distance - along**2),
    )


def _gram(X: list, Y: list | None, layers: Sequence[Any], scalars: tuple, wanted: str) -> Any:
    """Return the Gram matrix as a mpmath.matrix (N, M), or both for `wanted` = "both"."""
    if wanted == "both":
        return tuple(_gram(X, Y, layers, scalars, kind) for kind in ("kernel", "ntk"))
    tangent = wanted == "ntk"
    other = X if Y is None else Y
    result = mpmath.matrix(len(X), len(other))
    for i, x in enumerate(X):
        for j, y in enumerate(other):
            if other is X and j < i:
                result[i, j] = result[j, i]
                continue
            if x == y:
                result[i, j] = _diagonal_layers(layers, _sum_squares(x), scalars, tangent)
                continue
            with mpmath.workdps(mpmath.mp.dps + _lost_digits(x, y)):
                features, D = _pair_layers(layers, _pair(x, y), scalars, "ntk" if tangent else "kernel")
                value = features.c + D
            result[i, j] = +value
    return result


def _distance(X: list, Y: list, layers: Sequence[Any], scalars: tuple, squared: bool) -> Any:
    """Return |Phi(x) - Phi(y)|, or its square, for every pair of points, a mpmath.matrix (N, M)."""
    result = mpmath.matrix(len(X), len(Y))
    for i, x in enumerate(X):
        for j, y in enumerate(Y):
            if Y is X and j < i:
                result[i, j] = result[j, i]
            if x == y or (Y is X and j < i):
                continue
            with mpmath.workdps(mpmath.mp.dps + _lost_digits(x, y)):
                features, _ = _pair_layers(layers, _pair(x, y), scalars, "distance")
                distance = _positive(features.delta) if squared else mpmath.sqrt(_positive(features.delta))
            result[i, j] = +distance
    return result


def _kernel_of(law: Any, state: SimpleNamespace, scalars: tuple) -> Any:
    return _of_pairs(law.kernel, law.kernel_of_squares, state, scalars)


def _derivative_kernel_of(law: Any, state: SimpleNamespace, scalars: tuple) -> Any:
    return law.derivative_kernel(state.p, state.q, state.c, state.Delta, *scalars)


def _differences(law: Any, state: SimpleNamespace, scalars: tuple) -> tuple[Any, Any]:
    """Return |phi(u) - phi(v)|^2 and E[phi(u)^2 - phi(v)^2], by subtraction at the raised precision of `_pair`."""
    first, second = law.moment(state.p, *scalars), law.moment(state.q, *scalars)
    return first + second - 2 * _kernel_of(law, state, scalars), first - second


def _lost_digits(x: Sequence[Any], y: Sequence[Any]) -> int:
    """Return how many digits differences of features of x and y may cancel."""
    distance = mpmath.fsum(((a - b) ** 2 for a, b in zip(x, y, strict=True)))
    size = 1 + _sum_squares(x) + _sum_squares(y)
    return 10 + (int(2 * mpmath.log10(size / distance)) if distance else 0)


def _formats() -> list[tuple]:
    """Return the format of the self-test: name, bits that are compared, what makes points; there are no blocks."""
    mpmath.mp.dps = 40
    return [("mpmath", 80, list, 0)]


_mixed_derivative: Callable | None = None
_SAME = 0  # what the self-test allows between the same formula in two functions


def _ready(function: Callable) -> Callable:
    """Return a function as the self-test calls it."""
    return function
