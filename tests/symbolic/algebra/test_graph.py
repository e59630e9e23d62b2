"""Walks over distinct subexpressions, and power series by field arithmetic, against SymPy's own and mpmath."""

from __future__ import annotations

import mpmath
import pytest
import sympy as sp

import infgeo
from infgeo.conventions import Delta, c, p, q
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra import graph, limits
from infgeo.symbolic.algebra.primitives import exp_difference
from infgeo.symbolic.floats.exponentials import paired
from infgeo.symbolic.floats.power_series import power_series
from infgeo.symbolic.floats.stable import cut_power_series

z, a = sp.symbols("z a", real=True)
LONG = z**7 * sp.erf(a * z) * sp.exp(-(z**2) / 2)
AT = {p: sp.Rational(7, 9), q: sp.Rational(9, 11), c: sp.Rational(3, 8), a: sp.Rational(2, 3)}
AT[Delta] = AT[p] * AT[q] - AT[c] ** 2


def exact(expr):
    """Return an expression at AT, by SymPy's own walks."""
    function = sp.lambdify(list(AT), expr, "mpmath", cse=True)
    return function(*(mpmath.mpf(value.p) / value.q for value in AT.values()))


def test_long_kernels_are_short_graphs():
    law = infgeo.MLP(LONG, variable=z).dual
    assert graph.is_long(law.derivative_kernel)
    assert len(graph.distinct(law.derivative_kernel)) < 1000 < sp.count_ops(law.derivative_kernel) / 10


def test_named_pieces_have_the_same_value():
    kernel = infgeo.MLP(LONG, variable=z).dual.derivative_kernel
    shared, (short,) = graph.cse([kernel], sp.numbered_symbols("t"))
    assert sum(sp.count_ops(expr) for _, expr in shared) < 10 * len(graph.distinct(kernel))
    assert graph.symbols_of(short) <= {symbol for symbol, _ in shared} | set(AT)
    with mpmath.workdps(40):
        known = {symbol: mpmath.mpf(value.p) / value.q for symbol, value in AT.items()}
        whole = graph.evaluated(kernel, known)
        for symbol, expr in shared:  # each uses earlier ones alone
            known[symbol] = graph.evaluated(expr, known)
        assert abs(graph.evaluated(short, known) / whole - 1) < mpmath.mpf(10) ** -35
        assert abs(exact(kernel) / whole - 1) < mpmath.mpf(10) ** -35


def test_a_wide_sum_without_repeated_parts_is_cut_into_pieces_too():
    expr = sp.Add(*[sp.Symbol(f"x{i}") ** 2 for i in range(limits.DISTINCT_LIMIT + 1)])
    assert graph.cse([expr], sp.numbered_symbols("t")) == ([], [expr])


def test_substitution_is_that_of_sympy():
    kernel = infgeo.MLP("gelu").dual.kernel
    at = {p: v, q: v, c: v, Delta: 0}
    assert graph.substituted(kernel, at) == kernel.xreplace(at)
    assert graph.rebuilt(kernel, lambda node: -node if node == c else node) == kernel.xreplace({c: -c})


def test_opposite_exponentials_are_paired_each_once():
    coefficients = [sp.Symbol(f"a{i}") for i in range(60)]
    total = sp.Add(*[k * (sp.exp(-i * p) - sp.exp(-i * q)) for i, k in enumerate(coefficients, start=1)]).expand()
    result = paired(total)
    assert len(result.atoms(exp_difference)) == 60
    assert not result.atoms(sp.exp)
    assert paired(sp.exp(p) - sp.exp(q) - sp.exp(c)).atoms(sp.exp)


@pytest.mark.parametrize(
    "expr",
    [
        sp.atan(2 * v / sp.sqrt((1 + 2 * v) * (1 + 6 * v))) / sp.pi - v**2 / (1 + v) ** sp.Rational(7, 2),
        v**3 * sp.atan2(sp.sqrt(2) * v, sp.sqrt(1 + v)) / (1 + 4 * v) ** 2,
        1 / v - sp.atan(v) / v**2,
        sp.sqrt(4 * v**2 + v**3) * sp.atan(sp.Rational(1, 2)),
    ],
    ids=str,
)
def test_power_series_are_those_of_the_functions(expr):
    """The remainder after 12 terms is of the next power: it falls by 2^(lead + 12) from v to v/2."""
    lead, coefficients = power_series(expr, v, 12)
    assert coefficients[0] != 0
    with mpmath.workdps(60):
        rest = []
        for point in (sp.Rational(1, 4096), sp.Rational(1, 8192)):
            cut = sum(k * point ** (lead + i) for i, k in enumerate(coefficients))
            rest.append((expr.subs(v, point) - cut).evalf(60, maxn=400))
        assert abs(rest[0]) < abs(coefficients[0]) * sp.Rational(1, 4096) ** (lead + 12) * 10**9
        assert abs(sp.log(abs(rest[0] / rest[1]), 2) - (lead + 12)) < 1.1


def test_power_series_have_symbolic_coefficients():
    lead, coefficients = power_series(sp.atan(a * v) / sp.pi, v, 3)
    assert (lead, coefficients) == (1, [a / sp.pi, 0, -(a**3) / (3 * sp.pi)])


@pytest.mark.parametrize("expr", [sp.exp(1 + v), sp.sqrt(v), sp.atan(1 + v), sp.sqrt(2 + v), sp.atan(1 / v)], ids=str)
def test_what_has_no_power_series_says_so(expr):
    with pytest.raises(NoClosedForm):
        power_series(expr, v, 4)


def test_what_is_cut_off_a_power_series_is_small_where_it_is_used():
    f = infgeo.MLP(z**5 * sp.erf(z) * sp.exp(-(z**2) / 2)).dual.m0
    polynomial, near = cut_power_series(f)
    edge = sp.Rational(99, 100) * sp.solve(near, v)[0]
    assert abs((polynomial / f - 1).subs(v, edge).evalf(30, maxn=400)) < sp.Float("1e-19")
