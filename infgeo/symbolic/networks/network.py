"""Fully connected networks at infinite width: the recursions for their kernel, tangent kernel and metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from sympy import Expr, Symbol, erf, erfc, latex, nan, oo, true, zoo
from sympy.logic.boolalg import Boolean

from infgeo import conventions as conv
from infgeo import shorthand
from infgeo.arguments import one_of
from infgeo.conventions import s_x
from infgeo.errors import InvalidInput
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.conditions import in_words
from infgeo.symbolic.algebra.graph import substituted
from infgeo.symbolic.algebra.limits import FACTOR_LIMIT
from infgeo.symbolic.algebra.naming import assigned, check_distinct
from infgeo.symbolic.algebra.printed_kernels import roots_without_squares
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.algebra.simplify import longer, tidy
from infgeo.symbolic.expectations.dual import Dual, dual
from infgeo.symbolic.geometry.metric import RadialMetric
from infgeo.symbolic.kernels.kernel import Kernel
from infgeo.symbolic.kernels.radial import Radial
from infgeo.symbolic.networks.existence import degenerate_at_origin, domain_of, require_metric, require_radius
from infgeo.symbolic.networks.layers import Layer, Weighted, build_layers, parameters_of
from infgeo.symbolic.networks.pair import kernel_program
from infgeo.symbolic.networks.propagate import propagate
from infgeo.symbolic.networks.recursion import metric_program
from infgeo.symbolic.networks.tangent import Tangent

if TYPE_CHECKING:
    from infgeo import NumericGeometry


@dataclass(frozen=True, init=False)
class MLP:
    """A fully connected network of infinite width with `depth` hidden layers.

    Args:
        activation: a name of `infgeo.activations.available()`, text such as "erf(3*z) + z/5" in the variable z (see
            `infgeo.symbolic.activations.parsing.parse`), a SymPy expression of one symbol, an activation of torch.nn
            such as `nn.ELU(alpha=0.5)`, or a list of them, one for each layer, in which `infgeo.layers.Residual`,
            `RMSNorm` and `LayerNorm` may stand too.
        depth: number of hidden layers with weights, at least 1; a list has its own. The feature map is the last one,
            phi(z_j) / sqrt(n).
        weight_std, bias_std: sigma_w > 0 and sigma_b >= 0: symbols (the default), or exact or floating numbers
            (0.1 is taken as 1/10), or a list with one for each layer that has weights.
        input_scale: None for w ~ N(0, sigma_w^2 I_d) in the first layer, "fan_in" for N(0, sigma_w^2 I_d / d).
        variable: the variable of a user's expression, where it has several symbols and none is called z.

    Raises:
        UnknownActivation, InvalidInput: with the value and the remedy.

    Example:
        >>> import infgeo
        >>> infgeo.MLP("erf").metric.ricci_scalar
        -pi*s*sigma_w**2*(d - 1)*(d + 2)/(2*(2*sigma_b**2 + 1)*sqrt(2*s*sigma_w**2 + 2*sigma_b**2 + 1))
        >>> infgeo.MLP(["erf", "relu"], weight_std=[1, 2], bias_std=0).metric.A
        4/(pi*sqrt(2*s + 1))
        >>> infgeo.MLP("z**2/2", weight_std=1, bias_std=0).kernel.expr
        s_x*s_y/4 + xy**2/2
    """

    layers: tuple[Layer, ...]
    input_scale: str | None = None
    dimension: Expr = field(default=conv.d, repr=False)

    def __init__(
        self,
        activation: object,
        depth: int | None = None,
        weight_std: object = conv.sigma_w,
        bias_std: object = conv.sigma_b,
        input_scale: str | None = None,
        variable: Symbol | None = None,
    ) -> None:
        """Check the arguments and make them exact; see the class."""
        if input_scale is not None:
            input_scale = one_of(input_scale, "input_scale", ("fan_in",))
        layers = build_layers(activation, depth, weight_std, bias_std, variable, input_scale == "fan_in")
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "input_scale", input_scale)
        object.__setattr__(self, "dimension", conv.d)
        check_distinct(self.parameters, "this network")

    def at(self, values: Mapping[Any, Any] | None = None, /, **named: object) -> MLP:
        """Return the network at values of its scales, of its activations' parameters and of the input dimension.

        Args:
            values: symbols, or names, -> values, for what cannot be written as a keyword.
            named: names -> values: exact numbers, floats (0.1 is taken as 1/10) or expressions.

        Raises InvalidInput for a name that the network does not have, and a value outside the domain of its symbol.

        Example:
            >>> MLP("erf").at(d=2, sigma_w=1, sigma_b=0).metric.ricci_scalar
            -2*pi*s/sqrt(2*s + 1)
        """
        known = {*self.parameters, *self.dimension.free_symbols}
        return self.substituted(assigned(values, named, known, "this network"))

    def substituted(self, values: Mapping[Symbol, Expr]) -> MLP:
        """Return the network with expressions in the place of symbols; see `at`."""
        result = MLP([layer.substituted(values) for layer in self.layers], input_scale=self.input_scale)
        object.__setattr__(result, "dimension", substituted(self.dimension, values))
        return result

    @property
    def _dimension(self) -> dict[Symbol, Expr]:
        """What is substituted into formulas of symbolic dimension."""
        return {} if self.dimension == conv.d else {conv.d: self.dimension}

    @property
    def with_weights(self) -> tuple[Weighted, ...]:
        """The layers that have weights."""
        return tuple(layer for layer in self.layers if isinstance(layer, Weighted))

    @property
    def depth(self) -> int:
        """The number of hidden layers with weights."""
        return len(self.with_weights)

    @property
    def activation(self) -> Activation:
        """The activation that all layers share; raises InvalidInput where they differ."""
        return self._shared("activation")

    @property
    def weight_std(self) -> Expr:
        """The sigma_w that all layers share; raises InvalidInput where they differ."""
        return self._shared("weight_std")

    @property
    def bias_std(self) -> Expr:
        """The sigma_b that all layers share; raises InvalidInput where they differ."""
        return self._shared("bias_std")

    def _shared(self, name: str) -> Any:
        values = {getattr(layer, name) for layer in self.with_weights}
        if len(values) > 1:
            raise InvalidInput(f"the layers of this network have different {name}: read it from mlp.layers")
        return values.pop()

    @property
    def is_plain(self) -> bool:
        """Whether all layers are equal dense layers."""
        return len(set(self.layers)) == 1

    @property
    def dual(self) -> Dual:
        """The dual of the activation that all layers share: its Gaussian expectations in closed form."""
        return dual(self.activation)

    @property
    def parameters(self) -> tuple[Symbol, ...]:
        """The symbols that need values before anything is a number: those of the scales, those of the activations."""
        scales, own = parameters_of(self.layers)
        return (*scales, *own)

    @cached_property
    def kernel(self) -> Kernel:
        """The NNGP kernel k^L; its metric is `metric`."""
        return NetworkKernel(roots_without_squares(self.kernel_program.explicit("kernel")), self)

    @cached_property
    def kernel_program(self) -> Program:
        """The NNGP kernel with named values, as long as the network is deep; its output is called "kernel".

        Of layer l, p_l and q_l are the variances of the preactivations at x and y, and c_l is their covariance.

        Example:
            >>> print(MLP("square", depth=2, bias_std=0).kernel_program)
            kernel = 2*c_2**2 + p_2*q_2
              where p_1 = s_x*sigma_w**2
                    q_1 = s_y*sigma_w**2
                    c_1 = sigma_w**2*xy
                    p_2 = 3*p_1**2*sigma_w**2
                    q_2 = 3*q_1**2*sigma_w**2
                    c_2 = sigma_w**2*(2*c_1**2 + p_1*q_1)
        """
        return kernel_program(self.layers, tangent=False).substituted(self._dimension)

    @cached_property
    def ntk_program(self) -> Program:
        """The neural tangent kernel with named values, those of `kernel_program` and Theta_l; its output is "ntk".

        Theta_l is the tangent kernel of the preactivations of layer l; that of the first layer is c_1.
        """
        return kernel_program(self.layers, tangent=True).substituted(self._dimension)

    @cached_property
    def ntk(self) -> Kernel:
        """The neural tangent kernel k^L + k'^L Theta^L (Jacot et al. 2018), all layers in NTK parametrisation."""
        return TangentKernel(roots_without_squares(self.ntk_program.explicit("ntk")), self)

    @cached_property
    def metric_program(self) -> Program:
        """The program of `metric`, as long as the network is deep, where A and B written out double with each layer."""
        require_metric(self.layers)
        return metric_program(self.layers).substituted(self._dimension)

    @cached_property
    def metric(self) -> RadialMetric:
        """The metric of the NNGP kernel by the moment recursion.

        Raises MetricDoesNotExist for a jump, with the leading order of the distance in its attribute `divergence`;
        SingularMetric for features that do not depend on |x|.
        """
        program = self.metric_program
        A, B = (program.explicit(name) for name in ("A", "B"))
        require_radius(self.layers, A, B)
        at_origin = degenerate_at_origin(self.layers)
        return RadialMetric(A, B, program, self.domain, at_origin, dimension=self.dimension)

    @cached_property
    def domain(self) -> Boolean:
        """The condition on s = |x|^2 and the parameters under which every expectation is finite; mostly true.

        Example:
            >>> from sympy import Symbol, exp
            >>> MLP(exp(Symbol("z") ** 2)).domain
            s*sigma_w**2 + sigma_b**2 < 1/4
        """
        return domain_of(self.layers).subs(self._dimension)

    def numeric(
        self,
        /,
        weight_std: object = None,
        bias_std: object = None,
        backend: str = "numpy",
        method: str | None = None,
        parameters: Mapping[str, object] | None = None,
        **named: object,
    ) -> NumericGeometry:
        """Return numeric functions of the geometry: `infgeo.NumericGeometry`.

        Args:
            weight_std, bias_std: values for scales left symbolic; by default those of arXiv 2301.11375, 1 and 1.
                Several weight_std, one for each coordinate, are those of a first dense layer: w_i ~ N(0,
                weight_std_i^2), with fan_in over d (relevance determination; Neal 1996). Hidden layers that share the
                symbol have 1, or give them one of their own: `MLP(["erf", "erf"], weight_std=[sigma_w, tau])`. In NTK
                parametrisation w_i = weight_std_i omega_i, and omega_i is trained. Points are multiplied by them, and
                `kernel_distance` is as accurate as the differences of these products.
            backend: "numpy", "torch", "jax" or "mpmath".
            method: by default the first that all activations have; asked for, NoClosedForm says why there is none.
                "closed_form"; "mixture", for what is linear in tanh(a z) and log(cosh(a z)), which are sums over error
                functions to a stated error; "quadrature", for any activation: slow, to a relative tolerance
                that each evaluation verifies (`tolerance`). `kind` says which it is.
            parameters: values of the activation's own parameters, by name.
            named: the same, as keywords.
        """
        options = {"weight_std": weight_std, "bias_std": bias_std, "backend": backend, "method": method}
        return shorthand.numeric(self, options, parameters, named)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        scale = f", input_scale={self.input_scale!r}" if self.input_scale else ""
        if not self.is_plain:
            return f"MLP([{', '.join(map(str, self.layers))}]{scale})"
        layers = "1 hidden layer" if self.depth == 1 else f"{self.depth} hidden layers"
        return f"MLP({self.activation}; {layers}, weight_std={self.weight_std}, bias_std={self.bias_std}{scale})"

    def _repr_latex_(self) -> str:
        if not self.is_plain:
            return "$\\displaystyle " + r" \to ".join(rf"\text{{{layer.kind}}}" for layer in self.layers) + "$"
        scales = [(conv.sigma_w, self.weight_std), (conv.sigma_b, self.bias_std)]
        parts = [rf"\phi(z) = {latex(self.activation.expr)}", f"L = {self.depth}"]
        parts += [f"{latex(symbol)} = {latex(value)}" for symbol, value in scales if value != symbol]
        return r"$\displaystyle " + r",\; ".join(parts) + "$"


