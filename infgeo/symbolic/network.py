"""Fully connected networks at infinite width: the recursions for their kernel, tangent kernel and metric."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sympy import Expr, Integer, Symbol, latex

from infgeo import conventions as conv
from infgeo.conventions import Delta, c, d, p, q, s_x, s_y, xy
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput
from infgeo.symbolic.activation import Activation, check_parameter_name, exact, from_expression
from infgeo.symbolic.catalogue import get
from infgeo.symbolic.dual import Dual, dual
from infgeo.symbolic.kernel import Kernel
from infgeo.symbolic.metric import RadialMetric
from infgeo.symbolic.ntk import tangent_metric
from infgeo.symbolic.recursion import metric_program
from infgeo.symbolic.simplify import arcs_as_arcsine, tidy

if TYPE_CHECKING:
    from infgeo.numeric.geometry import NumericGeometry


@dataclass(frozen=True)
class MLP:
    """A fully connected network of infinite width with `depth` hidden layers of one activation.

    Arguments:
        activation: a name of `infgeo.activations.available()`, or a SymPy expression of one symbol.
        depth: number of hidden layers, at least 1. The feature map is the last one, phi(z_j) / sqrt(n).
        weight_std, bias_std: sigma_w > 0 and sigma_b >= 0: symbols (the default), or exact or floating numbers
            (0.1 is taken as 1/10).
        input_scale: None for w ~ N(0, sigma_w^2 I_d) in the first layer, "fan_in" for N(0, sigma_w^2 I_d / d).
        variable: the variable of a user's expression, where it has several symbols and none is called z.

    Raises:
        UnknownActivation, InvalidInput: with the value and the remedy.

    Example:
        >>> import infgeo
        >>> infgeo.MLP("erf").metric.ricci_scalar
        -pi*s*sigma_w**2*(d - 1)*(d + 2)/(2*(2*sigma_b**2 + 1)*sqrt(2*s*sigma_w**2 + 2*sigma_b**2 + 1))
    """

    activation: Activation
    depth: int = 1
    weight_std: Expr = conv.sigma_w
    bias_std: Expr = conv.sigma_b
    input_scale: str | None = None

    def __init__(
        self,
        activation: str | Expr | Activation,
        depth: int = 1,
        weight_std: object = conv.sigma_w,
        bias_std: object = conv.sigma_b,
        input_scale: str | None = None,
        variable: Symbol | None = None,
    ) -> None:
        """Check the arguments and make them exact; see the class."""
        if isinstance(activation, str):
            activation = get(activation)
        elif not isinstance(activation, Activation):
            activation = from_expression(activation, variable)
        if input_scale not in (None, "fan_in"):
            raise InvalidInput(f"input_scale = {input_scale!r} must be None or 'fan_in'")
        object.__setattr__(self, "activation", activation)
        object.__setattr__(self, "depth", checked_depth(depth))
        object.__setattr__(self, "weight_std", checked_std(weight_std, "weight_std", zero_allowed=False))
        object.__setattr__(self, "bias_std", checked_std(bias_std, "bias_std", zero_allowed=True))
        object.__setattr__(self, "input_scale", input_scale)
        for symbol in (self.weight_std.free_symbols | self.bias_std.free_symbols) - {conv.sigma_w, conv.sigma_b}:
            check_parameter_name(symbol.name, "weight_std and bias_std")

    @property
    def dual(self) -> Dual:
        """The dual of the activation: its Gaussian expectations in closed form."""
        return dual(self.activation)

    @property
    def input_variance(self) -> Expr:
        """The variance of a first-layer weight."""
        return self.weight_std**2 / d if self.input_scale == "fan_in" else self.weight_std**2

    @cached_property
    def kernel(self) -> Kernel:
        """The NNGP kernel k^L; its metric is `metric`."""
        return NetworkKernel(self._recursion(tangent=False), self)

    @cached_property
    def ntk(self) -> Kernel:
        """The neural tangent kernel k^L + k'^L Theta^L (Jacot et al. 2018), all layers in NTK parametrisation."""
        return TangentKernel(self._recursion(tangent=True), self)

    @cached_property
    def metric(self) -> RadialMetric:
        """The metric of the NNGP kernel by the moment recursion; raises MetricDoesNotExist for a jump."""
        program = metric_program([self.dual] * self.depth, self.weight_std**2, self.bias_std**2, self.input_variance)
        if self.depth == 1:
            A, B = (tidy(program.explicit(name)) for name in ("A", "B"))
        else:
            A, B = (program.explicit(name) for name in ("A", "B"))
        return RadialMetric(A, B, program)

    def numeric(
        self,
        weight_std: float | None = None,
        bias_std: float | None = None,
        backend: str = "numpy",
        **parameters: float,
    ) -> NumericGeometry:
        """Return numeric functions of the geometry: `infgeo.numeric.geometry.NumericGeometry`.

        Arguments:
            weight_std, bias_std: values for scales left symbolic; by default those of arXiv 2301.11375, 1 and 1.
            backend: "numpy", "torch" or "mpmath".
            parameters: values of the activation's own parameters, by name.
        """
        from infgeo.numeric.geometry import numeric

        return numeric(self, weight_std=weight_std, bias_std=bias_std, backend=backend, parameters=parameters)

    def _recursion(self, tangent: bool) -> Expr:
        """Return k^L, or the tangent kernel, as one expression of |x|^2, |y|^2 and x.y."""
        weight, bias = self.weight_std**2, self.bias_std**2
        kernel = published_kernel(self.dual.kernel)
        derivative = published_kernel(self.dual.derivative_kernel) if tangent else kernel
        at = {
            p: bias + self.input_variance * s_x,
            q: bias + self.input_variance * s_y,
            c: bias + self.input_variance * xy,
        }
        theta = at[c]
        for layer in range(1, self.depth + 1):
            k = kernel.xreplace(at)
            readout = Integer(1) if layer == self.depth else weight
            offset = Integer(0) if layer == self.depth else bias
            if tangent:
                theta = offset + readout * (k + derivative.xreplace(at) * theta)
            if layer < self.depth:
                m = self.dual.m
                at = {
                    p: bias + weight * m.xreplace({v: at[p]}),
                    q: bias + weight * m.xreplace({v: at[q]}),
                    c: bias + weight * k,
                }
        return theta if tangent else k

    def __str__(self) -> str:
        """Return the architecture in one line."""
        layers = "1 hidden layer" if self.depth == 1 else f"{self.depth} hidden layers"
        scale = f", input_scale={self.input_scale!r}" if self.input_scale else ""
        return f"MLP({self.activation}; {layers}, weight_std={self.weight_std}, bias_std={self.bias_std}{scale})"

    def _repr_latex_(self) -> str:
        return (
            rf"$\displaystyle \phi(z) = {latex(self.activation.expr)},\; L = {self.depth},\;"
            rf" \sigma_w = {latex(self.weight_std)},\; \sigma_b = {latex(self.bias_std)}$"
        )


