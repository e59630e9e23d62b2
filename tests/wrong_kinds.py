"""What is no valid argument of anything: wrong kinds, and text that would leave its mark if it were evaluated."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy
import torch

CODE = "__import__('builtins').CANARY.append(1)"
CANARY_CALLS: list[int] = []  # for pickles
builtins.CANARY = []  # type: ignore[attr-defined]


class Shown:
    """What SymPy's conversion evaluates by its text."""

    def __str__(self) -> str:
        return CODE

    __repr__ = __str__


class AsArray:
    """What NumPy takes as an array of text."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([CODE])


class AsExpression:
    """What SymPy takes for an expression of its own."""

    def _sympy_(self) -> str:
        return CODE


class Text(str):
    """Text of a class of its own."""


class Whole(int):
    """A number whose text is code."""

    def __str__(self) -> str:
        return CODE

    __repr__ = __str__


PLAIN: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "no such thing",
    "bytes": lambda: b"1",
    "object": object,
    "dict": dict,
    "list": list,
    "lists": lambda: [[], [1]],
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "1.5": lambda: 1.5,
    "True": lambda: True,
    "10^30": lambda: 10**30,
    "complex": lambda: 1 + 1j,
    "array": lambda: np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    "numbers": lambda: np.array([1, 2]),
    "tensor": lambda: torch.tensor([0.5, 1.5]),
    "generator": lambda: (x for x in (1, 2)),
    "function": lambda: lambda *a, **k: None,
    "module": lambda: builtins,
}
HOSTILE: dict[str, Callable[[], Any]] = {
    "code": lambda: CODE,
    "bytes of code": CODE.encode,
    "subclass of str": lambda: Text(CODE),
    "list of code": lambda: [CODE],
    "nested code": lambda: [[CODE, 0], [0, (CODE,)]],
    "tuple of code": lambda: (CODE,),
    "set of code": lambda: {CODE},
    "frozenset of code": lambda: frozenset({CODE}),
    "dict of code": lambda: {CODE: CODE},
    "generator of code": lambda: (x for x in (CODE,)),
    "array of code": lambda: np.array(CODE),
    "objects of code": lambda: np.array([[CODE, [CODE]], [0, 1]], dtype=object),
    "object array without axes": lambda: np.array(CODE, dtype=object),
    "str_ of NumPy": lambda: np.str_(CODE),
    "shown as code": Shown,
    "array of code by itself": AsArray,
    "expression by itself": AsExpression,
    "number shown as code": lambda: Whole(2),
    "list of what is shown as code": lambda: [[Shown()]],
    "expression that holds code": lambda: sympy.Expr.__new__(sympy.besselj, sympy.Symbol("s", nonnegative=True), CODE),
}
WRONG = PLAIN | HOSTILE