@dataclass(frozen=True)
class _OfNetwork(Kernel):
    """A kernel of `network`, its attribute `_name`."""

    network: MLP = field(repr=False)
    _name: ClassVar[str]

    def _repr_latex_(self) -> str:
        program: Program = getattr(self.network, f"{self._name}_program")
        return program._repr_latex_() if longer(self.expr, FACTOR_LIMIT) else super()._repr_latex_()

    def _parameters(self) -> set[Symbol]:
        return {*self.network.parameters, *self.network.dimension.free_symbols}

    def _substituted(self, found: dict[Symbol, Expr]) -> Kernel:
        return getattr(self.network.substituted(found), self._name)

    @property
    def assumptions(self) -> str:
        """What the symbols stand for, and where the expectations are finite at x (the same holds at y)."""
        stated, domain = super().assumptions, domain_of(self.network.layers, s_x)
        return stated if domain == true else f"{stated}; finite where {in_words(domain)}, and so for y"

    @cached_property
    def diagonal(self) -> Expr:
        """The value k(x, x), an expression of s = |x|^2, of the moments where the kernel has 0/0 at y = x."""
        if not self.expr.has(BivariateNormal, erf, erfc):
            return Kernel.diagonal.func(self)  # type: ignore[attr-defined]
        value = tidy(self._state().f).xreplace(self.network._dimension)
        return oo if value.has(nan, zoo) else value  # the tangent kernel where phi jumps

    def _state(self) -> Radial:
        """Return what the kernel does to lengths."""
        raise NotImplementedError


