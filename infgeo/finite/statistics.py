"""Running means with standard errors over replicates, and the seed of each replicate."""

from __future__ import annotations

import hashlib

import torch

from infgeo.results import Estimate

# Seeds of torch's CPU generator have 32 bits.
_SEED_BITS = 32


def replicate_seed(seed: int, width: int, index: int) -> int:
    """Return the network seed of replicate `index`, a 32-bit integer.

    seed = mix(base(seed, width) + index mod 2³²), with base from BLAKE2b and mix the finaliser of MurmurHash3. mix is
    a bijection, so that the replicates of one run never share a seed; a replicate's seed does not depend on how many
    others there are, or in which order and where they run.
    """
    digest = hashlib.blake2b(f"infgeo.finite iid seed={seed} width={width}".encode(), digest_size=4).digest()
    h = (int.from_bytes(digest, "little") + index) % 2**_SEED_BITS
    for shift, multiplier in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = ((h ^ (h >> shift)) * multiplier) % 2**_SEED_BITS
    return h ^ (h >> 16)


class RunningMean:
    """Welford's mean and sum of squared deviations, elementwise, in float64."""

    def __init__(self) -> None:
        """Start with no replicates."""
        self.count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, value: torch.Tensor) -> None:
        """Take in one replicate."""
        if self.count == 0:
            self._mean, self._squares = torch.zeros_like(value), torch.zeros_like(value)
        self.count += 1
        delta = value - self._mean
        self._mean += delta / self.count
        self._squares.addcmul_(delta, value - self._mean)

    def estimate(self) -> Estimate:
        """Return the mean and its standard error, sqrt(sample variance / samples)."""
        variance = self._squares / (self.count - 1)
        return Estimate(self._mean, (variance / self.count).sqrt_(), self.count)


class RunningLogMean:
    """Welford's scheme for the mean of exp(l), kept as exp(shift) × mean so that nothing over- or underflows."""

    def __init__(self) -> None:
        """Start with no replicates."""
        self.count = 0
        self._shift = self._mean = self._squares = torch.zeros(())

    def add(self, log_value: torch.Tensor) -> None:
        """Take in one replicate; -inf stands for the value 0."""
        if self.count == 0:
            self._shift = torch.full_like(log_value, -torch.inf)
            self._mean, self._squares = torch.zeros_like(log_value), torch.zeros_like(log_value)
        self.count += 1
        shift = torch.maximum(self._shift, log_value)
        # -inf - -inf is NaN: while every value so far is 0, both the rescaling and the new value are 0
        rescale = torch.nan_to_num((self._shift - shift).exp(), nan=0.0)
        value = torch.nan_to_num((log_value - shift).exp(), nan=0.0)
        self._shift = shift
        self._mean = self._mean * rescale
        self._squares = self._squares * rescale.square()
        delta = value - self._mean
        self._mean += delta / self.count
        self._squares.addcmul_(delta, value - self._mean)

    def estimate(self) -> Estimate:
        """Return log of the mean; its standard error is that of the mean, divided by the mean."""
        error = (self._squares / (self.count - 1) / self.count).sqrt_() / self._mean
        note = "log of the replicate mean; the standard error is the relative standard error of the mean"
        return Estimate(self._shift + self._mean.log(), error, self.count, note=note)