@dataclass(frozen=True)
class NetworkKernel(Kernel):
    """The NNGP kernel of `network`."""

    network: MLP

    @cached_property
    def metric(self) -> RadialMetric:
        """The induced metric, differentiated under the expectation (valid for kinked activations too)."""
        return self.network.metric


@dataclass(frozen=True)
class TangentKernel(Kernel):
    """The neural tangent kernel of `network`."""

    network: MLP

    @cached_property
    def metric(self) -> RadialMetric:
        """The metric induced by the tangent kernel; raises MetricDoesNotExist for activations with a kink."""
        network = self.network
        return tangent_metric(
            [network.dual] * network.depth, network.weight_std**2, network.bias_std**2, network.input_variance
        )


def published_kernel(expr: Expr) -> Expr:
    """Return a dual kernel without Delta, arcs written as arcsines."""
    return arcs_as_arcsine(tidy(expr.subs(Delta, p * q - c**2)))


def checked_depth(depth: object) -> int:
    """Return `depth` if it is an integer >= 1, else raise InvalidInput."""
    if isinstance(depth, bool) or not hasattr(depth, "__index__") or depth.__index__() < 1:
        raise InvalidInput(f"depth = {depth!r} must be an integer >= 1, the number of hidden layers")
    return int(depth.__index__())


def checked_std(value: object, name: str, zero_allowed: bool) -> Expr:
    """Return a standard deviation as an exact expression; a number must be finite and positive (or zero)."""
    result = exact(value, name)
    bound = ">= 0" if zero_allowed else "> 0"
    if result.is_number:
        valid = result.is_real and result.is_finite and (result.is_nonnegative if zero_allowed else result.is_positive)
        if not valid:
            raise InvalidInput(f"{name} = {value} must be a finite number {bound}")
    elif result.is_real is False or result.is_negative:
        raise InvalidInput(f"{name} = {value} must be real and {bound}")
    return result