@dataclass(frozen=True)
class NetworkKernel(_OfNetwork):
    """The NNGP kernel of `network`."""

    _name = "kernel"

    def _state(self) -> Radial:
        return propagate(self.network.layers, Radial())

    @cached_property
    def metric(self) -> RadialMetric:
        """The induced metric, differentiated under the expectation (valid for kinked activations too)."""
        return self.network.metric


@dataclass(frozen=True)
class TangentKernel(_OfNetwork):
    """The neural tangent kernel of `network`."""

    _name, _symbol = "ntk", r"\Theta"

    def _state(self) -> Radial:
        return propagate(self.network.layers, Tangent()).total

    @cached_property
    def metric(self) -> RadialMetric:
        """The metric induced by the tangent kernel, differentiated under the expectations (see `networks.tangent`).

        Raises MetricDoesNotExist where E[phi'^2] (a jump) or E[phi''^2] (a kink) is infinite; SingularMetric for
        features that do not depend on |x|.
        """
        layers = self.network.layers
        require_metric(layers, tangent=True)
        state = self._state()
        A, B = tidy(state.A), tidy(state.B)
        require_radius(layers, A, B)
        # E[phi'^2] vanishes at x = 0 with both metrics.
        metric = RadialMetric.from_functions(A, B, domain_of(layers), degenerate_at_origin(layers))
        return metric.at(self.network._dimension)
