"""Networks of one layer and n units to order 1/n, and their determinant at every n, from moments of a single unit.

In an orthonormal frame with e_1 = x/|x| a unit has the weights (w_1, w_t); with z = w.x + b its part of the metric is
a w w, a = phi'(z)^2, and of T = dg/2 it is c w w w, c = phi' phi''. z depends on w_1 alone: w_t is N(0, variance)
and independent of (a, c, w_1), so that all that follows is made of moments of (a, c, w_1). In the frame in which the
infinite-width metric diag(h, f, ..., f) is 1, write (y, S) for w_1 and |w_t|^2, and L = y^2 + S.

The formulas are arithmetic: moments may be SymPy expressions or floats.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import factorial
from typing import Any

Polynomial = Mapping[tuple[int, int], Any]  # (power of y, power of S) -> coefficient


@dataclass(frozen=True)
class UnitMoments:
    """Expectations over one unit at one point, by the power of w_1 that they hold.

    `f` = variance E[a], `h` = E[a w_1^2]; `aa`[k] = E[a^2 w_1^k], k = 0, 2, 4; `ac`[k] = E[a c w_1^k], k = 1, 3, 5;
    `c`[k] = E[c w_1^k], k = 1, 3; `cc`[k] = E[c^2 w_1^k], k = 0, 2, 4, 6, for the spread of R only. `root` is sqrt(h).
    """

    variance: Any
    f: Any
    h: Any
    root: Any
    aa: Mapping[int, Any]
    ac: Mapping[int, Any]
    c: Mapping[int, Any]
    cc: Mapping[int, Any]

    def mean(self, kind: str, polynomial: Polynomial, d: Any) -> Any:
        """Return E[kind * polynomial(y, S)]: S is variance/f times a chi^2 with d - 1 degrees of freedom."""
        moments = getattr(self, kind)
        total: Any = 0
        for (i, j), coefficient in polynomial.items():
            transverse: Any = 1
            for k in range(j):
                transverse = transverse * (d - 1 + 2 * k) * self.variance / self.f
            total = total + coefficient * transverse * moments[i] / self.root**i
        return total


def _times(left: Polynomial, right: Polynomial) -> dict[tuple[int, int], Any]:
    result: dict[tuple[int, int], Any] = {}
    for (i, j), a in left.items():
        for (k, m), b in right.items():
            result[i + k, j + m] = result.get((i + k, j + m), 0) + a * b
    return result


def metric_covariance(m: UnitMoments, d: Any) -> dict[str, Any]:
    """Return n times the covariances of the metric's entries, in the radial frame; all others are 0.

    "radial": Var g_11; "tangential": Var g_tt; "radial, tangential": Cov(g_11, g_tt); "tangential, tangential":
    Cov(g_tt, g_ss), s != t; "mixed": Var g_1t; "off-diagonal": Var g_ts; and "mean tangential": the variance of the
    mean of g_tt over the d - 1 directions.
    """
    square = m.variance**2 * m.aa[0]
    return {
        "radial": m.aa[4] - m.h**2,
        "tangential": 3 * square - m.f**2,
        "radial, tangential": m.variance * m.aa[2] - m.h * m.f,
        "tangential, tangential": square - m.f**2,
        "mixed": m.variance * m.aa[2],
        "off-diagonal": square,
        "mean tangential": (d + 1) * square / (d - 1) - m.f**2 if d != 1 else 0 * square,
    }


def whitened_fourth_moment(m: UnitMoments, d: Any) -> Any:
    """Return E[|v|^4] for v = g^(-1/2) phi' w: d (d + 2) where v is Gaussian, as for linear networks."""
    return m.mean("aa", {(4, 0): 1, (2, 1): 2, (0, 2): 1}, d)


def log_volume(m: UnitMoments, d: Any) -> tuple[Any, Any]:
    """Return n times the bias and the variance of log sqrt(det g): -(E|v|^4 - d)/4 and (E|v|^4 - d^2)/4."""
    fourth = whitened_fourth_moment(m, d)
    return -(fourth - d) / 4, (fourth - d**2) / 4


def volume_bias(m: UnitMoments, d: Any) -> Any:
    """Return n times the bias of sqrt(det g), relative to it."""
    bias, variance = log_volume(m, d)
    return bias + variance / 2


