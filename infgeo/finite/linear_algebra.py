"""Small symmetric problems at many points: packed monomials, and a Cholesky factor with the points on the last axis.

LAPACK called on thousands of tiny matrices spends its time on calls. With the points last, elimination takes O(d)
vectorised operations however many points there are.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

# Above this dimension one LAPACK call per point is the faster way (measured on 1600 points).
_POINTS_LAST_MAX_DIM = 16


@lru_cache(maxsize=32)
def pair_indices(d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (I, J) of the d(d+1)/2 monomials w_i w_j with i <= j."""
    i, j = torch.triu_indices(d, d)
    return i, j


@lru_cache(maxsize=32)
def pair_gather(d: int) -> torch.Tensor:
    """Return the (d, d) table of positions in the packed order of `pair_indices`."""
    i, j = pair_indices(d)
    table = torch.empty(d, d, dtype=torch.long)
    table[i, j] = table[j, i] = torch.arange(len(i))
    return table


@lru_cache(maxsize=32)
def triple_gather(d: int) -> torch.Tensor:
    """Return the (d, d, d) table of positions of the d(d+1)(d+2)/6 monomials w_i w_j w_k, i <= j <= k."""
    i, j, k = torch.combinations(torch.arange(d), r=3, with_replacement=True).T
    table = torch.empty(d, d, d, dtype=torch.long)
    position = torch.arange(len(i))
    for a, b, c in ((i, j, k), (i, k, j), (j, i, k), (j, k, i), (k, i, j), (k, j, i)):
        table[a, b, c] = position
    return table


def unpack(packed: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return `packed` (m, ...) with its first axis spread over the axes of `table`: (d, d, ...) or (d, d, d, ...)."""
    flat = packed.index_select(0, table.reshape(-1).to(packed.device))
    return flat.reshape(*table.shape, *packed.shape[1:])


@dataclass(frozen=True)
class Factor:
    """L with L Lᵀ = g at P points. `lower` is (d, d, P); where `singular` (P,), L has no meaning, but is finite.

    `smallest_pivot` (P,) is the least ratio of a pivot to its diagonal entry: roundings of g are amplified by its
    inverse in all that is computed from L.
    """

    lower: torch.Tensor
    singular: torch.Tensor
    smallest_pivot: torch.Tensor

    @property
    def log_determinant(self) -> torch.Tensor:
        """Log det g of shape (P,); -inf at singular points."""
        value = 2.0 * torch.diagonal(self.lower).log().sum(dim=-1)
        return torch.where(self.singular, -torch.inf, value)

    def solve_(self, b: torch.Tensor) -> torch.Tensor:
        """Overwrite b (d, ..., P) with L⁻¹ b along its first axis, and return it."""
        lower = self.lower
        d = lower.shape[0]
        if d > _POINTS_LAST_MAX_DIM:
            flat = b.reshape(d, -1, b.shape[-1]).permute(2, 0, 1)
            solution = torch.linalg.solve_triangular(lower.permute(2, 0, 1), flat, upper=False)
            return b.copy_(solution.permute(1, 2, 0).reshape(b.shape))
        extra = (1,) * (b.ndim - 2)
        for j in range(d):
            b[j].div_(lower[j, j])
            if j + 1 < d:
                b[j + 1 :].addcmul_(lower[j + 1 :, j].reshape(-1, *extra, b.shape[-1]), b[j], value=-1.0)
        return b


def cholesky(g: torch.Tensor, epsilon: float) -> Factor:
    """Factor g (d, d, P); a pivot below 16 d `epsilon` of its diagonal entry makes a point singular.

    The criterion does not change when a coordinate is rescaled. `epsilon` is the rounding unit of the arithmetic that
    produced g.
    """
    d = g.shape[0]
    diagonal = torch.diagonal(g)  # (P, d)
    if d > _POINTS_LAST_MAX_DIM:
        lower, info = torch.linalg.cholesky_ex(g.permute(2, 0, 1))
        pivots = torch.diagonal(lower, dim1=-2, dim2=-1).square()
        ratio = torch.where(info != 0, 0.0, torch.nan_to_num(pivots / diagonal).amin(dim=-1))
        singular = ratio <= 16 * d * epsilon
        identity = torch.eye(d, dtype=g.dtype, device=g.device)
        return Factor(torch.where(singular[:, None, None], identity, lower).permute(1, 2, 0), singular, ratio)
    if d == 2:
        return _closed_cholesky(g, 16 * d * epsilon)
    threshold = diagonal.T * (16 * d * epsilon)
    lower = g.clone()
    ratios = []
    for j in range(d):
        pivot = lower[j, j]
        ratios.append(pivot / diagonal[:, j])
        pivot.copy_(torch.where(pivot > threshold[j], pivot, 1.0).sqrt_())
        if j + 1 < d:
            column = lower[j + 1 :, j].div_(pivot)
            lower[j + 1 :, j + 1 :].addcmul_(column[:, None], column[None, :], value=-1.0)
    ratio = torch.nan_to_num(torch.stack(ratios).amin(dim=0))  # 0/0 where g = 0
    return Factor(lower, ratio <= 16 * d * epsilon, ratio)


def _closed_cholesky(g: torch.Tensor, tolerance: float) -> Factor:
    """Factor g = [[a, b], [b, c]]: its pivots are a and c − b²/a = c (1 − (b/a)(b/c)), which does not overflow."""
    a, b, c = g[0, 0], g[0, 1], g[1, 1]
    ratio = (1 - (b / a) * (b / c) + 0 * (a + c)).nan_to_num_()  # NaN from 0/0 and from 0 · ∞
    singular = ratio <= tolerance
    lower = torch.where(singular, 1.0, g)
    lower[0, 0].sqrt_()
    lower[1, 0].div_(lower[0, 0])
    lower[1, 1].mul_(torch.where(singular, 1.0, ratio)).sqrt_()
    return Factor(lower, singular, ratio)
