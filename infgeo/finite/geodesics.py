"""Geodesics of the metric that any feature map induces: shortest paths, distances, exponential, logarithm and means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import ArrayLike

from infgeo.arguments import function, positive_integer, real_number, shown
from infgeo.display import Displayed
from infgeo.errors import InvalidInput, NotConverged, SingularMetric
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.geometry_at_points import Pullback
from infgeo.finite.inputs import as_points
from infgeo.finite.output_metric import OutputMetric, acceleration, chord_squares, rooted
from infgeo.finite.path_energy import Descent, features_of, jumps, levels_of, minimise, prolonged, refined
from infgeo.finite.point_blocks import in_blocks
from infgeo.finite.pullback import pullback, pullback_slice

Features = Callable[[torch.Tensor], torch.Tensor]
_MOST_MEAN, _MOST_CALLS = 50, 3000
_LOST = (
    "a geodesic comes to points where the metric loses rank or features are not smooth, or leaves their domain or every"
    " bound: pass a shorter v"
)


@dataclass(frozen=True, repr=False)
class PathGeodesic(Displayed):
    """Geodesics (...) between points, as paths of N steps of equal length, made by `geodesic`.

    Args:
        points: (..., N + 1, d).
        velocity: (..., d), at x, of the length of the geodesic: the logarithm of y, extrapolated as the length is.
        length: (...), in feature space, extrapolated from the path and every second point of it.
        length_error: (...), the difference that the extrapolation makes.
        energy: (...), N Σ |ΔΦ|², the square of the length to order 1/N².
        residual: (...), the largest tangential part of the acceleration on the path, over the length: 0 of a geodesic.
            It is measured with differences of order 4, which see what the path's own steps do not.
        converged: (...), whether the descent ended at a minimum.
        regular: (...), whether the metric has full rank at 17 points of it (where d N <= 400), and the path does not
            jump, as it can between inputs with the same features.
        iterations: steps of the descent, over all numbers of points.
    """

    points: torch.Tensor
    velocity: torch.Tensor
    length: torch.Tensor
    length_error: torch.Tensor
    energy: torch.Tensor
    residual: torch.Tensor
    converged: torch.Tensor
    regular: torch.Tensor
    iterations: int

    def _facts(self) -> dict[str, Any]:
        names = ("length", "length_error", "residual", "converged", "regular")
        return {"steps": self.points.shape[-2] - 1} | {name: getattr(self, name) for name in names}

    def require(self) -> PathGeodesic:
        """Return this; raises NotConverged or SingularMetric, with this as `error.found`, unless all is well."""
        for good, kind, what in (
            (self.regular, SingularMetric, "go through points where the metric has no full rank, or jump"),
            (self.converged, NotConverged, "have not converged: pass iterations=..., or start=... nearer to them"),
        ):
            if not bool(good.all()):
                bad = int((~good).sum())
                error: Any = kind(f"{bad} of {good.numel()} geodesics {what}; error.found holds all of them")
                error.found = self
                raise error
        return self


@plain_torch()
def geodesic(
    features: Features,
    x: ArrayLike,
    y: ArrayLike,
    *,
    steps: int = 64,
    start: ArrayLike | None = None,
    iterations: int = 200,
    tolerance: float = 1e-10,
    plane: tuple[ArrayLike, ArrayLike] | None = None,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> PathGeodesic:
    """Return geodesics from x to y in the metric that `features` induces, by minimising the energy of paths.

    Paths have `steps` steps, after ones with 8, 16, ..., all pairs together. Of several
    geodesics the descent finds one near its start, a straight line unless `start` says otherwise; it need not be the
    shortest, and where the start is one itself (beyond a conjugate point, as the longer arc of a circle) it stays.

    Args:
        features: as for `pullback`, which describes the `options` (layer, input_shape, freeze, batched, dtype,
            memory_budget) too.
        x, y: points (..., d), which are broadcast.
        steps: N, at least 8.
        start: paths (..., m, d) from x to y to start from, such as `graph_path` gives.
        iterations: of L-BFGS, at most, for each number of points.
        tolerance: of the energy, relative: how much a step may still lower it.
        plane: (origin, directions) of `pullback_slice`, in whose coordinates x, y and the geodesic are.
        progress: called as progress(done, total) in numbers of points.

    Returns:
        A `PathGeodesic`, which says what has converged; its `require()` raises where something has not.

    Raises:
        InvalidInput: as `pullback`, and for features or derivatives that are not finite on the first paths.

    >>> import torch
    >>> def sphere(u):
    ...     t, p = u.unbind(-1)
    ...     return torch.stack((t.sin() * p.cos(), t.sin() * p.sin(), t.cos()), -1)
    >>> path = geodesic(sphere, [1.0, 0.0], [1.0, 2.0])
    >>> f"{path.length:.6f}"  # arccos(sin(1)² cos(2) + cos(1)²)
    '1.573532'
    """
    steps, iterations = positive_integer(steps, "steps", 8), positive_integer(iterations, "iterations")
    tolerance = real_number(tolerance, "tolerance", 0.0, strict=True)
    function(progress, "progress", "a callable (done, total)")
    there, first, last, batch = _ends(features, x, y, plane, options)
    source, budget = there.source, there.memory_budget
    levels = levels_of(steps)
    path = torch.stack([first, last], dim=1)
    if start is not None:
        given = as_points(start, "start").to(path)
        if given.shape[-1] != path.shape[-1] or given.ndim < 2 or given.shape[:-2] not in ((), batch):
            raise InvalidInput(f"start has shape {tuple(given.shape)}; pass paths {(*batch, 'm', path.shape[-1])}")
        path = given.expand(*batch, *given.shape[-2:]).reshape(-1, *given.shape[-2:]).clone()
        path[:, 0], path[:, -1] = first, last
    total, minima = 0, list[torch.Tensor]()
    state = Descent(path, path.new_zeros(len(path)), torch.ones(len(path), device="cpu") > 0)
    with torch.inference_mode(False):
        for number, level in enumerate(levels):
            before = _velocity(state.path)
            first_path = prolonged(minima, level) if minima else refined(path, level)
            state = minimise(source, first_path, budget, tolerance, iterations)
            minima.append(state.path)
            total += state.iterations
            if progress is not None:
                progress(number + 1, len(levels))
        length, error, value = _lengths(source.form, features_of(source, state.path, budget))
        residual = _residual(there, state.path, length)
    velocity = _velocity(state.path)
    if len(levels) > 1 and 2 * levels[-2] == steps:
        velocity = velocity + (velocity - before) / 3
    noise = 1e3 * torch.finfo(path.dtype).eps if path.dtype == torch.float32 else 0.0
    regular = state.regular & ~jumps(source, state.path, budget)
    converged, points = state.left <= max(tolerance, noise), state.path.reshape(*batch, steps + 1, -1)
    length, error, value, residual, converged, regular = (
        number.reshape(tuple(batch)) for number in (length, error, value, residual, converged, regular)
    )
    velocity = velocity.reshape(*batch, -1)
    return PathGeodesic(points, velocity, length, error, value, residual, converged, regular, total)


def distance(features: Features, x: ArrayLike, y: ArrayLike, **options: Any) -> torch.Tensor:
    """Return the lengths of the geodesics that `geodesic`, whose options these are, finds between x and y, (...).

    Raises NotConverged or SingularMetric, with the paths as `error.found`, where one is not to be trusted.
    """
    return geodesic(features, x, y, **options).require().length


def logarithm(features: Features, x: ArrayLike, y: ArrayLike, **options: Any) -> torch.Tensor:
    """Return the velocities at x (..., d) of the geodesics to y that `geodesic` finds.

    Their error falls as 1/steps⁴ for `steps` 8, 16, 32, ...

    Raises NotConverged or SingularMetric, with the paths as `error.found`, where one is not to be trusted.
    """
    return geodesic(features, x, y, **options).require().velocity


@plain_torch()
def path_length(features: Features, path: ArrayLike, *, plane: Any = None, **options: Any) -> torch.Tensor:
    """Return the lengths (...) in feature space of paths (..., m, d), extrapolated from their chords.

    The error falls as the fourth power of the number of points for smooth paths with an even number of pieces.
    """
    points = as_points(path, "path")
    if points.ndim < 2 or points.shape[-2] < 2 or not points.numel():
        raise InvalidInput(f"path has shape {tuple(points.shape)}; pass at least one path (..., m, d), m >= 2")
    there = _measured(features, path, plane, options)
    rows = there.x.reshape(-1, *there.x.shape[-2:])
    return _lengths(there.source.form, features_of(there.source, rows, there.memory_budget))[0].reshape(
        there.x.shape[:-2]
    )


@plain_torch()
def exponential(
    features: Features, x: ArrayLike, v: ArrayLike, *, tolerance: float = 1e-8, **options: Any
) -> torch.Tensor:
    """Return where the geodesics from x with velocity v are after time 1, (..., d), (..., d) -> (..., d).

    The equation g x″ = −Jᵀ ∂²Φ(x′, x′), with the terms of h where `output` varies, is solved by SciPy's DOP853 to a
    relative `tolerance`, all geodesics with the same steps; options as for `geodesic`.

    Raises NotConverged where steps become too many, InvalidInput where features are not twice differentiable.
    """
    from scipy.integrate import solve_ivp

    tolerance = real_number(tolerance, "tolerance", 0.0, strict=True)
    there, start, velocity, batch = _ends(features, x, v, options.pop("plane", None), options)
    shape, calls, form = (2, *start.shape), 0, there.source.form
    with torch.inference_mode(False), there.source.ready() as f, torch.no_grad():
        whole, across = (there.source.way(f, start, second) for second in (False, True))
        of_jacobian = there.source.width * (2 * there.input_dim + 12)
        of_passes = 3 * there.source.largest * (min(there.input_dim, there.source.width) + 10)
        chunk = max(1, there.memory_budget // (24 * there.source.largest))  # directions, where one point is too much

        def block(rows: torch.Tensor) -> torch.Tensor:
            """Return x″ with g x″ = −Jᵀ ∂²Φ(v, v) for points and vectors beside each other (P, 2d)."""
            at, v = rows.chunk(2, dim=1)
            speed, bend = across(lambda t: f(at + t * v), at.new_zeros(len(at), 1), True)
            assert bend is not None
            jacobian = whole(f, at, False, chunk)[0]
            if form is None:
                return -torch.linalg.lstsq(jacobian, bend[..., 0]).solution[..., 0]
            outputs = f(at)
            s = torch.linalg.qr(rooted(form, outputs, jacobian), mode="r")[1]
            force = jacobian.mT @ acceleration(form, outputs, speed[..., 0], bend[..., 0, 0])[..., None]
            return -torch.cholesky_solve(force, s, upper=True)[..., 0]

        def flow(_t: float, state: numpy.ndarray) -> numpy.ndarray:
            nonlocal calls
            calls += 1
            at, speed = torch.from_numpy(state.reshape(shape)).to(start)
            rows = torch.cat([at, speed], dim=1)
            second = torch.cat(in_blocks(block, rows, there.memory_budget // (8 * (of_jacobian + of_passes))))
            if calls > _MOST_CALLS or not bool(torch.isfinite(second).all()):
                raise NotConverged(_LOST)
            return torch.stack([speed, second]).double().cpu().numpy().ravel()

        first = torch.stack([start, velocity]).double().cpu().numpy().ravel()
        size = float(torch.linalg.vector_norm(velocity, dim=1).max()) if len(start) else 0.0
        if not size:
            return start.reshape(*batch, -1)
        found = solve_ivp(flow, (0.0, 1.0), first, method="DOP853", rtol=tolerance, atol=tolerance * size)
    if not found.success:
        raise NotConverged(_LOST)
    return torch.from_numpy(found.y[:, -1].reshape(shape)[0]).to(start).reshape(*batch, -1)


def frechet_mean(
    features: Features, points: ArrayLike, weights: ArrayLike | None = None, *, tolerance: float = 1e-5, **options: Any
) -> torch.Tensor:
    """Return the point (d,) with the least weighted sum of squared distances to points (M, d), a local minimum.

    Steps go along the mean of the logarithms of the points, until it is `tolerance` of their mean length.

    Raises NotConverged, with the point so far as `error.found`, after 50 steps; else as `distance`.
    """
    tolerance = real_number(tolerance, "tolerance", 0.0, strict=True)
    cloud = as_points(points, "points")
    if cloud.ndim != 2:
        raise InvalidInput(f"points has shape {tuple(cloud.shape)}; pass (M, d)")
    shares = cloud.new_ones(len(cloud)) if weights is None else as_points(weights, "weights")
    if shares.shape != cloud.shape[:1] or not bool((shares >= 0).all()) or not float(shares.sum()) > 0:
        raise InvalidInput(f"weights must be {len(cloud)} numbers >= 0, not all 0")
    shares = (shares / shares.sum()).to(cloud)
    mean, start = shares @ cloud, None
    for _ in range(_MOST_MEAN):
        found = geodesic(features, mean, cloud, start=start, **options).require()
        step = shares @ found.velocity.to(cloud)
        mean_length = float(shares @ found.velocity.to(cloud).norm(dim=1))
        if float(step.norm()) <= tolerance * mean_length + 1e-12 * float(cloud.abs().max()):
            return mean
        mean = mean + step
        left = torch.linspace(1, 0, found.points.shape[1], dtype=step.dtype, device=step.device)
        start = found.points + left[:, None] * step
    error: Any = NotConverged(f"the mean moves by {float(step.norm()):.1e} still; error.found is where it is")
    error.found = mean
    raise error


@plain_torch()
def graph_path(
    features: Features,
    cloud: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    neighbours: int = 10,
    points: int = 33,
    **options: Any,
) -> torch.Tensor:
    """Return paths (..., points, d) from x to y along the edges of a graph of a cloud (M, d): a start for `geodesic`.

    Points are joined to their nearest `neighbours` in coordinates; edges have the lengths of straight lines in feature
    space. Raises InvalidInput where no edges lead from x to y.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import cKDTree

    neighbours, points = positive_integer(neighbours, "neighbours"), positive_integer(points, "points", 2)
    _, first, last, batch = _ends(features, x, y, None, options)
    some = as_points(cloud, "cloud").to(first)
    if some.ndim != 2 or some.shape[1] != first.shape[1]:
        raise InvalidInput(f"cloud has shape {tuple(some.shape)}; pass points (M, {first.shape[1]})")
    nodes = torch.cat([first, last, some])
    count = len(first)
    near = cKDTree(nodes.cpu().numpy()).query(nodes.cpu().numpy(), min(neighbours + 1, len(nodes)))[1][:, 1:]
    rows, columns = numpy.repeat(numpy.arange(len(nodes)), near.shape[1]), near.ravel()
    edges = refined(torch.stack([nodes[rows], nodes[columns]], dim=1), 4)
    there = _measured(features, edges, None, options)
    values = features_of(there.source, there.x, there.memory_budget)
    lengths = _lengths(there.source.form, values)[0].cpu().numpy()
    graph = coo_matrix((numpy.maximum(lengths, 1e-300), (rows, columns)), shape=(len(nodes),) * 2).tocsr()
    _, before = dijkstra(graph, directed=False, indices=range(count), return_predecessors=True)
    found = []
    for pair in range(count):
        at, chain = count + pair, [count + pair]
        while at != pair:
            at = int(before[pair, at])
            if at < 0:
                raise InvalidInput(
                    f"no edges lead from x to y for pair {pair}: pass more neighbours, or a denser cloud"
                )
            chain.append(at)
        found.append(refined(nodes[chain[::-1]][None], points - 1)[0])
    return torch.stack(found).reshape(*batch, points, -1)


