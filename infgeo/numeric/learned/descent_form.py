"""The first-order shift of the metric by gradient descent in closed form, where phi'^2 is a sum of Gaussians.

The h of a step or a flow (`rules`) is a sum over pairs of training points, with products of phi and its derivatives.
These are sums of terms z^k e^(-a z^2) erf(b z), and each pair of terms (f, g) comes with a matrix. Under the tilt of
`closed_form`, by Stein's lemma,

    E[w w f_a g_b] = S E[f_a g_b] + A_a A_a E[f''_a g_b] + A_b A_b E[f_a g''_b] + (A_a A_b + A_b A_a) E[f'_a g'_b].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from sympy import Function, Integer, Symbol, atan

from infgeo.conventions import Delta, c, p, q
from infgeo.errors import NoClosedForm
from infgeo.numeric.learned.closed_form import ClosedForm, Pair, pair_of, summed
from infgeo.numeric.learned.rules import Rule
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.activations.terms import Term, differentiate
from infgeo.symbolic.expectations.expectation import expectation


def descent_form(activation: Activation, variances: np.ndarray, rule: Rule) -> ClosedForm:
    """Return the closed form of a rule of descent; raises NoClosedForm for an activation that has none."""
    M, S, V, U = rule.matrix, rule.prior, rule.drift, rule.turn
    assert S is not None and V is not None
    U = np.zeros_like(M) if U is None else U
    phi = activation.terms
    one = differentiate(phi)
    two = differentiate(one)
    three, z_one, z_two = differentiate(two), _times_z(one), _times_z(two)
    own, turned = S.diagonal()[:, None], U * S - 2 * M * S
    groups: dict[tuple[Term, Term], np.ndarray] = {}
    for left, right, weights in (
        (z_one, z_one, M),
        (z_one, two, -2 * M * own.T),
        (two, two, own * M * own.T + (M - U) * S * S),
        (one, one, -(M + V) * S),
        (z_two, one, turned),
        (three, one, -own * turned),
        (z_one, phi, V),
        (two, phi, -own * V),
    ):
        for f in left:
            for g in right:
                key = replace(f, coefficient=Integer(1)), replace(g, coefficient=Integer(1))
                new = float(f.coefficient * g.coefficient) * weights
                # Of the pairs (a, b) and (b, a) the first is kept, with f and g for the second in turn.
                for of, part in ((key, np.triu(new)), (key[::-1], np.tril(new, -1).T)):
                    groups[of] = groups.get(of, 0) + part
    return summed(activation, variances, rule.inputs, np.stack(list(groups.values())), _pairs(tuple(groups)))


def _times_z(terms: Sequence[Term]) -> tuple[Term, ...]:
    return tuple(replace(term, power=term.power + 1) for term in terms)


@lru_cache(maxsize=64)
def _pairs(groups: tuple[tuple[Term, Term], ...]) -> Pair:
    """Return what sums weights of groups of pairs times E[f g], E[f' g'], E[f'' g] and E[f g'']."""
    weights = tuple(Symbol(f"w{i}") for i in range(len(groups)))
    sums = [Integer(0)] * 4
    for weight, (f, g) in zip(weights, groups, strict=True):
        slopes = differentiate([f]), differentiate([g])
        pairs = ([f], [g]), slopes, (differentiate(slopes[0]), [g]), ([f], differentiate(slopes[1]))
        found = [expectation(left, right).xreplace({Delta: p * q - c**2}) for left, right in pairs]
        if any(part.atoms(Function) - part.atoms(atan) for part in found):
            raise NoClosedForm("an expectation over pairs of training points is not elementary")
        sums = [total + weight * part for total, part in zip(sums, found, strict=True)]
    return pair_of([Integer(1)] * 4, sums, weights)
