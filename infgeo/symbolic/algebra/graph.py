"""Expressions as graphs: walks that visit each distinct subexpression once.

Integration by parts builds kernels in which the same few hundred subexpressions occur again and again: that of
z^9 erf(z) exp(-z^2/2) has 460 distinct ones and, written out, 80000 operations, which SymPy's own walks visit.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import mpmath
from sympy import Abs, Add, Basic, Dummy, Expr, Mul, Pow, Symbol
from sympy import cse as sympy_cse
from sympy.simplify.cse_main import tree_cse

from infgeo.symbolic.algebra.limits import DISTINCT_LIMIT

_OPERATIONS: dict[type, Callable[..., Any]] = {
    Add: lambda *parts: mpmath.fsum(parts),
    Mul: lambda *parts: mpmath.fprod(parts),
    Pow: mpmath.power,
    Abs: abs,
}


def distinct(*exprs: Basic) -> list[Basic]:
    """Return the distinct subexpressions of expressions, themselves included, arguments first.

    Example:
        >>> from sympy.abc import x
        >>> distinct((x + 1) ** 2 + x)
        [x, 1, x + 1, 2, (x + 1)**2, x + (x + 1)**2]
    """
    found: dict[Basic, None] = {}
    for expr in exprs:
        stack: list[tuple[Basic, Iterator[Any]]] = [(expr, iter(expr.args))]
        while stack:
            node, rest = stack[-1]
            part = next((part for part in rest if part not in found), None)
            if part is None:
                found[node] = None
                stack.pop()
            else:
                stack.append((part, iter(part.args)))
    return list(found)


def symbols_of(*exprs: Basic) -> set[Symbol]:
    """Return the symbols in expressions."""
    return {node for node in distinct(*exprs) if isinstance(node, Symbol)}


@lru_cache(maxsize=1024)
def is_long(expr: Basic) -> bool:
    """Return whether an expression has more than DISTINCT_LIMIT distinct subexpressions."""
    return len(distinct(expr)) > DISTINCT_LIMIT


def rebuilt(expr: Basic, rule: Callable[[Basic], Basic]) -> Any:
    """Return an expression in which `rule` has been applied to each subexpression, from the symbols upwards."""
    done: dict[Basic, Basic] = {}
    for node in distinct(expr):
        parts = tuple(done[part] for part in node.args)
        done[node] = rule(node if parts == node.args else node.func(*parts))
    return done[expr]


def substituted(expr: Basic, values: Mapping[Any, Any]) -> Any:
    """Return an expression with symbols replaced, as `xreplace` does."""
    return rebuilt(expr, lambda node: values.get(node, node))


def evaluated(expr: Expr, values: Mapping[Symbol, Any]) -> Any:
    """Return the value of an expression of elementary functions in mpmath, at its precision."""
    known: dict[Basic, Any] = dict(values)
    for node in distinct(expr):
        if node not in known and node.args:
            parts = [known[part] for part in node.args]
            operation = _OPERATIONS.get(type(node)) or getattr(mpmath, type(node).__name__.lower())
            known[node] = operation(*parts)
        elif node not in known:
            known[node] = mpmath.mpmathify(node.evalf(mpmath.mp.dps + 5))
    return known[expr]


def cse(exprs: Sequence[Expr], symbols: Iterator[Symbol]) -> tuple[list[tuple[Symbol, Expr]], list[Expr]]:
    """Return `exprs` with common subexpressions named, as `sympy.cse` with order="none" does; long ones in pieces."""
    if not any(is_long(expr) for expr in exprs):
        return _cse(exprs, symbols)
    named, short = pieces(exprs)
    shared, reduced = _cse([*named.values(), *short], symbols)
    # The names of the pieces become those of the caller, each piece after what it needs.
    pending = dict(shared) | dict(zip(named, reduced, strict=False))
    names: dict[Symbol, Symbol] = {}
    ordered: list[tuple[Symbol, Expr]] = []

    def assign(symbol: Symbol) -> None:
        if symbol in pending:
            expr = pending.pop(symbol)
            for part in sorted(expr.free_symbols, key=str):
                assign(part)
            names[symbol] = next(symbols) if symbol in named else symbol
            ordered.append((names[symbol], expr.xreplace(names)))

    for symbol in [*named, *dict(shared)]:
        assign(symbol)
    return ordered, [expr.xreplace(names) for expr in reduced[len(named) :]]


def _cse(exprs: Sequence[Expr], symbols: Iterator[Symbol]) -> tuple[list[tuple[Symbol, Expr]], list[Expr]]:
    if len(exprs) > DISTINCT_LIMIT:
        return tree_cse(exprs, symbols, order="none")  # without the search for common parts of sums, which is quadratic
    return sympy_cse(exprs, symbols=symbols, order="none", list=True)


def pieces(exprs: Iterable[Expr]) -> tuple[dict[Symbol, Expr], list[Expr]]:
    """Return names for what occurs several times, in an order in which each needs earlier ones alone, and the rest.

    Example:
        >>> from sympy.abc import x
        >>> named, (short,) = pieces([(x + 1) ** 2 * (x + 2) + (x + 1) ** 3])
        >>> list(named.values())
        [x + 1]
    """
    outputs = list(exprs)
    nodes = distinct(*outputs)
    uses = Counter(part for node in nodes for part in node.args)
    uses.update(outputs)
    named: dict[Symbol, Expr] = {}
    done: dict[Basic, Any] = {}
    for node in nodes:
        short = node.func(*(done[part] for part in node.args)) if node.args else node
        if node.args and uses[node] > 1 and not node.is_number:
            name = Dummy(f"piece{len(named)}", real=True)
            named[name] = short
            short = name
        done[node] = short
    return named, [done[expr] for expr in outputs]
