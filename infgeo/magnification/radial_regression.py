"""Regression on |x|: a least-squares cubic spline with knots at quantiles of the radius."""

import numpy as np
from scipy.interpolate import BSpline

MOST_KNOTS = 8
_SAME = 1e-9  # of the largest radius: a spread below it is one radius
_SNAP = 1e-12  # of the range: radii of one circle differ by rounding, and two knots there would make a jump


class RadialFit:
    """The linear smoother y -> its regression on the radius: least squares in the space of splines.

    `basis` (N, p) is orthonormal and its span holds the constants; `parameters` is p. Splines are cubic with min(8, (N
    - 20) // 10) inner knots at quantiles of the `radius` (N,) unless `knots` is given, of lower degree below 20 points.
    Where the radius takes p values or fewer, the span is that of all functions of the radius, and one radius leaves the
    constants.
    """

    def __init__(self, radius: np.ndarray, knots: int | None = None) -> None:
        n, largest = radius.size, float(radius.max())
        design = np.ones((n, 1))
        if np.ptp(radius) > _SAME * largest:
            grain = max(_SNAP, 64 * np.finfo(float).eps * largest / np.ptp(radius))
            u = np.clip(np.round((radius - radius.min()) / np.ptp(radius) / grain) * grain, 0.0, 1.0)
            degree = 3 if n >= 20 or knots else max(1, n // 5)
            inner = min(MOST_KNOTS, max(0, (n - 20) // 10)) if knots is None else knots
            quantiles = np.quantile(u, np.linspace(0, 1, inner + 2)[1:-1])
            middle = np.unique(quantiles[(quantiles > 0) & (quantiles < 1)])
            t = np.concatenate((np.zeros(degree + 1), middle, np.ones(degree + 1)))
            splines = BSpline.design_matrix(u, t, degree).toarray()
            design = np.hstack((design, splines - splines.mean(axis=0)))
        left, sizes, _ = np.linalg.svd(design, full_matrices=False)
        self.basis = left[:, sizes > 1e-10 * sizes[0]]
        self.parameters = self.basis.shape[1]

    def residual(self, y: np.ndarray) -> np.ndarray:
        """Return y (N,) less its regression on the radius."""
        centred = y - y.mean()
        rest = centred - self.basis @ (self.basis.T @ centred)
        return rest - self.basis @ (self.basis.T @ rest)  # once more: what rounding left along the basis


def radii(points: np.ndarray) -> np.ndarray:
    """Return |x| of points (N, d), without overflow."""
    largest = np.abs(points).max()
    return np.zeros(len(points)) if largest == 0 else largest * np.linalg.norm(points / largest, axis=1)
