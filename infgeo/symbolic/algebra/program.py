"""Straight-line programs: named intermediate values ("let ... in ..."), so that deep formulas stay linear in depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

from sympy import Add, Expr, Float, Mul, Number, NumberSymbol, Pow, Symbol, latex

from infgeo.arguments import one_of, positive_integer, words
from infgeo.conventions import Internal, d
from infgeo.expressions import exact
from infgeo.symbolic.algebra.graph import distinct, substituted, symbols_of
from infgeo.symbolic.algebra.legend import OUTPUTS, legend, written
from infgeo.symbolic.algebra.naming import assigned


@dataclass
class Names:
    """The bindings of a program that is being written, and the number of the layer that writes.

    With `inline` expressions are substituted instead, for programs short enough to be simplified whole.
    """

    inline: bool = False
    layer: int = 0
    bindings: list[tuple[Symbol, Expr]] = field(default_factory=list)

    def let(self, name: str, expr: Expr, **assumptions: bool) -> Expr:
        """Bind `expr` to a new symbol and return the symbol (or `expr` itself where that is simpler)."""
        if self.inline or expr.is_number or expr.is_Symbol:
            return expr
        return self.bind(name, expr, **assumptions)

    def numbered(self, name: str, expr: Expr, suffix: str = "", **assumptions: bool) -> Expr:
        """Bind as `let` does, to a name with the number of the layer."""
        return self.let(f"{name}_{self.layer}{suffix}", expr, **assumptions)

    def bind(self, name: str, expr: Expr, **assumptions: bool) -> Symbol:
        """Bind `expr` to a new symbol, real unless assumptions are given, and return the symbol."""
        symbol = Internal(name, **(assumptions or {"real": True}))
        self.bindings.append((symbol, expr))
        return symbol


@dataclass(frozen=True)
class Program:
    """A straight-line program.

    Args:
        bindings: pairs (symbol, expression) in order; an expression may use the inputs and the symbols before it. A
            bound symbol that is called like an input gets another name.
        outputs: name -> expression of the inputs and the bound symbols.
    """

    bindings: tuple[tuple[Symbol, Expr], ...]
    outputs: Mapping[str, Expr]

    def __post_init__(self) -> None:
        """Name the bound symbols apart from the inputs."""
        taken = {str(symbol) for symbol in self.inputs}
        clashing = [symbol for symbol, _ in self.bindings if str(symbol) in taken]
        if not clashing:
            return
        taken |= {str(symbol) for symbol, _ in self.bindings}
        new: dict[Symbol, Symbol] = {}
        for symbol in clashing:
            name = next(name for i in count() if (name := f"{symbol.name}_bound{i or ''}") not in taken)
            new[symbol] = Internal(name, **symbol.assumptions0)
        pairs = tuple((new.get(symbol, symbol), substituted(expr, new)) for symbol, expr in self.bindings)
        object.__setattr__(self, "bindings", pairs)
        object.__setattr__(self, "outputs", {name: substituted(expr, new) for name, expr in self.outputs.items()})

    def at(self, values: Mapping[Any, Any] | None = None, /, **named: object) -> Program:
        """Return the program at values of some inputs, by name: `.at(d=2, s=1)`; see `MLP.at`."""
        return self.substituted(assigned(values, named, self.inputs, "this program"))

    def substituted(self, values: Mapping[Symbol, Expr]) -> Program:
        """Return the program with expressions in the place of inputs."""
        if not values:
            return self
        bindings = tuple((symbol, substituted(expr, values)) for symbol, expr in self.bindings)
        return Program(bindings, {name: substituted(expr, values) for name, expr in self.outputs.items()})

    @cached_property
    def _explicit(self) -> dict[Symbol, Expr]:
        values: dict[Symbol, Expr] = {}
        for symbol, expr in self.bindings:
            values[symbol] = substituted(expr, values)
        return values

    def explicit(self, name: str) -> Expr:
        """Return an output as one expression of the inputs, every binding substituted."""
        return substituted(self._output(name), self._explicit)

    def _output(self, name: str) -> Expr:
        return self.outputs[one_of(name, "name", self.outputs)]

    def evaluate(self, name: str, values: Mapping[Symbol, Expr], digits: int = 30) -> Expr:
        """Return an output at values of the inputs, to `digits` digits, binding by binding."""
        digits = positive_integer(digits, "digits", maximum=10_000)
        known = {x: value if isinstance(value, Float) else exact(value, str(x)) for x, value in values.items()}
        for symbol, expr in self.bindings:
            known[symbol] = expr.xreplace(known).evalf(digits)
        return self._output(name).xreplace(known).evalf(digits)

    def select(self, names: Iterable[str]) -> Program:
        """Return the program that computes only the outputs called `names`."""
        outputs = {name: self.outputs[name] for name in words(names, "names", self.outputs)}
        needed = symbols_of(*outputs.values())
        kept: list[tuple[Symbol, Expr]] = []
        for symbol, expr in reversed(self.bindings):
            if symbol in needed:
                kept.append((symbol, expr))
                needed |= symbols_of(expr)
        return Program(tuple(reversed(kept)), outputs)

    @property
    def inputs(self) -> tuple[Symbol, ...]:
        """The free symbols, sorted by name."""
        bound = {symbol for symbol, _ in self.bindings}
        free = symbols_of(*self.outputs.values(), *(expr for _, expr in self.bindings)) - bound
        return tuple(sorted(free, key=lambda symbol: symbol.name))

    @cached_property
    def adds_up(self) -> bool:
        """Whether floats lose nothing to cancellation: products, powers and quotients of sums of terms >= 0.

        The dimension d is a whole number: sums of it are exact.
        """
        exprs = (*self.outputs.values(), *(expr for _, expr in self.bindings))
        return all(
            isinstance(node, (Symbol, Number, NumberSymbol, Mul, Pow))
            or (isinstance(node, Add) and (node.free_symbols <= {d} or all(term.is_nonnegative for term in node.args)))
            for node in distinct(*exprs)
        )

    def __str__(self) -> str:
        lines = [f"{name} = {expr}" for name, expr in self.outputs.items()]
        lines += [f"  {'where' if i == 0 else '     '} {symbol} = {e}" for i, (symbol, e) in enumerate(self.bindings)]
        return "\n".join(lines)

    def latex(self) -> str:
        """Return the program as an aligned LaTeX block, with the meaning of the named values below it."""
        bound = [symbol for symbol, _ in self.bindings]
        names = written(bound)
        rows = [
            rf"{OUTPUTS.get(name, latex(Symbol(name)))} &= {latex(e, symbol_names=names)}"
            for name, e in self.outputs.items()
        ]
        rows += [rf"{names[symbol]} &= {latex(expr, symbol_names=names)}" for symbol, expr in self.bindings]
        rows += [rf"{tex} &: \text{{{words}}}" for tex, words in legend(bound).items()]
        return r"\begin{aligned}" + r" \\ ".join(rows) + r"\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"
