"""What is shipped: the source distribution holds what `make` needs, and one table says which tests are slow."""

from __future__ import annotations

import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

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
    assert {Path(name).parts[0] for name in left} == {".gitignore", "MANIFEST.in", "infgeo", "pyproject.toml"}
    assert {Path(name).suffix for name in left if name.startswith("infgeo/")} == {".py", ".pyi", ".typed"}
