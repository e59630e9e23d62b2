"""Run derivations and render them to Markdown: prose, code, and what each cell prints.

    python derivations/render.py derivations/[0-9][0-9]_*.py --output out/derivations

A derivation is a percent script: a line `# %% [markdown]` opens a cell of commented Markdown (with $...$ for
mathematics, which GitHub and most editors show), a line `# %%` a cell of code. The cells of a file share one namespace;
a cell that ends in an expression shows its value. The first exception, a failed assertion among them, ends the run
with a status other than 0, and the file it is in is not written.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell of a percent script: its text, whether it is prose, and the line in the file where the text begins."""

    text: str
    is_prose: bool
    line: int


def read_cells(source: str) -> list[Cell]:
    """Split a percent script into its cells; empty ones are left out."""
    cells: list[Cell] = []
    lines: list[str] = []
    is_prose, start = False, 1

    def close() -> None:
        kept = [_uncommented(line) for line in lines] if is_prose else lines
        text = "\n".join(kept)
        if text.strip():
            cells.append(Cell(text, is_prose, start))

    for number, line in enumerate(source.splitlines(), 1):
        if line.startswith("# %%"):
            close()
            lines, is_prose, start = [], "[markdown]" in line, number + 1
        else:
            lines.append(line)
    close()
    return cells


def _uncommented(line: str) -> str:
    if line and not line.startswith("#"):
        raise ValueError(f"a line of prose must begin with '#', unlike {line!r}: open a code cell with '# %%'")
    return line.removeprefix("#").removeprefix(" ")


def run_cell(cell: Cell, path: Path, namespace: dict[str, Any]) -> str:
    """Execute a cell of code in `namespace`; return what it prints, and the value of an expression at its end."""
    tree = ast.parse("\n" * (cell.line - 1) + cell.text, str(path))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, str(path), "exec", dont_inherit=True), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), str(path), "eval", dont_inherit=True), namespace)
            if value is not None and not isinstance(last.value, ast.Constant):
                print(value)
    return printed.getvalue().rstrip()


def render(path: Path) -> str:
    """Run the percent script at `path` and return it as Markdown."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    parts = [f"<!-- made by derivations/render.py from {path.name} -->"]
    for cell in read_cells(path.read_text(encoding="utf-8")):
        if cell.is_prose:
            parts.append(cell.text.strip())
            continue
        output = run_cell(cell, path, namespace)
        docstring = ast.get_docstring(ast.parse(cell.text))
        parts.append(docstring if docstring and _is_docstring_only(cell.text) else _fenced(cell.text.strip(), "python"))
        if output:
            parts.append(_fenced(output, "text"))
    return "\n\n".join(parts) + "\n"


def _is_docstring_only(text: str) -> bool:
    return len(ast.parse(text).body) == 1


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def main(arguments: list[str] | None = None) -> int:
    """Render every file that is named; return the exit status."""
    parser = argparse.ArgumentParser(description="Run derivations and render them to Markdown.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--output", type=Path, default=Path("out/derivations"), help="folder to write to")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for path in options.files:
        try:
            text = render(path)
        except Exception as error:
            traceback.print_exception(error)
            print(f"{path}: the derivation does not hold, or cannot be read; nothing written for it", file=sys.stderr)
            return 1
        target = options.output / f"{path.stem}.md"
        partial = target.with_suffix(".md.tmp")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, target)
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
