"""Where a network is looked at: points, a line or plane through inputs, a grid over two-dimensional inputs.

A line or plane is an affine map from a few coordinates to inputs ("pixel space") and back:

    x(c) = origin + Σ_a c_a direction_a,        c_a(x) = ⟨x − origin, direction_a⟩ / |direction_a|²

The directions are orthogonal, so c(x) is the orthogonal projection. On a plane they have length 1, and a distance or
area in coordinates is one in pixel space; on a line the direction is x1 − x0, and c = t is 0 at x0 and 1 at x1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import ArrayLike

from infgeo.arguments import one_of, positive_integer, real_number
from infgeo.display import Displayed
from infgeo.errors import InvalidInput
from infgeo.finite.inputs import as_points

_COLLINEAR = 1e-6  # height of a triangle over its longest side; images are float32 mostly


@dataclass(frozen=True, eq=False, repr=False)
class Probe(Displayed):
    """P inputs with coordinates. Build it with `points`, `line`, `plane` or `grid`; tensors are float64 on the CPU.

    Args:
        name: what its records are called.
        kind: "points", "line", "plane" or "grid".
        input_shape: shape of one input.
        coordinates: (P, k); of "points", the inputs themselves, flattened (k = d).
        shape: of an array with one number a point: (rows, columns) where the points are a grid, else (P,). The first
            coordinate runs along the columns, as pictures have it: `values.reshape(probe.shape)` can be drawn.
        origin: the input at coordinates 0, of shape `input_shape`.
        directions: (k, *input_shape), orthogonal. None for "points".
        anchors: the inputs that span a line (x0, x1) or plane (x0, x1, x2), (k + 1, *input_shape); None elsewhere.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    coordinates: torch.Tensor = field(repr=False)
    shape: tuple[int, ...]
    origin: torch.Tensor | None = field(default=None, repr=False)
    directions: torch.Tensor | None = field(default=None, repr=False)
    anchors: torch.Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def is_slice(self) -> bool:
        """Whether it is a line or plane in an input space of more dimensions."""
        return self.kind in ("line", "plane")

    @property
    def inputs(self) -> torch.Tensor:
        """The inputs (P, *input_shape), made anew on each access: a plane of images is large."""
        return self.inputs_at(self.coordinates)

    @property
    def scale(self) -> torch.Tensor:
        """Lengths of the directions (k,): lengths in pixel space of one unit of each coordinate."""
        if self.directions is None:
            return self.coordinates.new_ones(self.coordinates.shape[1])
        return torch.linalg.vector_norm(self.directions.flatten(1), dim=1)

    @property
    def barycentric(self) -> torch.Tensor:
        """Barycentric coordinates of the points (P, k + 1): weights of the anchors, of sum 1."""
        return self.barycentric_of(self.coordinates)

    def inputs_at(self, coordinates: ArrayLike) -> torch.Tensor:
        """Return the inputs (..., *input_shape) at `coordinates` (..., k)."""
        c = self._checked(coordinates)
        if self.directions is None or self.origin is None:
            return c.reshape(*c.shape[:-1], *self.input_shape)
        flat = self.origin.reshape(-1) + c @ self.directions.flatten(1)
        return flat.reshape(*c.shape[:-1], *self.input_shape)

    def coordinates_of(self, inputs: Any) -> torch.Tensor:
        """Return the coordinates (..., k) of `inputs` (..., *input_shape), projected orthogonally where outside."""
        x = as_points(inputs, name="inputs").to("cpu", torch.float64)
        axes = len(self.input_shape)
        if tuple(x.shape[x.ndim - axes :]) != self.input_shape:
            raise InvalidInput(f"inputs has shape {tuple(x.shape)}; pass inputs of shape (..., *{self.input_shape})")
        flat = x.reshape(*x.shape[: x.ndim - axes], -1)
        if self.directions is None or self.origin is None:
            return flat
        return (flat - self.origin.reshape(-1)) @ self.directions.flatten(1).T / self.scale.square()

    def barycentric_of(self, coordinates: ArrayLike) -> torch.Tensor:
        """Return weights b (..., k + 1) of sum 1 with x = Σ b_i anchor_i, at `coordinates` (..., k).

        Inside the segment or triangle all are positive. Raises InvalidInput where there are no anchors.
        """
        if self.anchors is None:
            raise InvalidInput(f"probe {self.name!r} is {self.kind}, which has no anchors; use a line or plane")
        c, corners = self._checked(coordinates), self.coordinates_of(self.anchors)
        edges = (corners[1:] - corners[0]).T  # c = corner_0 + edges b
        b = torch.linalg.solve(edges, (c - corners[0])[..., None])[..., 0]
        return torch.cat((1 - b.sum(dim=-1, keepdim=True), b), dim=-1)

    def _checked(self, coordinates: ArrayLike) -> torch.Tensor:
        c = as_points(coordinates, name="coordinates").to("cpu", torch.float64)
        k = self.coordinates.shape[1]
        if c.shape[-1] != k:
            raise InvalidInput(f"coordinates has shape {tuple(c.shape)}; probe {self.name!r} takes (..., {k})")
        return c


