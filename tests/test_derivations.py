"""Every derivation is there, is made of prose and code, and asserts what it claims; `make docs` runs them all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "derivations").glob("[0-9][0-9]_*.py"))
COUNT = 14

# A cell of these alone prepares the next one and may go without an assertion.
PREPARATION = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def test_numbers_are_consecutive_and_none_is_missing():
    assert [int(path.name[:2]) for path in SCRIPTS] == list(range(1, COUNT + 1))


def cells(text):
    """Return the cells of a percent script: whether each is prose, and its text."""
    parts = ("\n" + text).split("\n# %%")[1:]
    return [(head.strip() == "[markdown]", body) for head, _, body in (part.partition("\n") for part in parts)]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_section_of_code_asserts(path):
    text = path.read_text(encoding="utf-8")
    parts = cells(text)
    assert any(is_prose for is_prose, _ in parts)
    silent = []
    for is_prose, body in parts:
        if is_prose:
            assert all(line.startswith("#") for line in body.splitlines() if line), "open a code cell with '# %%'"
            continue
        work = [
            node
            for node in ast.parse(body).body
            if not isinstance(node, PREPARATION)
            and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        ]
        if work and not any(isinstance(node, ast.Assert) for top in work for node in ast.walk(top)):
            silent.append(body)
    assert not silent, f"code cells of {path.name} without an assertion: {silent}"
    assert text.count("assert ") >= 3
