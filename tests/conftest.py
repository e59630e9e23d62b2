"""What every test shares: no window, the same examples of property tests on every run, and which tests are slow."""

from __future__ import annotations

import os
from collections import defaultdict
from fnmatch import fnmatchcase

import pytest
from hypothesis import settings

from tests.slow import GUARDED, KEPT

os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("infgeo", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("infgeo")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that `tests/slow.py` names; a name that is none any more is an error."""
    found = defaultdict(list)
    for item in items:
        found[item.nodeid.removeprefix("tests/").partition("[")[0]].append(item)
    for name, keep in KEPT.items():
        for item in found[name]:
            if not any(fnmatchcase(_parameters(item), one) for one in keep):
                item.add_marker("slow")
    for name in GUARDED:
        for item in found[name]:
            item.add_marker("slow")
    if not any("::" in argument for argument in config.args):
        _check(found)


def _parameters(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[2].removesuffix("]")


def _check(found: dict[str, list[pytest.Item]]) -> None:
    """Raise UsageError for names in files that were collected, where there is no such test or nothing guards it."""
    files = {name.partition("::")[0] for name, items in found.items() if items}
    wrong = [
        f"{name} has no parameters {one}"
        for name, keep in KEPT.items()
        if name.partition("::")[0] in files
        for one in keep
        if not any(fnmatchcase(_parameters(item), one) for item in found[name])
    ]
    for name in [*GUARDED, *GUARDED.values()]:
        if name.partition("::")[0] in files and not found[name]:
            wrong.append(f"there is no test {name}")
    wrong += [
        f"{name}, which guards, is slow itself"
        for name in GUARDED.values()
        if found[name] and all(item.get_closest_marker("slow") for item in found[name])
    ]
    if wrong:
        raise pytest.UsageError("tests/slow.py: " + "; ".join(wrong))
