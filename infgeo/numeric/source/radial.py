"""The formulas of the metric as source text: functions of s = |x|^2, the dimension and the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sympy import Abs, Add, Expr, Mul, erfc, exp, log

from infgeo.conventions import d, s
from infgeo.errors import MetricDoesNotExist, SingularMetric
from infgeo.numeric.source.formulas import law_names, own_parameters
from infgeo.numeric.source.law_of_nodes import LOWEST, Named, flat_at_origin, named_dual, naming
from infgeo.numeric.source.law_of_quadrature import require_slope
from infgeo.numeric.source.methods import Methods
from infgeo.numeric.source.of_formula import Formula, radial_of
from infgeo.numeric.source.precision import (
    DOUBLE,
    EXACT,
    Precision,
    precision_of_parts,
    precision_of_ricci,
    program_of,
    ricci_program,
)
from infgeo.numeric.source.printing import DOUBLE_DOUBLE, Backend, function_source
from infgeo.symbolic.algebra.primitives import scaled_erfc, where_nonnegative
from infgeo.symbolic.algebra.program import Names, Program
from infgeo.symbolic.networks.existence import require_metric
from infgeo.symbolic.networks.propagate import propagate
from infgeo.symbolic.networks.recursion import LogRadial

LOWEST_OF_RICCI = 1e-6  # derivatives of moments by quadrature lose digits in proportion to 1/v

if TYPE_CHECKING:
    from infgeo.symbolic.activations.activation import Activation
    from infgeo.symbolic.networks.network import MLP


def radial(mlp: MLP | Formula, backend: Backend, notes: list[str], methods: Methods) -> list[str]:
    """Return the formulas of the metric in s = |x|^2; without a metric, functions that say so."""
    if isinstance(mlp, Formula):
        return radial_of(mlp, backend, notes)
    try:
        if set(methods.values()) - {"closed_form"}:
            return _radial_of_names(mlp, backend, methods)
        program = program_of(mlp)
    except (MetricDoesNotExist, SingularMetric) as error:
        notes.append(f"No metric: {error}.")
        message = f"raise DoesNotExist({str(error)!r})"
        return [
            *(f"def {name}(s, *scalars):\n    {message}" for name in ("_metric_parts", "_ricci_scalar")),
            *(f"{name} = None" for name in ("_log_metric", "_metric_coefficient", "_VARIANCES")),
        ]
    parts = ricci = EXACT
    if not backend.exact_numbers:
        parts, ricci = precision_of_parts(mlp), precision_of_ricci(mlp)

    def formula(name: str, chosen: Program, precision: Precision, doc: str) -> str:
        arguments = [s], [d, *mlp.parameters]
        if precision.bits == DOUBLE:
            return function_source(name, chosen, *arguments, backend, doc, len(mlp.layers) > 1)
        source = function_source(
            f"{name}_precise", chosen, *arguments, DOUBLE_DOUBLE, f"{doc}: in doubles digits are lost"
        )
        return f"{source}\n\n\n{name} = as_doubles(_xp, {name}_precise)"

    names = ["A", "shear", "eta"]
    formulas = [
        formula("_metric_parts", program.select(names), parts, "A, s B/A, (A + s B)/A of g = A I + B x x^T"),
        formula("_ricci_scalar", ricci_program(mlp), ricci, "The Ricci scalar"),
        _log_metric(mlp, program, backend) if parts.bits == DOUBLE else "_log_metric = None",
        _variances(parts, ricci),
    ]
    if backend.differentiable:
        # For its derivatives at x = 0; elsewhere s B/A and x/|x| do.
        formulas.append(formula("_metric_coefficient", program.select(["B"]), parts, "B of g = A I + B x x^T"))
    return formulas


def _radial_of_names(mlp: MLP, backend: Backend, methods: Methods) -> list[str]:
    """Return the formulas of the metric, where functions of the variance of some activations have only names."""
    numbers = {a: suffix for a, suffix in law_names(mlp).items() if methods[a] != "closed_form"}
    exact: list[Any] = [layer for layer in mlp.with_weights if layer.activation not in numbers]
    require_metric(exact)
    for activation in numbers:
        if methods[activation] == "quadrature":
            require_slope(activation)
    layers = with_duals(mlp, {a: named_dual(a, suffix, own_parameters(mlp)) for a, suffix in numbers.items()})
    names = Names()
    outputs = propagate(layers, LogRadial(names)).outputs(("A", "shear", "eta", "R", "B"))
    program, named = Program(tuple(names.bindings), outputs), naming(backend, list(numbers.values()))
    wanted = {"_metric_parts": ["A", "shear", "eta"], "_ricci_scalar": ["R"]}
    if backend.differentiable:
        wanted["_metric_coefficient"] = ["B"]
    return [
        *(
            function_source(name, program.select(found), [s], [d, *mlp.parameters], named, ", ".join(found))
            for name, found in wanted.items()
        ),
        "_log_metric = None",
        f"_VARIANCES = {_ranges(numbers, methods)}".replace("inf", "math.inf"),
    ]


def _ranges(activations: Iterable[Activation], methods: Methods) -> tuple[tuple[float, float], ...] | None:
    """Return between which variances the metric, and R, keep their digits."""
    if any(methods[a] == "mixture" and flat_at_origin(a) for a in activations):
        return ((LOWEST, math.inf),) * 2  # errors of slopes that vanish at 0 are not relative to them
    if any(methods[a] == "quadrature" for a in activations):
        return (0.0, math.inf), (LOWEST_OF_RICCI, math.inf)
    return None


def with_duals(mlp: MLP, duals: Mapping[Activation, Any]) -> list[Any]:
    """Return the layers of a network with other duals of some activations."""
    found = [(layer, duals.get(getattr(layer, "activation", None))) for layer in mlp.layers]  # type: ignore[arg-type]
    return [layer if dual is None else Named(layer, dual) for layer, dual in found]


def _log_metric(mlp: MLP, program: Program, backend: Backend) -> str:
    """Return the source of log A where A has exponentials as factors, which may overflow."""
    bound, exponents = dict(program.bindings), list[Expr]()

    def logarithm(product: Expr) -> Expr:
        terms = []
        for factor in Mul.make_args(product):
            base, power = (factor, 1) if isinstance(factor, exp) else factor.as_base_exp()
            if isinstance(base, exp):
                exponents.append(base.args[0])
                terms.append(base.args[0])
            elif isinstance(base, erfc) and base.args[0].is_positive:  # which underflows
                x = base.args[0]
                exponents.append(-(x**2))
                near = log(erfc(where_nonnegative(x - 1, 1, x)))
                terms.append(power * where_nonnegative(x - 1, log(scaled_erfc(x**2, x, 0)) - x**2, near))
            elif isinstance(bound.get(base), Mul | exp | erfc):
                terms.append(power * logarithm(bound[base]))
            else:
                terms.append(power * log(base if base.is_positive else Abs(base)))
        return Add(*terms)

    log_A = logarithm(program.outputs["A"])
    if not exponents:
        return "_log_metric = None"
    program = Program(program.bindings, {"log_A": log_A}).select(["log_A"])
    return function_source("_log_metric", program, [s], [d, *mlp.parameters], backend, "log A, also where A overflows")


def _variances(*precisions: Precision) -> str:
    """Return the source of the ranges of variances within which the metric, and R, keep their digits; mostly None."""
    pairs = [(part.lowest, part.highest) for part in precisions]
    if all(pair == (0.0, math.inf) for pair in pairs):
        return "_VARIANCES = None"
    texts = (f"({low:.3g}, {'math.inf' if high == math.inf else format(high, '.3g')})" for low, high in pairs)
    comment = "# Between these numbers all variances must lie for the metric, and for R, to keep their digits."
    return f"{comment}\n_VARIANCES = ({', '.join(texts)})"
