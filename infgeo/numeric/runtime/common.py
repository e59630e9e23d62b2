"""What emitted files do between their formulas, the same for every backend.

A *law* holds the formulas of one activation, functions of arrays that end in the activation's parameters:

    kernel(p, q, c, Delta), derivative_kernel(p, q, c, Delta), moment(v), derivative_moment(v),
    difference(p, q, omega, delta, c, Delta) -> (E[(phi(u) - phi(v))^2], E[phi(u)^2] - E[phi(v)^2]),

and says whether the activation is `homogeneous`, and whether it is `odd`.

A pair of points is carried through the layers as p = Var u, q = Var v, c = Cov(u, v), omega = p - q,
delta = p + q - 2c and Delta = p q - c^2; the last three come from differences of inputs, so that nothing cancels
(see `angle`).

A *layer* is a law with the variances of its weights and biases (a residual block also with the squares of its factors),
or a normalisation. Of features, p, q and c are the values of their kernel; D is their tangent kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above, or below.
    from infgeo.numeric.runtime.angle import _apart_after, _determinant_after, _determinant_of_sum
    from infgeo.numeric.runtime.blocks_numpy import _gram
    from infgeo.numeric.runtime.for_numpy import (
        _LARGEST_SCALE,
        _all,
        _at_points,
        _derivative_kernel_of,
        _diagonal_of,
        _dimension,
        _distance,
        _kernel_of,
        _largest,
        _log,
        _metric_matrix,
        _points,
        _ratio,
        _rounded,
        _scalar,
        _sqrt,
        _sum_squares,
        _where_nonnegative,
        _with_exact,
    )
    from infgeo.numeric.runtime.range import _representable


class InputError(ValueError):
    """An argument that the functions of this file do not accept."""


class DoesNotExist(ArithmeticError):
    """What was asked for diverges for this activation."""


def _shown(value: Any) -> str:
    try:
        return str(value)
    except RuntimeError:
        return "one of the values"  # of a transform of torch, which prints none


def _dense(law: Any, weight: Any, bias: Any) -> SimpleNamespace:
    """H <- phi(W h + b), from the variances of the weights and biases."""
    return SimpleNamespace(law=law, weight=weight, bias=bias, skip=None)


def _residual(law: Any, weight: Any, bias: Any, skip: Any, branch: Any) -> SimpleNamespace:
    """H <- a h + c V phi(W h + b), from skip = a^2 and branch = c^2."""
    return SimpleNamespace(law=law, weight=weight, bias=bias, skip=skip, branch=branch)


def _rms_norm(epsilon: Any, unit: Any) -> SimpleNamespace:
    """H <- sqrt(unit) h / sqrt(|h|^2 + epsilon)."""
    return SimpleNamespace(law=None, epsilon=epsilon, unit=unit)


def _pair_layers(
    layers: Sequence[Any], state: SimpleNamespace, scalars: tuple, wanted: str
) -> tuple[SimpleNamespace, Any]:
    """Return the features of pairs after all layers, and their tangent kernel; `state` holds the pairs of inputs.

    `wanted` is "kernel" (c), "ntk" (c and the tangent kernel) or "distance" (delta).
    """
    D: Any = 0.0
    for i, layer in enumerate(layers, start=1):
        last = i == len(layers)
        if layer.law is None:
            state, D = _normalised(state, D, layer)
            continue
        inner = _affine(state, layer.weight, layer.bias)
        after: dict[str, Any] = {}
        apart = None
        if not last:
            after["p"], after["q"] = (layer.law.moment(v, *scalars) for v in (inner.p, inner.q))
        if not last or wanted == "distance":
            after["delta"], after["omega"], apart = _apart_after(layer.law, inner, scalars)
        if not last or wanted != "distance":
            after["c"] = _kernel_of(layer.law, inner, scalars)
        # Distances feel a rounding of Delta after a normalisation or what looks like a jump from afar alone.
        plain = wanted == "distance" and all(part.law and not part.law.steep for part in layers[i:])
        Delta = None if last else _determinant_after(layer.law, inner, after, apart, scalars, plain)
        learned = None
        if wanted == "ntk":
            learned = _derivative_kernel_of(layer.law, inner, scalars) * (inner.c + layer.weight * D)
        if layer.skip is None:
            D = learned
        else:
            D = None if learned is None else layer.skip * D + layer.branch * (after["c"] + learned)
            if Delta is not None:
                Delta = _determinant_of_sum(state, Delta, after, layer.skip, layer.branch)
            after = {name: layer.skip * getattr(state, name) + layer.branch * part for name, part in after.items()}
        state = SimpleNamespace(Delta=Delta, **after)
        D = 0.0 if D is None else D
    return state, D


def _affine(state: SimpleNamespace, weight: Any, bias: Any) -> SimpleNamespace:
    """Return the pairs of preactivations W h + b."""
    p, q, c = (bias + weight * part for part in (state.p, state.q, state.c))
    omega, delta = weight * state.omega, weight * state.delta
    Delta = weight * (weight * state.Delta + bias * state.delta)
    return SimpleNamespace(p=p, q=q, c=c, omega=omega, delta=delta, Delta=Delta)


def _normalised(state: SimpleNamespace, D: Any, layer: Any) -> tuple[SimpleNamespace, Any]:
    """Return the pairs after root mean square normalisation; |x - y|^2 from lengths and angle, without cancellation."""
    norm_p, norm_q = state.p + layer.epsilon, state.q + layer.epsilon
    both = _sqrt(norm_p) * _sqrt(norm_q)
    p, q = layer.unit * _ratio(state.p, norm_p), layer.unit * _ratio(state.q, norm_q)
    c, omega = layer.unit * _ratio(state.c, both), layer.unit * _ratio(layer.epsilon * state.omega, norm_p * norm_q)
    omega = _where_nonnegative(-norm_p * norm_q, p - q, omega)  # a zero vector without epsilon stays one
    Delta = layer.unit * layer.unit * _ratio(state.Delta, norm_p * norm_q)
    product, radial = _sqrt(p) * _sqrt(q), _ratio(omega, _sqrt(p) + _sqrt(q))
    angular = _where_nonnegative(c, _ratio(Delta, product + c), product - c)
    delta = radial * radial + 2 * angular
    # Near 0 directions mean nothing, and nothing cancels in the difference of scaled points.
    root_p, root_q = _sqrt(norm_p), _sqrt(norm_q)
    longer = _ratio(state.omega, root_p + root_q)
    plain = _ratio(state.delta - longer * longer * (1 + _ratio(layer.epsilon + 0 * both, both)), both)
    delta = _where_nonnegative(layer.epsilon - 4 * (state.p + state.q) - 0 * both, layer.unit * plain, delta)
    pairs = SimpleNamespace(p=p, q=q, c=c, omega=omega, delta=delta, Delta=Delta)
    return pairs, _ratio(D + 0 * both, both)


def _diagonal_layers(layers: Sequence[Any], s: Any, scalars: tuple, tangent: bool) -> Any:
    """Return k(x, x), or the tangent kernel at (x, x), at s = |x|^2."""
    f, D = s, 0.0
    for layer in layers:
        if layer.law is None:
            f, D = layer.unit * _ratio(f, f + layer.epsilon), _ratio(D + 0 * f, f + layer.epsilon)
            continue
        v = layer.bias + layer.weight * f
        m = layer.law.moment(v, *scalars)
        learned = layer.law.derivative_moment(v, *scalars) * (v + layer.weight * D) if tangent else 0.0
        if layer.skip is None:
            f, D = m, learned
        else:
            f, D = layer.skip * f + layer.branch * m, layer.skip * D + layer.branch * (m + learned)
    return f + D if tangent else f


def _by_subtraction(kernel: Callable, moment: Callable) -> Callable:
    """Return `difference` by subtraction, for activations without a cancellation-free form."""

    def difference(p: Any, q: Any, omega: Any, delta: Any, c: Any, Delta: Any, *scalars: Any) -> tuple:
        first, second = moment(p, *scalars), moment(q, *scalars)
        return first + second - 2 * kernel(p, q, c, Delta, *scalars), first - second

    return difference


class Geometry:
    """The numeric geometry of one network: its formulas and the functions made of them.

    Every method takes the values of the network's parameters by name, and points X, (..., d) or for kernels (N, d).
    """

    def __init__(
        self,
        laws: Sequence[Any],
        parts: Callable,
        logarithm: Callable | None,
        coefficient: Callable | None,
        ricci: Callable,
        network: Callable,
        parameters: dict[str, str],
        own: Sequence[str],
        vanishes: Callable | None = None,
        variances: tuple | None = None,
        domain: Callable | None = None,
    ) -> None:
        """Hold the formulas; `network` returns the layers from d and the values of `parameters`.

        `logarithm` is that of A, where A may overflow; `variances` are the numbers between which the variances must
        lie for the metric and for R to keep their digits.
        `parameters` are the names of all parameters with their bounds ("> 0", ">= 0" or none), `own` those of the
        activations; `vanishes` says from d and the values of all whether the metric is 0 at x = 0; `domain`, of a
        metric that is a user's formula, from |x|^2 besides where it is finite.
        """
        self.domain = domain
        self.vanishes, self.logarithm, self.variances = vanishes, logarithm, variances
        self.laws, self.parts, self.coefficient, self.ricci = laws, parts, coefficient, ricci
        self.network, self.parameters, self.own = network, parameters, own

    def values(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the value of every parameter, checked."""
        values = {name: parameters[name] for name in self.parameters}
        for name, value in values.items():
            values[name] = number = _scalar(name, value)
            bound = self.parameters[name]
            valid = {"> 0": number > 0, ">= 0": number >= 0}.get(bound, True)
            if not _all(valid) or not _all(number - number == 0):
                raise InputError(f"{name} = {_shown(value)} must be finite" + (f" and {bound}" if bound else ""))
            if bound and not _all(number <= _LARGEST_SCALE):
                raise InputError(f"{name} = {_shown(value)} must be at most {_LARGEST_SCALE:g}: its powers overflow")
        return values

    def _layers(self, X: Any, parameters: dict[str, Any]) -> tuple[Sequence[Any], tuple]:
        """Return the layers and the activations' own parameters."""
        values = self.values(parameters)
        layers = self.network(_dimension(X), *values.values()), tuple(values[name] for name in self.own)
        _with_exact(layers[0], lambda number: self.network(_dimension(X), *map(number, values.values())))
        self._check_variances(X, *layers)
        return layers

    def _check_variances(self, X: Any, layers: Sequence[Any], own: tuple) -> None:
        """Raise DoesNotExist where an activation that grows like exp(a z^2) has an infinite expectation."""
        if not any(law.growth for law in self.laws):
            return

        def check(x: Any) -> Any:
            f = _sum_squares(x)
            for i, layer in enumerate(layers):
                if layer.law is not None:
                    v = layer.bias + layer.weight * f
                    growth = layer.law.growth(*own) if layer.law.growth else 0
                    if not _all(4 * growth * v < 1):
                        raise DoesNotExist(
                            f"E[phi(z)^2] is infinite for preactivations of variance {1 / (4 * growth)} and more; at"
                            f" these points the variance reaches {_largest(v)}: use smaller scales or points"
                        )
                f = _diagonal_layers(layers[i : i + 1], f, own, tangent=False)
            return f

        _at_points(check, X)

    def _rows(self, X: Any, Y: Any) -> tuple[Any, Any]:
        X = _points(X, "X", rows=True)
        if Y is None:
            return X, None
        Y = _points(Y, "Y", rows=True)
        if _dimension(X) != _dimension(Y):
            dimensions = int(_dimension(X)), int(_dimension(Y))
            raise InputError("X has points of dimension {} and Y of {}: they must agree".format(*dimensions))
        for what in ("dtype", "device"):
            first, second = (getattr(points, what, None) for points in (X, Y))
            if (
                first is not None and second is not None and first != second
            ):  # arrays that jax traces have no device yet
                raise InputError(f"X has {what} {first} and Y {second}: they must agree, convert one of them")
        return X, Y

    def kernel(self, parameters: dict[str, Any], X: Any, Y: Any = None, options: tuple = ()) -> Any:
        """Return the NNGP kernel, (N, d), (M, d) -> (N, M); its diagonal without Y is that of `kernel_diag`."""
        return self._gram(X, Y, "kernel", options, parameters)

    def _gram(self, X: Any, Y: Any, wanted: str, options: tuple, parameters: dict[str, Any]) -> Any:
        """Return the kernel, the tangent kernel ("ntk") or both; `options` are those of the backend's `_gram`."""
        if wanted != "kernel":
            self._check_tangent()
        X, Y = self._rows(X, Y)
        layers = self._layers(X, parameters)
        if Y is not None:
            self._check_variances(Y, *layers)
        return _gram(X, Y, *layers, wanted, *options)

    def ntk(self, parameters: dict[str, Any], X: Any, Y: Any = None, options: tuple = ()) -> Any:
        """Return the neural tangent kernel, (N, d), (M, d) -> (N, M)."""
        return self._gram(X, Y, "ntk", options, parameters)

    def kernel_and_ntk(self, parameters: dict[str, Any], X: Any, Y: Any = None, options: tuple = ()) -> tuple:
        """Return both kernels, at the cost of little more than the tangent kernel alone."""
        return self._gram(X, Y, "both", options, parameters)

    def kernel_diag(self, parameters: dict[str, Any], X: Any) -> Any:
        """Return k(x, x), (..., d) -> (...)."""
        return self._diagonal(X, parameters, tangent=False)

    def ntk_diag(self, parameters: dict[str, Any], X: Any) -> Any:
        """Return the tangent kernel at (x, x), (..., d) -> (...)."""
        self._check_tangent()
        return self._diagonal(X, parameters, tangent=True)

    def _diagonal(self, X: Any, parameters: dict[str, Any], tangent: bool) -> Any:
        X = _points(X)
        layers, own = self._layers(X, parameters)
        return _at_points(lambda x: _diagonal_of(layers, x, own, tangent), X)

    def _check_tangent(self) -> None:
        if not all(law.derivative_moment for law in self.laws):
            raise DoesNotExist("this network has no tangent kernel: the activation jumps, so E[phi'(u)^2] is infinite")

    def kernel_distance(self, parameters: dict[str, Any], X: Any, Y: Any = None, squared: bool = False) -> Any:
        """Return |Phi(x) - Phi(y)|, or its square, which has derivatives at y = x; (N, d), (M, d) -> (N, M)."""
        X, Y = self._rows(X, Y)
        Y = X if Y is None else Y
        layers = self._layers(X, parameters)
        self._check_variances(Y, *layers)
        return _distance(X, Y, *layers, squared)

    def _radial(self, X: Any, parameters: dict[str, Any], function: Callable, *what: Any) -> Any:
        X = _points(X)
        # Of a user's formulas nothing else is known than what they give.
        layers = self._layers(X, parameters) if self.domain is None else ([], ())
        arguments = (_dimension(X), *self.values(parameters).values())

        variances = self.variances and self.variances[function.__name__ == "ricci"]

        def checked(x: Any, s: Any, arguments: tuple) -> Any:
            if self.domain is not None:
                self._require_metric(s, arguments)
            return function(x, s, arguments)

        result = _at_points(lambda x: _rounded(checked, x, arguments, variances, *layers), X)
        return _representable(result, X, *what)

    def _require_metric(self, s: Any, arguments: tuple) -> None:
        """Raise DoesNotExist where the formulas of a user are no metric: infinite, or not positive definite."""
        A, _, eta = self.parts(s, *arguments)
        for value in (A, eta):
            if not _all(self.domain(s, *arguments) & (value > 0) & (value - value == 0)):  # type: ignore[misc]
                raise DoesNotExist(
                    "these formulas are no metric at the points: A and A + |x|^2 B must be finite and > 0"
                )

    def metric(self, parameters: dict[str, Any], X: Any) -> Any:
        """Return the metric g = A I + B x x^T, (..., d) -> (..., d, d)."""

        def matrix(x: Any, s: Any, arguments: tuple) -> Any:
            if self.coefficient:
                B = self.coefficient(s, *arguments)
                # Not a number where the metric vanishes; so are derivatives there.
                B = _where_nonnegative(0 * B, B, 0 * s)
                return _metric_matrix(x, B, *self.parts(s, *arguments))
            return _metric_matrix(x, None, *self._regular_parts(s, arguments))

        return self._radial(X, parameters, matrix, "the metric", True)

    def _regular_parts(self, s: Any, arguments: tuple) -> tuple:
        """Return A, s B/A and (A + s B)/A; where the metric vanishes, at x = 0, what multiplies A = 0 is finite."""
        singular = self._singular(s, arguments)
        if singular is None:
            return self.parts(s, *arguments)
        A, shear, eta = self.parts(_where_nonnegative(singular, s + 1, s), *arguments)
        return _where_nonnegative(singular, 0 * A, A), shear, eta

    def _singular(self, s: Any, arguments: tuple) -> Any:
        """Return what is negative but where the metric vanishes, at x = 0; None where no value of the scales does it.

        Whether they do may be unknown yet, in a transformation of jax.
        """
        condition = None if self.vanishes is None else self.vanishes(*arguments)
        if condition is None or not _all(condition):
            return None
        return _where_nonnegative(0 * s + condition - 1, -s, -s - 1)

    def volume_element(self, parameters: dict[str, Any], X: Any) -> Any:
        """Return sqrt(det g), (..., d) -> (...)."""

        def volume(x: Any, s: Any, arguments: tuple) -> Any:
            A, _, eta = self._regular_parts(s, arguments)
            return _sqrt(A) ** arguments[0] * _sqrt(eta)

        return self._radial(X, parameters, volume, "the volume element (log_volume_element has no such range)", True)

    def log_volume_element(self, parameters: dict[str, Any], X: Any) -> Any:
        """Return log sqrt(det g), (..., d) -> (...): no overflow, no underflow."""

        def log_volume(x: Any, s: Any, arguments: tuple) -> Any:
            A, _, eta = self._regular_parts(s, arguments)
            log_A = self.logarithm(s, *arguments) if self.logarithm else _log(A)
            return (arguments[0] * log_A + _log(eta)) / 2

        return self._radial(X, parameters, log_volume, "the logarithm of the volume element")

    def ricci_scalar(self, parameters: dict[str, Any], X: Any) -> Any:
        """Return the Ricci scalar, positive on spheres, (..., d) -> (...); not a number where the metric vanishes."""

        def ricci(x: Any, s: Any, arguments: tuple) -> Any:
            singular = self._singular(s, arguments)
            if singular is None:
                return self.ricci(s, *arguments)
            R = self.ricci(_where_nonnegative(singular, s + 1, s), *arguments)
            # A factor, so that derivatives are not numbers at x = 0 alone.
            return R * _where_nonnegative(singular, 0 * s + float("nan"), 0 * s + 1)

        return self._radial(X, parameters, ricci, "the Ricci scalar")
