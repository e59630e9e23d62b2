"""The kernels E[phi^(n)(u) phi^(n)(v)] of an activation's derivatives, where these are distributions too.

By Price's theorem they are the n-th derivatives of the kernel in c. At places t a kink or a jump leaves delta functions
h delta^(i)(z - t) in phi^(n), and if all pieces are polynomials of lower degree nothing else: then

    E[phi^(n)(u) phi^(n)(v)] = sum h h' (-d/dt)^i (-d/dt')^i' f(t, t'),   f the density of (u, v),

which is elementary.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Add, Dummy, Expr, exp, pi, sqrt

from infgeo.conventions import Delta, c, p, q, z
from infgeo.conventions import variance as v
from infgeo.errors import NoClosedForm
from infgeo.symbolic.activations.terms import Factor, Term, differentiate
from infgeo.symbolic.algebra.simplify import with_complements
from infgeo.symbolic.expectations.dual import Dual

_T, _T_ = Dummy("t", real=True), Dummy("t", real=True)
_OF_ONE = exp(-(_T**2) / (2 * v)) / sqrt(2 * pi * v)
_OF_PAIR = exp(-(q * _T**2 - 2 * c * _T * _T_ + p * _T_**2) / (2 * Delta)) / (2 * pi * sqrt(Delta))


@dataclass(frozen=True)
class Slopes:
    """The derivative phi^(n): terms, and delta functions and their derivatives (height, place, order)."""

    terms: tuple[Term, ...]
    deltas: tuple[tuple[Expr, Expr, int], ...] = ()

    def derivative(self) -> Slopes:
        """Return phi^(n + 1)."""
        terms = differentiate(self.terms)
        new = tuple((term.coefficient, term.factor.place, 0) for term in terms if term.factor.kind == "delta")
        raised = tuple((height, place, order + 1) for height, place, order in self.deltas)
        return Slopes(tuple(term for term in terms if term.factor.kind != "delta"), (*raised, *new))

    @property
    def kernel(self) -> Expr:
        """E[phi^(n)(u) phi^(n)(v)] of u and v that are not parallel; raises NoClosedForm where there is no form."""
        if self.terms or not self.deltas:
            if any(order for _, _, order in self.deltas):
                raise NoClosedForm("the derivative of a delta function beside other terms has no expectation here")
            deltas = (Term(height, factor=Factor("delta", place=place)) for height, place, _ in self.deltas)
            return Dual("a derivative", (*self.terms, *deltas)).kernel
        return Add(
            *(
                height * height_ * (-1) ** (i + j) * _OF_PAIR.diff(_T, i, _T_, j).xreplace({_T: place, _T_: place_})
                for height, place, i in self.deltas
                for height_, place_, j in self.deltas
            )
        )

    @property
    def mean(self) -> Expr:
        """E[phi^(n)(z)] at variance v."""
        deltas = (height * (-1) ** i * _OF_ONE.diff(_T, i).xreplace({_T: place}) for height, place, i in self.deltas)
        return with_complements(Add(Dual("a derivative", self.terms).mean, *deltas))

    @property
    def at_zero(self) -> Expr:
        """E[phi^(n)(z)] at variance 0: the mean of both sides; of a kink's delta function there 0."""
        return Add(*(term.expr.subs(z, 0) for term in self.terms))
