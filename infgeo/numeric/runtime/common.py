"""What emitted files do between their formulas, the same for every backend.

A *law* holds the formulas of one activation, functions of arrays that end in the activation's parameters:

    kernel(p, q, c, Delta), derivative_kernel(p, q, c, Delta), moment(v), derivative_moment(v),
    difference(p, q, omega, delta, c, Delta) -> (E[(phi(u) - phi(v))^2], E[phi(u)^2] - E[phi(v)^2]).

A pair of points is carried through the layers as p = Var u, q = Var v, c = Cov(u, v), omega = p - q,
delta = p + q - 2c and Delta = p q - c^2; the last three come from differences of inputs, so that nothing cancels
(at depth >= 2, Delta comes from omega and delta and keeps an error of one rounding of p q).
The *scales* are (first, weight, bias): the variances of a first-layer weight, a hidden weight and a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above.
    from infgeo.numeric.runtime.for_numpy import (
        _all,
        _at_points,
        _derivative_kernel_of,
        _differences,
        _dimension,
        _distance,
        _gram,
        _kernel_of,
        _largest,
        _log,
        _metric_matrix,
        _points,
        _positive,
        _scalar,
        _sqrt,
        _sum_squares,
        _where_nonnegative,
    )


class InputError(ValueError):
    """An argument that the functions of this file do not accept."""


class DoesNotExist(ArithmeticError):
    """What was asked for diverges for this activation."""


def _pair_layers(
    laws: Sequence[Any], state: SimpleNamespace, scales: tuple, scalars: tuple, tangent: bool
) -> tuple[Any, Any, SimpleNamespace]:
    """Return the kernel, the tangent kernel (if asked for) and the state before the last nonlinearity."""
    _, weight, bias = scales
    theta = state.c if tangent else None
    for layer, law in enumerate(laws, start=1):
        k = _kernel_of(law, state, scalars)
        if tangent:
            theta = k + _derivative_kernel_of(law, state, scalars) * theta
        if layer == len(laws):
            break
        if tangent:
            theta = bias + weight * theta
        distance, omega = _differences(law, state, scalars)
        p, q = (bias + weight * law.moment(v, *scalars) for v in (state.p, state.q))
        state = _hidden_state(p, q, bias + weight * k, weight * omega, weight * distance)
    return k, theta, state


def _hidden_state(p: Any, q: Any, c: Any, omega: Any, delta: Any) -> SimpleNamespace:
    """Return the state, Delta from differences for close pairs and from p q - c^2 for others, where it loses less."""
    by_differences = (delta * (2 * (p + q) - delta) - omega * omega) / 4
    Delta = _where_nonnegative(p * q - delta * (p + q), by_differences, p * q - c * c)
    return SimpleNamespace(p=p, q=q, c=c, omega=omega, delta=delta, Delta=_positive(Delta))


def _diagonal_layers(laws: Sequence[Any], s: Any, scales: tuple, scalars: tuple, tangent: bool) -> Any:
    """Return k(x, x), or the tangent kernel at (x, x), at s = |x|^2."""
    first, weight, bias = scales
    v = theta = bias + first * s
    for layer, law in enumerate(laws, start=1):
        m = law.moment(v, *scalars)
        if tangent:
            theta = m + law.derivative_moment(v, *scalars) * theta
        if layer < len(laws):
            theta, v = bias + weight * theta, bias + weight * m
    return theta if tangent else m


def _by_subtraction(kernel: Callable, moment: Callable) -> Callable:
    """Return `difference` by subtraction, for activations without a cancellation-free form."""

    def difference(p: Any, q: Any, omega: Any, delta: Any, c: Any, Delta: Any, *scalars: Any) -> tuple:
        first, second = moment(p, *scalars), moment(q, *scalars)
        return first + second - 2 * kernel(p, q, c, Delta, *scalars), first - second

    return difference


class Geometry:
    """The numeric geometry of one network: its formulas and the functions made of them.

    Every method takes points X, (..., d) or for kernels rows (N, d), and the network's parameters by name.
    """

    def __init__(
        self,
        laws: Sequence[Any],
        parts: Callable,
        coefficient: Callable | None,
        ricci: Callable,
        variances: Callable,
        parameters: Sequence[str],
        own: Sequence[str],
    ) -> None:
        """Hold the formulas; `parameters` are the names of all parameters, `own` those of the activation."""
        self.laws, self.parts, self.coefficient, self.ricci = laws, parts, coefficient, ricci
        self.variances, self.parameters, self.own = variances, parameters, own

    def values(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the value of every parameter, checked."""
        values = {name: parameters[name] for name in self.parameters}
        for name, value in values.items():
            values[name] = number = _scalar(name, value)
            bound = {"sigma_w": "finite and > 0", "sigma_b": "finite and >= 0"}.get(name, "finite")
            valid = {"sigma_w": number > 0, "sigma_b": number >= 0}.get(name, True)
            if not valid or number - number != 0:
                raise InputError(f"{name} = {value} must be {bound}")
        return values

    def _layers(self, X: Any, parameters: dict[str, Any]) -> tuple[tuple, tuple]:
        """Return the variances of the layers and the activation's own parameters."""
        values = self.values(parameters)
        layers = self.variances(_dimension(X), *values.values()), tuple(values[name] for name in self.own)
        self._check_variances(X, *layers)
        return layers

    def _check_variances(self, X: Any, scales: tuple, own: tuple) -> None:
        """Raise DoesNotExist where an activation that grows like exp(a z^2) has an infinite expectation."""
        if not any(law.limit for law in self.laws):
            return

        def check(x: Any) -> Any:
            v = scales[2] + scales[0] * _sum_squares(x)
            for law in self.laws:
                limit = law.limit(*own) if law.limit else None
                if limit is not None and not _all(v < limit):
                    raise DoesNotExist(
                        f"E[phi(z)^2] is infinite for preactivations of variance {limit} and more; at these points the"
                        f" variance reaches {_largest(v)}: use smaller scales or points"
                    )
                v = scales[2] + scales[1] * law.moment(v, *own)
            return v

        _at_points(check, X)

    def _rows(self, X: Any, Y: Any) -> tuple[Any, Any]:
        X = _points(X, "X", rows=True)
        if Y is None:
            return X, None
        Y = _points(Y, "Y", rows=True)
        if _dimension(X) != _dimension(Y):
            raise InputError(f"X has points of dimension {_dimension(X)} and Y of {_dimension(Y)}: they must agree")
        return X, Y

    def kernel(self, X: Any, Y: Any = None, **parameters: Any) -> Any:
        """Return the NNGP kernel, (N, d), (M, d) -> (N, M); its diagonal without Y is that of `kernel_diag`."""
        return self._gram(X, Y, parameters, tangent=False)

    def _gram(self, X: Any, Y: Any, parameters: dict[str, Any], tangent: bool) -> Any:
        X, Y = self._rows(X, Y)
        layers = self._layers(X, parameters)
        if Y is not None:
            self._check_variances(Y, *layers)
        return _gram(self.laws, X, Y, *layers, tangent=tangent)

    def ntk(self, X: Any, Y: Any = None, **parameters: Any) -> Any:
        """Return the neural tangent kernel, (N, d), (M, d) -> (N, M)."""
        if not all(law.derivative_moment for law in self.laws):
            raise DoesNotExist("this network has no tangent kernel: the activation jumps, so E[phi'(u)^2] is infinite")
        return self._gram(X, Y, parameters, tangent=True)

    def kernel_diag(self, X: Any, **parameters: Any) -> Any:
        """Return k(x, x), (..., d) -> (...)."""
        X = _points(X)
        layers = self._layers(X, parameters)
        return _at_points(lambda x: _diagonal_layers(self.laws, _sum_squares(x), *layers, tangent=False), X)

    def kernel_distance(self, X: Any, Y: Any = None, **parameters: Any) -> Any:
        """Return |Phi(x) - Phi(y)|, (N, d), (M, d) -> (N, M)."""
        X, Y = self._rows(X, Y)
        Y = X if Y is None else Y
        layers = self._layers(X, parameters)
        self._check_variances(Y, *layers)
        return _distance(self.laws, X, Y, *layers)

    def _radial(self, X: Any, parameters: dict[str, Any], function: Callable) -> Any:
        X = _points(X)
        self._layers(X, parameters)
        arguments = (_dimension(X), *self.values(parameters).values())
        return _at_points(lambda x: function(x, _sum_squares(x), arguments), X)

    def metric(self, X: Any, **parameters: Any) -> Any:
        """Return the metric g = A I + B x x^T, (..., d) -> (..., d, d)."""

        def matrix(x: Any, s: Any, arguments: tuple) -> Any:
            B = self.coefficient(s, *arguments) if self.coefficient else None
            return _metric_matrix(x, B, *self.parts(s, *arguments))

        return self._radial(X, parameters, matrix)

    def volume_element(self, X: Any, **parameters: Any) -> Any:
        """Return sqrt(det g), (..., d) -> (...)."""

        def volume(x: Any, s: Any, arguments: tuple) -> Any:
            A, _, eta = self.parts(s, *arguments)
            return _sqrt(A) ** arguments[0] * _sqrt(eta)

        return self._radial(X, parameters, volume)

    def log_volume_element(self, X: Any, **parameters: Any) -> Any:
        """Return log sqrt(det g), (..., d) -> (...): no overflow, no underflow."""

        def log_volume(x: Any, s: Any, arguments: tuple) -> Any:
            A, _, eta = self.parts(s, *arguments)
            return (arguments[0] * _log(A) + _log(eta)) / 2

        return self._radial(X, parameters, log_volume)

    def ricci_scalar(self, X: Any, **parameters: Any) -> Any:
        """Return the Ricci scalar, positive on spheres, (..., d) -> (...)."""
        return self._radial(X, parameters, lambda x, s, arguments: self.ricci(s, *arguments))
