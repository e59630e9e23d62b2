"""`infgeo.emit`: the numeric geometry of a network as the source of a standalone module."""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from sympy import Symbol

from infgeo import __version__
from infgeo.conventions import DEFAULT_BIAS_STD, DEFAULT_WEIGHT_STD, Delta, c, d, p, q, s
from infgeo.conventions import variance as v
from infgeo.errors import InfgeoError, MetricDoesNotExist, NoClosedForm
from infgeo.numeric.printing import Backend, backend_named, function_source, scalar_source
from infgeo.symbolic.difference import delta, difference_program, omega
from infgeo.symbolic.dual import Dual
from infgeo.symbolic.program import Program

if TYPE_CHECKING:
    from infgeo.symbolic.network import MLP

PUBLIC = (
    "kernel",
    "ntk",
    "kernel_diag",
    "kernel_distance",
    "metric",
    "volume_element",
    "log_volume_element",
    "ricci_scalar",
)
DEFAULTS = {"sigma_w": DEFAULT_WEIGHT_STD, "sigma_b": DEFAULT_BIAS_STD}
_IMPORTS = {"numpy": "import numpy as np", "torch": "import torch", "mpmath": "import mpmath"}
_HEADER = '''"""Geometry that a network of infinite width induces on its input space.

{network}

Emitted by infgeo {version} for {backend}. Conventions: first layer z = w.x + b with w ~ N(0, sigma_w^2 I{fan_in}) and
b ~ N(0, sigma_b^2); hidden weights N(0, sigma_w^2 / n); features phi(z_j) / sqrt(n) of the last hidden layer. Points
are arrays (..., d), for kernels (N, d). The Ricci scalar is positive on spheres.
{notes}"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

{imports}
'''


def emit(mlp: MLP, backend: str = "numpy") -> str:
    """Return the source of a module with the numeric geometry of `mlp`; it imports its array library alone.

    The module has kernel(X, Y=None), ntk(X, Y=None), kernel_diag(X), kernel_distance(X, Y), metric(X),
    volume_element(X), log_volume_element(X) and ricci_scalar(X). Scales and parameters that the network leaves symbolic
    are keyword arguments; sigma_w and sigma_b default to 1.

    Arguments:
        mlp: an `infgeo.MLP`.
        backend: "numpy" (also imports scipy.special where it needs erf), "torch" or "mpmath".

    Raises:
        NoClosedForm: the activation's kernel has no closed form.
        InvalidInput: unknown backend.
    """
    return _emit(mlp, backend_named(backend).name)


@lru_cache(maxsize=64)
def _emit(mlp: MLP, backend_name: str) -> str:
    backend = backend_named(backend_name)
    notes: list[str] = []
    formulas = [*_law(mlp, backend, notes), *_radial(mlp, backend, notes)]
    runtime = _runtime(f"for_{backend.name}"), _runtime("common")
    body = "\n\n\n".join([*runtime, *formulas, _geometry(mlp, backend)])
    imports = _IMPORTS[backend.name] + ("\nfrom scipy import special" if "special." in "".join(formulas) else "")
    header = _HEADER.format(
        network=mlp,
        version=__version__,
        backend=backend.name,
        fan_in=" / d" if mlp.input_scale else "",
        notes="".join(f"{note}\n" for note in notes),
        imports=imports,
    )
    if "math." not in body:
        header = header.replace("import math\n", "")
    return f"{header}\n\n{body}\n"


def parameters_of(mlp: MLP) -> tuple[Symbol, ...]:
    """Return the symbols a network's functions need values for: its symbolic scales and the activation's parameters."""
    scales = mlp.weight_std.free_symbols | mlp.bias_std.free_symbols
    return (*sorted(scales, key=lambda symbol: symbol.name, reverse=True), *mlp.activation.parameters)


