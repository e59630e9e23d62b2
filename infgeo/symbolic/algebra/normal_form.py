"""A normal form for expressions with roots, exponentials and circular functions, as they arise in curvature tensors.

Every root f^(1/n), exponential, sine and cosine becomes a symbol of its own, so that the expression is a rational
function of symbols that obey polynomial relations

    t^n = f,    sin^2 = 1 - cos^2,    sinh^2 = cosh^2 - 1.

Numerator and denominator are reduced by the relations, the denominator is freed of t, and the fraction is cancelled
and factorised. What `sympy.simplify` searches for by trial, without end on a metric with roots, is algebra here.
"""

from typing import Any

import sympy
from sympy import Add, Expr, Function, Mul, Pow, Rational, Symbol
from sympy.core.function import AppliedUndef
from sympy.polys.polyerrors import BasePolynomialError, NotInvertible
from sympy.simplify.fu import TR6

from infgeo.symbolic.algebra.limits import HYPERBOLIC_LIMIT
from infgeo.symbolic.algebra.simplify import in_directions, longer

_CIRCULAR = (sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc)
_HYPERBOLIC = (sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.sech, sympy.csch)


def normal_form(expression: Any) -> Expr:
    """Bring an expression to one cancelled and factorised fraction; what vanishes becomes 0.

    Domain and limits: vanishing is decided for rational functions of symbols, exponentials, circular and hyperbolic
    functions of independent arguments, and roots that are independent of each other (sqrt(x) sqrt(y) and sqrt(x y) are
    not related, unless SymPy knows a sign). Other functions count as symbols. What SymPy's algebra cannot take comes
    back as it is.

    >>> from sympy import sqrt, symbols
    >>> x = symbols("x", positive=True)
    >>> normal_form(1 / (sqrt(1 + x) - 1) - (sqrt(1 + x) + 1) / x)
    0
    >>> normal_form((1 + x) / (1 + x) ** 2 * sqrt(2 + 2 * x))
    sqrt(2)/sqrt(x + 1)
    """
    expression = sympy.sympify(expression, strict=True)
    try:
        return _normal_form(expression)
    except (NotImplementedError, BasePolynomialError, RecursionError, TypeError, ValueError):
        return expression


def _normal_form(expression: Expr) -> Expr:
    if expression.is_Atom:
        return expression
    circular = expression.has(*_CIRCULAR, *_HYPERBOLIC)
    if circular:
        expression = _with_common_angles(expression)
    generators = _Generators(_common_root(expression))
    for power in expression.atoms(Pow):  # roots first: whole powers of what is under a root are powers of the root
        if not power.exp.is_Integer:
            generators.replace(power)
    fraction = sympy.together(generators.replace(expression))
    for t, power, value in reversed(generators.relations):
        fraction = _reduced(fraction, t, power, value)
    result = sympy.factor(sympy.cancel(fraction)).xreplace({symbol: node for node, symbol in generators.names.items()})
    return _shortest_in_waves(result) if circular else result


def _shortest_in_waves(result: Expr) -> Expr:
    """Return the shortest of some forms with circular and hyperbolic functions."""
    # SymPy collects terms by powers and derivatives of what it finds, and not all derivatives can be.
    unknown = {node: sympy.Dummy() for node in result.atoms(sympy.Derivative, AppliedUndef)}
    plain = result.xreplace(unknown)
    # Hyperbolic functions are circular ones of I times their angle to it: factors of long sums take minutes.
    shorter = plain if plain.has(*_HYPERBOLIC) and longer(plain, HYPERBOLIC_LIMIT) else sympy.trigsimp(plain)
    numerator, denominator = (sympy.factor(TR6(sympy.expand(part))) for part in sympy.fraction(plain))
    shortest = min(plain, numerator / denominator, shorter, sympy.factor(shorter), key=sympy.count_ops)
    return shortest.xreplace({symbol: node for node, symbol in unknown.items()})


