"""The geometry that a network has after learning, to order 1/n: what `infgeo.learned` returns."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from infgeo.arguments import one_of, positive_integer
from infgeo.conventions import d
from infgeo.display import Displayed
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.numeric.finite_width import FiniteWidth
from infgeo.numeric.learned.closed_form import TiltedForm, closed_form
from infgeo.numeric.learned.deep_sums import DeepSums, deep_sums, has_grid
from infgeo.numeric.learned.descent_form import descent_form
from infgeo.numeric.learned.libraries import library
from infgeo.numeric.learned.relu_form import ReluForm, relu_form
from infgeo.numeric.learned.ricci import radial_metric, ricci_shift
from infgeo.numeric.learned.rules import Rule, flow
from infgeo.numeric.learned.unit_sums import UnitSums, require_fourth_moments, unit_sums
from infgeo.numeric.quadrature import gaussian_rules
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.errors import InputError
from infgeo.shorthand import loaded
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.networks.network import MLP

_LEVEL = 3  # of the rules for the moments of infinite width
_FARTHEST = 1e12  # variance of preactivations up to which shifts keep their digits
_LOST = 1e-7  # the share of a shift that rounding may be


@dataclass(frozen=True, eq=False, repr=False)
class LearnedGeometry(Displayed):
    """The geometry of a network after learning, to order 1/n in the width of all layers; made by `infgeo.learned`.

    Every method takes inputs (d,) or (..., d), NumPy arrays or torch tensors, and returns arrays of the same kind. The
    result is the coefficient of 1/n, or with `width` what a network of n units has to that order. Metric and volume
    shift of tensors have derivatives where `kind` is "closed form". Of deep networks `layer` is the hidden layer that
    is meant, from 1, by default the last.

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

        The kernel has four points, and is never in closed form; networks of several layers are in nets, but with one
        training point.
        """
        if self._closed:
            return "closed form"
        is_grid = has_grid(self.mlp, len(self.inputs)) if self.mlp.depth > 1 else self._unit_sums.is_grid
        return "quadrature" if is_grid else "nets"

    def metric(self, x: Any, width: int | None = None, layer: int | None = None) -> Any:
        """Return the shift of the metric, or with `width` the metric, (..., d) -> (..., d, d).

        In deep networks the metric at a width has the bias of the prior too, that of `infgeo.finite_width`.
        """
        (points, shape), layer = self._points(x), self._layer(layer)
        shift = self._metric(points, layer)[0]
        if width is None:
            return _restored(shift, shape, x)
        if layer > 1:
            shift = shift + _like(points, FiniteWidth(self._until(layer)).at(_plain(points)).metric_bias)
        return _restored(self._prior_metric(points, layer) + self._at(shift, width), shape, x)

    def volume_shift(self, x: Any, width: int | None = None, layer: int | None = None) -> Any:
        """Return the shift of log sqrt det g, tr(g_inf^-1 dg)/2, (..., d) -> (...); it is that of learning alone.

        Networks of width n have a bias of their own before they learn: `log_volume_bias`/n of
        `infgeo.finite_width(mlp).at(x)`.
        """
        (points, shape), layer = self._points(x), self._layer(layer)
        inverse = library(points).linalg.inv
        shift = (inverse(self._prior_metric(points, layer)) * self._metric(points, layer)[0]).sum((-1, -2)) / 2
        return _restored(self._at(shift, width), shape, x)

    def ricci_shift(self, x: Any, width: int | None = None) -> Any:
        """Return the shift of the Ricci scalar of the mean metric, (..., d) -> (...); R is positive on spheres.

        It is that of networks of one layer; InvalidInput for deeper ones. Raises NoClosedForm where phi' jumps: part of
        the curvature is then in creases.
        """
        if self.mlp.depth > 1:
            raise InvalidInput(f"mlp is {self.mlp}; ricci_shift is that of one layer: take metric or volume_shift")
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
        slope = (self._closed if isinstance(self._closed, TiltedForm) else self._unit_sums).slope(at)
        return _restored(self._at(ricci_shift(*radial_metric(at, *A), self._metric(at, 1)[0], slope), width), shape, x)

    def kernel(self, x: Any, y: Any = None, width: int | None = None, layer: int | None = None) -> Any:
        """Return the shift of the kernel, or with `width` the kernel, (m, d), (k, d) -> (m, k); y = None means x.

        Raises InvalidInput for a width behind the first layer: the prior has a bias there that is not in the shift.
        """
        layer = self._layer(layer)
        if width is not None and layer > 1:
            raise InvalidInput(
                f"width is given for the kernel of layer {layer}, whose mean over the prior has a term of order 1/n"
                " besides: leave it out, and take the shift"
            )
        (left, shape), (right, others) = self._points(x), self._points(x if y is None else y)
        a, b = _plain(left), _plain(right)
        shift = self._at(self._sums.kernel(a, b, layer)[0], width)
        value = shift if width is None else self._until(layer).numeric().kernel(a, b) + shift
        return _restored(value, shape + others, x, 2)

    def standard_error(self, x: Any, quantity: str = "metric", layer: int | None = None) -> Any:
        """Return the error of "metric" or "kernel" (of x and x), a bound on that of "volume_shift": 0 in closed form.

        Of nets it is a standard error, of a quadrature the difference of two rules.
        """
        one_of(quantity, "quantity", ("metric", "volume_shift", "kernel"))
        (points, shape), layer = self._points(x), self._layer(layer)
        at = _plain(points)
        if quantity == "kernel":
            return _restored(self._sums.kernel(at, at, layer)[1], shape + shape, x, 2)
        error = self._metric(at, layer)[1]
        if quantity == "volume_shift":
            error = (np.abs(np.linalg.inv(self._prior_metric(at, layer))) * error).sum((-1, -2)) / 2
        return _restored(error, shape, x)

    def _layer(self, layer: int | None) -> int:
        """Return a layer from 1, by default the last."""
        if layer is None or (positive_integer(layer, "layer") <= self.mlp.depth):
            return layer or self.mlp.depth
        raise InvalidInput(f"layer is {layer}, the network has {self.mlp.depth}: pass one of 1 to {self.mlp.depth}")

    def _until(self, layer: int) -> MLP:
        """Return the network that ends with a layer."""
        if layer == self.mlp.depth:
            return self.mlp
        first = MLP(list(self.mlp.layers[:layer]), input_scale=self.mlp.input_scale)
        return first.at(d=self.inputs.shape[1]) if first.dimension.free_symbols else first

    def _metric(self, points: Any, layer: int) -> tuple[Any, Any]:
        """Return the shift of the metric of a layer and its error."""
        if self._closed:
            shift = self._closed.metric(points)
            return shift, shift - shift
        if self.mlp.depth == 1:
            self._function.require_metric()
        if library(points) is not np and points.requires_grad:
            raise InvalidInput(f"the geometry is computed by {self.kind}, which has no derivatives: pass x.detach()")
        shift, error = self._sums.metric(_plain(points), layer)
        return _like(points, shift), error

    def _at(self, shift: Any, width: int | None) -> Any:
        """Return a shift at a width; in mean-field parametrisation it does not fall with n."""
        return shift if width is None else shift / positive_integer(width, "width") ** (self.parametrisation == "ntk")

    def _points(self, x: Any) -> tuple[Any, tuple[int, ...]]:
        """Return points as (m, d) in float64, of NumPy or torch, and the shape of what is one number a point."""
        array = checked(x, "x")
        if array.shape[-1] != self.inputs.shape[1]:
            raise InvalidInput(f"x has {array.shape[-1]} coordinates, the training points {self.inputs.shape[1]}")
        require_fourth_moments(self.mlp.with_weights[0].activation, self.variance(array))
        if (largest := float(self.variance(array).max(initial=0))) > _FARTHEST:
            raise InvalidInput(
                f"x has points with preactivations of variance {largest:.0e}; pass up to {_FARTHEST:.0e}"
            )
        points = array.astype(np.float64) if library(x) is np else x.double()
        return points.reshape(-1, array.shape[-1]), array.shape[:-1]

    def variance(self, x: np.ndarray) -> np.ndarray:
        """Return the variance of preactivations, (..., d) -> (...)."""
        weight, *_, bias = variances(self.mlp, x.shape[-1])
        with np.errstate(over="ignore"):  # infinite ones are refused
            return weight * np.square(x, dtype=np.float64).sum(-1) + bias

    def _prior_metric(self, points: Any, layer: int) -> Any:
        """Return the metric of a layer at infinite width."""
        if library(points) is not np and self._closed:
            return self.mlp.numeric(backend="torch").metric(points)
        return _like(points, self._until(layer).numeric().metric(_plain(points)))

    @cached_property
    def _function(self) -> PiecewiseFunction:
        return PiecewiseFunction(self.mlp.activation, {})

    @cached_property
    def _matrix(self) -> np.ndarray:
        """M/2 of the posterior, (P, P), of the last layer."""
        assert self.noise_variance is not None
        kernel = self.mlp.numeric().kernel(self.inputs)
        inverse = np.linalg.inv(kernel + self.noise_variance * np.eye(len(kernel)))
        fitted = inverse @ self.labels
        with np.errstate(all="ignore"):
            matrix: np.ndarray = (fitted @ fitted.T - self.labels.shape[1] * (inverse + inverse.T) / 2) / 2
        _require_digits(matrix, kernel, "a larger noise_variance")
        return matrix

    @cached_property
    def _rule(self) -> Rule:
        """The function h of a unit's weights."""
        inputs, outputs = np.pad(self.inputs, ((0, 0), (0, 1)), constant_values=1), self.labels.shape[1]
        if self.noise_variance is not None:
            return Rule(self._function, inputs, self._matrix)
        kernel = self.mlp.numeric().kernel(self.inputs)
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
                "time is inf, and training points that are close or equal, or 0 without a bias, make the tangent kernel"
                " of X singular: what it does not see is never fitted; pass a finite time"
            )
        T, U = flow(0 * tangent if mean_field else tangent, products, self.time)
        matrix = T @ products @ T / 2
        _require_digits(matrix, tangent, "a shorter time")
        return Rule(self._function, inputs, matrix, prior, U - outputs * T, U)

    @cached_property
    def _closed(self) -> TiltedForm | ReluForm | None:
        if self.mlp.depth > 1:
            return None
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
    def _sums(self) -> UnitSums | DeepSums:
        return self._unit_sums if self.mlp.depth == 1 else deep_sums(self.mlp, self.inputs, self._matrix)

    @cached_property
    def _unit_sums(self) -> UnitSums:
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
            "X has close or equal points whose labels differ by more than the rule can fit, or y is too large: digits"
            f" are lost; merge such points (mean label), or pass {remedy}"
        )


