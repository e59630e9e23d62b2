"""Energies of paths in feature space, and their minima: E = N Σ |Φ(x_{i+1}) − Φ(x_i)|² for N steps, ends fixed.

No Jacobian is formed for gradients. Descent is L-BFGS for all paths together, each with its own steps, with the energy
of second order as a start: N Σ |x_{i+1} − x_i|² in the metric along the path, where d is small, else in the flat one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch
from scipy.interpolate import CubicSpline

from infgeo.errors import InvalidInput
from infgeo.finite.feature_map import Source
from infgeo.finite.output_metric import chord_squares
from infgeo.finite.point_blocks import in_blocks
from infgeo.finite.routes import measured

_LOOKED_AT = 16  # steps between the points of a path at which the metric is taken
_DENSE = 400  # unknowns of a path up to which the metric is taken for the start
_MEMORY, _HALVINGS, _ARMIJO = 8, 20, 1e-4
_COARSEST = 8
_UNEVEN, _ON_STEP = 4, (0.0, 0.31, 0.64, 1.0)  # steps that are looked at, over their neighbours, and where


@dataclass
class Descent:
    """Paths (P, N + 1, d) on their way, the fall of energy that is left, over energy, and whether g has full rank."""

    path: torch.Tensor
    left: torch.Tensor
    regular: torch.Tensor
    iterations: int = 0


def features_of(source: Source, path: torch.Tensor, budget: int) -> torch.Tensor:
    """Return the features (P, m, n) of points (P, m, d)."""
    rows = path.reshape(-1, path.shape[-1])
    size = max(1, budget // (16 * max(1, source.largest)))
    with torch.no_grad(), source.ready() as f:
        return torch.cat(in_blocks(f, rows, size)).reshape(*path.shape[:2], -1)


def energy(source: Source, path: torch.Tensor, budget: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return energies (P,), inf where features are not finite, and their gradients (P, N - 1, d) at inner points."""
    steps = path.shape[1] - 1

    def block(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inner = rows[:, 1:-1].detach().clone().requires_grad_()
        points = torch.cat([rows[:, :1], inner, rows[:, -1:]], dim=1)
        values = f(points.reshape(-1, path.shape[-1])).reshape(*points.shape[:2], -1)
        each = steps * chord_squares(source.form, values).sum(dim=1)
        (gradient,) = torch.autograd.grad(each.sum(), inner)
        return each.detach(), gradient

    size = max(1, budget // (64 * max(1, source.largest) * (steps + 1)))
    with source.ready() as f, torch.enable_grad():
        try:
            parts = in_blocks(block, path, size)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise InvalidInput(
                "torch has no derivatives of features in reverse mode, which geodesics need: write them in"
                " differentiable operations"
            ) from error
    found, slope = (torch.cat(column) for column in zip(*parts, strict=True))
    return torch.where(torch.isfinite(found), found, torch.inf), slope


def _factor(source: Source, path: torch.Tensor, budget: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a Cholesky factor of the second-order energy at inner points, and whether g has full rank on the path."""
    count, steps, d = path.shape[0], path.shape[1] - 1, path.shape[2]
    regular = torch.ones(count, dtype=torch.bool, device=path.device)
    if (steps - 1) * d <= _DENSE:
        some = torch.linspace(0, steps, min(steps, _LOOKED_AT) + 1, device=path.device).round().long()
        flat = path[:, some].reshape(-1, d)
        g = measured(source, flat, False, budget).metric.reshape(count, len(some), d, d)
        values = torch.linalg.eigvalsh(torch.nan_to_num(g, 0.0, 0.0, 0.0))
        tiny = 16 * d * torch.finfo(path.dtype).eps
        regular = (values[..., 0] > tiny * values[..., -1]).all(dim=1)
        ridge = values[..., -1].amax(dim=1)[:, None, None, None] * 1e-8 + torch.finfo(torch.float64).tiny
        g = torch.nan_to_num(g, 0.0, 0.0, 0.0) + ridge * torch.eye(d, dtype=g.dtype, device=g.device)
        g = refined(g.flatten(2), steps).reshape(count, steps + 1, d, d)
        between = (g[:, 1:] + g[:, :-1]) / 2
    else:
        between = torch.ones(1, steps, 1, 1, dtype=torch.float64, device=path.device)
    size = between.shape[-1]
    matrix = between.new_zeros(between.shape[0], steps - 1, size, steps - 1, size)
    at = torch.arange(steps - 1, device=path.device)
    matrix[:, at, :, at, :] = (between[:, 1:] + between[:, :-1]).movedim(1, 0)
    matrix[:, at[1:], :, at[:-1], :] = -between[:, 1:-1].movedim(1, 0)
    matrix[:, at[:-1], :, at[1:], :] = -between[:, 1:-1].movedim(1, 0)
    matrix = 2 * steps * matrix.reshape(-1, (steps - 1) * size, (steps - 1) * size)
    return torch.linalg.cholesky(matrix), regular


def _solved(factor: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the inverse of the second-order energy times gradients (P, N - 1, d)."""
    if factor.shape[-1] == gradient.shape[1]:  # flat: the same for all coordinates
        return torch.cholesky_solve(gradient, factor.expand(len(gradient), -1, -1))
    return torch.cholesky_solve(gradient.reshape(len(gradient), -1, 1), factor).reshape(gradient.shape)


def minimise(source: Source, start: torch.Tensor, budget: int, tolerance: float, most: int) -> Descent:
    """Return the minimum of the energy near paths (P, N + 1, d), by up to `most` steps of L-BFGS."""
    count = start.shape[0]
    state = Descent(
        start.clone(), start.new_full((count,), torch.inf, dtype=torch.float64), torch.ones(count, device="cpu") > 0
    )
    factor, state.regular = _factor(source, start, budget)
    live = torch.arange(count, device=start.device)
    value, slope = energy(source, start, budget)
    slope = slope.double()
    if bool(torch.isinf(value).any()):
        first = int(torch.isinf(value).nonzero()[0])
        raise InvalidInput(
            f"features are not finite on {int(torch.isinf(value).sum())} path(s) to start from, first on pair {first}:"
            " outside their domain, or overflowing; pass start=..., paths on which they are finite"
        )
    if not torch.isfinite(slope).all():
        raise InvalidInput("derivatives of features are not finite on a path to start from; pass another, start=...")
    moves: list[torch.Tensor] = []
    turns: list[torch.Tensor] = []
    noise = 100 * torch.finfo(start.dtype).eps
    size = features_of(source, start[:, :1], budget).double().square().sum(dim=(1, 2))
    # What roundings of the features make of energies, squared over the energy.
    least = (noise * start.shape[1]) ** 2 * size + torch.finfo(torch.float64).tiny
    while live.numel():
        lower = factor if factor.shape[0] == 1 else factor[live]
        direction = _two_loops(lower, slope, moves, turns)
        fall = -(direction * slope).sum(dim=(1, 2))
        plain = _solved(lower, slope)
        left = (plain * slope).sum(dim=(1, 2))
        left = torch.where(left > least[live], left / value, 0.0)
        state.left[live] = left
        going = left > max(tolerance, noise**2)
        if not bool(going.any()) or state.iterations >= most:
            return state
        uphill = fall <= 0
        direction[uphill], fall[uphill] = -plain[uphill], (plain * slope).sum(dim=(1, 2))[uphill]
        live, value, slope, direction, fall = (part[going] for part in (live, value, slope, direction, fall))
        moves, turns = ([part[going] for part in parts] for parts in (moves, turns))
        rough = noise * value + (least[live] * value).sqrt() / 100
        step, new, gradient = _line_search(source, state.path[live], value, slope, direction, fall, budget, rough)
        moved = step[:, None, None] * direction
        state.path[live, 1:-1] += moved.to(start.dtype)
        state.iterations += 1
        moves, turns = ([*parts, part][-_MEMORY:] for parts, part in ((moves, moved), (turns, gradient - slope)))
        keep = step > 0
        live, value, slope = live[keep], new[keep], gradient[keep]
        moves, turns = ([part[keep] for part in parts] for parts in (moves, turns))
    return state


def _two_loops(
    factor: torch.Tensor, slope: torch.Tensor, moves: list[torch.Tensor], turns: list[torch.Tensor]
) -> torch.Tensor:
    """Return the directions of L-BFGS (Nocedal & Wright, algorithm 7.4), each path with what it remembers."""
    q, kept = slope.clone(), []
    for s, y in zip(reversed(moves), reversed(turns), strict=True):
        product = (s * y).sum(dim=(1, 2), keepdim=True)
        inverse = torch.where(product > 0, 1 / torch.where(product > 0, product, 1.0), 0.0)
        a = inverse * (s * q).sum(dim=(1, 2), keepdim=True)
        q = q - a * y
        kept.append((s, y, inverse, a))
    z = _solved(factor, q)
    for s, y, inverse, a in reversed(kept):
        z = z + s * (a - inverse * (y * z).sum(dim=(1, 2), keepdim=True))
    return -z


def _line_search(
    source: Source,
    path: torch.Tensor,
    value: torch.Tensor,
    slope: torch.Tensor,
    direction: torch.Tensor,
    fall: torch.Tensor,
    budget: int,
    noise: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return steps, halved until the energy falls enough (Armijo) but for `noise`, or 0; energies and gradients."""
    step, found = torch.ones_like(value), torch.zeros_like(value, dtype=torch.bool)
    value, slope = value.clone(), slope.clone()
    for _ in range(_HALVINGS):
        rows = (~found).nonzero()[:, 0]
        if not rows.numel():
            break
        trial = path[rows].clone()
        trial[:, 1:-1] += (step[rows, None, None] * direction[rows]).to(path.dtype)
        new, gradient = energy(source, trial, budget)
        enough = new <= value[rows] - _ARMIJO * step[rows] * fall[rows] + noise[rows]
        enough &= torch.isfinite(gradient).all(dim=2).all(dim=1)
        found[rows[enough]] = True
        value[rows[enough]], slope[rows[enough]] = new[enough], gradient[enough].double()
        step[rows[~enough]] /= 2
    return torch.where(found, step, 0.0), value, slope


def refined(path: torch.Tensor, steps: int) -> torch.Tensor:
    """Return paths (P, m, d) with `steps` steps, points between the given ones on lines."""
    rows = path.movedim(1, 2)
    found = torch.nn.functional.interpolate(rows, size=steps + 1, mode="linear", align_corners=True).movedim(2, 1)
    found = found.contiguous()
    found[:, 0], found[:, -1] = path[:, 0], path[:, -1]
    return found


def jumps(source: Source, path: torch.Tensor, budget: int) -> torch.Tensor:
    """Return whether paths (P, m, d) jump: whether a step is much longer in feature space than its chord."""
    steps = torch.linalg.vector_norm(path.diff(dim=1), dim=2)
    beside = steps[:, 1:], steps[:, :-1]
    result = (torch.maximum(*beside) > _UNEVEN * torch.minimum(*beside)).any(dim=1)  # where else it cannot be
    if bool(result.any()):
        first, last = path[result, :-1, None], path[result, 1:, None]
        lines = first + (last - first) * path.new_tensor(_ON_STEP)[:, None]
        values = features_of(source, lines.flatten(0, 1), budget)
        whole, chord = (chord_squares(source.form, part).sqrt().sum(dim=1) for part in (values, values[:, ::3]))
        result[result.clone()] = (whole > 2 * chord).reshape(lines.shape[:2]).any(dim=1)
    return result


def prolonged(minima: list[torch.Tensor], steps: int) -> torch.Tensor:
    """Return a start with `steps` steps from minima with fewer: splines, extrapolated, as their error is O(1/N²).

    A path that this would move by more than half a step, as where features have kinks, keeps its lines.
    """
    last = minima[-1]
    lines, start = refined(last, steps), _splined(last, steps)
    if len(minima) > 1:
        new, old, older = (1 / n**2 for n in (steps, last.shape[1] - 1, minima[-2].shape[1] - 1))
        start = start + (new - old) / (old - older) * (start - _splined(minima[-2], steps))
    start[:, 0], start[:, -1] = last[:, 0], last[:, -1]
    moved, longest = ((part.square().sum(dim=2).amax(dim=1)) for part in (start - lines, last.diff(dim=1) / 2))
    return torch.where((moved <= longest)[:, None, None], start, lines)


def _splined(path: torch.Tensor, steps: int) -> torch.Tensor:
    """Return the cubic splines of paths (P, m, d), equal parts apart, at `steps` + 1 places."""
    knots = numpy.linspace(0, 1, path.shape[1])
    weights = CubicSpline(knots, numpy.eye(len(knots)))(numpy.linspace(0, 1, steps + 1))
    return torch.einsum("nm,pmd->pnd", torch.from_numpy(weights).to(path), path)


def levels_of(steps: int) -> list[int]:
    """Return the numbers of steps, each about half of the next, that a path is minimised with in turn."""
    found = [steps]
    while found[-1] > _COARSEST:
        found.append(max(_COARSEST, (found[-1] + 1) // 2))
    return found[::-1]
