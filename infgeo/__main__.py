"""`python -m infgeo`: the command line."""

import sys

from infgeo.cli import main

if __name__ == "__main__":
    sys.exit(main())
