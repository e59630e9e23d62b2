"""Expectations of activations without a closed form, as functions of floats."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from sympy.utilities.lambdify import implemented_function

from infgeo.conventions import variance as v
from infgeo.errors import ExpectationDiverges, InvalidInput, MetricDoesNotExist, NotConverged
from infgeo.numeric.geometry import laws_of
from infgeo.numeric.runtime.errors import DoesNotExist, InputError, NotAgreed
from infgeo.numeric.runtime.records import Law
from infgeo.numeric.source.formulas import law_names
from infgeo.numeric.source.radial import with_duals


def moment_functions(mlp: Any) -> tuple[Callable, Callable, Callable, Callable, Callable]:
    """Return m, m', m0 of the variance, and the kernels of phi and phi' of the variance and the covariance."""
    import torch

    law = laws_of(mlp, "torch")[0]

    def slope(x: Any) -> float:
        return float(torch.func.jvp(law.moment, (_number(x),), (_number(1),))[1])

    def of_pair(function: Callable | None) -> Callable[..., float]:
        def value(variance: Any, covariance: Any) -> float:
            p, c = _number(variance), _number(covariance)
            return _value(function, p, p, c, p * p - c * c)

        return value

    m, m0 = _of_variance(law.moment), _of_variance(law.derivative_moment)
    return m, slope, m0, of_pair(law.kernel), of_pair(law.derivative_kernel)


def layers_of_names(mlp: Any) -> list[Any]:
    """Return the layers of a network whose moments are functions that have names, and values at numbers."""
    names = law_names(mlp)
    duals = {a: _named(law, names[a]) for a, law in zip(names, laws_of(mlp, "torch"), strict=True)}
    return with_duals(mlp, duals)


def _named(law: Law, suffix: str) -> SimpleNamespace:
    parts = {"m": law.moment, "m0": law.derivative_moment, "m2": law.second_moment}
    found = {name: implemented_function(f"{name}{suffix}", _of_variance(f))(v) for name, f in parts.items()}
    return SimpleNamespace(m=found["m"], m0=found["m0"], derivative=SimpleNamespace(m0=found["m2"]))


def _of_variance(function: Callable | None) -> Callable[[Any], float]:
    return lambda x: _value(function, _number(x))


def _value(function: Callable | None, *numbers: Any) -> float:
    try:
        return float(_existing(function)(*numbers))
    except InputError as error:
        raise InvalidInput(str(error)) from None
    except NotAgreed as error:
        raise NotConverged(str(error)) from None
    except DoesNotExist as error:
        raise ExpectationDiverges(str(error)) from None


def _existing(function: Callable | None) -> Callable:
    if function is None:
        raise MetricDoesNotExist("an activation jumps, or its slope does, and what is asked for is infinite")
    return function


def _number(x: Any) -> Any:
    import torch

    return torch.tensor([float(x)], dtype=torch.float64)
