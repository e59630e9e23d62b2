"""Expectations as functions of JavaScript: SymPy prints them, geometry.js has the special functions that they call."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sympy import Expr, Function, Mul, Pow, Symbol, cse, erfc, exp, expand
from sympy.printing.jscode import JavascriptCodePrinter
from sympy.utilities.iterables import numbered_symbols

from infgeo.conventions import Delta, c, p, q
from infgeo.conventions import variance as v
from infgeo.explorer.shown import Shown
from infgeo.numeric.source.mixture import NODE_A, NODE_B, NODES
from infgeo.symbolic.algebra.simplify import tidy

_CALLED = {name: name for name in ("erf", "erfc", "erfcx", "BivariateNormal")}
_erfcx = Function("erfcx")


class _Printer(JavascriptCodePrinter):
    """SymPy's printer, with small powers of names as products and roots, twice as fast as Math.pow."""

    def _print_Pow(self, expr: Pow) -> str:
        base, power = expr.as_base_exp()
        if not (base.is_Symbol and (2 * power).is_Integer and 1 < abs(power) < 5):
            return str(super()._print_Pow(expr))
        whole = int(abs(power))
        factors = [str(base)] * whole + [f"Math.sqrt({base})"] * (abs(power) != whole)
        product = "*".join(factors)
        return f"({product})" if power > 0 else f"(1/({product}))"


_print = _Printer({"user_functions": _CALLED}).doprint


def _scaled(product: Expr) -> Expr:
    """Return exp(b^2) erfc(b) as erfcx(b), which neither overflows nor underflows."""
    for one in product.args:
        for other in product.args:
            if isinstance(one, exp) and isinstance(other, erfc) and expand(one.args[0] - other.args[0] ** 2) == 0:
                return product / (one * other) * _erfcx(other.args[0])
    return product


def function(arguments: Sequence[Symbol], exprs: Sequence[Expr]) -> str:
    """Return the source of a function that returns the values of the expressions as an array.

    >>> from sympy.abc import x
    >>> function([x], [1 / (1 + x), (1 + x) ** 2])
    '(x) => { const t0 = x + 1; return [1/t0, (t0*t0)]; }'
    """
    scaled = [expr.replace(lambda part: isinstance(part, Mul) and part.has(exp), _scaled) for expr in exprs]
    bindings, results = cse(scaled, symbols=numbered_symbols("t"), order="none")
    named = [f"const {symbol} = {_print(expr)};" for symbol, expr in bindings]
    values = ", ".join(_print(expr) for expr in results)
    return f"({', '.join(map(str, arguments))}) => {{ {' '.join([*named, f'return [{values}];'])} }}"


def moments(shown: Shown) -> list[Expr]:
    """Return m = E[phi^2] and m0 = E[phi'^2], each with two derivatives; m alone where there is no metric."""
    if shown.no_metric:
        return [shown.law.m]
    found = []
    for value in (shown.law.m, shown.law.m0):
        first = tidy(value.diff(v))
        found += [value, first, tidy(first.diff(v))]
    return found


def source(shown: Shown) -> str:
    """Return the two functions of an activation, moments(v) and kernel(p, c, Delta) of inputs of the same norm."""
    nodes = [NODE_A, NODE_B] if shown.is_mixture else []
    parts = {
        "moments": function([v, *nodes], moments(shown)),
        "kernel": function([p, c, Delta, *nodes], [shown.law.kernel.subs(q, p)]),
    }
    return ", ".join(f"{name}: {f'overNodes({text})' if nodes else text}" for name, text in parts.items())


def functions(all_shown: Sequence[Shown]) -> str:
    """Return the functions of all activations as the constant FORMULAS."""
    lines = [f"  {json.dumps(shown.text)}: {{{source(shown)}}}," for shown in all_shown]
    return "\n".join([f"const NODES = {json.dumps(NODES)};", "const FORMULAS = {", *lines, "};"])
