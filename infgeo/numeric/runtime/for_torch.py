"""torch: checks of points, primitives, metric matrices and Gram matrices, all differentiable. See `common`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:  # In an emitted file these stand below.
    from infgeo.numeric.runtime.angle import _of_pairs
    from infgeo.numeric.runtime.common import InputError, _diagonal_layers, _pair_layers
    from infgeo.numeric.runtime.range import _check_apart, _examined, _rooted, _unknown_as_nan

_xp = torch  # the array library, for code that is the same for NumPy and torch
_PARALLEL = 2.0**-4  # pairs with sin^2 of the angle below this are computed from the difference of the points
_CHUNK = 2**22  # numbers held at a time for such differences
_WIDEST = None  # there is no wider format than double
_LARGEST_SCALE = 1e38  # the fourth power of a larger one overflows


def _points(X: Any, name: str = "X", rows: bool = False) -> torch.Tensor:
    """Return `X` as a tensor of float32 or float64 points (..., d); with `rows`, (N, d)."""
    if hasattr(X, "mask") and hasattr(X, "filled"):
        raise InputError(f"{name} is a masked array, masks are not kept: pass {name}.filled(...) or the rows in use")
    if getattr(getattr(X, "flags", None), "writeable", True) is False:
        X = X.copy()  # torch warns of arrays that it could not write to
    try:
        tensor = (
            X
            if isinstance(X, torch.Tensor)
            else torch.as_tensor(X, dtype=None if hasattr(X, "dtype") else torch.float64)
        )
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{name} cannot be made a tensor ({error}): pass rows of floats of equal length") from error
    if tensor.device.type == "meta":
        raise InputError(f"{name} is on the device meta, which holds no values: pass a tensor of values")
    if tensor.layout != torch.strided:
        raise InputError(f"{name} has layout {tensor.layout}: pass a dense tensor, for example {name}.to_dense()")
    if tensor.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{name} has dtype {tensor.dtype}: pass float64 or float32, for example {name}.double()")
    if tensor.ndim == 0 or tensor.shape[-1] == 0 or (rows and tensor.ndim != 2):
        expected = "(N, d)" if rows else "(..., d)"
        raise InputError(
            f"{name} has shape {tuple(tensor.shape)}, expected {expected} with d >= 1: reshape it to rows of points"
        )
    known = _known(tensor)
    if known is not None and not bool(torch.isfinite(known).all()):
        where = tuple(torch.nonzero(~torch.isfinite(known))[0].tolist())
        raise InputError(
            f"{name}{list(where)} = {known[where].item()}: every coordinate must be finite; drop or mend that point"
        )
    return tensor


def _known(x: Any) -> torch.Tensor | None:
    """Return values, out of the transforms of torch.func, or None where they may not be looked at."""
    if torch.compiler.is_compiling():
        return None
    x = x.detach()
    while _transformed(x):
        level = torch._C._functorch
        batch = level.maybe_get_bdim(x)
        x = level.get_unwrapped(x)
        x = x if batch < 0 else x.movedim(batch, 0)
    return x


def _double(X: torch.Tensor) -> torch.Tensor:
    return X.double()


def _transformed(tensor: torch.Tensor) -> bool:
    """Whether the tensor is inside a transform of torch.func, where its values may not be looked at."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _all(condition: Any) -> bool:
    """Whether a condition holds everywhere, as far as that is known."""
    known = _known(torch.as_tensor(condition))
    return known is None or bool(torch.all(known))


def _largest(v: Any) -> Any:
    known = _known(v)
    return float("nan") if known is None else float(torch.max(known))


def _positive(x: Any) -> Any:
    return torch.clamp(x, min=0)


_log = torch.log


