"""The command line: `infgeo derive | emit | validate | reproduce | activations`."""

from infgeo.cli.parser import main

__all__ = ["main"]
