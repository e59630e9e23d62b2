"""The README's examples print what it says, and it names what exists."""

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def test_examples_print_what_the_readme_says():
    result = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 15
    assert result.failed == 0


def test_files_and_targets_exist():
    text = README.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make ([a-z]+)", text, flags=re.MULTILINE) + re.findall(r"`make ([a-z]+)`", text)
    assert {"demo", "test", "derivations"} <= set(targets)
    assert all(f"\n{target}:" in makefile for target in targets)