def _scalar(name: str, value: Any) -> torch.Tensor:
    # A tensor without dimension does not promote float32 points; its graph, if it has one, is kept.
    try:
        kind = str(getattr(value, "dtype", ""))
        proper = not (isinstance(value, (str, bytes, bool)) or "bool" in kind or "complex" in kind)
        scalar = torch.as_tensor(value if proper else None, dtype=torch.float64)
        if scalar.device.type == "meta":
            raise TypeError("the device meta holds no values")
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{name} = {value!r} must be a number or a tensor without dimensions") from error
    if scalar.ndim:
        raise InputError(f"{name} has shape {tuple(scalar.shape)}, it must be a number or a tensor without dimensions")
    return scalar


def _rounded(
    function: Callable,
    x: torch.Tensor,
    arguments: tuple,
    variances: tuple | None,
    layers: Sequence[Any],
    scalars: tuple,
) -> torch.Tensor:
    """Return function(x, |x|^2, arguments), computed in double precision and rounded."""
    _, lost = _examined(x, layers, scalars, "metric", variances=variances)
    return _unknown_as_nan(function(x, _sum_squares(x.double()), arguments).to(x.dtype), lost)


def _with_exact(layers: Sequence[Any], network: Callable) -> None:
    """Nothing: there is no wider format."""


def _widened(layers: Sequence[Any], scalars: tuple, wanted: str, *points: torch.Tensor) -> tuple[list, list]:
    """Return points, in double precision where single loses digits, and where double does and that is not known yet."""
    found = [_examined(X, layers, scalars, wanted, X.dtype) for X in points]
    single = [_known(part) for part, _ in found]
    wide = any(layer.law and layer.law.exponential for layer in layers)
    wide = wide or any(part is None or bool(part.any()) for part in single)
    return [X.double() for X in points] if wide else [*points], [lost for _, lost in found]


def _diagonal_of(layers: Sequence[Any], X: Any, scalars: tuple, tangent: bool) -> Any:
    """Return k(x, x), or the tangent kernel at (x, x)."""
    (points,), (lost,) = _widened(layers, scalars, "ntk" if tangent else "kernel", X)
    return _unknown_as_nan(_diagonal_layers(layers, _sum_squares(points), scalars, tangent).to(X.dtype), lost)


def _dimension(X: torch.Tensor) -> int:
    return X.shape[-1]


def _at_points(function: Callable, X: torch.Tensor) -> torch.Tensor:
    # One point is a row of one: tensors without dimension would be promoted to the double precision of the scalars.
    if X.ndim > 1:
        return function(X)
    return function(X[None])[0]


def _constant(like: torch.Tensor, value: Any) -> torch.Tensor:
    # Connected to the graph, so that the gradient of a constant result is zero and not an error.
    return 0 * torch.clamp(like, max=1) + value


def _sqrt(x: Any) -> Any:
    """The square root with derivative 0 at 0: where it occurs, what it multiplies vanishes or cancels there."""
    zero = x == 0
    return torch.where(zero, torch.zeros_like(x), torch.sqrt(torch.where(zero, torch.ones_like(x), x)))


def _atan2(y: Any, x: Any) -> Any:
    """Return atan2(y, x), with a finite derivative where both vanish."""
    y, x = torch.broadcast_tensors(y, x)
    return torch.atan2(y, torch.where((x == 0) & (y == 0), torch.ones_like(x), x))


def _where_nonnegative(x: Any, yes: Any, no: Any) -> Any:
    return torch.where(x >= 0, yes, no)


def _ratio(a: Any, b: Any) -> Any:
    zero = b == 0
    return torch.where(zero, 0, a / torch.where(zero, 1, b))


def _exp_difference(a: Any, b: Any, difference: Any) -> Any:
    a, b = (torch.as_tensor(x, dtype=difference.dtype, device=difference.device) for x in (a, b))
    fall, rise = torch.expm1(-torch.clamp(difference, min=0)), torch.expm1(torch.clamp(difference, max=0))
    return torch.where(difference >= 0, -torch.exp(a) * fall, torch.exp(b) * rise)


