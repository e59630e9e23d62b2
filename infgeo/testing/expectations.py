"""Requirements on an activation itself: the function, and its Gaussian expectations in closed form."""

from bisect import bisect_left
from collections.abc import Callable, Mapping

import mpmath
import numpy as np
from sympy import Expr, lambdify, oo

from infgeo import conventions as conv
from infgeo.conventions import Delta, c, p, q
from infgeo.conventions import variance as v
from infgeo.errors import InfgeoError, NoClosedForm
from infgeo.numeric.quadrature.oracle import moment
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.activations.pieces import Pieces
from infgeo.symbolic.expectations.dual import Dual, dual
from infgeo.testing.outcome import Measured, NotApplicable, required

DIGITS = 30
AT = (-2.75, -1.3, -0.6, -0.05, 0.04, 0.45, 1.15, 2.85)
VARIANCE = "0.2"
PAIR = ("1", "0.75", "-0.35")  # the covariance matrix p, q, c of a pair over the variance
_FUNCTION = 1e-13
_MOMENTS = 1e-15


class Expectations:
    """The requirements on an activation at given values of its parameters."""

    def __init__(self, activation: Activation, own: Mapping[str, float]) -> None:
        self.activation = activation
        self.own = dict(own)
        self.values = {symbol: mpmath.mpf(own[symbol.name]) for symbol in activation.parameters}
        self.smooth = PiecewiseFunction(activation, self.own)

    def phi(self, order: int = 0) -> Callable:
        """Return phi or phi' as a function of mpf, from the expressions between the kinks."""
        try:
            pieces = self.activation.pieces
        except NoClosedForm:
            pieces = Pieces((), (self.activation.expr,))
        step = {"Heaviside": lambda t, _=0: mpmath.mpf(t > 0)}
        parts = [lambdify([conv.z, *self.values], part.diff(conv.z, order), ["mpmath", step]) for part in pieces.parts]
        others = list(self.values.values())
        places = [mpmath.mpf(lambdify([*self.values], place, "mpmath")(*others)) for place in pieces.places]
        return lambda z: mpmath.mpf(parts[bisect_left(places, z)](z, *others))

    @required
    def function(self) -> Measured:
        """The function in NumPy and in torch is the expression, relatively to bound * max(|phi(z)|, 1)."""
        return self._compare(0)

    @required
    def derivative(self) -> Measured:
        """The derivative phi' in NumPy and in torch is that of the expression, to bound * max(|phi'(z)|, 1)."""
        return self._compare(1)

    def _compare(self, order: int) -> Measured:
        import torch

        from infgeo.finite.torch_activation import torch_activation

        at = np.array([z for z in AT if not np.any(np.abs(self.smooth.kinks - z) < 1e-3)])
        in_torch = torch_activation(self.activation.expr, conv.z, tuple(sorted(self.own.items())))
        results = {
            "NumPy": self.smooth(at, order),
            "torch": in_torch.jet(torch.from_numpy(at), order=1)[order].numpy(),
        }
        with mpmath.workdps(2 * DIGITS):
            exact = np.array([float(self.phi(order)(mpmath.mpf(z))) for z in at])
        worst, note = 0.0, ""
        for name, values in results.items():
            error = np.abs(values - exact) / np.maximum(np.abs(exact), 1)
            i = int(np.argmax(error))
            if not error[i] <= worst:
                worst, note = float(error[i]), f"{name} at z = {at[i]}"
        return worst, _FUNCTION, note

    @required
    def claims(self) -> Measured:
        """Parity, degree of homogeneity and smoothness at 0 are those of the function's values."""
        wrong = []
        phi = self.phi()
        with mpmath.workdps(DIGITS):
            right, left = ([phi(mpmath.mpf(side * z)) for z in (0.3, 1.7)] for side in (1, -1))
            sign = {"even": 1, "odd": -1}.get(self.activation.parity or "")
            close = mpmath.mpf(10) ** (5 - DIGITS)
            if sign and any(abs(a - sign * b) > close * abs(a) for a, b in zip(right, left, strict=True)):
                wrong.append(f"parity {self.activation.parity}")
            degree = self.activation.homogeneity
            if degree is not None:
                scaled = [phi(mpmath.mpf(2 * z)) for z in (0.3, 1.7)]
                if any(abs(a - 2 ** int(degree) * b) > close * abs(a) for a, b in zip(scaled, right, strict=True)):
                    wrong.append(f"homogeneity {degree}")
            if self.activation.smoothness is oo or self.activation.smoothness >= 0:
                h = mpmath.mpf(10) ** (-DIGITS // 2)
                if abs(phi(h) - phi(-h)) > mpmath.sqrt(h):
                    wrong.append(f"smoothness {self.activation.smoothness}: it jumps at 0")
        return float(len(wrong)), 0.0, ", ".join(wrong)

    @required
    def moments(self) -> Measured:
        """The moments E[phi^2], E[phi'^2] and dE[phi^2]/dv in closed form are those of quadrature.

        To bound * E[phi^2]/v, or relatively.
        """
        moments = self._dual()
        worst, note = 0.0, ""
        with mpmath.workdps(DIGITS):
            variance = self._variance(moments)
            kinks = [mpmath.mpf(float(kink)) for kink in self.smooth.kinks]
            phi, slope = self.phi(), self.phi(1)
            m = moment(lambda z: phi(z) ** 2, variance, kinks)
            wanted: list[tuple[str, str, Callable, mpmath.mpf]] = [
                ("E[phi^2]", "m", lambda z: phi(z) ** 2, m),
                ("E[phi'^2]", "m0", lambda z: slope(z) ** 2, m / variance),
                # d/dv E[F(z)] = E[(z^2/v - 1) F(z)] / (2 v)
                (
                    "dE[phi^2]/dv",
                    "m_prime",
                    lambda z: (z * z / variance - 1) * phi(z) ** 2 / (2 * variance),
                    m / variance,
                ),
            ]
            for name, attribute, integrand, scale in wanted:
                try:
                    expr = getattr(moments, attribute)
                except InfgeoError:
                    continue  # infinite, as E[phi'^2] of a jump
                value = self._number(expr, {v: variance})
                exact = moment(integrand, variance, kinks)
                error = float(abs(value - exact) / max(abs(exact), scale))
                if not error <= worst:
                    worst, note = error, f"{name} = {mpmath.nstr(value, 15)}, quadrature {mpmath.nstr(exact, 15)}"
        return worst, _MOMENTS, note

    @required
    def price(self) -> Measured:
        """The expectation E[phi'(u) phi'(v)] is the derivative of E[phi(u) phi(v)] by the covariance, relatively."""
        moments = self._dual()
        try:
            if moments.m0 is None:
                raise NotApplicable("E[phi'^2] is infinite")
            slopes = moments.derivative_kernel
        except InfgeoError as error:
            raise NotApplicable(str(error)) from None
        with mpmath.workdps(2 * DIGITS):
            first, second, covariance = (mpmath.mpf(share) * self._variance(moments) for share in PAIR)

            def kernel(t: mpmath.mpf) -> mpmath.mpf:
                return self._number(moments.kernel, {p: first, q: second, c: t, Delta: first * second - t * t})

            by_difference = mpmath.diff(kernel, covariance)
            at = {p: first, q: second, c: covariance, Delta: first * second - covariance**2}
            value = self._number(slopes, at)
            scale = max(abs(value), abs(by_difference), mpmath.mpf(10) ** -DIGITS)
            where = ", ".join(mpmath.nstr(t, 3) for t in (first, second, covariance))
            note = f"{mpmath.nstr(value, 12)} at p, q, c = {where}"
            return float(abs(value - by_difference) / scale), _MOMENTS, note

    def _dual(self) -> Dual:
        try:
            moments = dual(self.activation)
            _ = moments.m, moments.kernel
        except InfgeoError as error:
            raise NotApplicable(str(error)) from None
        return moments

    def _variance(self, moments: Dual) -> mpmath.mpf:
        """Return VARIANCE, or less where phi grows like exp(a z^2), so that quadrature sees all of E[phi^2]."""
        growth = mpmath.mpf(0) if moments.growth is None else self._number(moments.growth, {})
        return min(mpmath.mpf(VARIANCE), 1 / (20 * growth)) if growth > 0 else mpmath.mpf(VARIANCE)

    def _number(self, expr: Expr, at: Mapping[Expr, mpmath.mpf]) -> mpmath.mpf:
        everything = {**self.values, **at}
        value = mpmath.mpmathify(lambdify(list(everything), expr, "mpmath")(*everything.values()))
        return value.real
