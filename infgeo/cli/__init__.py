"""The command line: `infgeo derive | emit | validate | reproduce | activations`."""

from infgeo.cli.main import main

__all__ = ["main"]
