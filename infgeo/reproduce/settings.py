"""The hyperparameters of every figure at every scale, as data: what runs is the same code.

Epochs that are shown are the epochs at which the geometry is measured; the last one is the end of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from infgeo.training.recipe import RECIPES, Recipe


@dataclass(frozen=True)
class CubeRoots:
    """Figure D.1: networks of three hidden units whose weights are the cube roots of unity."""

    biases: tuple[float, ...] = (0.0, 1.0)
    half_width: float = 2.5
    points: int = 161


@dataclass(frozen=True)
class Planar:
    """A perceptron on two-dimensional inputs, in the paper's parametrisation, measured on a square grid around 0.

    `task` is "xor", "noisy_xor" or "sinusoid"; each hidden layer is measured.
    """

    task: str
    widths: tuple[int, ...]
    activation: str
    recipe: Recipe
    shown: tuple[int, ...]
    half_width: float = 1.0
    points: int = 40


@dataclass(frozen=True)
class Panels:
    """A figure of several planar networks, one below the other."""

    rows: tuple[Planar, ...]


def _until(recipe: Recipe, shown: tuple[int, ...]) -> Recipe:
    return replace(recipe, epochs=shown[-1])


_XOR = (0, 100, 500, 2000)
_SINUSOID = (0, 50, 200, 1000, 10_000)

XOR = Panels(
    (
        Planar("xor", (2, 250, 2), "sigmoid", _until(RECIPES["xor"], _XOR), _XOR, 2.0),
        Planar("noisy_xor", (2, 250, 2), "sigmoid", _until(RECIPES["xor"], _XOR), _XOR, 2.0),
    )
)
FIG1 = Panels((Planar("sinusoid", (2, 250, 2), "sigmoid", _until(RECIPES["sinusoid"], _SINUSOID), _SINUSOID),))
DEEP = Panels((Planar("sinusoid", (2, 8, 8, 8, 2), "sigmoid", _until(RECIPES["sinusoid"], _SINUSOID), _SINUSOID),))

SETTINGS: Mapping[tuple[str, str], Any] = {
    ("figD1", "small"): CubeRoots(),
    ("figD1", "paper"): CubeRoots(points=401),
    ("xor", "small"): XOR,
    ("xor", "paper"): XOR,
    ("fig1", "small"): FIG1,
    ("fig1", "paper"): FIG1,
    ("deep", "small"): DEEP,
    ("deep", "paper"): DEEP,
}
