"""The activations of torch.nn: the module's class -> its expression, in which {name} is an attribute. Data only.

Modules are known by the name of their class, so that torch is not imported.
"""

from string import Formatter

from sympy import Rational

from infgeo.arguments import shown
from infgeo.errors import InvalidInput
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.activations.catalogue import get
from infgeo.symbolic.activations.parsing import parse

_EXPRESSIONS = {
    "CELU": "max(z, 0) + {alpha}*(exp(min(z, 0)/{alpha}) - 1)",
    "ELU": "max(z, 0) + {alpha}*(exp(min(z, 0)) - 1)",
    "Hardshrink": "Piecewise((z, abs(z) > {lambd}), (0, True))",
    "Hardtanh": "max({min_val}, min(z, {max_val}))",
    "LeakyReLU": "max(z, 0) + {negative_slope}*min(z, 0)",
    "PReLU": "max(z, 0) + {weight}*min(z, 0)",
    "RReLU": "max(z, 0) + ({lower} + {upper})/2*min(z, 0)",  # in evaluation
    "Softplus": "log(1 + exp({beta}*z))/{beta}",
    "Softshrink": "max(z - {lambd}, 0) + min(z + {lambd}, 0)",
    "Threshold": "Piecewise((z, z > {threshold}), ({value}, True))",
}
# Of these the catalogue has the expression.
_PLAIN = (
    "GELU Hardsigmoid Hardswish Identity LogSigmoid Mish ReLU ReLU6 SELU SiLU Sigmoid Softsign Tanh Tanhshrink".split()
)


def is_torch_module(value: object) -> bool:
    """Return whether a value is a module of torch.nn, or of a class that is made from one."""
    return any(str(kind.__module__).startswith("torch.nn.modules") for kind in type(value).__mro__)


def from_torch_module(module: object) -> Activation:
    """Return the activation of a module of torch.nn; raises InvalidInput for modules that are none.

    `Softplus` is the identity above its threshold, which is left out: a difference of exp(-threshold)/beta at most.
    """
    kind = type(module).__name__
    known = type(module).__module__.startswith("torch.nn.modules")
    if getattr(module, "approximate", "none") == "tanh":
        return get("gelu_tanh")
    if known and kind in _PLAIN:
        return get(kind)
    if not known or kind not in _EXPRESSIONS:
        raise InvalidInput(
            f"activation {shown(module)} is no elementwise activation of torch.nn"
            f" ({', '.join(sorted([*_EXPRESSIONS, *_PLAIN]))}): pass one, or the formula as text"
        )
    expression = _EXPRESSIONS[kind]
    values = {name: _number(module, name) for _, name, _, _ in Formatter().parse(expression) if name}
    expr = parse(expression.format(**{attribute: f"({value})" for attribute, value in values.items()}))
    return Activation(f"{kind}({', '.join(f'{name}={value}' for name, value in values.items())})", expr)


def _number(module: object, name: str) -> str:
    """Return an attribute as an exact number."""
    value = getattr(module, name)
    if hasattr(value, "numel"):
        if value.numel() != 1:
            raise InvalidInput(
                f"activation {shown(module)} has {value.numel()} values of {name}, one a feature: give it one"
            )
        value = value.item()
    try:
        return str(Rational(repr(float(value))))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"activation {shown(module)}: {name} = {value!r} must be a finite number") from error
