"""Modules as files that stand alone."""

import ast
from importlib import resources

from infgeo.numeric.source.inlining import inlined

RUNTIME = resources.files("infgeo.numeric.runtime")


def test_names_of_the_runtime_are_told_apart():
    """In one file two definitions of a name would be one."""
    found = {}
    for path in sorted(p for folder in (RUNTIME, RUNTIME / "arrays", RUNTIME / "gram") for p in folder.iterdir()):
        if not path.name.endswith(".py") or path.name in ("of_torch.py", "of_jax.py", "of_mpmath.py"):  # one of them
            continue
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [node]
            for name in (getattr(target, "id", getattr(target, "name", None)) for target in targets):
                if name:
                    assert name not in found, f"{name} in {path.name} and {found[name]}"
                    found[name] = path.name


def test_what_is_not_used_goes():
    source = "from infgeo.numeric.runtime.errors import InputError\n\n\ndef f():\n    raise InputError\n"
    imports, body = inlined(source, ["f"])
    assert "class InputError" in body and "NotAgreed" not in body and "import" not in body
    assert not [line for line in imports if "infgeo" in line]
