"""`infgeo.emit`: the numeric geometry of a network as the source of a standalone module."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sympy import Eq, Expr, Integer, Symbol, exp, false
from sympy.logic.boolalg import Boolean
from sympy.printing.pycode import PythonCodePrinter

from infgeo import __version__
from infgeo.conventions import DEFAULT_BIAS_STD, DEFAULT_WEIGHT_STD, Delta, c, d, delta, omega, p, q, s
from infgeo.conventions import variance as v
from infgeo.errors import InfgeoError, InvalidInput, MetricDoesNotExist, NoClosedForm, SingularMetric
from infgeo.numeric.cosine_form import cosine_form
from infgeo.numeric.in_place import block_source
from infgeo.numeric.printing import WIDE, Backend, backend_named, function_source, scalar_source
from infgeo.numeric.self_test import closed_forms, self_test_data
from infgeo.symbolic.difference import difference_program
from infgeo.symbolic.dual import Dual, dual
from infgeo.symbolic.existence import degenerate_at_origin
from infgeo.symbolic.exponentials import grows, paired
from infgeo.symbolic.layers import Residual, RMSNorm, parameters_of
from infgeo.symbolic.program import Program
from infgeo.symbolic.simplify import tidy

if TYPE_CHECKING:
    from infgeo.numeric.certificate import Certificate
    from infgeo.symbolic.activation import Activation
    from infgeo.symbolic.network import MLP

# Public function -> (points it takes, what it returns).
PUBLIC = {
    "kernel": ("X, Y=None", "the NNGP kernel, (N, d), (M, d) -> (N, M); its diagonal without Y is that of kernel_diag"),
    "ntk": ("X, Y=None", "the neural tangent kernel, (N, d), (M, d) -> (N, M)"),
    "kernel_and_ntk": ("X, Y=None", "both kernels, at little more than the cost of the tangent kernel"),
    "kernel_diag": ("X", "k(x, x), (..., d) -> (...)"),
    "ntk_diag": ("X", "the tangent kernel at (x, x), (..., d) -> (...)"),
    "kernel_distance": (
        "X, Y=None",
        "|Phi(x) - Phi(y)|, (N, d), (M, d) -> (N, M), accurate for close points too",
    ),
    "metric": ("X", "the metric g = A I + B x x^T, (..., d) -> (..., d, d)"),
    "volume_element": ("X", "sqrt(det g), (..., d) -> (...)"),
    "log_volume_element": ("X", "log sqrt(det g), (..., d) -> (...), without overflow or underflow"),
    "ricci_scalar": ("X", "the Ricci scalar, positive on spheres, (..., d) -> (...)"),
}
# Backends whose Gram matrices are computed in blocks, and what these take besides: an array to write to (a pair of them
# for both kernels), and how many threads work; None stands for OMP_NUM_THREADS or all processors, or torch's number.
IN_BLOCKS = ("numpy", "torch")
OPTIONS = ("out", "threads")
_WITH_OPTIONS = ("kernel", "ntk", "kernel_and_ntk")
CERTIFICATE_CHOICES = ("required", "stated", "none")
# More layers are computed in double precision at points of moderate length, at a fifth of the cost.
WIDE_LAYERS = 3
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
from types import SimpleNamespace
from typing import Any

{imports}
'''
# Name -> the line that imports it, left out where it is not used.
_OPTIONAL_IMPORTS = {
    "math": "import math\n",
    "os": "import os\n",
    "Iterator": "Iterator, ",
    "ThreadPoolExecutor": "from concurrent.futures import ThreadPoolExecutor\n",
}


def emit(mlp: MLP, backend: str = "numpy", certificate: str | None = None) -> str:
    """Return the source of a module with the numeric geometry of `mlp`; it imports its array library alone.

    The module has kernel(X, Y=None), ntk(X, Y=None), kernel_and_ntk(X, Y=None), kernel_diag(X), kernel_distance(X, Y),
    metric(X), volume_element(X), log_volume_element(X) and ricci_scalar(X). Scales and parameters that the network
    leaves symbolic are keyword arguments; sigma_w and sigma_b default to 1. For NumPy and torch the first three also
    take `out` and `threads`.

    Each function carries what was measured of it in its attribute `certificate` (all of them are in CERTIFICATE): the
    largest error over a stated sample against 50 digits, in float64 and float32. Run as a program, the file tests
    itself.

    Arguments:
        mlp: an `infgeo.MLP`.
        backend: "numpy" (also imports scipy.special where it needs erf), "torch", "jax" or "mpmath".
        certificate: "required" measures every function and refuses one that misses its bound (see
            `infgeo.numeric.certificate.certify`), "stated" emits it all the same with its errors, "none" measures
            nothing. By default "required" for NumPy, "stated" for torch, whose widest format is double precision, and
            "none" for jax, which has to compile; mpmath is what is measured against.

    Raises:
        NoClosedForm: the activation's kernel has no closed form.
        NotAccurate: a function misses its bound.
        InvalidInput: unknown backend.
    """
    if not hasattr(mlp, "layers"):
        raise InvalidInput(f"emit takes a network, not {mlp!r}: pass infgeo.MLP({mlp!r})")
    name = backend_named(backend).name
    certificate = {"numpy": "required", "torch": "stated"}.get(name, "none") if certificate is None else certificate
    if certificate not in CERTIFICATE_CHOICES:
        raise InvalidInput(f"certificate = {certificate!r} must be one of {', '.join(map(repr, CERTIFICATE_CHOICES))}")
    measured = () if certificate == "none" or name == "mpmath" else _measured(mlp, name, certificate == "required")
    return _emit(mlp, name, True, measured)


def _measured(mlp: MLP, backend_name: str, required: bool) -> tuple[Certificate, ...]:
    from infgeo.numeric.certificate import certify, require

    certificates = tuple(part for dtype in ("float64", "float32") for part in certify(mlp, backend_name, dtype))
    if required:
        require(certificates)
    return certificates


def module_source(mlp: MLP, backend: str) -> str:
    """Return the source of the functions alone, without provenance and self-test."""
    return _emit(mlp, backend_named(backend).name, False)


def _certificate_source(certificates: Sequence[Certificate]) -> str:
    """Return the source of CERTIFICATE: function -> format -> what was measured."""
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for part in certificates:
        entry = {
            "largest_error_in_ulp": float(f"{part.worst:.3g}"),
            "largest_relative_error": float(f"{part.relative_error:.3g}"),
            "bound_in_ulp": part.bound,
            "lengths": tuple(float(f"{length:.4g}") for length in part.lengths),
            "scales": part.scales,
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
def _emit(mlp: MLP, backend_name: str, complete: bool, certificates: tuple[Certificate, ...] = ()) -> str:
    backend = backend_named(backend_name)
    notes: list[str] = []
    formulas = [*_laws(mlp, backend, notes), *_radial(mlp, backend, notes)]
    sections = [_runtimes(backend.name), *formulas, *_public(mlp, backend)]
    end = ""
    if complete:
        sections += [_certificate_source(certificates), self_test_data(mlp), _runtime("self_test")]
        end = "\n\nfor _function in (" + ", ".join(PUBLIC) + "):\n"
        end += "    _function.certificate = CERTIFICATE.get(_function.__name__, {})\n"
        end += '\n\nif __name__ == "__main__":\n    raise SystemExit(_self_test())\n'
    body = _reachable("\n\n\n".join(sections), [*PUBLIC, "_self_test"] if complete else PUBLIC)
    uses = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    header = _HEADER.format(
        network=mlp,
        functions=", ".join(PUBLIC),
        parameters=_signature(mlp) or "none",
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
    return f"{header}\n__all__ = {list(PUBLIC)}\n\n\n{body}\n{end}"


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
    names = [f"for_{backend}", "common", *(["blocks", "felt", f"blocks_{backend}"] if backend in IN_BLOCKS else [])]
    return "\n\n\n".join(_runtime(name) for name in names)


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


def _laws(mlp: MLP, backend: Backend, notes: list[str]) -> list[str]:
    """Return the formulas of the activations, a law for each."""
    own = own_parameters(mlp)
    numbers = _law_names(mlp)
    sections = []
    for activation, suffix in numbers.items():
        sections += _law(dual(activation), own, suffix, backend, notes)
    names = ", ".join(f"_LAW{suffix}" for suffix in numbers.values())
    return [*sections, f"_LAWS = [{names}]"]


def _law_names(mlp: MLP) -> dict[Activation, str]:
    """Return the suffix of the names of each activation's formulas: none where there is one activation."""
    distinct = list(dict.fromkeys(layer.activation for layer in mlp.with_weights))
    return {activation: f"_{i}" if len(distinct) > 1 else "" for i, activation in enumerate(distinct, start=1)}


