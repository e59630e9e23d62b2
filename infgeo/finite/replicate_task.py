"""What all replicates of a Monte Carlo run share, and the units that each of them is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from infgeo.finite.running_mean import replicate_seed
from infgeo.finite.sampled_network import NetworkSpecification
from infgeo.finite.samplers import block_units, first_layer, principal_axes
from infgeo.finite.shallow import prefers_gram

QUANTITIES = (
    "kernel",
    "metric",
    "metric_radial",
    "metric_tangential",
    "log_mean_det_metric",
    "volume_element",
    "log_volume_element",
    "ricci_scalar",
)
# Functions of means over units that are not linear: biased at O(1/n).
CORRECTED = ("volume_element", "log_volume_element", "ricci_scalar")


@dataclass(frozen=True)
class ReplicateTask:
    """What every replicate of one run shares. Arrays are NumPy's, which pickle by value between processes."""

    specification: NetworkSpecification
    x: Any  # (N, d) float64
    width: int
    seed: int
    quantities: tuple[str, ...]
    dtype: torch.dtype
    device: str
    memory_budget: int
    sampler: str = "iid"
    bias_correction: bool = False

    @property
    def input_dim(self) -> int:
        """Number d of coordinates."""
        return int(self.x.shape[1])

    @cached_property
    def is_sum(self) -> bool:
        """Whether all that is asked for follows from sums over independent units."""
        return self.specification.is_one_layer and not (self.order == 2 and prefers_gram(self.width, self.input_dim))

    @property
    def order(self) -> int:
        """The order of derivatives: 0 for the kernel alone, 2 where R is not 0 by construction, 1 for the metric."""
        if not set(self.quantities) - {"kernel"}:
            return 0
        curved = "ricci_scalar" in self.quantities and self.input_dim > 1
        return 2 if curved and not self.specification.piecewise_linear else 1

    @cached_property
    def block(self) -> int:
        """Number of units that share a seed."""
        return block_units(self.sampler, self.input_dim) if self.is_sum else self.width

    @property
    def blocks(self) -> int:
        """Number of blocks of a network."""
        return -(-self.width // self.block)

    @cached_property
    def half(self) -> int:
        """Number of units in the first half of a network, 0 where there is no correction of the bias."""
        if not self.bias_correction or not set(CORRECTED) & set(self.quantities):
            return 0
        half = self.block * (self.blocks // 2) if self.blocks > 1 else self.width // 2
        return half if min(half, self.width - half) >= self.input_dim else 0

    @property
    def parts(self) -> list[slice]:
        """The units of the whole network and, where its bias is corrected, of its halves."""
        halves = [slice(0, self.half), slice(self.half, self.width)] if self.half else []
        return [slice(0, self.width), *halves]

    @cached_property
    def axes(self) -> Any:
        """Directions for the coordinates of a Sobol sequence, an array (k, k), or None."""
        if self.sampler != "sobol":
            return None
        spec = self.specification
        axes = principal_axes(torch.from_numpy(self.x), spec.first_scale(self.input_dim), spec.bias_std)
        return None if axes is None else axes.numpy()

    @property
    def where(self) -> dict[str, Any]:
        """Keyword arguments of the tensors."""
        return {"dtype": self.dtype, "device": self.device}

    def points(self) -> torch.Tensor:
        """Return x in the dtype and on the device of the run."""
        return torch.from_numpy(self.x).to(**self.where)

    def units(self, index: int, block: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the weights (u, d) and biases (u,) of a block of the first layer of replicate `index`."""
        seed = replicate_seed(self.seed, self.width, index * self.blocks + block)
        count = min(self.block, self.width - block * self.block)
        spec, d = self.specification, self.input_dim
        axes = None if self.axes is None else torch.from_numpy(self.axes)
        for w, b in first_layer(self.sampler, seed, count, d, spec.bias_std > 0, self.dtype, axes):
            yield w.mul_(spec.first_scale(d)).to(self.device), b.mul_(spec.bias_std).to(self.device)

    def whole_block(self, index: int, block: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all weights (u, d) and biases (u,) of a block at once."""
        w, b = zip(*self.units(index, block), strict=True)
        return (w[0], b[0]) if len(w) == 1 else (torch.cat(w), torch.cat(b))
