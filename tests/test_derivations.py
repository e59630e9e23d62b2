"""Every derivation runs, asserts what it claims, and none is lost; the renderer shows what they print."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "derivations").glob("[0-9][0-9]_*.py"))
COUNT = 14

render = runpy.run_path(str(ROOT / "derivations" / "render.py"), run_name="render")

# A cell of these alone prepares the next one and may go without an assertion.
PREPARATION = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def test_numbers_are_consecutive_and_none_is_missing():
    assert [int(path.name[:2]) for path in SCRIPTS] == list(range(1, COUNT + 1))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_derivation_holds(path, capsys):
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_section_of_code_asserts(path):
    cells = render["read_cells"](path.read_text(encoding="utf-8"))
    assert any(cell.is_prose for cell in cells)
    silent = []
    for cell in cells:
        body = [] if cell.is_prose else ast.parse(cell.text).body
        work = [
            node
            for node in body
            if not isinstance(node, PREPARATION)
            and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        ]
        if work and not any(isinstance(node, ast.Assert) for top in work for node in ast.walk(top)):
            silent.append(cell.line)
    assert not silent, f"code cells without an assertion at lines {silent} of {path.name}"
    assert path.read_text(encoding="utf-8").count("assert ") >= 3


EXAMPLE = """\
# %% [markdown]
# # A title
#
# With $x^2$.

# %%
x = 3
print(x)
assert x == 3
x**2
"""


def test_renderer_shows_prose_code_and_output(tmp_path, capsys):
    path = tmp_path / "01_example.py"
    path.write_text(EXAMPLE, encoding="utf-8")
    assert render["main"]([str(path), "--output", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "01_example.md").read_text(encoding="utf-8")
    assert "\n# A title\n\nWith $x^2$.\n" in text
    assert "```python\nx = 3\nprint(x)\nassert x == 3\nx**2\n```\n\n```text\n3\n9\n```\n" in text


def test_renderer_ends_with_status_1_where_an_assertion_fails(tmp_path, capsys):
    path = tmp_path / "01_example.py"
    path.write_text(EXAMPLE.replace("assert x == 3", "assert x == 4"), encoding="utf-8")
    assert render["main"]([str(path), "--output", str(tmp_path / "out")]) == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert "line 8" in capsys.readouterr().err
