"""The command line: `infgeo derive | emit | validate | reproduce | explore | activations`."""

from infgeo.cli.main import main

__all__ = ["main"]
