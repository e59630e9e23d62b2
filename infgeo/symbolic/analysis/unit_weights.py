"""What one unit's weights are asked for by learning, in closed form: the tilts of phi'^2, and pairs of features.

phi'(z)^2 is a sum of coefficient z^power exp(-decay z^2) for erf, Gaussians and z^2: each term turns the Gaussian law
of the weights into another one, centred too. Of the features there, E[w w phi(u) phi(v)] needs
E[phi phi], E[phi' phi'], E[phi'' phi] and E[phi phi''] alone, by Stein's lemma.
"""

from functools import lru_cache

from sympy import Add, Expr, Function, atan, expand, factor

from infgeo.conventions import Delta, c, p, q
from infgeo.errors import NoClosedForm
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.activations.terms import FACTOR_ONE, Term, differentiate, squared
from infgeo.symbolic.expectations.expectation import expectation


@lru_cache(maxsize=64)
def slope_tilts(activation: Activation) -> tuple[Term, ...]:
    """Return phi'^2 as a sum of terms coefficient z^power exp(-decay z^2), power 0 or 2; or raise NoClosedForm."""
    squares = squared(differentiate(activation.terms))
    if squares is None or any(
        term.power not in (0, 2) or term.slope != 0 or term.modulus != 0 or term.factor != FACTOR_ONE
        for term in squares
    ):
        raise NoClosedForm(f"phi'^2 of activation {activation.name} is no sum of a exp(-b z^2) and a z^2 exp(-b z^2)")
    return squares


@lru_cache(maxsize=64)
def pair_expectations(activation: Activation) -> tuple[Expr, Expr, Expr, Expr]:
    """Return E[phi phi], E[phi' phi'], E[phi'' phi] and E[phi phi''] of (u, v), in p, q, c of `conventions`."""
    phi = activation.terms
    slope = differentiate(phi)
    second = differentiate(slope)
    pairs = ((phi, phi), (slope, slope), (second, phi), (phi, second))
    found = tuple(expectation(left, right).xreplace({Delta: p * q - c**2}) for left, right in pairs)
    if any(part.atoms(Function) - part.atoms(atan) for part in found):
        raise NoClosedForm(f"the kernel of activation {activation.name} is not elementary")
    return tuple(part.replace(Add, _in_factors) for part in found)


def _in_factors(*summands: Expr) -> Expr:
    """Return a sum with what is free of c in factors: (1 + p)(1 + q) - c^2 is quicker than 1 + p + q + p q - c^2."""
    whole = Add(*summands)
    free = whole.subs(c, 0)
    return factor(free) + expand(whole - free)