def _measured(features: Features, x: Any, plane: Any, options: dict[str, Any]) -> Pullback:
    if plane is None:
        return pullback(features, x, **options)
    if not isinstance(plane, tuple | list) or len(plane) != 2:
        raise InvalidInput(f"plane is {shown(plane)}; pass (origin, directions) as for pullback_slice, or None")
    return pullback_slice(features, x, *plane, **options)


def _ends(
    features: Features, x: ArrayLike, y: ArrayLike, plane: Any, options: dict[str, Any]
) -> tuple[Pullback, torch.Tensor, torch.Tensor, Sequence[int]]:
    """Return what is measured, and both ends (P, d), or points and vectors, with the shape of their batch."""
    given = as_points(x, "x"), as_points(y, "y")
    tensor = next((part for part, raw in zip(given, (x, y), strict=True) if isinstance(raw, torch.Tensor)), given[0])
    try:
        pair = torch.broadcast_tensors(*(part.to(tensor) for part in given))
    except RuntimeError:
        raise InvalidInput(f"the shapes {tuple(given[0].shape)} and {tuple(given[1].shape)} do not fit") from None
    both = torch.stack(pair)
    if not both.numel():
        raise InvalidInput("x and y hold no points: pass at least one pair")
    given_tensors = isinstance(x, torch.Tensor) or isinstance(y, torch.Tensor)
    there = _measured(features, both if given_tensors else both.numpy(), plane, options)
    ends = there.x.reshape(2, -1, there.input_dim)
    return there, ends[0], ends[1], there.x.shape[1 : there.x.ndim - len(there.input_shape)]


