"""What a correlation of two fields would be if they had nothing to do with each other: one of them, moved.

Each null moves one field by every element of a group (or by random ones), and the p-value is the rank of the unmoved
correlation among all, itself included. It is exact where moving does not change the joint distribution of the fields.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.interpolate import RegularGridInterpolator

from infgeo.arguments import one_of, seed_integer
from infgeo.errors import InvalidInput

ANGLES = 360
_ROUNDING = 1e-13  # of the transform, in sums of squares
_TIE = 1e-9  # rounding of the transform: correlations that differ by less are equal
_BATCH = 2**22  # numbers of the permuted copies held at once


@dataclass(frozen=True, eq=False)
class Null:
    """A group of moves, the identity among them.

    `p(a, b, kept, sign)` is the one-sided p-value of sign * correlation; a is taken where `kept` alone.
    """

    name: str
    moves: int
    p: Callable[[np.ndarray, np.ndarray, np.ndarray, int], float]


def shifts(shape: tuple[int, ...]) -> Null:
    """Return the cyclic shifts of a grid along all of its axes: the null of stationary fields."""

    def p(a: np.ndarray, b: np.ndarray, kept: np.ndarray, sign: int) -> float:
        weights, left, right = (values.reshape(shape) for values in (kept.astype(float), a, b))
        return rank_p(correlations_under_shifts(left, right, weights, tuple(range(len(shape)))), sign)

    return Null("shifts", int(np.prod(shape)), p)


def permutations(count: int, seed: int) -> Null:
    """Return random permutations of the points that are kept: the null of independent pairs of values."""

    def p(a: np.ndarray, b: np.ndarray, kept: np.ndarray, sign: int) -> float:
        left, right = a[kept] - a[kept].mean(), b[kept] - b[kept].mean()
        rng = np.random.default_rng(seed)
        sums, size = [np.array([left @ right])], max(1, _BATCH // left.size)
        for start in range(0, count, size):
            copies = np.broadcast_to(left, (min(size, count - start), left.size))
            sums.append(rng.permuted(copies, axis=1) @ right)
        return rank_p(np.concatenate(sums) / np.sqrt((left @ left) * (right @ right)), sign)

    return Null("permutations", count + 1, p)


def rank_p(values: np.ndarray, sign: int) -> float:
    """Return the share of `values` that are at least as large as the first, times sign; ties count."""
    return float(np.mean(sign * values >= sign * values[0] - _TIE))


def correlations_under_shifts(
    a: np.ndarray, b: np.ndarray, weights: np.ndarray, axes: tuple[int, ...], row: np.ndarray | None = None
) -> np.ndarray:
    """Return the weighted correlations of a with b moved by all cyclic shifts along `axes`; the first is unmoved.

    corr = (sum w a b' - (sum w a) (sum w b') / W) / sqrt(...) for b' moved b. `weights` are 0 where a is missing and
    elsewhere `row` (default 1), which does not vary along `axes`. By the correlation theorem the sums over all shifts
    are products of Fourier transforms; the mean of b under `row` is taken off first, so that little cancels.
    """
    row = np.ones_like(b) if row is None else row
    others = tuple(axis for axis in range(b.ndim) if axis not in axes)
    total = weights.sum()
    a = np.where(weights > 0, a, 0.0)
    a = np.where(weights > 0, a - (weights * a).sum() / total, 0.0)
    b = b - (row * b).sum() / row.sum()

    def sums(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        product = np.conj(fft.rfftn(left, axes=axes)) * fft.rfftn(right, axes=axes)
        moved = fft.irfftn(product, s=[b.shape[axis] for axis in axes], axes=axes)
        return np.asarray(moved.sum(axis=others)).ravel()

    spread = sums(weights, b**2) - sums(weights, b) ** 2 / total
    # Where the moved b is constant, only rounding is left of its spread, and there is no correlation.
    varies = spread > _ROUNDING * total * np.square(b).max(initial=0.0)
    scale = np.sqrt((weights * a**2).sum() * np.where(varies, spread, 1.0))
    return np.where(varies, sums(weights * a, b) / np.where(scale > 0, scale, 1.0), 0.0)


def rotations(points: np.ndarray, shape: tuple[int, ...]) -> Null | None:
    """Return the rotations by whole degrees about the origin, with and without a reflection, of isotropic fields.

    Both fields are interpolated to a polar grid of the largest disc about the origin in the grid, where a rotation is a
    cyclic shift of the angle. None for points (P, 2) that are no rectangular grid with the origin inside.
    """
    if len(shape) != 2 or points.shape[1] != 2 or min(shape) < 4:
        return None
    axes = (np.unique(points[:, 0]), np.unique(points[:, 1]))
    if sorted(len(axis) for axis in axes) != sorted(shape):
        return None
    order = np.lexsort((points[:, 1], points[:, 0]))
    expected = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    if not np.array_equal(points[order], expected):
        return None
    radius = min(-axes[0][0], axes[0][-1], -axes[1][0], axes[1][-1])
    if radius <= 0:
        return None
    to_grid = order.reshape(len(axes[0]), len(axes[1]))
    rings = max(2, min(len(axis) for axis in axes) // 2)
    r = float(radius) * (np.arange(rings) + 0.5) / rings
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    polar = np.stack((np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle))), axis=-1)

    def p(a: np.ndarray, b: np.ndarray, kept: np.ndarray, sign: int) -> float:
        fields = np.where(kept, a, np.nan), b
        left, right = (RegularGridInterpolator(axes, values[to_grid])(polar) for values in fields)
        weights = np.where(np.isnan(left), 0.0, r[:, None])  # a ring has an area that grows as its radius
        row = r[:, None] * np.ones_like(right)
        turned = correlations_under_shifts(left, right, weights, (1,), row)
        mirrored = correlations_under_shifts(left, right[:, ::-1], weights, (1,), row)
        return rank_p(np.concatenate((turned, mirrored)), sign)

    return Null("rotations", 2 * ANGLES, p)


def choose(
    null: str | None, points: np.ndarray | None, shape: tuple[int, ...] | None, count: int, seed: int
) -> Null | None:
    """Return the null of this name, None for none; "auto" takes rotations, else shifts, else permutations."""
    seed = seed_integer(seed, 63)
    if null is None:
        return None
    null = one_of(null, "null", ("auto", "rotations", "shifts", "permutations"))
    turns = rotations(points, shape) if points is not None and shape is not None else None
    if null == "auto":
        null = "permutations" if shape is None else "rotations" if turns is not None else "shifts"
    if null == "permutations":
        return permutations(count, seed)
    if shape is None:
        raise InvalidInput(f"null = {null!r} moves a field over its grid; pass shape=, the shape of the grid")
    if null == "shifts":
        return shifts(shape)
    if turns is None:
        raise InvalidInput(
            "null = 'rotations' needs points=, (P, 2), of a rectangular grid with the origin inside; pass null='shifts'"
        )
    return turns
