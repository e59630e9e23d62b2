"""The source of a network's module: its formulas, the object that holds them, and the public functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from sympy import Symbol

from infgeo import __version__
from infgeo.conventions import DEFAULT_BIAS_STD, DEFAULT_WEIGHT_STD
from infgeo.numeric.source.conditions import bounds_of, domain_source, vanishing_source
from infgeo.numeric.source.formulas import (
    laws,
    missing_kernel,
    network_source,
    own_parameters,
)
from infgeo.numeric.source.inlining import inlined
from infgeo.numeric.source.methods import methods_of
from infgeo.numeric.source.names import in_code, public_name
from infgeo.numeric.source.of_formula import OF_METRIC, REFUSES_NEAR, Formula
from infgeo.numeric.source.printing import DOUBLE_DOUBLE, Backend, backend_named, function_source
from infgeo.numeric.source.radial import radial
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.networks.layers import Dense
from infgeo.symbolic.networks.network import MLP

# Public function -> (points it takes, what it returns).
PUBLIC = {
    "kernel": ("X, Y=None", "the NNGP kernel, (N, d), (M, d) -> (N, M); its diagonal without Y is that of kernel_diag"),
    "ntk": ("X, Y=None", "the neural tangent kernel, (N, d), (M, d) -> (N, M)"),
    "kernel_and_ntk": ("X, Y=None", "both kernels, at little more than the cost of the tangent kernel"),
    "kernel_diag": ("X", "k(x, x), (..., d) -> (...)"),
    "ntk_diag": ("X", "the tangent kernel at (x, x), (..., d) -> (...)"),
    "kernel_distance": (
        "X, Y=None, squared=False",
        "|Phi(x) - Phi(y)|, or its square, (N, d), (M, d) -> (N, M), accurate for close points too",
    ),
    "metric": ("X", "the metric g = A I + B x x^T, (..., d) -> (..., d, d)"),
    "volume_element": ("X", "sqrt(det g), (..., d) -> (...)"),
    "log_volume_element": ("X", "log sqrt(det g), (..., d) -> (...), without overflow or underflow"),
    "ricci_scalar": ("X", "the Ricci scalar, positive on spheres, (..., d) -> (...)"),
}
# What fast Gram matrices take besides: an array to write to (a pair of them for both kernels), and how many threads
# work; None stands for OMP_NUM_THREADS or all processors, or torch's number.
OPTIONS = ("out", "threads")
WITH_OPTIONS = ("kernel", "ntk", "kernel_and_ntk")
DEFAULTS = {"sigma_w": DEFAULT_WEIGHT_STD, "sigma_b": DEFAULT_BIAS_STD}
_ARRAYS = {"numpy": "NumpyArrays", "torch": "TorchArrays", "jax": "JaxArrays", "mpmath": "MpmathArrays"}
_LIBRARY = {
    "numpy": "import numpy as np\nfrom scipy import special",
    "torch": "import torch",
    "jax": "import jax\nimport jax.numpy as jnp",
}
_IMPORTS = """from __future__ import annotations

import math
from typing import Any

{library}

from infgeo.numeric.runtime.arrays.of_{backend} import {arrays}
from infgeo.numeric.runtime.double_double import (
    DoubleDouble,
    as_doubles,
    dd_atan,
    dd_atan2,
    dd_cos,
    dd_exp,
    dd_exp_difference,
    dd_power,
    dd_sin,
    dd_sqrt,
    determinant_by,
)
from infgeo.numeric.runtime.double_double_erf import dd_erf, dd_erfc, dd_scaled_erfc
from infgeo.numeric.runtime.errors import DoesNotExist
from infgeo.numeric.runtime.formula import OfFormula
from infgeo.numeric.runtime.geometry import Geometry
from infgeo.numeric.runtime.gram.fast import FastGram, PairLaw, compiler
from infgeo.numeric.runtime.gram.series import HermiteSeries
from infgeo.numeric.runtime.layers import Dense, Residual, RMSNorm
from infgeo.numeric.runtime.neighbours import Neighbours
from infgeo.numeric.runtime.nodes import OfVariance, of_variance, over_nodes
from infgeo.numeric.runtime.quadrature import Integrand
from infgeo.numeric.runtime.records import Law
from infgeo.numeric.runtime.self_test import self_test
from infgeo.numeric.runtime.slope_integral import SlopeIntegral

_xp = {arrays}()
"""
_HEADER = '''"""Geometry that a network of infinite width induces on its input space.

{network}

Functions: {functions}.
Parameters of each, by name: {parameters}.

