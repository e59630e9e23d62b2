"""The geometry at a batch of points from J and H: the Gauss equation in an orthonormal tangent frame."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch


@dataclass(frozen=True)
class LocalGeometry:
    """The geometry at N points, float64: `metric` (N, d, d); `log_determinant` (N,), -inf where the metric is singular.

    `ricci_scalar` (N,) is None when it was not asked for, and NaN where the metric is singular; `output` (N, C) is that
    of a readout of the features, None where there was none.
    """

    metric: torch.Tensor
    log_determinant: torch.Tensor
    ricci_scalar: torch.Tensor | None = None
    output: torch.Tensor | None = None


Fields = TypeVar("Fields", LocalGeometry, "Spectrum")


def concatenate(parts: Sequence[Fields]) -> Fields:
    """Return what was found at consecutive blocks of points as one."""
    columns: Iterable[tuple[Any, ...]] = zip(*(vars(part).values() for part in parts), strict=True)
    joined: list[Any] = [None if column[0] is None else torch.cat(column) for column in columns]
    return type(parts[0])(*joined)


_GRAM_FROM = 16  # rows or columns: below, a singular value decomposition costs nothing


def _rank_tolerance(jacobian: torch.Tensor) -> float:
    return 16 * math.sqrt(jacobian.shape[-1]) * torch.finfo(jacobian.dtype).eps


@dataclass(frozen=True)
class Spectrum:
    """Singular values of J (P, min(n, d)), descending, the rank of J (P,), and Σ log σ over the first `rank` of them.

    The rank is that of J with columns of length 1, so that it does not change when a coordinate is rescaled; it counts
    singular values above 16 √d ε, ε being the rounding unit of the arithmetic that gave J. The values are those of J as
    it is, with errors of ε times the largest. Where J is not finite, the rank is −1 and the rest is NaN.
    """

    singular_values: torch.Tensor
    rank: torch.Tensor
    log_pseudo_volume: torch.Tensor


def _singular_values(j: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return the singular values of J (P, n, d), float64, whose entries are known to `epsilon`.

    By the eigenvalues of the smaller one of J Jᵀ and JᵀJ where they show that this is safe: squaring puts an error of
    about m ε₆₄ σ₁²/2σ on a value σ, m = min(n, d), which stays below epsilon σ₁/8 at all of them. Elsewhere, and so
    always for J in float64, by a singular value decomposition of J.
    """
    n, d = j.shape[-2:]
    smaller = min(n, d)
    least = 4 * smaller * torch.finfo(torch.float64).eps / epsilon  # of σ/σ₁
    if smaller <= _GRAM_FROM or least >= 1:
        return torch.linalg.svdvals(j)
    largest = j.abs().amax(dim=(-2, -1), keepdim=True)
    scale = torch.where(largest > 0, largest, 1.0)
    scaled = j / scale
    eigenvalues = torch.linalg.eigvalsh(scaled @ scaled.mT if n <= d else scaled.mT @ scaled).flip(-1)
    values = eigenvalues.clamp_min(0.0).sqrt() * scale[..., 0]
    unsafe = ~(values[:, -1] > least * values[:, 0])
    if bool(unsafe.any()):
        values[unsafe] = torch.linalg.svdvals(j[unsafe])
    return values


def spectrum(jacobian: torch.Tensor) -> Spectrum:
    """Return the spectrum of J (P, n, d), in float64."""
    tolerance, j = _rank_tolerance(jacobian), jacobian.to(torch.float64)
    finite = torch.isfinite(j).all(dim=-1).all(dim=-1)
    j = torch.where(finite[:, None, None], j, 0.0)
    values = _singular_values(j, torch.finfo(jacobian.dtype).eps)
    # the triangular factor costs a tenth of the singular values, and keeps the digits of coordinates of other scales
    full = log_determinant(j.to(jacobian.dtype)) / 2
    below = torch.isinf(full)
    rank = torch.full(full.shape, j.shape[-1], device=j.device)
    if j.shape[-2] < j.shape[-1]:
        # scaling columns to length 1 divides the least singular value by their greatest length, or less
        sure = values[:, -1] > tolerance * torch.linalg.vector_norm(j, dim=-2).amax(dim=-1)
        below, rank = below & ~sure, torch.where(sure, j.shape[-2], rank)
    if bool(below.any()):
        columns = j[below] / j[below].abs().amax(dim=-2, keepdim=True)  # NaN where a column is 0
        unit = torch.nan_to_num(columns / torch.linalg.vector_norm(columns, dim=-2, keepdim=True), 0.0)
        rank[below] = (torch.linalg.svdvals(unit) > tolerance).sum(dim=-1)
    counted = torch.arange(values.shape[-1], device=values.device) < rank[:, None]
    log_volume = torch.where(torch.isinf(full), torch.where(counted, values, 1.0).log().sum(dim=-1), full)
    return Spectrum(
        torch.where(finite[:, None], values, torch.nan),
        torch.where(finite, rank, -1),
        torch.where(finite, log_volume, torch.nan),
    )


