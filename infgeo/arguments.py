"""The checks of what users pass: one vocabulary. Every message names the argument, its value, and what to pass."""

import math
import numbers
import operator
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from infgeo.errors import InvalidInput, MissingExtra

T = TypeVar("T")

LARGEST = 2**63 - 1  # of the integers that arrays and files know
MAX_DEPTH = 1000  # hidden layers: formulas and programs are written out layer by layer


def shown(value: object) -> str:
    """Return the `repr` of a value for a message: on one line, and not long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a user's own class may raise what it likes
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def scalar(value: object) -> Any:
    """Return a real number of Python, NumPy, SymPy or mpmath, or the one that an array without axes holds; else None.

    Truth values, text and complex numbers are None; of what only has `__float__` it is the float.
    """
    if isinstance(value, bool | str | bytes | complex):
        return None
    if isinstance(value, numbers.Real) or (isinstance(value, numbers.Number) and hasattr(value, "as_integer_ratio")):
        return value
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return scalar(value.item()) if tuple(value.shape) == () and hasattr(value, "item") else None
    if isinstance(value, numbers.Complex) or not hasattr(type(value), "__float__"):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except Exception:  # as above; SymPy's TypeError for what is no number
        return None


def positive_integer(value: Any, name: str, minimum: int = 1, why: str = "", maximum: int = LARGEST) -> int:
    """Return `value` as an int from `minimum` to `maximum`, or raise InvalidInput."""
    try:
        truth = isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
        number = None if truth else operator.index(value)
    except Exception:  # arrays have an index that raises
        number = None
    if number is None:
        raise InvalidInput(f"{name} is {shown(value)}; pass an integer >= {minimum}")
    if number < minimum:
        raise InvalidInput(f"{name} is {number}; it must be an integer >= {minimum}{why and ': ' + why}")
    if number > maximum:
        raise InvalidInput(f"{name} is {shown(number)}; it must be an integer <= {maximum}")
    return number


def seed_integer(value: Any, bits: int, name: str = "seed") -> int:
    """Return `value` as an int in [0, 2^bits), or raise InvalidInput."""
    number = positive_integer(value, name, minimum=0, maximum=max(LARGEST, 2**bits))
    if number >= 2**bits:
        raise InvalidInput(f"{name} is {number}; it must be below 2**{bits}")
    return number


def items(value: Any, name: str, remedy: str = "a list") -> tuple[Any, ...]:
    """Return what a list, another iterable or an array with axes holds, or raise InvalidInput: text is no list."""
    axes: Any = getattr(value, "ndim", 1)
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable) or axes == 0:
        raise InvalidInput(f"{name} is {shown(value)}; pass {remedy}")
    return tuple(value)


def positive_integers(value: Any, name: str, minimum: int = 1) -> list[int]:
    """Return the integers of a list, each at least `minimum`, or raise InvalidInput."""
    return [positive_integer(one, f"{name}[{i}]", minimum) for i, one in enumerate(items(value, name))]


def checked_depth(value: Any, name: str = "depth") -> int:
    """Return a number of hidden layers as an int from 1 to MAX_DEPTH, or raise InvalidInput."""
    return positive_integer(value, name, maximum=MAX_DEPTH)


def real_number(value: Any, name: str, minimum: float = -math.inf, strict: bool = False) -> float:
    """Return `value` as a finite float, at least (or, if `strict`, above) `minimum`, or raise InvalidInput."""
    number = scalar(value)
    if number is None:
        raise InvalidInput(f"{name} is {shown(value)}; pass a real number")
    try:
        rough = float(number)
    except OverflowError:
        rough = math.inf
    if not math.isfinite(rough) or rough < minimum or (strict and rough == minimum):
        bound = "" if minimum == -math.inf else f" {'>' if strict else '>='} {minimum:g}"
        raise InvalidInput(f"{name} is {shown(value)}; pass a finite number{bound}")
    return rough


def fraction(value: Any, name: str) -> float:
    """Return a number strictly between 0 and 1 as a float, or raise InvalidInput."""
    number = real_number(value, name, minimum=0.0, strict=True)
    if number >= 1:
        raise InvalidInput(f"{name} is {shown(value)}; pass a number between 0 and 1")
    return number


def flag(value: Any, name: str) -> bool:
    """Return a truth value, Python's or NumPy's, or raise InvalidInput."""
    if isinstance(value, bool) or (getattr(value, "dtype", None) == "bool" and getattr(value, "shape", None) == ()):
        return bool(value)
    raise InvalidInput(f"{name} is {shown(value)}; pass True or False")


def one_of(value: Any, name: str, choices: Iterable[str]) -> str:
    """Return a word that is among `choices`, or raise InvalidInput."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise InvalidInput(f"{name} is {shown(value)}; choose from {', '.join(map(repr, known))}")
    return str.__str__(value)


def words(value: Any, name: str, choices: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return a word, or several in a list, tuple, set or iterator, as a tuple without repetitions; or InvalidInput."""
    known = None if choices is None else tuple(choices)
    given = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterator) else value
    remedy = "pass a word, or a list of words" if known is None else f"choose from {', '.join(known)}"
    if not isinstance(given, list | tuple | set | frozenset) or not all(isinstance(word, str) for word in given):
        raise InvalidInput(f"{name} is {shown(value)}; {remedy}")
    if known and not given:
        raise InvalidInput(f"{name} is empty; {remedy}")
    if known is not None and (unknown := [word for word in given if word not in known]):
        raise InvalidInput(f"{name} has {shown(unknown[0])}; {remedy}")
    return tuple(dict.fromkeys(given))


def instance(value: Any, name: str, kind: type[T] | tuple[type[T], ...], remedy: str) -> T:
    """Return `value` if it is a `kind`, or raise InvalidInput, which says what to pass."""
    if not isinstance(value, kind):
        raise InvalidInput(f"{name} is {shown(value)}; pass {remedy}")
    return value


def function(value: Any, name: str, remedy: str) -> Any:
    """Return `value` if it can be called or is None, or raise InvalidInput."""
    if value is not None and not callable(value):
        raise InvalidInput(f"{name} is {shown(value)}; pass {remedy}, or None")
    return value


@contextmanager
def optional_import(feature: str, extra: str) -> Iterator[None]:
    """Raise MissingExtra where an import inside the block fails."""
    try:
        yield
    except ImportError:
        raise MissingExtra(feature, extra) from None


def python_name(name: str) -> str:
    """Return a name as Python reads it in source: the micro sign as the letter mu."""
    return unicodedata.normalize("NFKC", name)


def values_by_name(value: Any, name: str = "parameters") -> dict[str, float]:
    """Return a mapping of names to real numbers as a dict of floats (None is the empty one), or raise InvalidInput."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"{name} is {shown(value)}; pass a mapping of names to numbers, such as {{'alpha': 0.1}}")
    return {python_name(str.__str__(key)): real_number(number, f"{name}[{key!r}]") for key, number in value.items()}
