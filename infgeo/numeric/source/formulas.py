"""The formulas of a network as source text: laws of activations, functions of |x|, layers, conditions."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from sympy import Expr, Symbol, atan, atan2, erf, erfc, exp

from infgeo.conventions import Delta, c, delta, omega, p, q
from infgeo.conventions import variance as v
from infgeo.errors import InfgeoError, NoClosedForm
from infgeo.numeric.runtime.normal_mean import AGREEMENT
from infgeo.numeric.source.kernel_range import KernelRange, kernel_range
from infgeo.numeric.source.law_of_nodes import (
    law_of_nodes,
    law_source,
    nodes_source,
)
from infgeo.numeric.source.law_of_quadrature import integrand_source, law_of_quadrature
from infgeo.numeric.source.methods import Methods, methods_of
from infgeo.numeric.source.mixture import mixture_of
from infgeo.numeric.source.of_formula import REFUSES_NEAR, Formula, laws_of
from infgeo.numeric.source.precision import (
    cancels,
)
from infgeo.numeric.source.printing import DOUBLE_DOUBLE, Backend, function_source, scalar_source
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.graph import distinct
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.algebra.simplify import in_lower_tails, tidy
from infgeo.symbolic.expectations.dual import Dual
from infgeo.symbolic.expectations.dual import dual as dual_of
from infgeo.symbolic.floats.difference import difference_program
from infgeo.symbolic.floats.exponentials import far, near, of_squares, paired
from infgeo.symbolic.floats.normal_tails import in_squares, with_tails
from infgeo.symbolic.networks.layers import Residual, RMSNorm, parameters_of

if TYPE_CHECKING:
    from infgeo.symbolic.activations.activation import Activation
    from infgeo.symbolic.networks.network import MLP

# Backends that take determinants with twice the digits: XLA compiles the gradients of those for minutes.
PRECISE_DETERMINANTS = ("numpy", "torch")


def laws(mlp: MLP | Formula, backend: Backend, notes: list[str], methods: Methods) -> list[str]:
    """Return the formulas of the activations, a law for each: in closed form, as mixtures or integrands."""
    if isinstance(mlp, Formula):
        return laws_of(mlp, backend, notes)
    own = own_parameters(mlp)
    sections = [nodes_source()] if "mixture" in methods.values() else []
    numbers, sensitive = law_names(mlp), _before_sharp_layers(mlp, methods)
    for activation, suffix in numbers.items():
        if methods[activation] == "quadrature":
            notes.append(f"{activation} is integrated numerically, to {AGREEMENT:g} of each expectation's size.")
            sections += law_of_quadrature(activation, suffix, backend)
            continue
        if methods[activation] == "mixture":
            odd, mixture = activation.parity == "odd" and not backend.exact_numbers, mixture_of(activation)
            notes.append(f"{activation} is a mixture of error functions: {mixture.bounds}.")
            sections += law_of_nodes(mixture, own, suffix, backend, odd)
            continue
        sections += _law(activation, own, suffix, backend, notes, sensitive=activation in sensitive)
    names = ", ".join(f"_LAW{suffix}" for suffix in numbers.values())
    return [*sections, f"_LAWS = [{names}]"]


def law_names(mlp: MLP) -> dict[Activation, str]:
    """Return the suffix of the names of each activation's formulas: none where there is one activation."""
    distinct = list(dict.fromkeys(layer.activation for layer in mlp.with_weights))
    return {activation: f"_{i}" if len(distinct) > 1 else "" for i, activation in enumerate(distinct, start=1)}


def _before_sharp_layers(mlp: MLP, methods: Methods) -> set[Activation]:
    """Return the activations before kinks, jumps or normalisations, whose results depend on the angle of features.

    So do those of what looks like a kink or a jump from afar, as erf and GELU do: their kernels have arcs.
    """
    found: set[Activation] = set()
    sharp = False
    for layer in reversed(mlp.layers):
        if isinstance(layer, RMSNorm):
            sharp = True
            continue
        if sharp:
            found.add(layer.activation)
        sharp = sharp or methods[layer.activation] != "closed_form" or _is_sharp(layer.activation)
    return found


