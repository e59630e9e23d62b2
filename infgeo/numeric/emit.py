"""`infgeo.emit`: the numeric geometry of a network as the source of a standalone module."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from infgeo.arguments import one_of
from infgeo.errors import InvalidInput
from infgeo.numeric.certificates.reference_values import closed_forms, self_test_data
from infgeo.numeric.source.methods import resolved
from infgeo.numeric.source.module import functions_of, refuses_near, standalone
from infgeo.numeric.source.of_formula import Formula, subject_of
from infgeo.numeric.source.pair import FAST, fast_source
from infgeo.numeric.source.printing import backend_named

if TYPE_CHECKING:
    from infgeo.numeric.certificates.record import Certificate
    from infgeo.symbolic.geometry.metric import RadialMetric
    from infgeo.symbolic.kernels.kernel import Kernel
    from infgeo.symbolic.networks.network import MLP

CERTIFICATE_CHOICES = ("required", "stated", "none")
STYLES = ("plain", "fast")
_MAIN = """def _main() -> int:
    functions = {{{functions}}}
    return self_test(functions, _VALUES, _INPUTS, _REFERENCE, _xp.formats(), CERTIFICATE)"""
_END = """for _function in ({names},):
    _function.certificate = CERTIFICATE.get(_function.__name__, {{}})


if __name__ == "__main__":
    raise SystemExit(_main())"""


def emit(
    mlp: MLP | Kernel | RadialMetric, backend: str = "numpy", certificate: str | None = None, style: str = "plain"
) -> str:
    """Return the source of a module with the numeric geometry of `mlp`; it imports its array library alone.

    The module has kernel(X, Y=None), ntk(X, Y=None), kernel_and_ntk(X, Y=None), kernel_diag(X), kernel_distance(X, Y),
    metric(X), volume_element(X), log_volume_element(X) and ricci_scalar(X). Scales and parameters that the network
    leaves symbolic are keyword arguments; sigma_w and sigma_b default to 1. In style "fast" the first three also take
    `out` and `threads`. Where a parameter is called like one of these arguments, the argument is called X_, out_, ...
    instead.

    Each function carries what was measured of it in its attribute `certificate` (all of them are in CERTIFICATE): the
    largest error over a stated sample against 50 digits, in float64 and float32. Run as a program, the file tests
    itself.

    Args:
        mlp: an `infgeo.MLP`; or a kernel or a `RadialMetric`, of which the module has the functions that there are:
            kernel, kernel_diag, kernel_distance, and the four of the metric.
        backend: "numpy" (also imports scipy.special where it needs erf), "torch", "jax" or "mpmath".
        certificate: "required" measures every function and refuses one that misses its bound (see
            `infgeo.numeric.certificates.certificate.certify`), "stated" emits it all the same with its errors, "none"
            measures nothing. By default "required" for networks in NumPy, "stated" for kernels and metrics there, and
            for torch, whose widest format is double precision, and "none" for jax, which has to compile, and for
            mixtures and integrands, whose files state the error; mpmath is what is measured against.
        style: "plain", formulas, checks, Gram matrices by broadcasting and the self-test; "fast" adds Gram matrices in
            blocks and threads for NumPy and torch, compiled by Numba where it is installed.

    Raises:
        NoClosedForm: the activation cannot be integrated: its kinks are not known, or a function has no form.
        NotAccurate: a function misses its bound.
        InvalidInput: unknown backend or style.
    """
    subject, name = subject_of(mlp, "emit"), backend_named(backend).name
    closed = resolved(subject, None) == "closed_form"
    if certificate is None:
        certificate = {"numpy": "required", "torch": "stated"}.get(name, "none")
        certificate = "stated" if certificate == "required" and isinstance(subject, Formula) else certificate
        certificate = certificate if closed else "none"
    certificate = one_of(certificate, "certificate", CERTIFICATE_CHOICES)
    if certificate != "none" and not closed:
        raise InvalidInput(
            f"certificate = {certificate!r} is for closed forms, and {subject} has none; its file states the error:"
            " leave certificate out"
        )
    measured = () if certificate == "none" or name == "mpmath" else _measured(subject, name, certificate == "required")
    style = one_of(style, "style", STYLES)
    if style == "fast" and name not in FAST:
        raise InvalidInput(f"style = 'fast' is for {' and '.join(FAST)}, not {name}: leave style out")
    return _emit(subject, name, style, measured)


def _measured(mlp: MLP | Formula, backend_name: str, required: bool) -> tuple[Certificate, ...]:
    from infgeo.numeric.certificates.certificate import certify, require

    certificates = tuple(part for dtype in ("float64", "float32") for part in certify(mlp, backend_name, dtype))
    if required:
        require(certificates)
    return certificates


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
def _emit(mlp: MLP | Formula, backend: str, style: str, certificates: tuple[Certificate, ...]) -> str:
    names = functions_of(mlp)
    pairs = ", ".join(f"{name!r}: {name}" for name in names)
    more = [
        _certificate_source(certificates),
        self_test_data(mlp, not refuses_near(mlp, backend)),
        _MAIN.format(functions=pairs),
    ]
    end = _END.format(names=", ".join(names))
    fast = fast_source(mlp) if style == "fast" else ""
    return standalone(mlp, backend, closed_forms(mlp), fast, "\n\n\n".join(more), end)
