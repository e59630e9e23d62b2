"""Leaves: where outputs do not change. The null directions of a metric without full rank, and walks along them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import ArrayLike

from infgeo.arguments import positive_integer, real_number
from infgeo.display import Displayed
from infgeo.errors import InvalidInput, NotConverged, SingularMetric
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.geometry_at_points import Pullback
from infgeo.finite.inputs import as_points
from infgeo.finite.path_energy import features_of
from infgeo.finite.pullback import pullback
from infgeo.finite.routes import reduced

_CORRECTIONS = 12  # of Newton's method, which doubles the digits


@dataclass(frozen=True, repr=False)
class LeafDirections(Displayed):
    """The directions at points (...) in which outputs change and do not, of one rank r, made by `leaf_directions`.

    Args:
        rank: r, the same at all points.
        along: (..., d − r, d), orthonormal rows of input space that span the null space of g.
        across: (..., r, d), orthonormal rows, its complement: principal directions, most stretched first.
        singular_values: (..., min(n, d)), of J, descending.
        threshold: (...), what singular values of directions across exceed, and those along do not.
    """

    rank: int
    along: torch.Tensor
    across: torch.Tensor
    singular_values: torch.Tensor
    threshold: torch.Tensor

    def _facts(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in ("singular_values", "threshold")}
        return {"rank": self.rank, "leaf_dimension": self.along.shape[-2]} | values


@dataclass(frozen=True, repr=False)
class LeafWalk(Displayed):
    """Walks (...) of N steps along leaves, made by `walk_along_leaf`.

    Args:
        points: (..., N + 1, d).
        drift: (..., N + 1), how far outputs are from those at the start, measured in the features of the metric.
        length: (...), sum of the chords of the walk in input space.
        rank: of the metric, the same at all points.
    """

    points: torch.Tensor
    drift: torch.Tensor
    length: torch.Tensor
    rank: int

    def _facts(self) -> dict[str, Any]:
        sizes = {"steps": self.points.shape[-2] - 1, "rank": self.rank}
        return sizes | {"length": self.length, "largest_drift": self.drift.amax(-1)}


@plain_torch()
def leaf_directions(
    features: Callable[..., Any], x: ArrayLike, *, tolerance: float | None = None, **options: Any
) -> LeafDirections:
    """Return orthonormal bases of the directions in which outputs change at x (..., d), and in which they do not.

    The null space of g = Jᵀ h J. Where its dimension d − r is constant, its directions are tangent to leaves, level
    sets of the output: for `output="fisher"` of the predicted distribution, of dimension >= d − C + 1 for C classes.

    Args:
        features: as for `pullback`, which describes the `options` (output, layer, input_shape, ...) too.
        x: points (..., d), or (..., *input_shape); directions are flattened.
        tolerance: of singular values of J to the largest, above which a direction counts; by default 16 √d ε.

    Raises SingularMetric where points have several ranks: ask for each alone. InvalidInput as `pullback`.

    >>> found = leaf_directions(torch.nn.Linear(5, 3).double(), [0.0] * 5, output="fisher")
    >>> found.rank, found.along.shape
    (2, torch.Size([3, 5]))
    """
    there, points, batch, least = _started(features, x, tolerance, options)
    values, rows, rank = _split(_jacobian(there, points), least)
    along, across = rows[:, rank:], rows[:, :rank]
    along, across, values = (part.reshape(*batch, *part.shape[1:]) for part in (along, across, values))
    return LeafDirections(rank, along, across, values, least * values[..., 0])


@plain_torch()
def walk_along_leaf(
    features: Callable[..., Any],
    x: ArrayLike,
    direction: ArrayLike,
    steps: int,
    *,
    step_length: float = 0.05,
    tolerance: float | None = None,
    drift: float | None = None,
    **options: Any,
) -> LeafWalk:
    """Walk from x along the leaf of equal outputs: inputs that a network cannot tell apart, of the same class.

    Each step goes `step_length` along the null space of the metric, as straight on as it can, and is brought back to
    the leaf by Newton's method, x ← x − J⁺(Φ(x) − Φ(x_0)).

    Args:
        features: as for `pullback`, whose `options` these are; `output` must be named, not a function.
        x: points (..., d), or (..., *input_shape).
        direction: (..., d), to which the first step is the nearest within the null space.
        steps: number N of steps.
        step_length: in input space.
        tolerance: as for `leaf_directions`.
        drift: of the features of the metric, relative to their norm at x or to 1, that is allowed; by default √ε.

    Returns:
        A `LeafWalk`, which holds the drift that was measured.

    Raises:
        SingularMetric: where the rank changes on the way, or the metric has full rank at x: there is no leaf.
        NotConverged: where the output cannot be kept. Both have the walk so far as `error.found`.
        InvalidInput: as `pullback`, and for a direction without a part along the leaf.

    Source: Benfenati & Marta 2023, A singular Riemannian geometry approach to deep neural networks I, II.

    >>> walk = walk_along_leaf(lambda x: (x**2).sum(-1, keepdim=True), [1.0, 0.0], [0.0, 1.0], 20)  # a circle
    >>> f"{walk.points[-1].norm():.8f}", f"{walk.length:.2f}"
    ('1.00000000', '1.00')
    """
    count, stride = positive_integer(steps, "steps"), real_number(step_length, "step_length", 0.0, strict=True)
    if callable(options.get("output")):
        raise InvalidInput("output is a function; name one, so that its leaves are where features do not change")
    there, start, batch, least = _started(features, x, tolerance, options)
    aim = as_points(direction, "direction").to(there.x)
    try:
        heading = aim.expand(there.x.shape).reshape(start.shape)
    except RuntimeError:
        raise InvalidInput(
            f"direction has shape {tuple(aim.shape)}; it must broadcast to x, {tuple(there.x.shape)}"
        ) from None
    there = replace(there, source=replace(there.source, form=None))  # a Gaussian's leaves are those of its outputs
    _, rows, rank = _split(_jacobian(there, start), least)
    if rank == there.input_dim:
        raise SingularMetric(f"the metric has full rank {rank} at x: every direction changes the output, and no leaf")
    anchor = _values(there, start)
    allowed = torch.finfo(there.x.dtype).eps ** 0.5 if drift is None else real_number(drift, "drift", 0.0, strict=True)
    size = allowed * anchor.norm(dim=1).clamp_min(1.0)
    path, drifts = [start], [torch.zeros_like(size)]
    try:
        for number in range(count):
            null = rows[:, rank:].to(heading)
            ahead = (null.mT @ (null @ heading[..., None]))[..., 0]
            length = ahead.norm(dim=1, keepdim=True)
            if bool((length <= 1e-8 * heading.norm(dim=1, keepdim=True)).any()):
                raise InvalidInput(f"direction has no part along the leaf at step {number}: pass another direction")
            heading = ahead / length
            at, away = _brought_back(there, path[-1] + stride * heading, anchor, size, rank)
            rows = _split(_jacobian(there, at), least, rank)[1]
            if not bool((away <= size).all()):
                raise NotConverged(
                    f"the output is {float(away.max()):.1e} from that at x after {_CORRECTIONS} corrections, more than "
                    "drift=... allows: pass a smaller step_length, or a larger drift"
                )
            path.append(at)
            drifts.append(away)
    except (SingularMetric, NotConverged) as error:
        error.add_note(f"infgeo: after {len(path) - 1} steps; error.found is the walk so far")
        error.found = _walk(path, drifts, batch, rank)  # type: ignore[union-attr]
        raise
    return _walk(path, drifts, batch, rank)


def _walk(path: list[torch.Tensor], drifts: list[torch.Tensor], batch: tuple[int, ...], rank: int) -> LeafWalk:
    points, drift = torch.stack(path, dim=1), torch.stack(drifts, dim=1)
    length = points.double().diff(dim=1).norm(dim=2).sum(dim=1)
    return LeafWalk(points.reshape(*batch, *points.shape[1:]), drift.reshape(*batch, -1), length.reshape(batch), rank)


def _brought_back(
    there: Pullback, at: torch.Tensor, anchor: torch.Tensor, size: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points (P, d) near `at`, where features are the anchor's (P, n) up to `size` (P,), and how far off."""
    for _ in range(_CORRECTIONS):
        miss = _values(there, at) - anchor
        away = miss.norm(dim=1)
        if bool((away <= size).all()):
            return at, away
        u, s, rows = torch.linalg.svd(_jacobian(there, at), full_matrices=False)
        back = (u[..., :rank].mT @ miss[..., None]) / s[:, :rank, None]
        at = at - (rows[:, :rank].mT @ back)[..., 0].to(at)
    return at, (_values(there, at) - anchor).norm(dim=1)


