"""How the expectations of each activation of a network are computed: in closed form, as a mixture, or by quadrature."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from infgeo.errors import NoClosedForm
from infgeo.numeric.source.mixture import mixture_of
from infgeo.numeric.source.of_formula import Formula
from infgeo.symbolic.expectations.dual import dual

if TYPE_CHECKING:
    from infgeo.symbolic.activations.activation import Activation
    from infgeo.symbolic.networks.network import MLP

METHODS = ("closed_form", "mixture", "quadrature")  # the more a result is to be trusted, the earlier
Methods = Mapping["Activation", str]


@lru_cache(maxsize=256)
def method_of(activation: Activation) -> str:
    """Return the first of `METHODS` that an activation has; in closed form at least the metric."""
    for method, derive in (
        ("closed_form", lambda: dual(activation).moments),
        ("mixture", lambda: mixture_of(activation)),
    ):
        try:
            derive()
        except NoClosedForm:
            continue
        return method
    return "quadrature"


@lru_cache(maxsize=64)
def methods_of(mlp: MLP | Formula, asked: str | None = None) -> Methods:
    """Return the method of each activation of a network: quadrature where that is asked for."""
    return MappingProxyType(
        {x.activation: asked if asked == "quadrature" else method_of(x.activation) for x in mlp.with_weights}
    )


def resolved(mlp: MLP | Formula, asked: str | None) -> str:
    """Return the method of a network: the one that is asked for, by default that of its last resort.

    Raises NoClosedForm, with the reason, for a network that does not have the method.
    """
    found = set(methods_of(mlp).values()) | {"closed_form"}
    last = max(found, key=METHODS.index)
    if asked is None or asked == "quadrature" or asked == last:
        return asked or last
    for activation, method in methods_of(mlp).items():
        if METHODS.index(method) > METHODS.index(asked):
            _ = dual(activation).moments if asked == "closed_form" else mixture_of(activation)
    raise NoClosedForm(f"every activation of {mlp} has a closed form, and no mixture is needed: leave method out")
