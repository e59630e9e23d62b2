"""What networks of one layer and finite width do at given points, by quadrature: bias and spread of their geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from infgeo.errors import NotConverged
from infgeo.numeric.quadrature import gaussian_rules as rules
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.symbolic.analysis import unit_moments
from infgeo.symbolic.analysis.unit_moments import UnitMoments

_LEVELS = (2, 3)
_TOLERANCE = 1e-8
_BESIDE = 5  # Gauss-Hermite nodes for w_1 given z: its powers up to 9 are integrated exactly


@dataclass(frozen=True)
class Prediction:
    """One quantity at one point for networks of one layer: expectation minus infinite-width value, and spread.

    `bias` and `variance` are n times those of one network, to leading order in 1/n (exact where the expansion ends);
    of the volume element they are relative.
    """

    bias: float
    variance: float


def moments_at(
    activation: Any, r: float, weight_std: float, bias_std: float, parameters: Mapping[str, float]
) -> UnitMoments:
    """Return the moments of a unit at |x| = r by Gauss-Legendre panels over z and Gauss-Hermite nodes over w_1.

    Raises ExpectationDiverges where E[phi'^4] is infinite, NotConverged where two rules disagree by 1e-8.
    """
    function = PiecewiseFunction(activation, parameters)
    coarse, fine = (_moments(function, r, weight_std, bias_std, level) for level in _LEVELS)
    size = np.abs(fine).sum(axis=2)  # odd moments may vanish
    coarse, fine = coarse.sum(axis=2), fine.sum(axis=2)
    gap = np.abs(coarse - fine) / np.where(size > 0, size, 1.0)
    if not gap.max() <= _TOLERANCE:
        raise NotConverged(
            f"moments of phi'^4 of activation {activation.name} at |x| = {r:g} differ by {gap.max():.1g}"
        )
    a, aa, ac, c, cc = fine
    return UnitMoments(
        variance=weight_std**2,
        f=weight_std**2 * float(a[0]),
        h=float(a[2]),
        root=float(a[2]) ** 0.5,
        aa={k: float(aa[k]) for k in (0, 2, 4)},
        ac={k: float(ac[k]) for k in (1, 3, 5)},
        c={k: float(c[k]) for k in (1, 3)},
        cc={k: float(cc[k]) for k in (0, 2, 4, 6)},
    )


def _moments(function: PiecewiseFunction, r: float, weight_std: float, bias_std: float, level: int) -> np.ndarray:
    """Return the terms of E[F w_1^k], (5, 7, nodes): F = a, a^2, a c, c, c^2 for a = phi'^2, c = phi' phi''; k < 7."""
    variance = bias_std**2 + (weight_std * r) ** 2
    if variance == 0:
        z, weights = np.zeros(1), np.ones(1)
    else:
        t, weights = rules._nodes(function, variance, level, integrand=lambda z: function(z, 1) ** 4)
        z = np.sqrt(variance) * t
    nodes, beside = np.polynomial.hermite_e.hermegauss(_BESIDE)
    slope = weight_std**2 * r / variance if variance else 0.0
    rest = weight_std * (bias_std / np.sqrt(variance) if variance else 1.0)
    w = slope * z[:, None] + rest * nodes
    weights = weights[:, None] * beside / beside.sum()
    first, second = function(z, 1)[:, None], function(z, 2)[:, None]
    a, c = first**2, first * second
    powers = np.stack([w**k for k in range(7)])
    return np.stack([(powers * F * weights).sum(axis=2) for F in (a, a * a, a * c, c, c * c)])


def predictions(moments: UnitMoments, input_dim: int, width: int) -> dict[str, Prediction]:
    """Return bias and spread of every quantity at width n; at `width` exactly for det g, else to leading order."""
    d = input_dim
    covariance = unit_moments.metric_covariance(moments, d)
    result = {"metric_radial": Prediction(0.0, covariance["radial"])}
    if d > 1:
        result["metric_tangential"] = Prediction(0.0, covariance["mean tangential"])
        result["ricci_scalar"] = Prediction(
            unit_moments.ricci_bias(moments, d), unit_moments.ricci_variance(moments, d)
        )
    bias, variance = unit_moments.log_volume(moments, d)
    result["log_volume_element"] = Prediction(bias, variance)
    result["volume_element"] = Prediction(bias + variance / 2, variance)
    first, second = unit_moments.determinant_moments(moments, width, d)
    # of log E[det g]: relative to the expectation at this width
    result["log_mean_det_metric"] = Prediction(0.0, width * (second / first**2 - 1))
    return result


def metric_chi_square(difference: np.ndarray, x: np.ndarray, moments: UnitMoments, units: float) -> tuple[float, int]:
    """Return chi^2 of a whole metric against the theory, and its degrees of freedom d (d + 1)/2.

    Arguments: `difference` (d, d) = mean metric - theory, over `units` independent units in all; x (d,) the point.
    The entries are compared in a frame with e_1 along x, where their covariance is known in closed form.
    """
    d = len(x)
    covariance = unit_moments.metric_covariance(moments, d)
    frame = _frame(x)
    g = frame @ difference @ frame.T
    diagonal = np.full((d, d), covariance["tangential, tangential"])
    np.fill_diagonal(diagonal, covariance["tangential"])
    diagonal[0, :] = diagonal[:, 0] = covariance["radial, tangential"]
    diagonal[0, 0] = covariance["radial"]
    on = np.diagonal(g)
    chi2 = float(on @ np.linalg.solve(diagonal, on))
    if d > 1:
        chi2 += float((g[0, 1:] ** 2).sum()) / covariance["mixed"]
        chi2 += float((g[1:, 1:][np.triu_indices(d - 1, 1)] ** 2).sum()) / covariance["off-diagonal"]
    return units * chi2, d * (d + 1) // 2


def _frame(x: np.ndarray) -> np.ndarray:
    """Return an orthogonal matrix whose first row is x/|x|, or the identity at x = 0."""
    largest = np.abs(x).max()
    if largest == 0:
        return np.eye(len(x))
    u = x / largest
    return np.linalg.svd((u / np.linalg.norm(u))[None, :])[2]
