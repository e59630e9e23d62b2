"""How far emitted functions are from the truth: relative errors against mpmath."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np

from infgeo.errors import ExpectationDiverges, InvalidInput
from infgeo.numeric.certificates.reference_values import flat, sphere
from infgeo.numeric.geometry import NumericGeometry, numeric
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.expectations.dual import dual

if TYPE_CHECKING:
    from infgeo.numeric.source.of_formula import Formula
    from infgeo.symbolic.networks.network import MLP

DIGITS = 60  # of results; mpmath's functions of |x| carry twice as many on the way
STEP = mpmath.mpf(2) ** -80  # of a numerical derivative in numbers of so many digits
SUSPECT = 1e-14  # an error that may be due to a zero nearby
ZERO = mpmath.mpf(10) ** -30  # curvatures below this, of a sphere's, are those of flat metrics
REFUSED = -1.0  # in the place of an error
THINNED = 5  # of the points, one of so many for kernels that are integrals
SAME_FEATURES = 1e-20  # distances below this are those of points with the same features, as a step has, and rounding


def measure(
    mlp: MLP,
    quantity: str,
    points: np.ndarray,
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, Any] = MappingProxyType({}),
    backend: str = "numpy",
) -> float:
    """Return the largest relative error of a function of single points, of those that it does not refuse.

    Args:
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
    scales = {"sigma_w": weight_std, "sigma_b": bias_std}
    values = {name: value for name, value in scales.items() if value is not None} | dict(parameters)
    errors = [point_error(mlp, quantity, backend, values, point[None]) for point in points]
    found = [error for error in errors if error is not None and error != REFUSED]
    if not found:
        raise InvalidInput(f"{quantity} of {backend} has no value at these points: pass others")
    return max(found)


def point_error(
    mlp: MLP | Formula, quantity: str, backend: str, values: Mapping[str, Any], point: np.ndarray
) -> float | None:
    """Return the relative error of a function at a point (1, d); REFUSED, or None for no number of the format.

    Near a zero it is one of the size there: by how much the value changes as |x| or a parameter changes by a factor e,
    to first order. A curvature of 0 has the size of that of the sphere through the point, and a logarithm one of at
    least 1.
    """
    tested = getattr(numeric(mlp, backend=backend, parameters=values), quantity)

    def truth(x: list, parameters: Mapping[str, Any]) -> list:
        return flat(getattr(_reference(mlp, parameters), quantity)(x))

    with mpmath.workdps(DIGITS):
        x = [mpmath.mpf(float(part)) for part in point[0]]
        numbers = {name: mpmath.mpf(value) for name, value in values.items()}
        try:
            exact = truth(x, numbers)
        except ExpectationDiverges:
            return None
        if not all(_representable(value, point.dtype) for value in exact):
            return None
        try:
            found = np.ravel(np.asarray(tested(converted(point, backend))))
        except InvalidInput:
            return REFUSED
        if not np.isfinite(found).all():
            return float("inf")
        errors = [abs(mpmath.mpf(float(value)) - right) for value, right in zip(found, exact, strict=True)]
        sizes = [max(abs(right), mpmath.mpf(quantity == "log_volume_element")) for right in exact]
        if any(error > SUSPECT * size for error, size in zip(errors, sizes, strict=True)):
            moved = [truth([part * (1 + STEP) for part in x], numbers)]
            moved += [truth(x, numbers | {name: value * (1 + STEP)}) for name, value in numbers.items()]
            for changed in moved:
                sizes = [size + abs(a - b) / STEP for size, a, b in zip(sizes, changed, exact, strict=True)]
            if quantity == "ricci_scalar":
                curved = sphere(_reference(mlp, numbers).metric(x), x)
                sizes = [curved if size < ZERO * curved else size for size in sizes]
        return max(float(error / size) if error else 0.0 for error, size in zip(errors, sizes, strict=True))


def _integrates(mlp: Any) -> bool:
    """Whether mpmath computes integrals for a kernel: some hundredths of a second each."""
    return any(dual(layer.activation).kernel.has(BivariateNormal) for layer in mlp.with_weights)


def pair_errors(
    mlp: MLP | Formula, quantity: str, backend: str, values: Mapping[str, Any], points: np.ndarray
) -> list[float]:
    """Return the errors of a kernel at all pairs of points, relative to the norms; of a distance, to itself."""
    points = points[::THINNED] if _integrates(mlp) else points
    result = np.asarray(getattr(numeric(mlp, backend=backend, parameters=values), quantity)(converted(points, backend)))
    rows = [[mpmath.mpf(float(part)) for part in point] for point in points]
    reference = _reference(mlp, values)
    with mpmath.workdps(DIGITS):
        exact = getattr(reference, quantity)(rows)
        sizes = exact.apply(lambda size: size if size > SAME_FEATURES else mpmath.mpf(0))
        if quantity != "kernel_distance":
            norms = [mpmath.sqrt(part) for part in getattr(reference, f"{quantity}_diag")(rows)]
            sizes = mpmath.matrix([[a * b for b in norms] for a in norms])
        places = [(i, j) for i in range(len(rows)) for j in range(i) if sizes[i, j]]
        return [
            float(abs(mpmath.mpf(float(result[i, j])) - exact[i, j]) / sizes[i, j])
            for i, j in places
            if _representable(sizes[i, j], result.dtype)
        ]


def converted(points: np.ndarray, backend: str) -> Any:
    """Return points as the backend takes them; raises NotImplementedError where it has no double precision."""
    if backend == "torch":
        import torch

        return torch.as_tensor(points)
    if backend == "jax" and points.dtype == np.float64:
        import jax

        if not jax.config.read("jax_enable_x64"):
            raise NotImplementedError("jax keeps float64 only where jax_enable_x64 is set")
    return points


def _reference(mlp: MLP | Formula, values: Mapping[str, Any]) -> NumericGeometry:
    return numeric(mlp, backend="mpmath", parameters=values)


def _representable(exact: Any, dtype: Any) -> bool:
    limits = np.finfo(dtype)
    return bool(exact == 0 or limits.tiny <= abs(exact) <= limits.max)
