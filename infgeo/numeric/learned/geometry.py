"""The geometry that a network of one layer has after learning, to order 1/n: what `infgeo.learned` returns."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch

from infgeo.arguments import one_of, positive_integer
from infgeo.conventions import d
from infgeo.display import Displayed
from infgeo.errors import ExpectationDiverges, InvalidInput, NoClosedForm
from infgeo.numeric.learned.closed_form import TiltedForm, closed_form
from infgeo.numeric.learned.descent_form import descent_form
from infgeo.numeric.learned.relu_form import ReluForm, relu_form
from infgeo.numeric.learned.ricci import radial_metric, ricci_shift
from infgeo.numeric.learned.rules import Rule, flow
from infgeo.numeric.learned.unit_sums import UnitSums, unit_sums
from infgeo.numeric.quadrature import gaussian_rules
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.errors import InputError
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.expectations.dual import dual
from infgeo.symbolic.networks.network import MLP

_LEVEL = 3  # of the rules for the moments of infinite width
_FARTHEST = 1e12  # variance of preactivations up to which shifts keep their digits
_LOST = 1e-7  # the share of a shift that rounding may be


@dataclass(frozen=True, eq=False, repr=False)
class LearnedGeometry(Displayed):
    """The geometry of a network of one layer after learning, to order 1/n; made by `infgeo.learned`.

    Every method takes inputs (d,) or (..., d), NumPy arrays or torch tensors, and returns arrays of the same kind. The
    result is the coefficient of 1/n, or with `width` what a network of n units has to that order. Metric and volume
    shift of tensors have derivatives where `kind` is "closed form".

    Arguments:
        mlp: the network, with numbers for its scales.
        inputs: the training points X, (P, d).
        labels: their labels y, (P, C).
        noise_variance: sigma^2 of the posterior, else None.
        rule: "posterior", "gradient_step" or "gradient_flow".
        learning_rate: eta of a gradient step, else None.
        parametrisation: "ntk" or "mean_field", of gradient descent.
        time: of a gradient flow, else None.
    """

    mlp: MLP
    inputs: np.ndarray
    labels: np.ndarray
    noise_variance: float | None
    rule: str
    learning_rate: float | None = None
    parametrisation: str = "ntk"
    time: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and cross processes by the arguments: compiled functions do neither."""
        return type(self), tuple(getattr(self, part.name) for part in fields(self))

    def _facts(self) -> dict[str, Any]:
        own = {part.name: getattr(self, part.name) for part in fields(self)}
        return own | {"kind": self.kind, "parametrisation": None if self.rule == "posterior" else self.parametrisation}

    @property
    def kind(self) -> str:
        """How metric, volume and R are computed: "closed form", "quadrature" or "nets", these with `standard_error`.

        The kernel has four points, and is never in closed form.
        """
        return "closed form" if self._closed else "quadrature" if self._sums.is_grid else "nets"

    def metric(self, x: Any, width: int | None = None) -> Any:
        """Return the shift of the metric, or with `width` the metric, (..., d) -> (..., d, d)."""
        points, shape = self._points(x)
        shift = self._at(self._metric(points)[0], width)
        return _restored(shift if width is None else self._prior_metric(points) + shift, shape, x)

    def volume_shift(self, x: Any, width: int | None = None) -> Any:
        """Return the shift of log sqrt det g, tr(g_inf^-1 dg)/2, (..., d) -> (...); it is that of learning alone.

        Networks of width n have a bias of their own before they learn, `infgeo.finite_width(mlp).log_volume_bias`/n.
        """
        points, shape = self._points(x)
        inverse: Any = torch.linalg.inv if isinstance(points, torch.Tensor) else np.linalg.inv
        shift = (inverse(self._prior_metric(points)) * self._metric(points)[0]).sum((-1, -2)) / 2
        return _restored(self._at(shift, width), shape, x)

    def ricci_shift(self, x: Any, width: int | None = None) -> Any:
        """Return the shift of the Ricci scalar of the mean metric, (..., d) -> (...); R is positive on spheres.

        Raises NoClosedForm where phi' jumps: part of the curvature is then in creases.
        """
        if not has_smooth_slope(self.mlp.activation):
            raise NoClosedForm(
                f"the slope of activation {self.mlp.activation.name} jumps, so that part of the curvature is in"
                " creases, which sums over units do not see; take a smooth activation, or volume_shift"
            )
        points, shape = self._points(x)
        at = _plain(points)
        weight = variances(self.mlp, at.shape[-1])[0]
        moments = [gaussian_rules.moments(self._function, float(v), _LEVEL) for v in self.variance(at)]
        A = [weight ** (i + 1) * np.array([m[name] for m in moments]) for i, name in enumerate(("m0", "m0_1", "m0_2"))]
        slope = (self._closed if isinstance(self._closed, TiltedForm) else self._sums).slope(at)
        return _restored(self._at(ricci_shift(*radial_metric(at, *A), self._metric(at)[0], slope), width), shape, x)

    def kernel(self, x: Any, y: Any = None, width: int | None = None) -> Any:
        """Return the shift of the kernel, or with `width` the kernel, (m, d), (k, d) -> (m, k); y = None means x."""
        (left, shape), (right, others) = self._points(x), self._points(x if y is None else y)
        a, b = _plain(left), _plain(right)
        shift = self._at(self._sums.kernel(a, b)[0], width)
        return _restored(shift if width is None else self.mlp.numeric().kernel(a, b) + shift, shape + others, x, 2)

    def standard_error(self, x: Any, quantity: str = "metric") -> Any:
        """Return the error of "metric" or "kernel" (of x and x), a bound on that of "volume_shift": 0 in closed form.

        Of nets it is a standard error, of a quadrature the difference of two rules.
        """
        one_of(quantity, "quantity", ("metric", "volume_shift", "kernel"))
        points, shape = self._points(x)
        at = _plain(points)
        if quantity == "kernel":
            return _restored(self._sums.kernel(at, at)[1], shape + shape, x, 2)
        error = self._metric(at)[1]
        if quantity == "volume_shift":
            error = (np.abs(np.linalg.inv(self._prior_metric(at))) * error).sum((-1, -2)) / 2
        return _restored(error, shape, x)

    def _metric(self, points: Any) -> tuple[Any, Any]:
        """Return the shift of the metric and its error."""
        if self._closed:
            shift = self._closed.metric(points)
            return shift, 0 * shift
        self._function.require_metric()
        if isinstance(points, torch.Tensor) and points.requires_grad:
            raise InvalidInput(f"the geometry is computed by {self.kind}, which has no derivatives: pass x.detach()")
        shift, error = self._sums.metric(_plain(points))
        return _like(points, shift), error

    def _at(self, shift: Any, width: int | None) -> Any:
        """Return a shift at a width; in mean-field parametrisation it does not fall with n."""
        return shift if width is None else shift / positive_integer(width, "width") ** (self.parametrisation == "ntk")

    def _points(self, x: Any) -> tuple[Any, tuple[int, ...]]:
        """Return points as (m, d) in float64, of NumPy or torch, and the shape of what is one number a point."""
        array = checked(x, "x")
        if array.shape[-1] != self.inputs.shape[1]:
            raise InvalidInput(f"x has {array.shape[-1]} coordinates, the training points {self.inputs.shape[1]}")
        require_fourth_moments(self.mlp.activation, self.variance(array))
        if (largest := float(self.variance(array).max(initial=0))) > _FARTHEST:
            raise InvalidInput(
                f"x has points with preactivations of variance {largest:.0e}; pass up to {_FARTHEST:.0e}"
            )
        points = x.double() if isinstance(x, torch.Tensor) else array.astype(np.float64)
        return points.reshape(-1, array.shape[-1]), array.shape[:-1]

    def variance(self, x: np.ndarray) -> np.ndarray:
        """Return the variance of preactivations, (..., d) -> (...)."""
        return variances(self.mlp, x.shape[-1])[0] * np.square(x).sum(-1) + variances(self.mlp, x.shape[-1])[-1]

    def _prior_metric(self, points: Any) -> Any:
        """Return the metric of infinite width."""
        if isinstance(points, torch.Tensor) and self._closed:
            return self.mlp.numeric(backend="torch").metric(points)
        return _like(points, self.mlp.numeric().metric(_plain(points)))

    @cached_property
    def _function(self) -> PiecewiseFunction:
        return PiecewiseFunction(self.mlp.activation, {})

    @cached_property
    def _rule(self) -> Rule:
        """The function h of a unit's weights."""
        inputs, outputs = np.pad(self.inputs, ((0, 0), (0, 1)), constant_values=1), self.labels.shape[1]
        kernel = self.mlp.numeric().kernel(self.inputs)
        if self.noise_variance is not None:
            inverse = np.linalg.inv(kernel + self.noise_variance * np.eye(len(kernel)))
            fitted = inverse @ self.labels
            with np.errstate(all="ignore"):
                matrix = (fitted @ fitted.T - outputs * (inverse + inverse.T) / 2) / 2
            _require_digits(matrix, kernel, "a larger noise_variance")
            return Rule(self._function, inputs, matrix)
        prior = inputs * variances(self.mlp, self.inputs.shape[1]) @ inputs.T
        mean_field = self.parametrisation == "mean_field"
        outputs = 0 if mean_field else outputs  # without what falls with the width
        products = self.labels @ self.labels.T + outputs * kernel
        if self.learning_rate is not None:
            T = self.learning_rate * np.eye(len(kernel))
            return Rule(self._function, inputs, self.learning_rate**2 / 2 * products, prior, -outputs * T)
        assert self.time is not None
        tangent = self.mlp.numeric().ntk(self.inputs)
        if np.isinf(self.time) and not np.linalg.eigvalsh(tangent)[0] > 1e-13 * np.trace(tangent):
            raise InvalidInput(
                "time is inf, and training points that are close or equal make the tangent kernel of X singular: what"
                " they disagree about is never fitted; pass a finite time"
            )
        T, U = flow(0 * tangent if mean_field else tangent, products, self.time)
        matrix = T @ products @ T / 2
        _require_digits(matrix, tangent, "a shorter time")
        return Rule(self._function, inputs, matrix, prior, U - outputs * T, U)

    @cached_property
    def _closed(self) -> TiltedForm | ReluForm | None:
        scales, activation, rule = variances(self.mlp, self.inputs.shape[1]), self.mlp.activation, self._rule
        if self.noise_variance is None:
            with suppress(NoClosedForm):
                return descent_form(activation, scales, rule)
            return None
        for form in (closed_form, relu_form):
            with suppress(NoClosedForm):
                return form(activation, scales, rule.inputs, rule.matrix)
        return None

    @cached_property
    def _sums(self) -> UnitSums:
        return unit_sums(self._function, variances(self.mlp, self.inputs.shape[1]), self._rule)


