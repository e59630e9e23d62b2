"""The catalogue of activations: what `infgeo.MLP` takes by name."""

from infgeo.symbolic.activations.catalogue import available, families, get

__all__ = ["available", "families", "get"]
