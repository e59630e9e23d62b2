"""jax: checks of points, primitives, metric matrices and Gram matrices; all may be traced. See `common`.

No branch is taken on the value of an array, so every function goes through jit, vmap, grad, jacfwd and jacrev; what is
wrong with a value is said where the value is known, outside of them. XLA sets subnormal numbers to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:  # In an emitted file these stand below.
    from infgeo.numeric.runtime.angle import _of_pairs
    from infgeo.numeric.runtime.common import InputError, _diagonal_layers, _pair_layers
    from infgeo.numeric.runtime.range import _check_apart, _examined, _rooted, _unknown_as_nan


def _traced(x: Any) -> bool:
    """Whether the value of `x` is not known yet: inside a transformation."""
    return isinstance(x, jax.core.Tracer)


_xp = jnp  # the array library, for code that is the same for all
_WIDEST = None  # there is no wider format than double
_LARGEST_SCALE = 1e38  # the fourth power of a larger one overflows


def _points(X: Any, name: str = "X", rows: bool = False) -> jax.Array:
    """Return `X` as an array of float32 or float64 points (..., d); with `rows`, (N, d)."""
    array = X
    if isinstance(X, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, masks are not kept: pass {name}.filled(...) or the rows in use")
    if not isinstance(X, jax.Array):
        leaves = jax.tree_util.tree_leaves(X)
        try:
            # NumPy does not cut doubles to single precision, whatever jax is told.
            array = jnp.asarray(X) if any(isinstance(leaf, jax.Array) for leaf in leaves) else np.asarray(X)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{name} cannot be made an array ({error}): pass rows of floats of equal length"
            ) from error
        if array.dtype.kind in "iu" and not hasattr(X, "dtype"):
            array = array.astype(float)
    if array.dtype not in (np.float32, np.float64):
        raise InputError(f"{name} has dtype {array.dtype}: pass float64 or float32, for example {name}.astype(float)")
    if array.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        raise InputError(
            f"{name} has dtype float64, which jax cuts to float32 by default:"
            " call jax.config.update('jax_enable_x64', True), or pass float32"
        )
    if array.ndim == 0 or array.shape[-1] == 0 or (rows and array.ndim != 2):
        expected = "(N, d)" if rows else "(..., d)"
        raise InputError(
            f"{name} has shape {array.shape}, expected {expected} with d >= 1: reshape it to rows of points"
        )
    if not _traced(array):
        finite = np.isfinite(np.asarray(array))
        if not finite.all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise InputError(
                f"{name}{list(where)} = {array[where]}: every coordinate must be finite; drop or mend that point"
            )
    return jnp.asarray(array)


def _all(condition: Any) -> bool:
    """Whether a condition holds everywhere, as far as that is known."""
    return _traced(condition) or bool(np.all(condition))


def _known(x: Any) -> Any:
    """Return values, or None inside a transformation."""
    return None if _traced(x) else x


def _double(X: jax.Array) -> jax.Array:
    """Return points in double precision, where jax keeps it."""
    return X.astype(np.float64) if jax.config.read("jax_enable_x64") else X


def _quiet() -> Any:
    return nullcontext()


def _largest(v: Any) -> Any:
    return float(jnp.max(v))


def _positive(x: Any) -> Any:
    return jnp.maximum(x, 0)


_log = jnp.log


def _scalar(name: str, value: Any) -> Any:
    """Return a known value as a Python float, which has all digits and promotes no array; others as they are."""
    kind = str(getattr(value, "dtype", ""))
    try:
        if (
            isinstance(value, (str, bytes, bool))
            or "bool" in kind
            or "complex" in kind
            or hasattr(value, "requires_grad")
        ):
            raise TypeError("text, truth values, complex numbers and tensors of torch are no numbers here")
        if not _traced(value):
            return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{name} = {value!r} must be a number") from error
    if value.ndim or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"{name} is {value.dtype} {value.shape}, it must be a number or an array without dimensions")
    return value


def _of_scalars(plain: Callable, traced: Callable) -> Callable:
    """Return a function of scalars: in double precision where they are known."""

    def function(*values: Any) -> Any:
        return (traced if any(isinstance(value, jax.Array) for value in values) else plain)(*values)

    return function


_scalars = SimpleNamespace(
    exp=_of_scalars(math.exp, jnp.exp),
    log=_of_scalars(math.log, jnp.log),
    sin=_of_scalars(math.sin, jnp.sin),
    cos=_of_scalars(math.cos, jnp.cos),
    sinh=_of_scalars(math.sinh, jnp.sinh),
    cosh=_of_scalars(math.cosh, jnp.cosh),
    tanh=_of_scalars(math.tanh, jnp.tanh),
    atan=_of_scalars(math.atan, jnp.arctan),
    atan2=_of_scalars(math.atan2, jnp.arctan2),
    asin=_of_scalars(math.asin, jnp.arcsin),
    acos=_of_scalars(math.acos, jnp.arccos),
    Abs=_of_scalars(abs, jnp.abs),
    sign=_of_scalars(lambda value: float((value > 0) - (value < 0)), jnp.sign),
    Max=_of_scalars(max, jnp.maximum),
    Min=_of_scalars(min, jnp.minimum),
    sqrt=_of_scalars(math.sqrt, jnp.sqrt),
    expm1=_of_scalars(math.expm1, jnp.expm1),
    log1p=_of_scalars(math.log1p, jnp.log1p),
    erf=_of_scalars(math.erf, jax.lax.erf),
)


def _rounded(
    function: Callable,
    x: Any,
    arguments: tuple,
    variances: tuple | None,
    layers: Sequence[Any],
    scalars: tuple,
) -> Any:
    """Return function(x, |x|^2, arguments), computed in double precision where jax keeps it, and rounded."""
    _, lost = _examined(x, layers, scalars, "metric", variances=variances)
    return _unknown_as_nan(function(x, _sum_squares(_double(x)), arguments).astype(x.dtype), lost)


def _settled(x: Any) -> Any:
    """Return a number, of which the compiler makes no part of a fused product and sum: that is rounded once."""
    return jnp.where(abs(x) < jnp.inf, x, jnp.nan)


def _power_of_two(n: Any) -> Any:
    return jnp.ldexp(jnp.ones_like(n), jnp.clip(n, -20000, 20000).astype(int))


def _with_exact(layers: Sequence[Any], network: Callable) -> None:
    """Nothing: there is no wider format."""


def _widened(layers: Sequence[Any], scalars: tuple, wanted: str, *points: jax.Array) -> tuple[list, list]:
    """Return points, in double precision where single loses digits, and where double does and that is not known yet."""
    found = [_examined(X, layers, scalars, wanted, X.dtype) for X in points]
    wide = any(layer.law and layer.law.exponential for layer in layers)
    wide = wide or any(_traced(single) or bool(single.any()) for single, _ in found)
    return [_double(X) if wide else X for X in points], [lost for _, lost in found]


def _diagonal_of(layers: Sequence[Any], X: Any, scalars: tuple, tangent: bool) -> Any:
    """Return k(x, x), or the tangent kernel at (x, x)."""
    (points,), (lost,) = _widened(layers, scalars, "ntk" if tangent else "kernel", X)
    return _unknown_as_nan(_diagonal_layers(layers, _sum_squares(points), scalars, tangent).astype(X.dtype), lost)


def _dimension(X: jax.Array) -> int:
    return X.shape[-1]


def _at_points(function: Callable, X: jax.Array) -> Any:
    # Scalars that are traced in double precision do not promote single precision points.
    return jax.tree_util.tree_map(lambda result: result.astype(X.dtype), function(X))


def _constant(like: jax.Array, value: Any) -> jax.Array:
    return jnp.full_like(like, value)


def _sqrt(x: Any) -> Any:
    """The square root with derivative 0 at 0: where it occurs, what it multiplies vanishes or cancels there."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def _atan2(y: Any, x: Any) -> Any:
    """Return atan2(y, x), with a finite derivative where both vanish."""
    return jnp.arctan2(y, jnp.where((x == 0) & (y == 0), 1, x))


