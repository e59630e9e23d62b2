"""The numeric geometry of one network: its formulas, and the functions made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infgeo.numeric.runtime.coordinates import are_several
from infgeo.numeric.runtime.errors import DoesNotExist, InputError, shown
from infgeo.numeric.runtime.layers import point_after
from infgeo.numeric.runtime.range import marked, out_of_range
from infgeo.numeric.runtime.records import Array, Law


@dataclass(frozen=True)
class Geometry:
    """The formulas of a network. Every method takes its parameters' values by name, and points X, (..., d) or (N, d).

    Args:
        xp: the array library.
        laws: those of the activations.
        network: a function of d and all parameters that returns the layers.
        parameters: the names of all parameters with their bounds, "> 0", "> 0.5", ">= 0" or none.
        own: the names of the activations' parameters.
        parts: A, s B/A and (A + s B)/A of g = A I + B x x^T, a function of s = |x|^2, d and all parameters.
        ricci: the Ricci scalar, and so on.
        logarithm: log A, where A may overflow.
        coefficient: B, for derivatives at x = 0.
        variances: between which numbers all variances must lie for the metric, and for R, to keep their digits.
        vanishes: whether the metric is 0 at x = 0, a function of d and all parameters.
        domain: of a metric that is a user's formula, where it is finite, a function of s, d and all parameters.
        fast: what computes Gram matrices without derivatives, see `gram.fast`.
        first_scale: the parameter that is the weights' standard deviation of a first dense layer, which may be several
            numbers, one for each coordinate (see `coordinates`); None where it is no parameter.
    """

    xp: Any
    laws: Sequence[Law]
    network: Callable
    parameters: Mapping[str, str]
    own: Sequence[str]
    parts: Callable
    ricci: Callable
    logarithm: Callable | None = None
    coefficient: Callable | None = None
    variances: tuple | None = None
    vanishes: Callable | None = None
    domain: Callable | None = None
    fast: Callable | None = None
    first_scale: str | None = None

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of every parameter, checked."""
        xp, values = self.xp, {}
        for name, bound in self.parameters.items():
            value = parameters[name]
            several = name == self.first_scale and are_several(value)
            values[name] = xp.several(name, value) if several else xp.scalar(name, value)
            for number in values[name] if isinstance(values[name], list) else [values[name]]:
                relation, _, least = bound.partition(" ")
                valid = not bound or (number > float(least) if relation == ">" else number >= float(least))
                if not xp.all(valid) or not xp.all(abs(number) < math.inf):
                    raise InputError(f"{name} = {shown(value)} must be finite" + (f" and {bound}" if bound else ""))
                if bound and not xp.all(number <= xp.largest_scale):
                    raise InputError(
                        f"{name} = {shown(value)} must be at most {xp.largest_scale:g}: its powers overflow"
                    )
        return values

    def in_unit_coordinates(self, parameters: Mapping[str, Any], *points: Array) -> tuple:
        """Return parameters, the scales of coordinates and points, see `coordinates`; None is no scales.

        A network with one scale for all coordinates is what it is.
        """
        xp, name = self.xp, self.first_scale
        if name is None or not are_several(parameters[name]):
            return parameters, None, *points
        scales = self.values(parameters)[name]
        for X in points:
            if len(scales) != xp.dimension(X):
                count = int(xp.dimension(X))
                raise InputError(
                    f"{name} has {len(scales)} values, and points have {count} coordinates: they must agree"
                )
        # Which looks for what has overflowed.
        return {**parameters, name: 1.0}, scales, *(xp.points(xp.scaled(X, scales)) for X in points)

    def layers(self, X: Array, parameters: Mapping[str, Any]) -> tuple[Sequence[Any], tuple]:
        """Return the layers and the activations' parameters; raises DoesNotExist if a variance is too large at X."""
        values = self.values(parameters)
        layers, own = self.network(self.xp.dimension(X), *values.values()), tuple(values[name] for name in self.own)
        if any(law.growth for law in self.laws):
            self.xp.at_points(lambda x: self._check_variances(x, layers, own), X)
        return layers, own

    def _check_variances(self, x: Array, layers: Sequence[Any], own: tuple) -> Any:
        """Raise DoesNotExist where an activation that grows like exp(a z^2) has an infinite expectation."""
        for i, layer in enumerate(layers):
            if layer.law is not None and layer.law.growth:
                v = layer.bias + layer.weight * point_after(self.xp, layers[:i], self.xp.sum_squares(x), own).f
                growth = layer.law.growth(*own)
                if not self.xp.all(4 * growth * v < 1):
                    raise DoesNotExist(
                        f"E[phi(z)^2] is infinite for preactivations of variance {1 / (4 * growth)} and more; at these"
                        f" points the variance reaches {self.xp.largest(v)}: use smaller scales or points"
                    )
        return self.xp.sum_squares(x)

    def _rows(self, X: Array, Y: Array, parameters: Mapping[str, Any]) -> tuple:
        """Return the points, checked, in coordinates of unit weights, and the parameters there."""
        X = self.xp.points(X, "X", rows=True)
        if Y is None:
            parameters, _, X = self.in_unit_coordinates(parameters, X)
            return X, None, parameters
        Y = self.xp.points(Y, "Y", rows=True)
        if self.xp.dimension(X) != self.xp.dimension(Y):
            dimensions = int(self.xp.dimension(X)), int(self.xp.dimension(Y))
            raise InputError("X has points of dimension {} and Y of {}: they must agree".format(*dimensions))
        for what in ("dtype", "device"):
            first, second = (getattr(points, what, None) for points in (X, Y))  # what jax traces has no device
            if first is not None and second is not None and first != second:
                raise InputError(f"X has {what} {first} and Y {second}: they must agree, convert one of them")
        parameters, _, X, Y = self.in_unit_coordinates(parameters, X, Y)
        return X, Y, parameters

    def kernel(self, parameters: Mapping[str, Any], X: Array, Y: Array = None, options: tuple = ()) -> Any:
        """Return the NNGP kernel, (N, d), (M, d) -> (N, M); its diagonal without Y is that of `kernel_diag`."""
        return self._gram(X, Y, "kernel", options, parameters)[0]

    def ntk(self, parameters: Mapping[str, Any], X: Array, Y: Array = None, options: tuple = ()) -> Any:
        """Return the neural tangent kernel, (N, d), (M, d) -> (N, M)."""
        return self._gram(X, Y, "ntk", options, parameters)[0]

    def kernel_and_ntk(self, parameters: Mapping[str, Any], X: Array, Y: Array = None, options: tuple = ()) -> tuple:
        """Return both kernels, at the cost of little more than the tangent kernel alone."""
        return self._gram(X, Y, "both", options, parameters)

    def prepared(self, parameters: Mapping[str, Any], X: Array, Y: Array, wanted: str) -> tuple:
        """Return points, layers and the activations' parameters for all pairs of points, checked."""
        if wanted not in ("kernel", "distance"):
            self._check_tangent()
        X, Y, parameters = self._rows(X, Y, parameters)
        layers, own = self.layers(X, parameters)
        if Y is not None:
            self.layers(Y, parameters)
        return X, Y, layers, own

    def _gram(self, X: Array, Y: Array, wanted: str, options: tuple, parameters: Mapping[str, Any]) -> tuple:
        pairs = self.prepared(parameters, X, Y, wanted)
        return self.fast(self.xp, *pairs, wanted, *options) if self.fast else self.xp.gram(*pairs, wanted)

    def kernel_diag(self, parameters: Mapping[str, Any], X: Array) -> Any:
        """Return k(x, x), (..., d) -> (...)."""
        return self._diagonal(X, parameters, "kernel")

    def ntk_diag(self, parameters: Mapping[str, Any], X: Array) -> Any:
        """Return the tangent kernel at (x, x), (..., d) -> (...)."""
        self._check_tangent()
        return self._diagonal(X, parameters, "ntk")

    def _diagonal(self, X: Array, parameters: Mapping[str, Any], wanted: str) -> Any:
        parameters, _, X = self.in_unit_coordinates(parameters, self.xp.points(X))
        layers, own = self.layers(X, parameters)

        def diagonal(x: Array) -> Any:
            lost = out_of_range(self.xp, layers, x, own, wanted)
            h = point_after(self.xp, layers, self.xp.sum_squares(self.xp.double(x)), own, wanted == "ntk")
            return marked(self.xp, self.xp.cast(h.f + h.D if wanted == "ntk" else h.f, x), lost)

        return self.xp.at_points(diagonal, X)

    def _check_tangent(self) -> None:
        if not all(law.derivative_moment for law in self.laws):
            raise DoesNotExist("this network has no tangent kernel: the activation jumps, so E[phi'(u)^2] is infinite")

    def kernel_distance(self, parameters: Mapping[str, Any], X: Array, Y: Array = None, squared: bool = False) -> Any:
        """Return |Phi(x) - Phi(y)|, or its square, which has derivatives at y = x; (N, d), (M, d) -> (N, M)."""
        X, Y, layers, own = self.prepared(parameters, X, Y, "distance")
        return self.xp.distance(X, X if Y is None else Y, layers, own, squared)

    def _radial(self, X: Array, parameters: Mapping[str, Any], function: Callable, *what: Any) -> Any:
        xp = self.xp
        parameters, scales, X = self.in_unit_coordinates(parameters, xp.points(X))
        # Of a user's formulas nothing else is known than what they give.
        layers, own = self.layers(X, parameters) if self.domain is None else ([], ())
        arguments = (xp.dimension(X), *self.values(parameters).values())
        variances = self.variances and self.variances[function == self._ricci]

        def at(x: Array) -> Any:
            s = xp.sum_squares(xp.double(x))
            lost = out_of_range(xp, layers, x, own, "metric", variances)
            if self.domain is not None:
                self._require_metric(s, arguments)
            return marked(xp, xp.cast(function(xp.double(x), s, arguments, scales), x), lost)

        return xp.representable(xp.at_points(at, X), X, *what)

    def _require_metric(self, s: Array, arguments: tuple) -> None:
        """Raise DoesNotExist where the formulas of a user are no metric: infinite, or not positive definite."""
        A, _, eta = self.parts(s, *arguments)
        assert self.domain is not None
        for value in (A, eta):
            if not self.xp.all(self.domain(s, *arguments) & (value > 0) & (value - value == 0)):
                raise DoesNotExist(
                    "these formulas are no metric at the points: A and A + |x|^2 B must be finite and > 0"
                )

    def metric(self, parameters: Mapping[str, Any], X: Array) -> Any:
        """Return the metric g = A I + B x x^T, (..., d) -> (..., d, d)."""
        return self._radial(X, parameters, self._matrix, "the metric", True)

    def _matrix(self, x: Array, s: Array, arguments: tuple, scales: Array) -> Any:
        if self.coefficient is None:
            g = self.xp.metric_matrix(x, *self._regular_parts(s, arguments))
        else:
            B = self.coefficient(s, *arguments)
            # Not a number where the metric vanishes; so are derivatives there.
            B = self.xp.where_nonnegative(0 * B, B, 0 * s)
            g = self.xp.metric_matrix(x, *self.parts(s, *arguments), B)
        return g if scales is None else self.xp.scaled_matrix(g, scales)

    def _regular_parts(self, s: Array, arguments: tuple) -> tuple:
        """Return A, s B/A and (A + s B)/A; where the metric vanishes, at x = 0, what multiplies A = 0 is finite."""
        singular = self._singular(s, arguments)
        if singular is None:
            return self.parts(s, *arguments)
        A, shear, eta = self.parts(self.xp.where_nonnegative(singular, s + 1, s), *arguments)
        return self.xp.where_nonnegative(singular, 0 * A, A), shear, eta

    def _singular(self, s: Array, arguments: tuple) -> Any:
        """Return what is negative but where the metric vanishes, at x = 0; None where no value of the scales does it.

        Whether they do may be unknown yet, in a transformation of jax.
        """
        condition = None if self.vanishes is None else self.vanishes(*arguments)
        if condition is None or not self.xp.all(condition):
            return None
        return self.xp.where_nonnegative(0 * s + condition - 1, -s, -s - 1)

    def volume_element(self, parameters: Mapping[str, Any], X: Array) -> Any:
        """Return sqrt(det g), (..., d) -> (...)."""
        what = "the volume element (log_volume_element has no such range)"
        return self._radial(X, parameters, self._volume, what, True)

    def _volume(self, x: Array, s: Array, arguments: tuple, scales: Array) -> Any:
        A, _, eta = self._regular_parts(s, arguments)
        mean = 1.0 if scales is None else self.xp.geometric_mean(scales)
        return (self.xp.sqrt(A) * mean) ** arguments[0] * self.xp.sqrt(eta)

    def log_volume_element(self, parameters: Mapping[str, Any], X: Array) -> Any:
        """Return log sqrt(det g), (..., d) -> (...): no overflow, no underflow."""
        return self._radial(X, parameters, self._log_volume, "the logarithm of the volume element")

    def _log_volume(self, x: Array, s: Array, arguments: tuple, scales: Array) -> Any:
        A, _, eta = self._regular_parts(s, arguments)
        log_A = self.logarithm(s, *arguments) if self.logarithm else self.xp.log(A)
        if scales is not None:
            log_A = log_A + 2 * self.xp.log(self.xp.geometric_mean(scales))
        return (arguments[0] * log_A + self.xp.log(eta)) / 2

    def ricci_scalar(self, parameters: Mapping[str, Any], X: Array) -> Any:
        """Return the Ricci scalar, positive on spheres, (..., d) -> (...); not a number where the metric vanishes."""
        return self._radial(X, parameters, self._ricci, "the Ricci scalar")

    def _ricci(self, x: Array, s: Array, arguments: tuple, scales: Array) -> Any:
        singular = self._singular(s, arguments)
        if singular is None:
            return self.ricci(s, *arguments)
        R = self.ricci(self.xp.where_nonnegative(singular, s + 1, s), *arguments)
        # A factor, so that derivatives are not numbers at x = 0 alone.
        return R * self.xp.where_nonnegative(singular, 0 * s + float("nan"), 0 * s + 1)
