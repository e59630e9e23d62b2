"""What every test shares: no window is opened, and property tests draw the same examples on every run."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("infgeo", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("infgeo")
