"""Synthetic fields with known statistics: grids, and isotropic Gaussian fields by random waves."""

from __future__ import annotations

import numpy as np


def grid(n: int, m: int | None = None, half: float = 1.0) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the points (n m, 2) of a grid of [-half, half]^2, the first axis in rows, and its shape."""
    m = n if m is None else m
    x, y = np.meshgrid(np.linspace(-half, half, n), np.linspace(-half, half, m), indexing="ij")
    return np.stack((x.ravel(), y.ravel()), axis=1), (n, m)


def waves(points: np.ndarray, length: float, rng: np.random.Generator, count: int = 150) -> np.ndarray:
    """Return a stationary, isotropic field of unit variance with covariance exp(-|x - y|^2 / (2 length^2))."""
    directions = rng.standard_normal((count, points.shape[1])) / length
    phases = rng.uniform(0, 2 * np.pi, count)
    return np.cos(points @ directions.T + phases).sum(axis=1) * np.sqrt(2 / count)