def _started(
    features: Any, x: ArrayLike, tolerance: float | None, options: dict[str, Any]
) -> tuple[Pullback, torch.Tensor, tuple[int, ...], float]:
    """Return what is measured, points (P, d), the shape of their batch, and the least ratio of singular values."""
    there = pullback(features, x, **options)
    points = there.x.reshape(-1, there.input_dim)
    if not len(points):
        raise InvalidInput("x holds no points: pass at least one")
    least = 16 * math.sqrt(there.input_dim) * torch.finfo(there.x.dtype).eps
    least = least if tolerance is None else real_number(tolerance, "tolerance", 0.0, strict=True)
    return there, points, tuple(there.x.shape[: there.x.ndim - len(there.input_shape)]), least


def _jacobian(there: Pullback, points: torch.Tensor) -> torch.Tensor:
    return torch.cat(reduced(there.source, points, False, lambda j, _: j.double(), there.memory_budget))


def _values(there: Pullback, points: torch.Tensor) -> torch.Tensor:
    return features_of(there.source, points[:, None], there.memory_budget)[:, 0].double()


def _split(j: torch.Tensor, least: float, rank: int | None = None) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return singular values of J (P, n, d), all its right singular vectors as rows, and the rank of all points."""
    if not bool(torch.isfinite(j).all()):
        raise InvalidInput("features or their derivatives are not finite at x, or on the way; pass other points")
    _, values, rows = torch.linalg.svd(j, full_matrices=j.shape[-2] < j.shape[-1])
    ranks = (values > least * values[:, :1]).sum(dim=1)
    expected = int(ranks[0]) if rank is None else rank
    if bool((ranks != expected).any()):
        found = sorted(set(ranks.tolist()) | {expected})
        raise SingularMetric(
            f"the metric has ranks {found} at these points, and leaves have one dimension where the rank is one: ask "
            "for points of each rank alone, take shorter steps, or pass tolerance=..."
        )
    return values, rows, expected
