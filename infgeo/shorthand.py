"""Methods that are shorthand for a function of a higher layer, and names that are loaded on first use.

The lower layer knows the name of the function alone. It is found when it is asked for, so that no module imports one
above it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from infgeo.arguments import python_name
from infgeo.errors import InvalidInput


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
    return loaded("infgeo.numeric.geometry", "numeric")(subject, **_sorted_out(subject, options, parameters, named))


def _sorted_out(
    what: Any, options: Mapping[str, Any], parameters: Mapping[str, Any] | None, named: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of `numeric` where a parameter may be called like one of them.

    A number for `backend`, `method` or `parameters` is the value of the parameter that is called so. Whether a number
    for `weight_std` is that of the scale cannot be told: such a parameter must be given in `parameters`.
    """
    subject = loaded("infgeo.numeric.source.of_formula", "subject_of")(what, "numeric")
    own = {symbol.name for symbol in subject.parameters}
    options, values = dict(options), dict(named)
    if parameters is not None and not isinstance(parameters, Mapping):
        if "parameters" not in own:
            raise InvalidInput(f"parameters = {parameters!r} must map names to values")
        parameters, values["parameters"] = {}, parameters
    for name, default in (("backend", "numpy"), ("method", None)):
        if name in own and not isinstance(options.get(name), str | None):
            options[name], values[name] = default, options[name]
    for name in ("weight_std", "bias_std"):
        if name in own and options.get(name) is not None:
            raise InvalidInput(
                f"{name} = {options[name]!r} may be the scale or the parameter {name} of the activation: pass the"
                f" parameter as parameters={{{name!r}: ...}} and the scale as"
                f" {'sigma_w' if name == 'weight_std' else 'sigma_b'} in it, or rename the parameter"
            )
    if twice := sorted(set(values) & set(parameters or {})):
        raise InvalidInput(f"{twice[0]} is given twice, by itself and in parameters: give it once")
    return options | {"parameters": {python_name(str(k)): v for k, v in (values | dict(parameters or {})).items()}}
