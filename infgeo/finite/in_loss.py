"""Geometry that one can train on: metric, log volume and R with derivatives by the parameters and the points.

`pullback` measures, and gives plain numbers. The functions here give tensors of a graph: put them in a loss, and
`backward()` goes through J, and through H for R, to the weights. They work in ordinary loops and inside
`torch.func.grad` with `functional_call`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from infgeo.arguments import flag
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite.differentiate import FORWARD, REVERSE_ONE_BY_ONE, Way, choose
from infgeo.finite.evaluation import derivable, modules_behind
from infgeo.finite.feature_map import FeatureMap, checked_features
from infgeo.finite.gauss_equation import Frame, frame, scalar
from infgeo.finite.inputs import as_points, point_shape
from infgeo.finite.preflight import examine

Features = Callable[[torch.Tensor], torch.Tensor]
_WELL_CONDITIONED = 1e-2  # pivots of unit columns: their squares lose 4 digits at most
# Of modules that have been looked at: whether on batches, one by one, and how they are differentiated.
_CHOSEN: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], tuple[bool, bool, Way]]] = WeakKeyDictionary()


def metric(
    features: Features,
    x: torch.Tensor,
    *,
    directions: torch.Tensor | None = None,
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    create_graph: bool = True,
) -> torch.Tensor:
    """Return g = JᵀJ at the points x, (..., d) -> (..., d, d), with derivatives by parameters and points.

    Args:
        features: module or callable, as for `pullback`; no layer may be random or see the batch in training mode.
        x: tensor (..., d), or (..., *input_shape), of the dtype of the weights.
        directions: (k, d) or (k, *input_shape): the metric of the slices x + span of these, (..., k, k), at the cost of
            k directions, whatever d is.
        layer: name of the submodule whose output the features are.
        input_shape: shape of one point where it has several axes.
        create_graph: False gives numbers without a graph.

    The derivatives are held against finite differences when a module is first seen in a mode (a callable that is no
    module each time; inside transforms of torch.func never).

    Raises InvalidInput as `pullback` does, and where torch has no derivatives with a graph.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
        >>> g = metric(lambda x: w * x, torch.zeros(1, 2, dtype=torch.float64))
        >>> torch.autograd.grad(g.sum(), w)[0].tolist()
        [2.0, 4.0]
    """
    jacobian, _, batch = _derivatives(features, x, directions, layer, input_shape, create_graph, second=False)
    g = jacobian.mT @ jacobian
    return g.reshape((*batch, *g.shape[1:]))


def log_volume(
    features: Features,
    x: torch.Tensor,
    *,
    directions: torch.Tensor | None = None,
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    create_graph: bool = True,
) -> torch.Tensor:
    """Return log √det g at the points x, (..., d) -> (...), with derivatives by parameters and points.

    Arguments and errors are those of `metric`; the volume is that of the slice where there are `directions`. Raises
    SingularMetric where the metric has no full rank: the logarithm has no derivative there.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 20), torch.nn.Tanh(), torch.nn.Linear(20, 3))
        >>> x = torch.randn(8, 2)
        >>> (model(x).square().mean() + 0.1 * log_volume(model, x, layer="1").square().mean()).backward()
        >>> model[0].weight.grad.shape
        torch.Size([20, 2])
    """
    jacobian, _, batch = _derivatives(features, x, directions, layer, input_shape, create_graph, second=False)
    return _log_volume(jacobian).to(jacobian.dtype).reshape(batch)


def ricci_scalar(
    features: Features,
    x: torch.Tensor,
    *,
    directions: torch.Tensor | None = None,
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    create_graph: bool = True,
) -> torch.Tensor:
    """Return R, positive on spheres, at the points x, (..., d) -> (...), with derivatives by parameters and points.

    R = |tr_g II|² − |II|²_g by the Gauss equation, of the slice where there are `directions`: with two of them R is
    twice the Gaussian curvature of the surface. It takes d² directional derivatives (k² on slices). Arguments and
    errors are those of `log_volume`.
    """
    jacobian, hessian, batch = _derivatives(features, x, directions, layer, input_shape, create_graph, second=True)
    assert hessian is not None
    value = scalar(_regular_frame(jacobian).second_form(hessian))
    return value.to(jacobian.dtype).reshape(batch)


def _derivatives(
    features: Features,
    x: torch.Tensor,
    directions: torch.Tensor | None,
    layer: str | None,
    input_shape: Sequence[int] | None,
    create_graph: bool,
    second: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, tuple[int, ...]]:
    """Return J (P, n, k), H (P, n, k, k) if `second`, along the coordinates or the directions, and the axes of x."""
    checked_features(features, layer, False, None)
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        raise InvalidInput(f"x is {type(x).__name__}; pass a tensor of floats (..., d), of the dtype of the weights")
    as_points(x)  # refuses what is not finite
    shape = point_shape(x, input_shape, None)
    points = x.reshape(-1, math.prod(shape))
    rows = None if directions is None else _rows(directions, points)
    feature_map = FeatureMap(features, shape, layer, shape_given=input_shape is not None)
    feature_map, way = _looked_at(feature_map, points.detach(), rows, second)
    if way is REVERSE_ONE_BY_ONE and flag(create_graph, "create_graph"):
        raise InvalidInput(
            "torch gives J of these features by plain autograd only, without a graph: write them in operations that "
            "torch.func can batch, or pass create_graph=False"
        )
    start = points if rows is None else points.new_zeros(len(points), len(rows))
    graph = torch.enable_grad() if flag(create_graph, "create_graph") else torch.no_grad()
    with derivable(features), feature_map.caller() as call, graph:  # as pullback, by which the way was chosen
        flat = feature_map.flattened(call)
        found = way.run(flat if rows is None else lambda t: flat(points + t @ rows), start, second, None)
    axes = len(shape) if tuple(x.shape[-len(shape) :]) == shape else 1  # or points are flattened
    return *found, tuple(x.shape[: x.ndim - axes])


def _rows(directions: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    if not isinstance(directions, torch.Tensor) or directions.ndim < 2 or directions[0].numel() != points.shape[1]:
        raise InvalidInput(
            f"directions has shape {getattr(directions, 'shape', None)}; pass a tensor (k, *input_shape)"
        )
    return directions.reshape(len(directions), -1).to(points)


def _looked_at(
    feature_map: FeatureMap, points: torch.Tensor, rows: torch.Tensor | None, second: bool
) -> tuple[FeatureMap, Way]:
    """Return how the features are called and differentiated, at points or on a slice: once for each module and mode."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return feature_map, FORWARD
    module = feature_map.features
    known = _CHOSEN.setdefault(module, {}) if isinstance(module, nn.Module) else {}
    parts = tuple((type(part), part.training) for m in modules_behind(module) for part in m.modules())
    key = (feature_map.layer, feature_map.input_shape, points.dtype, points.device, rows is None, second, parts)
    if key not in known:
        points = points if len(points) else points.new_zeros(1, points.shape[1])
        called = examine(feature_map, points).feature_map
        with called.ready() as f:
            if rows is None:
                way = choose(f, points, second)
            else:
                way = choose(lambda t: f(points[:1] + t @ rows), points.new_zeros(1, len(rows)), second)
        known[key] = called.batched, called.one_by_one, way
    batched, one_by_one, way = known[key]
    return replace(feature_map, batched=batched, one_by_one=one_by_one), way


