"""Pull the metric of feature space back through any feature map, at given points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from numpy.typing import ArrayLike

from infgeo.arguments import flag, one_of, positive_integer, positive_integers
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.feature_map import FeatureMap, checked_features
from infgeo.finite.geometry_at_points import (
    ONE_DIMENSION,
    PIECEWISE_LINEAR,
    Pullback,
    weights_of,
)
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, as_points, matching, optional_dtype, point_shape
from infgeo.finite.preflight import examine
from infgeo.finite.routes import local_geometry
from infgeo.finite.stack import as_stack

__all__ = ["ONE_DIMENSION", "PIECEWISE_LINEAR", "Pullback", "local_geometry", "pullback"]


@plain_torch()
def pullback(
    features: Callable[[torch.Tensor], torch.Tensor],
    x: ArrayLike,
    *,
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    freeze: bool = False,
    batched: bool = True,
    dtype: torch.dtype | None = None,
    singular: str = "raise",
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
) -> Pullback:
    """Pull the flat metric of feature space back through `features` at the points `x`.

    g = JᵀJ with J = ∂Φ/∂x; everything else follows from J and H = ∂²Φ by the Gauss equation, with the second
    fundamental form II = (1 − J g⁻¹ Jᵀ) H: R = |tr_g II|² − |II|²_g.

    The route depends on what `features` is. One hidden layer (a network from `sample_network`, or nn.Sequential of a
    Linear and elementwise activations) is a Hessian metric; stacks of such layers push value, J and H through by matrix
    products; nn.Sequential of piecewise linear modules is flat off its kinks, and `note` says so. Everything else
    (convolutions, residual blocks, attention, any callable) is differentiated by torch, forward mode first. Every
    derivative rule of torch that is used is held against finite differences at a few points: some are wrong. All
    routes compute in the precision of the weights, also under autocast; where the features themselves compute in
    float32 on the way from float64 points, rank and log volume have its tolerance, and `note` says so.

    Batches: features are called as torch modules are, on (B, *input_shape) -> (B, *feature_shape); a callable that
    only takes single points is called on these. All feature axes are flattened, n = their product. The module, its
    parameters, gradients, buffers and mode stay as they are, and so does the random state. Modules that a function
    names are seen, too. The points are copied; the features are not: ask for all quantities before the next training
    step.

    Args:
        features: callable or module, x (..., d) -> (..., n), or for points of several axes (B, *input_shape) ->
            (B, *feature_shape).
        x: points (..., d), or (..., *input_shape): a float32 or float64 tensor, or anything array-like, which becomes
            float64 (or the dtype and device of the module's parameters).
        layer: name of a submodule, as in features.named_modules(), whose output Φ is (of a tuple, dict or dataclass the
            first real tensor); it must be called once in a forward pass. Of a function it is a submodule of a module
            that the function names.
        input_shape: shape of one point where it has several axes, such as (3, 32, 32) for images: x is then
            (..., 3, 32, 32), or flattened, (..., 3072). Coordinates are flattened in row-major order.
        freeze: measure a module in eval mode although it is in training mode.
        batched: False calls the features on one point at a time, (1, *input_shape), where points of a batch would
            depend on each other, as by the steps of an adaptive solver.
        dtype: torch.float64 or torch.float32 measures a module with copies of its weights in that dtype, and converts
            the points; None measures in the dtype of the weights.
        singular: "raise" SingularMetric where the metric has no full rank, or "nan" to mark those points only (the
            log volume element is −inf there). `rank` says which rank it has.
        memory_budget: bytes that intermediate arrays may take, about; by default 256 MiB. Blocks of points that do not
            fit the machine's memory are halved. Results come on top: d² numbers a point for the metric, n d² for II.
            H of one point, n d² numbers, must fit for tensors; where it does not fit the budget, R is summed over pairs
            of directions.

    Returns:
        An object with lazy `.metric` (..., d, d), `.log_volume_element`, `.volume_element`, `.ricci_scalar`,
        `.gaussian_curvature` (d = 2), `.rank`, `.log_pseudo_volume` (...), `.singular_values` (..., min(n, d)),
        `.ricci_tensor` (..., d, d), `.christoffel` (..., d, d, d), `.second_fundamental_form` (..., n, d, d), and the
        method `.sectional_curvature(u, v)`.

    Raises:
        InvalidInput: for x of a wrong dtype or shape or with NaN or infinities; features that give no (..., n), are
            random, depend on other points of the batch, hide something from autograd or have weights that are not
            finite; a training mode that matters; an unknown layer; on access, when the weights have changed since.
        SingularMetric: when a quantity needs the inverse of a metric without full rank (on access).

    Source: arXiv 2301.11375, section 2; the Gauss equation as in any text on submanifolds.

    >>> import torch
    >>> def sphere(u):  # the unit sphere in polar coordinates
    ...     t, p = u.unbind(-1)
    ...     return torch.stack((t.sin() * p.cos(), t.sin() * p.sin(), t.cos()), -1)
    >>> f"{pullback(sphere, [1.0, 0.5]).ricci_scalar:.12f}"
    '2.000000000000'
    """
    dtype, batched = optional_dtype(dtype), flag(batched, "batched")
    checked_features(features, layer, freeze, dtype)
    singular = one_of(singular, "singular", ("raise", "nan"))
    budget = positive_integer(memory_budget, "memory_budget")
    input_shape = None if input_shape is None else positive_integers(input_shape, "input_shape")
    axes = 1 if input_shape is None else len(input_shape)
    stack = as_stack(features, axes, layer, dtype)
    points = as_points(x)
    shape = point_shape(points, input_shape, None if stack is None else stack.input_dim)
    with torch.inference_mode(False):  # tensors of inference mode cannot be differentiated, copies of them can
        points = matching(features, x, points, dtype).clone()
    if len(shape) > 1 and tuple(points.shape[-len(shape) :]) != shape:
        points = points.reshape(*points.shape[:-1], *shape)
    feature_map = FeatureMap(
        features, shape, layer, freeze, one_by_one=not batched, dtype=dtype, shape_given=input_shape is not None
    )
    source = examine(feature_map, points.reshape(-1, math.prod(shape)), stack)
    return Pullback(source, points, singular, budget, weights_of(features))
