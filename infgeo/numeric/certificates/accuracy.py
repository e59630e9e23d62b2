"""How far the emitted functions are from the truth: units in the last place against mpmath at 50 digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np

from infgeo.errors import InvalidInput
from infgeo.numeric.geometry import numeric

if TYPE_CHECKING:
    from infgeo.symbolic.networks.network import MLP

DIGITS = 50
# A result of this many digits of cancellation at most is still exact to DIGITS digits, and of this power of |x|.
_GUARD_DIGITS, _GUARD_ORDER = 50, 12
# A logarithm is as accurate as the relative error of its argument: its ulps are those of values of at least 1.
_FLOOR = {"log_volume_element": 1.0}


@dataclass(frozen=True)
class Accuracy:
    """The error of one function over a sample of points.

    Arguments:
        quantity: name of the method, for example "ricci_scalar".
        worst: the largest error, in units in the last place of the exact value.
        point: the point where it is reached.
        count: number of values compared; those that the format cannot represent (overflow, subnormal) are left out.
    """

    quantity: str
    worst: float
    point: tuple[float, ...]
    count: int


def measure(
    mlp: MLP,
    quantity: str,
    points: np.ndarray,
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, Any] = MappingProxyType({}),
    backend: str = "numpy",
) -> Accuracy:
    """Compare `quantity` in float arithmetic with the same formula at 50 digits (and guard digits), point by point.

    Arguments:
        mlp: the network.
        quantity: "metric", "volume_element", "log_volume_element", "ricci_scalar" or "kernel_diag".
        points: (N, d) of float32 or float64; the dtype is that of the arithmetic.
        weight_std, bias_std, parameters: as for `MLP.numeric`.
        backend: "numpy", "torch" or "jax".
    """
    if backend not in ("numpy", "torch", "jax"):
        raise InvalidInput(
            f"backend = {backend!r} must be 'numpy', 'torch' or 'jax': mpmath is what they are compared with"
        )
    tested = numeric(mlp, weight_std, bias_std, backend, parameters)
    argument: Any = points
    if backend == "torch":
        import torch

        argument = torch.as_tensor(points)
    points, values = answered(getattr(tested, quantity), points, argument)
    reference = numeric(mlp, weight_std, bias_std, "mpmath", parameters)
    smallest, largest = np.finfo(points.dtype).tiny, np.finfo(points.dtype).max
    worst, count = 0.0, 0
    place: tuple[float, ...] = ()
    function = getattr(reference, quantity)
    for point, row in zip(points, values, strict=True):
        exact = exact_values(function, [mpmath.mpf(float(x)) for x in point])
        for value, truth in zip(np.ravel(row), exact, strict=True):
            if truth != 0 and not smallest <= abs(truth) <= largest:
                continue
            count += 1
            error = ulps(value, truth, _FLOOR.get(quantity, 0.0))
            if not error <= worst:
                worst, place = error, tuple(float(x) for x in point)
    return Accuracy(quantity, worst, place, count)


def answered(function: Callable, points: np.ndarray, argument: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the points at which a function of single points has values in its format, and these; one at least."""
    try:
        return points, np.asarray(function(argument))
    except InvalidInput as error:
        found: list = []
        for i in range(len(points)):
            try:
                found.append((i, np.asarray(function(argument[i]))))
            except InvalidInput:
                continue
        if not found:
            raise error
        return points[[i for i, _ in found]], np.stack([value for _, value in found])


def exact_values(function: Callable, point: list) -> list:
    """Return the entries of a function of the mpmath backend at a point, exact to DIGITS digits.

    Formulas cancel like powers of |x| at small and at large points: so many more digits are carried. Values that vanish
    with the digits carried are 0.
    """
    length = mpmath.norm(point)
    lost = abs(int(mpmath.log10(length))) if length else 0
    found: list[list] = []
    for more in (0, _GUARD_DIGITS):
        with mpmath.workdps(DIGITS + _GUARD_DIGITS + _GUARD_ORDER * lost + more):
            exact = function(point)
        found.append(list(exact) if isinstance(exact, mpmath.matrix) else [exact])
        if not any(found[0]):
            return found[0]
    noise = mpmath.mpf(10) ** -(_GUARD_DIGITS // 2)
    return [mpmath.mpf(0) if abs(more) < noise * abs(value) else more for value, more in zip(*found, strict=True)]


def ulps(value: Any, truth: Any, floor: float = 0.0) -> float:
    """Return |value - truth| in units in the last place of max(|truth|, floor); what is not finite counts as infinite.

    >>> ulps(np.float64(1) + 2 * np.finfo(float).eps, mpmath.mpf(1))
    2.0
    """
    if not np.isfinite(value):
        return float("inf")
    if truth == 0 and floor == 0:
        return 0.0 if value == 0 else float("inf")
    spacing = float(np.spacing(value.dtype.type(max(abs(float(truth)), floor))))
    return float(abs(mpmath.mpf(float(value)) - truth) / spacing)