def _where_nonnegative(x: Any, yes: Any, no: Any) -> Any:
    return jnp.where(x >= 0, yes, no)


def _ratio(a: Any, b: Any) -> Any:
    zero = b == 0
    return jnp.where(zero, 0, a / jnp.where(zero, 1, b))


def _exp_difference(a: Any, b: Any, difference: Any) -> Any:
    falls = difference >= 0
    fall, rise = jnp.expm1(-jnp.where(falls, difference, 0)), jnp.expm1(jnp.where(falls, 0, difference))
    return jnp.where(falls, -jnp.exp(a) * fall, jnp.exp(b) * rise)


def _exp_residual(x: Any, n: int) -> Any:
    """Return e^x - sum_{k<n} x^k/k!, by its series where |x| < 1."""
    if n == 1:
        return jnp.expm1(x)
    small, series = jnp.clip(x, -1, 1), jnp.zeros_like(x)
    for k in range(n + 18, n - 1, -1):
        series = (series + 1) * small / k
    taylor, power = jnp.zeros_like(x), jnp.ones_like(x)
    for k in range(n):
        taylor, power = taylor + power, power * x / (k + 1)
    return jnp.where(jnp.abs(x) < 1, series * small ** (n - 1) / math.factorial(n - 1), jnp.exp(x) - taylor)


