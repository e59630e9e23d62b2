"""One hidden layer as sums over its units, drawn block by block, so that memory does not grow with the width.

    n k(x, y) = Σ_j φ(z_j(x)) φ(z_j(y)),   n g = Σ_j φ'(z_j)² w_j w_jᵀ,   n T = Σ_j φ'(z_j) φ''(z_j) w_j w_j w_j

g is a Hessian metric, and T its third derivatives: R = ‖T‖² − ‖tr T‖², norms and trace in g. Both are packed, one row
for each monomial w w, then one for each w w w. Sums are float64, whatever the units are. Small networks are summed many
at a time: every array has a first axis for them, of length M.

LAPACK called on thousands of tiny matrices spends its time on calls: with the points on the last axis, elimination
takes O(d) vectorised operations however many points there are.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from itertools import permutations
from operator import add
from typing import Any

import torch

from infgeo.finite.gauss_equation import LocalGeometry, concatenate
from infgeo.finite.stack import Elementwise

# Units, and units × points, in one pass: they stay in the cache, and the sums of a pass may be float32.
UNITS_AT_ONCE = 2**11
_ELEMENTS = 2**15
# With so many coordinates a point, a product w' a w for each point costs less than the monomials w w do.
_MANY_COORDINATES = 8
_ILL = 64  # a pivot below 64 √ε of its diagonal entry: sums have lost half of their digits, and J has not
_POINTS_LAST_MAX_DIM = 16  # above, one LAPACK call per point is the faster way (measured on 1600 points)


@dataclass(frozen=True)
class UnitSums:
    """Sums over `units` units of M networks: `kernel` (M, N, N), `packed` (M, rows, N), monomials of g, then of T."""

    units: int
    kernel: torch.Tensor | None = None
    packed: torch.Tensor | None = None

    def cpu(self) -> "UnitSums":
        """Return the sums on the CPU, where those of all workers are added."""
        return UnitSums(self.units, *(a if a is None else a.cpu() for a in (self.kernel, self.packed)))

    def __add__(self, other: "UnitSums") -> "UnitSums":
        both = ((self.kernel, other.kernel), (self.packed, other.packed))
        return UnitSums(self.units + other.units, *(None if a is None or b is None else a + b for a, b in both))


def total(parts: Sequence[UnitSums]) -> UnitSums:
    """Return the sums of all parts, added in order."""
    return reduce(add, parts)


def sum_units(
    activation: Elementwise,
    units: Iterator[tuple[torch.Tensor, torch.Tensor]],
    x: torch.Tensor,
    kernel: bool,
    order: int,
    memory_budget: int,
    readout: torch.Tensor | None = None,
) -> UnitSums:
    """Return the sums of `units` (w (M, u, d), b (M, u)) at x (N, d); `order` 0 leaves out g, 1 takes g, 2 g and T.

    With a `readout` V (C, n) the rows of V φ come first in `packed`.
    """
    count, d = x.shape
    sizes = row_counts(d, order) if readout is None else [len(readout), *row_counts(d, order)]
    rows = sum(sizes)
    done, gram, packed = 0, None, None
    for weight, bias in units:
        networks = weight.shape[0]
        if done == 0:
            here: dict[str, Any] = {"dtype": torch.float64, "device": x.device}
            gram = torch.zeros(networks, count, count, **here) if kernel else None
            packed = torch.zeros(networks, rows, count, **here) if order else None
        # of the budget: half for the monomials and their products, half for functions of the preactivations
        most = memory_budget // (2 * x.element_size() * networks)
        step = max(1, min(weight.shape[1], UNITS_AT_ONCE // networks, most // (4 * d + 2 * rows)))
        points = max(1, min(_ELEMENTS // (networks * step), most // (6 * step)))
        for u in range(0, weight.shape[1], step):
            w, b = weight[:, u : u + step], bias[:, u : u + step, None]
            read = [] if readout is None else [readout[None, :, done : done + w.shape[1]]]
            done += w.shape[1]
            z = partial(_preactivations, w, b)
            if gram is not None:
                add_gram(gram, lambda at, z=z: activation(z(at)), x, max(1, most // (4 * step)))  # type: ignore[misc]
            if packed is not None and order == 1 and readout is None and d > _MANY_COORDINATES * count:
                i, j = torch.triu_indices(d, d, device=w.device)
                for p in range(count):
                    ((factor, values),) = activation.products(z(x[p : p + 1]), 1)
                    packed[:, :, p].add_(torch.bmm((w * values).mT, w)[:, i, j], alpha=factor)
            elif packed is not None:
                factors = read + monomials(w, order)
                for p in range(0, count, points):
                    products = activation.products(z(x[p : p + points]), order, readout is not None)
                    parts = packed[..., p : p + points].split(sizes, dim=1)
                    for (factor, values), m, part in zip(products, factors, parts, strict=True):
                        part.add_(torch.bmm(m, values), alpha=factor)
    return UnitSums(done, gram, packed)


def add_gram(
    gram: torch.Tensor, features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, points: int
) -> None:
    """Add Φ(x_i)·Φ(x_j) to gram (..., N, N), Φ being `features` (p, d) -> (..., n, p), in blocks of points."""
    for i in range(0, x.shape[0], points):
        rows = features(x[i : i + points])
        for j in range(0, i + 1, points):
            block = rows.mT @ (rows if j == i else features(x[j : j + points]))
            gram[..., i : i + points, j : j + points] += block
            if j < i:
                gram[..., j : j + points, i : i + points] += block.mT


def _preactivations(w: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return z (M, u, P) at x (P, d)."""
    return torch.baddbmm(b, w, x.T.expand(w.shape[0], -1, -1))