def _law(dual: Dual, own: tuple[Symbol, ...], suffix: str, backend: Backend, notes: list[str]) -> list[str]:
    """Return the formulas of one activation, and the law that holds them."""
    pair = [p, q, c, Delta]
    numpy = backend.name == "numpy"

    def formula(name: str, expr: Expr, arguments: list[Symbol], doc: str) -> str:
        expr = paired(expr) if numpy else expr
        return function_source(f"_{name}{suffix}", Program((), {"value": expr}), arguments, own, backend, doc)

    formulas = [
        formula("kernel", dual.kernel, pair, "E[phi(u) phi(v)]"),
        formula("moment", dual.m, [v], "E[phi(u)^2]"),
        _difference(dual, own, suffix, backend, notes),
    ]
    members = [f"{name}=_{name}{suffix}" for name in ("kernel", "moment", "difference")]
    # The kernel of phi' only where its diagonal m0 is finite (m0 raises elsewhere).
    optional = {
        "derivative_kernel": ("E[phi'(u) phi'(v)]", pair, lambda: dual.m0 is not None and dual.derivative_kernel),
        "derivative_moment": ("E[phi'(u)^2]", [v], lambda: dual.m0),
    }
    if backend.differentiable:
        # For its derivatives at coincident points.
        optional |= {
            "derivative_slope": ("The derivative of E[phi'(u)^2]", [v], lambda: tidy(dual.m0.diff(v))),
            "second_moment": ("E[phi''(u)^2]", [v], lambda: dual.derivative.m0),
            "second_slope": ("The derivative of E[phi''(u)^2]", [v], lambda: tidy(dual.derivative.m0.diff(v))),
        }
    for name, (doc, arguments, derive) in optional.items():
        try:
            expr = derive()
        except InfgeoError as error:
            members.append(f"{name}=None")
            if name == "derivative_moment":
                notes.append(f"No tangent kernel: {error}.")
            continue
        formulas.append(formula(name, expr, arguments, doc))
        members.append(f"{name}=_{name}{suffix}")
    if numpy:
        members += [f"grows={grows(dual.kernel)}", f"exponential={dual.kernel.has(exp)}"]
    if dual.growth is None:
        members.append("growth=None")
    else:
        names = ", ".join(symbol.name for symbol in own)
        members.append(f"growth=lambda {names}: {scalar_source(dual.growth, backend)}")
    if backend.name in IN_BLOCKS:
        tangent = "derivative_kernel=None" not in members
        if tangent:
            formulas.append(_derivative_difference(dual, own, suffix, backend))
        members.append(f"derivative_difference={f'_derivative_difference{suffix}' if tangent else None}")
        formulas += _block_formulas(dual, own, suffix, tangent, backend, members)
    law = "\n".join(f"    {member}," for member in members)
    return [*formulas, f"_LAW{suffix} = SimpleNamespace(\n{law}\n)"]


