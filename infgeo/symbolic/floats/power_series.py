"""Power series of functions of one variable made of sums, products, powers, exponentials, waves and arcs.

The coefficients are elements of a field of rational functions, in the parameters and in names of what is irrational
(pi, sqrt(2), atan(1/3)): SymPy's `series` on sums of roots and arcs spends its time collecting and comparing terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sympy import QQ, Add, Dummy, Expr, Mul, Pow, Rational, Symbol, atan, atan2, cos, exp, sin

from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.graph import distinct


@dataclass(frozen=True)
class _Series:
    """The sum of coefficients[i] x^(lead + i), known up to that many terms."""

    lead: int
    coefficients: list[Any]


def power_series(expr: Expr, x: Symbol, terms: int) -> tuple[int, list[Expr]]:
    """Return the exponent of the leading power of x, an integer, and the coefficients of `terms` powers from there.

    Raises NoClosedForm for other functions of x, for powers, waves and arcs that are no power series, and for a sum
    whose first terms all cancel.

    Example:
        >>> from sympy import atan, sqrt
        >>> from sympy.abc import x
        >>> power_series(atan(x / sqrt(1 + 2 * x)) * sqrt(1 - x), x, 4)
        (1, [1, -3/2, 37/24, -97/48])
    """
    for extra in (4, 32):
        expansion = _Expansion(expr, x, terms + extra)
        found = expansion.stripped(expansion.of(expr))
        if len(found.coefficients) >= terms:
            return found.lead, [expansion.written(value) for value in found.coefficients[:terms]]
    raise NoClosedForm(f"the leading terms of {expr} at {x} = 0 cancel")


class _Expansion:
    """Arithmetic of truncated series of the subexpressions of one expression."""

    def __init__(self, expr: Expr, x: Symbol, count: int) -> None:
        self.x, self.count = x, count
        nodes = distinct(expr)
        self.varies: dict[Any, bool] = {}
        for node in nodes:
            self.varies[node] = node == x or any(self.varies[part] for part in node.args)
        # Constants that are no rational functions of others; a constant node comes after its parts.
        self.names: dict[Expr, Symbol] = {}
        for node in nodes:
            if not self.varies[node] and isinstance(node, Expr) and not _is_rational_step(node):
                self.names[node] = node if node.is_Symbol else Dummy(f"k{len(self.names)}")
        generators = [name for node, name in self.names.items()]
        self.field: Any = QQ.frac_field(*generators) if generators else QQ
        self.back = {name: node for node, name in self.names.items()}
        self.known: dict[Expr, _Series] = {}

    def written(self, value: Any) -> Expr:
        return self.field.to_sympy(value).xreplace(self.back)

    def of(self, expr: Expr) -> _Series:
        """Return the series of an expression."""
        if expr not in self.known:
            self.known[expr] = self._of(expr)
        return self.known[expr]

    def _of(self, expr: Expr) -> _Series:
        if not self.varies[expr]:
            return self.constant(self.number(expr))
        if expr == self.x:
            return _Series(1, self.constant(self.field.one).coefficients)
        if isinstance(expr, Add):
            total = self.of(expr.args[0])
            for part in expr.args[1:]:
                total = self.add(total, self.of(part))
            return total
        if isinstance(expr, Mul):
            product = self.of(expr.args[0])
            for part in expr.args[1:]:
                product = self.multiply(product, self.of(part))
            return product
        if isinstance(expr, Pow) and expr.exp.is_Integer:
            return self.power(self.of(expr.base), int(expr.exp))
        if isinstance(expr, Pow) and expr.exp.is_Rational:
            return self.fractional(self.of(expr.base), expr.exp)
        if isinstance(expr, exp):
            return self.exponential(self.of(expr.args[0]))
        if isinstance(expr, (sin, cos)):
            sine, cosine = self.waves(self.of(expr.args[0]))
            return sine if isinstance(expr, sin) else cosine
        if isinstance(expr, atan):
            return self.arctangent(self.of(expr.args[0]))
        if isinstance(expr, atan2):
            y, x = (self.stripped(self.of(part)) for part in expr.args)
            if not x.coefficients or not self.written(x.coefficients[0]).is_positive:
                raise NoClosedForm(f"{expr} has no power series here: the sign of its second argument is not known")
            return self.arctangent(self.multiply(y, self.power(x, -1)))
        raise NoClosedForm(f"{expr} has no power series here")

    def number(self, expr: Expr) -> Any:
        if expr in self.names:
            return self.field.from_sympy(self.names[expr])
        if isinstance(expr, Add):
            return sum((self.number(part) for part in expr.args), self.field.zero)
        if isinstance(expr, Mul):
            product = self.field.one
            for part in expr.args:
                product *= self.number(part)
            return product
        if isinstance(expr, Pow):
            base, exponent = self.number(expr.base), int(expr.exp)
            return base**exponent if exponent >= 0 else self.field.one / base**-exponent
        return self.field.from_sympy(expr)

    def constant(self, value: Any) -> _Series:
        return _Series(0, [value, *[self.field.zero] * (self.count - 1)])

    def stripped(self, x: _Series) -> _Series:
        """Return a series from its first term that does not vanish."""
        begin = next((i for i, value in enumerate(x.coefficients) if value), len(x.coefficients))
        return _Series(x.lead + begin, x.coefficients[begin:])

    def add(self, x: _Series, y: _Series) -> _Series:
        lead = min(x.lead, y.lead)
        end = min(x.lead + len(x.coefficients), y.lead + len(y.coefficients))
        total = [self.field.zero] * (end - lead)
        for part in (x, y):
            for i, value in enumerate(part.coefficients[: end - part.lead]):
                total[part.lead - lead + i] += value
        return _Series(lead, total)

    def multiply(self, x: _Series, y: _Series) -> _Series:
        x, y = self.stripped(x), self.stripped(y)
        count = min(len(x.coefficients), len(y.coefficients), self.count)
        total = [self.field.zero] * count
        for i, value in enumerate(x.coefficients[:count]):
            if value:
                for j, other in enumerate(y.coefficients[: count - i]):
                    total[i + j] += value * other
        return _Series(x.lead + y.lead, total)

    def power(self, x: _Series, exponent: int) -> _Series:
        if exponent < 0:
            return self.inverse(self.power(x, -exponent))
        result = self.constant(self.field.one)
        for bit in bin(exponent)[2:]:
            result = self.multiply(result, result)
            result = self.multiply(result, x) if bit == "1" else result
        return result

    def inverse(self, x: _Series) -> _Series:
        x = self.stripped(x)
        if not x.coefficients:
            raise NoClosedForm("the leading term of a denominator is lost here")
        result = [self.field.one / x.coefficients[0]]
        for n in range(1, len(x.coefficients)):
            rest = sum((x.coefficients[k] * result[n - k] for k in range(1, n + 1)), self.field.zero)
            result.append(-rest * result[0])
        return _Series(-x.lead, result)

    def fractional(self, x: _Series, exponent: Rational) -> _Series:
        """Return y = x^exponent, from x y' = exponent x' y; x begins with a number whose power is rational."""
        x = self.stripped(x)
        lead = x.lead * exponent
        first = self.written(x.coefficients[0]) ** exponent if x.coefficients else None
        if first is None or not first.is_Rational or not lead.is_Integer:
            raise NoClosedForm("a root has no power series here")
        result, a = [self.field.from_sympy(first)], self.field.from_sympy(exponent)
        for n in range(1, len(x.coefficients)):
            terms = ((k * a - (n - k)) * x.coefficients[k] * result[n - k] for k in range(1, n + 1))
            result.append(sum(terms, self.field.zero) / (n * x.coefficients[0]))
        return _Series(int(lead), result)

    def exponential(self, x: _Series) -> _Series:
        """Return y = exp(x) for x that vanishes with the variable, from y' = x' y."""
        x = self.stripped(x)
        if x.coefficients and x.lead < 1:
            raise NoClosedForm("an exponential has no power series here")
        slope = {x.lead + i: (x.lead + i) * value for i, value in enumerate(x.coefficients)}
        result = [self.field.one]
        for n in range(1, x.lead + len(x.coefficients)):
            terms = (slope[k] * result[n - k] for k in range(1, n + 1) if k in slope)
            result.append(sum(terms, self.field.zero) / n)
        return _Series(0, result)

    def waves(self, x: _Series) -> tuple[_Series, _Series]:
        """Return sin(x) and cos(x) for x that vanishes with the variable, from sin' = x' cos, cos' = -x' sin."""
        x = self.stripped(x)
        if x.coefficients and x.lead < 1:
            raise NoClosedForm("a wave has no power series here")
        slope = {x.lead + i: (x.lead + i) * value for i, value in enumerate(x.coefficients)}
        sine, cosine = [self.field.zero], [self.field.one]
        for n in range(1, x.lead + len(x.coefficients)):
            steps = [(slope[k], n - k) for k in range(1, n + 1) if k in slope]
            sine.append(sum((a * cosine[i] for a, i in steps), self.field.zero) / n)
            cosine.append(-sum((a * sine[i] for a, i in steps), self.field.zero) / n)
        return _Series(0, sine), _Series(0, cosine)

    def arctangent(self, x: _Series) -> _Series:
        """Return atan(x) for x that vanishes with the variable: the integral of x'/(1 + x^2)."""
        x = self.stripped(x)
        if x.lead < 1:
            raise NoClosedForm("an inverse tangent has no power series here")
        slope = _Series(x.lead - 1, [(x.lead + i) * value for i, value in enumerate(x.coefficients)])
        one = self.constant(self.field.one)
        slope = self.multiply(slope, self.inverse(self.add(one, self.multiply(x, x))))
        return _Series(slope.lead + 1, [value / (slope.lead + 1 + i) for i, value in enumerate(slope.coefficients)])


def _is_rational_step(node: Expr) -> bool:
    """Return whether a constant is a rational number or a rational function of its parts."""
    return node.is_Rational or isinstance(node, (Add, Mul)) or (isinstance(node, Pow) and node.exp.is_Integer)
