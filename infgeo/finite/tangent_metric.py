"""The metric of the tangent kernel: how fast the gradients by the parameters turn and grow over input space."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from infgeo.arguments import positive_integer
from infgeo.errors import InvalidInput
from infgeo.finite import by_parameters
from infgeo.finite.by_parameters import Function, Way, Weights
from infgeo.finite.differentiate import contradiction
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, as_points
from infgeo.finite.point_blocks import in_blocks, is_out_of_memory

_NO_RULE = "write the operation that has no such rule in differentiable torch operations that torch.func can batch"


@plain_torch()
def ntk_metric(
    module: nn.Module,
    x: ArrayLike,
    *,
    output: Any = "trace",
    directions: ArrayLike | None = None,
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    freeze: bool = False,
    dtype: torch.dtype | None = None,
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
) -> torch.Tensor:
    """Return the metric of the tangent kernel of a module at the points x, (..., d) -> (..., d, d).

    g_μν = Σ ∂_μJ_cp ∂_νJ_cp = ∂_μ ∂'_ν Σ_c Θ_cc(x, x') at x' = x, the pullback metric of the map from x to the
    gradients J = ∂f/∂θ. Where the d P numbers ∂J of one output at a point do not fit in memory, those of a few
    directions are made at a time, and carried back to x.

    Of a ReLU network it is the metric within one linear piece: J jumps at the creases between pieces, of which no
    derivative knows. At infinite width creases are everywhere, |J(x) - J(x')|² goes as |x - x'|, and there is no metric
    (`MetricDoesNotExist`): do not take g for the limit.

    Args:
        module, layer, input_shape, freeze, dtype: as for `pullback`.
        x: points (..., d), or (..., *input_shape).
        output: "trace", the sum over outputs, or "mean", its C-th part; or of one output, by its index, or of a sum of
            outputs with weights (C,).
        directions: (k, d) or (k, *input_shape): the metric of the slices x + span of these, (..., k, k).
        memory_budget: bytes that intermediate arrays may take, about; by default 256 MiB.

    Raises InvalidInput as `ntk`, and where torch has no second derivatives of the module.

    >>> import torch
    >>> model = torch.nn.Linear(2, 3).double()
    >>> ntk_metric(model, torch.zeros(2, dtype=torch.float64)).tolist()  # J is x, and 1, for each of three outputs
    [[3.0, 0.0], [0.0, 3.0]]
    """
    budget = positive_integer(memory_budget, "memory_budget")
    source, w, points = by_parameters.of_parameters(module, x, "x", layer, input_shape, freeze, dtype)
    d = math.prod(source.input_shape)
    batch = points.shape[: points.ndim - len(source.input_shape)]
    points = points.reshape(-1, d)
    rows = points.new_ones(d).diag() if directions is None else as_points(directions, "directions").to(points)
    if rows.ndim < 2 or rows[0].numel() != d:
        raise InvalidInput(f"directions has shape {tuple(rows.shape)}; pass (k, *input_shape)")
    rows = rows.flatten(1)
    k, numbers = len(rows), budget // points.element_size()
    with by_parameters.ready(source) as f:
        r, divisor = by_parameters.cotangents(output, f(w, by_parameters.some(points)), ("trace", "mean"))
        way = by_parameters.way_to_gradients(f, w, points)
        _refuse_wrong_second(f, w, points, rows, way)
        parameters = sum(value.numel() for value in w.values())
        size = numbers // (2 * k * len(r) * (parameters + 4 * source.largest))
        if size or len(points) == 0:
            found = in_blocks(
                lambda block: _whole(f, w, block, rows, r, way is by_parameters.gradients), points, max(1, size)
            )
        else:
            few = numbers // (4 * parameters)
            found = [_carried_back(f, w, point, rows, r, few)[None] for point in points]
    g = torch.cat(found) if found else points.new_zeros(0, k, k, dtype=torch.float64)
    if not bool(torch.isfinite(g).all()):
        raise InvalidInput(
            "the metric of the tangent kernel is not finite: derivatives overflow, or do not exist there"
        )
    return g.reshape(*batch, k, k) / divisor


def _turned(f: Function, w: Weights, point: torch.Tensor, rows: torch.Tensor, r: torch.Tensor) -> Weights:
    """Return the derivatives along rows (k, d) at a point (d,) of the gradients, (k, R, *shape) by name."""

    def along(row: torch.Tensor) -> Weights:
        return torch.func.jvp(lambda at: by_parameters.gradients_at(f, w, at, r), (point,), (row,))[1]

    return torch.func.vmap(along)(rows)


def _whole(
    f: Function, w: Weights, x: torch.Tensor, rows: torch.Tensor, r: torch.Tensor, together: bool
) -> torch.Tensor:
    of_point = partial(_turned, f, w, rows=rows, r=r)
    turned = torch.func.vmap(of_point)(x) if together else by_parameters.stacked(of_point, x)
    flat = (part.flatten(2).double() for part in turned.values())
    return sum((part @ part.mT for part in flat), start=torch.zeros((), dtype=torch.float64, device=x.device))


def _carried_back(
    f: Function, w: Weights, point: torch.Tensor, rows: torch.Tensor, r: torch.Tensor, size: int
) -> torch.Tensor:
    """Return the metric at one point (d,): ∂_ν J along `size` rows at once, and then the gradient of J·∂_ν J by x."""

    def slope(t: torch.Tensor, v: Weights, one: torch.Tensor) -> torch.Tensor:
        return torch.func.jvp(lambda weights: f(weights, (point + t @ rows)[None])[0] @ one, (w,), (v,))[1]

    def column(some: torch.Tensor, one: torch.Tensor) -> torch.Tensor:
        v = {name: value[:, 0] for name, value in _turned(f, w, point, some, one[None]).items()}
        zero = point.new_zeros(len(rows))
        return torch.func.vmap(lambda direction: torch.func.grad(slope)(zero, direction, one))(v).double()

    g = torch.stack([torch.cat(in_blocks(partial(column, one=one), rows, size)) for one in r]).sum(0)
    if bool((g - g.mT).abs().max() > torch.finfo(point.dtype).eps ** 0.5 * g.abs().max()):
        raise InvalidInput(f"torch's second derivatives of the module are not symmetric: {_NO_RULE}")
    return (g + g.mT) / 2


def _refuse_wrong_second(f: Function, w: Weights, x: torch.Tensor, rows: torch.Tensor, way: Way) -> None:
    """Raise InvalidInput where the derivatives of the gradients by w are not those of their differences."""
    few, r, v = by_parameters.probe(f, w, x)
    d = x.shape[1]

    def derivative(at: torch.Tensor) -> torch.Tensor:
        return torch.stack([by_parameters.inner(_turned(f, w, one[:d], one[None, d:], r), v)[0] for one in at])

    along = rows.sum(0).expand_as(few)
    try:
        found = contradiction(
            derivative, lambda at: by_parameters.inner(way(f, w, at[:, :d], r), v), few, along, (0.25, 0.4), 0.0
        )
    except Exception as error:  # torch has no one exception for a missing rule
        if is_out_of_memory(error):
            raise
        said = (str(error).splitlines() or [""])[0]
        raise InvalidInput(
            f"torch has no second derivatives of the module by parameters and points ({type(error).__name__}: {said}): "
            f"{_NO_RULE}"
        ) from error
    by_parameters.refuse_contradiction(found, "by parameters and points")