def _block_formulas(
    dual: Dual, own: tuple[Symbol, ...], suffix: str, tangent: bool, backend: Backend, members: list[str]
) -> list[str]:
    """Return the kernel, and with the derivative's where there is one, in place on blocks; adds to `members`."""
    outputs = [dual.kernel]
    if tangent:
        outputs += [dual.derivative_kernel, dual.derivative_kernel * c]
    outputs = [paired(output) for output in outputs] if backend.name == "numpy" else outputs
    extra, outputs = cosine_form(outputs) or (None, outputs)
    names = ", ".join(symbol.name for symbol in own)
    members.append("extra=None" if extra is None else f"extra=lambda {names}: {scalar_source(extra, backend)}")
    wanted = {"kernel": (outputs[:1], "E[phi(u) phi(v)], in place")}
    if tangent:
        wanted["pair"] = (outputs[:2], "E[phi(u) phi(v)] and E[phi'(u) phi'(v)], in place")
        wanted["first"] = (outputs[::2], "E[phi(u) phi(v)] and E[phi'(u) phi'(v)] Cov(u, v), in place")
    sources = []
    for name, (exprs, doc) in wanted.items():
        source, count = block_source(f"_{name}_block{suffix}", exprs, own, backend, doc)
        sources.append(source)
        needs_sine = any(expr.has(Delta) for expr in exprs)
        members += [
            f"{name}_block=_{name}_block{suffix}",
            f"{name}_buffers={count}",
            f"{name}_has_sine={needs_sine}",
        ]
    return sources


