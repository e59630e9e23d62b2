"""Walks over distinct subexpressions, and power series by field arithmetic, against SymPy's own and mpmath."""

from __future__ import annotations

import mpmath
import sympy as sp

import infgeo
from infgeo.conventions import Delta, c, p, q
from infgeo.conventions import variance as v
from infgeo.symbolic.algebra import graph, limits
from infgeo.symbolic.algebra.primitives import exp_difference
from infgeo.symbolic.floats.exponentials import paired

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
