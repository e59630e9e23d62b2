"""The errors of emitted functions."""

from __future__ import annotations

from typing import Any


class InputError(ValueError):
    """An argument that these functions do not accept."""


class DoesNotExist(ArithmeticError):
    """What was asked for diverges for this activation."""


class NotAgreed(ArithmeticError):
    """Two rules of quadrature do not agree."""


def shown(value: Any) -> str:
    """Return a value as text."""
    try:
        return str(value)
    except RuntimeError:
        return "one of the values"  # of a transform of torch, which prints none
