"""The network that the arguments of a command describe."""

from argparse import Namespace
from collections.abc import Sequence

from sympy import Expr

from infgeo.errors import InvalidInput
from infgeo.symbolic.activations.parsing import parse
from infgeo.symbolic.networks.network import MLP


def network_of(arguments: Namespace) -> MLP:
    """Return the network that is derived or emitted, at the values given."""
    scales = {
        name: _scale(getattr(arguments, name), f"--{name.replace('_', '-')}")
        for name in ("weight_std", "bias_std")
        if getattr(arguments, name) is not None
    }
    return with_layers(arguments.activation, arguments.depth, **scales).at(values_given(arguments))


def with_layers(activations: Sequence[str], depth: int | None, **scales: Expr) -> MLP:
    """Return the network of one activation and --depth, or of several, one for each layer."""
    if len(activations) == 1:
        return MLP(activations[0], depth=depth or 1, **scales)
    if depth is not None:
        raise InvalidInput(f"--depth {depth} with {len(activations)} activations: they are the layers; drop it")
    return MLP(list(activations), **scales)


def values_given(arguments: Namespace) -> dict[str, float]:
    """Return the values of --parameter by name."""
    values: dict[str, float] = dict(arguments.parameter)
    if len(values) < len(arguments.parameter):
        raise InvalidInput("a parameter is given twice; give --parameter NAME=VALUE once for each name")
    return values


def _scale(text: str, option: str) -> Expr:
    """Return a scale from a number or text such as sqrt(2)/3, in which names are parameters."""
    try:
        found = parse(text)
    except InvalidInput as error:
        raise InvalidInput(str(error).replace("activation", option, 1)) from None
    if any(symbol.name == "z" for symbol in found.free_symbols):
        raise InvalidInput(f"{option} {text} contains z, the variable of activations: a scale does not depend on it")
    return found
