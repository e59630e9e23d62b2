"""The first terms of the geometry of any network at |x| -> oo and |x| -> 0, by truncated series of its program."""

from __future__ import annotations

from collections.abc import Sequence

import mpmath
from sympy import Add, Expr, oo

from infgeo.conventions import s
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.algebra.truncated_series import DIGITS, Evaluator, Lost
from infgeo.symbolic.analysis.asymptotics import ZERO, Expansion
from infgeo.symbolic.geometry.metric import RadialMetric

PRECISIONS = (1, 2, 4, 7)  # relative orders in 1/s that are tried until no leading term is lost to cancellation
TIDIED = 300  # operations of a result that is put in order
NUMBERS_TIDIED = 60  # the same where roots of numbers are in it, over which factoring takes long


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


def terms_at_origin(metric: RadialMetric, terms: int) -> Expansion:
    """Return the first `terms` terms of A, B and R of a metric's program at s = 0; see `analysis.small_norm`."""
    parameters = [x for x in metric.program.inputs if x != s]
    with mpmath.workdps(DIGITS):
        evaluators = [Evaluator(terms + extra, s, 1, parameters) for extra in (0, 2, 6)]
        A, B = (_first_terms(metric.program, name, terms, evaluators) for name in ("A", "B"))
        R = ZERO if metric.is_flat else _first_terms(metric.program, "R", terms, evaluators)
        return Expansion(A, B, R)


def _first_terms(program: Program, name: str, terms: int, evaluators: Sequence[Evaluator]) -> Expr:
    for evaluator in evaluators:
        try:
            found = evaluator.run(program, name)
        except Lost:
            continue
        end = found.lead + terms
        if any(not e.is_Integer or (e < 0 and name != "R") for e in found.terms):
            raise NoClosedForm(f"{name} of this network is no power series in s = |x|^2 at x = 0")
        if found.order >= end or (not found.terms and found.order is oo):
            kept = {e: evaluator.written_out(x.expr) for e, x in found.terms.items() if e < end}
            return Add(*(tidy(x, NUMBERS_TIDIED) * s**e for e, x in kept.items()))
    raise NoClosedForm(
        f"the first terms of {name} of this network at x = 0 cancel, or are smaller than every power of s"
    )
