"""`infgeo.emit`: the numeric geometry of a network as the source of a standalone module."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from infgeo import __version__
from infgeo.arguments import one_of
from infgeo.conventions import DEFAULT_BIAS_STD, DEFAULT_WEIGHT_STD
from infgeo.numeric.certificates.reference_values import closed_forms, self_test_data
from infgeo.numeric.source.formulas import (
    IN_BLOCKS,
    bound_of,
    domain_source,
    laws,
    network_source,
    own_parameters,
    radial,
    vanishing_source,
)
from infgeo.numeric.source.names import in_code, public_name
from infgeo.numeric.source.of_formula import Formula, subject_of
from infgeo.numeric.source.printing import Backend, backend_named

if TYPE_CHECKING:
    from infgeo.numeric.certificates.certificate import Certificate
    from infgeo.symbolic.geometry.metric import RadialMetric
    from infgeo.symbolic.kernels.kernel import Kernel
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
# What Gram matrices in blocks take besides: an array to write to (a pair of them for both kernels), and how many
# threads work; None stands for OMP_NUM_THREADS or all processors, or torch's number.
OPTIONS = ("out", "threads")
_WITH_OPTIONS = ("kernel", "ntk", "kernel_and_ntk")
CERTIFICATE_CHOICES = ("required", "stated", "none")
DEFAULTS = {"sigma_w": DEFAULT_WEIGHT_STD, "sigma_b": DEFAULT_BIAS_STD}
_IMPORTS = {
    "numpy": "import numpy as np",
    "torch": "import torch",
    "jax": "import jax\nimport jax.numpy as jnp\nimport numpy as np",
    "mpmath": "import mpmath",
}
_HEADER = '''"""Geometry that a network of infinite width induces on its input space.

{network}

Functions: {functions}.
Parameters of each, by name: {parameters}.

{forms}Emitted by infgeo {version} for {backend}; run as a program, it checks itself.

Conventions: first layer z = w.x + b with w ~ N(0, sigma_w^2 I{fan_in}) and b ~ N(0, sigma_b^2); hidden weights
N(0, sigma_w^2 / n); features phi(z_j) / sqrt(n) of the last hidden layer. Points are arrays (..., d), for kernels
(N, d). g = A I + B x x^T; the Ricci scalar R is positive on spheres.
{notes}"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

