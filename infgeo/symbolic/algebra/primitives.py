"""Functions that straight-line programs use beyond SymPy's own; every backend of the emitted code implements them.

Where a number leaves nothing to care for they are functions of SymPy at once: libraries take no numbers in some places.
"""

import sympy as sp


class _RealFunction(sp.Function):
    """A function of real arguments with real values, so that SymPy writes no conjugates of it."""

    def _eval_is_extended_real(self) -> bool:
        return True


class sin_minus_theta_cos(_RealFunction):
    """The function sin t - t cos t, t in [0, pi], relatively accurate.

    Below t = 1 it is the sum over n >= 1 of (-1)^(n+1) 2n t^(2n+1)/(2n+1)!.
    """

    nargs = 1


class where_nonnegative(_RealFunction):
    """The choice where_nonnegative(x, a, b) = a where x >= 0, else b; what is not taken may be NaN."""

    nargs = 3


class ratio(_RealFunction):
    """The quotient ratio(a, b) = a/b, and 0 where b = 0 (all uses have a = 0 there, or are multiplied by 0)."""

    nargs = 2

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        """Return a/b for a number b other than 0."""
        return a / b if b.is_number and b.is_zero is False else None


class exp_difference(_RealFunction):
    """The difference exp_difference(a, b, d) = e^a - e^b with d = a - b given accurately.

    Evaluate e^b expm1(d) where d <= 0 and -e^a expm1(-d) where d > 0: no overflow unless the result overflows.
    """

    nargs = 3

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr, difference: sp.Expr) -> sp.Expr | None:
        """Return (e^d - 1) e^b for a number d."""
        return (sp.exp(difference) - 1) * sp.exp(b) if difference.is_number else None


class scaled_erfc(_RealFunction):
    """The product scaled_erfc(a, x, d) = e^a erfc(x) with d = a - x^2 given accurately: both factors may be extreme."""

    nargs = 3

    @classmethod
    def eval(cls, a: sp.Expr, x: sp.Expr, difference: sp.Expr) -> sp.Expr | None:
        """Return e^a erfc(x) for a number x."""
        return sp.exp(a) * sp.erfc(x) if x.is_number else None


class scaled_quadrant(_RealFunction):
    """The product scaled_quadrant(a, h, k, n, n', d) = e^a P(X > h, Y > k), X and Y standard normal of correlation rho.

    Given accurately are n = (k - rho h)/sqrt(1 - rho^2), n' = (h - rho k)/sqrt(1 - rho^2) and d = a - (h^2 + n^2)/2.
    """

    nargs = 6


class above_zero(_RealFunction):
    """The determinant above_zero(Delta, p q) = Delta of a pair, a little more than 0."""

    nargs = 2


PRIMITIVES = (
    sin_minus_theta_cos,
    where_nonnegative,
    ratio,
    exp_difference,
    scaled_erfc,
    scaled_quadrant,
    above_zero,
)
