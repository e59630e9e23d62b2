"""The decision boundary as a level set: where the predicted class changes on a line or on a grid of the plane."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import RegularGridInterpolator

from infgeo.arguments import optional_import, real_number
from infgeo.display import Displayed
from infgeo.errors import InvalidInput
from infgeo.magnification.checks import grid_shape, real_array

_PAIRS_AT_ONCE = 2**17  # of a point and a segment: bounds the memory of `distance`


@dataclass(frozen=True, eq=False, repr=False)
class DecisionBoundary(Displayed):
    """The decision boundary within a line or a grid, in the coordinates that were given.

    `polylines` holds arrays (M, 2) of the vertices of pieces on a grid, closed pieces with the first vertex repeated at
    the end; on a line arrays (1, 1), one for each crossing. `pairs` holds the two classes that each piece separates,
    for scores of one class (0, 1) = (below the level, above it). `classes` are those that win somewhere on the
    grid: one class alone has no boundary. It is true where there is a boundary.
    """

    polylines: tuple[np.ndarray, ...]
    pairs: tuple[tuple[int, int], ...]
    classes: tuple[int, ...]
    dimension: int

    def __bool__(self) -> bool:
        return bool(self.polylines)

    @property
    def length(self) -> float:
        """The total length, in the units of the coordinates; 0 for the crossings of a line."""
        return float(sum(np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for line in self.polylines))

    @property
    def segments(self) -> np.ndarray:
        """All pieces as segments (M, 2, dimension); a crossing of a line is a segment of length 0."""
        ends = [(line[:-1], line[1:]) if len(line) > 1 else (line, line) for line in self.polylines]
        parts = [np.stack(pair, axis=1) for pair in ends]
        return np.concatenate(parts) if parts else np.zeros((0, 2, self.dimension))

    def distance(self, points: ArrayLike) -> np.ndarray:
        """Return the Euclidean distance of points (N, dimension) to the nearest piece, (N,), exact for the polylines.

        |p - a - t (b - a)| with t = clip((p - a).(b - a) / |b - a|^2, 0, 1), the least over all segments (a, b).

        Limits: boundary outside of the grid is not known, nor, for a slice, off the slice: this is an upper bound of
        the distance in the whole space, and an honest one where it is less than the distance to the edge of the grid.

        Raises InvalidInput where there is no boundary, and for points of another dimension.
        """
        p = real_array("points", points, f"(N, {self.dimension})")
        if self.dimension == 1 and p.ndim == 1:
            p = p[:, None]
        if p.ndim != 2 or p.shape[1] != self.dimension:
            raise InvalidInput(
                f"points has shape {p.shape}; the boundary has coordinates of shape (N, {self.dimension})"
            )
        if not self:
            one = f"class {self.classes[0]} is predicted at every point of the grid"
            tied = f"classes {', '.join(map(str, self.classes))} tie wherever one gives way to another"
            raise InvalidInput(
                f"there is no decision boundary: {tied if len(self.classes) > 1 else one}. Take a grid that reaches "
                "the other classes, or leave this network out and say so"
            )
        a, b = np.moveaxis(self.segments, 1, 0)
        along = b - a
        squares = np.maximum((along**2).sum(axis=1), np.finfo(float).tiny)
        nearest = np.empty(len(p))
        rows = max(1, _PAIRS_AT_ONCE // len(a))
        for start in range(0, len(p), rows):
            offsets = [x[:, None] - y for x, y in zip(p[start : start + rows].T, a.T, strict=True)]  # one a coordinate
            t = np.clip(sum(o * d for o, d in zip(offsets, along.T, strict=True)) / squares, 0, 1)
            apart = sum((o - t * d) ** 2 for o, d in zip(offsets, along.T, strict=True))
            nearest[start : start + rows] = np.sqrt(np.min(apart, axis=1))
        return nearest


def decision_boundary(
    coordinates: ArrayLike, scores: ArrayLike, shape: tuple[int, ...] | None = None, *, level: float | None = None
) -> DecisionBoundary:
    """Return where the predicted class changes, as a level set.

    For one score: {score = level}. For k: the union over pairs of classes of {f_i = f_j >= f_l for all l}. The score
    differences f_i - f_j change sign, as the difference of the two top scores does not; each is contoured, and its
    pieces are cut, segment by segment, where a third class wins.

    Args:
        coordinates: (P, 2) of a grid, in either order of its axes and also sheared, or (P,) or (P, 1) along a line, in
            increasing or decreasing order. Distances are Euclidean in these: take orthonormal ones.
        scores: (P, k) of k >= 2 classes, logits rather than probabilities: probabilities that are rounded to 0 and 1
            put the boundary half way between two points of the grid; or (P,) of one class, with `level`.
        shape: (rows, columns) of the grid; not needed on a line.
        level: of one score: 0 for logits, 0.5 for probabilities.

    Domain and limits: scores are interpolated linearly between points of the grid, so that the boundary of linear
    scores is exact, and of smooth ones right to second order in the spacing. What is smaller
    than a cell of the grid is seen only where the interpolated scores show it. Scores that tie over an area have no
    boundary there.

    Raises InvalidInput for shapes that do not fit, NaN and infinities, fewer than two points along an axis and grids
    that fold; MissingExtra without contourpy on a grid.

    Source: arXiv 2301.11375, section 4 (the boundary in the figures); marching squares by contourpy.

    Example:
        >>> import numpy as np
        >>> x, y = np.meshgrid(np.linspace(-2, 2, 41), np.linspace(-2, 2, 41))
        >>> grid = np.stack((x.ravel(), y.ravel()), axis=1)
        >>> circle = decision_boundary(grid, np.hypot(*grid.T), (41, 41), level=1.0)
        >>> len(circle.polylines), round(circle.length / np.pi, 3)
        (1, 1.999)
        >>> print(circle.distance([[0.0, 0.0], [2.0, 0.0], [1.0, 1.0]]).round(3))
        [0.998 1.    0.415]
        >>> corners = decision_boundary(grid, grid @ np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]), (41, 41))
        >>> corners.pairs, round(corners.length, 6)
        (((0, 1), (0, 2), (1, 2)), 7.656854)
    """
    where = real_array("coordinates", coordinates, "(P, 2) or (P,)")
    where = where[:, None] if where.ndim == 1 else where
    if where.ndim != 2 or where.shape[1] not in (1, 2):
        raise InvalidInput(f"coordinates has shape {where.shape}; pass (P, 2) of a grid, or (P,) of a line")
    fields = _fields(scores, len(where), level)
    nodes = _line(where[:, 0], shape) if where.shape[1] == 1 else _grid(where, shape)
    fields = fields.reshape(*nodes.shape[:-1], -1)
    classes, new = set[int](), {int(c) for c in np.unique(fields.argmax(axis=-1))}
    while new:
        classes |= new
        pieces, new = _pieces(nodes, fields, sorted(classes))
    lines, pairs = zip(*pieces, strict=True) if pieces else ((), ())
    return DecisionBoundary(lines, pairs, tuple(sorted(classes)), where.shape[1])


def _fields(scores: ArrayLike, points: int, level: float | None) -> np.ndarray:
    """Return scores of all classes (P, k); one score becomes (level, score), so that class 1 wins above the level."""
    f = real_array("scores", scores, "(P, k)")
    f = f[:, 0] if f.ndim == 2 and f.shape[1] == 1 else f
    if f.ndim not in (1, 2) or f.shape[0] != points:
        raise InvalidInput(
            f"scores has shape {f.shape}; pass ({points}, k), or ({points},) of one class: a row a point"
        )
    if f.ndim == 2:
        if level is not None:
            raise InvalidInput(
                f"level = {level!r} is for scores of one class; with {f.shape[1]} classes the largest wins"
            )
        return f
    if level is None:
        raise InvalidInput("scores has one value a point: pass level=0 for logits or level=0.5 for probabilities")
    return np.stack((np.full_like(f, real_number(level, "level")), f), axis=1)


def _line(t: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """Return the nodes as (P, 1), in order."""
    if shape is not None and grid_shape(shape, t.size) != t.shape:
        raise InvalidInput(f"shape = {shape} for {t.size} points along a line; leave it out")
    if t.size < 2:
        raise InvalidInput(f"coordinates has {t.size} point; a line needs 2 at least")
    step = np.diff(t)
    if not ((step > 0).all() or (step < 0).all()):
        raise InvalidInput("coordinates along a line neither increase nor decrease; sort the points and their scores")
    return t[:, None]


def _grid(where: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """Return the nodes as (rows, columns, 2); every cell of a grid that does not fold turns the same way."""
    sizes = () if shape is None else grid_shape(shape, len(where), least=2)
    if len(sizes) != 2:
        raise InvalidInput(f"shape = {shape!r} for {len(where)} points of the plane; pass (rows, columns) of the grid")
    nodes = where.reshape(*sizes, 2)
    down, right = np.diff(nodes, axis=0), np.diff(nodes, axis=1)
    turns = np.stack(
        [
            d[..., 0] * r[..., 1] - d[..., 1] * r[..., 0]
            for d in (down[:, :-1], down[:, 1:])
            for r in (right[:-1], right[1:])
        ]
    )
    if not ((turns > 0).all() or (turns < 0).all()):
        raise InvalidInput(
            f"coordinates of shape {sizes} are no grid: a cell is empty or folded. Is shape (columns, rows), or are "
            "the points in another order?"
        )
    return nodes


Piece = tuple[np.ndarray, tuple[int, int]]


def _pieces(nodes: np.ndarray, fields: np.ndarray, classes: list[int]) -> tuple[list[Piece], set[int]]:
    """Return the boundary between `classes`, and the other classes that win somewhere on their level sets.

    Level sets and cuts are made in units of the index of the grid, where interpolation is that of the contour library.
    """
    pieces, others = [], set[int]()
    level_sets = _crossings if nodes.ndim == 2 else _contours
    for i, j in combinations(classes, 2):
        for line in level_sets(fields[..., i] - fields[..., j]):
            scores = _interpolate(fields, line)
            top = np.minimum(scores[:, i], scores[:, j])
            rest = [c for c in classes if c not in (i, j)]
            others |= set(scores.argmax(axis=1)[scores.max(axis=1) > np.maximum(scores[:, i], scores[:, j])].tolist())
            for part in _cut(line, top[:, None] - scores[:, rest]):
                pieces.append((_interpolate(nodes, part), (i, j)))
    return pieces, others - set(classes)


def _crossings(z: np.ndarray) -> list[np.ndarray]:
    """Return where z (P,) changes sign, as positions (1, 1) of the index."""
    n = np.flatnonzero((z[:-1] > 0) != (z[1:] > 0))
    return [position.reshape(1, 1) for position in n + z[n] / (z[n] - z[n + 1])]


def _contours(z: np.ndarray) -> list[np.ndarray]:
    """Return the level set z = 0 of z (rows, columns), as polylines (M, 2) of positions (row, column) of the index."""
    with optional_import("the decision boundary on a grid", "magnification"):
        from contourpy import contour_generator
    contours: Any = contour_generator(z=z, line_type="Separate").lines(0.0)
    return [line[:, ::-1] for line in contours]


def _interpolate(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return values (P, k) or (rows, columns, k) at positions (M, 1) or (row, column), (M, 2), of the index: (M, k)."""
    axes = [np.arange(n) for n in values.shape[:-1]]
    return RegularGridInterpolator(axes, values, bounds_error=False, fill_value=None)(index)


def _cut(line: np.ndarray, margins: np.ndarray) -> list[np.ndarray]:
    """Return the parts of a polyline (M, D) where all margins (M, q), linear on each segment, are >= 0."""
    if len(line) == 1 or (margins >= 0).all():
        return [line] if (margins >= 0).all() else []
    parts: list[list[np.ndarray]] = []
    open_end = False  # whether the last part ends at the vertex where the next segment starts
    for a, b, m, n in zip(line[:-1], line[1:], margins[:-1], margins[1:], strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            root = m / (m - n)
        start = float(np.max(root, where=(m < 0) & (n >= 0), initial=0.0))
        stop = float(np.min(root, where=(m >= 0) & (n < 0), initial=1.0))
        if start >= stop or bool(((m < 0) & (n < 0)).any()):
            open_end = False
            continue
        first, last = ((1 - t) * a + t * b if 0 < t < 1 else (b if t else a) for t in (start, stop))
        if open_end:
            parts[-1].append(last)
        else:
            parts.append([first, last])
        open_end = stop == 1
    return [np.array(part) for part in parts]
