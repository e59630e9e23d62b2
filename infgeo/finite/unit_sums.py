"""One hidden layer as sums over its units: drawn block by block, so that memory does not grow with the width.

    n k(x, y) = Σ_j φ(z_j(x)) φ(z_j(y)),   n g = Σ_j φ'(z_j)² w_j w_jᵀ,   n T = Σ_j φ'(z_j) φ''(z_j) w_j w_j w_j

Determinants and R are functions of the sums (see `hessian_metric`). Sums are float64, whatever the units are.
Small networks are summed many at a time: every array has a first axis for them, of length M.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import torch

from infgeo.finite.gauss_equation import LocalGeometry, concatenate
from infgeo.finite.hessian_metric import bytes_per_point, geometry_of_sums, ill_conditioned, monomials, row_counts
from infgeo.finite.stack import Elementwise

# Units, and units × points, in one pass: they stay in the cache, and the sums of a pass may be float32.
UNITS_AT_ONCE = 2**11
_ELEMENTS = 2**15
# With so many coordinates a point, a product w' a w for each point costs less than the monomials w w do.
_MANY_COORDINATES = 8


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
