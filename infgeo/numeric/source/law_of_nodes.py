"""The law of a mixture as source text: formulas of two nodes in closed form, and their sums over all pairs of nodes.

The metric needs functions of one variance (see `symbolic.networks.recursion`), which are quotients of such sums. They
keep their names in the program of the metric, as do those of any activation that is integrated numerically.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sympy import Expr, Function, Integer, Symbol

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
    from infgeo.symbolic.activations.activation import Activation

_PAIR = [p, q, c, Delta]
LOWEST = 0.01  # variance down to which metrics keep their digits where the slope vanishes at 0
_OF_VARIANCE = ("psi", "psi_prime", "mu", "nu", "nu_prime", "chi", "chi_prime")
# Names in formulas -> source text.
NAMED = {f"of_variance_{name}": f"OfVariance.{name}" for name in (*_OF_VARIANCE, "first", "slope_moment")}


@dataclass(frozen=True)
class DualOfNodes:
    """The expectations of f(u; a) f(v; b) for two nodes a and b, with the names of `expectations.dual.Dual`."""

    terms: tuple[Term, ...]

    @cached_property
    def derivative(self) -> DualOfNodes:
        """The same of f'."""
        return DualOfNodes(differentiate(self.terms))

    @cached_property
    def others(self) -> tuple[Term, ...]:
        """The terms at the second node."""
        return tuple(_at(term, {NODE_A: NODE_B}) for term in self.terms)

    @cached_property
    def kernel(self) -> Expr:
        """The expectation E[f(u; a) f(v; b)]."""
        return expectation(self.terms, self.others)

    @property
    def derivative_kernel(self) -> Expr:
        """The expectation E[f'(u; a) f'(v; b)]."""
        return self.derivative.kernel

    @cached_property
    def symmetric(self) -> Expr:
        """The kernel's mean over both orders of the nodes, which is symmetric in u and v."""
        return (self.kernel + expectation(self.others, self.terms)) / 2

    @cached_property
    def m(self) -> Expr:
        """The kernel at coincidence."""
        return _at_coincidence(self.kernel)

    @property
    def m_prime(self) -> Expr:
        """The derivative of m."""
        return self.m.diff(v)

    @property
    def m0(self) -> Expr:
        """The kernel of f' at coincidence."""
        return self.derivative.m

    @cached_property
    def sums(self) -> list[Expr]:
        """What `runtime.nodes.OfVariance` holds."""
        second = self.derivative.derivative
        e = _at_coincidence((expectation(self.terms, second.others) + expectation(second.terms, self.others)) / 2)
        x = tidy(self.m0 + 2 * v * self.m0.diff(v))
        found = [self.m, self.m_prime, self.m0, self.m0.diff(v), self.m0.diff(v, 2), e, e.diff(v), x, x.diff(v)]
        return list(map(tidy, found))


def _at_coincidence(kernel: Expr) -> Expr:
    return tidy(gathered(kernel.subs({p: v, q: v, c: v, Delta: 0})))


@lru_cache(maxsize=256)
def dual_of_nodes(mixture: Mixture) -> DualOfNodes:
    """Return the dual of two nodes of a mixture, derived once."""
    return DualOfNodes(mixture.terms)


def summed_source(
    name: str, arguments: list[Symbol], program: Program, own: tuple[Symbol, ...], backend: Backend, alike: bool
) -> str:
    """Return the source of the sum of a program over pairs of nodes, which is the same in both orders or not."""
    doc = "The summand of a pair of nodes"
    source = function_source(f"{name}_of_nodes", program, [*arguments, NODE_A, NODE_B], own, backend, doc)
    return f"{source}\n\n\n{name} = over_nodes(_xp, {name}_of_nodes, {len(arguments)}, _NODES, {alike})"


