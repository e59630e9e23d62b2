"""An activation from text such as "z*exp(-z**2/2)". The text is untrusted: it is read, never evaluated as Python.

Python's own grammar gives the tree, and a node that is not on the list below ends the reading.
What it means is then computed within bounds of time and size (see `algebra.bounded_sympy`): 9**9**9 is refused.
"""

import ast
import operator
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import sympy
from sympy import E, Expr, Rational, Symbol, pi

from infgeo.conventions import z
from infgeo.errors import InvalidInput
from infgeo.symbolic.activations.catalogue import available, get
from infgeo.symbolic.algebra.bounded_sympy import MAX_DIGITS, Refused, apply
from infgeo.symbolic.algebra.naming import PUBLIC, SCALES, own_parameter

MAX_LENGTH = 500  # characters of the text
MAX_NUMBER = 50  # characters of a number as it is written
MAX_DEPTH = 20  # parentheses, calls, powers and signs inside each other

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(sympy, name) for name in ("erf", "erfc", "exp", "log", "sqrt", "sin", "cos", "tan")},
    **{name: getattr(sympy, name) for name in ("sinh", "cosh", "tanh", "asinh", "atan", "sign", "Heaviside", "Abs")},
    **{"abs": sympy.Abs, "step": sympy.Heaviside, "relu": lambda argument: sympy.Max(argument, 0)},
    **{"max": sympy.Max, "Max": sympy.Max, "min": sympy.Min, "Min": sympy.Min},
}
_SEVERAL = {"max", "Max", "min", "Min"}  # of several arguments; all others have one
_VALUES = {"z": z, "pi": pi, "E": E}
_MISLEADING = {"I", "oo", "zoo", "nan", "NaN", "inf", "infinity"}  # not parameters: they read as something else
_SUMS: dict[type, Any] = {ast.Add: operator.add, ast.Sub: operator.sub}
_CHAINS: dict[type, Any] = {**_SUMS, ast.Mult: operator.mul, ast.Div: operator.truediv}
_SIGNS: dict[type, Any] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_COMPARISONS: dict[type, Any] = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE](?P<exponent>[-+]?\d+))?)(?P<glued>[\w.]+)?"
    r"|[A-Za-z_]\w*|[-+*/(),<>= ]|(?P<other>.)",
    re.ASCII | re.DOTALL,
)
ALLOWED = (
    "an expression has the variable z, decimal numbers, pi, E, names of real parameters, + - * / **, the functions "
    + ", ".join(FUNCTIONS)
    + ", those of the catalogue such as sigmoid, softplus and gelu,"
    + " and Piecewise((value, condition), ..., (value, True)) with < <= > >="
)


def parse(text: str) -> Expr:
    """Return the SymPy expression of an activation that is given as text; nothing in the text is ever executed.

    The expression is the one that SymPy builds from the same formula, with `conventions.z` for z, exact rationals for
    decimal numbers, and real symbols for all other names. `ALLOWED` says what may stand in the text.

    Args:
        text: up to 500 ASCII characters. Numbers have up to 50 characters, exponents are within -100 and 100, at most
            20 parentheses, calls and powers are nested, and constants are real and within the range of float64.

    Raises:
        InvalidInput: for anything else, with the offending piece.

    Example:
        >>> parse("a*erf(0.1*z) + max(z, 0)**2/2")
        a*erf(z/10) + Max(0, z)**2/2
        >>> parse("z*sigmoid(2*z)")
        z/(1 + exp(-2*z))
        >>> parse("Piecewise((z, z > 0), (exp(z) - 1, True))")
        Piecewise((z, z > 0), (exp(z) - 1, True))
    """
    if not isinstance(text, str):
        raise InvalidInput(f"an expression is text, not {type(text).__name__}")
    if len(text) > MAX_LENGTH:
        _refuse(text, text, f"has {len(text)} characters, more than {MAX_LENGTH}", allowed=False)
    text = text.strip(" ")
    _check_tokens(text)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
        _refuse(text, text, f"is not a formula ({reason})")
    return _Reader(text).value(tree.body, 0)


def _check_tokens(text: str) -> None:
    """Refuse characters and numbers that no formula has; what is left needs no quoting and gives no warnings."""
    if not text:
        _refuse(text, text, "is empty")
    for token in _TOKEN.finditer(text):
        if token["other"] == "^":
            _refuse(text, "^", "is not a power: write **", allowed=False)
        if token["other"]:
            _refuse(text, token["other"], "is not allowed")
        if token["glued"]:
            _refuse(text, token[0], "is not a decimal number; write * for products")
        if token["number"] and (len(token[0]) > MAX_NUMBER or abs(int(token["exponent"] or 0)) > MAX_DIGITS):
            _refuse(
                text, token[0], f"has more than {MAX_NUMBER} characters, or is beyond 1e{MAX_DIGITS}", allowed=False
            )


def _of_catalogue(name: str, argument: Expr) -> Expr:
    return get(name).expr.xreplace({z: argument})