def _lengths(form: OutputMetric | None, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return lengths of paths from features (P, m, n), what extrapolation changes, and energies."""
    squares = chord_squares(form, values)
    short = squares.sqrt().sum(dim=1)
    value = squares.shape[1] * squares.sum(dim=1)
    if squares.shape[1] % 2:
        return short, torch.full_like(short, torch.nan), value
    wide = chord_squares(form, values[:, ::2]).sqrt().sum(dim=1)
    return short + (short - wide) / 3, (short - wide) / 3, value


def _velocity(path: torch.Tensor) -> torch.Tensor:
    """Return the velocities at the start of paths (P, m, d), by differences of order 4 where there are 5 points."""
    if path.shape[1] < 5:
        return (path.shape[1] - 1) * (path[:, 1] - path[:, 0])
    weights = path.new_tensor([-25, 48, -36, 16, -3]) / 12
    return (path.shape[1] - 1) * torch.einsum("k,pkd->pd", weights, path[:, :5])


def _residual(there: Pullback, path: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Return the largest |Jᵀa|²/|J Jᵀa| / length on paths, for accelerations a in feature space."""
    steps = path.shape[1] - 1
    worst, form = length.new_zeros(len(path)), there.source.form
    size = max(1, there.memory_budget // (64 * max(1, there.source.largest) * (steps + 1)))
    with there.source.ready() as f:
        for rows in torch.arange(len(path), device=path.device).split(size):
            points = path[rows, 2:-2].reshape(-1, path.shape[-1])
            phi = f(path[rows].reshape(-1, path.shape[-1])).reshape(len(rows), steps + 1, -1).double()
            a = 16 * (phi[:, 3:-1] + phi[:, 1:-3]) - 30 * phi[:, 2:-2] - phi[:, 4:] - phi[:, :-4]
            v = 8 * (phi[:, 3:-1] - phi[:, 1:-3]) - phi[:, 4:] + phi[:, :-4]
            at, v, a = (part.reshape(-1, phi.shape[-1]) for part in (phi[:, 2:-2], v * steps / 12, a * steps**2 / 12))
            back = torch.func.vjp(f, points)[1](acceleration(form, at, v, a).to(path.dtype))[0]
            image = torch.func.jvp(f, (points,), (back,))[1][..., None]
            image = image if form is None else rooted(form, at, image)
            top, bottom = back.double().square().sum(dim=1), torch.linalg.vector_norm(image.double(), dim=(1, 2))
            part = torch.where(bottom > 0, top / torch.where(bottom > 0, bottom, 1.0), 0.0)
            worst[rows] = part.reshape(len(rows), -1).amax(dim=1)
    return torch.where(length > 0, worst / torch.where(length > 0, length, 1.0), 0.0)