{imports}
'''
# Name -> the line that imports it, left out where it is not used.
_OPTIONAL_IMPORTS = {
    "math": "import math\n",
    "os": "import os\n",
    "Iterator": "Iterator, ",
    "nullcontext": "from contextlib import nullcontext\n",
    "ThreadPoolExecutor": "from concurrent.futures import ThreadPoolExecutor\n",
}


def emit(mlp: MLP | Kernel | RadialMetric, backend: str = "numpy", certificate: str | None = None) -> str:
    """Return the source of a module with the numeric geometry of `mlp`; it imports its array library alone.

    The module has kernel(X, Y=None), ntk(X, Y=None), kernel_and_ntk(X, Y=None), kernel_diag(X), kernel_distance(X, Y),
    metric(X), volume_element(X), log_volume_element(X) and ricci_scalar(X). Scales and parameters that the network
    leaves symbolic are keyword arguments; sigma_w and sigma_b default to 1. For NumPy and torch the first three also
    take `out` and `threads`. Where a parameter is called like one of these arguments, the argument is called X_, out_,
    ... instead.

    Each function carries what was measured of it in its attribute `certificate` (all of them are in CERTIFICATE): the
    largest error over a stated sample against 50 digits, in float64 and float32. Run as a program, the file tests
    itself.

    Arguments:
        mlp: an `infgeo.MLP`; or a kernel or a `RadialMetric`, of which the module has the functions that there are:
            kernel, kernel_diag, kernel_distance, and the four of the metric.
        backend: "numpy" (also imports scipy.special where it needs erf), "torch", "jax" or "mpmath".
        certificate: "required" measures every function and refuses one that misses its bound (see
            `infgeo.numeric.certificates.certificate.certify`), "stated" emits it all the same with its errors, "none"
            measures nothing. By default "required" for networks in NumPy, "stated" for kernels and metrics there, and
            for torch, whose widest format is double precision, and "none" for jax, which has to compile; mpmath is what
            is measured against.

    Raises:
        NoClosedForm: the activation's kernel has no closed form.
        NotAccurate: a function misses its bound.
        InvalidInput: unknown backend.
    """
    subject, name = subject_of(mlp, "emit"), backend_named(backend).name
    if certificate is None:
        certificate = {"numpy": "required", "torch": "stated"}.get(name, "none")
        certificate = "stated" if certificate == "required" and isinstance(subject, Formula) else certificate
    certificate = one_of(certificate, "certificate", CERTIFICATE_CHOICES)
    measured = () if certificate == "none" or name == "mpmath" else _measured(subject, name, certificate == "required")
    return _emit(subject, name, True, measured)


def _measured(mlp: MLP | Formula, backend_name: str, required: bool) -> tuple[Certificate, ...]:
    from infgeo.numeric.certificates.certificate import certify, require

    certificates = tuple(part for dtype in ("float64", "float32") for part in certify(mlp, backend_name, dtype))
    if required:
        require(certificates)
    return certificates


def module_source(mlp: MLP | Formula, backend: str) -> str:
    """Return the source of the functions alone, without provenance and self-test."""
    return _emit(mlp, backend_named(backend).name, False)


class _Literal(float):
    """A number whose representation is source of it, also where it is infinite."""

    def __repr__(self) -> str:
        return super().__repr__() if math.isfinite(self) else f"float('{self!s}')"

    __str__ = float.__repr__


def _certificate_source(certificates: Sequence[Certificate]) -> str:
    """Return the source of CERTIFICATE: function -> format -> what was measured."""
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for part in certificates:
        entry = {
            "largest_relative_error": _Literal(f"{part.error:.3g}"),
            "bound": part.bound,
            "lengths": tuple(float(f"{length:.4g}") for length in part.lengths),
            "parameters": [dict(values) for values in part.parameters],
            "values": part.count,
        }
        entries.setdefault(part.quantity, {})[part.dtype] = entry
    lines = []
    for name, formats in entries.items():
        lines += [
            f"    {name!r}: {{",
            *(f"        {dtype!r}: {entry!r}," for dtype, entry in formats.items()),
            "    },",
        ]
    return "\n".join(["CERTIFICATE: dict[str, Any] = {", *lines, "}"])


@lru_cache(maxsize=64)
def _emit(mlp: MLP | Formula, backend_name: str, complete: bool, certificates: tuple[Certificate, ...] = ()) -> str:
    for layer in mlp.with_weights:
        _ = layer.activation.terms  # so that an error names what the user wrote
    backend, coded = backend_named(backend_name), in_code(mlp)
    formulas, notes = _formulas(coded, backend.name)
    names = functions_of(mlp)
    sections = [_runtimes(backend.name), *formulas, *_public(coded, backend)]
    end = ""
    if complete:
        sections += [_certificate_source(certificates), self_test_data(mlp), _runtime("self_test")]
        end = "\n\nfor _function in (" + ", ".join(names) + ",):\n"
        end += "    _function.certificate = CERTIFICATE.get(_function.__name__, {})\n"
        end += '\n\nif __name__ == "__main__":\n    raise SystemExit(_self_test())\n'
    body = _reachable("\n\n\n".join(sections), [*names, "_self_test"] if complete else names)
    uses = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    header = _HEADER.format(
        network=mlp,
        functions=", ".join(names),
        parameters=_signature(coded) or "none",
        forms=f"{closed_forms(mlp)}\n" if complete else "",
        version=__version__,
        backend=backend.name,
        fan_in=" / d" if mlp.input_scale else "",
        notes="".join(f"{note}\n" for note in notes),
        imports=_IMPORTS[backend.name] + ("\nfrom scipy import special" if "special" in uses else ""),
    )
    for name, line in _OPTIONAL_IMPORTS.items():
        if name not in uses:
            header = header.replace(line, "")
    return f"{header}\n__all__ = {list(names)}\n\n\n{body}\n{end}"


@lru_cache(maxsize=64)
def _formulas(mlp: MLP | Formula, backend_name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sources of the formulas, and notes about what there is none of."""
    backend, notes = backend_named(backend_name), list[str]()
    formulas = [*laws(mlp, backend, notes), *radial(mlp, backend, notes)]
    return tuple(formulas), tuple(notes)


def _reachable(source: str, roots: Iterable[str]) -> str:
    """Return `source` with only those top-level definitions that the roots use, directly or not."""
    lines, nodes = source.splitlines(), ast.parse(source).body
    defined: dict[str, int] = {}
    texts: list[str] = []
    previous = 0
    for i, node in enumerate(nodes):
        end = node.end_lineno or node.lineno
        texts.append("\n".join(lines[previous:end]).strip("\n"))
        previous = end
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        defined.update(dict.fromkeys([getattr(node, "name", ""), *names], i))
    pending, kept = [defined[name] for name in roots], set[int]()
    while pending:
        i = pending.pop()
        if i not in kept:
            kept.add(i)
            used = {part.id for part in ast.walk(nodes[i]) if isinstance(part, ast.Name)}
            pending += [defined[name] for name in used if name in defined]
    return "\n\n\n".join(texts[i] for i in sorted(kept))


def runtime_source(backend: str) -> str:
    """Return what emitted modules for a backend have before their formulas, with its imports."""
    header = _HEADER.partition("from __future__")
    return header[1] + header[2].format(imports=_IMPORTS[backend]) + _runtimes(backend)


def _runtimes(backend: str) -> str:
    names = [f"for_{backend}", "common", "angle"]
    if backend != "mpmath":
        names += ["range", "twofold"]
    if backend in IN_BLOCKS:
        names += ["blocks", "bent", "felt", f"blocks_{backend}"]
    return "\n\n\n".join(map(_runtime, names))


def _runtime(name: str) -> str:
    """Return a module of `runtime` without its docstring and imports (nothing else there is conditional)."""
    source = resources.files("infgeo.numeric.runtime").joinpath(f"{name}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    tree = ast.parse(source)
    preamble = [
        node
        for i, node in enumerate(tree.body)
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.If)) or (i == 0 and isinstance(node, ast.Expr))
    ]
    for node in preamble:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "\n".join(lines).strip()


def _public(mlp: MLP | Formula, backend: Backend) -> list[str]:
    """Return the end of the module: the object that holds the formulas, and the public functions."""
    names = [public_name(symbol.name) for symbol in mlp.parameters]
    bounds = {public_name(symbol.name): bound_of(symbol) for symbol in mlp.parameters}
    own = tuple(public_name(symbol.name) for symbol in own_parameters(mlp))
    coefficient = "_metric_coefficient" if backend.differentiable else None
    sections = [
        network_source(mlp, backend),
        f"_GEOMETRY = Geometry(\n    _LAWS, _metric_parts, _log_metric, {coefficient}, _ricci_scalar, _network,"
        f" {bounds}, {own}, {vanishing_source(mlp)}, _VARIANCES, {domain_source(mlp)}\n)",
    ]
    values = "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"
    for name in functions_of(mlp):
        points, returned = PUBLIC[name]
        options = OPTIONS if backend.name in IN_BLOCKS and name in _WITH_OPTIONS else ()
        pairs = [part.partition("=") for part in points.split(", ")]
        ours = {part: _apart(part, names) for part in (*(part for part, *_ in pairs), *options)}
        head = ", ".join(f"{ours[part]}{sign}{default}" for part, sign, default in pairs)
        signature = ", ".join(filter(None, (_signature(mlp), *(f"{ours[option]}=None" for option in options))))
        keywords = f", *, {signature}" if signature else ""
        arguments = ", ".join(ours[part] for part, *_ in pairs)
        if options:
            arguments += f", ({', '.join(ours[option] for option in options)})"
        sections.append(
            f'def {name}({head}{keywords}):\n    """Return {returned}."""\n'
            f"    return _GEOMETRY.{name}({values}, {arguments})"
        )
    return sections


def functions_of(mlp: MLP | Formula) -> tuple[str, ...]:
    """Return the names of the functions of a network or of formulas."""
    return mlp.functions if isinstance(mlp, Formula) else tuple(PUBLIC)


def _apart(name: str, taken: Sequence[str]) -> str:
    """Return the name of an argument, with a line below where a parameter is called so."""
    return name if name not in taken else _apart(f"{name}_", taken)


def _signature(mlp: MLP | Formula) -> str:
    """Return the parameters as they stand in a signature, sigma_w and sigma_b with their defaults."""
    names = [public_name(symbol.name) for symbol in mlp.parameters]
    return ", ".join(f"{name}={DEFAULTS[name]}" if name in DEFAULTS else name for name in names)