{forms}Emitted by infgeo {version} for {backend}{program}.

Conventions: first layer z = w.x + b with w ~ N(0, sigma_w^2 I{fan_in}) and b ~ N(0, sigma_b^2); hidden weights
N(0, sigma_w^2 / n); features phi(z_j) / sqrt(n) of the last hidden layer. Points are arrays (..., d), for kernels
(N, d). g = A I + B x x^T; the Ricci scalar R is positive on spheres.
{notes}"""
'''


def functions_of(mlp: MLP | Formula, asked: str | None = None) -> tuple[str, ...]:
    """Return the names of the functions of a network or of formulas."""
    if isinstance(mlp, Formula):
        return mlp.functions
    return ("kernel_diag", *OF_METRIC) if missing_kernel(mlp, asked) else tuple(PUBLIC)


def compiled(
    program: Program, arrays: Sequence[Symbol], scalars: Sequence[Symbol], backend_name: str, precise: bool = False
) -> Callable:
    """Return a program as a function of arrays and scalars, in the order given, of one library.

    With `precise` it is computed in double-double numbers; raises NoClosedForm where these do not have its functions.
    """
    backend = DOUBLE_DOUBLE if precise else backend_named(backend_name)
    source = function_source("values", program, arrays, scalars, backend, "")
    source += "\n\n\nvalues = as_doubles(_xp, values)" if precise else ""
    namespace: dict[str, Any] = {"__name__": f"infgeo_emitted_{backend_name}"}
    exec(compile(f"{_head(backend_name)}\n\n{source}\n", f"<emitted for {backend_name}>", "exec"), namespace)
    function: Callable = namespace["values"]
    return function


def _head(backend_name: str) -> str:
    arrays, library = _ARRAYS[backend_name], _LIBRARY.get(backend_name, "import mpmath")
    return _IMPORTS.format(library=library, backend=backend_name, arrays=arrays)


@lru_cache(maxsize=64)
def module_source(
    mlp: MLP | Formula, backend_name: str, fast: str = "", more: str = "", asked: str | None = None
) -> str:
    """Return the source of a module that imports the runtime.

    Args:
        mlp: the network or formulas.
        backend_name: "numpy", "torch", "jax" or "mpmath".
        fast: source that defines `_FAST`, what computes Gram matrices in blocks and threads; none in plain files.
        more: further sections.
        asked: "quadrature" for expectations that are integrated numerically throughout.
    """
    backend, coded = backend_named(backend_name), in_code(mlp)
    formulas, _ = _formulas(coded, backend.name, asked)
    head, arrays = _head(backend.name), _ARRAYS[backend.name]
    if backend.name == "jax":
        head = head.replace(f"import {arrays}", f"import {arrays}, scalars")
    if backend.exact_numbers:
        head = head.replace(f"import {arrays}", f"import {arrays}, remembered")
    return (
        "\n\n\n".join([head, *formulas, *([fast] if fast else []), *_public(coded, backend, bool(fast), asked), more])
        + "\n"
    )


def standalone(
    mlp: MLP | Formula, backend_name: str, forms: str = "", fast: str = "", more: str = "", main: str = ""
) -> str:
    """Return the source of a module that stands alone.

    Args:
        mlp: the network or formulas.
        backend_name: "numpy", "torch", "jax" or "mpmath".
        forms: lines for its head.
        fast: see `module_source`.
        more: definitions that `main` uses.
        main: its end, what runs when it is imported or called as a program.
    """
    names = [*functions_of(mlp), *(("_main", "CERTIFICATE") if main else ())]
    coded = in_code(mlp)
    imports, body = inlined(module_source(mlp, backend_name, fast, more), names)
    header = _HEADER.format(
        network=mlp,
        functions=", ".join(functions_of(mlp)),
        parameters=signature(coded) or "none",
        forms=f"{forms}\n" if forms else "",
        version=__version__,
        backend=backend_name,
        program="; run as a program, it checks itself" if main else "",
        fan_in=" / d" if mlp.input_scale else "",
        notes="".join(f"{note}\n" for note in (*_notes(coded), *_formulas(coded, backend_name)[1])),
    )
    # Without it annotations are values: dataclasses look up strings in a module, which `exec` of a file does not make.
    lines = [line for line in imports if "__future__" not in line]
    known = ("numpy", "scipy", "numba", "torch", "jax", "mpmath")
    standard = [line for line in lines if line.split()[1].split(".")[0] not in known]
    parts = [*_grouped(standard), "", *_grouped(line for line in lines if line not in standard)]
    parts += ["", f"__all__ = {list(functions_of(mlp))}"]
    ending = f"\n\n\n{main}" if main else ""
    return header + "\n" + "\n".join(parts) + f"\n\n\n{body}{ending}\n"


def _grouped(lines: Iterable[str]) -> list[str]:
    """Return lines of imports sorted, one for each module."""
    names: dict[str, list[str]] = {}
    for line in sorted(lines):
        head, _, name = line.partition(" import ")
        names.setdefault(head if name else line, []).append(name)
    return [f"{head} import {', '.join(found)}" if found[0] else head for head, found in sorted(names.items())]


def refuses_near(mlp: MLP | Formula, backend_name: str) -> bool:
    """Return whether distances of neighbouring points are refused."""
    return any(note.startswith(REFUSES_NEAR) for note in _formulas(in_code(mlp), backend_name)[1])


@lru_cache(maxsize=64)
def _formulas(
    mlp: MLP | Formula, backend_name: str, asked: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sources of the formulas, and notes about what there is none of."""
    backend, notes = backend_named(backend_name), list[str]()
    methods = methods_of(mlp, asked)
    formulas = [*laws(mlp, backend, notes, methods), *radial(mlp, backend, notes, methods)]
    return tuple(formulas), tuple(notes)


