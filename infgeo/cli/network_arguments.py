"""The network that the arguments of derive and emit describe."""

from __future__ import annotations

from argparse import Namespace

from sympy import Expr

from infgeo.errors import InvalidInput
from infgeo.symbolic.activations.parsing import parse
from infgeo.symbolic.networks.network import MLP


def network_of(arguments: Namespace) -> MLP:
    """Return the network of one activation and --depth, or of several, one for each layer, at the values given."""
    activations = arguments.activation
    if len(activations) > 1 and arguments.depth is not None:
        raise InvalidInput(
            f"--depth {arguments.depth} with {len(activations)} activations: they are the layers; drop it"
        )
    scales = {
        name: _scale(getattr(arguments, name), f"--{name.replace('_', '-')}")
        for name in ("weight_std", "bias_std")
        if getattr(arguments, name) is not None
    }
    if len(activations) > 1:
        mlp = MLP(activations, **scales)
    else:
        mlp = MLP(activations[0], depth=arguments.depth or 1, **scales)
    values = dict(arguments.parameter)
    if len(values) < len(arguments.parameter):
        raise InvalidInput("a parameter is given twice; give --parameter NAME=VALUE once for each name")
    return mlp.at(values)


def _scale(text: str, option: str) -> Expr:
    """Return a scale from a number or text such as sqrt(2)/3, in which names are parameters."""
    try:
        found = parse(text)
    except InvalidInput as error:
        raise InvalidInput(str(error).replace("activation", option, 1)) from None
    if any(symbol.name == "z" for symbol in found.free_symbols):
        raise InvalidInput(f"{option} {text} contains z, the variable of activations: a scale does not depend on it")
    return found
