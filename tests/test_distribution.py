"""What is shipped: the source distribution holds what `make` needs, and one table says which tests are slow."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.conftest import slow_tests, stale

ROOT = Path(__file__).resolve().parents[1]


def test_source_distribution_holds_every_file_of_the_repository():
    """MANIFEST.in names all that git tracks outside the package; setuptools adds the package and pyproject.toml."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()]
    single = [pattern for line in lines if line[0] == "include" for pattern in line[1:]]
    below = [f"{line[1]}/{pattern}" for line in lines if line[0] == "recursive-include" for pattern in line[2:]]
    left = [name for name in tracked if not any(fnmatchcase(name, pattern) for pattern in [*single, *below])]
    ours = {".github", ".gitignore", ".pre-commit-config.yaml", "MANIFEST.in", "infgeo", "pyproject.toml"}
    assert {Path(name).parts[0] for name in left} == ours
    assert {Path(name).suffix for name in left if name.startswith("infgeo/")} == {
        ".py",
        ".pyi",
        ".typed",
        ".html",
        ".css",
        ".js",
    }


TABLE = """
# a comment
[a/test_b.py]
test_one keeps erf | relu-*
test_two leaves z**2
test_three has a/test_b.py::test_one
"""


class Collected:
    """As much of a collected test as is asked for."""

    def __init__(self, slow: bool = False) -> None:
        self.slow = slow

    def get_closest_marker(self, name: str) -> bool:
        return self.slow


def test_table_of_slow_tests_is_read_and_held_to_what_there_is():
    table = slow_tests(TABLE)
    assert table["a/test_b.py::test_one"] == ("keeps", ["erf", "relu-*"])
    present = {
        "a/test_b.py::test_one": {"erf": Collected(), "relu-2": Collected(), "sin": Collected(slow=True)},
        "a/test_b.py::test_two": {"z**2": Collected(slow=True), "z": Collected()},
        "a/test_b.py::test_three": {"": Collected(slow=True)},
    }
    assert stale(table, present) == []
    assert stale(table, {"c/test_d.py::test_four": {"": Collected()}}) == []  # another file was collected
    one, two = "a/test_b.py::test_one", "a/test_b.py::test_two"
    assert stale(table, present | {one: {"erf": Collected()}}) == [f"{one} has no relu-*"]
    assert stale(table, present | {two: {"z**2": Collected(slow=True)}}) == [f"nothing is left of {two}"]
    without = {name: tests for name, tests in present.items() if name != two}
    assert stale(table, without) == [f"there is no test {two}"]
    guard = {name: Collected(slow=True) for name in ("erf", "relu-1")}
    assert any("guards" in line for line in stale(table, present | {one: guard}))


def test_every_target_that_ci_makes_exists():
    [targets] = re.findall(r"^for target in \$\{@:-(.*)\}; do", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    [rest] = re.findall(r"target: \[(.*)\]", (ROOT / ".github" / "workflows" / "check.yml").read_text("utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"test-slow", "lint", "docs"} <= {*targets.split()}
    assert {"demo", "test-processors"} <= {*rest.split(", ")}
    assert all(f"\n{target}:" in makefile for target in targets.split() + rest.split(", "))
    assert "-m 'not slow'" in makefile.partition("\ntest: ")[2].partition("\n\n")[0]
    assert "-m 'not sweep'" in makefile.partition("\ntest-slow: ")[2].partition("\n\n")[0]
    assert "make test-all" in (ROOT / ".github" / "workflows" / "sweep.yml").read_text(encoding="utf-8")
