"""Checks of what users pass to `infgeo.finite`: points, counts, seeds. Every message names value and remedy."""

import math
from typing import Any

import numpy
import torch
from numpy.typing import ArrayLike

from infgeo.arguments import positive_integers, shown
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite.evaluation import module_of, modules_behind

DEFAULT_MEMORY_BUDGET = 256 * 2**20  # bytes


def as_points(x: ArrayLike, name: str = "x") -> torch.Tensor:
    """Return `x` as a detached float32 or float64 tensor of shape (..., d).

    A tensor keeps its dtype and device; anything else becomes float64 on the CPU. Raises InvalidInput for integer,
    boolean, complex, object, sparse and meta data, NaN and infinities, and a scalar.
    """
    if isinstance(x, torch.Tensor):
        if x.is_meta:
            raise InvalidInput(f"{name} is on the meta device, which holds no numbers; pass {name} on 'cpu', ...")
        if x.layout != torch.strided:
            raise InvalidInput(f"{name} is a sparse tensor ({x.layout}); pass {name}.to_dense()")
        if x.dtype not in (torch.float32, torch.float64):
            raise InvalidInput(f"{name} has dtype {x.dtype}; coordinates are real: pass {name}.to(torch.float64)")
        points = x.detach()
    else:
        try:
            array = numpy.asarray(x)
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"{name} is not an array of numbers ({error}); pass floats of shape (..., d)") from None
        # Numbers in a plain list carry no dtype, so [[0, 1]] means floats; an integer array is more likely a mistake.
        if array.dtype.kind != "f" and not (isinstance(x, list | tuple) and array.dtype.kind in "iu"):
            raise InvalidInput(
                f"{name} has dtype {array.dtype}; coordinates are real floats: pass numpy.asarray({name}, dtype=float)"
            )
        points = torch.from_numpy(numpy.array(array, dtype=numpy.float64, order="C"))
    if points.ndim == 0 or points.shape[-1] == 0:
        raise InvalidInput(f"{name} has shape {tuple(points.shape)}; its last axis must hold the coordinates: (..., d)")
    finite = torch.isfinite(points)
    if not bool(finite.all()):
        where = tuple(int(i) for i in (~finite).nonzero()[0])
        raise InvalidInput(f"{name}{list(where)} is {float(points[where])}; remove points that are not finite")
    return points


def point_shape(points: torch.Tensor, input_shape: Any, input_dim: int | None, name: str = "x") -> tuple[int, ...]:
    """Return the shape of one point of `points` (..., *input_shape) or (..., d), or raise InvalidInput."""
    if input_shape is None:
        shape: tuple[int, ...] = (int(points.shape[-1]),)
    else:
        shape = tuple(positive_integers(input_shape, "input_shape"))
        if not shape or (tuple(points.shape[-len(shape) :]) != shape and points.shape[-1] != math.prod(shape)):
            raise InvalidInput(
                f"{name} has shape {tuple(points.shape)} and input_shape is {shape}; pass {name} of shape "
                f"(..., *input_shape), or flattened, (..., {math.prod(shape)})"
            )
    if input_dim is not None and math.prod(shape) != input_dim:
        raise InvalidInput(
            f"{name} has shape {tuple(points.shape)}: {math.prod(shape)} coordinates on the last "
            f"{'axis' if len(shape) == 1 else 'axes'}, but the network has input dimension "
            f"{input_dim}; pass {name} of shape (..., {input_dim})"
        )
    return shape


