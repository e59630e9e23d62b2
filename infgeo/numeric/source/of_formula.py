"""Kernels and metrics that are formulas, as what functions are emitted of: their laws, and their functions of |x|.

A kernel k(x, y) passes for the last layer of a network, that of variances p = |x|^2, q = |y|^2 and c = x.y, so that
points are checked, Gram matrices and distances computed as for networks. To second order in y - x the squared distance
of features is A |x - y|^2 + B (|x|^2 - |y|^2)^2 / 4, which stands for E[phi'^2] and its derivative there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sympy import Add, Expr, Pow, Symbol, acos, asin, atan2, expand, fraction, nan, pi, sqrt, together, true, zoo
from sympy.logic.boolalg import Boolean

from infgeo.conventions import Delta, c, d, delta, omega, p, q, s, s_x, s_y, xy
from infgeo.conventions import variance as v
from infgeo.errors import InfgeoError, InvalidInput, MetricDoesNotExist, NoClosedForm, SingularMetric
from infgeo.numeric.source.printing import Backend, function_source
from infgeo.symbolic.algebra.graph import rebuilt, substituted, symbols_of
from infgeo.symbolic.algebra.primitives import where_nonnegative
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.floats.difference import difference_program
from infgeo.symbolic.floats.exponentials import far, near, paired
from infgeo.symbolic.floats.kernel_forms import reduced
from infgeo.symbolic.geometry.metric import RadialMetric
from infgeo.symbolic.kernels.kernel import Kernel
from infgeo.symbolic.networks.layers import LayerNorm
from infgeo.symbolic.networks.network import MLP, NetworkKernel

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_KERNEL = ("kernel", "kernel_diag", "kernel_distance")
REFUSES_NEAR = "kernel_distance subtracts kernels and refuses neighbouring points"
OF_METRIC = ("metric", "volume_element", "log_volume_element", "ricci_scalar")


@dataclass(frozen=True)
class Formula:
    """A kernel, a metric, or a kernel with the metric that it induces.

    It has what a network has where functions are emitted: `parameters`, `depth` 1, and no layers with weights.

    Arguments:
        text: what it is, for the head of files.
        kernel: k in s_x, s_y and xy, or None.
        diagonal: k(x, x) in s.
        program: that of the metric, or None.
        domain: where the metric is finite.
        missing: why a kernel has no metric.
        dimension: the input dimension, d where it is any.
    """

    text: str
    kernel: Expr | None
    diagonal: Expr | None
    program: Program | None
    domain: Boolean = true
    missing: str = ""
    dimension: Expr = d
    layers: tuple = ()
    with_weights: tuple = ()
    depth: int = 1
    input_scale: str | None = None

    def __hash__(self) -> int:
        """Hash by the formulas; a program holds a dictionary."""
        return hash((self.text, self.kernel, self.domain, self.dimension, self.missing))

    @property
    def parameters(self) -> tuple[Symbol, ...]:
        """The symbols that need values, sorted by name."""
        exprs = [part for part in (self.kernel, self.domain) if part is not None]
        free = symbols_of(*exprs) | set(self.program.inputs if self.program else ())
        return tuple(sorted(free - {s, s_x, s_y, xy, d}, key=lambda symbol: symbol.name))

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of the functions that there are."""
        return (_OF_KERNEL if self.kernel is not None else ()) + (OF_METRIC if self.program is not None else ())

    @property
    def radial_metric(self) -> RadialMetric:
        """The metric; raises MetricDoesNotExist where there is none."""
        if self.program is None:
            raise MetricDoesNotExist(self.missing)
        A, B = (self.program.explicit(name) for name in ("A", "B"))
        return RadialMetric(A, B, self.program, self.domain, dimension=self.dimension)

    def renamed(self, new: Mapping[Symbol, Symbol]) -> Formula:
        """Return the formulas in other symbols, at any dimension."""
        kernel, diagonal = (None if part is None else substituted(part, new) for part in (self.kernel, self.diagonal))
        program = None if self.program is None else self.program.substituted(new)
        return replace(
            self, kernel=kernel, diagonal=diagonal, program=program, domain=substituted(self.domain, new), dimension=d
        )

    def __str__(self) -> str:
        """Return what it is."""
        return self.text


