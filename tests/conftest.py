"""What every test shares: no window, the same examples of property tests on every run, and which tests are slow."""

from __future__ import annotations

import os
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

SPREAD = 3  # cases of one test in `make test`: the first, the last, and what lies between at equal distances

settings.register_profile("infgeo", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("infgeo")


def slow_tests(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return what `slow.txt` says of each test: the kind of the line, and its patterns or the guard."""
    found, file = {}, ""
    for line in text.splitlines():
        if line.startswith("["):
            file = line.strip("[]")
        elif line and not line.startswith("#"):
            test, kind, rest = line.split(" ", 2)
            found[f"{file}::{test}"] = (kind, rest.split(" | "))
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the slow tests, and of a test with many cases all but a spread of them."""
    table = slow_tests(Path(__file__).with_name("slow.txt").read_text(encoding="utf-8"))
    collected: dict[str, dict[str, pytest.Item]] = defaultdict(dict)
    for item in items:
        name, _, parameters = item.nodeid.removeprefix("tests/").partition("[")
        collected[name][parameters.removesuffix("]")] = item
    for name, (kind, patterns) in table.items():
        for parameters, item in collected.get(name, {}).items():
            named = any(fnmatchcase(parameters, pattern) for pattern in patterns)
            if kind == "has" or named is (kind == "leaves"):
                item.add_marker("slow")
    for tests in collected.values():
        fast = [item for item in tests.values() if not item.get_closest_marker("slow")]
        kept = {round(i * (len(fast) - 1) / (SPREAD - 1)) for i in range(SPREAD)}
        for i, item in enumerate(fast if len(fast) > SPREAD else []):
            if i not in kept:
                item.add_marker("slow")
    if not any("::" in argument for argument in config.args) and (wrong := stale(table, collected)):
        raise pytest.UsageError("tests/slow.txt: " + "; ".join(wrong))


def stale(table: dict[str, tuple[str, list[str]]], collected: dict[str, dict[str, pytest.Item]]) -> list[str]:
    """Return what the table says of files that were collected, and is not so."""
    files = {name.partition("::")[0] for name in collected}
    wrong = []
    for name, (kind, patterns) in table.items():
        present = [test for test in [name, *(patterns if kind == "has" else [])] if test.partition("::")[0] in files]
        wrong += [f"there is no test {test}" for test in present if test not in collected]
        if kind == "has":
            guards = collected.get(patterns[0], {}).values()
            if guards and all(item.get_closest_marker("slow") for item in guards):
                wrong.append(f"{patterns[0]}, which guards {name}, is slow itself")
        elif tests := collected.get(name):
            wrong += [f"{name} has no {p}" for p in patterns if not any(fnmatchcase(one, p) for one in tests)]
            if all(item.get_closest_marker("slow") for item in tests.values()):
                wrong.append(f"nothing is left of {name}")
    return wrong
