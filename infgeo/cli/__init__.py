"""The command line: `infgeo derive | emit | validate | activations`."""

from infgeo.cli.parser import main

__all__ = ["main"]