def variances(mlp: MLP, dimension: int) -> np.ndarray:
    """Return the variances of the weights and of the bias, (d + 1,)."""
    weight, bias = (float(part.subs(d, dimension)) for part in mlp.with_weights[0].variances)
    return np.array([weight] * dimension + [bias])


def has_smooth_slope(activation: Activation, order: int = 1) -> bool:
    """Whether so many derivatives of phi are continuous."""
    try:
        return bool(activation.smoothness >= order)
    except NoClosedForm:
        return not PiecewiseFunction(activation, {}).places


def checked(x: Any, name: str) -> np.ndarray:
    """Return points as an array, or raise InvalidInput."""
    try:
        of: Any = NumpyArrays()
        if library(x) is not np:
            of = loaded("infgeo.numeric.runtime.arrays.of_torch", "TorchArrays")()
        return np.asarray(_plain(of.points(x, name)))
    except InputError as error:
        raise InvalidInput(str(error)) from None


def _plain(x: Any) -> Any:
    return x if library(x) is np else x.detach().cpu().numpy()


def _like(x: Any, value: Any) -> Any:
    return value if library(x) is np else library(x).as_tensor(value, device=x.device)


def _restored(value: Any, shape: tuple[int, ...], x: Any, axes: int = 1) -> Any:
    """Return a result with its first axes in the shape of the points, of their kind and precision."""
    value = value.reshape((*shape, *value.shape[axes:]))
    if library(x) is not np:
        return _like(x, value).to(x.dtype)
    return value.astype(getattr(x, "dtype", np.float64), copy=False)
