"""Certificates: the largest error of every emitted function over a stated sample, against mpmath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from infgeo.conventions import sigma_b, sigma_w
from infgeo.errors import InfgeoError, NotAccurate
from infgeo.numeric.certificates.accuracy import REFUSED, pair_errors, point_error
from infgeo.numeric.certificates.record import Certificate
from infgeo.numeric.source.module import functions_of
from infgeo.numeric.source.of_formula import Formula
from infgeo.numeric.source.precision import PROMISED, RANGE, variances_at

if TYPE_CHECKING:
    from infgeo.symbolic.networks.network import MLP

POINTWISE = ("metric", "volume_element", "log_volume_element", "ricci_scalar")
PAIRWISE = ("kernel", "ntk", "kernel_distance")
BOUNDS = {"float64": PROMISED, "float32": 1e-5}
SCALES = ((1.0, 0.0), (1.25, 0.5), (0.125, 1.0))  # (sigma_w, sigma_b)
OWN_PARAMETER = 0.75
# Lengths |x|: where errors are promised, and beyond, where a function may refuse. No round numbers: zeros of A', B, R
# like to be there. The lengths of pairs are powers of two: points of one direction are parallel, not nearly so.
_LENGTHS = (*1.0123 * np.geomspace(1e-6, 9e5, 20), 1.23e-9, 1.23e9)
_PAIR_LENGTHS = (0.03125, 1.0, 8.0)
_ANGLES = (0.0, 1e-9, 1e-5, 1e-2, 0.7, 2.0, np.pi - 1e-4, np.pi)


@lru_cache(maxsize=64)
def certify(mlp: MLP | Formula, backend: str = "numpy", dtype: str = "float64") -> tuple[Certificate, ...]:
    """Measure every function that exists against mpmath.

    The bound is what is promised, a relative error of 1e-12 in double and of 1e-5 in single precision, on every backend
    and machine, where |x| and the variances of all layers lie between 1e-6 and 1e6. Beyond, and for formulas of a user,
    a function may refuse; where it does not, the bound is the same. Values that the format cannot represent are left
    out, and so are points where an expectation is infinite.

    Args:
        mlp: the network; scales that it leaves open take the values of SCALES, parameters of activations 3/4.
        backend: "numpy", "torch" or "jax".
        dtype: "float64" or "float32".

    Example:
        >>> import infgeo
        >>> for certificate in certify(infgeo.MLP("relu")):
        ...     print(certificate.quantity, certificate.holds)
        kernel True
        ntk True
        kernel_distance True
        metric True
        volume_element True
        log_volume_element True
        ricci_scalar True
    """
    cases = tuple(_cases(mlp))
    sets = tuple(tuple(sorted(case.items())) for case in cases)
    certificates = []
    for name in (*PAIRWISE, *POINTWISE):
        if name not in functions_of(mlp):
            continue
        found = [pair for values in cases for pair in _errors(mlp, name, backend, values, dtype)]
        if found:
            errors, lengths = zip(*found, strict=True)
            reach = min(lengths), max(lengths)
            certificates.append(Certificate(name, backend, dtype, max(errors), BOUNDS[dtype], reach, sets, len(found)))
    return tuple(certificates)


def require(certificates: Sequence[Certificate]) -> None:
    """Raise NotAccurate for the first function that misses its bound."""
    for certificate in certificates:
        if not certificate.holds:
            raise NotAccurate(
                f"{certificate}: this form misses its bound; emit(..., certificate='stated') emits it all the same and"
                " states the error"
            )


def _cases(mlp: MLP | Formula) -> Iterator[dict[str, float]]:
    """Yield values of the parameters."""
    free = set(mlp.parameters)
    known = []
    for weight_std, bias_std in SCALES:
        values = {symbol.name: 2.0 if symbol.is_integer else OWN_PARAMETER for symbol in free - {sigma_w, sigma_b}}
        values |= {"sigma_w": weight_std} if sigma_w in free else {}
        values |= {"sigma_b": bias_std} if sigma_b in free else {}
        if values not in known:
            known.append(values)
            yield values


def _errors(
    mlp: MLP | Formula, name: str, backend: str, values: dict[str, float], dtype: str
) -> list[tuple[float, float]]:
    """Return errors of a function, with |x|; nothing where the function does not exist."""
    try:
        return list((_of_pairs if name in PAIRWISE else _of_points)(mlp, name, backend, values, dtype))
    except (InfgeoError, NotImplementedError):
        return []


def _of_pairs(
    mlp: MLP | Formula, name: str, backend: str, values: dict[str, float], dtype: str
) -> Iterator[tuple[float, float]]:
    directions = np.array([(np.cos(angle), np.sin(angle)) for angle in _ANGLES])
    lengths = [r for r in _PAIR_LENGTHS if variances_at(mlp, values, r) is not None]
    if lengths:
        points = _padded(mlp, np.concatenate([length * directions for length in lengths]).astype(dtype))
        for error in pair_errors(mlp, name, backend, values, points):
            yield error, lengths[0]
        yield 0.0, lengths[-1]


def _of_points(
    mlp: MLP | Formula, name: str, backend: str, values: dict[str, float], dtype: str
) -> Iterator[tuple[float, float]]:
    for length, angle in zip(_LENGTHS, np.linspace(0.1, 6.2, len(_LENGTHS)), strict=True):
        variances = variances_at(mlp, values, length)
        if variances is None:
            continue
        point = _padded(mlp, (length * np.array([[np.cos(angle), np.sin(angle)]])).astype(dtype))
        error = point_error(mlp, name, backend, values, point)
        promised = RANGE[0] <= min(length, *variances) and max(length, *variances) <= RANGE[1]
        if error == REFUSED and promised:
            error = float("inf")
        if error is not None and error != REFUSED:
            yield error, length


def _padded(mlp: MLP | Formula, points: np.ndarray) -> np.ndarray:
    """Return points of the plane with the coordinates that a network of a fixed dimension takes."""
    return np.pad(points, ((0, 0), (0, max(0, int(mlp.dimension) - 2 if mlp.dimension.is_number else 0))))
