"""Emitted files check themselves: every backend passes, every corrupted formula is caught, imports stay cheap."""

import ast
import importlib
import importlib.util
import math
import os
import subprocess
import sys
from decimal import Decimal

import mpmath
import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import z
from infgeo.numeric.certificates.certificate import certify
from infgeo.numeric.certificates.record import Certificate
from infgeo.numeric.certificates.reference_values import LONGEST, closed_forms
from infgeo.numeric.emit import _certificate_source
from infgeo.numeric.source.module import module_source

RESIDUAL = infgeo.MLP([infgeo.layers.RMSNorm(1), "relu", infgeo.layers.Residual("erf", skip=1, branch=2)])
RELU = infgeo.MLP("relu")
NETWORKS = [
    infgeo.MLP("erf", depth=2),
    RELU,
    infgeo.MLP("gelu"),
    infgeo.MLP("leaky_relu"),
    infgeo.MLP("sign"),
    infgeo.MLP(sp.exp(z**2 / 4)),
    RESIDUAL,
]


def load(source, name="emitted"):
    namespace = {"__name__": name}
    exec(compile(source, "<emitted>", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("backend", ["numpy", "mpmath"])
@pytest.mark.parametrize("mlp", NETWORKS, ids=str)
def test_a_file_passes_its_own_test(mlp, backend, capsys):
    dps = mpmath.mp.dps
    try:
        assert load(infgeo.emit(mlp, backend, certificate="none"))["_main"]() == 0
    finally:
        mpmath.mp.dps = dps
    lines = capsys.readouterr().out.splitlines()
    checks = [line for line in lines[:-1] if " certified " not in line]
    assert lines[-1].startswith("passed: ") and all(line.endswith("passed") for line in checks)
    assert any("kernel against mpmath" in line for line in lines)
    if mlp is NETWORKS[4]:
        assert any("metric does not exist, and says so" in line for line in lines)


@pytest.mark.parametrize(
    ("backend", "name"), [("numpy", "relu"), ("torch", "sign"), ("jax", "sign"), ("mpmath", "relu")]
)
def test_running_a_file_prints_checks_and_a_verdict(backend, name, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    path = tmp_path / "geometry.py"
    path.write_text(infgeo.emit(infgeo.MLP(name), backend))
    program = f"import sys, runpy; sys.modules['infgeo'] = None; runpy.run_path({str(path)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert ("certified |x|" in lines[0]) == (backend in ("numpy", "torch"))
    assert lines[-1].startswith("passed: ") and len(lines) > 10


def test_a_wrong_file_ends_with_status_one(tmp_path):
    path = tmp_path / "geometry.py"
    source = infgeo.emit(infgeo.MLP("relu"), "mpmath")
    path.write_text(ast.unparse(ast.fix_missing_locations(Corrupt("_moment", 0).visit(ast.parse(source)))))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("FAILED: ") and "FAILED" in done.stdout.splitlines()[0]


class Corrupt(ast.NodeTransformer):
    """Changes what one function returns (of several values, one) by a relative 1e-9."""

    def __init__(self, name, index):
        self.name, self.index, self.inside, self.done = name, index, False, False

    def visit_FunctionDef(self, node):
        if node.name == self.name:
            self.inside = True
            node = self.generic_visit(node)
            self.inside = False
        return node

    def visit_Return(self, node):
        if self.inside:
            value = node.value.elts[self.index] if isinstance(node.value, ast.Tuple) else node.value
            changed = ast.BinOp(value, ast.Mult(), ast.Constant(1 + 1e-9))
            if isinstance(node.value, ast.Tuple):
                node.value.elts[self.index] = changed
            else:
                node.value = changed
            self.done = True
        return node


FORMULAS = {
    "_kernel": 1,
    "_moment": 1,
    "_difference": 2,
    "_derivative_kernel": 1,
    "_derivative_moment": 1,
    "_metric_parts": 3,
    "_ricci_scalar": 1,
}
# In double precision; differences of moments are felt by later layers alone.
CORRUPTIONS = [
    (backend, name, index)
    for backend, formulas in (
        ("numpy", FORMULAS),
        ("torch", FORMULAS | {"_metric_coefficient": 1}),
        ("mpmath", {name: count for name, count in FORMULAS.items() if name != "_difference"}),
    )
    for name, count in formulas.items()
    for index in range(count)
]


@pytest.mark.parametrize(("backend", "name", "index"), CORRUPTIONS)
def test_corrupted_formulas_are_caught(backend, name, index, capsys):
    source = infgeo.emit(infgeo.MLP("erf", depth=2), backend, certificate="none")
    corrupt = Corrupt(name, index)
    tree = ast.fix_missing_locations(corrupt.visit(ast.parse(source)))
    assert corrupt.done
    dps = mpmath.mp.dps
    namespace = {"__name__": "emitted"}
    exec(compile(tree, "<corrupted>", "exec"), namespace)
    formats = namespace["_xp"].formats
    namespace["_xp"].formats = lambda: formats()[:1]
    try:
        assert namespace["_main"]() == 1
    finally:
        mpmath.mp.dps = dps
    assert "FAILED" in capsys.readouterr().out


def test_a_function_that_raises_fails_without_a_traceback(capsys):
    namespace = load(infgeo.emit(infgeo.MLP("relu"), "mpmath"))
    namespace["metric"] = namespace["kernel"]
    namespace["ricci_scalar"] = lambda X, **parameters: 1 / 0
    dps = mpmath.mp.dps
    try:
        assert namespace["_main"]() == 1
    finally:
        mpmath.mp.dps = dps
    assert "ricci_scalar against mpmath: ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.parametrize("d", [1, 4])
def test_networks_of_a_fixed_dimension(d, capsys):
    mlp = infgeo.MLP("relu").at(d=d)
    X = [[0.3] * d, [0.7] * d]
    found, right = (mlp.numeric(backend=name).kernel(X) for name in ("mpmath", "numpy"))
    np.testing.assert_allclose(np.array(found.tolist(), float), right, rtol=1e-14)
    module = load(infgeo.emit(mlp, certificate="none"))
    assert len(module["_INPUTS"][0]) == d
    assert module["_main"]() == 0
    assert {part.quantity for part in certify(mlp)} == (set() if d == 1 else {part.quantity for part in certify(RELU)})


def test_the_reference_is_what_quadrature_gives():
    """The reference comes from the closed forms; here it meets a route that knows nothing of them."""
    namespace = load(infgeo.emit(infgeo.MLP("gelu"), certificate="none"))
    reference = {name: values for name, _, values, _ in namespace["_REFERENCE"]}
    values = {name: float(value) for name, value in namespace["_VALUES"].items()}
    assert values == {"sigma_w": 1.25, "sigma_b": 0.5}
    X = np.array(namespace["_INPUTS"], float)
    assert (X == X.astype(np.float32)).all()
    geo = infgeo.MLP("gelu").numeric(values["sigma_w"], values["sigma_b"], method="quadrature")
    for name in ("kernel", "metric", "ricci_scalar"):
        assert np.allclose(np.ravel(getattr(geo, name)(X)), np.array(reference[name], float), rtol=1e-7), name
    assert all(len(Decimal(value).as_tuple().digits) >= 20 for value in reference["kernel"])


def test_numeric_functions_do_not_pay_for_the_self_test():
    source = module_source(infgeo.MLP("erf"), "numpy")
    assert "_REFERENCE" not in source and "Closed forms" not in source
    source = infgeo.MLP("erf").numeric().source
    assert "_REFERENCE" not in source and "def self_test" not in source and "import infgeo" not in source


def test_the_header_says_where_a_file_comes_from():
    text = ast.get_docstring(ast.parse(infgeo.emit(infgeo.MLP("erf"), "jax")))
    for part in (
        infgeo.__version__,
        "for jax",
        "erf(sqrt(2)*z/2)",
        "R = -pi*s*sigma_w**2*(d - 1)*(d + 2)",
        "Conventions",
    ):
        assert part in text
    assert all(len(line) < LONGEST + 20 for line in text.splitlines())
    assert closed_forms(infgeo.MLP("erf", depth=2)) == ""


def test_importing_a_file_loads_nothing_more_than_its_library(tmp_path):
    (tmp_path / "geometry.py").write_text(infgeo.emit(infgeo.MLP("erf"), "numpy"))
    program = (
        "import sys, numpy, concurrent.futures, os, types, typing; before = set(sys.modules)\n"
        "import geometry; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "geometry" in loaded
    assert not loaded & {"decimal", "fractions", "infgeo", "mpmath", "scipy", "sympy", "torch"}


def test_values_beyond_the_format_leave_a_file_that_runs(capsys):
    """Towers of exponentials overflow at the usual points."""
    assert load(infgeo.emit(infgeo.MLP("exp(z/2)", depth=2), certificate="none"))["_main"]() == 0
    assert "volume_element against mpmath" in capsys.readouterr().out


def test_a_certificate_may_hold_an_infinite_error():
    worst = Certificate("metric", "torch", "float64", math.inf, 1e-12, (1.0, 2.0), (), 3)
    source = _certificate_source([worst]).replace(": dict[str, Any]", "")
    entry = load(source)["CERTIFICATE"]["metric"]["float64"]
    assert entry["largest_relative_error"] == math.inf


def test_a_changed_default_is_caught(capsys):
    source = infgeo.emit(infgeo.MLP("relu"), certificate="none")
    before = "def ricci_scalar(X, *, sigma_w=1.0"
    assert source.count(before) == 1
    assert load(source.replace(before, before + "1"))["_main"]() == 1
    assert "scales are 1 where they are not given" in capsys.readouterr().out


def test_kernels_that_come_together_are_checked(capsys):
    namespace = load(infgeo.emit(infgeo.MLP("relu"), certificate="none"))
    both = namespace["kernel_and_ntk"]
    namespace["kernel_and_ntk"] = lambda X, **scales: (both(X, **scales)[0] * (1 + 1e-6), both(X, **scales)[1])
    namespace["kernel_and_ntk"].__kwdefaults__ = both.__kwdefaults__
    assert namespace["_main"]() == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("FAILED")]
    assert failed and all("kernel is that of kernel_and_ntk" in line for line in failed)


def test_sources_are_the_same_in_every_process():
    """The powers of a formula are a set, whose order depends on the seed of hashes."""
    program = (
        "from infgeo.numeric.source.powers import shared_powers\n"
        "from infgeo.symbolic.algebra.program import Program; import sympy;"
        "v = sympy.Symbol('v', positive=True);"
        "print(shared_powers(Program((), {'y': sum((k + v) ** -p for k in range(1, 9) for p in (1, 2))})))"
    )
    sources = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(sources) == 1


def test_plain_files_are_short():
    """They had 1891 lines: formulas, checks, broadcasting, the self-test are left."""
    lines = infgeo.emit(infgeo.MLP("erf"), certificate="none").splitlines()
    assert len(lines) <= 1211  # 60 of them for a scale of each coordinate, 20 for opposite and near points


def test_fast_files_compute_the_same(tmp_path, monkeypatch):
    """As a file, where Numba keeps what it compiles, and as text, with both kernels and with threads."""
    pytest.importorskip("numba")
    mlp = infgeo.MLP("leaky_relu")
    source = infgeo.emit(mlp, certificate="none", style="fast")
    assert load(source)["_main"]() == 0
    (tmp_path / "fast_geometry.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("fast_geometry")
    monkeypatch.setattr(module, "FEW", 100)
    X = np.random.default_rng(0).normal(size=(300, 4))
    geo = mlp.numeric(alpha=0.2)
    norms = np.sqrt(np.outer(geo.ntk_diag(X), geo.ntk_diag(X)))
    for found, truth in zip(module.kernel_and_ntk(X, alpha=0.2, threads=2), geo.kernel_and_ntk(X), strict=True):
        assert (np.abs(found - truth) <= 1e-13 * norms).all()
    out = np.empty((300, 300))
    assert module.kernel(X, alpha=0.2, out=out) is out
    assert (np.abs(out - geo.kernel(X)) <= 1e-13 * norms).all()
    with pytest.raises(infgeo.errors.InvalidInput, match="style"):
        infgeo.emit(mlp, "mpmath", style="fast")