class _Generators:
    """The symbols that stand for roots and functions, and the relations t^power = value that they obey.

    The value of a relation contains symbols of earlier relations only.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self.names: dict[Expr, Symbol] = {}
        self.relations: list[tuple[Symbol, int, Expr]] = []

    def name(self, node: Expr) -> Symbol:
        if node not in self.names:
            self.names[node] = sympy.Dummy("t")
        return self.names[node]

    def replace(self, node: Any) -> Expr:
        """Return `node` as a rational function of symbols."""
        if isinstance(node, Add | Mul):
            return node.func(*(self.replace(argument) for argument in node.args))
        if isinstance(node, Pow | sympy.exp):
            return self._power(*node.as_base_exp())
        if isinstance(node, Function):
            return self._function(node.func(*(normal_form(argument) for argument in node.args)))
        return node if node.is_Atom else self.name(node)

    def _power(self, base: Expr, exponent: Expr) -> Expr:
        if exponent.is_Integer:
            node = Pow(base, Rational(1, self.root))
            return self.names[node] ** (exponent * self.root) if node in self.names else self.replace(base) ** exponent
        if exponent.is_Rational and base is not sympy.E:
            split = sympy.expand_power_base(normal_form(base) ** exponent)
            if not isinstance(split, Pow):
                return self.replace(split)
            base, exponent = split.as_base_exp()
            return self._root(base) ** (exponent * self.root)
        result = sympy.S.One
        for term in Add.make_args(sympy.expand(exponent)):
            coefficient, rest = term.as_coeff_Mul(rational=True)
            if rest == 1 and base is not sympy.E:
                result *= self._power(base, coefficient)
            else:
                result *= self.name(Pow(base, rest / self.root)) ** (coefficient * self.root)
        return result

    def _root(self, base: Expr) -> Symbol:
        node = Pow(base, Rational(1, self.root))
        if node not in self.names:
            value = self.replace(base)
            self.relations.append((self.name(node), self.root, value))
        return self.names[node]

    def _function(self, node: Expr) -> Expr:
        for sine, cosine, sign, ratios in (
            (sympy.sin, sympy.cos, 1, _CIRCULAR[2:]),
            (sympy.sinh, sympy.cosh, -1, _HYPERBOLIC[2:]),
        ):
            if not isinstance(node, (sine, cosine, *ratios)):
                continue
            argument = node.args[0]
            if sine(argument) not in self.names:
                s, c = self.name(sine(argument)), self.name(cosine(argument))
                self.relations.append((s, 2, sign * (1 - c**2)))
            s, c = self.names[sine(argument)], self.names[cosine(argument)]
            tangent, cotangent, secant, _ = ratios
            values = {sine: s, cosine: c, tangent: s / c, cotangent: c / s, secant: 1 / c}
            return values.get(node.func, 1 / s)
        return self.replace(node) if node.is_Atom or not isinstance(node, Function) else self.name(node)


def _with_common_angles(expression: Expr) -> Expr:
    """Write all circular and hyperbolic functions in sines and cosines of angles that are independent over Q.

    So cos(u + v) is expanded next to cos(u) and cos(v), but not alone.
    """
    nodes = expression.atoms(*_CIRCULAR, *_HYPERBOLIC)
    split = in_directions({node: sympy.expand(node.args[0]) for node in nodes})
    angles = {angle for parts in split.values() for angle in parts}
    symbols = {angle: sympy.Dummy("angle", real=True) for angle in angles}
    scale = {angle: sympy.ilcm(1, *(parts[angle].q for parts in split.values() if angle in parts)) for angle in angles}
    result = expression.xreplace(
        {node: node.func(sum(k * scale[a] * symbols[a] for a, k in parts.items())) for node, parts in split.items()}
    )
    previous = None
    while result != previous:
        previous, result = result, sympy.expand_trig(result)
    return result.xreplace({symbol: angle / scale[angle] for angle, symbol in symbols.items()})


def _common_root(expression: Expr) -> int:
    """Return the least n such that every fractional power in the expression is a power of an n-th root."""
    n = 1
    for node in expression.atoms(Pow, sympy.exp):
        for term in Add.make_args(sympy.expand(node.as_base_exp()[1])):
            n = int(sympy.ilcm(n, term.as_coeff_Mul(rational=True)[0].q))
    return n


def _reduced(fraction: Expr, t: Symbol, power: int, value: Expr) -> Expr:
    """Reduce a fraction by t^power = value to a polynomial in t of lower degree over a denominator free of t."""
    if not fraction.has(t):
        return fraction
    above, below = sympy.fraction(sympy.together(value))
    if below != 1:  # t^power is a fraction: go over to the root of a polynomial, t = u / below
        rest = _reduced(
            sympy.cancel(sympy.together(fraction.subs(t, t / below))), t, power, above * below ** (power - 1)
        )
        return sympy.cancel(sympy.together(rest.subs(t, t * below)))
    modulus = sympy.Poly(t**power - above, t)
    numerator, denominator = sympy.fraction(fraction)
    top = sympy.Poly(numerator, t).rem(modulus)
    constant, factors = sympy.factor_list(denominator)
    result = 1 / constant
    for factor, multiplicity in factors:
        bottom = sympy.Poly(factor, t).rem(modulus)
        if bottom.degree() > 0:
            try:
                inverse = sympy.invert(bottom.to_field(), modulus.to_field())
            except NotInvertible:
                return fraction
            for _ in range(multiplicity):
                top = (top * inverse).rem(modulus)
        else:
            result /= bottom.as_expr() ** multiplicity
    return sympy.cancel(sympy.together(top.as_expr() * result))