def _public(mlp: MLP | Formula, backend: Backend, fast: bool, asked: str | None) -> list[str]:
    """Return the end of the module: the object that holds the formulas, and the public functions."""
    names = [public_name(symbol.name) for symbol in mlp.parameters]
    bounds = bounds_of(mlp)
    own = tuple(public_name(symbol.name) for symbol in own_parameters(mlp))
    fields = {
        "laws": "_LAWS",
        "network": "_network",
        "parameters": repr(bounds),
        "own": repr(own),
        "parts": "_metric_parts",
        "ricci": "_ricci_scalar",
        "logarithm": "_log_metric",
        "coefficient": "_metric_coefficient" if backend.differentiable else "None",
        "variances": "_VARIANCES",
        "vanishes": vanishing_source(mlp, methods_of(mlp, asked)),
        "domain": domain_source(mlp),
        "fast": "_FAST" if fast else "None",
        "first_scale": repr(first_scale(mlp)),
    }
    lines = [f"    {name}={text}," for name, text in fields.items() if text != "None"]
    kind = "OfFormula" if isinstance(mlp, Formula) else "Geometry"
    sections = [network_source(mlp, backend), "\n".join([f"_GEOMETRY = {kind}(\n    _xp,", *lines, ")"])]
    values = "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"
    for name in functions_of(mlp, asked):
        points, returned = PUBLIC[name]
        options = OPTIONS if fast and name in WITH_OPTIONS else ()
        pairs = [part.partition("=") for part in points.split(", ")]
        ours = {part: _apart(part, names) for part in (*(part for part, *_ in pairs), *options)}
        head = ", ".join(f"{ours[part]}{sign}{default}" for part, sign, default in pairs)
        keywords = ", ".join(filter(None, (signature(mlp), *(f"{ours[option]}=None" for option in options))))
        arguments = ", ".join(ours[part] for part, *_ in pairs)
        if options:
            arguments += f", ({', '.join(ours[option] for option in options)})"
        sections.append(
            f'def {name}({head}{f", *, {keywords}" if keywords else ""}):\n    """Return {returned}."""\n'
            f"    return _GEOMETRY.{name}({values}, {arguments})"
        )
    return sections


def first_scale(mlp: MLP | Formula) -> str | None:
    """Return the parameter that is the weights' standard deviation of a first dense layer."""
    first = mlp.layers[0] if mlp.layers else None
    std = first.weight_std if isinstance(first, Dense) else None
    return public_name(std.name) if isinstance(std, Symbol) else None


def _notes(mlp: MLP | Formula) -> list[str]:
    """Return what the head says of a standard deviation for each coordinate."""
    name = first_scale(mlp)
    return (
        [f"{name} may be a list, one for each coordinate in the first layer; elsewhere it is then 1."] if name else []
    )


def _apart(name: str, taken: Sequence[str]) -> str:
    """Return the name of an argument, with a line below where a parameter is called so."""
    return name if name not in taken else _apart(f"{name}_", taken)


def signature(mlp: MLP | Formula) -> str:
    """Return the parameters as they stand in a signature, sigma_w and sigma_b with their defaults."""
    names = [public_name(symbol.name) for symbol in mlp.parameters]
    return ", ".join(f"{name}={DEFAULTS[name]}" if name in DEFAULTS else name for name in names)
