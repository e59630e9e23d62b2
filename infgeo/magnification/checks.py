"""Checks of the arrays that users pass to `infgeo.magnification`: every message names the array, value and remedy."""

import numpy as np
from numpy.typing import ArrayLike

from infgeo.arguments import positive_integer
from infgeo.errors import InvalidInput


def real_array(name: str, value: ArrayLike, shape: str, finite: bool = True) -> np.ndarray:
    """Return `value` as float64, `finite` or not, or raise InvalidInput; `shape` is what is wanted, in words."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(f"{name} is not an array of numbers ({error}); pass real numbers of shape {shape}") from None
    if np.ma.isMaskedArray(value):
        raise InvalidInput(
            f"{name} is a masked array; pass its values, with the masked points taken out of every array"
        )
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"{name} has dtype {array.dtype}; pass real numbers of shape {shape}")
    array = array.astype(np.float64)
    if finite:
        refuse(name, array, ~np.isfinite(array))
    return array


def vector(name: str, value: ArrayLike, length: int | None = None, least: int = 1, finite: bool = True) -> np.ndarray:
    """Return `value` as (N,) float64, N = `length` if given and >= `least`; without NaN and infinities if `finite`."""
    array = real_array(name, value, "(N,)", finite)
    if array.ndim != 1:
        raise InvalidInput(f"{name} has shape {array.shape}; pass one value a point, (N,): {name}.reshape(-1)")
    if length is not None and array.size != length:
        raise InvalidInput(f"{name} has {array.size} values for {length} points; pass one value for each point")
    if array.size < least:
        raise InvalidInput(f"{name} has {array.size} values; at least {least} are needed")
    return array


def log_values(name: str, value: ArrayLike, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return logarithms (N,) and where they are finite; -inf, the logarithm of 0, is the only value that need not be.

    Raises InvalidInput for NaN and +inf, and for fewer than 3 finite values.
    """
    array = vector(name, value, length, least=3, finite=False)
    refuse(name, array, np.isnan(array) | (array == np.inf))
    kept = np.isfinite(array)
    if kept.sum() < 3:
        raise InvalidInput(
            f"{name} has {kept.sum()} finite values among {array.size}; at least 3 are needed (-inf is the log "
            "volume of a metric without full rank: take log_pseudo_volume, or points where the rank is full)"
        )
    return array, kept


def points_array(name: str, value: ArrayLike) -> np.ndarray:
    """Return points as (N, d) float64, finite; images (N, *shape) are flattened."""
    array = real_array(name, value, "(N, d)")
    if array.ndim < 2 or array.size == 0:
        raise InvalidInput(f"{name} has shape {array.shape}; pass N points with d coordinates each, (N, d)")
    return array.reshape(array.shape[0], -1)


def refuse(name: str, array: np.ndarray, bad: np.ndarray) -> None:
    """Raise InvalidInput that counts what is `bad` and shows the first."""
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        index = ", ".join(map(str, where))
        raise InvalidInput(
            f"{name}[{index}] is {array[where]} (and {int(bad.sum()) - 1} more of {array.size} such values); "
            "leave such points out of every array, and say how many they were"
        )


def varies(name: str, values: np.ndarray) -> None:
    """Raise InvalidInput where `values` are equal to rounding: nothing can be explained or ranked."""
    if np.ptp(values) <= 64 * np.finfo(float).eps * np.abs(values).max():
        raise InvalidInput(
            f"{name} is constant ({values[0]:.6g} at all {values.size} points), so that no share, rank or difference "
            "of it is defined; leave it out, or this network, and say so"
        )


def grid_shape(value: ArrayLike, points: int, least: int = 1) -> tuple[int, ...]:
    """Return the shape of a grid of so many points, each axis of `least` or more; one number is a line."""
    sizes = tuple(positive_integer(n, "shape", least) for n in (value if np.iterable(value) else (value,)))
    if int(np.prod(sizes)) != points:
        raise InvalidInput(
            f"shape = {sizes} has {int(np.prod(sizes))} points, and there are {points}; pass that of them"
        )
    return sizes
