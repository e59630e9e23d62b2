"""The Ricci scalar of a one-layer metric to first order in a change of the metric.

One-layer metrics are Hessians, so that T = dg/2 is symmetric and R = |T|^2 - |tr T|^2 in the metric g (R > 0 on
spheres). For g + e P and T + e Q the term in e is

    2 <T, Q> - 3 <P, T T> - 2 <tr T, tr Q - P.T> + P(tr T, tr T),

with indices raised by g, TT_ad = T_abc T_dbc and (P.T)_c = P_ab T_abc.
"""

from __future__ import annotations

import numpy as np


def ricci_shift(g: np.ndarray, T: np.ndarray, P: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Return the shift of R, (m,), of g and P (m, d, d), T and Q (m, d, d, d)."""
    W = np.linalg.inv(np.linalg.cholesky(g))
    T, Q = (np.einsum("mai,mbj,mck,mijk->mabc", W, W, W, tensor, optimize=True) for tensor in (T, Q))
    P = W @ P @ W.mT
    t = np.einsum("maac->mc", T)
    change = np.einsum("maac->mc", Q) - np.einsum("mab,mabc->mc", P, T)
    norm = 2 * (T * Q).sum((1, 2, 3)) - 3 * np.einsum("mad,mabc,mdbc->m", P, T, T, optimize=True)
    result: np.ndarray = norm - 2 * (t * change).sum(-1) + np.einsum("mab,ma,mb->m", P, t, t)
    return result


def radial_metric(x: np.ndarray, A: np.ndarray, A1: np.ndarray, A2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return g = A I + 2 A' x x and T = dg/2 of one layer, from A and its derivatives in |x|^2, each (m,)."""
    eye = np.eye(x.shape[1])
    xx = x[:, :, None] * x[:, None, :]
    g = A[:, None, None] * eye + 2 * A1[:, None, None] * xx
    mixed = np.einsum("ab,mc->mabc", eye, x) + np.einsum("ac,mb->mabc", eye, x) + np.einsum("bc,ma->mabc", eye, x)
    T = A1[:, None, None, None] * mixed + 2 * A2[:, None, None, None] * xx[:, :, :, None] * x[:, None, None, :]
    return g, T
