"""Theory against simulation: `validate` compares the closed forms of a network with sampled networks."""

from infgeo.validation.validate import validate

__all__ = ["validate"]
