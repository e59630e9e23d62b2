"""What finite width does according to theory, beside what was observed: bias, spread, and the metric as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from infgeo.errors import InfgeoError
from infgeo.finite.sampled_network import NetworkSpecification
from infgeo.numeric.quadrature.one_layer import metric_chi_square, moments_at, predictions
from infgeo.symbolic.networks.network import MLP
from infgeo.validation.comparison import WidthSeries, tested, usable
from infgeo.validation.findings import Measurement, Trend
from infgeo.validation.inference import student_p
from infgeo.validation.simulate import Pooled

# Their variance at width n is known exactly; of all others to leading order in 1/n.
EXACT_SPREAD = ("metric_radial", "metric_tangential", "log_mean_det_metric")
MOST_DIMENSIONS = 32  # of metrics that are compared as a whole
FEWEST_UNITS = 20_000  # for chi^2 of a mean over units: a unit's part of the metric is far from normal


class Predicted:
    """The predictions for networks of one layer at all points; `reason` says why there are none."""

    def __init__(self, mlp: MLP, specification: NetworkSpecification, points: np.ndarray) -> None:
        self.points, self.moments, self.reason = points, [], ""
        d = points.shape[1]
        if len(mlp.layers) > 1:
            return
        if specification.coordinate_scales:
            self.reason = "no prediction for finite width: it is for one weight_std of all coordinates"
            return
        scales = (specification.first_scale(d), specification.bias_std)
        parameters = dict(specification.parameters)
        try:
            for x in points:
                self.moments.append(moments_at(mlp.activation, float(np.linalg.norm(x)), *scales, parameters))
        except (InfgeoError, OverflowError) as error:
            self.moments, self.reason = [], f"no prediction for finite width: {error}"

    def __bool__(self) -> bool:
        return bool(self.moments)

    @property
    def compares_metric(self) -> bool:
        """Whether the metric is compared as a whole."""
        return bool(self) and self.points.shape[1] <= MOST_DIMENSIONS

    def at(self, point: int, width: int) -> Mapping[str, Any]:
        """Return the predictions at a point, by quantity."""
        return predictions(self.moments[point], self.points.shape[1], width)


def measurements_of(series: Sequence[WidthSeries], predicted: Predicted | None) -> tuple[Measurement, ...]:
    """Return the means at every width as plain values, with predicted mean and standard error beside them."""
    result = []
    for one in series:
        value = np.exp if one.log_scale else np.asarray
        mean, theory = value(one.mean), value(one.theory)
        error = one.error * mean if one.log_scale else one.error
        for k, width in enumerate(one.widths):
            samples, expected, of_mean, of_error = int(one.dofs[k]) + 1, float(theory[k]), None, None
            known = predicted.at(one.point, width) if predicted else {}
            if one.quantity in known:
                unit = expected if one.log_scale else 1.0
                of_mean = expected + known[one.quantity].bias / width * unit
                of_error = abs(unit) * max(known[one.quantity].variance / width / samples, 0) ** 0.5
            at = (one.quantity, one.point, width, samples, float(mean[k]), float(error[k]), expected, one.other)
            result.append(Measurement(*at, of_mean, of_error))
    return tuple(result)


def slope_trend(series: WidthSeries, predicted: Predicted) -> Trend | None:
    """Return the coefficient b of b/n that the extrapolation finds, against the prediction."""
    known = predicted.at(series.point, series.widths[-1])
    if series.quantity not in known or len(series.widths) < 4 or not series.is_random:
        return None
    fit, expected = series.fit, float(known[series.quantity].bias)
    value, error, dof = (float(part[1]) for part in (fit.coefficients, fit.errors, fit.degrees_of_freedom))
    return tested(series.quantity, "slope", expected, value, error, dof, point=series.point, note="of b/n")


def error_trend(quantity: str, pooled: Mapping[int, Mapping[str, Pooled]], predicted: Predicted) -> Trend | None:
    """Return the spread between networks over the predicted one: the geometric mean over points and widths."""
    kept = usable(quantity, pooled)
    if quantity not in EXACT_SPREAD or not kept:
        return None
    logs, errors, batches = [], [], 0
    for width, part in kept.items():
        variances = np.array([predicted.at(i, width)[quantity].variance / width for i in range(len(predicted.points))])
        entries = variances > 0
        log_sd, error = part.spread_at(entries)
        if not np.isfinite([log_sd, error]).all() or not entries.any():
            return None
        logs.append(log_sd - 0.5 * np.log(variances[entries]).mean())
        errors.append(error)
        batches += len(part.sizes) - 1
    mean, error = float(np.mean(logs)), float(np.sqrt(np.square(errors).sum()) / len(logs))
    z, ratio = mean / error, float(np.exp(mean))
    return Trend(quantity, "error", 1.0, ratio, ratio * error, z, student_p(z, batches), note="observed/predicted")


def metric_trends(metric: np.ndarray, pooled: Mapping[int, Mapping[str, Pooled]], predicted: Predicted) -> list[Trend]:
    """Return chi^2 of the whole metric at every point, over all units of all networks, with known covariance."""
    if not all("metric" in parts for parts in pooled.values()):
        return []
    units = sum(width * parts["metric"].samples for width, parts in pooled.items())
    weights = {width: width * parts["metric"].samples / units for width, parts in pooled.items()}
    mean = np.sum([weights[width] * parts["metric"].mean for width, parts in pooled.items()], axis=0)
    result = []
    for i, (x, moments) in enumerate(zip(predicted.points, predicted.moments, strict=True)):
        parts = (moments.aa[4] - moments.h**2, moments.aa[2], moments.aa[0])
        if not all(value > 0 and np.isfinite(value) for value in parts):
            continue  # the units' parts of the metric do not vary, or not in every direction
        chi2, freedom = metric_chi_square(np.asarray(mean[i] - metric[i]), x, moments, units)
        p = float(special.chdtrc(freedom, chi2)) if units >= FEWEST_UNITS else None
        result.append(Trend("metric", "metric", float(freedom), chi2, p=p, point=i, note=f"over {units:.2g} units"))
    return result
