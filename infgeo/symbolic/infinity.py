"""Leading terms of the geometry of any network at |x| -> oo, by truncated series of its program."""

from __future__ import annotations

from collections.abc import Sequence

import mpmath
from sympy import Expr, oo

from infgeo.conventions import s
from infgeo.errors import NoClosedForm
from infgeo.symbolic.asymptotics import ZERO, Expansion
from infgeo.symbolic.program import Program
from infgeo.symbolic.simplify import tidy
from infgeo.symbolic.truncated import DIGITS, Evaluator, Lost

PRECISIONS = (1, 2, 4, 7)  # relative orders in 1/s that are tried until no leading term is lost to cancellation
TIDIED = 300  # operations of a result that is put in order


def leading_terms(program: Program) -> Expansion:
    """Return the leading terms of A, B and R of a metric's program at s -> oo.

    Raises NoClosedForm where one of them grows or falls like an exponential, or has no expansion in powers of s.
    """
    parameters = [x for x in program.inputs if x != s]
    with mpmath.workdps(DIGITS):
        evaluators = [Evaluator(precision, s, -1, parameters) for precision in PRECISIONS]
        return Expansion(*(_leading_term(program, name, evaluators) for name in ("A", "B", "R")))


def _leading_term(program: Program, name: str, evaluators: Sequence[Evaluator]) -> Expr:
    for evaluator in evaluators:
        try:
            found = evaluator.run(program, name)
        except Lost:
            continue
        if found.terms:
            return tidy(evaluator.written_out(found.terms[found.lead].expr), TIDIED) * s ** (-found.lead)
        if found.order is oo and not evaluator.small:
            return ZERO
    reason = "it decays faster than every power of |x|" if evaluators[-1].small else "its leading terms cancel"
    raise NoClosedForm(f"{name} of this network has no leading term in powers of |x| at large |x|: {reason}")
