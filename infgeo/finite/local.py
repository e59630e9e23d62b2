"""What every route computes at a batch of points, and the Gauss equation that all but the one-layer route use."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class LocalGeometry:
    """The geometry at N points, float64: `metric` (N, d, d); `log_determinant` (N,), -inf where the metric is singular.

    `ricci_scalar` (N,) is None when it was not asked for, and NaN where the metric is singular.
    """

    metric: torch.Tensor
    log_determinant: torch.Tensor
    ricci_scalar: torch.Tensor | None = None


def concatenate(parts: list[LocalGeometry]) -> LocalGeometry:
    """Return the geometry of consecutive blocks of points as one."""
    if len(parts) == 1:
        return parts[0]
    ricci = [p.ricci_scalar for p in parts if p.ricci_scalar is not None]
    return LocalGeometry(
        torch.cat([p.metric for p in parts]),
        torch.cat([p.log_determinant for p in parts]),
        torch.cat(ricci) if ricci else None,
    )


def flat(singular: torch.Tensor) -> torch.Tensor:
    """Return the Ricci scalar 0, and NaN at singular points."""
    zero = torch.zeros(singular.shape, dtype=torch.float64, device=singular.device)
    return torch.where(singular, torch.nan, zero)


def gauss_equation(
    jacobian: torch.Tensor, hessian: torch.Tensor | None, ricci: bool, is_flat: bool = False
) -> LocalGeometry:
    """Return the induced geometry of an immersion from J = ∂Φ (N, n, d) and H = ∂²Φ (N, n, d, d).

    II = (1 − J g⁻¹ Jᵀ) H is the second fundamental form, and R = |tr_g II|² − |II|²_g, positive on spheres. With
    J = Q S the columns of Q are an orthonormal tangent frame, so that g⁻¹ is never formed, the condition number is
    that of J instead of g = JᵀJ, and log det g = 2 Σ log |S_ii|.
    """
    epsilon = torch.finfo(jacobian.dtype).eps
    j = jacobian.to(torch.float64)
    n, d = j.shape[-2:]
    metric = j.mT @ j
    if n < d:
        nothing = torch.full(j.shape[:1], -torch.inf, dtype=torch.float64, device=j.device)
        return LocalGeometry(metric, nothing, nothing.new_full(nothing.shape, torch.nan) if ricci else None)
    curved = ricci and d > 1 and not is_flat
    q, s = torch.linalg.qr(j, mode="reduced" if curved else "r")
    pivots = torch.diagonal(s, dim1=-2, dim2=-1).abs()
    singular = ~(pivots > 16 * d * epsilon * torch.linalg.vector_norm(j, dim=-2)).all(dim=-1)
    log_determinant = torch.where(singular, -torch.inf, 2.0 * pivots.log().sum(dim=-1))
    if not ricci:
        return LocalGeometry(metric, log_determinant)
    if not curved:
        return LocalGeometry(metric, log_determinant, flat(singular))
    assert hessian is not None
    identity = torch.eye(d, dtype=j.dtype, device=j.device)
    s = torch.where(singular[:, None, None], identity, s)
    inverse = torch.linalg.solve_triangular(s, identity.expand_as(s), upper=True)
    # H in the orthonormal frame: contract the last axis, swap, contract again (H is symmetric).
    h = hessian.to(torch.float64).reshape(-1, n * d, d) @ inverse
    h = (h.reshape(-1, n, d, d).mT.reshape(-1, n * d, d) @ inverse).reshape(-1, n, d * d)
    normal = (h - q @ (q.mT @ h)).reshape(-1, n, d, d)
    trace = torch.diagonal(normal, dim1=-2, dim2=-1).sum(dim=-1)
    value = trace.square().sum(dim=-1) - normal.square().sum(dim=(-3, -2, -1))
    return LocalGeometry(metric, log_determinant, torch.where(singular, torch.nan, value))
