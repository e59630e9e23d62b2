"""The first terms of a metric and its Ricci scalar at |x| -> 0 and |x| -> oo, by truncated series of its program.

At large |x| one layer may grow or fall like exp(b s), which is no power. Of it A = f(v), v = sigma_b^2 + u,
u = sigma_w^2 s,

    B = 2 sigma_w^2 f',  h = f + 2 u f',  J = f f' + u (f f'' - f'^2),
    R = -sigma_w^2 (d - 1) u f' (4 J + (d - 2) f' h) / (f h)^2,

with f a sum of powers of v and exponentials of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import mpmath
from sympy import Add, Expr, Integer, Mul, Pow, exp, expand, factor, oo, powsimp

from infgeo.arguments import instance, positive_integer
from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.limits import COEFFICIENT_LIMIT, NUMBERS_LIMIT
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.algebra.truncated_series import DIGITS, Evaluator, Lost, Series
from infgeo.symbolic.geometry.metric import RadialMetric
from infgeo.symbolic.networks.layers import Dense
from infgeo.symbolic.networks.network import MLP

ZERO = Integer(0)
PRECISIONS = (1, 2, 4, 7)  # relative orders in 1/s that are tried until no leading term is lost to cancellation


@dataclass(frozen=True)
class Expansion:
    """Expansions of A, B and the Ricci scalar R, expressions in s = |x|^2."""

    A: Expr
    B: Expr
    R: Expr


def small_norm(metric: RadialMetric, terms: int = 2) -> Expansion:
    """Return A, B and R as power series at x = 0, `terms` terms each, in s = |x|^2.

    R(0) = d (d - 1) (B(0) - 2 A'(0)) / A(0)^2, which is 0 for one layer. Where the metric vanishes at x = 0, R begins
    with a negative power.

    Args:
        metric: any `RadialMetric` whose A and B are power series in s there.
        terms: number of terms, at least 1; a term may be 0.

    Raises NoClosedForm where A or B is no power series at s = 0, or a coefficient of a deep network is too long to be
    written out; InvalidInput for `terms` < 1.

    Example:
        >>> import infgeo
        >>> infgeo.analysis.small_norm(infgeo.MLP("erf", weight_std=1, bias_std=0).metric).R
        pi*s**2*(d - 1)*(d + 2)/2 - pi*s*(d - 1)*(d + 2)/2
    """
    instance(metric, "metric", RadialMetric, "the metric of a network, as infgeo.MLP(...).metric")
    terms, program = positive_integer(terms, "terms", maximum=100), metric.program
    with mpmath.workdps(DIGITS):
        evaluators = _evaluators(program, (terms, terms + 2, terms + 6), 1)
        A, B = (_first_terms(program, name, terms, evaluators) for name in ("A", "B"))
        return Expansion(A, B, ZERO if metric.is_flat else _first_terms(program, "R", terms, evaluators))


def large_norm(mlp: MLP) -> Expansion:
    """Return the leading terms of A, B and R of a network for s = |x|^2 -> oo.

    They are c s^a, for one dense layer also c s^a exp(b s): the quotient with the function they stand for tends to 1.

    Raises NoClosedForm where there is no such term, with the reason: beyond one dense layer, what grows or decays like
    an exponential.

    Example:
        >>> import infgeo
        >>> infgeo.analysis.large_norm(infgeo.MLP("erf", weight_std=1, bias_std=0)).R
        -sqrt(2)*pi*sqrt(s)*(d - 1)*(d + 2)/4
        >>> infgeo.analysis.large_norm(infgeo.MLP(["erf", "relu"], weight_std=1, bias_std=0)).A
        sqrt(2)/(2*pi*sqrt(s))
    """
    layer = instance(mlp, "mlp", MLP, "an infgeo.MLP").layers[0]
    if len(mlp.layers) == 1 and isinstance(layer, Dense):
        return _leading_of_layer(layer.dual.m0, *layer.variances)
    program = mlp.metric_program
    with mpmath.workdps(DIGITS):
        evaluators = _evaluators(program, PRECISIONS, -1)
        return Expansion(*(_leading_term(program, name, evaluators) for name in ("A", "B", "R")))


def _evaluators(program: Program, precisions: Sequence[int], power: int) -> list[Evaluator]:
    """Return what evaluates a program at s = t^power."""
    parameters = [x for x in program.inputs if x != s]
    return [Evaluator(precision, s, power, parameters) for precision in precisions]


def _attempts(program: Program, name: str, evaluators: Sequence[Evaluator]) -> Iterator[tuple[Evaluator, Series]]:
    """Yield the series of an output by those evaluators that lose no leading term."""
    for evaluator in evaluators:
        with suppress(Lost):
            yield evaluator, evaluator.run(program, name)


def _leading_term(program: Program, name: str, evaluators: Sequence[Evaluator]) -> Expr:
    for evaluator, found in _attempts(program, name, evaluators):
        if found.terms:
            return tidy(evaluator.written_out(found.terms[found.lead].expr), COEFFICIENT_LIMIT) * s ** (-found.lead)
        if found.order is oo and not evaluator.small:
            return ZERO
    reason = "it decays faster than every power of |x|" if evaluators[-1].small else "its leading terms cancel"
    raise NoClosedForm(f"{name} of this network has no leading term in powers of |x| at large |x|: {reason}")


def _first_terms(program: Program, name: str, terms: int, evaluators: Sequence[Evaluator]) -> Expr:
    for evaluator, found in _attempts(program, name, evaluators):
        end = found.lead + terms
        if any(not e.is_Integer or (e < 0 and name != "R") for e in found.terms):
            raise NoClosedForm(f"{name} of this metric is no power series in s = |x|^2 at x = 0")
        if found.order >= end or (not found.terms and found.order is oo):
            kept = {e: evaluator.written_out(x.expr) for e, x in found.terms.items() if e < end}
            return Add(*(_short(x) * s**e for e, x in kept.items()))
    raise NoClosedForm(
        f"the first terms of {name} of this metric at x = 0 cancel, or are smaller than every power of s"
    )


def _short(coefficient: Expr) -> Expr:
    roots = any(part.base.is_number and not part.exp.is_Integer for part in coefficient.atoms(Pow))
    return tidy(coefficient, NUMBERS_LIMIT if roots else COEFFICIENT_LIMIT)


def _leading_of_layer(m0: Expr, weight: Expr, bias: Expr) -> Expansion:
    """Return the leading terms of A, B and R of one layer at s -> oo, c s^a exp(b s), from m0 = E[phi'^2]."""
    parameters = sorted({d} | m0.free_symbols | weight.free_symbols | bias.free_symbols, key=str)
    with mpmath.workdps(DIGITS):
        for precision in (4, 7, 12):  # relative orders, beyond those that h and J lose
            evaluator = Evaluator(precision, v, -1, [x for x in parameters if x != v])
            f, u = weight * _in_powers(m0, evaluator), v - bias
            slope = f.diff(v)
            if slope == 0:
                return Expansion(_in_s(f, weight, bias), ZERO, ZERO)
            h = f + 2 * u * slope
            J = f * slope + u * (f * slope.diff(v) - slope**2)
            numerator = -weight * (d - 1) * u * slope * (4 * J + (d - 2) * slope * h)
            lead_A, lead_h, lead_B, lead_R = (
                _leading(part, evaluator) for part in (f, h, 2 * weight * slope, numerator)
            )
            if 0 not in (lead_A, lead_h, lead_B, lead_R):
                R = lead_R / (lead_A * lead_h) ** 2
                return Expansion(*(_in_s(part, weight, bias) for part in (lead_A, lead_B, R)))
    raise NoClosedForm(f"the expansion of E[phi'(z)^2] = {m0} at large variance leaves the curvature undecided")


def _in_powers(m0: Expr, evaluator: Evaluator) -> Expr:
    """Return m0 as a sum of powers of v, each times an exponential of a polynomial of v or not."""
    total = ZERO
    for summand in Add.make_args(powsimp(expand(m0), combine="exp")):
        parts = [part for part in Mul.make_args(summand) if isinstance(part, exp) and part.has(v)]
        exponentials = Mul(*[part for part in parts if part.args[0].is_polynomial(v)])
        try:
            series = evaluator.value(summand / exponentials)
        except NoClosedForm as error:
            raise NoClosedForm(f"{summand} has no expansion at large variance") from error
        powers = Add(*(evaluator.written_out(x.expr) * v ** (-e) for e, x in series.terms.items()))
        total += exponentials * powers
    return total


def _leading(expr: Expr, evaluator: Evaluator) -> Expr:
    """Return the leading term of a sum of c v^a exp(b v), as v -> oo; 0 where all cancel."""
    groups: dict[tuple[Expr, Expr], Expr] = {}
    for term in Add.make_args(powsimp(expand(expr), combine="exp")):
        exponent = expand(sum((part.args[0] for part in Mul.make_args(term) if isinstance(part, exp)), ZERO))
        rate = exponent.coeff(v, 1)
        coefficient, power = powsimp(term * exp(-rate * v), combine="exp").as_coeff_exponent(v)
        groups[rate, power] = groups.get((rate, power), ZERO) + coefficient
    # Symbols are taken at 1, which decides between positive ones.
    order = {key: tuple(float(x.subs(dict.fromkeys(x.free_symbols, 1))) for x in key) for key in groups}
    for rate, power in sorted(groups, key=order.__getitem__, reverse=True):
        if evaluator.constant(groups[rate, power]).terms:
            return _short(groups[rate, power]) * v**power * exp(rate * v)
    return ZERO


def _in_s(term: Expr, weight: Expr, bias: Expr) -> Expr:
    """Return a leading term c v^a exp(b v) for v = bias + weight s: v^a by its leading term, the exponential exact."""
    parts = Mul.make_args(powsimp(term, combine="exp"))
    exponential = Mul(*[part for part in parts if isinstance(part, exp) and part.has(v)])
    coefficient, power = (term / exponential).as_coeff_exponent(v)
    return tidy(factor(coefficient) * (weight * s) ** power) * exponential.xreplace({v: bias + weight * s})
