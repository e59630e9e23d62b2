"""Pull the metric of feature space back through any feature map, at given points or on a line or plane."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import ArrayLike

from infgeo.arguments import flag, one_of, positive_integer, positive_integers
from infgeo.errors import InvalidInput
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.feature_map import FeatureMap, Source, checked_features
from infgeo.finite.geometry_at_points import Pullback, weights_of
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, as_points, float_dtype, matching, point_shape, points_for
from infgeo.finite.output_metric import EMBEDDINGS, OutputMetric, fisher, gaussian_metric
from infgeo.finite.preflight import MOST_TOGETHER, examine
from infgeo.finite.stack import as_stack


@plain_torch()
def pullback(
    features: Callable[[torch.Tensor], torch.Tensor],
    x: ArrayLike,
    *,
    output: str | OutputMetric = "euclidean",
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

    The route depends on what `features` is: one hidden layer (from `sample_network`, or nn.Sequential of a Linear and
    elementwise activations) is a Hessian metric, stacks of such layers push value, J and H through by matrix products,
    piecewise linear modules are flat off their kinks (see `note`), and everything else is differentiated by torch,
    forward mode first, each of its rules held against finite differences at a few points: some are wrong. All routes
    compute in the precision of the weights, also under autocast.

    Features are called as torch modules are, on (B, *input_shape) -> (B, *feature_shape), or on single points where
    they take no batches; all feature axes are flattened, n = their product. The module, its parameters, gradients,
    buffers and mode stay as they are, and so does the random state; so for modules that a function names. Ask for all
    quantities before the next training step.

    Args:
        features: callable or module.
        x: points (..., d), or (..., *input_shape): a float32 or float64 tensor, or anything array-like, which becomes
            float64 (or the dtype and device of the module's parameters).
        output: "euclidean", the flat metric of feature space, or "fisher" for the Fisher metric of classes whose logits
            the features are; also "hellinger", "bernoulli", "poisson" and "expected": see `fisher`. "gaussian" is the
            Fisher metric of normal distributions whose means and logarithms of scales the features are,
            (μ_1, …, log σ_1, …): g = Σ (dμ² / σ² + 2 (d log σ)²), R = −1 for one mean and one scale. A function
            h(f), (n,) -> (n, n) in float64 torch operations, symmetric and with no negative eigenvalue, gives
            g = Jᵀ h J. Its curvature takes d⁴ numbers a point, and is refused where its terms cancel to 3 digits, as in
            logits of probabilities below 1e-12 or so: name the family where there is one.
        layer: name of a submodule, as in features.named_modules(), whose output Φ is (of a tuple, dict or dataclass the
            first real tensor); it must be called once in a forward pass.
        input_shape: shape of one point where it has several axes, such as (3, 32, 32): x may also be flattened, in
            row-major order, as all results are.
        freeze: measure a module in eval mode although it is in training mode.
        batched: False calls the features on one point at a time, (1, *input_shape), where points of a batch would
            depend on each other, as by the steps of an adaptive solver.
        dtype: torch.float64 or torch.float32 measures a module with copies of its weights in that dtype, and converts
            the points; None measures in the dtype of the weights.
        singular: "raise" SingularMetric where the metric has no full rank, or "nan" to mark those points only (the
            log volume element is −inf there). `rank` says which rank it has.
        memory_budget: bytes that intermediate arrays may take, about; by default 256 MiB. Results come on top. Where H
            of one point, n d² numbers, does not fit, R is summed over pairs of directions.

    Returns:
        A `Pullback`, whose quantities are computed when they are asked for: `.metric`, `.log_volume_element`,
        `.ricci_scalar`, `.rank`, `.singular_values`, `.christoffel`, `.sectional_curvature(u, v)`, ...

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
    dtype, batched = None if dtype is None else float_dtype(dtype), flag(batched, "batched")
    features = _with_output(features, output, layer)
    checked_features(features, layer, freeze, dtype)
    singular = one_of(singular, "singular", ("raise", "nan"))
    budget = positive_integer(memory_budget, "memory_budget")
    input_shape = None if input_shape is None else positive_integers(input_shape, "input_shape")
    axes = 1 if input_shape is None else len(input_shape)
    stack = as_stack(features, axes, layer, dtype)
    points, shape = points_for(features, x, input_shape, dtype, None if stack is None else stack.input_dim)
    feature_map = FeatureMap(
        features, shape, layer, freeze, one_by_one=not batched, dtype=dtype, shape_given=input_shape is not None
    )
    source = _measured_by(output, examine(feature_map, points.reshape(-1, math.prod(shape)), stack))
    return Pullback(source, points, singular, budget, weights_of(features))


@plain_torch()
def pullback_slice(
    features: Callable[[torch.Tensor], torch.Tensor],
    t: ArrayLike,
    origin: ArrayLike,
    directions: ArrayLike,
    *,
    output: str | OutputMetric = "euclidean",
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    freeze: bool = False,
    batched: bool = True,
    dtype: torch.dtype | None = None,
    singular: str = "raise",
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
) -> Pullback:
    """Measure the geometry that `features` induces on a line or plane through inputs, at the points t of the slice.

    The slice is x(t) = origin + Σ t_a u_a, its metric the pullback of Φ∘x: h_ab = u_aᵀ g u_b. For two directions
    `gaussian_curvature` is that of the surface Φ(x(t)); it is not the sectional curvature of the plane in the metric of
    the whole input space, which `Pullback.sectional_curvature` gives: a plane of inputs is bent in input space, too.
    For one, `length_element` is the speed |∂Φ/∂t|. Derivatives are taken along the directions only: one image of 3072
    pixels costs what a point of the plane costs.

    Through images x0, x1, x2: origin x0, directions (x1 − x0, x2 − x0); t = (1, 0) is x1 and t = (0, 1) is x2.

    Args:
        features, output, layer, input_shape, freeze, batched, dtype, singular, memory_budget: as for `pullback`.
        t: coordinates in the slice (..., k).
        origin: one input, (d,) or of shape `input_shape`.
        directions: k of them, (k, d) or (k, *input_shape), linearly independent; k is 1 or 2 mostly, and may be more.

    Returns:
        The same object as `pullback`, with d = k: `.metric` (..., k, k), `.gaussian_curvature`, `.length_element`, ...

    Raises:
        InvalidInput: as for `pullback`, and for directions that do not fit the origin or are linearly dependent.

    >>> import torch
    >>> def radial(x):  # R^100 without 0 onto the unit sphere
    ...     return x / x.norm(dim=-1, keepdim=True)
    >>> origin, directions = torch.ones(100, dtype=torch.float64), torch.eye(100, dtype=torch.float64)[:2]
    >>> f"{pullback_slice(radial, [0.5, -2.0], origin, directions).gaussian_curvature:.12f}"
    '1.000000000000'
    """
    dtype, batched = None if dtype is None else float_dtype(dtype), flag(batched, "batched")
    features = _with_output(features, output, layer)
    checked_features(features, layer, freeze, dtype)
    singular = one_of(singular, "singular", ("raise", "nan"))
    budget = positive_integer(memory_budget, "memory_budget")
    with torch.inference_mode(False):
        start, ways = _slice(features, origin, directions, input_shape, dtype)
        coordinates = as_points(t, name="t").to(start).clone()
    if coordinates.shape[-1] != len(ways):
        raise InvalidInput(
            f"t has shape {tuple(coordinates.shape)}, and there are {len(ways)} directions; pass t of shape "
            f"(..., {len(ways)})"
        )
    shape = tuple(start.shape)
    whole = FeatureMap(
        features, shape, layer, freeze, one_by_one=not batched, dtype=dtype, shape_given=input_shape is not None
    )
    stack = as_stack(features, len(shape), layer, dtype)
    stack = stack if stack is not None and stack.input_dim == math.prod(shape) else None
    slice_of = start.reshape(-1), ways.reshape(len(ways), -1)
    some = coordinates.reshape(-1, len(ways))[: max(2, MOST_TOGETHER // math.prod(shape))]
    source = _measured_by(output, examine(whole, slice_of[0] + some @ slice_of[1], stack)).sliced(*slice_of)
    return Pullback(source, coordinates, singular, budget, weights_of(features))


def _slice(
    features: Any,
    origin: ArrayLike,
    directions: ArrayLike,
    input_shape: Sequence[int] | None,
    dtype: torch.dtype | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return origin (*shape) and directions (k, *shape) in the dtype of the module, checked."""
    start = as_points(origin, name="origin")
    shape = point_shape(start, input_shape, None, "origin")
    if start.numel() != math.prod(shape):
        raise InvalidInput(f"origin has shape {tuple(start.shape)}; pass one point of shape {shape}")
    start = matching(features, origin, start, dtype, name="origin").reshape(shape).clone()
    if isinstance(directions, list | tuple) and any(isinstance(u, torch.Tensor) for u in directions):
        directions = torch.stack([as_points(u, name="a direction").to(start).reshape(-1) for u in directions])
    ways = as_points(directions, name="directions").to(start)
    if ways.ndim < 2 or ways.shape[0] == 0 or ways[0].numel() != start.numel():
        raise InvalidInput(
            f"directions has shape {tuple(ways.shape)}; pass (k, {', '.join(map(str, shape))}): k inputs' differences"
        )
    rows = ways.reshape(len(ways), -1).to(torch.float64)
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    values = torch.linalg.svdvals(rows / torch.where(length > 0, length, 1.0))
    if len(values) < len(rows) or float(values[-1]) < 16 * len(rows) * torch.finfo(start.dtype).eps:
        raise InvalidInput(
            f"directions are linearly dependent: the least singular value of the {len(rows)} unit vectors is "
            f"{float(values[-1]):.1e}; pass directions that span {len(rows)} dimensions"
        )
    return start, ways.reshape(len(ways), *shape).clone()


def _with_output(features: Callable[..., Any], output: str | OutputMetric, layer: str | None) -> Callable[..., Any]:
    """Return the features that `output` makes of a network's outputs, for `pullback`."""
    if callable(output):
        return features
    family = one_of(output, "output", ("euclidean", "fisher", "gaussian", *EMBEDDINGS))
    if family == "euclidean" or not callable(features):
        return features
    if layer is not None:
        raise InvalidInput(f"output={output!r} is the metric of predictions, and layer={layer!r} is none: leave it out")
    return features if family == "gaussian" else fisher(features, "categorical" if family == "fisher" else family)


def _measured_by(output: str | OutputMetric, source: Source) -> Source:
    """Return the source with the metric of its outputs, where that is not flat."""
    if output in ("gaussian", "expected") and source.width % 2:
        raise InvalidInput(
            f"output={output!r} takes as many logarithms of scales as means, and features give {source.width} numbers"
        )
    if not callable(output) and output != "gaussian":
        return source
    form, largest = output if callable(output) else gaussian_metric, max(source.largest, source.width**2)
    return replace(source, form=form, flat=False, largest=largest)