def _exp_residual(x: Any, n: int) -> Any:
    """Return e^x - sum_{k<n} x^k/k!, by its series where |x| < 1."""
    if n == 1:
        return torch.expm1(x)
    small, series = torch.clamp(x, -1, 1), torch.zeros_like(x)
    for k in range(n + 18, n - 1, -1):
        series = (series + 1) * small / k
    taylor, power = torch.zeros_like(x), torch.ones_like(x)
    for k in range(n):
        taylor, power = taylor + power, power * x / (k + 1)
    return torch.where(abs(x) < 1, series * small ** (n - 1) / math.factorial(n - 1), torch.exp(x) - taylor)


# sin t - t cos t = sum_n (-1)^(n+1) 2n t^(2n+1) / (2n+1)!, used below t = 1.
_SERIES = [1 / 3, -1 / 30, 1 / 840, -1 / 45360, 1 / 3991680, -1 / 518918400, 1 / 93405312000, -1 / 22230464256000]


def _sin_minus_theta_cos(t: Any) -> Any:
    square = torch.clamp(t, max=1) ** 2
    series = torch.zeros_like(square)
    for coefficient in reversed(_SERIES):
        series = series * square + coefficient
    return torch.where(t < 1, t * square * series, torch.sin(t) - t * torch.cos(t))


def _metric_matrix(
    X: torch.Tensor, B: torch.Tensor, A: torch.Tensor, shear: torch.Tensor, eta: torch.Tensor
) -> torch.Tensor:
    """Return A I + B x x^T; where |s B| > A/2 in the form A ((1 - x^_i^2) + eta x^_i^2), where nothing cancels."""
    d = X.shape[-1]
    identity = torch.eye(d, dtype=X.dtype, device=X.device)
    steep = torch.abs(shear) > 0.5
    plain = A[..., None, None] * identity + B[..., None, None] * X[..., :, None] * X[..., None, :]
    safe = torch.where(steep[..., None], X, torch.ones_like(X))
    scaled = safe / safe.abs().amax(dim=-1, keepdim=True).detach()
    unit = scaled / torch.sqrt((scaled * scaled).sum(dim=-1, keepdim=True))
    squares = unit * unit
    others = squares[..., None, :].expand(*squares.shape, d) * (1 - identity)
    diagonal = A[..., None] * (others.sum(dim=-1) + eta[..., None] * squares)
    outer = (A * shear)[..., None, None] * unit[..., :, None] * unit[..., None, :]
    stable = outer * (1 - identity) + torch.diag_embed(diagonal)
    return torch.where(steep[..., None, None], stable, plain)


def _sum_squares(X: torch.Tensor) -> torch.Tensor:
    return (X * X).sum(dim=-1)