@lru_cache(maxsize=256)
def missing_kernel(mlp: MLP, asked: str | None = None) -> str:
    """Return why a network whose metric has a closed form has a kernel without one; "" where it has one."""
    for activation, method in methods_of(mlp, asked).items():
        try:
            assert method != "closed_form" or dual_of(activation).kernel is not None
        except NoClosedForm as error:
            return str(error)
    return ""


def _is_sharp(activation: Activation) -> bool:
    return bool(activation.smoothness <= 0) or has_arcs(activation)


def has_arcs(activation: Activation) -> bool:
    """Return whether the kernel of an activation has inverse tangents: of erf and what has kinks or jumps."""
    try:
        dual_of(activation).kernel  # noqa: B018
    except NoClosedForm:
        return False
    return any(isinstance(part, atan | atan2) for part in distinct(dual_of(activation).kernel))


def loses_digits(dual: Dual) -> bool:
    """Return whether the formulas of an activation need double-double numbers, and have a form in them."""
    if dual.kernel.has(BivariateNormal, erf, erfc):
        return False
    if not cancels(paired(dual.kernel).subs({p: v, q: v, c: v, Delta: 0}, simultaneous=True)):
        return False
    try:
        for expr in (dual.kernel, dual.derivative_kernel):
            function_source("f", Program((), {"value": paired(expr)}), [p, q, c, Delta], (), DOUBLE_DOUBLE, "")
    except InfgeoError:
        return False
    return True


