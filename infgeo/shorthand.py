"""Methods that are shorthand for a function of a higher layer, and names that are loaded on first use.

The lower layer knows the name of the function alone. It is found when it is asked for, so that no module imports one
above it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def loaded(module: str, attribute: str | None = None) -> Any:
    """Return an attribute of a module, or the module itself, imported now."""
    value = import_module(module)
    return value if attribute is None else getattr(value, attribute)


def numeric(
    subject: object, options: Mapping[str, object], parameters: Mapping[str, object] | None, named: Mapping[str, object]
) -> Any:
    """Return the numeric functions of a network, a kernel or a metric: its method `numeric`.

    Args:
        subject: the network, kernel or metric.
        options: keyword arguments of `infgeo.numeric.geometry.numeric`.
        parameters, named: values of symbols by name, in either of two ways.
    """
    sorted_out = loaded("infgeo.numeric.named_values", "sorted_out")
    return loaded("infgeo.numeric.geometry", "numeric")(subject, **sorted_out(subject, options, parameters, named))