def _require_digits(matrix: np.ndarray, kernel: np.ndarray, remedy: str) -> None:
    """Raise InvalidInput where most of a rule's matrix cancels in sums over similar training points.

    Such sums are those of K^(1/2) M K^(1/2), rounding that of the sizes of K and M.
    """
    values, vectors = np.linalg.eigh(kernel)
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    seen = np.linalg.norm(root @ matrix @ root.T) if np.isfinite(matrix).all() else 0.0
    if not np.finfo(float).eps * np.linalg.norm(matrix) * np.linalg.norm(kernel) <= _LOST * seen:
        raise InvalidInput(
            "X has close or equal points with labels that differ by more than noise_variance explains, or y is"
            f" too large: digits are lost; merge such points (mean label), or pass {remedy}"
        )


def variances(mlp: MLP, dimension: int) -> np.ndarray:
    """Return the variances of the weights and of the bias, (d + 1,)."""
    weight, bias = (float(part.subs(d, dimension)) for part in mlp.with_weights[0].variances)
    return np.array([weight] * dimension + [bias])


def require_fourth_moments(activation: Activation, variances: np.ndarray) -> None:
    """Raise ExpectationDiverges where phi grows like exp(a z^2) and E[phi^4] is infinite."""
    try:
        growth = dual(activation).growth
    except NoClosedForm:
        return
    if growth is not None and growth.is_positive and variances.size and 8 * float(growth) * variances.max() >= 1:
        raise ExpectationDiverges(
            f"activation {activation.name} grows like exp({growth} z^2), and E[phi^4] is infinite at variance"
            f" {variances.max():g} of z: pass smaller scales or points, below {1 / (8 * float(growth)):g}"
        )


def has_smooth_slope(activation: Activation, order: int = 1) -> bool:
    """Whether so many derivatives of phi are continuous."""
    try:
        return bool(activation.smoothness >= order)
    except NoClosedForm:
        return not PiecewiseFunction(activation, {}).places


def checked(x: Any, name: str) -> np.ndarray:
    """Return points as an array, or raise InvalidInput."""
    try:
        return NumpyArrays().points(_plain(x), name)
    except InputError as error:
        raise InvalidInput(str(error)) from None


def _plain(x: Any) -> Any:
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x


def _like(x: Any, value: Any) -> Any:
    return torch.as_tensor(value, device=x.device) if isinstance(x, torch.Tensor) else value


def _restored(value: Any, shape: tuple[int, ...], x: Any, axes: int = 1) -> Any:
    """Return a result with its first axes in the shape of the points, of their kind and precision."""
    value = value.reshape((*shape, *value.shape[axes:]))
    if isinstance(x, torch.Tensor):
        return _like(x, value).to(x.dtype)
    return value.astype(getattr(x, "dtype", np.float64), copy=False)