def law_of_nodes(mixture: Mixture, own: tuple[Symbol, ...], suffix: str, backend: Backend, odd: bool) -> list[str]:
    """Return the formulas of a mixture, and the law that holds their sums."""
    dual = dual_of_nodes(mixture)
    formulas: dict[str, tuple[list[Symbol], list[Expr]]] = {
        "kernel": (_PAIR, [dual.kernel]),
        "moment": ([v], [dual.m]),
        "derivative_kernel": (_PAIR, [dual.derivative_kernel]),
        "derivative_moment": ([v], [dual.m0]),
        "sums": ([v], dual.sums),
    }
    if backend.differentiable:
        second = dual.derivative.m0
        formulas |= {
            "derivative_slope": ([v], [dual.m0.diff(v)]),
            "second_moment": ([v], [second]),
            "second_slope": ([v], [second.diff(v)]),
        }
    sections = []
    for name, (arguments, exprs) in formulas.items():
        program = Program((), {str(i): paired(expr) for i, expr in enumerate(exprs)})
        sections.append(summed_source(f"_{name}{suffix}", arguments, program, own, backend, arguments == [v]))
    if not backend.exact_numbers:
        program = difference_program(dual.symmetric)
        arguments = [p, q, omega, delta, c, Delta]
        sections.append(summed_source(f"_difference{suffix}", arguments, program, own, backend, True))
    sections.append(f"_of_variance{suffix} = of_variance(_xp, _sums{suffix})")
    members = [f"{name}=_{name}{suffix}" for name in formulas if name != "sums"]
    members += [] if backend.exact_numbers else [f"difference=_difference{suffix}"]
    members += ["steep=True", *(["odd=True"] if odd else [])]
    return [*sections, law_source(f"_LAW{suffix}", members)]


def law_source(name: str, members: list[str]) -> str:
    """Return the source of a law."""
    return "\n".join([f"{name} = Law(", *(f"    {member}," for member in members), ")"])


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

    layer: Any
    dual: Any

    def apply(self, state: Any) -> Any:
        """Return the state after the layer."""
        return type(self.layer).apply(self, state)

    def __getattr__(self, name: str) -> Any:
        """Return what the layer has."""
        return getattr(self.layer, name)


def flat_at_origin(activation: Activation) -> bool:
    """Return whether the slope of an activation vanishes at 0."""
    return bool(activation.expr.diff(activation.symbol).subs(activation.symbol, 0) == 0)


def named_dual(activation: Activation, suffix: str, own: tuple[Symbol, ...]) -> SimpleNamespace:
    """Return the functions of one variance of an activation by the names that they have in the source."""
    at = Function(f"of_variance_at{suffix}")(v, *own)
    functions: dict[str, Any] = {name: Function(f"of_variance_{name}")(at) for name in _OF_VARIANCE}
    psi, psi_prime, chi, chi_prime = (functions[name] for name in ("psi", "psi_prime", "chi", "chi_prime"))

    def of_one_layer(bias: Expr) -> tuple[Expr, Expr]:
        """Return 1 + 2 u psi and the derivative of u psi by u, at v = bias + u, without cancellation."""
        return chi - 2 * bias * psi, chi_prime / 2 - bias * psi_prime

    m, m0 = Function("of_variance_first")(at), Function("of_variance_slope_moment")(at)
    m_prime = functions["mu"] * m0
    # What matters at x = 0: whether phi vanishes there; of phi' see `flat_at_origin`.
    slope = SimpleNamespace(terms=(Term(Integer(1)),), jumps={})
    origin = {"terms": (Term(activation.expr.subs(activation.symbol, 0)),), "jumps": {}, "derivative": slope}
    return SimpleNamespace(**functions, **origin, m=m, m0=m0, m_prime=m_prime, of_one_layer=of_one_layer)


def naming(backend: Backend, suffixes: list[str]) -> Backend:
    """Return a backend that knows these names."""
    found = NAMED | {f"of_variance_at{suffix}": f"_of_variance{suffix}" for suffix in suffixes}
    scalars = {**backend.scalar_functions, **found}  # after a normalisation variances may be numbers
    return replace(backend, functions={**backend.functions, **found}, scalar_functions=scalars)