def subject_of(what: Any, verb: str) -> MLP | Formula:
    """Return the network or the formulas that numeric functions are asked of; raises InvalidInput for others."""
    if isinstance(what, NetworkKernel):
        what = what.network
    if isinstance(what, MLP) and any(isinstance(layer, LayerNorm) for layer in what.layers):
        raise InvalidInput(
            f"{verb} does not know LayerNorm yet, which {what} has: take infgeo.Kernel(mlp.kernel.expr) and mlp.metric,"
            " which have numeric functions of their own"
        )
    if isinstance(what, MLP | Formula):
        return what
    if isinstance(what, RadialMetric):
        text = f"Metric A I + B x x^T with A = {what.A}, B = {what.B}, s = |x|^2."
        return Formula(text, None, None, what.program, what.domain, dimension=what.dimension)
    if not isinstance(what, Kernel):
        raise InvalidInput(
            f"{verb} takes a network, a kernel or a metric, not {what!r}: pass infgeo.MLP(...), infgeo.Kernel(...) or"
            " a RadialMetric"
        )
    if d in symbols_of(what.expr):
        raise InvalidInput(f"the kernel {what.expr} depends on d, the input dimension: take kernel.at(d=...) first")
    if what.diagonal.has(nan, zoo):
        raise InvalidInput(f"the kernel {what.expr} divides by 0 at y = x: {verb} takes one that has a value there")
    text = f"Kernel k(x, y) = {what.expr}, s_x = |x|^2, s_y = |y|^2, xy = x.y."
    try:
        metric = what.metric
        if any(part.has(nan, zoo) for part in metric.program.outputs.values()):
            raise SingularMetric("the metric of this kernel has no full rank: its features do not depend on |x|")
    except InfgeoError as error:
        return Formula(text, what.expr, what.diagonal, None, missing=str(error))
    return Formula(text, what.expr, what.diagonal, metric.program, metric.domain, dimension=metric.dimension)


def laws_of(formula: Formula, backend: Backend, notes: list[str]) -> list[str]:
    """Return the formulas of a kernel as those of one activation, for `formulas.laws`; none for a metric alone."""
    if formula.kernel is None:
        return ["_LAWS = []"]
    own, pair, plain = formula.parameters, [p, q, c, Delta], backend.name == "mpmath"
    kernel = _with_determinant(formula.kernel.xreplace({s_x: p, s_y: q, xy: c}))
    moment = formula.diagonal.xreplace({s: v})  # type: ignore[union-attr]
    of_squares = _with_distance(kernel)

    def formula_source(name: str, expr: Expr, arguments: list[Symbol], doc: str) -> str:
        expr = expr if plain else paired(expr)
        return function_source(name, Program((), {"value": expr}), arguments, own, backend, doc)

    sections = [
        formula_source("_kernel", kernel, pair, "k(x, y)"),
        formula_source("_moment", moment, [v], "k(x, x)"),
    ]
    members = ["kernel=_kernel", "moment=_moment"]
    if of_squares.has(near):
        sections.append(
            formula_source("_kernel_of_squares", of_squares, [*pair, near, far, omega], "k(x, y), of |x - y|^2 too")
        )
        members.append("kernel_of_squares=_kernel_of_squares")
    if formula.program is not None and backend.differentiable:
        outputs = formula.program.select(["A", "B"]).substituted({s: v})
        A, B = (outputs.explicit(name) for name in ("A", "B"))
        if not symbols_of(A, B) & {d}:
            sections.append(formula_source("_derivative_moment", A, [v], "A"))
            sections.append(formula_source("_derivative_slope", B / 2, [v], "B/2"))
            members += [f"{name}=_{name}" for name in ("derivative_moment", "derivative_slope")]
    if difference := _difference(of_squares, formula.program is None, own, backend, notes):
        sections.append(difference)
        members.append("difference=_difference")
    law = "\n".join(["_LAW = Law(", *(f"    {member}," for member in members), ")"])
    return [*sections, law, "_LAWS = [_LAW]"]


