"""The gate to SymPy: numbers and expressions that users pass, as exact expressions.

SymPy turns what it does not know into text, and evaluates the text as Python. So nothing of a user's reaches its
conversions: `exact` takes numbers and finished expressions itself, and refuses all else.
"""

import math
import numbers

from sympy import Basic, Expr, Float, Integer, Rational, nan, oo

from infgeo.arguments import scalar, shown
from infgeo.errors import InvalidInput


def exact(value: object, name: str) -> Expr:
    """Return a number or SymPy expression as an exact expression: floats become the rational of their decimal text.

    Raises InvalidInput for all else, text in whatever container included.

    >>> exact(0.1, "weight_std")
    1/10
    """
    if isinstance(value, Expr) and not getattr(value, "is_Matrix", False):
        floats = {part for part in _parts(value, name) if isinstance(part, Float) and part.is_finite}
        return value.xreplace({part: Rational(str(part)) for part in floats}) if floats else value
    number = scalar(value)
    if number is None:
        raise InvalidInput(f"{name} = {shown(value)} must be a number or a SymPy expression, and a scalar")
    if isinstance(number, numbers.Integral):
        return Integer(int(number))
    if isinstance(number, numbers.Rational):
        return Rational(int(number.numerator), int(number.denominator))
    rough = float(number)
    if not math.isfinite(rough) and not hasattr(number, "_mpf_"):
        return nan if rough != rough else oo if rough > 0 else -oo
    try:
        return Rational(float.__repr__(number) if isinstance(number, float) else str(number))
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} = {shown(value)} must be a finite number") from None


def _parts(expr: Expr, name: str) -> set[Basic]:
    """Return the subexpressions, each once; raise InvalidInput where one of them is no expression but, say, text."""
    found: set[Basic] = set()
    left: list[Basic] = [expr]
    while left:
        part = left.pop()
        if part in found:
            continue
        found.add(part)
        for argument in part.args:
            if not isinstance(argument, Basic):
                raise InvalidInput(f"{name} = {shown(expr)} holds {shown(argument)}, which is no SymPy expression")
            left.append(argument)
    return found
