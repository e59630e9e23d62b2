"""The catalogue of activations: what `infgeo.MLP` takes by name."""

from infgeo.symbolic.catalogue import (
    available,
    families,
    get,
)

__all__ = [
    "available",
    "families",
    "get",
]
