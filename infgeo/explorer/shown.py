"""The activations of the page, each with the law of its expectations."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from sympy import Expr, Rational

from infgeo.errors import MetricDoesNotExist, NoClosedForm
from infgeo.numeric.source.law_of_nodes import DualOfNodes, dual_of_nodes
from infgeo.numeric.source.mixture import Mixture, mixture_of
from infgeo.symbolic.expectations.dual import Dual, dual
from infgeo.symbolic.networks.network import MLP


@dataclass(frozen=True)
class Shown:
    """An activation: its name or text for `MLP`, values of its parameters, and a name for readers."""

    text: str
    values: dict[str, Rational] = field(default_factory=dict)
    label: str = ""

    @cached_property
    def network(self) -> MLP:
        """One layer of it, with symbols for the scales."""
        return MLP(self.text).at(self.values)

    @cached_property
    def law(self) -> Dual | DualOfNodes:
        """Its expectations; for a mixture, those of a pair of nodes."""
        try:
            return dual(self.network.activation)
        except NoClosedForm:
            return dual_of_nodes(self.mixture)

    @cached_property
    def mixture(self) -> Mixture:
        """The mixture of error functions that stands for it."""
        return mixture_of(self.network.activation)

    @property
    def is_mixture(self) -> bool:
        """Whether its expectations are sums over pairs of nodes."""
        return isinstance(self.law, DualOfNodes)

    @cached_property
    def no_metric(self) -> str:
        """The reason why there is no metric, or nothing."""
        try:
            self.law.m0  # noqa: B018
        except MetricDoesNotExist as error:
            return str(error)
        return ""

    @property
    def python(self) -> str:
        """The Python line, with places in braces for what the page knows."""
        network = f'infgeo.MLP("{self.text}", depth={{depth}}, weight_std={{sigma_w}}, bias_std={{sigma_b}})'
        if self.values:
            network += f".at({', '.join(f'{name}={float(value)}' for name, value in self.values.items())})"
        member = "kernel" if self.no_metric else "numeric()" if self.is_mixture else "metric.at(d={d})"
        return f"import infgeo; {'g' if member[0] == 'm' else 'geo'} = {network}.{member}"

    @property
    def expr(self) -> Expr:
        """The function of z."""
        return self.network.activation.expr


SHOWN = (
    *map(Shown, ("erf", "tanh", "sigmoid", "probit", "relu")),
    Shown("leaky_relu", {"alpha": Rational(1, 5)}),
    *map(Shown, ("gelu", "silu", "elu", "softplus", "hardtanh", "relu6", "softshrink", "hardswish")),
    *map(Shown, ("sin", "cos")),
    Shown("rbf", {"gamma": Rational(1, 2)}),
    Shown("z + sin(z)**2", label="snake"),
    *map(Shown, ("gaussian", "exp", "abs", "identity", "square", "cube", "rectified_square", "step", "sign")),
)
