"""A module as a file that stands alone: what it imports of the runtime is written into it, as far as it is used."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from importlib import resources

_RUNTIME = "infgeo.numeric.runtime"
_GONE = "\0"


def inlined(source: str, roots: Iterable[str]) -> tuple[list[str], str]:
    """Return the lines that import other libraries, and `source` with the code that it imports of the runtime.

    Args:
        source: a module; its imports of the runtime are followed.
        roots: the names of what must stay; other definitions, and methods of classes, go where nothing uses them.
    """
    bodies: dict[str, str] = {}
    imports: dict[str, None] = {}

    def visit(name: str, text: str) -> None:
        tree = ast.parse(text)
        lines = text.splitlines()
        for i, node in enumerate(tree.body):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_RUNTIME):
                if node.module not in bodies:
                    visit(str(node.module), _text_of(str(node.module)))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                imports.update(dict.fromkeys(_one_by_one(node)))
            elif i > 0 or not isinstance(node, ast.Expr):  # but for the docstring
                continue
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
        if name:  # of the runtime's docstrings the first lines will do here
            for part in ast.walk(tree):
                if isinstance(part, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(part):
                    doc = part.body[0]
                    last = doc.end_lineno or doc.lineno
                    if last > doc.lineno:
                        lines[doc.lineno - 1] += '"""'
                        lines[doc.lineno : last] = [_GONE] * (last - doc.lineno)
            for part in reversed([node for node in tree.body if isinstance(node, ast.ClassDef)]):
                if part.decorator_list:  # dataclasses look strings of annotations up in a module, and `exec` makes none
                    lines.insert(part.body[0].end_lineno or part.lineno, '    __module__ = "dataclasses"')
            lines = [line for line in lines if line is not _GONE]
        bodies[name] = "\n".join(lines).strip("\n")

    visit("", source)
    body = used("\n\n\n".join(bodies.values()), roots)
    names = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    return [line for line in imports if "__future__" in line or line.split()[-1].split(".")[0] in names], body


def _text_of(module: str) -> str:
    *folders, name = module.removeprefix(f"{_RUNTIME}.").split(".")
    return resources.files(_RUNTIME).joinpath(*folders, f"{name}.py").read_text(encoding="utf-8")


def _one_by_one(node: ast.Import | ast.ImportFrom) -> list[str]:
    head = f"from {node.module} import " if isinstance(node, ast.ImportFrom) else "import "
    return [f"{head}{part.name}" + (f" as {part.asname}" if part.asname else "") for part in node.names]


def used(source: str, roots: Iterable[str]) -> str:
    """Return the definitions of a module that the roots use, directly or not; of classes the methods that are used."""
    lines, nodes = source.splitlines(), ast.parse(source).body
    defined = {name: node for node in nodes for name in _targets(node)}
    kept: set[ast.stmt] = set()
    methods: list[ast.FunctionDef] = []
    names, attributes, pending = set[str](), set[str](), [defined[root] for root in roots]

    def take(node: ast.AST) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute):
                attributes.add(part.attr)
            elif isinstance(part, ast.Name) and part.id not in names:
                names.add(part.id)
                pending.extend([defined[part.id]] if part.id in defined else [])

    while True:
        while pending:
            node = pending.pop()
            if node in kept:
                continue
            kept.add(node)
            own = [part for part in getattr(node, "body", []) if isinstance(part, ast.FunctionDef)]
            if not isinstance(node, ast.ClassDef):
                take(node)
                continue
            methods += own
            for part in [*node.bases, *node.decorator_list, *(part for part in node.body if part not in own)]:
                take(part)
        wanted = [node for node in methods if node.name in attributes or node.name.startswith("__")]
        if not wanted:
            break
        methods = [node for node in methods if node not in wanted]
        for node in wanted:
            take(node)
    texts, start = [], 0
    for node in nodes:
        end = node.end_lineno or node.lineno
        if node in kept:
            dropped = [part for part in getattr(node, "body", []) if part in methods]
            numbers = {n for part in dropped for n in range(_first(part) - 2, part.end_lineno or part.lineno)}
            texts.append(
                "\n".join(line for n, line in enumerate(lines[start:end], start) if n not in numbers).strip("\n")
            )
        start = end
    return "\n\n\n".join(texts)


def _first(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(part.lineno for part in node.decorator_list)])


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return [getattr(node, "name", ""), *names]
