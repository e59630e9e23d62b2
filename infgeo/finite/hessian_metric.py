"""The geometry of one layer from sums over its units: g is a Hessian metric, and T its third derivatives.

    g_μν = Σ_j a_j w_jμ w_jν,   T_μνρ = Σ_j c_j w_jμ w_jν w_jρ,   R = ‖T‖² − ‖tr T‖², norms and trace in g

Both are packed: one row for each monomial w w, then one for each w w w. See `shallow` for a and c.
"""

import math

import torch

from infgeo.finite.gauss_equation import LocalGeometry
from infgeo.finite.linear_algebra import Factor, cholesky, pair_gather, triple_gather, unpack

# A pivot below 64 √ε of its diagonal entry: sums have lost half of their digits, and J has not.
_ILL = 64


def monomial_count(d: int, degree: int) -> int:
    """Return the number of monomials of a degree in d variables."""
    return math.comb(d + degree - 1, degree)


def row_counts(d: int, order: int) -> list[int]:
    """Return the number of rows of g and, for order 2, of T."""
    return [monomial_count(d, degree) for degree in (2, 3)][:order]


def bytes_per_point(d: int, order: int) -> int:
    """Return the bytes that a point takes: float64 sums, then g, its factor and three copies of T while R is made."""
    return 8 * (2 * sum(row_counts(d, order)) + 4 * d * d + (3 * d**3 if order == 2 else 0))


def monomials(w: torch.Tensor, order: int) -> list[torch.Tensor]:
    """Return w w (M, rows, u) and, for order 2, w w w of weights (M, u, d), in the packed order of `linear_algebra`.

    The products with w_i of all that comes no earlier than i stand together, in pairs as in triples: no gathering.
    """
    columns = w.mT.contiguous()  # (M, d, u)
    result = [columns]
    for _ in range(order):
        lower, d = result[-1], columns.shape[1]
        # where the monomials whose first index is at least i begin, among those of one degree less
        starts = [lower.shape[1] - monomial_count(d - i, len(result)) for i in range(d)]
        rows = [lower.shape[1] - start for start in starts]
        product = lower.new_empty(lower.shape[0], sum(rows), lower.shape[2])
        for i, part in enumerate(product.split(rows, dim=1)):
            torch.mul(lower[:, starts[i] :], columns[:, i : i + 1], out=part)
        result.append(product)
    return result[1:]


def geometry_of_sums(
    packed: torch.Tensor, d: int, order: int, ricci: bool, epsilon: float
) -> tuple[LocalGeometry, Factor]:
    """Return the geometry at P points from the packed sums (rows, P), float64, and the Cholesky factor of g.

    `epsilon` is the rounding unit of the arithmetic that produced the sums. Without T, R is 0.
    """
    pairs = row_counts(d, 1)[0]
    g = unpack(packed[:pairs], pair_gather(d))
    factor = cholesky(g, epsilon)
    value: torch.Tensor | None = None
    if order == 2 and d == 2:
        value = _ricci_of_plane(packed[pairs:].clone(), factor.lower)
    elif order == 2:
        t = unpack(packed[pairs:], triple_gather(d))
        for axis in range(3):  # T in an orthonormal frame
            factor.solve_(t.movedim(axis, 0))
        trace = torch.diagonal(t, dim1=1, dim2=2).sum(dim=-1)
        value = t.square_().sum(dim=(0, 1, 2)) - trace.square_().sum(dim=0)
    elif ricci:
        value = torch.where(factor.singular, torch.nan, 0.0).to(torch.float64)
    return LocalGeometry(g.permute(2, 0, 1), factor.log_determinant, value), factor


def _ricci_of_plane(t: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """Return R = 2 (b² + c² − a c − b d), with (a, b, c, d) the packed T (4, P) in an orthonormal frame; t is lost."""
    for count in (3, 2, 1):  # w_1 becomes e_1 = w_1/L_11
        t[:count].div_(lower[0, 0])
    for start in (1, 2, 3):  # w_2 becomes w_2 − L_21 e_1
        t[start:].sub_(lower[1, 0] * t[start - 1 : -1])
    for start in (1, 2, 3):  # and e_2 that over L_22
        t[start:].div_(lower[1, 1])
    a, b, c, d = t
    return 2 * (b * (b - d) + c * (c - a))


def ill_conditioned(factor: Factor, epsilon: float) -> torch.Tensor:
    """Return where (P,) the sums have lost half of their digits."""
    return factor.smallest_pivot < _ILL * epsilon**0.5