def points(x: ArrayLike, *, name: str = "points") -> Probe:
    """Return the probe of given inputs.

    Args:
        x: (P, *input_shape), finite floats.
        name: what its records are called.

    Raises:
        InvalidInput: for integers, one point without its first axis, no points, NaN and infinities.

    >>> points([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    Probe(name='points', kind='points', input_shape=(2,), shape=(3,))
    """
    values = _inputs(x, "x")
    if values.ndim < 2 or len(values) == 0:
        raise InvalidInput(f"x has shape {tuple(values.shape)}; pass at least one point, of shape (P, *input_shape)")
    return Probe(_name(name), "points", tuple(values.shape[1:]), values.flatten(1), (len(values),))


def line(x0: ArrayLike, x1: ArrayLike, *, points: int = 64, margin: float = 0.0, name: str = "line") -> Probe:
    """Return the line through two inputs, x(t) = x0 + t (x1 − x0), with t its only coordinate.

    Args:
        x0: an input, of any shape.
        x1: another of the same shape.
        points: number of points, equally spaced, at least 2.
        margin: t runs over [−margin, 1 + margin].
        name: what its records are called.

    Raises:
        InvalidInput: for inputs that coincide, have different shapes, or are not finite.

    >>> probe = line([0.0, 0.0, 0.0], [1.0, 2.0, 2.0], points=3)
    >>> probe.coordinates.flatten().tolist(), probe.inputs[1].tolist(), probe.scale.item()
    ([0.0, 0.5, 1.0], [0.5, 1.0, 1.0], 3.0)
    """
    anchors = _anchors(x0=x0, x1=x1)
    count, extra = positive_integer(points, "points", 2), real_number(margin, "margin", 0.0)
    direction = anchors[1] - anchors[0]
    length = float(torch.linalg.vector_norm(direction))
    if not length > 0 or length**2 == 0 or not math.isfinite(length**2):
        raise InvalidInput(f"x0 and x1 are {length:.3g} apart; pass two inputs that differ, within the range of floats")
    t = torch.linspace(-extra, 1 + extra, count, dtype=torch.float64, device="cpu")[:, None]
    shape = tuple(anchors.shape[1:])
    return Probe(_name(name), "line", shape, t, (count,), anchors[0], direction[None], anchors)


def plane(
    x0: ArrayLike,
    x1: ArrayLike,
    x2: ArrayLike,
    *,
    points: int | tuple[int, int] = 80,
    region: str = "rectangle",
    margin: float = 0.0,
    name: str = "plane",
) -> Probe:
    """Return the plane through three inputs, in orthonormal coordinates: lengths and areas are those of pixel space.

    x0 is at (0, 0), x1 at (|x1 − x0|, 0) and x2 above the first axis: the directions come from x1 − x0 and x2 − x0 by
    Gram and Schmidt.

    Args:
        x0: an input, of any shape.
        x1: another of the same shape.
        x2: another of the same shape.
        points: along each axis, or (columns, rows); for a triangle, along each edge.
        region: "rectangle", the smallest one that holds the triangle, as a grid of shape (rows, columns); or
            "triangle", equally spaced barycentric coordinates, points (points + 1)/2 of them.
        margin: the rectangle is extended by this share of its sides at each end.
        name: what its records are called.

    Raises:
        InvalidInput: for inputs on one line (height below 1e−6 of the longest side), of different shapes or not finite.

    >>> probe = plane([0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [1.0, 1.0, 1.0], points=3)
    >>> probe.shape, probe.coordinates[-1].tolist(), probe.inputs[-1].tolist()
    ((3, 3), [2.0, 1.0], [2.0, 1.0, 1.0])
    >>> probe.barycentric_of([1.0, 0.5]).tolist()
    [0.25, 0.25, 0.5]
    """
    anchors = _anchors(x0=x0, x1=x1, x2=x2)
    shape, flat = tuple(anchors.shape[1:]), anchors.flatten(1)
    first, second = flat[1] - flat[0], flat[2] - flat[0]
    sides = [float(torch.linalg.vector_norm(v)) for v in (first, second, second - first)]
    base = sides[0]
    u = first / base if base > 0 else first
    rest = second - (second @ u) * u
    rest = rest - (rest @ u) * u  # twice: the first time leaves a rounding of second along u
    height = float(torch.linalg.vector_norm(rest))
    if not min(base, height) > _COLLINEAR * max(sides) or not math.isfinite(max(sides) ** 2):
        raise InvalidInput(
            f"x0, x1 and x2 span no plane: the triangle's sides are {', '.join(f'{s:.3g}' for s in sides)}, its height "
            f"over x0 x1 is {height:.3g}; pass three inputs that are not on one line"
        )
    directions = torch.stack((u, rest / height))
    grid_shape: tuple[int, ...]
    corners = (flat - flat[0]) @ directions.T
    region = one_of(region, "region", ("rectangle", "triangle"))
    if region == "rectangle":
        extra = real_number(margin, "margin", 0.0)
        low, high = corners.amin(dim=0), corners.amax(dim=0)
        low, high = low - extra * (high - low), high + extra * (high - low)
        coordinates, grid_shape = _lattice(low.tolist(), high.tolist(), points)
    else:
        if margin:
            raise InvalidInput(f"margin is {margin!r}, which extends a rectangle; drop it, or pass region='rectangle'")
        count = positive_integer(points, "points", 2)
        steps = [(count - 1 - i - j, i, j) for i in range(count) for j in range(count - i)]
        coordinates = torch.tensor(steps, dtype=torch.float64, device="cpu") / (count - 1) @ corners
        grid_shape = (len(steps),)
    directions = directions.reshape(2, *shape)
    return Probe(_name(name), "plane", shape, coordinates, grid_shape, anchors[0], directions, anchors)