def determinant_moments(m: UnitMoments, n: int, d: int) -> tuple[Any, Any]:
    """Return E[det g] and E[(det g)^2] at width n, over the infinite-width det g and its square; exact.

    det g is a sum over sets of d units. Two sets share k of them, whose whitened vectors span a k-volume V:

        E[(det g)^2] = n^(-2d) sum_k n!/(k! (n - 2d + k)!) E[V^4]

    and E[V^4] follows from w_t being Gaussian: V^2 is prod a times (kappa^k det W + kappa^(k-1) w_1' adj(W) w_1), W a
    Wishart matrix of d - 1 degrees of freedom.
    """
    first: Any = 1
    for i in range(d):
        first = first * (n - i) / n
    kappa = m.variance / m.f
    mu = [m.aa[0], m.aa[2] / m.h, m.aa[4] / m.h**2]
    total: Any = 0
    for k in range(max(0, 2 * d - n), d + 1):
        if k == 0:
            volume: Any = 1
        else:
            freedom = d - k
            volume = (
                kappa**2 * freedom * (freedom + 2) * mu[0] ** k
                + 2 * kappa * freedom * k * mu[1] * mu[0] ** (k - 1)
                + k * mu[2] * mu[0] ** (k - 1)
                + (k * (k - 1) * mu[1] ** 2 * mu[0] ** (k - 2) if k > 1 else 0)
            )
            for i in range(k - 1):
                volume = volume * kappa**2 * (d - 1 - i) * (d + 1 - i)
        sets: Any = 1
        for i in range(2 * d - k):
            sets = sets * (n - i) / n
        total = total + sets * volume / factorial(k) / n**k
    return first, total


def _third_derivatives(m: UnitMoments, d: Any) -> tuple[Any, Any, Any]:
    """Return T_111, T_1tt and tr T of the infinite network, whitened."""
    alpha = m.c[3] / m.root**3
    beta = m.variance * m.c[1] / (m.f * m.root)
    return alpha, beta, alpha + (d - 1) * beta


def ricci(m: UnitMoments, d: Any) -> Any:
    """Return R of the infinite network, |T|^2 - |tr T|^2."""
    alpha, beta, theta = _third_derivatives(m, d)
    return alpha**2 + 3 * (d - 1) * beta**2 - theta**2


def ricci_bias(m: UnitMoments, d: Any) -> Any:
    """Return n times the bias of R: the expectation of half its second derivative in (g, T) along one unit's part.

    E[-4 a c L tau + 3 a^2 L |T(v)|^2 + 2 a^2 |T(v, v)|^2 + 4 a c L^2 (t.v) - 2 a^2 L T(v, v).t - 2 a^2 (t.v) tau
    - a^2 L (t.v)^2] - R, with v = (y, w_t), tau = T(v, v, v), t = tr T. Terms in c^2 cancel.
    """
    alpha, beta, theta = _third_derivatives(m, d)
    square = alpha**2 + (d - 1) * beta**2
    ac = {
        (5, 0): -4 * alpha + 4 * theta,
        (3, 1): -4 * (alpha + 3 * beta) + 8 * theta,
        (1, 2): -12 * beta + 4 * theta,
    }
    aa = {
        (4, 0): 3 * square + 2 * alpha**2 - 4 * theta * alpha - theta**2,
        (2, 1): 3 * (square + 2 * beta**2)
        + 4 * alpha * beta
        + 8 * beta**2
        - 2 * theta * (alpha + beta)
        - 6 * theta * beta
        - theta**2,
        (0, 2): 6 * beta**2 + 2 * beta**2 - 2 * theta * beta,
    }
    return m.mean("ac", ac, d) + m.mean("aa", aa, d) - ricci(m, d)


def ricci_variance(m: UnitMoments, d: Any) -> Any:
    """Return n times the variance of R to leading order: that of its first derivative along one unit's part.

    2 c tau - 3 a |T(v)|^2 - 2 c L (t.v) + 2 a T(v, v).t + a (t.v)^2, whose mean is -R.
    """
    alpha, beta, theta = _third_derivatives(m, d)
    square = alpha**2 + (d - 1) * beta**2
    u = {(3, 0): 2 * (alpha - theta), (1, 1): 2 * (3 * beta - theta)}
    v = {(2, 0): -3 * square + 2 * theta * alpha + theta**2, (0, 1): -6 * beta**2 + 2 * theta * beta}
    mean_square = m.mean("cc", _times(u, u), d) + 2 * m.mean("ac", _times(u, v), d) + m.mean("aa", _times(v, v), d)
    return mean_square - ricci(m, d) ** 2