@lru_cache(maxsize=64)
def gather(d: int, degree: int) -> torch.Tensor:
    """Return the table (d, d) or (d, d, d) of the positions of monomials of a degree in their packed order."""
    indices = torch.combinations(torch.arange(d, device="cpu"), r=degree, with_replacement=True).T
    table = torch.empty((d,) * degree, dtype=torch.long, device="cpu")
    for axes in permutations(indices):
        table[axes] = torch.arange(indices.shape[1], device="cpu")
    return table


def _unpack(packed: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return `packed` (m, P) with its first axis spread over the axes of `table`: (d, d, P) or (d, d, d, P)."""
    return packed.index_select(0, table.reshape(-1).to(packed.device)).reshape(*table.shape, -1)


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
            b[j + 1 :].addcmul_(lower[j + 1 :, j].reshape(-1, *extra, b.shape[-1]), b[j], value=-1.0)
        return b


def cholesky(g: torch.Tensor, epsilon: float) -> Factor:
    """Factor g (d, d, P), known to `epsilon`: a pivot below 16 d of it, times the diagonal entry, makes it singular."""
    d = g.shape[0]
    diagonal, tolerance = torch.diagonal(g).T, 16 * d * epsilon  # (d, P)
    if d > _POINTS_LAST_MAX_DIM:
        lower, info = torch.linalg.cholesky_ex(g.permute(2, 0, 1))
        lower = lower.permute(1, 2, 0)
        ratios = torch.where(info != 0, 0.0, torch.diagonal(lower).T.square() / diagonal)
    else:
        lower, ratios = g.clone(), torch.empty_like(diagonal)
        for j in range(d):
            pivot = lower[j, j]
            ratios[j] = pivot / diagonal[j]
            pivot.copy_(torch.where(pivot > tolerance * diagonal[j], pivot, 1.0).sqrt_())
            column = lower[j + 1 :, j].div_(pivot)
            lower[j + 1 :, j + 1 :].addcmul_(column[:, None], column[None, :], value=-1.0)
    ratio = torch.nan_to_num(ratios.amin(dim=0))  # 0/0 where g = 0
    singular = ratio <= tolerance
    return Factor(torch.where(singular, 1.0, lower), singular, ratio)


def row_counts(d: int, order: int) -> list[int]:
    """Return the number of rows of g and, for order 2, of T."""
    return [math.comb(d + 1, 2), math.comb(d + 2, 3)][:order]


def bytes_per_point(d: int, order: int) -> int:
    """Return the bytes that a point takes: float64 sums, then g, its factor and three copies of T while R is made."""
    return 8 * (2 * sum(row_counts(d, order)) + 4 * d * d + (3 * d**3 if order == 2 else 0))


def monomials(w: torch.Tensor, order: int) -> list[torch.Tensor]:
    """Return w w (M, rows, u) and, for order 2, w w w of weights (M, u, d), packed."""
    columns = w.mT.contiguous()  # (M, d, u)
    result = [columns]
    for _ in range(order):
        lower, d = result[-1], columns.shape[1]
        # where the monomials whose first index is at least i begin, among those of one degree less
        starts = [lower.shape[1] - math.comb(d - i + len(result) - 1, len(result)) for i in range(d)]
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
    g = _unpack(packed[:pairs], gather(d, 2))
    factor = cholesky(g, epsilon)
    value: torch.Tensor | None = None
    if order == 2:
        t = _unpack(packed[pairs:], gather(d, 3))
        for axis in range(3):  # T in an orthonormal frame
            factor.solve_(t.movedim(axis, 0))
        trace = torch.diagonal(t, dim1=1, dim2=2).sum(dim=-1)
        value = t.square_().sum(dim=(0, 1, 2)) - trace.square_().sum(dim=0)
    elif ricci:
        value = torch.where(factor.singular, torch.nan, 0.0).to(torch.float64)
    return LocalGeometry(g.permute(2, 0, 1), factor.log_determinant, value), factor


def ill_conditioned(factor: Factor, epsilon: float) -> torch.Tensor:
    """Return where (P,) the sums have lost half of their digits."""
    return factor.smallest_pivot < _ILL * epsilon**0.5


def geometry_of(
    packed: torch.Tensor, d: int, order: int, ricci: bool, epsilon: float, memory_budget: int
) -> tuple[LocalGeometry, torch.Tensor]:
    """Return the geometry at P points from the means over units (rows, P), and where it has lost half of its digits."""
    blocks, ill = [], []
    for block in packed.split(max(1, memory_budget // 2 // bytes_per_point(d, order)), dim=1):
        geometry, factor = geometry_of_sums(block, d, order, ricci, epsilon)
        blocks.append(geometry)
        ill.append(ill_conditioned(factor, epsilon))
    return concatenate(blocks), torch.cat(ill)
