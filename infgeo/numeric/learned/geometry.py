"""The geometry that a network of one layer has after learning, to order 1/n: what `infgeo.learned` returns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch

from infgeo.arguments import one_of, positive_integer
from infgeo.conventions import d
from infgeo.errors import ExpectationDiverges, InvalidInput, NoClosedForm
from infgeo.numeric.learned.closed_form import ClosedForm, closed_form
from infgeo.numeric.learned.ricci import radial_metric, ricci_shift
from infgeo.numeric.learned.rules import GradientStep, Posterior
from infgeo.numeric.learned.unit_sums import Rule, UnitSums, unit_sums
from infgeo.numeric.quadrature import gaussian_rules
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.errors import InputError
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.expectations.dual import dual
from infgeo.symbolic.networks.network import MLP

_LEVEL = 3  # of the rules for the moments of infinite width


@dataclass(frozen=True, eq=False)
class LearnedGeometry:
    """The geometry of a network of one layer after learning, to order 1/n; made by `infgeo.learned`.

    Every method takes inputs (d,) or (..., d), NumPy arrays or torch tensors, and returns arrays of the same kind. The
    result is the coefficient of 1/n, or with `width` what a network of n units has to that order. Metric and volume
    shift of tensors have derivatives where `kind` is "closed form".

    Arguments:
        mlp: the network, with numbers for its scales.
        inputs: the training points X, (P, d).
        labels: their labels y, (P, C).
        noise_variance: sigma^2 of the posterior; None for a gradient step.
        rule: "posterior" or "gradient_step".
        learning_rate: eta of a gradient step; None for the posterior.
        parametrisation: "ntk" or "mean_field", of a gradient step.
    """

    mlp: MLP
    inputs: np.ndarray
    labels: np.ndarray
    noise_variance: float | None
    rule: str
    learning_rate: float | None = None
    parametrisation: str = "ntk"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and cross processes by the arguments: compiled functions do neither."""
        return type(self), tuple(getattr(self, part.name) for part in fields(self))

    @property
    def kind(self) -> str:
        """How metric, volume and R are computed: "closed form", "quadrature" or "nets", these with `standard_error`.

        The kernel is never in closed form: it has four points.
        """
        return "closed form" if self._closed is not None else self.kernel_kind

    @property
    def kernel_kind(self) -> str:
        """How the kernel is computed: "quadrature" or "nets"."""
        return "quadrature" if self._sums.is_grid else "nets"

    def metric(self, x: Any, width: int | None = None) -> Any:
        """Return the shift of the metric, or with `width` the metric, (..., d) -> (..., d, d)."""
        points, shape = self._points(x)
        shift = self._metric(points)
        if width is not None:
            shift = self._prior_metric(points) + shift / self._order(width)
        return _restored(shift.reshape(*shape, *shift.shape[1:]), x)

    def volume_shift(self, x: Any, width: int | None = None) -> Any:
        """Return the shift of log sqrt det g, tr(g_inf^-1 dg)/2, (..., d) -> (...); it is that of learning alone.

        Networks of width n have a bias of their own before they learn, `infgeo.finite_width(mlp).log_volume_bias`/n.
        """
        points, shape = self._points(x)
        inverse: Any = torch.linalg.inv if isinstance(points, torch.Tensor) else np.linalg.inv
        shift = (inverse(self._prior_metric(points)) * self._metric(points)).sum((-1, -2)) / 2
        return _restored((shift if width is None else shift / self._order(width)).reshape(shape), x)

    def ricci_shift(self, x: Any, width: int | None = None) -> Any:
        """Return the shift of the Ricci scalar of the mean metric, (..., d) -> (...); R is positive on spheres.

        Raises NoClosedForm where phi' jumps: part of the curvature is then in creases.
        """
        points, shape = self._points(x)
        at = _plain(points)
        if not has_smooth_slope(self.mlp.activation):
            raise NoClosedForm(
                f"the slope of activation {self.mlp.activation.name} jumps, so that part of the curvature is in"
                " creases, which sums over units do not see; take a smooth activation, or volume_shift"
            )
        if self._closed is not None:
            P, Q = self._closed.metric(at), _slope(self._closed, at)
        else:
            P, Q = (self._sums.combined(part)[0] for part in (self._sums.metric(at), self._sums.slope(at)))
        shift = ricci_shift(*self._prior(at), P, Q)
        return _restored(_like(points, shift if width is None else shift / self._order(width)).reshape(shape), x)

    def kernel(self, x: Any, y: Any = None, width: int | None = None) -> Any:
        """Return the shift of the kernel, or with `width` the kernel, (m, d), (k, d) -> (m, k); y = None means x."""
        (left, shape), (right, others) = self._points(x), self._points(x if y is None else y)
        a, b = _plain(left), _plain(right)
        shift = self._sums.combined(self._sums.kernel(a, b))[0]
        if width is not None:
            shift = self.mlp.numeric().kernel(a, b) + shift / self._order(width)
        return _restored(_like(left, shift).reshape(*shape, *others), x)

    def standard_error(self, x: Any, quantity: str = "metric") -> Any:
        """Return the error of "metric", "volume_shift" or "kernel" (of x and x): 0 in closed form.

        Of nets it is a standard error, of a quadrature the difference of two rules.
        """
        one_of(quantity, "quantity", ("metric", "volume_shift", "kernel"))
        points, shape = self._points(x)
        at = _plain(points)
        if quantity == "kernel":
            error = self._sums.combined(self._sums.kernel(at, at))[1]
            return _restored(_like(points, error).reshape(*shape, *shape), x)
        values = self._sums.metric(at) if self._closed is None else np.zeros((2, *at.shape, at.shape[-1]))
        if quantity == "volume_shift":
            values = (np.linalg.inv(self._prior_metric(at)) * values).sum((-1, -2)) / 2
        error = self._sums.combined(values)[1] if self._closed is None else values[0]
        return _restored(_like(points, error).reshape(*shape, *error.shape[1:]), x)

    def _metric(self, points: Any) -> Any:
        if self._closed is not None:
            return self._closed.metric(points)
        self._function.require_metric()
        if isinstance(points, torch.Tensor) and points.requires_grad:
            raise InvalidInput(f"the geometry is computed by {self.kind}, which has no derivatives: pass x.detach()")
        return _like(points, self._sums.combined(self._sums.metric(_plain(points)))[0])

    def _order(self, width: int) -> int:
        """Return n, or 1 in mean-field parametrisation, where the shift does not fall with n."""
        n = positive_integer(width, "width")
        return n if self.parametrisation == "ntk" else 1

    def _points(self, x: Any) -> tuple[Any, tuple[int, ...]]:
        """Return points as (m, d) in float64, of NumPy or torch, and the shape of what is one number a point."""
        array = checked(x, "x")
        if array.shape[-1] != self.inputs.shape[1]:
            raise InvalidInput(f"x has {array.shape[-1]} coordinates, the training points {self.inputs.shape[1]}")
        require_fourth_moments(self.mlp.activation, self.variance(array))
        points = x.double() if isinstance(x, torch.Tensor) else array.astype(np.float64)
        return points.reshape(-1, array.shape[-1]), array.shape[:-1]

    def variance(self, x: np.ndarray) -> np.ndarray:
        """Return the variance of preactivations, (..., d) -> (...)."""
        return variances(self.mlp, x.shape[-1])[0] * np.square(x).sum(-1) + variances(self.mlp, x.shape[-1])[-1]

    def _prior_metric(self, points: Any) -> Any:
        """Return the metric of infinite width."""
        if isinstance(points, torch.Tensor) and self._closed is not None:
            return self.mlp.numeric(backend="torch").metric(points)
        return _like(points, self.mlp.numeric().metric(_plain(points)))

    def _prior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the metric of infinite width at x (m, d), and half its derivative."""
        weight = variances(self.mlp, x.shape[-1])[0]
        moments = [gaussian_rules.moments(self._function, float(v), _LEVEL) for v in self.variance(x)]
        A, A1, A2 = (
            weight ** (i + 1) * np.array([m[name] for m in moments]) for i, name in enumerate(("m0", "m0_1", "m0_2"))
        )
        return radial_metric(x, A, A1, A2)

    @cached_property
    def _function(self) -> PiecewiseFunction:
        return PiecewiseFunction(self.mlp.activation, {})

    @cached_property
    def _extended(self) -> np.ndarray:
        return np.concatenate([self.inputs, np.ones((len(self.inputs), 1))], axis=1)

    @cached_property
    def _matrix(self) -> np.ndarray:
        """The matrix of the quadratic form in phi, or of a gradient step in phi', that h has; with its factor 1/2."""
        kernel, outputs = self.mlp.numeric().kernel(self.inputs), self.labels.shape[1]
        if self.rule == "posterior":
            assert self.noise_variance is not None
            inverse = np.linalg.inv(kernel + self.noise_variance * np.eye(len(kernel)))
            fitted = inverse @ self.labels
            matrix = (fitted @ fitted.T - outputs * inverse) / 2
            return (matrix + matrix.T) / 2
        assert self.learning_rate is not None
        residuals = self.labels @ self.labels.T
        if self.parametrisation == "ntk":
            residuals = residuals + outputs * kernel
        return self.learning_rate**2 / 2 * residuals

    @cached_property
    def _closed(self) -> ClosedForm | None:
        if self.rule != "posterior":
            return None
        try:
            return closed_form(
                self.mlp.activation, variances(self.mlp, self.inputs.shape[1]), self._extended, self._matrix
            )
        except NoClosedForm:
            return None

    @cached_property
    def _sums(self) -> UnitSums:
        scales = variances(self.mlp, self.inputs.shape[1])
        rule: Rule
        if self.rule == "posterior":
            rule = Posterior(self._function, self._extended, self._matrix)
        else:
            assert self.learning_rate is not None
            first = self.learning_rate * self.labels.shape[1] if self.parametrisation == "ntk" else 0.0
            prior = (self._extended * scales) @ self._extended.T
            rule = GradientStep(self._function, self._extended, prior, first, self._matrix)
        return unit_sums(self._function, scales, rule)


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


def _slope(closed: ClosedForm, x: np.ndarray) -> np.ndarray:
    """Return half the derivative of the shift of the metric, (m, d, d, d), by forward differentiation."""
    points = torch.from_numpy(x)
    parts = []
    for i in range(x.shape[1]):
        direction = torch.zeros_like(points)
        direction[:, i] = 1
        with warnings.catch_warnings():  # torch's own use of torch.jit.script, when it loads its rules
            warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
            parts.append(torch.func.jvp(closed.metric, (points,), (direction,))[1] / 2)
    return torch.stack(parts, -1).numpy()


def checked(x: Any, name: str) -> np.ndarray:
    """Return points as an array, or raise InvalidInput."""
    try:
        return NumpyArrays().points(_plain(x), name)
    except InputError as error:
        raise InvalidInput(str(error)) from None


def _plain(x: Any) -> Any:
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x


def _like(x: Any, value: np.ndarray) -> Any:
    return torch.from_numpy(value).to(x.device) if isinstance(x, torch.Tensor) else value


def _restored(value: Any, x: Any) -> Any:
    """Return a result in the precision of the points."""
    if isinstance(x, torch.Tensor):
        return value.to(x.dtype)
    return value.astype(getattr(x, "dtype", np.float64), copy=False)
