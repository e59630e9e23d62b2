"""How results show themselves: one line at a prompt, a small table in a notebook."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from html import escape
from math import prod
from typing import Any

_FEW = 6  # numbers or parts that are written one by one
_LONGEST = 120  # characters of one value
_LARGEST = 10**7  # numbers whose range is looked for: more would take longer than to read on


def brief(value: Any) -> str:
    """Return `value` in a few words: floats to six digits, arrays by their shape and range, containers by their parts.

    >>> brief(0.1 + 0.2), brief([1, 2.5]), brief({"n": 3})
    ('0.3', '[1, 2.5]', '{n: 3}')
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        return _array(value)
    if isinstance(value, Mapping):
        return "{" + _parts(f"{key}: {brief(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        opened, closed = "()" if isinstance(value, tuple) else "[]"
        comma = "," if opened == "(" and len(value) == 1 else ""
        return f"{opened}{_parts(map(brief, value))}{comma}{closed}"
    text = str(value) if not is_dataclass(value) or isinstance(value, Displayed) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, str | tuple | Mapping) and not value)


def _parts(texts: Iterator[str]) -> str:
    words = list(texts)
    if len(words) <= _FEW and sum(map(len, words)) <= _LONGEST:
        return ", ".join(words)
    return f"{words[0][:_LONGEST]}, … {len(words)} in all"


def _array(value: Any) -> str:
    """Return an array of a few numbers as they are, another one by its shape and the range of what is finite."""
    shape = tuple(value.shape)
    size = prod(shape)
    if size <= _FEW:
        return brief(value.tolist())
    name = f"array of shape {shape}"
    kind = str(value.dtype)
    if size > _LARGEST or not ("float" in kind or "int" in kind):
        return name
    if hasattr(value, "detach"):
        value = value.detach()
    finite = value[abs(value) < float("inf")]  # not NaN either
    if not len(finite):
        return f"{name}, none finite"
    span = f"{brief(float(finite.min()))} to {brief(float(finite.max()))}"
    rest = size - len(finite)
    return f"{name}, {span}" + (f", {rest} not finite" if rest else "")


class Displayed:
    """A result that shows itself: its facts, or in a notebook its `table()`, where it has one.

    Facts are the fields of a dataclass (which is made with repr=False), unless `_facts` says otherwise.
    """

    def _facts(self) -> dict[str, Any]:
        """Return what is shown, name -> value, in order; what is None or empty text is left out."""
        return {part.name: getattr(self, part.name) for part in fields(self) if part.repr}  # type: ignore[arg-type]

    def _shown(self) -> dict[str, Any]:
        return {name: value for name, value in self._facts().items() if not _absent(value)}

    def __repr__(self) -> str:
        texts = {name: repr(v) if isinstance(v, str) else brief(v) for name, v in self._shown().items()}
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in texts.items())})"

    def _repr_html_(self) -> str:
        if table := getattr(self, "table", None):
            return f"<pre>{escape(table())}</pre>"
        rows = "\n".join(
            f"<tr><th>{escape(name)}</th><td>{escape(brief(v))}</td></tr>" for name, v in self._shown().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>\n{rows}\n</table>"
