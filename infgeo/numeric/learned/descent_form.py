"""The first-order shift of the metric by gradient descent in closed form, where phi'^2 is a sum of Gaussians.

The h of a step or a flow (`rules`) is a sum over pairs of training points, with products of phi and its derivatives.
These are sums of terms z^k e^(-a z^2) erf(b z), and each pair of terms (f, g) comes with a matrix. Under the tilt of
`closed_form`, by Stein's lemma,

    E[w w f_a g_b] = S E[f_a g_b] + A_a A_a E[f''_a g_b] + A_b A_b E[f_a g''_b] + (A_a A_b + A_b A_a) E[f'_a g'_b].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from sympy import Function, Integer, atan, lambdify

from infgeo.conventions import Delta, c, p, q
from infgeo.errors import NoClosedForm
from infgeo.numeric.learned.closed_form import AT_ONCE, LIBRARY, TiltedForm
from infgeo.numeric.learned.libraries import library, like
from infgeo.numeric.learned.rules import Rule
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.activations.terms import Term, differentiate
from infgeo.symbolic.analysis.unit_weights import slope_tilts
from infgeo.symbolic.expectations.expectation import expectation


@dataclass(frozen=True, eq=False)
class DescentForm(TiltedForm):
    """For descent, h = sum over groups of sum_ab weights_ab f(z_a) g(z_b).

    Arguments:
        prior: the covariances of the training points' preactivations, (P, P).
        groups: functions of p, q, c that return E[f g], E[f' g'], E[f'' g], E[f g''], each with its weights (P, P).
    """

    prior: np.ndarray
    groups: tuple[tuple[Callable[..., tuple], np.ndarray], ...]

    def metric(self, x: Any) -> Any:
        """Return the shift, (m, d) -> (m, d, d), for an array of NumPy or torch; there it is differentiable."""
        size = max(1, AT_ONCE // self.prior.size)
        return library(x).concatenate(
            [self._of_block(x[i : i + size], self._contracted) for i in range(0, max(len(x), 1), size)]
        )

    def _contracted(self, moved: Any, kx: Any, features: Any) -> tuple[Any, Any]:
        """Return E[h] and the rest of Stein's sum, some rows at a time."""
        own = like(kx, self.own) - moved * kx
        step = max(1, AT_ONCE // (len(kx) * len(self.own)))
        value: Any = 0.0
        outer: Any = 0.0
        for start in range(0, len(self.own), step):
            rows = slice(start, start + step)
            covariance = like(kx, self.prior[rows]) - moved[:, rows, None] * kx[:, None, :]
            left = features[:, rows]
            mixed: Any = 0.0
            across: Any = 0.0
            for function, weights in self.groups:
                w = like(kx, weights[rows])
                parts = function(own[:, rows, None], own[:, None, :], covariance)
                both, slopes, first, last = (w * part for part in parts)
                value = value + both.sum((-1, -2))
                outer = outer + left.mT @ (first.sum(-1)[..., None] * left)
                across = across + last.sum(-2)
                mixed = mixed + slopes
            mixed = left.mT @ (mixed @ features)
            outer = outer + mixed + mixed.mT + features.mT @ (across[..., None] * features)
        return value, outer


def descent_form(activation: Activation, variances: np.ndarray, rule: Rule) -> DescentForm:
    """Return the closed form of a rule of descent; raises NoClosedForm for an activation that has none."""
    tilts = tuple((float(t.coefficient), t.power, float(t.decay)) for t in slope_tilts(activation))
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
                groups[key] = groups.get(key, 0) + float(f.coefficient * g.coefficient) * weights
    functions = [(_pair(*key), weights) for key, weights in groups.items()]
    diagonal = S.diagonal().copy()
    mean = sum(float((w * function(diagonal[:, None], diagonal, S)[0]).sum()) for function, w in functions)
    return DescentForm(tilts, variances, rule.inputs * variances, diagonal, mean, S, tuple(functions))


def _times_z(terms: Sequence[Term]) -> tuple[Term, ...]:
    return tuple(replace(term, power=term.power + 1) for term in terms)


@lru_cache(maxsize=256)
def _pair(f: Term, g: Term) -> Callable[..., tuple]:
    """Return E[f g], E[f' g'], E[f'' g] and E[f g''] as a function of arrays of either library."""
    slopes = differentiate([f]), differentiate([g])
    pairs = ([f], [g]), slopes, (differentiate(slopes[0]), [g]), ([f], differentiate(slopes[1]))
    found = [expectation(left, right).xreplace({Delta: p * q - c**2}) for left, right in pairs]
    if any(part.atoms(Function) - part.atoms(atan) for part in found):
        raise NoClosedForm("an expectation over pairs of training points is not elementary")
    function: Callable[..., tuple] = lambdify([p, q, c], found, [LIBRARY, "math"], cse=True)
    return function
