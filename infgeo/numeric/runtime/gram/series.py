"""Kernels of mixtures as Hermite series, k = sum_n c_n(p) c_n(q) rho^n, of rank one in the variances (Mehler).

A pair takes some multiplications, where the sum over pairs of nodes takes hundreds of arcs. Coefficients of phi at
variance v are c_n = E[phi(sqrt(v) t) h_n(t)], t ~ N(0, 1), h_n = He_n/sqrt(n!):

    exp(-a z^2)   c_2k = (1 + 2 a v)^(-1/2) (-2 a v/(1 + 2 a v))^k sqrt((2k)!)/(2^k k!)
    erf(a z)      c_n = (2 a/sqrt(pi)) sqrt(v/n) times c_(n-1) of exp(-a^2 z^2)
    z f(z)        c_n = sqrt(v) (sqrt(n + 1) c_(n+1) + sqrt(n) c_(n-1)) of f

What a series leaves out is the rest of E[phi^2] = sum_n c_n^2, and of v E[phi'^2] = sum_n n c_n^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LONGEST = 1024  # the last n
DEAREST = 1500.0  # beyond so many terms a pair, at large variances, kernels are sums over pairs of nodes
APART = 3000.0  # what one pair by itself costs, in terms
TERMS_AT_ONCE = 4  # terms that are added at a time: their number is a multiple
COSINES = (1.0, 0.99, 0.97, 0.94, 0.9, 0.8)


@dataclass(frozen=True)
class HermiteSeries:
    """The series of one mixture.

    Args:
        nodes: pairs (a_i, w_i).
        terms: of a node a and the parameters, the terms (coefficient, power, decay, scale) of f(z; a): coefficient *
            z^power * exp(-decay z^2), times erf(scale z) where the scale is not 0.
    """

    nodes: Sequence[tuple[float, float]]
    terms: Callable

    def coefficients(self, v: np.ndarray, own: Sequence[float], count: int) -> np.ndarray:
        """Return c_n at variances v (N,), n < count, (count, N)."""
        total = np.zeros((count, len(v)))
        for parts in zip(*(self.terms(a, *own) for a, _ in self.nodes), strict=True):
            coefficient, powers, decay, scale = map(np.array, zip(*parts, strict=True))
            odd, power = bool(scale.any()), int(powers[0])
            b = (scale**2 if odd else decay)[:, None] * v
            rest = np.array([w for _, w in self.nodes]) * coefficient * (2 * scale / np.sqrt(np.pi) if odd else 1)
            rest = rest[:, None] / np.sqrt(1 + 2 * b)
            ratio, root = -2 * b / (1 + 2 * b), 1.0
            c = np.zeros((count + power, len(v)))
            for n in range(0, len(c) - odd, 2):
                c[n + odd] = root * rest.sum(0) * (np.sqrt(v / (n + 1)) if odd else 1)
                rest *= ratio
                root *= np.sqrt((n + 1) / (n + 2))
            for _ in range(power):
                roots = np.sqrt(np.arange(1, len(c)))[:, None]
                up, down = roots * c[1:], roots[:-1] * c[:-2]
                c = np.sqrt(v) * (up + np.concatenate([0 * v[None], down]))
            total += c
        return total

    def cut(
        self, v: np.ndarray, own: Sequence[float], moments: Sequence[np.ndarray], rho: np.ndarray, tolerance: float
    ) -> tuple[float, int, int, int] | None:
        """Return the largest |rho|, the first n, the distance of the others and their number; None if too many.

        Args:
            v: some variances that stand for all.
            own: the activation's parameters.
            moments: E[phi^2] and, where tangent kernels are wanted, v E[phi'^2], to which errors are relative.
            rho: cosines of some pairs: those of larger ones are computed by themselves, at a price.
            tolerance: the largest error.
        """
        c, n = self.coefficients(v, own, LONGEST), np.arange(LONGEST)[:, None]
        first = 0 if c[::2].any() else 1
        step = 1 if c[::2].any() and c[1::2].any() else 2
        best: tuple[float, float, int] = (DEAREST, 1.0, 0)
        for cosine in COSINES:
            count = 0
            for i, moment in enumerate(moments):
                terms = n**i * c * c
                left_out = np.abs(moment - terms.sum(0)) * cosine**LONGEST
                tails = np.cumsum((terms * cosine**n)[::-1], 0)[::-1] + left_out
                count = max(count, 1 + int(np.flatnonzero((tails > tolerance * moment).any(1))[-1:].sum()))
            number = TERMS_AT_ONCE * -(-(count - first) // (step * TERMS_AT_ONCE))
            price = number + APART * float((np.abs(rho) > cosine).mean())
            if count < LONGEST and price < best[0]:
                best = price, cosine, number
        return (best[1], first, step, best[2]) if best[2] else None
