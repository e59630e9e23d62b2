"""The maps that a layer iterates, as functions of numbers: in closed form, or by the numeric functions of a network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
from sympy import lambdify

from infgeo.conventions import Delta, c, p, q
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.shorthand import loaded
from infgeo.symbolic.networks.network import MLP

_WIDE, _PROMISED = (-12.0, 12.0), (-6.0, 6.0)


@dataclass(frozen=True)
class FunctionsOfDepth:
    """E[phi^2] and others of an activation as functions of numbers, and the scales.

    Args:
        weight, bias: sigma_w^2 and sigma_b^2.
        m, m_prime, m0: of the variance.
        kernel, derivative_kernel: E[phi(u) phi(v)] and E[phi'(u) phi'(v)] of the variance and the covariance.
        number: what makes their argument of a number.
        digits: how many are right.
        lowest, highest: powers of ten between which variances lie.
    """

    weight: Any
    bias: Any
    m: Callable
    m_prime: Callable
    m0: Callable
    kernel: Callable
    derivative_kernel: Callable
    number: Callable
    digits: int
    lowest: float
    highest: float

    def gap(self, variance: Any) -> Any:
        """Return the variance after a layer, less that before."""
        return self.bias + self.weight * self.m(variance) - variance

    def slope(self, variance: Any) -> Any:
        """Return the derivative of the variance after a layer by that before."""
        return self.weight * self.m_prime(self.number(variance))

    def chi(self, variance: Any) -> Any:
        """Return the factor of the metric across x."""
        return self.weight * self.m0(self.number(variance))

    def correlation(self, variance: Any, correlation: Any) -> Any:
        """Return the correlation after a layer, at a fixed point of the variance."""
        return (self.bias + self.weight * self.kernel(variance, correlation * variance)) / variance

    def correlation_slope(self, variance: Any, correlation: Any) -> Any:
        """Return its derivative by the correlation before."""
        return self.weight * self.derivative_kernel(variance, correlation * variance)


def functions_of_depth(mlp: MLP) -> FunctionsOfDepth:
    """Return the functions of a network of equal layers; raises InvalidInput where scales have no values."""
    if free := sorted(symbol.name for symbol in mlp.parameters):
        raise InvalidInput(
            f"the fixed points of {mlp.activation.name} have no closed form: give numbers for {', '.join(free)}"
        )
    scales = mlp.weight_std**2, mlp.bias_std**2
    try:
        law = mlp.dual
        m, m_prime, m0 = (lambdify(v, part, "mpmath") for part in (law.m, law.m_prime, law.m0))
        # Beyond the domain of activations that grow like exp(a z^2) there is no variance.
        bounded = law.growth is not None and law.growth.is_positive
        highest = float(mpmath.log10(1 / (4 * mpmath.mpf(law.growth)))) - 1e-9 if bounded else _WIDE[1]
        weight, bias = (mpmath.mpf(str(part.evalf(40))) for part in scales)
        functions = m, m_prime, m0, _of_pairs(lambda: law.kernel), _of_pairs(lambda: law.derivative_kernel)
        return FunctionsOfDepth(weight, bias, *functions, mpmath.mpf, 30, _WIDE[0], highest)
    except NoClosedForm:
        m, m_prime, m0, k, k_prime = loaded("infgeo.numeric.moment_functions", "moment_functions")(mlp)
        weight, bias = map(float, scales)
        return FunctionsOfDepth(weight, bias, m, m_prime, m0, k, k_prime, float, 9, *_PROMISED)


def _of_pairs(derive: Callable) -> Callable:
    """Return a kernel as a function of the variance and the covariance, derived when it is called."""
    function = cache(lambda: lambdify((p, q, c, Delta), derive(), "mpmath"))

    def kernel(v: Any, covariance: Any) -> Any:
        Delta = max(v**2 - covariance**2, mpmath.mpf(10) ** -60 * v**2)  # some forms are 0/0 at opposite inputs
        return mpmath.re(function()(v, v, covariance, Delta))

    return kernel


def sign_changes(function: Callable[[mpmath.mpf], mpmath.mpf], low: float, high: float) -> list[mpmath.mpf]:
    """Return the zeros at which `function` changes sign between 10^low and 10^high, by a scan and bisection."""
    with mpmath.workdps(40):
        count = 400
        grid = [mpmath.mpf(10) ** (low + (high - low) * mpmath.mpf(i) / count) for i in range(count + 1)]
        values = [mpmath.re(function(x)) for x in grid]
        zeros = [x for x, y in zip(grid, values, strict=True) if y == 0]
        for i in range(count):
            if values[i] * values[i + 1] < 0:
                between = grid[i : i + 2]  # in doubles the last digits are no zero
                zeros.append(
                    mpmath.findroot(lambda x: mpmath.re(function(x)), between, solver="anderson", verify=False)
                )
        return sorted(zeros)
