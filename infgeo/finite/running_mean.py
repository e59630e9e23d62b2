"""Running means with standard errors over replicates, which merge in a fixed order; and the seed of each replicate."""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch

from infgeo.display import Displayed
from infgeo.errors import InvalidInput

_SEED_BITS = 32
_ZERO = torch.zeros((), dtype=torch.float64, device="cpu")


@dataclass(frozen=True, repr=False)
class Estimate(Displayed):
    """A Monte Carlo estimate with its standard error.

    `mean` and `standard_error` have equal shape: float64 tensors on the CPU. `samples` is the number of independent
    replicates they come from (so the degrees of freedom are samples - 1). `exact` says that every replicate gave the
    same value by construction (the Ricci scalar of a piecewise linear network), and `note` says why.
    """

    mean: Any
    standard_error: Any
    samples: int
    exact: bool = False
    note: str = ""


def replicate_seed(seed: int, width: int, index: int) -> int:
    """Return the network seed of replicate `index`, a 32-bit integer.

    seed = mix(base(seed, width) + index mod 2³²), with base from BLAKE2b and mix the finaliser of MurmurHash3. mix is
    a bijection, so that the replicates of one run never share a seed; a replicate's seed does not depend on how many
    others there are, or in which order and where they run. The blocks of large networks are counted as replicates are.
    """
    digest = hashlib.blake2b(f"infgeo.finite iid seed={seed} width={width}".encode(), digest_size=4).digest()
    h = (int.from_bytes(digest, "little") + index) % 2**_SEED_BITS
    for shift, multiplier in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = ((h ^ (h >> shift)) * multiplier) % 2**_SEED_BITS
    return h ^ (h >> 16)


class RunningMean:
    """Welford's mean and sum of squared deviations, elementwise, in float64; `log` for the mean of exp(l).

    Of exp(l) they are kept as exp(shift) × mean, so that nothing over- or underflows, and -inf stands for the value 0.
    """

    def __init__(
        self, log: bool = False, count: int = 0, shift: Any = _ZERO, mean: Any = _ZERO, squares: Any = _ZERO
    ) -> None:
        """Start with no replicates, or from a saved `state`."""
        self.log, self.count, self._shift, self._mean, self._squares = log, count, shift, mean, squares

    @property
    def is_whole(self) -> bool:
        """Whether the parts are of one kind and shape, as those of a saved state must be."""
        parts = (self._shift, self._mean, self._squares)
        shapes = {self._mean.shape, torch.Size()} if not self.log else {self._mean.shape}
        return all(part.dtype == torch.float64 and part.shape in shapes for part in parts) and (
            self._squares.shape == self._mean.shape
        )

    @property
    def state(self) -> tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]:
        """All that it holds."""
        return self.count, self._shift, self._mean, self._squares

    def add(self, values: torch.Tensor) -> None:
        """Take in the replicates on the first axis of `values`."""
        shift = _ZERO
        if self.log:
            shift = values.amax(dim=0)
            values = torch.nan_to_num((values - shift).exp(), nan=0.0)
        mean = values.mean(dim=0)
        self.merge(RunningMean(self.log, len(values), shift, mean, (values - mean).square().sum(dim=0)))

    def merge(self, other: "RunningMean") -> None:
        """Take in all that `other` has seen, after what is here (the update of Chan, Golub and LeVeque)."""
        if self.count and self._mean.shape != other._mean.shape:
            raise InvalidInput(
                f"means of shape {tuple(self._mean.shape)} do not go on with {tuple(other._mean.shape)}: remove the"
                " checkpoint, which is not of this run"
            )
        if self.count == 0:
            self.count, self._shift, self._mean, self._squares = other.state
            return
        mean, squares, their_mean, their_squares = self._mean, self._squares, other._mean, other._squares
        if self.log:
            shift = torch.maximum(self._shift, other._shift)
            # -inf - -inf is NaN: where every value so far is 0, the scale does not matter
            ours, theirs = (torch.nan_to_num((s - shift).exp(), nan=0.0) for s in (self._shift, other._shift))
            mean, squares = mean * ours, squares * ours.square()
            their_mean, their_squares = their_mean * theirs, their_squares * theirs.square()
            self._shift = shift
        total = self.count + other.count
        delta = their_mean - mean
        self._mean = mean + delta * (other.count / total)
        self._squares = squares + their_squares + delta.square() * (self.count * other.count / total)
        self.count = total

    def estimate(self) -> Estimate:
        """Return the mean and its standard error, sqrt(sample variance / samples); of exp(l), log and relative ones."""
        error = (self._squares / (self.count - 1) / self.count).sqrt_()
        if not self.log:
            return Estimate(self._mean, error, self.count)
        note = "log of the replicate mean; the standard error is the relative standard error of the mean"
        return Estimate(self._shift + self._mean.log(), error / self._mean, self.count, note=note)