def _difference(of_squares: Expr, jumps: bool, own: tuple[Symbol, ...], backend: Backend, notes: list[str]) -> str:
    """Return the source of the squared distance of features, and of k(x, x) - k(y, y); none where digits are lost.

    The limit of what jumps is not 0 where points meet, as of a step at x = 0: its value there is.
    """
    if backend.name == "mpmath":
        return ""
    try:
        program = difference_program(of_squares)
    except NoClosedForm as error:
        notes.append(f"{REFUSES_NEAR} ({error}).")
        return ""
    if jumps:
        squared = where_nonnegative(-delta, 0, program.outputs["squared_distance"])
        program = replace(program, outputs={**program.outputs, "squared_distance": squared})
    doc = "|Phi(x) - Phi(y)|^2 and k(x, x) - k(y, y)"
    return function_source("_difference", program, [p, q, omega, delta, c, Delta], own, backend, doc)


def _with_determinant(kernel: Expr) -> Expr:
    """Return a kernel with Delta = p q - c^2 in roots, and arcs as atan2 of it: both keep digits at small angles."""

    def rule(part: Expr) -> Expr:
        if isinstance(part, acos):
            return pi / 2 - rule(asin(*part.args))
        if isinstance(part, asin):
            y, x = fraction(together(part.args[0]))
            if x.is_nonnegative:
                return atan2(y, sqrt(reduced(expand(x**2 - y**2))))
        if isinstance(part, Pow) and not part.exp.is_integer:
            return Pow(reduced(part.base), part.exp)
        return part

    return rebuilt(kernel, rule)


def _with_distance(kernel: Expr) -> Expr:
    """Return a kernel with `near` for |x - y|^2 in the place of p + q - 2c, which loses its digits."""

    def rule(part: Expr) -> Expr:
        if not isinstance(part, Add) or not part.has(p):
            return part
        a = part.coeff(p)
        if a == 0 or a.has(p, q, c, Delta) or part.coeff(q) != a or expand(part.coeff(c) + 2 * a) != 0:
            return part
        rest = expand(part - a * (p + q - 2 * c))
        return part if rest.has(p, q, c) else a * near + rest

    return rebuilt(kernel, rule)


def radial_of(formula: Formula, backend: Backend, notes: list[str]) -> list[str]:
    """Return the functions of s = |x|^2 of a metric, for `formulas.radial`, and where it is one."""
    names = ("_metric_parts", "_log_metric", "_metric_coefficient", "_ricci_scalar")
    if formula.program is None:
        notes += [f"No metric: {formula.missing}."] if formula.missing else []
        missing = [f"def {name}(s, *scalars):\n    raise DoesNotExist({formula.missing!r})" for name in names]
        return [*missing, "_VARIANCES = None"]
    program, scalars = formula.program, [d, *formula.parameters]
    # Written out, R has d in sums with s, which cancel at d = 2.
    K_rad, K_tan = (program.outputs[name] for name in ("K_rad", "K_tan"))
    R = (d - 1) * (2 * K_rad + (d - 2) * K_tan)
    program = Program(program.bindings, {**program.outputs, "R": R})

    def source(name: str, outputs: list[str], doc: str) -> str:
        return function_source(name, program.select(outputs), [s], scalars, backend, doc)

    return [
        source("_metric_parts", ["A", "shear", "eta"], "A, s B/A, (A + s B)/A of g = A I + B x x^T"),
        source("_ricci_scalar", ["R"], "The Ricci scalar"),
        source("_metric_coefficient", ["B"], "B of g = A I + B x x^T"),
        "_log_metric = None",
        "_VARIANCES = None",
    ]