def _runtime(name: str) -> str:
    """Return a module of `runtime` without its docstring and imports."""
    source = resources.files("infgeo.numeric.runtime").joinpath(f"{name}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    tree = ast.parse(source)
    preamble = [
        node
        for i, node in enumerate(tree.body)
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (i == 0 and isinstance(node, ast.Expr))
    ]
    for node in preamble:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "\n".join(lines).strip()


def _law(mlp: MLP, backend: Backend, notes: list[str]) -> list[str]:
    """Return the formulas of the activation, and the list of laws, one a layer."""
    dual, own = mlp.dual, mlp.activation.parameters
    pair = [p, q, c, Delta]
    formulas = [
        function_source("_kernel", Program((), {"k": dual.kernel}), pair, own, backend, "E[phi(u) phi(v)]"),
        function_source("_moment", Program((), {"m": dual.m}), [v], own, backend, "E[phi(u)^2]"),
    ]
    members = ["kernel=_kernel", "moment=_moment", "difference=_difference"]
    formulas.append(_difference(dual, backend, notes))
    try:
        derivatives = {"_derivative_kernel": (dual.derivative_kernel, pair), "_derivative_moment": (dual.m0, [v])}
        for name, (expr, arguments) in derivatives.items():
            doc = "E[phi'(u) phi'(v)]" if len(arguments) > 1 else "E[phi'(u)^2]"
            formulas.append(function_source(name, Program((), {"k": expr}), arguments, own, backend, doc))
            members.append(f"{name.strip('_')}={name}")
    except InfgeoError as error:
        notes.append(f"No tangent kernel: {error}.")
    formulas.append(f"_LAWS = [SimpleNamespace({', '.join(members)})] * {mlp.depth}")
    return formulas


def _difference(dual: Dual, backend: Backend, notes: list[str]) -> str:
    """Return the source of `_difference`: free of cancellation where the kernel's form allows it."""
    by_subtraction = "_difference = _by_subtraction(_kernel, _moment)"
    if backend.name == "mpmath":
        return by_subtraction
    try:
        program = difference_program(dual.kernel, p, q, c, Delta)
    except NoClosedForm as error:
        notes.append(f"kernel_distance subtracts kernels and loses digits for neighbouring points ({error}).")
        return by_subtraction
    outputs = {"squared": program.squared_distance, "moments": program.moment_difference}
    arguments = [p, q, omega, delta, c, Delta]
    doc = "E[(phi(u) - phi(v))^2] and E[phi(u)^2 - phi(v)^2], free of cancellation"
    return function_source(
        "_difference", Program(program.bindings, outputs), arguments, dual.activation.parameters, backend, doc
    )


def _radial(mlp: MLP, backend: Backend, notes: list[str]) -> list[str]:
    """Return the formulas of the metric in s = |x|^2; without a metric, functions that say so."""
    scalars = [d, *parameters_of(mlp)]
    try:
        program = mlp.metric.program
    except MetricDoesNotExist as error:
        notes.append(f"No metric: {error}.")
        message = f"raise DoesNotExist({str(error)!r})"
        return [
            f"def {name}(s, *scalars):\n    {message}"
            for name in ("_metric_parts", "_metric_coefficient", "_ricci_scalar")
        ]
    curvature = "R_float" if "R_float" in program.outputs and not backend.exact_numbers else "R"
    return [
        function_source(
            "_metric_parts",
            program.select(["A", "shear", "eta"]),
            [s],
            scalars,
            backend,
            "A, s B/A and (A + s B)/A of the metric A I + B x x^T",
        ),
        function_source("_metric_coefficient", program.select(["B"]), [s], scalars, backend, "B of A I + B x x^T"),
        function_source("_ricci_scalar", program.select([curvature]), [s], scalars, backend, "The Ricci scalar"),
    ]


def _geometry(mlp: MLP, backend: Backend) -> str:
    """Return the end of the module: the object that holds the formulas, and its methods as functions."""
    parameters = parameters_of(mlp)
    own = tuple(symbol.name for symbol in mlp.activation.parameters)
    defaults = {symbol.name: None if symbol.name in own else DEFAULTS.get(symbol.name, 1.0) for symbol in parameters}
    variances = [scalar_source(part, backend) for part in (mlp.input_variance, mlp.weight_std**2, mlp.bias_std**2)]
    arguments = ", ".join(["d", *defaults])
    lines = [
        f"def _variances({arguments}):",
        '    """The variances of a first-layer weight, a hidden weight and a bias."""',
        f"    return {', '.join(variances)}",
        "",
        "",
        "_GEOMETRY = Geometry(",
        f"    _LAWS, _metric_parts, _metric_coefficient, _ricci_scalar, _variances, {defaults}, {own}",
        ")",
        *(f"{name} = _GEOMETRY.{name}" for name in PUBLIC),
    ]
    return "\n".join(lines)
