"""Conditions on parameters as source text: their bounds, where a metric vanishes, and where formulas are one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import Eq, false
from sympy.logic.boolalg import Boolean
from sympy.printing.pycode import PythonCodePrinter

from infgeo.numeric.source.formulas import own_parameters
from infgeo.numeric.source.law_of_nodes import named_dual
from infgeo.numeric.source.methods import Methods, methods_of
from infgeo.numeric.source.names import public_name
from infgeo.numeric.source.of_formula import Formula
from infgeo.numeric.source.radial import with_duals
from infgeo.symbolic.expectations.dual import dual as dual_of
from infgeo.symbolic.networks.existence import degenerate_at_origin

if TYPE_CHECKING:
    from infgeo.symbolic.networks.network import MLP


def vanishing_source(mlp: MLP | Formula, methods: Methods) -> str:
    """Return the source of the condition under which the metric vanishes at x = 0: that some scales are 0."""
    if isinstance(mlp, Formula):
        return "None"
    own = set(own_parameters(mlp))
    named = {a: named_dual(a, "", ()) for a, method in methods.items() if method != "closed_form"}
    condition = degenerate_at_origin(with_duals(mlp, named))
    # That an expression of the activation's own parameters is 0 is not a question for floats.
    condition = condition.xreplace({part: false for part in condition.atoms(Eq) if part.free_symbols & own})
    if condition == false:
        return "None"
    return f"lambda {', '.join(['d', *(symbol.name for symbol in mlp.parameters)])}: {_Conditions().doprint(condition)}"


def domain_source(mlp: MLP | Formula) -> str:
    """Return the source of the condition under which a metric that is a formula is finite, a function of s too."""
    if not isinstance(mlp, Formula) or mlp.program is None:
        return "None"
    names = ", ".join(["s", "d", *(symbol.name for symbol in mlp.parameters)])
    return f"lambda {names}: {_Conditions().doprint(mlp.domain)}"


class _Conditions(PythonCodePrinter):
    """Prints conditions on scalars that may be arrays without dimension."""

    def _print_And(self, expr: Boolean) -> str:
        return " & ".join(f"({self._print(part)})" for part in expr.args)

    def _print_Or(self, expr: Boolean) -> str:
        return " | ".join(f"({self._print(part)})" for part in expr.args)


def bounds_of(mlp: MLP | Formula) -> dict[str, str]:
    """Return the bounds on the parameters: those that their assumptions state, and those of exponents."""
    bounds = {part: "> 0" if part.is_positive else ">= 0" * bool(part.is_nonnegative) for part in mlp.parameters}
    for activation, method in methods_of(mlp).items():
        least = dual_of(activation).least_exponents if method == "closed_form" else {}
        bounds |= {symbol: f"> {float(bound)}" for symbol, bound in least.items() if bound >= 0}
    return {public_name(symbol.name): bound for symbol, bound in bounds.items()}
