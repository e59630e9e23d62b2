"""A feature map with what is known about it, on which the fastest route to its geometry depends."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from infgeo.finite.differentiate import Way
from infgeo.finite.feature_map import FeatureMap, SlicedMap
from infgeo.finite.stack import Stack


@dataclass(frozen=True)
class Source:
    """A feature map that may be measured, or a slice of one.

    `width` is its number n of features, `largest` the size of the largest array of a forward pass at one point, in
    numbers. `stack` is one that gives what the features give. `flat` says that the features are linear off their kinks.
    `note` says of which precision they are, where it is not that of their dtype. `ways` are those that have been chosen
    for J, and for J with H, where it is measured many times. Where the stack has one layer, `readout` (C, n) is applied
    to the features, too.
    """

    feature_map: FeatureMap | SlicedMap
    stack: Stack | None
    width: int
    largest: int
    flat: bool = False
    note: str = ""
    ways: tuple[Way | None, Way | None] = (None, None)
    readout: torch.Tensor | None = None

    def sliced(self, origin: torch.Tensor, directions: torch.Tensor) -> Source:
        """Return the source on the slice t (B, k) -> origin + Σ t_a direction_a; origin (d,), directions (k, d)."""
        assert isinstance(self.feature_map, FeatureMap)
        stack = None if self.stack is None else self.stack.sliced(origin, directions)
        largest = max(self.largest, math.prod(self.feature_map.input_shape))
        return replace(self, feature_map=SlicedMap(self.feature_map, origin, directions), stack=stack, largest=largest)
