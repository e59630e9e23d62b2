"""Activations by name, text or expression, as modules that torch trains and `infgeo.finite` differentiates fast."""

import copy
from collections.abc import Callable, Mapping

from torch import nn

from infgeo.arguments import instance, real_number, shown, values_by_name
from infgeo.errors import InvalidInput
from infgeo.finite.torch_activation import NATIVE, ElementwiseActivation, torch_activation
from infgeo.symbolic.activations.catalogue import get
from infgeo.symbolic.networks.layers import as_activation

# The modules of torch whose forward is the catalogue's expression. (nn.Softplus is the identity above 20.)
_MODULES: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation_module(
    activation: object, factor: float = 1.0, *, parameters: Mapping[str, float] | None = None
) -> nn.Module:
    """Return the module z -> factor · φ(z): torch's own where it has φ and the factor is 1.

    Args:
        activation: a name of the catalogue (`infgeo.activations.available()`), text such as "z*exp(-z**2)", a SymPy
            expression of one symbol, or an entry of the catalogue. "erf" is erf(z/√2), as in the paper.
        factor: a constant, as 1/√n in the paper's features.
        parameters: values of the activation's own symbols, by name, such as {"alpha": 0.1} for "leaky_relu".

    Raises:
        UnknownActivation: for a name that is not in the catalogue, with the nearest one.
        InvalidInput: for a parameter that is missing or unknown, or a factor that is not finite.

    >>> activation_module("gelu")
    GELU(approximate='none')
    >>> activation_module("erf", 0.5)
    ElementwiseActivation(erf(sqrt(2)*z/2), factor=0.5)
    """
    entry = as_activation(activation)
    values = values_by_name(parameters)
    free = {s.name for s in entry.expr.free_symbols if s != entry.symbol}
    if unknown := sorted(set(values) - free):
        raise InvalidInput(
            f"parameters name {', '.join(unknown)}, which the activation {entry.expr} does not contain; it has "
            f"{', '.join(sorted(free)) or 'no free symbols'}"
        )
    factor = real_number(factor, "factor")
    name = next((n for n in _MODULES if get(n).expr == entry.expr), "")
    if factor == 1.0 and name:
        return _MODULES[name]()
    function = torch_activation(entry.expr, entry.symbol, tuple(sorted(values.items())))
    return ElementwiseActivation(function, factor, name if name in NATIVE else "")


def activation_factory(activation: object, parameters: Mapping[str, float] | None = None) -> Callable[[], nn.Module]:
    """Return a function that makes a module of `activation`, a new one for each place in a network.

    It may be what `activation_module` takes, a torch module (copied for each place), or a class of modules or another
    function without arguments that makes one. Raises InvalidInput also where that makes no module.

    >>> activation_factory(nn.Softplus)()
    Softplus(beta=1.0, threshold=20.0)
    """
    if not callable(activation) or hasattr(activation, "free_symbols"):  # SymPy expressions can be called, too
        module = activation_module(activation, parameters=parameters)
        return lambda: copy.deepcopy(module)
    if parameters is not None and values_by_name(parameters):
        raise InvalidInput(f"parameters are given for {shown(activation)}, which has its own; drop them")
    if isinstance(activation, nn.Module):
        return lambda: copy.deepcopy(activation)

    def made() -> nn.Module:
        module = activation()
        return instance(module, "activation()", nn.Module, "a name, a torch module, or a function that makes one")

    return made
