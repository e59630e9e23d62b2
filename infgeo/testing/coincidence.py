"""Requirements where y goes to x: first and second derivatives, the metric, or its absence.

The squared distance of features, D^2 = k(x, x) + k(y, y) - 2 k(x, y), is measured at points x - h v/2 and x + h v/2
on either side: D^2/h^2 goes to v^T g v where there is a metric g, and grows without bound where there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import mpmath
import numpy as np

from infgeo.errors import InfgeoError, MetricDoesNotExist
from infgeo.testing.kernel_points import Points
from infgeo.testing.outcome import Measured, NotApplicable, required
from infgeo.testing.structure import _text, squares
from infgeo.testing.subject import DIGITS, DType, Subject

_STEPS = 10.0 ** -np.arange(1.0, 6.25, 0.5)  # of |x|
_TINY = 1e-15  # of |x|, for formulas at 60 digits
_RESOLVED = 0.05
_NO_METRIC = 1.95  # the exponent of D^2 below which there is no metric
_DERIVATIVES = 1e-8  # relative, of automatic differentiation in double precision
_ROUNDING = 128.0  # units of rounding of k(x, x) in a difference of four of its values


@dataclass(frozen=True)
class SecondDifference:
    """The ratio D^2/h^2 along one direction, its uncertainty, and the difference of the points over h."""

    value: float
    error: float
    along: np.ndarray


class Coincidence:
    """The requirements on a subject at coincident points."""

    def __init__(self, subject: Subject, points: Points) -> None:
        self.subject = subject
        self.general = points.general
        self.at = points.general[-1:] if subject.slow else points.general[-2:]
        d = points.general.shape[1]
        # One along an axis, and two that meet every entry of a metric.
        rows = np.stack([np.eye(d)[0], np.cos(np.arange(d)), np.cos(2.0 * np.arange(d) + 1.0)])
        rows = rows[1:2] if subject.slow else rows[: 3 if d > 1 else 1]
        self.directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    @cached_property
    def rounding(self) -> np.ndarray:
        """What rounding may leave of a difference of four values of k, at each point."""
        sizes = squares(self.subject.gram(self.general, None))[-len(self.at) :]
        return _ROUNDING * self.subject.epsilon * sizes

    @required
    def metric(self) -> Measured:
        """Second differences of k at coincidence are the metric, relatively to bound.

        Where k has no metric, |Phi(x) - Phi(y)|^2 falls more slowly than |x - y|^2.
        """
        if self.subject.metric is None:
            reason = self.subject.reasons["metric"]
            exponent = self.exponent()
            if exponent < _NO_METRIC:
                reason = f"|Phi(x) - Phi(y)|^2 falls like |x - y|^{exponent:.2g}: there is none"
            raise NotApplicable(reason)
        try:
            metric = np.asarray(self.subject.metric(self.at), dtype=float)
        except MetricDoesNotExist:
            return self.exponent(), _NO_METRIC, "exponent of |x - y|: k has no metric, and says so"
        except InfgeoError as reason:
            raise NotApplicable(str(reason)) from None
        if metric.shape != (*self.at.shape, self.at.shape[1]):
            return np.inf, _DERIVATIVES, f"the metric at {len(self.at)} points has shape {metric.shape}"
        if not np.isfinite(metric).all():
            return np.inf, _DERIVATIVES, "the metric is not finite"
        skew = np.abs(metric - metric.swapaxes(1, 2)).max() / (np.abs(metric).max() or 1.0)
        if skew > self._slack():
            return float(skew), self._slack(), "the metric is not symmetric"
        worst, bound, note, unresolved = 0.0, np.inf, "", ""
        for number, (x, g) in enumerate(zip(self.at, metric, strict=True)):
            for direction in self.directions:
                second = self.second_difference(number, direction)
                expected = float(second.along @ g @ second.along)
                scale = max(abs(expected), np.finfo(float).tiny)
                allowed = max(4 * second.error / scale, _DERIVATIVES)
                error = abs(second.value - expected) / scale
                if allowed > _RESOLVED and error > _RESOLVED and self.exponent() >= _NO_METRIC:
                    unresolved = f"second differences have a relative error of {allowed / 4:.1g} there: not resolved"
                    continue
                if bound == np.inf or not error / allowed <= worst / bound:
                    worst, bound = error, min(allowed, _RESOLVED)
                    note = f"{second.value:.10g} by differences, {expected:.10g} by the metric at x = {_text(x)}"
        if bound == np.inf:
            raise NotApplicable(unresolved)
        return worst, bound, note

    def second_difference(self, number: int, direction: np.ndarray) -> SecondDifference:
        """Return D^2/h^2 at a point: of formulas at 60 digits, of functions at the step where it is known best."""
        x = self.at[number]
        length = float(np.linalg.norm(x)) or 1.0
        if self.subject.formula is not None:
            # An arcsine at coincidence keeps half the digits.
            with mpmath.workdps(2 * DIGITS):
                h = mpmath.mpf(_TINY) * length
                pairs = list(zip(x, direction, strict=True))
                sides = [[mpmath.mpf(a) + sign * h * b / 2 for a, b in pairs] for sign in (-1, 1)]
                (first, across), (back, second) = ([self.subject.formula(a, b) for a in sides] for b in sides)
                value = float((first + second - across - back) / h**2)
            return SecondDifference(value, abs(value) * 1e-12, direction)
        values, rounding, along = [], [], []
        for h in (_STEPS[:6] if self.subject.slow else _STEPS) * length:
            ends = self.subject.rounded(np.stack([x - h * direction / 2, x + h * direction / 2]))
            values.append(self.subject.squared_distance(*ends) / h**2)
            rounding.append(self.rounding[number] / h**2)
            along.append((ends[1] - ends[0]) / h)
        errors = 2 * np.abs(np.diff(values)) + rounding[:-1]
        best = int(np.argmin(np.where(np.isfinite(errors), errors, np.inf)))
        return SecondDifference(float(values[best]), float(errors[best]), along[best])

    def exponent(self) -> float:
        """Return the exponent of |x - y| in D^2, the smallest over points and directions."""
        steps, found = (1e-3, 1e-4) if self.subject.epsilon < 1e-12 else (1e-1, 1e-2), []
        for (x, rounding), direction in product(zip(self.at, self.rounding, strict=True), self.directions):
            moves = [h * (float(np.linalg.norm(x)) or 1.0) * direction / 2 for h in steps]
            wide, narrow = (self.subject.squared_distance(x - move, x + move) for move in moves)
            resolved = wide > rounding and narrow > rounding  # else it is too small to tell
            found.append(float(np.log10(wide / narrow)) if resolved else 2.0)
        return min(found)

    @required
    def gradient(self) -> Measured:
        """Derivatives at y = x, 2 d k(x, y)/dx and that of k(x, x), are finite and agree with each other.

        And with differences of k(x, x): to bound * max(their size, k(x, x)/|x|).
        """
        graph = self._differentiable()
        worst, note = 0.0, ""
        for x in self.at:
            apart = _derivative(lambda a, b: graph(a, b)[0, 0], x, self.subject.dtype)
            total = _derivative(lambda a, _: graph(a, a)[0, 0], x, self.subject.dtype)
            size = abs(float(self.subject.gram(x[None], None)[0, 0])) / (float(np.linalg.norm(x)) or 1.0)
            scale = max(float(np.abs(total).max()), size)
            error = float(np.abs(2 * apart - total).max()) / scale
            for direction in self.directions:
                slope = self._slope(x, direction) - float(total @ direction)
                error = max(error, abs(slope) / scale) if np.isfinite(slope) else np.inf
            if not error <= worst:
                worst, note = error, f"2 dk(x, y)/dx = {2 * apart}, dk(x, x)/dx = {total} at {_text(x)}"
        return worst, 1e3 * self.subject.epsilon ** (2 / 3), note

    def _slope(self, x: np.ndarray, direction: np.ndarray) -> float:
        """Return the derivative of k(x, x) along a direction by central differences."""
        step = self.subject.epsilon ** (1 / 3) * (float(np.linalg.norm(x)) or 1.0) * direction
        ends = self.subject.rounded(np.stack([x - step, x + step]))
        before, after = (float(self.subject.gram(end[None], None)[0, 0]) for end in ends)
        return (after - before) / float((ends[1] - ends[0]) @ direction)

    @required
    def hessian(self) -> Measured:
        """The matrix d^2 k(x, y)/dx dy and half of that of |Phi(x) - Phi(y)|^2 are finite at y = x and the metric.

        Or else they are second differences of k, relatively to bound.
        """
        graph = self._differentiable()
        worst, bound, note = 0.0, self._slack(), ""
        known = None if self.subject.metric is None else np.asarray(self.subject.metric(self.at), dtype=float)
        for number, x in enumerate(self.at):
            mixed = _derivative(lambda a, b: graph(a, b)[0, 0], x, self.subject.dtype, 1)
            squared = _derivative(lambda a, b: graph(a, a)[0, 0] - 2 * graph(a, b)[0, 0], x, self.subject.dtype, 0)
            parts = mixed, squared / 2
            if known is not None:
                scale = float(np.abs(known[number]).max()) or 1.0
                error, allowed = max(float(np.abs(part - known[number]).max()) / scale for part in parts), bound
                if any(not np.isfinite(part).all() for part in parts):
                    error = np.inf
            else:
                error, allowed = 0.0, bound
                for direction in self.directions:
                    second = self.second_difference(number, direction)
                    scale = abs(second.value) or 1.0
                    for part in parts:
                        miss = abs(float(second.along @ part @ second.along) - second.value) / scale
                        if not miss <= error:
                            error, allowed = miss, max(4 * second.error / scale, bound)
            if not error / allowed <= worst / bound:
                worst, bound, note = error, allowed, f"at x = {_text(x)}"
        return worst, bound, note

    def _differentiable(self) -> Any:
        """Return k in torch where it can be differentiated at coincidence, or raise NotApplicable."""
        if self.subject.graph is None:
            raise NotApplicable(self.subject.reasons["graph"])
        if (exponent := self.exponent()) < _NO_METRIC:
            raise NotApplicable(f"|Phi(x) - Phi(y)|^2 falls like |x - y|^{exponent:.2g}: no second derivatives exist")
        return self.subject.graph

    def _slack(self) -> float:
        return max(_DERIVATIVES, 1e4 * self.subject.epsilon)


def _derivative(k: Callable[[Any, Any], Any], x: np.ndarray, dtype: DType, block: int | None = None) -> np.ndarray:
    """Return the gradient of k(x, y) by x at y = x, (d,); or the second derivatives by x and x (block 0) or y (1)."""
    import torch
    from torch.autograd import functional

    point = torch.from_numpy(x[None].astype(dtype))
    if block is None:
        return np.asarray(functional.jacobian(k, (point, point))[0][0], dtype=float)
    return np.asarray(functional.hessian(k, (point, point))[0][block][0, :, 0], dtype=float)
