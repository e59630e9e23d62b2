"""The catalogue of activations: data only. An entry is a name, an expression of z, and where it is from."""

from __future__ import annotations

from difflib import get_close_matches

from sympy import Max, erf, sqrt

from infgeo.conventions import z
from infgeo.errors import UnknownActivation
from infgeo.symbolic.activation import Activation

_ENTRIES = (
    Activation("erf", erf(z / sqrt(2)), "Williams 1997, as scaled in arXiv 2301.11375, section 3"),
    Activation("identity", z, "deep linear networks"),
    Activation("relu", Max(z, 0), "Cho & Saul 2009, arc-cosine kernel of degree 1"),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def available() -> tuple[str, ...]:
    """Return the names in the catalogue, sorted.

    >>> available()
    ('erf', 'identity', 'relu')
    """
    return tuple(sorted(_BY_NAME))


def get(name: str) -> Activation:
    """Return the entry called `name`; raises UnknownActivation with the nearest names."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    close = get_close_matches(name.lower(), _BY_NAME, n=1, cutoff=0.3)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UnknownActivation(f"unknown activation {name!r}: {hint}The catalogue has {', '.join(available())}")