def few_singular_values(g: torch.Tensor, log_volume: torch.Tensor) -> torch.Tensor:
    """Return one or two singular values (P, k) from the metric, σ_2 as volume/σ_1: no digits cancel."""
    if g.shape[1] == 1:
        return log_volume.exp()[:, None]
    a, b, c = g[:, 0, 0], g[:, 0, 1], g[:, 1, 1]
    largest = ((a + c) / 2 + torch.hypot((a - c) / 2, b)).sqrt()
    smallest = (log_volume - largest.log()).exp()
    return torch.stack((largest, torch.where(largest > 0, smallest, largest)), dim=-1)


@dataclass(frozen=True)
class Frame:
    """J = Q S at P points: the columns of Q (P, n, d) are orthonormal, S (P, d, d) is upper triangular.

    g⁻¹ is never formed: the condition number is that of J instead of g = JᵀJ, and log det g = 2 Σ log |S_ii|. Where
    the metric is `singular` (P,), `inverse` is that of some other matrix, and finite.
    """

    q: torch.Tensor
    s: torch.Tensor
    inverse: torch.Tensor
    singular: torch.Tensor
    log_determinant: torch.Tensor

    def normal(self, h: torch.Tensor) -> torch.Tensor:
        """Return the part of h (P, n, m) normal to the image of J."""
        return torch.baddbmm(h, self.q, self.q.mT @ h, alpha=-1.0)

    def known(self, value: torch.Tensor) -> torch.Tensor:
        """Return `value` (P, ...), NaN where the metric is singular."""
        return torch.where(self.singular.reshape(-1, *(1,) * (value.ndim - 1)), torch.nan, value)

    def second_form(self, hessian: torch.Tensor) -> torch.Tensor:
        """Return II (P, n, d, d) = (1 − J g⁻¹ Jᵀ) H in the orthonormal frame."""
        return self.normal(_contracted(hessian, self.inverse)).reshape(-1, *hessian.shape[1:])