def grid(bounds: Any = (-1.0, 1.0), *, points: int | tuple[int, int] = 40, name: str = "grid") -> Probe:
    """Return a grid over two-dimensional inputs.

    Args:
        bounds: (low, high) of both coordinates, or ((low, high), (low, high)).
        points: along each axis, or (columns, rows); at least 2.
        name: what its records are called.

    Raises:
        InvalidInput: for bounds that are no pairs low < high of finite numbers.

    >>> probe = grid((-1, 1), points=(3, 2))
    >>> probe.shape, probe.inputs.tolist()
    ((2, 3), [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    """
    bounds = bounds.tolist() if hasattr(bounds, "tolist") else bounds
    given = [bounds, bounds] if _is_pair(bounds) and not any(map(_is_pair, bounds)) else bounds
    if not _is_pair(given) or not all(map(_is_pair, given)):
        raise InvalidInput(f"bounds is {bounds!r}; pass (low, high), or a pair of them, one for each coordinate")
    pairs = [tuple(real_number(v, "bounds") for v in pair) for pair in given]
    if any(low >= high for low, high in pairs):
        raise InvalidInput(f"bounds is {bounds!r}; each low must be below its high")
    coordinates, shape = _lattice([low for low, _ in pairs], [high for _, high in pairs], points)
    identity = torch.eye(2, dtype=torch.float64, device="cpu")
    return Probe(_name(name), "grid", (2,), coordinates, shape, identity.new_zeros(2), identity)


def _is_pair(value: Any) -> bool:
    sized = hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0 and not isinstance(value, str)
    return sized and len(value) == 2


def _lattice(low: Sequence[float], high: Sequence[float], points: Any) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the nodes (P, 2), the first coordinate running fastest, and (rows, columns)."""
    columns, rows = points if _is_pair(points) else (points, points)
    columns, rows = (positive_integer(n, "points", 2) for n in (columns, rows))
    ends = zip(low, high, (columns, rows), strict=True)
    axes = [torch.linspace(a, b, n, dtype=torch.float64, device="cpu") for a, b, n in ends]
    y, x = torch.meshgrid(axes[1], axes[0], indexing="ij")
    return torch.stack((x.reshape(-1), y.reshape(-1)), dim=-1), (rows, columns)


def _inputs(x: ArrayLike, name: str) -> torch.Tensor:
    return as_points(x, name=name).to("cpu", torch.float64).clone()


def _anchors(**inputs: ArrayLike) -> torch.Tensor:
    tensors = {name: _inputs(x, name) for name, x in inputs.items()}
    shapes = {name: tuple(x.shape) for name, x in tensors.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name} has shape {shape}" for name, shape in shapes.items())
        raise InvalidInput(f"{said}; pass inputs of one shape, without an axis for a batch")
    return torch.stack(list(tensors.values()))


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"name is {name!r}; pass a word that its records are called by")
    return name