def _shown(piece: str) -> str:
    return ascii(piece if len(piece) <= 60 else f"{piece[:57]}...")


def _refuse(text: str, piece: str, reason: str, allowed: bool = True) -> NoReturn:
    where = _shown(text) if piece == text else f"{_shown(text)}: {_shown(piece)}"
    raise InvalidInput(f"activation {where} {reason}" + (f"; {ALLOWED}" if allowed else ""))


class _Reader:
    """Reads the nodes of one text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def refuse(self, node: ast.expr, reason: str = "is not allowed", allowed: bool = True) -> NoReturn:
        # The text is ASCII, so that the offsets, which count bytes, count characters.
        _refuse(self.text, self.text[node.col_offset : node.end_col_offset], reason, allowed)

    def value(self, node: ast.expr, depth: int) -> Expr:
        """Return the expression of a node."""
        if depth > MAX_DEPTH:
            self.refuse(node, f"lies deeper than {MAX_DEPTH} parentheses, calls, powers and signs", allowed=False)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return Rational(self.text[node.col_offset : node.end_col_offset])
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
            return self.apply(node, _SIGNS[type(node.op)], self.value(node.operand, depth + 1))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            return self.apply(node, operator.pow, self.value(node.left, depth + 1), self.value(node.right, depth + 1))
        if isinstance(node, ast.BinOp) and type(node.op) in _CHAINS:
            return self.chain(node, depth)
        if isinstance(node, ast.Call) and not node.keywords:
            return self.call(node, node.func.id if isinstance(node.func, ast.Name) else "", depth)
        self.refuse(node)

    def chain(self, node: ast.BinOp, depth: int) -> Expr:
        """Return a sum or product; its many terms lean to the left in the tree and are not nested on paper."""
        links: list[ast.BinOp] = []
        first: ast.expr = node
        while isinstance(first, ast.BinOp) and type(first.op) in _CHAINS:
            links.append(first)
            first = first.left
        result = self.value(first, depth + 1)
        for link in reversed(links):
            result = self.apply(link, _CHAINS[type(link.op)], result, self.value(link.right, depth + 1))
        return result

    def name(self, node: ast.Name) -> Expr:
        if node.id in _VALUES:
            return _VALUES[node.id]
        if node.id in FUNCTIONS or node.id in available() or node.id == "Piecewise":
            self.refuse(node, f"is a function: write {node.id}(...)", allowed=False)
        if node.id in _MISLEADING:
            self.refuse(node, "names no parameter and no number inside an expression")
        if node.id.startswith("_"):
            self.refuse(node, "names no parameter: names begin with a letter", allowed=False)
        if meaning := {symbol.name: PUBLIC[symbol] for symbol in SCALES}.get(node.id):
            self.refuse(node, f"stands for {meaning}: rename the parameter, for example to alpha", allowed=False)
        return own_parameter(Symbol(node.id, real=True), f"activation {_shown(self.text)}")

    def call(self, node: ast.Call, name: str, depth: int) -> Expr:
        if name == "Piecewise":
            return self.apply(node, sympy.Piecewise, *self.pieces(node, depth))
        if name not in FUNCTIONS and name not in available():
            self.refuse(node, "calls an unknown function; write * for products")
        if (len(node.args) < 2) if name in _SEVERAL else (len(node.args) != 1):
            self.refuse(node, f"needs {'two arguments or more' if name in _SEVERAL else 'one argument'}", allowed=False)
        arguments = [self.value(argument, depth + 1) for argument in node.args]
        return self.apply(node, FUNCTIONS.get(name) or partial(_of_catalogue, name), *arguments)

    def pieces(self, node: ast.Call, depth: int) -> list[tuple[Expr, Any]]:
        pieces = []
        for position, pair in enumerate(node.args, start=1):
            if not isinstance(pair, ast.Tuple) or len(pair.elts) != 2:
                self.refuse(pair, "is no pair (value, condition)")
            condition, last = pair.elts[1], position == len(node.args)
            if (isinstance(condition, ast.Constant) and condition.value is True) != last:
                self.refuse(pair, "must have the condition True if it is the last pair, and only then")
            pieces.append((self.value(pair.elts[0], depth + 1), last or self.condition(condition, depth + 1)))
        return pieces

    def condition(self, node: ast.expr, depth: int) -> Any:
        if not isinstance(node, ast.Compare) or len(node.ops) > 1 or type(node.ops[0]) not in _COMPARISONS:
            self.refuse(node, "is not one comparison")
        left, right = self.value(node.left, depth + 1), self.value(node.comparators[0], depth + 1)
        if left.has(sympy.Piecewise) or right.has(sympy.Piecewise):
            self.refuse(node, "compares a Piecewise", allowed=False)  # SymPy would solve it for its conditions
        return self.apply(node, _COMPARISONS[type(node.ops[0])], left, right)

    def apply(self, node: ast.expr, function: Callable[..., Any], *operands: Any) -> Any:
        try:
            return apply(function, *operands)
        except Refused as error:
            self.refuse(node, str(error), allowed=False)