def _contracted(h: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Return symmetric h (P, n, d, d), contracted with `inverse` (P, d, d) along both of its last axes, (P, n, d²)."""
    n, d = h.shape[1:3]
    once = h.to(torch.float64).reshape(-1, n * d, d) @ inverse
    return (once.reshape(-1, n, d, d).mT.reshape(-1, n * d, d) @ inverse).reshape(-1, n, d * d)


def frame(jacobian: torch.Tensor, mode: str = "reduced") -> Frame:
    """Return the orthonormal tangent frame of J (P, n, d), n >= d; with mode "r" its Q is empty."""
    tolerance, j = _rank_tolerance(jacobian), jacobian.to(torch.float64)
    largest = j.abs().amax(dim=-2, keepdim=True)  # so that squares neither over- nor underflow
    scale = torch.where(largest > 0, largest, 1.0)
    q, s = torch.linalg.qr(j / scale, mode=mode)
    pivots = torch.diagonal(s, dim1=-2, dim2=-1).abs()
    length = torch.linalg.vector_norm(s, dim=-2, keepdim=True)
    singular = ~(pivots > tolerance * length[:, 0]).all(dim=-1)  # also where J is not finite
    identity = torch.eye(j.shape[-1], dtype=s.dtype, device=s.device)
    unit = torch.where(singular[:, None, None], identity, s / length)
    inverse = torch.linalg.solve_triangular(unit, identity.expand_as(s), upper=True)
    # pivots bound the least singular value from above, and the norm of the inverse bounds it from below
    doubtful = torch.linalg.matrix_norm(inverse) > 1 / tolerance
    if bool(doubtful.any()):
        singular[doubtful] = torch.linalg.svdvals(unit[doubtful])[:, -1] <= tolerance
    logs = torch.where(singular[:, None], 1.0, pivots * scale[:, 0]).log()
    log_determinant = torch.where(singular, -torch.inf, 2.0 * logs.sum(dim=-1))
    lengths = torch.where(singular[:, None, None], 1.0, length * scale)
    return Frame(q, s * scale, inverse / lengths.mT, singular, log_determinant)


def log_determinant(jacobian: torch.Tensor) -> torch.Tensor:
    """Return log det JᵀJ (P,), -inf where it is singular, without the metric."""
    if jacobian.shape[-2] < jacobian.shape[-1]:
        return torch.full(jacobian.shape[:1], -torch.inf, dtype=torch.float64, device=jacobian.device)
    return frame(jacobian, "r").log_determinant


def log_volume(jacobian: torch.Tensor) -> torch.Tensor:
    """Return log √det JᵀJ (P,), −inf where it is singular and NaN where J is not finite."""
    finite = torch.isfinite(jacobian).all(dim=-1).all(dim=-1)
    return torch.where(finite, log_determinant(jacobian) / 2, torch.nan)


def by_gauss_equation(
    jacobian: torch.Tensor, hessian: torch.Tensor | None, ricci: bool, is_flat: bool = False
) -> LocalGeometry:
    """Return the induced geometry of an immersion from J = ∂Φ (P, n, d) and H = ∂²Φ (P, n, d, d)."""
    j = jacobian.to(torch.float64)
    n, d = j.shape[-2:]
    metric = j.mT @ j
    if not ricci or n < d:
        logs = log_determinant(jacobian)
        return LocalGeometry(metric, logs, torch.full_like(logs, torch.nan) if ricci else None)
    if d == 1 or is_flat:
        tangent = frame(jacobian, "r")
        return LocalGeometry(metric, tangent.log_determinant, tangent.known(metric.new_zeros(len(metric))))
    assert hessian is not None
    tangent = frame(jacobian)
    return LocalGeometry(metric, tangent.log_determinant, tangent.known(scalar(tangent.second_form(hessian))))


def scalar(form: torch.Tensor) -> torch.Tensor:
    """Return R = |tr II|² − |II|² (P,) of the second form (P, n, d, d) in an orthonormal frame."""
    trace = torch.diagonal(form, dim1=-2, dim2=-1).sum(dim=-1)
    return trace.square().sum(dim=-1) - form.square().sum(dim=(-3, -2, -1))


def ricci_tensor(jacobian: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return Ric_ij (P, d, d) = tr_g II · II_ij − g^kl II_ik · II_jl, NaN where the metric is singular."""
    tangent = frame(jacobian)
    form = tangent.second_form(hessian)
    n, d = form.shape[1], form.shape[-1]
    trace = torch.diagonal(form, dim1=-2, dim2=-1).sum(dim=-1)
    columns = form.movedim(-1, 1).reshape(-1, d, n * d)
    ricci = (trace[:, :, None, None] * form).sum(dim=1) - columns @ columns.mT
    ricci = tangent.s.mT @ ricci @ tangent.s
    return tangent.known((ricci + ricci.mT) / 2)


def christoffel(jacobian: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return Γ^k_ij (P, d, d, d), index [k, i, j]: g^km Φ_m · ∂_i∂_jΦ, NaN where the metric is singular."""
    tangent = frame(jacobian)
    n, d = tangent.q.shape[-2:]
    gamma = tangent.inverse @ (tangent.q.mT @ hessian.to(torch.float64).reshape(-1, n, d * d))
    return tangent.known(gamma.reshape(-1, d, d, d))


def second_fundamental_form(jacobian: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return II_ij (P, n, d, d) in coordinates, a normal vector for each i, j; NaN where the metric is singular."""
    tangent = frame(jacobian)
    n, d = tangent.q.shape[-2:]
    return tangent.known(tangent.normal(hessian.to(torch.float64).reshape(-1, n, d * d)).reshape(-1, n, d, d))


def mean_curvature_vector(jacobian: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Return tr_g II / d (P, n); NaN where the metric is singular."""
    tangent = frame(jacobian)
    return tangent.known(tangent.second_form(hessian).diagonal(dim1=-2, dim2=-1).mean(dim=-1))


def sectional_curvature(jacobian: torch.Tensor, plane: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return K (P,) of the plane spanned by two vectors, in the metric of J (P, n, d).

    `plane` (P, n, 2) holds J u and J v, `second` (P, n, 2, 2) the second derivatives along u and v. In an orthonormal
    basis of the plane K = II_11 · II_22 − |II_12|², with II normal to the whole image of J. NaN where the metric is
    singular, or u and v are parallel.
    """
    tangent, inside = frame(jacobian), frame(plane)
    form = tangent.normal(_contracted(second, inside.inverse))
    value = (form[..., 0] * form[..., 3]).sum(dim=-1) - (form[..., 1] * form[..., 2]).sum(dim=-1)
    return tangent.known(inside.known(value))