def _pairs(X: torch.Tensor, Y: torch.Tensor) -> SimpleNamespace:
    """Return the state (p, q, c, omega, delta, Delta) of every pair of rows: of the inputs themselves."""
    sx, sy = _sum_squares(X)[:, None], _sum_squares(Y)[None, :]
    xy = X @ Y.T
    if X.shape[0] * Y.shape[0] * X.shape[1] <= _CHUNK:
        distance, omega, gram = _close_pairs(X[:, None, :], Y[None, :, :])
    else:
        distance, omega, gram = sx + sy - 2 * xy, sx - sy, sx * sy - xy * xy
        rows, columns = torch.nonzero((gram <= _PARALLEL * (sx * sy)).detach(), as_tuple=True)
        step = max(1, _CHUNK // X.shape[1])
        for start in range(0, len(rows), step):
            index = rows[start : start + step], columns[start : start + step]
            close = _close_pairs(X[index[0]], Y[index[1]])
            distance, omega, gram = (
                full.index_put(index, part) for full, part in zip((distance, omega, gram), close, strict=True)
            )
    # x.y from the norms where the points coincide: then c = p to the bit, with the derivatives of x.y.
    xy = torch.where(distance == 0, (sx + sy - distance) / 2, xy)
    return SimpleNamespace(p=sx, q=sy, c=xy, omega=omega, delta=distance, Delta=gram)


def _close_pairs(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return |x - y|^2, |x|^2 - |y|^2 and |x|^2 |y|^2 - (x.y)^2 for nearly parallel points.

    The last is |x|^2 |y - t x|^2 with t = x.y/|x|^2; products of halves of the digits make the residual exact.
    """
    difference = y - x
    s = _sum_squares(x)
    divisor = torch.where(s == 0, 1.0, s)
    t = ((x * y).sum(dim=-1) / divisor)[..., None]
    coarse, leading, product = _leading_half(t), _leading_half(x), t * x
    fine, trailing = t - coarse, x - leading
    residual = (y - product) - (((coarse * leading - product) + coarse * trailing + fine * leading) + fine * trailing)
    residual = residual - ((x * residual).sum(dim=-1) / divisor)[..., None] * x  # t is rounded
    return _sum_squares(difference), -(difference * (x + y)).sum(dim=-1), s * _sum_squares(residual)


def _leading_half(a: torch.Tensor) -> torch.Tensor:
    """Return `a` rounded to half its digits (Dekker's splitting)."""
    shifted = a * (4097.0 if a.dtype == torch.float32 else 134217729.0)
    return shifted - (shifted - a)


def _gram_of_all_pairs(
    X: torch.Tensor, Y: torch.Tensor | None, layers: Sequence[Any], scalars: tuple, wanted: str
) -> Any:
    """Return the Gram matrix (N, M), or both for `wanted` = "both"; coincident points take the diagonal's values."""
    tangent = wanted != "kernel"
    points, lost = _widened(layers, scalars, "ntk" if tangent else "kernel", X, X if Y is None else Y)
    features, D = _pair_layers(layers, _pairs(*points), scalars, "ntk" if tangent else "kernel")
    results = {"kernel": (features.c,), "ntk": (features.c + D,), "both": (features.c, features.c + D)}[wanted]
    results = tuple(_unknown_as_nan(result.to(X.dtype), lost[0][:, None] | lost[1]) for result in results)
    if Y is None:
        results = tuple(torch.triu(result) + torch.triu(result, 1).T for result in results)
    return results if wanted == "both" else results[0]


def _distance(X: torch.Tensor, Y: torch.Tensor, layers: Sequence[Any], scalars: tuple, squared: bool) -> torch.Tensor:
    """Return |Phi(x) - Phi(y)|, or its square, for every pair of rows; squares of single precision overflow soon."""
    _, lost = _widened(layers, scalars, "kernel", X, Y)
    pairs = _pairs(X.double(), Y.double())
    _check_apart(X, Y, pairs.delta)
    squares = _positive(_pair_layers(layers, pairs, scalars, "distance")[0].delta)
    result = _rooted(squares, squared, X.dtype)
    return _unknown_as_nan(result.to(X.dtype), lost[0][:, None] | lost[1])


# What coincident pairs are replaced by in formulas that are singular there, so that no gradient is 0 * inf.
_HARMLESS = {"p": 1.0, "q": 1.0, "c": 0.0, "omega": 0.0, "delta": 2.0, "Delta": 1.0}


def _apart(state: SimpleNamespace) -> tuple[torch.Tensor, SimpleNamespace]:
    """Return which pairs coincide, and the state with harmless pairs in their place."""
    same = state.delta == 0
    return same, SimpleNamespace(**{name: torch.where(same, x, getattr(state, name)) for name, x in _HARMLESS.items()})


def _squared_distance_near(
    moment: Callable | None, slope: Callable | None, state: SimpleNamespace, scalars: tuple
) -> torch.Tensor:
    """Return m0 delta + m0' omega^2 / 2 at the mean variance: |phi(u) - phi(v)|^2 to second order in the distance.

    Its value and derivatives up to the second at coincident points are those of the distance (0 where m0 is infinite).
    """
    if moment is None or slope is None:
        return 0 * state.delta
    v = (state.p + state.q) / 2
    return moment(v, *scalars) * state.delta + slope(v, *scalars) * state.omega * state.omega / 2


def _kernel_of(law: Any, state: SimpleNamespace, scalars: tuple) -> torch.Tensor:
    """Return the kernel of pairs of preactivations."""
    same, apart = _apart(state)
    near = _squared_distance_near(law.derivative_moment, law.derivative_slope, state, scalars)
    mean = (law.moment(state.p, *scalars) + law.moment(state.q, *scalars)) / 2
    return torch.where(same, mean - near / 2, _of_pairs(law.kernel, law.kernel_of_squares, apart, scalars))


def _derivative_kernel_of(law: Any, state: SimpleNamespace, scalars: tuple) -> torch.Tensor:
    """Return the kernel of the derivative."""
    same, apart = _apart(state)
    near = _squared_distance_near(law.second_moment, law.second_slope, state, scalars)
    mean = (law.derivative_moment(state.p, *scalars) + law.derivative_moment(state.q, *scalars)) / 2
    values = _of_pairs(law.derivative_kernel, law.derivative_of_squares, apart, scalars)
    return torch.where(same, mean - near / 2, values)


def _differences(law: Any, state: SimpleNamespace, scalars: tuple) -> tuple[torch.Tensor, torch.Tensor]:
    """Return |phi(u) - phi(v)|^2 and E[phi(u)^2 - phi(v)^2]."""
    same, apart = _apart(state)
    Delta = apart.Delta
    if not law.derivative_moment:  # a jump: between 0 and x there is a right angle, as the kernel has it
        right = (Delta == 0) & (apart.c == 0)
        Delta = torch.where(right, torch.full_like(Delta, torch.finfo(Delta.dtype).tiny), Delta)
    squared, moments = law.difference(apart.p, apart.q, apart.omega, apart.delta, apart.c, Delta, *scalars)
    near = _squared_distance_near(law.derivative_moment, law.derivative_slope, state, scalars)
    across = law.moment(state.p, *scalars) - law.moment(state.q, *scalars)
    return torch.where(same, near, squared), torch.where(same, across, moments)


def _refined(
    function: Callable, sign: torch.Tensor, state: SimpleNamespace, scalars: tuple, values: torch.Tensor
) -> torch.Tensor:
    """Return function(p, q, c, Delta) of the pairs where `sign` > 0, and `values` of the others.

    With the derivatives of `values`; all pairs are computed where their values may not be looked at.
    """
    where = (sign > 0).detach()
    parts = [part.detach().expand(where.shape) for part in (state.p, state.q, state.c, state.Delta)]
    numbers = [value.detach() for value in scalars]
    if _transformed(where) or torch.compiler.is_compiling():
        found = function(*parts, *numbers)
    elif bool(where.any()):
        found = values.detach().expand(where.shape).clone()
        found[where] = function(*(part[where] for part in parts), *numbers)
    else:
        return values
    step = found - values.detach()
    return values + torch.where(where & torch.isfinite(step), step, 0.0)


def _settled(x: Any) -> Any:
    return x


def _power_of_two(n: torch.Tensor) -> torch.Tensor:
    return ((torch.clamp(n, -1023, 1024).to(torch.int64) + 1023) << 52).view(torch.float64)


def _formats() -> list[tuple]:
    """Return the formats of the self-test: name, bits, what makes points, and how many points make blocks."""
    formats = (("float64", torch.float64, 53), ("float32", torch.float32, 24))
    return [
        (name, bits, lambda rows, dtype=dtype: torch.tensor(rows, dtype=dtype), 70) for name, dtype, bits in formats
    ]


def _mixed_derivative(function: Callable, x: torch.Tensor) -> torch.Tensor:
    """Return the derivative of function(x, y) with respect to both, at y = x."""
    return torch.func.jacfwd(torch.func.jacrev(function, argnums=1), argnums=0)(x, x)


_SAME = 0  # what the self-test allows between the same formula in two functions


def _ready(function: Callable) -> Callable:
    """Return a function as the self-test calls it."""
    return function
