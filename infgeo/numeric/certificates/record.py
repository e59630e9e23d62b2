"""What is measured of an emitted function."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Certificate:
    """What was measured of one function.

    Args:
        quantity: its name.
        backend, dtype: the arithmetic.
        error: the largest relative error: of a kernel, to the norms of the features; near a zero, to the size there
            (see `accuracy.point_error`). Infinite where the function refuses a point for which it is promised.
        bound: what it must not exceed.
        lengths: the smallest and largest |x| at which it has a value.
        parameters: the values of the scales and parameters that the network leaves open, one set after the other.
        count: the number of points, or of pairs, compared.
    """

    quantity: str
    backend: str
    dtype: str
    error: float
    bound: float
    lengths: tuple[float, float]
    parameters: tuple[tuple[tuple[str, float], ...], ...]
    count: int

    @property
    def holds(self) -> bool:
        """Whether the error is within the bound."""
        return self.error <= self.bound

    def __str__(self) -> str:
        """Return one line."""
        low, high = self.lengths
        sets = "; ".join(", ".join(f"{name} = {value:g}" for name, value in values) for values in self.parameters)
        where = f"|x| from {low:.3g} to {high:.3g}" + (f", {sets}" if sets else "")
        return (
            f"{self.quantity} for {self.backend} in {self.dtype}: relative error {self.error:.2g} (bound"
            f" {self.bound:g}) at {self.count} values, {where}"
        )
