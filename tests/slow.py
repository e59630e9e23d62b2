"""What `make test` leaves to `make test-all`, and what holds the same claim in `make test`.

Either a family of which some parameters stay, or a whole test with the faster one that guards its claim. Names are
those of pytest without `tests/`; `tests/conftest.py` marks them slow and refuses names that are none any more.
"""

from __future__ import annotations

# Test -> parameters that stay in `make test` (patterns of fnmatch).
KEPT: dict[str, tuple[str, ...]] = {}

# Test -> the test that guards its claim in `make test`.
GUARDED: dict[str, str] = {}
