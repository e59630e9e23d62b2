"""Imports are cheap and go one way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def loaded_by(statement: str) -> set[str]:
    """Return the names of the top-level modules that a fresh interpreter holds after `statement`."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    completed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(completed.stdout.split())


def test_import_infgeo_loads_no_library():
    heavy = {"matplotlib", "mpmath", "numpy", "rich", "scipy", "sklearn", "sympy", "torch"}
    assert not loaded_by("import infgeo") & heavy


def test_symbolic_loads_no_array_library():
    """Every module of it, one after the other in one interpreter, so that the first that does is named."""
    names = sorted(path.stem for path in (ROOT / "infgeo" / "symbolic").glob("[a-z]*.py"))
    program = f"""
import importlib, sys
for name in {names}:
    importlib.import_module("infgeo.symbolic." + name)
    assert not {{"matplotlib", "numpy", "scipy", "sklearn", "torch"}} & set(sys.modules), name
"""
    loaded_by(program)


def test_deriving_loads_no_array_library():
    statement = "import infgeo; str(infgeo.MLP('erf').metric.ricci_scalar); infgeo.MLP('relu', depth=2).metric.is_flat"
    assert not loaded_by(statement) & {"matplotlib", "numpy", "scipy", "sklearn", "torch"}


def test_learned_geometry_of_arrays_loads_no_torch():
    call = "infgeo.learned(infgeo.MLP('erf'), np.eye(2), np.ones(2), 0.1).volume_shift(np.eye(2))"
    assert not loaded_by(f"import infgeo, numpy as np; {call}") & {"matplotlib", "numba", "sklearn", "torch"}


def test_finite_loads_no_theory():
    program = "import infgeo.finite, sys; print(*(n for n in sys.modules if n.startswith('infgeo.')))"
    completed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    names = completed.stdout.split()
    assert "infgeo.finite" in names
    assert not [name for name in names if name.startswith(("infgeo.symbolic", "infgeo.numeric"))]


@pytest.mark.parametrize("name", ["torch", "matplotlib", "sklearn", "rich"])
def test_optional_and_heavy_libraries_are_not_needed_to_derive(name):
    loaded_by(f"import sys; sys.modules[{name!r}] = None\nimport infgeo\nassert infgeo.MLP('erf').metric.ricci_scalar")


def test_the_list_of_figures_loads_no_array_library():
    assert not loaded_by("import infgeo.reproduce; infgeo.reproduce.listing()") & {"matplotlib", "numpy", "torch"}


def test_declared_directions_of_import_hold():
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    completed = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "0 broken" in completed.stdout


def test_adapters_load_their_library_alone():
    assert not loaded_by("import infgeo.adapters") & {"gpytorch", "sklearn", "torch"}
    assert not loaded_by("import infgeo.adapters.sklearn") & {"gpytorch", "torch"}


def test_training_needs_no_extra():
    assert not loaded_by("import infgeo.training") & {"kornia", "matplotlib", "sklearn"}


@pytest.mark.parametrize(("module", "name"), [("sklearn", "sklearn"), ("gpytorch", "gpytorch")])
def test_a_missing_library_is_named_with_its_remedy(module, name):
    loaded_by(
        f"import sys; sys.modules[{name!r}] = None\n"
        f"try:\n    import infgeo.adapters.{module}\n"
        f"except ImportError as error:\n    assert \"pip install 'infgeo[{name}]'\" in str(error)\n"
        "else:\n    raise AssertionError"
    )
