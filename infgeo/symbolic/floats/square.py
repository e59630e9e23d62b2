"""A function of two inputs at the four corners of a second difference, see `second_difference`."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp


@dataclass(frozen=True)
class Square:
    """The four corners of a subexpression, and its differences f, g, s (see `second_difference`)."""

    x11: sp.Expr
    x22: sp.Expr
    x12: sp.Expr
    x21: sp.Expr
    f: sp.Expr
    g: sp.Expr
    s: sp.Expr

    @property
    def total(self) -> sp.Expr:
        """The sum of the corners."""
        return self.x11 + self.x22 + self.x12 + self.x21

    @property
    def vanishes_on_diagonal(self) -> bool:
        """Whether X(p,p,p,0) and X(q,q,q,0) are 0."""
        return self.x11 == 0 and self.x22 == 0
