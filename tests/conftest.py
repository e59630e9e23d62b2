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
SLOW_SPREAD = 1  # slow cases of a test that `slow.txt` names in `make test-slow`

settings.register_profile("infgeo", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("infgeo")


def slow_tests(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return what `slow.txt` says of each test: the kind of the line, and its patterns or the guard."""
    found, file = {}, ""
    for line in text.splitlines():
        if line.startswith("["):
            file = line.strip("[]")
        elif line and not line.startswith("#"):
            test, kind, *rest = line.split(" ", 2)
            found[f"{file}::{test}"] = (kind, rest[0].split(" | ") if rest else [])
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the slow tests, of a test with many cases all but a spread of them, and what `make test-slow` leaves out."""
    text = Path(__file__).with_name("slow.txt").read_text(encoding="utf-8")
    table = slow_tests(text)
    collected: dict[str, dict[str, pytest.Item]] = defaultdict(dict)
    for item in items:
        name, _, parameters = item.nodeid.removeprefix("tests/").partition("[")
        collected[name][parameters.removesuffix("]")] = item
    for name, (kind, patterns) in table.items():
        for parameters, item in collected.get(name, {}).items():
            named = any(fnmatchcase(parameters, pattern) for pattern in patterns)
            if kind == "has" or (kind != "sweeps" and named is (kind == "leaves")):
                item.add_marker("slow")
    for tests in collected.values():
        for item in left_out([item for item in tests.values() if not item.get_closest_marker("slow")], SPREAD):
            item.add_marker("slow")
    for name in table:
        slow = [item for item in collected.get(name, {}).values() if item.get_closest_marker("slow")]
        for item in left_out(slow, SLOW_SPREAD):
            item.add_marker("sweep")
    wrong = stale(table, collected)
    if not any("::" in argument for argument in config.args) and wrong:
        raise pytest.UsageError("tests/slow.txt: " + "; ".join(wrong))


def left_out(items: list[pytest.Item], most: int) -> list[pytest.Item]:
    """Return all cases but `most` of them at equal distances: the first and, of more than one, the last among these."""
    kept = {round(i * (len(items) - 1) / max(most - 1, 1)) for i in range(most)}
    return [item for i, item in enumerate(items) if i not in kept] if len(items) > most else []


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
            if kind != "sweeps" and all(item.get_closest_marker("slow") for item in tests.values()):
                wrong.append(f"nothing is left of {name}")
    return wrong
