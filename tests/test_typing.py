"""What a type checker sees of the public names, which are loaded on first use."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path

import pytest

import infgeo

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
import numpy
import torch

import infgeo
import infgeo.layers
from infgeo import MLP, activations, analysis, kernels, validate
from infgeo.layers import Residual

mlp = MLP([infgeo.layers.Dense("erf"), Residual("relu", branch=0.5)], weight_std=1, bias_std=1)
geo = mlp.numeric(weight_std=1.0, bias_std=0.5, backend="numpy")
pulled = infgeo.finite.pullback(torch.nn.Linear(2, 3), torch.zeros(2))
report = validate(mlp, 3)
"""
SEEN = {
    "infgeo.MLP": "def (activation: object, depth: int | None =, *) -> infgeo.symbolic.networks.network.MLP",
    "mlp.kernel": "infgeo.symbolic.kernels.kernel.Kernel",
    "mlp.metric": "infgeo.symbolic.geometry.metric.RadialMetric",
    "mlp.metric.is_flat": "bool",
    "geo": "infgeo.numeric.geometry.NumericGeometry",
    "geo.kernel": "def *",
    "infgeo.emit": "def (mlp: infgeo.symbolic.networks.network.MLP*) -> str",
    "infgeo.validate": "def * -> infgeo.validation.report.ValidationReport",
    "report.passed": "bool",
    "infgeo.finite_width(mlp)": "infgeo.numeric.finite_width.FiniteWidth",
    "infgeo.Metric": "def * -> infgeo.symbolic.geometry.any_metric.Metric",
    "infgeo.Kernel": "def * -> infgeo.symbolic.kernels.kernel.Kernel",
    "infgeo.RadialMetric": "def * -> infgeo.symbolic.geometry.metric.RadialMetric",
    "infgeo.GeometryTracker": "def * -> infgeo.tracking.tracker.GeometryTracker",
    "infgeo.tracking.GeometryTracker": "def * -> infgeo.tracking.tracker.GeometryTracker",
    "infgeo.training.RECIPES": "dict?str, infgeo.training.recipe.Recipe?",
    "infgeo.reproduce.reproduce": "def * -> infgeo.reproduce.run.Outcome",
    "infgeo.testing.check_kernel": "def * -> infgeo.testing.outcome.ConformanceReport",
    "infgeo.magnification.symmetry": "def * -> infgeo.magnification.symmetry.Symmetry",
    "infgeo.errors.NoClosedForm()": "infgeo.errors.NoClosedForm",
    "pulled.metric": "torch._tensor.Tensor",
    "infgeo.symbols.coordinates": "def *",
    "kernels.rbf()": "infgeo.symbolic.kernels.kernel.Kernel",
    "analysis.small_norm": "def * -> infgeo.symbolic.analysis.expansions.Expansion",
    "activations.available()": "tuple?str, ...?",
    "infgeo.__version__": "str",
}


def test_a_users_program_is_typed(tmp_path):
    pytest.importorskip("mypy")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM + "".join(f"reveal_type({name})\n" for name in SEEN) + "infgeo.nothing\n")
    # With the options and the cache of `make lint`: most of the time goes into reading torch.
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    completed = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(path)],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    seen = re.findall(r'Revealed type is "(.*)"', completed.stdout)
    for name, kind in zip(SEEN, seen, strict=True):
        assert fnmatchcase(kind, SEEN[name]), f"{name} is {kind}"
    errors = [line for line in completed.stdout.splitlines() if re.search(r"program\.py:\d+: error:", line)]
    assert len(errors) == 1, completed.stdout
    assert 'has no attribute "nothing"' in errors[0]


@pytest.mark.parametrize("package", ["infgeo", "infgeo.reproduce"])
def test_stub_names_what_is_loaded_on_first_use(package):
    """Every public name of the package, and the same object."""
    module = import_module(package)
    stub = ast.parse(Path(str(module.__file__)).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [(node.module, alias) for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert {alias.asname for _, alias in imports} == set(module.__all__) - {"__version__"}
    for source, alias in imports:
        assert getattr(module, alias.asname) is getattr(import_module(source), alias.name), alias.asname


def test_every_package_that_loads_names_on_first_use_has_a_stub():
    lazy = [path for path in (ROOT / "infgeo").rglob("*.py") if "def __getattr__(name" in path.read_text("utf-8")]
    assert lazy
    assert all(path.with_suffix(".pyi").exists() for path in lazy)


@pytest.mark.parametrize("name", [name for name, (_, attribute) in infgeo._PUBLIC.items() if attribute is None])
def test_public_modules_can_be_imported(name):
    assert import_module(f"infgeo.{name}") is getattr(infgeo, name)