def _difference(dual: Dual, own: tuple[Symbol, ...], suffix: str, backend: Backend, notes: list[str]) -> str:
    """Return the source of `_difference`: free of cancellation where the kernel's form allows it."""
    by_subtraction = f"_difference{suffix} = _by_subtraction(_kernel{suffix}, _moment{suffix})"
    if backend.name == "mpmath":
        return by_subtraction
    try:
        program = difference_program(dual.kernel)
    except NoClosedForm as error:
        notes.append(f"kernel_distance subtracts kernels and loses digits for neighbouring points ({error}).")
        return by_subtraction
    arguments = [p, q, omega, delta, c, Delta]
    doc = "E[(phi(u) - phi(v))^2] and E[phi(u)^2 - phi(v)^2], free of cancellation"
    return function_source(f"_difference{suffix}", program, arguments, own, backend, doc)


def _derivative_difference(dual: Dual, own: tuple[Symbol, ...], suffix: str, backend: Backend) -> str:
    """Return the source of `_derivative_difference`, for tangent kernels of close pairs; it is None without a form."""
    try:
        program = difference_program(dual.derivative_kernel)
    except NoClosedForm:
        return f"_derivative_difference{suffix} = None"
    doc = "E[(phi'(u) - phi'(v))^2] and E[phi'(u)^2 - phi'(v)^2], free of cancellation"
    arguments = [p, q, omega, delta, c, Delta]
    return function_source(f"_derivative_difference{suffix}", program, arguments, own, backend, doc)


def _radial(mlp: MLP, backend: Backend, notes: list[str]) -> list[str]:
    """Return the formulas of the metric in s = |x|^2; without a metric, functions that say so."""
    scalars = [d, *mlp.parameters]
    numpy = backend.name == "numpy"
    try:
        program = mlp.float_program if numpy else mlp.metric_program
    except (MetricDoesNotExist, SingularMetric) as error:
        notes.append(f"No metric: {error}.")
        message = f"raise DoesNotExist({str(error)!r})"
        return [
            f"def {name}(s, *scalars):\n    {message}"
            for name in ("_metric_parts", "_log_metric", "_metric_coefficient", "_ricci_scalar")
        ]
    backend = WIDE if numpy else backend
    curvature = "R_float" if "R_float" in program.outputs else "R"
    deep = len(mlp.layers) > 1
    formulas = [
        function_source(name, program.select(outputs), [s], scalars, backend, doc, deep)
        for name, outputs, doc in (
            ("_metric_parts", ["A", "shear", "eta"], "A, s B/A, (A + s B)/A of g = A I + B x x^T"),
            ("_ricci_scalar", [curvature], "The Ricci scalar"),
        )
    ]
    if "log_A" in program.outputs:
        doc = "log A, also where A overflows"
        formulas.append(function_source("_log_metric", program.select(["log_A"]), [s], scalars, backend, doc))
    else:
        formulas.append("_log_metric = None")
    if backend.differentiable:
        # For its derivatives at x = 0; elsewhere s B/A and x/|x| do.
        doc = "B of g = A I + B x x^T"
        formulas.append(function_source("_metric_coefficient", program.select(["B"]), [s], scalars, backend, doc))
    return formulas


