"""The entry point of the command line: from arguments to an exit status, every error in one line."""

import os
import platform
import sys
from collections.abc import Sequence

from infgeo import __version__
from infgeo.cli import commands
from infgeo.cli.parser import BAD_INPUT, INTERRUPTED, PASSED, build
from infgeo.cli.wording import in_options
from infgeo.errors import InfgeoError
from infgeo.interruption import termination_as_interrupt
from infgeo.report_text import releases

LIBRARIES = ("mpmath", "numpy", "scipy", "sympy", "torch", "jax", "numba", "scikit-learn", "gpytorch", "matplotlib")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; see the help for their meaning."""
    if sorted(sys.argv[1:] if argv is None else argv) == ["--verbose", "--version"]:
        print(verbose_version())
        return PASSED
    try:
        arguments = build().parse_args(argv)
        if sys.stdout is None and getattr(arguments, "output", None) is None:
            print("infgeo: standard output is closed; open it, for example > /dev/null", file=sys.stderr)
            return BAD_INPUT
        with termination_as_interrupt():
            status: int = getattr(commands, arguments.command)(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except SystemExit as stop:
        return int(stop.code or 0)
    except InfgeoError as error:
        print(f"infgeo: {in_options(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python flushes stdout once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PASSED
    except OSError as error:
        print(f"infgeo: cannot write the output: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return BAD_INPUT
    except KeyboardInterrupt:
        print("infgeo: interrupted", file=sys.stderr)
        return INTERRUPTED


def verbose_version() -> str:
    """Return the releases of infgeo, Python and the libraries, and the processor, a line each."""
    lines = [f"infgeo {__version__}", f"Python {platform.python_version()}", platform.platform()]
    lines.append(f"processor {platform.processor() or platform.machine()}")
    return "\n".join([*lines, *map(" ".join, releases(LIBRARIES, "is not installed").items())])
