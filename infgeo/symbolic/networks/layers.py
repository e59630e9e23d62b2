"""The layers that a network is made of: values that act on the squared norm of rotation-invariant features.

Features h of width n, with kernel k(x, y) = h(x).h(y)/n, pass through

    Dense     h <- phi(W h + b)
    Residual  h <- skip h + branch V phi(W h + b)     (Yang & Schoenholz 2017, full residual network)
    RMSNorm   h <- h / sqrt(mean_j h_j^2 + epsilon)   (Zhang & Sennrich 2019; torch.nn.RMSNorm without gain)
    LayerNorm h <- RMSNorm of h - mean_j h_j          (Ba, Kiros & Hinton 2016; torch.nn.LayerNorm without gain)

with W ~ N(0, weight_std^2 / n), b ~ N(0, bias_std^2) and V ~ N(0, 1/n). Each maps a kernel that depends on |x|^2, |y|^2
and x.y alone to another, so that the metric stays spherically symmetric. A layer acts on a state of the features (see
`infgeo.symbolic.networks.propagate`), to which it says what it is by `apply`. Its `width`, which the network fills in,
is d for a normalisation of the input and for weights on it of variance weight_std^2 / d, and else 1: squared norms of
hidden features are means over the units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from sympy import Expr, Integer, Symbol
from sympy.core.function import AppliedUndef

from infgeo import conventions as conv
from infgeo.arguments import MAX_DEPTH, checked_depth, instance, shown
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.symbolic.activations.activation import Activation, from_expression
from infgeo.symbolic.activations.catalogue import available, get
from infgeo.symbolic.activations.parsing import MAX_LENGTH, parse
from infgeo.symbolic.activations.torch_modules import from_torch_module, is_torch_module
from infgeo.symbolic.algebra.naming import SCALES, by_name
from infgeo.symbolic.expectations.dual import Dual, dual
from infgeo.symbolic.networks.propagate import S

ONE = Integer(1)


@dataclass(frozen=True)
class _Layer:
    """What all layers have: their `width`, which the network fills in, and values for symbols."""

    kind: ClassVar[str]  # in the LaTeX of networks
    width: Expr = field(default=ONE, compare=False, repr=False, kw_only=True)

    @property
    def scales(self) -> dict[str, Expr]:
        """The expressions of the layer by the names of its arguments, its width left out."""
        found = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "width"}
        return {name: value for name, value in found.items() if isinstance(value, Expr)}

    def substituted(self, values: Mapping[Symbol, Expr]) -> Self:
        """Return the layer with expressions in the place of symbols."""
        new: dict[str, Any] = {name: value.xreplace(values) for name, value in self.scales.items()}
        activation = getattr(self, "activation", None)
        if activation is not None and set(values) & set(activation.parameters):
            new["activation"] = from_expression(activation.expr.xreplace(values), conv.z)
        return replace(self, **new, width=self.width.xreplace(values))

    def __str__(self) -> str:
        arguments = [f"{name}={value}" for name, value in self.scales.items()]
        activation = [str(self.activation.expr)] if isinstance(self, Weighted) else []
        return f"{type(self).__name__}({', '.join([*activation, *arguments])})"


@dataclass(frozen=True)
class Weighted(_Layer):
    """A layer with weights W ~ N(0, weight_std^2 / n), biases b ~ N(0, bias_std^2) and an activation."""

    activation: Any
    weight_std: Any = None
    bias_std: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation))
        for name, zero_allowed in (("weight_std", False), ("bias_std", True)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked_std(value, name, zero_allowed))

    @property
    def dual(self) -> Dual:
        """The dual of the activation: its Gaussian expectations in closed form."""
        return dual(self.activation)

    @property
    def variances(self) -> tuple[Expr, Expr]:
        """The variances E[W_ij^2], times the width of the input, and E[b_i^2]."""
        return self.weight_std**2 / self.width, self.bias_std**2


@dataclass(frozen=True)
class Dense(Weighted):
    """A fully connected layer, h <- phi(W h + b), with W ~ N(0, weight_std^2 / n) and b ~ N(0, bias_std^2).

    Args:
        activation: a name of `infgeo.activations.available()`, text such as "erf(3*z) + z/5", or a SymPy expression of
            one symbol.
        weight_std, bias_std: None for the scales of the network.
    """

    kind: ClassVar[str] = "dense"

    def apply(self, state: S) -> S:
        """Return the state after the layer (see `infgeo.symbolic.networks.propagate`)."""
        return state.affine(*self.variances).activate(self.dual)


@dataclass(frozen=True)
class Residual(Weighted):
    """A residual block, h <- skip h + branch V phi(W h + b), with V ~ N(0, 1/n) and W, b as for `Dense`.

    The kernel is k <- skip^2 k + branch^2 E[phi(u) phi(v)]: V is drawn anew, so that the two summands are uncorrelated.
    A layer with weights must stand before it: the input has d coordinates, the block n.

    Args:
        activation, weight_std, bias_std: as for `Dense`.
        skip, branch: factors >= 0 of the identity and of the branch, by default 1.
    """

    kind: ClassVar[str] = "residual"
    skip: Any = 1
    branch: Any = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("skip", "branch"):
            object.__setattr__(self, name, checked_std(getattr(self, name), name, zero_allowed=True))

    def apply(self, state: S) -> S:
        """Return the state after the block (see `infgeo.symbolic.networks.propagate`)."""
        branch = state.affine(*self.variances).activate(self.dual).affine(self.branch**2, Integer(0))
        return state.add(branch, self.skip**2)


@dataclass(frozen=True)
class RMSNorm(_Layer):
    """The root mean square normalisation h <- h / sqrt(mean_j h_j^2 + epsilon), without a learned gain.

    On features k(x, y) <- k(x, y) / sqrt((k(x, x) + epsilon) (k(y, y) + epsilon)). As the first layer it acts on the
    input, whose mean square is |x|^2 / d. With epsilon = 0 there nothing depends on |x| any more: the metric of such a
    network is degenerate, and asking for it raises SingularMetric.

    Args:
        epsilon: >= 0, by default 0.
    """

    kind: ClassVar[str] = "rms_norm"
    epsilon: Any = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", checked_std(self.epsilon, "epsilon", zero_allowed=True))

    def apply(self, state: S) -> S:
        """Return the state after the normalisation (see `infgeo.symbolic.networks.propagate`)."""
        return state.over_norm(self.epsilon, self.width)


@dataclass(frozen=True)
class LayerNorm(RMSNorm):
    """Layer normalisation h <- (h - mean_j h_j) / sqrt(var_j h_j + epsilon), without a learned gain and bias.

    The mean over many units is E[phi], a function of |x| alone: the kernel k(x, y) - E[phi(u)] E[phi(v)], which is then
    normalised, is rotation-invariant. The mean of the d coordinates of the input is not, so that a layer with weights
    must stand before it.

    Args:
        epsilon: >= 0, by default 0.
    """

    kind: ClassVar[str] = "layer_norm"

    def apply(self, state: S) -> S:
        """Return the state after the normalisation (see `infgeo.symbolic.networks.propagate`)."""
        return state.centred().over_norm(self.epsilon, self.width)


Layer = Dense | Residual | RMSNorm


def as_activation(activation: object, variable: Symbol | None = None) -> Activation:
    """Return an activation from its name, text (see `parsing.parse`), SymPy expression, torch module or itself.

    Text is a name of the catalogue, or one wrongly spelled, if it is an identifier other than z, or is one with spaces.
    """
    if isinstance(activation, Activation):
        return activation
    if variable is not None:
        instance(variable, "variable", Symbol, "the SymPy symbol that is the variable, or None")
    if is_torch_module(activation):
        return from_torch_module(activation)
    if not isinstance(activation, str):
        return from_expression(activation, variable)
    activation = str.__str__(activation)  # of a subclass the text itself, whatever its methods say
    spelled = activation.strip().lower().replace("-", "_").replace(" ", "_")
    if spelled in available() or (activation != "z" and activation.isidentifier() and len(activation) <= MAX_LENGTH):
        return get(activation)
    expr = parse(activation)
    if variable is not None and variable.name != "z" and variable.name in map(str, expr.free_symbols):
        raise InvalidInput(f"activation {activation!r}: the variable of text is z, and {variable} a parameter")
    if expr.free_symbols and conv.z not in expr.free_symbols:
        meant = expr.xreplace({min(expr.free_symbols, key=str): conv.z})
        raise InvalidInput(f"activation {activation!r} does not contain the variable z: write {str(meant)!r}")
    return from_expression(expr, conv.z)


def build_layers(
    activation: object, depth: int | None, weight_std: object, bias_std: object, variable: Symbol | None, fan_in: bool
) -> tuple[Layer, ...]:
    """Return the layers of a network from the arguments of `MLP`, scales and widths filled in; raises InvalidInput.

    With `fan_in` the variance of weights on the input is divided by d.
    """
    if isinstance(activation, (list, tuple)):
        if len(activation) > 2 * MAX_DEPTH:
            raise InvalidInput(f"activation lists {len(activation)} layers: a network has at most {MAX_DEPTH} of them")
        layers = [item if isinstance(item, Layer) else Dense(as_activation(item, variable)) for item in activation]
        count = sum(isinstance(layer, Weighted) for layer in layers)
        if depth is not None and checked_depth(depth) != count:
            raise InvalidInput(
                f"depth = {depth} with {count} layers that have weights: drop depth, or give one activation"
            )
    else:
        count = checked_depth(1 if depth is None else depth)
        layers = [activation if isinstance(activation, Layer) else Dense(as_activation(activation, variable))] * count
    with_weights = [layer for layer in layers if isinstance(layer, Weighted)]
    if not with_weights or not isinstance(with_weights[0], Dense):
        raise InvalidInput(
            f"the layers {', '.join(map(str, layers)) or '()'} have no Dense layer before the first residual block:"
            " begin with an activation, for example 'identity', which maps the d inputs to n features"
        )
    if any(isinstance(layer, LayerNorm) for layer in layers[: layers.index(with_weights[0])]):
        raise InvalidInput(
            "LayerNorm of the input subtracts the mean of its d coordinates, so that the kernel would not be"
            " rotation-invariant: begin with a layer with weights, or take RMSNorm there"
        )
    scales = zip(_per_layer(weight_std, "weight_std", count), _per_layer(bias_std, "bias_std", count), strict=True)
    filled: list[Layer] = []
    weighted = False
    for layer in layers:
        if isinstance(layer, Weighted):
            weight, bias = next(scales)
            layer = replace(
                layer,
                weight_std=weight if layer.weight_std is None else layer.weight_std,
                bias_std=bias if layer.bias_std is None else layer.bias_std,
                width=conv.d if fan_in and not weighted else ONE,
            )
            weighted = True
        else:
            layer = replace(layer, width=ONE if filled else conv.d)
        filled.append(layer)
    return tuple(filled)


def _per_layer(value: object, name: str, count: int) -> list[object]:
    if not isinstance(value, (list, tuple)):
        value = [value] * count
    if any(one is None for one in value):
        raise InvalidInput(f"{name} is None; leave it out for a symbol, or pass a number or an expression")
    if len(value) != count:
        raise InvalidInput(
            f"{name} has {len(value)} values for {count} layers with weights: give one value, or {count}"
        )
    return list(value)


def checked_std(value: object, name: str, zero_allowed: bool) -> Expr:
    """Return a scale as an exact expression; a number must be finite and positive (or zero)."""
    result = by_name(exact(value, name), SCALES, name)
    bound = ">= 0" if zero_allowed else "> 0"
    if undefined := result.atoms(AppliedUndef):
        raise InvalidInput(f"{name} = {shown(value)} contains the undefined function {min(map(str, undefined))}")
    if result.is_number:
        valid = result.is_real and result.is_finite and (result.is_nonnegative if zero_allowed else result.is_positive)
        if not valid:
            raise InvalidInput(f"{name} = {shown(value)} must be a finite number {bound}")
    elif result.is_real is False or result.is_negative:
        raise InvalidInput(f"{name} = {shown(value)} must be real and {bound}")
    return result


def parameters_of(layers: Sequence[Layer]) -> tuple[tuple[Symbol, ...], tuple[Symbol, ...]]:
    """Return the free symbols of the scales (sigma_w first) and those of the activations, each sorted by name."""
    scales = {symbol for layer in layers for value in layer.scales.values() for symbol in value.free_symbols}
    own = {symbol for layer in layers if isinstance(layer, Weighted) for symbol in layer.activation.parameters}
    ordered = tuple(sorted(scales - own, key=lambda symbol: symbol.name, reverse=True))
    return ordered, tuple(sorted(own, key=lambda symbol: symbol.name))
