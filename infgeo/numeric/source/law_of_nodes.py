"""The law of a mixture as source text: formulas of two nodes in closed form, and their sums over all pairs of nodes.

The metric needs functions of one variance (see `symbolic.networks.recursion`), which are quotients of such sums. They
keep their names in the program of the metric, as do those of any activation that is integrated numerically.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sympy import Expr, Function, Symbol

from infgeo.conventions import Delta, c, delta, omega, p, q
from infgeo.conventions import variance as v
from infgeo.numeric.source.mixture import NODE_A, NODE_B, NODES, Mixture
from infgeo.numeric.source.printing import Backend, function_source
from infgeo.symbolic.activations.terms import Term, differentiate
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.expectations.expectation import expectation
from infgeo.symbolic.expectations.one_variance import gathered
from infgeo.symbolic.floats.difference import difference_program
from infgeo.symbolic.floats.exponentials import paired

if TYPE_CHECKING:
    from infgeo.symbolic.networks.layers import Dense, Residual

_PAIR = [p, q, c, Delta]
_COINCIDENCE = {p: v, q: v, c: v, Delta: 0}
_OF_VARIANCE = ("psi", "psi_prime", "mu", "nu", "nu_prime", "chi", "chi_prime")
# Names in formulas -> source text.
NAMED = {f"of_variance_{name}": f"OfVariance.{name}" for name in (*_OF_VARIANCE, "first", "slope_moment")}


def law_of_nodes(
    mixture: Mixture, own: tuple[Symbol, ...], suffix: str, backend: Backend, odd: bool
) -> list[str]:
    """Return the formulas of a mixture, and the law that holds their sums."""
    left = mixture.terms
    right = tuple(_at(term, {NODE_A: NODE_B}) for term in left)
    first = [(left, right), (differentiate(left), differentiate(right))]
    kernel, slope = (expectation(*pair) for pair in first)
    second = differentiate(first[1][0]), differentiate(first[1][1])
    moment, m0 = (tidy(gathered(expr.subs(_COINCIDENCE))) for expr in (kernel, slope))
    curved = (expectation(left, second[1]) + expectation(second[0], right)) / 2
    e = tidy(gathered(curved.subs(_COINCIDENCE)))
    x = tidy(m0 + 2 * v * m0.diff(v))
    sums = [moment, moment.diff(v), m0, m0.diff(v), m0.diff(v, 2), e, e.diff(v), x, x.diff(v)]
    sections, members = [], []

    def add(name: str, arguments: list[Symbol], program: Program, alike: bool) -> None:
        source = function_source(
            f"_{name}_of_nodes{suffix}", program, [*arguments, NODE_A, NODE_B], own, backend, f"{name}, of two nodes"
        )
        total = f"over_nodes(_xp, _{name}_of_nodes{suffix}, {len(arguments)}, _NODES, {alike})"
        sections.append(f"{source}\n\n\n_{name}{suffix} = {total}")
        members.append(f"{name}=_{name}{suffix}")

    def plain(*exprs: Expr) -> Program:
        return Program((), {str(i): paired(expr) for i, expr in enumerate(exprs)})

    add("kernel", _PAIR, plain(kernel), False)
    add("moment", [v], plain(moment), True)
    if backend.exact_numbers:
        sections.append(f"_difference{suffix} = by_subtraction(_kernel{suffix}, _moment{suffix})")
        members.append(f"difference=_difference{suffix}")
    else:
        both = (kernel + expectation(right, left)) / 2
        add("difference", [p, q, omega, delta, c, Delta], difference_program(both), True)
    add("derivative_kernel", _PAIR, plain(slope), False)
    add("derivative_moment", [v], plain(m0), True)
    if backend.differentiable:
        second_moment = tidy(gathered(expectation(*second).subs(_COINCIDENCE)))
        add("derivative_slope", [v], plain(m0.diff(v)), True)
        add("second_moment", [v], plain(second_moment), True)
        add("second_slope", [v], plain(second_moment.diff(v)), True)
    law = list(members)
    add("sums", [v], plain(*map(tidy, sums)), True)
    sections.append(f"_of_variance{suffix} = of_variance(_sums{suffix})")
    law += ["steep=True", *(["odd=True"] if odd else [])]
    return [*sections, "\n".join([f"_LAW{suffix} = Law(", *(f"    {member}," for member in law), ")"])]


def nodes_source() -> str:
    """Return the source of the nodes."""
    lines = [f"    ({a!r}, {w!r})," for a, w in NODES]
    return "\n".join(["# tanh z = sum of w erf(a z) over (a, w).", "_NODES = (", *lines, ")"])


def _at(term: Term, new: dict[Symbol, Symbol]) -> Term:
    scale = term.factor.scale.xreplace(new)
    exprs = {name: getattr(term, name).xreplace(new) for name in ("coefficient", "decay", "slope")}
    return replace(term, **exprs, factor=replace(term.factor, scale=scale))


@dataclass(frozen=True)
class Named:
    """A layer whose dual is made of functions that have only names."""

    layer: Dense | Residual
    dual: Any

    def apply(self, state: Any) -> Any:
        """Return the state after the layer."""
        return type(self.layer).apply(self, state)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        """Return what the layer has."""
        return getattr(self.layer, name)


def named_dual(suffix: str, own: tuple[Symbol, ...]) -> SimpleNamespace:
    """Return the functions of one variance of an activation by the names that they have in the source."""
    at = Function(f"of_variance_at{suffix}")(v, *own)
    functions: dict[str, Any] = {name: Function(f"of_variance_{name}")(at) for name in _OF_VARIANCE}
    psi, psi_prime, chi, chi_prime = (functions[name] for name in ("psi", "psi_prime", "chi", "chi_prime"))

    def of_one_layer(bias: Expr) -> tuple[Expr, Expr]:
        """Return 1 + 2 u psi and the derivative of u psi by u, at v = bias + u, without cancellation."""
        return chi - 2 * bias * psi, chi_prime / 2 - bias * psi_prime

    m, m0 = Function("of_variance_first")(at), Function("of_variance_slope_moment")(at)
    m_prime = functions["mu"] * m0
    return SimpleNamespace(**functions, m=m, m0=m0, m_prime=m_prime, of_one_layer=of_one_layer)


def naming(backend: Backend, suffixes: list[str]) -> Backend:
    """Return a backend that knows these names."""
    found = NAMED | {f"of_variance_at{suffix}": f"_of_variance{suffix}" for suffix in suffixes}
    return replace(backend, functions={**backend.functions, **found})