# sin t - t cos t = sum_n (-1)^(n+1) 2n t^(2n+1) / (2n+1)!, used below t = 1.
_SERIES = [1 / 3, -1 / 30, 1 / 840, -1 / 45360, 1 / 3991680, -1 / 518918400, 1 / 93405312000, -1 / 22230464256000]


def _sin_minus_theta_cos(t: Any) -> Any:
    square = jnp.minimum(t, 1) ** 2
    series = jnp.zeros_like(square)
    for coefficient in reversed(_SERIES):
        series = series * square + coefficient
    return jnp.where(t < 1, t * square * series, jnp.sin(t) - t * jnp.cos(t))


def _metric_matrix(X: jax.Array, B: jax.Array, A: jax.Array, shear: jax.Array, eta: jax.Array) -> jax.Array:
    """Return A I + B x x^T; where |s B| > A/2 in the form A ((1 - x^_i^2) + eta x^_i^2), where nothing cancels."""
    identity = jnp.eye(X.shape[-1], dtype=X.dtype)
    steep = jnp.abs(shear) > 0.5
    plain = A[..., None, None] * identity + B[..., None, None] * X[..., :, None] * X[..., None, :]
    safe = jnp.where(steep[..., None], X, 1)
    scaled = safe / jax.lax.stop_gradient(jnp.abs(safe).max(axis=-1, keepdims=True))
    unit = scaled / jnp.sqrt((scaled * scaled).sum(axis=-1, keepdims=True))
    squares = unit * unit
    others = (squares[..., None, :] * (1 - identity)).sum(axis=-1)
    diagonal = A[..., None] * (others + eta[..., None] * squares)
    outer = (A * shear)[..., None, None] * unit[..., :, None] * unit[..., None, :]
    stable = outer * (1 - identity) + diagonal[..., None] * identity
    return jnp.where(steep[..., None, None], stable, plain)


def _sum_squares(X: jax.Array) -> jax.Array:
    return (X * X).sum(axis=-1)


