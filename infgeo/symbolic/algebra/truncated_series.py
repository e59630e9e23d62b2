"""Truncated series of expressions in a small quantity t, for limits and leading terms that SymPy does not find in time.

An expression, or a straight-line program, is evaluated on series sum_i c_i t^e_i + O(t^order) with rational exponents
e_i in place of numbers: what it contains either behaves like a power of t or tends to a constant, where functions have
Taylor expansions. What decays like exp(-1/t) is smaller than every power and counts as 0.

A coefficient carries its values at two points of the parameters, to 80 digits: they say whether a sum of coefficients
vanishes and what sign it has, where SymPy would take minutes. Long ones get names, so that they do not grow.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import Any

import mpmath
from sympy import (
    Add,
    Dummy,
    Expr,
    Integer,
    Mul,
    Pow,
    Rational,
    Symbol,
    acos,
    asin,
    atan,
    atan2,
    cosh,
    count_ops,
    exp,
    factor,
    factorial,
    lambdify,
    oo,
    pi,
    preorder_traversal,
    sinh,
    sqrt,
    tanh,
)

from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.limits import FACTORS_LIMIT, NAMED_LIMIT, WRITTEN_LIMIT
from infgeo.symbolic.algebra.program import Program

DIGITS, NEGLIGIBLE = 80, mpmath.mpf(10) ** -50
ZERO = Integer(0)


@dataclass(frozen=True)
class Coefficient:
    """An expression of the parameters and of names of other coefficients, with its values at two points."""

    expr: Expr
    values: tuple[mpmath.mpf, ...]


@dataclass(frozen=True)
class Series:
    """The sum of terms[e] t^e, up to terms of order t^order."""

    terms: Mapping[Expr, Coefficient]
    order: Expr = oo

    @property
    def lead(self) -> Expr:
        """The exponent of the leading term; `order` where none is known."""
        return min(self.terms, default=self.order)


class Evaluator:
    """Evaluates expressions on series, to a relative order of `precision` in t.

    Args:
        precision: the relative order.
        variable: a symbol that stands for t^power.
        power: its exponent.
        parameters: the other symbols; where the sign of what they make is not known, `by_values` lets the two points
            decide.
    """

    def __init__(
        self, precision: int, variable: Symbol, power: int, parameters: Sequence[Symbol], by_values: bool = False
    ) -> None:
        self.precision, self.by_values = precision, by_values
        self.points = [{x: Rational(7 + 3 * i, 5 + i + shift) for i, x in enumerate(parameters)} for shift in (0, 2)]
        self.names: dict[Symbol, Coefficient] = {}
        self.known: dict[Expr, Coefficient] = {}
        self.one = Coefficient(Integer(1), (mpmath.mpf(1),) * 2)
        self.values: dict[Symbol, Series] = {variable: Series({Integer(power): self.one})}
        self.small = False  # whether something exponentially small was dropped

    def run(self, program: Program, name: str) -> Series:
        """Return the series of an output."""
        wanted = program.select([name])
        for symbol, expr in wanted.bindings:
            if symbol not in self.values:
                self.values[symbol] = self.value(expr)
        return self.value(wanted.outputs[name])

    def coefficient(self, expr: Expr) -> Coefficient:
        """Return an expression of parameters and names as a coefficient, under a name where it is long."""
        if expr.is_Rational:
            return Coefficient(expr, (_number(expr),) * 2)
        if expr not in self.known:
            free = sorted(expr.free_symbols, key=str)
            function = lambdify(free, expr, "mpmath")
            values = []
            for i, point in enumerate(self.points):
                known = [self.names[x].values[i] if x in self.names else _number(point[x]) for x in free]
                values.append(mpmath.mpf(function(*known)))
            self.known[expr] = self.named(Coefficient(expr, tuple(values)))
        return self.known[expr]

    def named(self, x: Coefficient) -> Coefficient:
        """Return a coefficient, under a name where it is a sum or long."""
        if not isinstance(x.expr, Add) and len(x.expr.args) <= FACTORS_LIMIT:
            return x
        name = Dummy("k", real=True)
        short = self.by_values and count_ops(x.expr, visual=False) < NAMED_LIMIT
        self.names[name] = Coefficient(factor(x.expr), x.values) if short else x
        return Coefficient(name, x.values)

    def written_out(self, expr: Expr) -> Expr:
        """Return an expression with the names replaced by what they stand for; raises NoClosedForm where it is long."""
        sizes: dict[Any, int] = {}
        for name, x in self.names.items():
            sizes[name] = sum(sizes.get(node, 1) for node in preorder_traversal(x.expr))
        size = sum(sizes.get(node, 1) for node in preorder_traversal(expr))
        if size > WRITTEN_LIMIT:
            raise NoClosedForm(
                f"a coefficient of this expansion, written out, has {size} parts, more than {WRITTEN_LIMIT}: ask for"
                " fewer terms or a network of fewer layers, or evaluate the numeric functions at small and large |x|"
            )
        found: dict[Symbol, Expr] = {}
        for name, x in self.names.items():
            found[name] = x.expr.xreplace(found)
        return expr.xreplace(found)

    def constant(self, expr: Expr) -> Series:
        """Return the exact series of a constant."""
        x = self.coefficient(expr)
        return Series({} if all(abs(value) < NEGLIGIBLE for value in x.values) else {ZERO: x})

    def add(self, *parts: Series) -> Series:
        """Return the sum, without the coefficients that vanish."""
        order = min((part.order for part in parts), default=oo)
        collected: dict[Expr, list[Coefficient]] = {}
        for part in parts:
            for e, x in part.terms.items():
                if e < order:
                    collected.setdefault(e, []).append(x)
        terms = {}
        for e, found in collected.items():
            columns = list(zip(*(x.values for x in found), strict=True))
            values = tuple(mpmath.fsum(column) for column in columns)
            largest = [max(abs(value) for value in column) for column in columns]
            if any(abs(value) > NEGLIGIBLE * size for value, size in zip(values, largest, strict=True)):
                terms[e] = self.named(Coefficient(Add(*(x.expr for x in found)), values))
        return Series(terms, order)

    def multiply(self, x: Series, y: Series) -> Series:
        """Return the product."""
        if (not x.terms and x.order is oo) or (not y.terms and y.order is oo):
            return Series({})
        order = min(x.order + y.lead, y.order + x.lead)
        products = (
            Series({e + f: self.named(Coefficient(a.expr * b.expr, tuple(map(mul, a.values, b.values))))})
            for e, a in x.terms.items()
            for f, b in y.terms.items()
            if e + f < order
        )
        return self.add(*products, Series({}, order))

    def product(self, factors: Iterable[Series]) -> Series:
        """Return the product of several."""
        return reduce(self.multiply, factors, Series({ZERO: self.one}))

    def value(self, expr: Expr) -> Series:
        """Return the series of an expression of the variable and the bound symbols."""
        if expr in self.values:
            return self.values[expr]
        if not expr.free_symbols & self.values.keys():
            return self.constant(expr)
        if isinstance(expr, Add):
            return self.add(*(self.value(part) for part in expr.args))
        if isinstance(expr, Mul):
            return self.product(map(self.value, expr.args))
        if isinstance(expr, exp):
            return self.exponential(self.value(expr.args[0]))
        if isinstance(expr, Pow):
            return self.power(self.value(expr.base), expr.exp, expr)
        if isinstance(expr, acos):
            # At 1 it begins with a square root.
            return self.value(2 * atan(sqrt((1 - expr.args[0]) / (1 + expr.args[0]))))
        if isinstance(expr, asin):
            return self.value(pi / 2 - acos(expr.args[0], evaluate=False))
        if isinstance(expr, atan2):
            return self.angle(self.value(expr.args[0]), self.value(expr.args[1]), expr)
        if isinstance(expr, (sinh, cosh, tanh)):
            return self.value(expr.rewrite(exp))
        if isinstance(expr, atan):
            return self.arctangent(self.value(expr.args[0]), expr)
        if len(expr.args) == 1:
            return self.taylor(expr.func, self.value(expr.args[0]), expr)
        raise NoClosedForm(f"{expr} has no expansion here")

    def power(self, x: Series, exponent: Expr, expr: Expr) -> Series:
        """Return x^exponent by the binomial series about the leading term."""
        if exponent.is_Integer and 0 <= exponent <= 4:
            return self.product([x] * int(exponent))
        if not x.terms:
            raise Lost(f"the leading term of the base of {expr} is lost here")
        if not exponent.is_Rational:
            raise NoClosedForm(f"{expr} is no rational power: it has no expansion in powers here")
        lead = x.lead
        c = x.terms[lead]
        if not exponent.is_Integer and self.sign(c, expr) < 0:
            raise NoClosedForm(f"the base of {expr} is negative here")
        inverse = Series({-lead: self.named(Coefficient(1 / c.expr, tuple(1 / value for value in c.values)))})
        rest = self.multiply(inverse, Series({e: a for e, a in x.terms.items() if e != lead}, x.order))
        values = tuple(value**exponent.p if exponent.is_Integer else value ** _number(exponent) for value in c.values)
        scale = Series({lead * exponent: self.named(Coefficient(c.expr**exponent, values))})
        if not rest.terms and rest.order is oo:
            return scale

        def binomial(k: int) -> Expr:
            return Mul(*[exponent - i for i in range(k)]) / factorial(k)

        return self.multiply(scale, self.compose(binomial, rest))

    def compose(self, coefficient: Callable[[int], Expr], y: Series) -> Series:
        """Return the sum of coefficient(k) y^k for y -> 0, to the relative order of the evaluator."""
        cut = Series({}, Integer(self.precision))
        total, product = self.constant(coefficient(0)), Series({ZERO: self.one})
        for k in range(1, 200):
            product = self.add(self.multiply(product, y), cut)
            total = self.add(total, self.multiply(self.constant(coefficient(k)), product))
            if not product.terms:
                return self.add(total, Series({}, product.order))
        raise NoClosedForm("an expansion here has too many terms")

    def taylor(self, function: Callable[[Expr], Expr], x: Series, expr: Expr) -> Series:
        """Return a function of what tends to a constant."""
        if x.lead < 0:
            raise NoClosedForm(f"{expr} has no expansion in powers here")
        center = x.terms[ZERO].expr if ZERO in x.terms else ZERO
        name = Dummy(real=True)
        derivatives = [function(name)]

        def coefficient(k: int) -> Expr:
            while len(derivatives) <= k:
                derivatives.append(derivatives[-1].diff(name))
            return derivatives[k].subs(name, center) / factorial(k)

        return self.compose(coefficient, Series({e: a for e, a in x.terms.items() if e != 0}, x.order))

    def arctangent(self, x: Series, expr: Expr) -> Series:
        """Return atan(x); of what grows it is pi/2 - atan(1/x), with the sign of x."""
        if x.lead >= 0:
            return self.taylor(atan, x, expr)
        turned = self.taylor(atan, self.power(x, Integer(-1), expr), expr)
        limit = self.constant(self.sign(x.terms[x.lead], expr) * pi / 2)
        return self.add(limit, self.multiply(self.constant(Integer(-1)), turned))

    def angle(self, y: Series, x: Series, expr: Expr) -> Series:
        """Return atan2(y, x)."""
        if not x.terms:
            raise Lost(f"the leading term of the second argument of {expr} is lost here")
        arc = self.arctangent(self.multiply(y, self.power(x, Integer(-1), expr)), expr)
        if self.sign(x.terms[x.lead], expr) > 0:
            return arc
        above = not y.terms or self.sign(y.terms[y.lead], expr) > 0
        return self.add(arc, self.constant(pi if above else -pi))

    def exponential(self, x: Series) -> Series:
        """Return exp(x), 0 where x falls like a negative power of t."""
        if x.lead >= 0:
            return self.taylor(exp, x, exp(Symbol("v")))
        if self.sign(x.terms[x.lead], exp(Symbol("v"))) > 0:
            raise NoClosedForm("an exponential grows faster than every power")
        self.small = True
        return Series({})

    def sign(self, x: Coefficient, expr: Expr) -> int:
        """Return the sign of a coefficient; parameters must not leave it open."""
        if x.expr.is_positive or x.expr.is_negative:
            return 1 if x.expr.is_positive else -1
        written = self.written_out(x.expr)
        undecided = written.free_symbols and not (written.is_positive or written.is_negative)
        if undecided and (not self.by_values or (x.values[0] > 0) != (x.values[1] > 0)):
            raise NoClosedForm(f"the sign of {written}, on which the expansion of {expr} depends, is not known")
        return 1 if x.values[0] > 0 else -1


def _number(x: Rational) -> mpmath.mpf:
    return mpmath.mpf(x.p) / x.q


class Lost(NoClosedForm):
    """A leading term that is needed lies beyond the order of the expansion."""
