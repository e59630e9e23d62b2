"""jax: no branch is taken on the value of an array, so every function goes through jit, vmap, grad, jacfwd and jacrev.

What is wrong with a value is said where the value is known, outside of them. XLA sets subnormal numbers to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infgeo.numeric.runtime.arrays.differentiable import DifferentiableArrays
from infgeo.numeric.runtime.arrays.library import AT_ONCE
from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.normal_tails import erfcx_by_sums
from infgeo.numeric.runtime.records import Array, Pairs


def traced(x: Array) -> bool:
    """Return whether the value of `x` is not known yet: inside a transformation."""
    return isinstance(x, jax.core.Tracer)


class JaxArrays(DifferentiableArrays):
    """jax, see `protocol.Arrays`."""

    lib, kind = jnp, jax.Array

    def points(self, X: Array, name: str = "X", rows: bool = False) -> jax.Array:
        """Return `X` as an array of float32 or float64 points (..., d); with `rows`, (N, d)."""
        array = X
        if isinstance(X, np.ma.MaskedArray):
            raise InputError(
                f"{name} is a masked array, masks are not kept: pass {name}.filled(...) or the rows in use"
            )
        if not isinstance(X, jax.Array):
            leaves = jax.tree_util.tree_leaves(X, is_leaf=lambda part: not isinstance(part, (list, tuple)))
            inside = any(isinstance(leaf, jax.Array) for leaf in leaves)
            try:
                # NumPy does not cut doubles to single precision, whatever jax is told.
                array = jnp.asarray(X) if inside else np.asarray(X)
            except (TypeError, ValueError, RuntimeError) as error:
                raise self.no_array(name, error) from error
            if array.dtype.kind in "iu" and not hasattr(X, "dtype"):
                array = array.astype(float)
        if array.dtype not in (np.float32, np.float64):
            raise self.of_wrong_dtype(name, array.dtype)
        if array.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
            raise InputError(
                f"{name} has dtype float64, which jax cuts to float32 by default:"
                " call jax.config.update('jax_enable_x64', True), or pass float32"
            )
        self.shaped(array, name, rows)
        if not traced(array) and not (finite := np.isfinite(np.asarray(array))).all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise InputError(
                f"{name}{list(where)} = {array[where]}: every coordinate must be finite; drop or mend that point"
            )
        return jnp.asarray(array)

    def scalar(self, name: str, value: Any) -> Any:
        """Return a known value as a Python float, which has all digits and promotes no array; others as they are."""
        kind = str(getattr(value, "dtype", ""))
        wrong = isinstance(value, (str, bytes, bool)) or "bool" in kind or "complex" in kind
        try:
            if wrong or hasattr(value, "requires_grad"):
                raise TypeError("text, truth values, complex numbers and tensors of torch are no numbers here")
            if not traced(value):
                return float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InputError(f"{name} = {value!r} must be a number") from error
        if value.ndim or not jnp.issubdtype(value.dtype, jnp.floating):
            raise InputError(
                f"{name} is {value.dtype} {value.shape}, it must be a number or an array without dimensions"
            )
        return value

    def erfc(self, x: Array) -> Any:
        """Return 1 - erf(x)."""
        return jax.lax.erfc(x)

    def erfcx(self, x: Array) -> Any:
        """Return e^(x^2) erfc(x)."""
        return erfcx_by_sums(self, x)

    def all(self, condition: Any) -> bool:
        """Return whether a condition holds everywhere, as far as that is known."""
        return traced(condition) or bool(np.all(condition))

    def known(self, x: Array) -> Any:
        """Return values, or None inside a transformation."""
        return None if traced(x) else x

    def if_any(self, condition: Array, yes: Callable, no: Callable) -> Any:
        """Return `yes()` where a condition holds anywhere, else `no()`."""
        return jax.lax.cond(condition.any(), yes, no) if traced(condition) else super().if_any(condition, yes, no)

    def sums_over(self, rule: Sequence, function: Callable, like: Array) -> list[Any]:
        """Return the sums of what `function` returns for nodes and weights: one loop where it is compiled."""
        if not traced(like):
            return super().sums_over(rule, function, like)

        def add(totals: list, part: Array) -> tuple:
            return [total + new for total, new in zip(totals, function(*part), strict=True)], None

        rows = jnp.asarray(rule, like.dtype)
        totals = [jnp.zeros(part.shape, part.dtype) for part in jax.eval_shape(lambda row: function(*row), rows[0])]
        return list(jax.lax.scan(add, totals, rows)[0])

    def largest(self, v: Array) -> float:
        """Return the largest value, for a message."""
        return float(jnp.max(v))

    def double(self, X: Array) -> jax.Array:
        """Return an array in double precision, where jax keeps it."""
        return X.astype(np.float64) if jax.config.read("jax_enable_x64") else X

    def cast(self, result: Array, like: jax.Array) -> jax.Array:
        """Return a result in the format of an array."""
        return jnp.asarray(result).astype(like.dtype)

    def constant(self, like: Array, value: Any) -> jax.Array:
        """Return an array of one value."""
        return jnp.full_like(like, value)

    def atan2(self, y: Array, x: Array) -> jax.Array:
        """Return the angle of (x, y), with a finite derivative where both vanish."""
        return jnp.arctan2(y, jnp.where((x == 0) & (y == 0), 1, x))

    def fixed(self, x: jax.Array) -> jax.Array:
        """Return an array as a constant."""
        return jax.lax.stop_gradient(x)

    def identity(self, X: jax.Array) -> jax.Array:
        """Return the matrix I of the points' dimension."""
        return jnp.eye(X.shape[-1], dtype=X.dtype)

    def at_points(self, function: Callable, X: jax.Array) -> Any:
        """Return the function of points."""
        return function(X)

    def settled(self, x: jax.Array) -> jax.Array:
        """Return a number that XLA makes no part of a fused product and sum, which is rounded once."""
        return jnp.where(abs(x) < jnp.inf, x, jnp.nan)

    def power_of_two(self, n: Any) -> jax.Array:
        """Return 2^n."""
        return jnp.ldexp(jnp.ones_like(n), jnp.clip(n, -20000, 20000).astype(int))

    def in_parts(self, function: Callable, arrays: Any, numbers: int) -> tuple:
        """Return what `function` makes of arrays of one shape, a part at a time; an element takes so many numbers."""
        flat, size = [x.reshape(-1) for x in arrays], max(1, AT_ONCE // numbers)
        found = jax.lax.map(lambda parts: function(*parts), tuple(flat), batch_size=size)
        return tuple(part.reshape(arrays[0].shape) for part in found)

    def leading_half(self, a: jax.Array) -> jax.Array:
        """Return `a` cut to half its digits, as a constant: what is made of it depends on it by rounding alone."""
        exponent, mantissa = (8, 11) if a.dtype == jnp.float32 else (11, 25)
        return jax.lax.stop_gradient(jax.lax.reduce_precision(a, exponent, mantissa))

    def pairs(self, X: jax.Array, Y: jax.Array) -> Pairs:
        """Return the pairs of all rows, a row at a time: all differences together never stand in memory."""
        delta, omega, Delta = differences_of_pairs(X, Y)
        sx, sy = self.sum_squares(X)[:, None], self.sum_squares(Y)[None, :]
        return self.with_coincident(Pairs(sx, sy, jnp.matmul(X, Y.T, precision="highest"), omega, delta, Delta))

    def formats(self) -> list[tuple[str, int, Callable]]:
        """Return the formats of the self-test: name, bits, and what makes points of numbers."""
        jax.config.update("jax_enable_x64", True)
        return [
            (name, bits, lambda rows, name=name: np.array(rows, name))
            for name, bits in (("float64", 53), ("float32", 24))
        ]


@jax.jit
def differences_of_pairs(X: jax.Array, Y: jax.Array) -> Any:
    """Return `close_pairs` of every pair of rows."""
    return jax.lax.map(lambda x: JaxArrays().close_pairs(x[None], Y), X)


def of_scalars(plain: Callable, array: Callable) -> Callable:
    """Return a function of scalars: in double precision where they are known."""
    return lambda *values: (array if any(isinstance(value, jax.Array) for value in values) else plain)(*values)


scalars = SimpleNamespace(
    exp=of_scalars(math.exp, jnp.exp),
    log=of_scalars(math.log, jnp.log),
    sin=of_scalars(math.sin, jnp.sin),
    cos=of_scalars(math.cos, jnp.cos),
    sinh=of_scalars(math.sinh, jnp.sinh),
    cosh=of_scalars(math.cosh, jnp.cosh),
    tanh=of_scalars(math.tanh, jnp.tanh),
    atan=of_scalars(math.atan, jnp.arctan),
    atan2=of_scalars(math.atan2, jnp.arctan2),
    asin=of_scalars(math.asin, jnp.arcsin),
    acos=of_scalars(math.acos, jnp.arccos),
    Abs=of_scalars(abs, jnp.abs),
    sign=of_scalars(lambda value: float((value > 0) - (value < 0)), jnp.sign),
    Max=of_scalars(max, jnp.maximum),
    Min=of_scalars(min, jnp.minimum),
    sqrt=of_scalars(math.sqrt, jnp.sqrt),
    expm1=of_scalars(math.expm1, jnp.expm1),
    log1p=of_scalars(math.log1p, jnp.log1p),
    erf=of_scalars(math.erf, jax.lax.erf),
    erfc=of_scalars(math.erfc, jax.lax.erfc),
    gamma=of_scalars(math.gamma, jax.scipy.special.gamma),
)
