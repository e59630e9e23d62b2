"""Pull the metric of feature space back through any feature map, at given points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from infgeo.arguments import positive_integer, positive_integers
from infgeo.finite.examine import examine
from infgeo.finite.feature_map import FeatureMap, checked_module
from infgeo.finite.geometry import ONE_DIMENSION, PIECEWISE_LINEAR, Pullback, checked_singular, weights_of
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, as_points, matching, point_shape
from infgeo.finite.measure import Source, local_geometry
from infgeo.finite.stack import as_stack, is_piecewise_linear

__all__ = ["ONE_DIMENSION", "PIECEWISE_LINEAR", "Pullback", "local_geometry", "pullback"]


def pullback(
    features: Callable[[torch.Tensor], torch.Tensor],
    x: Any,
    *,
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    freeze: bool = False,
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
    derivative rule of torch that is used is held against finite differences at the first point: some are wrong.

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
        layer: name of a submodule, as in features.named_modules(), whose output Φ is (the first one of several); it
            must be called once in a forward pass.
        input_shape: shape of one point where it has several axes, such as (3, 32, 32) for images: x is then
            (..., 3, 32, 32), or flattened, (..., 3072). Coordinates are flattened in row-major order.
        freeze: measure a module in eval mode although it is in training mode.
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
    module = checked_module(features, layer, freeze)
    singular = checked_singular(singular)
    budget = positive_integer(memory_budget, "memory_budget")
    input_shape = None if input_shape is None else positive_integers(input_shape, "input_shape")
    axes = 1 if input_shape is None else len(input_shape)
    stack = as_stack(features, axes, layer)
    points = as_points(x)
    shape = point_shape(points, input_shape, None if stack is None else stack.input_dim)
    with torch.inference_mode(False):  # tensors of inference mode cannot be differentiated, copies of them can
        points = matching(module, points, convert=not isinstance(x, torch.Tensor)).clone()
    if len(shape) > 1 and tuple(points.shape[-len(shape) :]) != shape:
        points = points.reshape(*points.shape[:-1], *shape)
    feature_map = FeatureMap(features, shape, layer, freeze)
    source = Source(feature_map, stack)
    if stack is None:
        seen = examine(feature_map, points.reshape(-1, math.prod(shape)))
        source = Source(seen.feature_map, None, seen.width, seen.largest)
    flat = is_piecewise_linear(features, layer)
    note = ONE_DIMENSION if math.prod(shape) == 1 else PIECEWISE_LINEAR if flat else ""
    source = source.known_flat() if flat else source
    return Pullback(source, points, source.width, note, singular, budget, weights_of(features))
