"""The theoretical side: the numbers that the emitted closed forms give at the points, and along a radius."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from infgeo.errors import MetricDoesNotExist
from infgeo.numeric.geometry import NumericGeometry

CURVE_POINTS = 121


@dataclass(frozen=True)
class Theory:
    """Infinite-width values: quantity -> array, (N, N) for the kernel and (N,) for all others.

    `missing` says why the network has no metric, where it has none; then only the kernel is there. `curve` has every
    quantity of the metric along a ray (name -> values; "radius" among them).
    """

    values: dict[str, np.ndarray]
    missing: str = ""
    metric: np.ndarray | None = None  # (N, d, d)
    curve: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def has_metric(self) -> bool:
        """Whether anything besides the kernel is compared."""
        return len(self.values) > 1 or "kernel" not in self.values


def theory_at(geometry: NumericGeometry, points: np.ndarray, radial: bool = True) -> Theory:
    """Evaluate the closed forms at points (N, d), of mixtures and by quadrature what stands for them.

    There is no curve along a radius unless the geometry is `radial`.
    """
    values = {"kernel": np.asarray(geometry.kernel(points))}
    try:
        metric = np.asarray(geometry.metric(points))
    except MetricDoesNotExist as error:
        return Theory(values, str(error))
    curve = _curve(geometry, points) if radial else {}
    return Theory(values | metric_values(geometry, points), "", metric, curve)


def metric_values(geometry: NumericGeometry, points: np.ndarray) -> dict[str, np.ndarray]:
    """Return the eigenvalues of the metric in the radial direction and across it, and what is made of it."""
    d = points.shape[1]
    metric = np.asarray(geometry.metric(points))
    radius = np.linalg.norm(points, axis=1)
    direction = np.eye(1, d).repeat(len(points), axis=0)  # at the origin all directions are alike
    direction[radius > 0] = points[radius > 0] / radius[radius > 0, None]
    radial = np.einsum("pi,pij,pj->p", direction, metric, direction)
    values = {"metric_radial": radial}
    if d > 1:
        values["metric_tangential"] = (np.trace(metric, axis1=1, axis2=2) - radial) / (d - 1)
    log_volume = np.asarray(geometry.log_volume_element(points))
    return values | {
        "log_mean_det_metric": 2.0 * log_volume,
        "volume_element": np.asarray(geometry.volume_element(points)),
        "log_volume_element": log_volume,
        "ricci_scalar": np.asarray(geometry.ricci_scalar(points)),
    }


def log_determinant_factor(width: int, input_dim: int) -> float:
    """Return log of n (n - 1) ... (n - d + 1) / n^d.

    By this factor E[det g] of one layer of width n differs from det g at infinite width, for any activation
    (Cauchy-Binet: det g is a sum over sets of d distinct units, which are independent).
    """
    return float(np.log1p(-np.arange(input_dim) / width).sum())


def _curve(geometry: NumericGeometry, points: np.ndarray) -> dict[str, tuple[float, ...]]:
    """Return every quantity of the metric along a ray, over the radii of the points and somewhat beyond."""
    radii = np.linalg.norm(points, axis=1)
    positive = radii[radii > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (0.1, 1.0)
    ray = np.zeros((CURVE_POINTS, points.shape[1]))
    ray[:, 0] = np.geomspace(0.8 * low, 1.25 * high, CURVE_POINTS)
    values = {"radius": ray[:, 0]} | metric_values(geometry, ray)
    return {name: tuple(float(v) for v in array) for name, array in values.items()}
