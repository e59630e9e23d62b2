"""Powers of the same base that share their work: NumPy's powers cost ten products each.

The powers b^(-k/2) of a base become products of its reciprocal and the root of that, neither of which overflows where
the power does not.
"""

from __future__ import annotations

from sympy import Expr, Integer, Pow, Rational, Symbol, default_sort_key, sqrt

from infgeo.symbolic.algebra.program import Program


def shared_powers(program: Program) -> Program:
    """Return `program` with the negative powers of each base that has several, or a high one, as products.

    Example:
        >>> from sympy import symbols
        >>> a, v = symbols("a v", positive=True)
        >>> print(shared_powers(Program((), {"y": a * (1 + v) ** Rational(-3, 2) + (1 + v) ** -2})))
        y = a*inverse_1*inverse_root_1 + inverse_1**2
          where inverse_1 = 1/(v + 1)
                inverse_root_1 = sqrt(inverse_1)
    """
    expressions = [expr for _, expr in program.bindings] + list(program.outputs.values())
    exponents: dict[Expr, set[Expr]] = {}
    for expr in expressions:
        for part in sorted(filter(_divides, expr.atoms(Pow)), key=default_sort_key):  # a set has no order of its own
            exponents.setdefault(part.base, set()).add(part.exp)
    bases = [base for base, powers in exponents.items() if len(powers) > 1 or min(powers) < -1]
    names = {base: Symbol(f"inverse_{i}", positive=True) for i, base in enumerate(bases, start=1)}
    roots = {base: Symbol(f"inverse_root_{i}", positive=True) for i, base in enumerate(bases, start=1)}
    done: dict[Expr, Expr] = {}

    def rewrite(expr: Expr) -> Expr:
        if not expr.args:
            return expr
        if expr not in done:
            if _divides(expr) and expr.base in names:
                whole, half = divmod(-2 * expr.exp, 2)
                done[expr] = names[expr.base] ** whole * (roots[expr.base] if half else Integer(1))
            else:
                done[expr] = expr.func(*(rewrite(part) for part in expr.args))
        return done[expr]

    pending = {roots[b]: sqrt(names[b]) for b in bases if any(not power.is_Integer for power in exponents[b])}
    pending |= {names[base]: 1 / rewrite(base) for base in bases}
    bindings: list[tuple[Symbol, Expr]] = []

    def assign(expr: Expr) -> Expr:
        """Bind the inverses that an expression needs, just before it."""
        for symbol in sorted(expr.free_symbols & pending.keys(), key=str):
            if symbol in pending:
                bindings.append((symbol, assign(pending.pop(symbol))))
        return expr

    for symbol, expr in program.bindings:
        rewritten = assign(rewrite(expr))
        bindings.append((symbol, rewritten))
    outputs = {name: assign(rewrite(expr)) for name, expr in program.outputs.items()}
    return Program(tuple(bindings), outputs)


def _divides(expr: Expr) -> bool:
    return (
        expr.is_Pow
        and not expr.base.is_number
        and isinstance(expr.exp, Rational)
        and expr.exp.is_negative
        and expr.exp.q <= 2
    )
