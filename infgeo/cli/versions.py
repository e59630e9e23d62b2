"""What a report of an error needs to say about the machine: `infgeo --version --verbose`."""

import platform
from importlib import metadata

from infgeo import __version__

LIBRARIES = ("mpmath", "numpy", "scipy", "sympy", "torch", "jax", "numba", "scikit-learn", "gpytorch", "matplotlib")


def verbose_version() -> str:
    """Return the releases of infgeo, Python and the libraries, and the processor, a line each."""
    lines = [f"infgeo {__version__}", f"Python {platform.python_version()}", platform.platform()]
    lines.append(f"processor {platform.processor() or platform.machine()}")
    for name in LIBRARIES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    return "\n".join(lines)