def _law(
    activation: Activation, own: tuple[Symbol, ...], suffix: str, backend: Backend, notes: list[str], sensitive: bool
) -> list[str]:
    """Return the formulas of one activation, and the law that holds them; `sensitive` as in `_before_sharp_layers`."""
    dual, pair = dual_of(activation), [p, q, c, Delta]
    plain = backend.name == "mpmath"  # what the others are measured against takes the plain way
    try:
        dual.kernel  # noqa: B018
    except NoClosedForm as error:
        notes.append(f"No kernel at two points: {error}.")
        moment = function_source(
            f"_moment{suffix}", Program((), {"value": with_tails(dual.m)}), [v], own, backend, "E[phi(u)^2]"
        )
        return [moment, law_source(f"_LAW{suffix}", ["kernel=None", f"moment=_moment{suffix}"])]
    precise = not plain and loses_digits(dual)

    def formula(name: str, expr: Expr, arguments: list[Symbol], doc: str) -> str:
        expr = with_tails(expr) if plain else paired(with_tails(expr))
        if precise:
            doc = f"{doc}; in doubles digits are lost"
            program = Program((), {"value": expr})
            source = function_source(f"_{name}_precise{suffix}", program, arguments, own, DOUBLE_DOUBLE, doc)
            return f"{source}\n\n\n_{name}{suffix} = as_doubles(_xp, _{name}_precise{suffix})"
        return function_source(f"_{name}{suffix}", Program((), {"value": expr}), arguments, own, backend, doc)

    def on_diagonal(kernel: Expr, moment: Expr) -> Expr:
        """Return a moment; of exponentials as its kernel's, in pairs, which do not cancel at small variances."""
        if plain or not moment.has(exp) or kernel.has(BivariateNormal):
            return in_lower_tails(moment)
        return paired(kernel).subs({p: v, q: v, c: v, Delta: 0}, simultaneous=True)

    def by_squares(expr: Expr) -> Expr:
        """Return a kernel with |u - v|^2, |u + v|^2 and p - q where they keep digits."""
        if apart:
            return in_squares(expr)
        expr = with_tails(expr)
        return of_squares(paired(expr)) if expr.has(exp) and not plain else expr

    def of_squared_sums(name: str, expr: Expr, doc: str) -> None:
        """Add such a formula, where it is another one."""
        if (written := by_squares(expr)).has(near, far):
            formulas.append(formula(name, written, [*pair, near, far, omega], doc))
            members.append(f"{name}=_{name}{suffix}")

    def of_pair(name: str, squares: str, expr: Expr, doc: str) -> str:
        """Return the formula of a pair; with tails that of squared sums."""
        if not (apart and in_squares(expr).has(near, far)):
            return formula(name, expr, pair, doc)
        arguments = "".join(f", {symbol}" for symbol in own)
        call = f"_{squares}{suffix}(p, q, c, Delta, p + q - 2 * c, p + q + 2 * c, p - q{arguments})"
        return f'def _{name}{suffix}(p, q, c, Delta{arguments}):\n    """{doc}"""\n    return {call}'

    kernel = dual.kernel
    apart = not plain and kernel.has(BivariateNormal)
    formulas = [
        of_pair("kernel", "kernel_of_squares", kernel, "E[phi(u) phi(v)]"),
        formula("moment", on_diagonal(dual.kernel, dual.m), [v], "E[phi(u)^2]"),
    ]
    members = [f"{name}=_{name}{suffix}" for name in ("kernel", "moment")]
    difference, lacking = _difference(dual, own, suffix, backend)
    if difference:
        formulas.append(difference)
        members.append(f"difference=_difference{suffix}")
    of_squared_sums("kernel_of_squares", kernel, "E[phi(u) phi(v)], of squared sums too")
    # The kernel of phi' only where its diagonal m0 is finite (m0 raises elsewhere).
    optional = {
        "derivative_kernel": ("E[phi'(u) phi'(v)]", pair, lambda: dual.m0 is not None and dual.derivative_kernel),
        "derivative_moment": ("E[phi'(u)^2]", [v], lambda: dual.m0 and on_diagonal(dual.derivative_kernel, dual.m0)),
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
            if name == "derivative_moment":
                notes.append(f"No tangent kernel: {error}.")
            continue
        if name == "derivative_kernel":
            formulas.append(of_pair(name, "derivative_of_squares", expr, doc))
        else:
            formulas.append(formula(name, expr, arguments, doc))
        members.append(f"{name}=_{name}{suffix}")
        if name == "derivative_kernel":
            of_squared_sums("derivative_of_squares", expr, f"{doc}, of squared sums too")
    if backend.name in PRECISE_DETERMINANTS:
        smooth = f"derivative_kernel=_derivative_kernel{suffix}" in members
        if lacking and smooth and (near_features := _neighbours(activation, suffix, backend, members)):
            formulas, lacking = [*formulas, *near_features], ""
        elif sensitive and activation.homogeneity is None:
            formulas += _determinant(dual, own, suffix, members)
    if lacking:
        notes.append(f"{REFUSES_NEAR} ({lacking}).")
    steep = activation.smoothness < 0 or (activation.homogeneity is None and has_arcs(activation))
    kinds = {"homogeneous": activation.homogeneity is not None, "odd": activation.parity == "odd", "steep": steep}
    members += [f"{name}=True" for name, holds in kinds.items() if holds and not plain]
    if not plain:
        ranged = kernel_range(dual)
        between = ranged.between
        if ranged.integral:
            replaced = ["kernel_of_squares", "moment"]
            if len(ranged.integral.means) > 1 and "derivative_moment=" in " ".join(members):
                replaced += ["derivative_of_squares", "derivative_moment"]
            if {f"{name}=_{name}{suffix}" for name in replaced} <= set(members):
                formulas += _slope_integral(ranged, own, suffix, backend)
                for name in replaced:
                    kind, order = "moment" if "moment" in name else "kernel", int(name.startswith("derivative"))
                    call = f"_INTEGRAL{suffix}.{kind}(_{name}{suffix}, {order})"
                    members[members.index(f"{name}=_{name}{suffix}")] = f"{name}={call}"
            else:  # the closed form alone
                between = ranged.closed
        if between:
            members.append(f"between={between}")
    if dual.growth is not None:
        names = ", ".join(symbol.name for symbol in own)
        members.append(f"growth=lambda {names}: {scalar_source(dual.growth, backend)}")
    return [*formulas, law_source(f"_LAW{suffix}", members)]


def _slope_integral(ranged: KernelRange, own: tuple[Symbol, ...], suffix: str, backend: Backend) -> list[str]:
    """Return the formulas of an integral over the kernel of slopes, and the integral."""
    integral, arguments = ranged.integral, [p, q, c, Delta, near, far, omega]
    assert integral is not None
    n, names = len(integral.means), ", ".join(symbol.name for symbol in own)
    doc = f"E[phi^({n})(u) phi^({n})(v)]"
    sections = [
        function_source(f"_slopes{suffix}", Program((), {"value": integral.slopes}), arguments, own, backend, doc)
    ]
    means = []
    for j, (mean, at_zero) in enumerate(integral.means):
        name, program, doc = f"_mean_{j}{suffix}", Program((), {"value": mean}), f"E[phi^({j})(z)]"
        if integral.precise:
            source = function_source(
                f"{name}_precise", program, [v], own, DOUBLE_DOUBLE, f"{doc}; in doubles digits are lost"
            )
            sections.append(f"{source}\n\n\n{name} = as_doubles(_xp, {name}_precise)")
        else:
            sections.append(function_source(name, program, [v], own, backend, doc))
        means.append(f"({name}, lambda {names}: {scalar_source(at_zero, backend)})")
    parts = f"_xp, {ranged.closed}, _slopes{suffix}, [{', '.join(means)}], {integral.graded}, {backend.differentiable}"
    return [*sections, f"_INTEGRAL{suffix} = SlopeIntegral({parts})"]


def _difference(dual: Dual, own: tuple[Symbol, ...], suffix: str, backend: Backend) -> tuple[str, str]:
    """Return the source of `_difference`, free of cancellation, or why the kernel's form does not allow it."""
    if backend.name == "mpmath":
        return "", ""
    try:
        program = difference_program(dual.kernel)
    except NoClosedForm as error:
        return "", str(error)
    arguments = [p, q, omega, delta, c, Delta]
    doc = "E[(phi(u) - phi(v))^2] and E[phi(u)^2 - phi(v)^2], free of cancellation"
    return function_source(f"_difference{suffix}", program, arguments, own, backend, doc), ""


def _neighbours(activation: Activation, suffix: str, backend: Backend, members: list[str]) -> list[str]:
    """Return the source of what differences of near features are made of; none of activations with parameters."""
    try:
        sources = integrand_source(activation, suffix, backend)
    except InfgeoError:
        return []
    even = ", even=True" if activation.parity == "even" else ""
    members.append(f"neighbours=Neighbours(_INTEGRAND{suffix}{even})")
    return sources


def _determinant(dual: Dual, own: tuple[Symbol, ...], suffix: str, members: list[str]) -> list[str]:
    """Return the formulas of m(p) m(q) - k^2 with twice the digits; none where a function has no such form."""
    names = f"_precise_kernel{suffix}", f"_precise_moment{suffix}"
    try:
        sources = [
            function_source(name, Program((), {"value": paired(expr)}), arguments, own, DOUBLE_DOUBLE, doc)
            for name, expr, arguments, doc in (
                (names[0], dual.kernel, [p, q, c, Delta], "E[phi(u) phi(v)] with twice the digits"),
                (names[1], dual.m, [v], "E[phi(u)^2] with twice the digits"),
            )
        ]
    except NoClosedForm:
        return []
    members.append(f"determinant=determinant_by({', '.join(names)})")
    return sources


def network_source(mlp: MLP | Formula, backend: Backend) -> str:
    """Return the source of `_network`, which makes the layers from d and the values of the parameters."""
    if isinstance(mlp, Formula):
        inner = "" if mlp.kernel is None else "Dense(_LAW, 1.0, 0.0)"
        return f"def _network(*_):\n    return [{inner}]"
    names, lines = law_names(mlp), []
    for layer in mlp.layers:
        if isinstance(layer, RMSNorm):
            parts = [layer.width * layer.epsilon, layer.width]
        else:
            parts = [*layer.variances, *([layer.skip**2, layer.branch**2] if isinstance(layer, Residual) else [])]
        law = [] if isinstance(layer, RMSNorm) else [f"_LAW{names[layer.activation]}"]
        lines.append(f"{type(layer).__name__}({', '.join([*law, *(scalar_source(part, backend) for part in parts)])})")
    runs = [(line, len(list(group))) for line, group in groupby(lines)]
    body = "\n        + ".join(f"[{line}]" + (f" * {count}" if count > 1 else "") for line, count in runs)
    arguments = ", ".join(["d", *(symbol.name for symbol in mlp.parameters)])
    return (
        f'def _network({arguments}):\n    """The layers, with their variances."""\n    return (\n        {body}\n    )'
    )


def own_parameters(mlp: MLP | Formula) -> tuple[Symbol, ...]:
    """Return the parameters of the activations; all those of a formula."""
    if isinstance(mlp, Formula):
        return mlp.parameters
    return parameters_of(mlp.layers)[1]