@jax.jit
def _differences_of_pairs(X: jax.Array, Y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return `_close_pairs` of every pair of rows, a row at a time: all differences together never stand in memory."""
    return jax.lax.map(lambda x: _close_pairs(x[None], Y), X)


def _close_pairs(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return |x - y|^2, |x|^2 - |y|^2 and |x|^2 |y|^2 - (x.y)^2.

    The last is |x|^2 |y - t x|^2 with t = x.y/|x|^2; products of halves of the digits make the residual exact.
    """
    difference = y - x
    s = _sum_squares(x)
    divisor = jnp.where(s == 0, 1, s)
    t = ((x * y).sum(axis=-1) / divisor)[..., None]
    coarse, leading, product = _leading_half(t), _leading_half(x), t * x
    fine, trailing = t - coarse, x - leading
    residual = (y - product) - (((coarse * leading - product) + coarse * trailing + fine * leading) + fine * trailing)
    residual = residual - ((x * residual).sum(axis=-1) / divisor)[..., None] * x  # t is rounded
    return _sum_squares(difference), -(difference * (x + y)).sum(axis=-1), s * _sum_squares(residual)


def _leading_half(a: jax.Array) -> jax.Array:
    """Return `a` cut to half its digits, as a constant: what is made of it does not depend on it but for rounding."""
    exponent, mantissa = (8, 11) if a.dtype == jnp.float32 else (11, 25)
    return jax.lax.stop_gradient(jax.lax.reduce_precision(a, exponent, mantissa))


def _pairs(X: jax.Array, Y: jax.Array) -> SimpleNamespace:
    """Return the state (p, q, c, omega, delta, Delta) of every pair of rows: of the inputs themselves."""
    sx, sy = _sum_squares(X)[:, None], _sum_squares(Y)[None, :]
    distance, omega, gram = _differences_of_pairs(X, Y)
    xy = jnp.matmul(X, Y.T, precision="highest")
    # x.y from the norms where the points coincide: then c = p to the bit, with the derivatives of x.y.
    xy = jnp.where(distance == 0, (sx + sy - distance) / 2, xy)
    return SimpleNamespace(p=sx, q=sy, c=xy, omega=omega, delta=distance, Delta=gram)


def _gram(X: jax.Array, Y: jax.Array | None, layers: Sequence[Any], scalars: tuple, wanted: str) -> Any:
    """Return the Gram matrix (N, M), or both for `wanted` = "both"; coincident points take the diagonal's values."""
    tangent = wanted != "kernel"
    points, lost = _widened(layers, scalars, "ntk" if tangent else "kernel", X, X if Y is None else Y)
    features, D = _pair_layers(layers, _pairs(*points), scalars, "ntk" if tangent else "kernel")
    results = {"kernel": (features.c,), "ntk": (features.c + D,), "both": (features.c, features.c + D)}[wanted]
    results = tuple(result.astype(jnp.result_type(X, X if Y is None else Y)) for result in results)
    results = tuple(_unknown_as_nan(result, lost[0][:, None] | lost[1]) for result in results)
    if Y is None:
        results = tuple(jnp.triu(result) + jnp.triu(result, 1).T for result in results)
    return results if wanted == "both" else results[0]


def _distance(X: jax.Array, Y: jax.Array, layers: Sequence[Any], scalars: tuple, squared: bool) -> jax.Array:
    """Return |Phi(x) - Phi(y)|, or its square, for every pair of rows."""
    # XLA rearranges what makes residuals exact: single precision would lose them.
    _, lost = _widened(layers, scalars, "kernel", X, Y)
    pairs = _pairs(_double(X), _double(Y))
    _check_apart(X, Y, pairs.delta)
    squares = _pair_layers(layers, pairs, scalars, "distance")[0].delta
    # The derivative of a maximum where both are equal would be a half.
    squares = jnp.where(squares < 0, 0, squares)
    result = _rooted(squares, squared, X.dtype)
    return _unknown_as_nan(result.astype(X.dtype), lost[0][:, None] | lost[1])


# What coincident pairs are replaced by in formulas that are singular there, so that no gradient is 0 * inf.
_HARMLESS = {"p": 1.0, "q": 1.0, "c": 0.0, "omega": 0.0, "delta": 2.0, "Delta": 1.0}


def _apart(state: SimpleNamespace) -> tuple[jax.Array, SimpleNamespace]:
    """Return which pairs coincide, and the state with harmless pairs in their place."""
    same = state.delta == 0
    return same, SimpleNamespace(**{name: jnp.where(same, x, getattr(state, name)) for name, x in _HARMLESS.items()})


def _squared_distance_near(
    moment: Callable | None, slope: Callable | None, state: SimpleNamespace, scalars: tuple
) -> jax.Array:
    """Return m0 delta + m0' omega^2 / 2 at the mean variance: |phi(u) - phi(v)|^2 to second order in the distance.

    Its value and derivatives up to the second at coincident points are those of the distance (0 where m0 is infinite).
    """
    if moment is None or slope is None:
        return 0 * state.delta
    v = (state.p + state.q) / 2
    return moment(v, *scalars) * state.delta + slope(v, *scalars) * state.omega * state.omega / 2


def _kernel_of(law: Any, state: SimpleNamespace, scalars: tuple) -> jax.Array:
    same, apart = _apart(state)
    near = _squared_distance_near(law.derivative_moment, law.derivative_slope, state, scalars)
    mean = (law.moment(state.p, *scalars) + law.moment(state.q, *scalars)) / 2
    return jnp.where(same, mean - near / 2, _of_pairs(law.kernel, law.kernel_of_squares, apart, scalars))


def _derivative_kernel_of(law: Any, state: SimpleNamespace, scalars: tuple) -> jax.Array:
    same, apart = _apart(state)
    near = _squared_distance_near(law.second_moment, law.second_slope, state, scalars)
    mean = (law.derivative_moment(state.p, *scalars) + law.derivative_moment(state.q, *scalars)) / 2
    values = _of_pairs(law.derivative_kernel, law.derivative_of_squares, apart, scalars)
    return jnp.where(same, mean - near / 2, values)


def _differences(law: Any, state: SimpleNamespace, scalars: tuple) -> tuple[jax.Array, jax.Array]:
    """Return |phi(u) - phi(v)|^2 and E[phi(u)^2 - phi(v)^2]."""
    same, apart = _apart(state)
    Delta = apart.Delta
    if not law.derivative_moment:  # a jump: between 0 and x there is a right angle, as the kernel has it
        Delta = jnp.where((Delta == 0) & (apart.c == 0), jnp.finfo(Delta.dtype).tiny, Delta)
    squared, moments = law.difference(apart.p, apart.q, apart.omega, apart.delta, apart.c, Delta, *scalars)
    near = _squared_distance_near(law.derivative_moment, law.derivative_slope, state, scalars)
    across = law.moment(state.p, *scalars) - law.moment(state.q, *scalars)
    return jnp.where(same, near, squared), jnp.where(same, across, moments)


def _formats() -> list[tuple]:
    """Return the formats of the self-test: name, bits, what makes points, and how many points make blocks: none."""
    jax.config.update("jax_enable_x64", True)
    return [(dtype.__name__, bits, lambda rows, dtype=dtype: np.array(rows, dtype), 0) for dtype, bits in _BITS.items()]


_BITS: dict[Any, int] = {np.float64: 53, np.float32: 24}
# What the self-test allows between the same formula in two functions: XLA contracts them differently.
_SAME = 4
_mixed_derivative: Callable | None = None  # takes XLA too long


def _ready(function: Callable) -> Callable:
    """Return a function as the self-test calls it: compiled as a whole, which is quicker."""
    return jax.jit(function)
