"""The hyperparameters of every figure at every scale, as data: what runs is the same code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CubeRoots:
    """Figure D.1: networks of three hidden units whose weights are the cube roots of unity."""

    biases: tuple[float, ...] = (0.0, 1.0)
    half_width: float = 2.5
    points: int = 161


SETTINGS: Mapping[tuple[str, str], Any] = {
    ("figD1", "small"): CubeRoots(),
    ("figD1", "paper"): CubeRoots(points=401),
}