def _log_volume(jacobian: torch.Tensor) -> torch.Tensor:
    """Return log √det JᵀJ (P,): by Cholesky's factor of g where that keeps the digits, in half the time, or by QR."""
    j = jacobian.to(torch.float64)
    g = j.mT @ j
    lengths = g.diagonal(dim1=-2, dim2=-1).sqrt()
    pivots = torch.linalg.cholesky_ex(g / (lengths[:, :, None] * lengths[:, None])).L.diagonal(dim1=-2, dim2=-1)
    if bool((pivots > _WELL_CONDITIONED).all()):  # not NaN either
        return (lengths.log() + pivots.log()).sum(dim=-1)
    return _regular_frame(jacobian).log_determinant / 2


def _regular_frame(jacobian: torch.Tensor) -> Frame:
    """Return the tangent frame of J; raises SingularMetric where the metric has no inverse."""
    n, k = jacobian.shape[-2:]
    regular = torch.zeros(len(jacobian), dtype=torch.bool, device=jacobian.device)
    if n >= k:
        found = frame(jacobian)
        regular = ~found.singular & torch.isfinite(found.log_determinant)
        if bool(regular.all()):
            return found
    raise SingularMetric(
        f"the metric has no full rank, or is not finite, at {int((~regular).sum())} of {len(regular)} points, of {n} "
        f"features and {k} directions: log volume and R have no derivatives there; pass directions of a slice or "
        "other points"
    )