def _public(mlp: MLP, backend: Backend) -> list[str]:
    """Return the end of the module: the object that holds the formulas, and the public functions."""
    names = [symbol.name for symbol in mlp.parameters]
    bounds = {symbol.name: bound_of(symbol) for symbol in mlp.parameters}
    own = tuple(symbol.name for symbol in own_parameters(mlp))
    coefficient = "_metric_coefficient" if backend.differentiable else None
    sections = [
        _network(mlp, backend),
        f"_GEOMETRY = Geometry(\n    _LAWS, _metric_parts, _log_metric, {coefficient}, _ricci_scalar, _network,"
        f" {bounds}, {own}, {_vanishing(mlp)}, {mlp.depth <= WIDE_LAYERS}\n)",
    ]
    passed = "".join(f", {name}={name}" for name in names)
    for name, (points, returned) in PUBLIC.items():
        arguments = ", ".join(part.split("=")[0] for part in points.split(", "))
        options = OPTIONS if backend.name in IN_BLOCKS and name in _WITH_OPTIONS else ()
        signature = ", ".join(part for part in (_signature(mlp), *(f"{option}=None" for option in options)) if part)
        keywords = f", *, {signature}" if signature else ""
        if options:
            arguments += f", ({', '.join(options)})"
        sections.append(
            f'def {name}({points}{keywords}):\n    """Return {returned}."""\n'
            f"    return _GEOMETRY.{name}({arguments}{passed})"
        )
    return sections


def _network(mlp: MLP, backend: Backend) -> str:
    """Return the source of `_network`, which makes the layers from d and the values of the parameters."""
    names, lines = _law_names(mlp), []
    scale = 1 / d if mlp.input_scale else Integer(1)
    for i, layer in enumerate(mlp.layers):
        if isinstance(layer, RMSNorm):
            # The mean square of the input is |x|^2 / d.
            unit = d if i == 0 else Integer(1)
            arguments, name = [unit * layer.epsilon, unit], "_rms_norm("
        else:
            arguments, name = (
                [scale * layer.weight_std**2, layer.bias_std**2],
                f"_dense(_LAW{names[layer.activation]}, ",
            )
            scale = Integer(1)
        if isinstance(layer, Residual):
            name = name.replace("_dense", "_residual")
            arguments += [layer.skip**2, layer.branch**2]
        lines.append(name + ", ".join(scalar_source(part, backend) for part in arguments) + ")")
    runs = [(line, len(list(group))) for line, group in groupby(lines)]
    parts = [f"[{line}]" + (f" * {count}" if count > 1 else "") for line, count in runs]
    arguments_ = ", ".join(["d", *(symbol.name for symbol in mlp.parameters)])
    body = "\n        + ".join(parts)
    return (
        f'def _network({arguments_}):\n    """The layers, with their variances."""\n    return (\n        {body}\n    )'
    )


def _vanishing(mlp: MLP) -> str:
    """Return the source of the condition under which the metric vanishes at x = 0: that some scales are 0."""
    own = set(own_parameters(mlp))
    condition = degenerate_at_origin(mlp.layers)
    # That an expression of the activation's own parameters is 0 is not a question for floats.
    condition = condition.xreplace({part: false for part in condition.atoms(Eq) if part.free_symbols & own})
    if condition == false:
        return "None"
    return f"lambda {', '.join(['d', *(symbol.name for symbol in mlp.parameters)])}: {_Conditions().doprint(condition)}"


class _Conditions(PythonCodePrinter):
    """Prints conditions on scalars that may be arrays without dimension."""

    def _print_And(self, expr: Boolean) -> str:
        return " & ".join(f"({self._print(part)})" for part in expr.args)

    def _print_Or(self, expr: Boolean) -> str:
        return " | ".join(f"({self._print(part)})" for part in expr.args)


def bound_of(symbol: Symbol) -> str:
    """Return the bound on a parameter that its assumptions state."""
    return "> 0" if symbol.is_positive else ">= 0" if symbol.is_nonnegative else ""


def own_parameters(mlp: MLP) -> tuple[Symbol, ...]:
    """Return the parameters of the activations."""
    return parameters_of(mlp.layers)[1]


def _signature(mlp: MLP) -> str:
    """Return the parameters as they stand in a signature, sigma_w and sigma_b with their defaults."""
    names = [symbol.name for symbol in mlp.parameters]
    return ", ".join(f"{name}={DEFAULTS[name]}" if name in DEFAULTS else name for name in names)