def matching(
    features: Any, x: ArrayLike, points: torch.Tensor, dtype: torch.dtype | None, name: str = "x"
) -> torch.Tensor:
    """Return the `points` that were given as `x` in the `dtype`, if there is one, and on the device of the weights.

    Without a dtype in that of the weights, which tensors must have. Of several modules that a function calls, which
    may convert its points itself, only arrays that are no tensors follow the weights, where these agree.
    """
    parameters = [p for m in modules_behind(features) for p in m.parameters() if p.is_floating_point()]
    if module_of(features) is not None:
        parameters = parameters[:1]
    kinds = {(dtype or p.dtype, p.device) for p in parameters}
    if len(kinds) != 1:
        return points if dtype is None else points.to(dtype)
    ((kind, device),) = kinds
    if (kind, device) == (points.dtype, points.device):
        return points
    if not isinstance(x, torch.Tensor) or dtype is not None:
        return points.to(device=device, dtype=kind)
    if module_of(features) is None:
        return points
    raise InvalidInput(
        f"{name} is {points.dtype} on {points.device}, the module's parameters are {kind} on {device}; pass "
        f"{name}.to({str(device)!r}, {kind})"
    )


def points_for(
    features: Any,
    x: ArrayLike,
    input_shape: Any = None,
    dtype: torch.dtype | None = None,
    input_dim: int | None = None,
    name: str = "x",
) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Return copies of the points `x` as the features take them, (..., *shape), and the shape of one, checked."""
    points = as_points(x, name)
    shape = point_shape(points, input_shape, input_dim, name)
    with torch.inference_mode(False):  # tensors of inference mode cannot be differentiated, copies of them can
        points = matching(features, x, points, dtype, name).clone()
    if tuple(points.shape[-len(shape) :]) != shape:
        points = points.reshape(*points.shape[:-1], *shape)
    return points, shape


def float_dtype(dtype: Any) -> torch.dtype:
    """Return `dtype` (None means float64) when it is torch.float32 or torch.float64, or raise InvalidInput."""
    if dtype is None:
        return torch.float64
    if not isinstance(dtype, torch.dtype) or dtype not in (torch.float32, torch.float64):
        raise InvalidInput(f"dtype is {shown(dtype)}; use torch.float64 or torch.float32")
    return dtype


def too_narrow(width: int, input_dim: int) -> SingularMetric:
    """Return the error for a feature map with fewer features than coordinates."""
    return SingularMetric(
        f"width {width} < input dimension {input_dim}: the pulled-back metric JᵀJ has rank at most {width} and no "
        f"inverse anywhere; use width >= {input_dim}, or ask for metric, rank, singular_values or log_pseudo_volume"
    )


def rank_deficient(
    count: int, first: tuple[int, ...], point: torch.Tensor, width: int, rank: int | None = None
) -> SingularMetric:
    """Return the error for a metric that lost rank at `count` points, the first of them `point`."""
    coordinates = ", ".join(f"{v:.6g}" for v in point.tolist()[:6]) + (", ..." if point.numel() > 6 else "")
    where = f"at {count} point(s), first at index {first}, x = ({coordinates})"
    if rank is not None and rank < 0:
        return SingularMetric(
            f"features or their derivatives are not finite {where}: outside their domain, not differentiable, or "
            'overflowing; move the points, or pass singular="nan"'
        )
    has, spared = f", of rank {rank}", 'singular="nan", or ask for the metric only'
    if rank is None:  # among networks, of which none may be left out
        has, spared = "", "or quantities=['kernel', 'metric_radial']"
    return SingularMetric(
        f"the pulled-back metric is singular {where}, with width {width} and input dimension {point.numel()}{has}: too "
        "few units respond there (saturated, inactive, or overflowing), or the features are blind to a direction, as "
        f"after a norm; use a larger width, points of smaller norm, {spared}"
    )


def checked_device(device: Any) -> str:
    """Return the name of a torch device (None means the CPU) on which a tensor can be made, or raise InvalidInput."""
    try:
        name = str(torch.device("cpu" if device is None else device))
        torch.empty(0, device=name)
    except Exception as error:  # of many kinds, AssertionError among them
        raise InvalidInput(
            f"device is {shown(device)}, which torch cannot use here: {str(error).splitlines()[0]}"
        ) from None
    if name.startswith("meta"):
        raise InvalidInput(f"device is {device!r}, which holds no numbers; use 'cpu', 'cuda', ...")
    return name
