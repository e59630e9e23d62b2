"""Pictures in one line: maps of the geometry, metric ellipses, geodesics and histories. Matplotlib axes in, axes out.

Every function draws on `axes`, or on those of a new figure without, and returns them; `axes.figure` shows itself in a
notebook, and `axes.figure.savefig(...)` keeps it. All raise MissingExtra without matplotlib
(`pip install 'infgeo[plot]'`).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from infgeo import figure_style as style
from infgeo.arguments import flag, instance, one_of, real_number
from infgeo.errors import InvalidInput
from infgeo.finite import PathGeodesic, pullback, pullback_slice
from infgeo.finite.inputs import as_points
from infgeo.magnification import decision_boundary
from infgeo.numeric.geodesics.radial import RadialGeodesic
from infgeo.tracking.history import History
from infgeo.tracking.probes import Probe

__all__ = ["geodesics", "geometry_map", "metric_ellipses", "training_curve"]

_LABELS = {
    "log10_volume": r"$\log_{10}\sqrt{\det g}$",
    "ricci_scalar": "Ricci scalar $R$",
    "anisotropy": r"$\log_{10}$ largest over smallest stretching",
}


def _axes(axes: Any) -> Any:
    style.require_matplotlib("drawing a picture")
    if axes is not None:
        from matplotlib.axes import Axes

        return instance(axes, "axes", Axes, "matplotlib axes, or None")
    with style.house_style():
        return style.new_figure(style.SINGLE_COLUMN, 2.7).subplots()


def geometry_map(
    features: Callable[[torch.Tensor], torch.Tensor],
    at: Probe,
    quantity: str = "log10_volume",
    *,
    logits: Callable[[torch.Tensor], torch.Tensor] | None = None,
    axes: Any = None,
    **options: Any,
) -> Any:
    """Draw the geometry that `features` induces over a grid or a plane of inputs, as colours.

    Args:
        features: module or callable, as for `infgeo.finite.pullback`.
        at: `infgeo.tracking.grid(...)` of two coordinates, or `infgeo.tracking.plane(...)` through three inputs: there
            the geometry is that of the slice.
        quantity: "log10_volume", "ricci_scalar" (positive on spheres), or "anisotropy", the logarithm of the ratio of
            the singular values of the Jacobian.
        logits: maps inputs to logits, whose decision boundary is drawn on top.
        axes: matplotlib Axes; None makes a figure.
        options: those of `pullback`: layer, freeze, dtype, ...

    Raises InvalidInput for another quantity or probe, and what `pullback` raises.
    """
    instance(at, "at", Probe, "a probe of infgeo.tracking, such as grid((-1, 1))")
    quantity = one_of(quantity, "quantity", _LABELS)
    if len(at.shape) != 2:
        raise InvalidInput(f"at is the probe {at.name!r}, {at.kind}; pass a grid or a plane of two coordinates")
    axes = _axes(axes)
    options = {"singular": "nan"} | options
    if at.origin is None or at.directions is None:
        result = pullback(features, at.inputs, **options)
    else:
        shape: dict[str, Any] = {"input_shape": at.input_shape} | options
        result = pullback_slice(features, at.coordinates, at.origin, at.directions, **shape)
    values = _values(result, quantity).reshape(at.shape)
    grid = at.coordinates.numpy().reshape(*at.shape, 2)
    x, y = grid[0, :, 0], grid[:, 0, 1]
    with style.house_style():
        from matplotlib.colors import Normalize

        low, high = style.limits([values])
        signed = quantity == "ricci_scalar" and low < 0 < high
        bound = max(-low, high)
        norm = Normalize(-bound, bound) if signed else Normalize(low, high)
        image = style.field(axes, x, y, values, norm, style.diverging() if signed else style.SEQUENTIAL)
        if logits is not None:
            with torch.no_grad():
                scores = torch.as_tensor(logits(at.inputs)).detach().cpu().numpy()
            style.boundary(axes, decision_boundary(at.coordinates.numpy(), scores, at.shape).polylines)
        style.shared_colourbar(axes.figure, image, [axes], _LABELS[quantity])
    return axes


def _values(result: Any, quantity: str) -> np.ndarray:
    if quantity == "ricci_scalar":
        return result.ricci_scalar.cpu().numpy()
    if quantity == "log10_volume":
        return result.log_volume_element.cpu().numpy() / math.log(10)
    stretchings = result.singular_values.cpu().numpy()
    with np.errstate(divide="ignore"):
        return np.log10(stretchings[..., 0] / stretchings[..., -1])


def metric_ellipses(
    features: Callable[[torch.Tensor], torch.Tensor],
    points: ArrayLike,
    *,
    size: float | None = None,
    axes: Any = None,
    **options: Any,
) -> Any:
    """Draw around each of the points (N, 2) the ellipse of the steps that are `size` long in feature space.

    The ellipse is vᵀ g v = size² (Tissot's indicatrix): small where space is magnified, long across the direction in
    which features change most. Without `size` the largest reaches half of the way to its nearest neighbour.

    Raises SingularMetric where the metric has no full rank, and what `pullback` raises. `options` are those of
    `pullback`.
    """
    axes = _axes(axes)
    size = None if size is None else real_number(size, "size", minimum=0.0, strict=True)
    result = pullback(features, points, **options)
    centres = np.asarray(result.x.detach().cpu().numpy(), dtype=float).reshape(-1, result.input_dim)
    if result.input_dim != 2:
        raise InvalidInput(f"points have {result.input_dim} coordinates; ellipses are drawn of points (N, 2)")
    eigenvalues, vectors = np.linalg.eigh(result.metric.cpu().numpy().reshape(-1, 2, 2))
    half_axes = 1 / np.sqrt(eigenvalues)  # of steps of length 1, (N, 2)
    if size is None:
        apart = np.linalg.norm(centres[:, None] - centres, axis=-1) + np.diag(np.full(len(centres), np.inf))
        nearest = apart.min() if len(centres) > 1 else 1.0
        size = nearest / 2 / half_axes.max()
    with style.house_style():
        from matplotlib.collections import EllipseCollection

        angles = np.degrees(np.arctan2(vectors[:, 1, 0], vectors[:, 0, 0]))
        width, height = 2 * size * half_axes.T
        where: dict[str, Any] = {"units": "xy", "offsets": centres, "offset_transform": axes.transData}
        look: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "linewidths": 0.7, "zorder": 5}
        ellipses = EllipseCollection(width, height, angles, **where, **look)
        axes.add_collection(ellipses)
        axes.update_datalim(centres)
        axes.autoscale_view()
        axes.set_aspect("equal")
    return axes


def geodesics(found: Any, *, axes: Any = None, straight: bool = True) -> Any:
    """Draw geodesics in the plane, with their ends, and dotted the straight lines between these.

    Args:
        found: what `infgeo.finite.geodesic` or `RadialMetric.geodesic` returned for points (..., 2), or paths
            (..., m, 2).
        axes: matplotlib Axes; None makes a figure.
        straight: whether to draw the straight lines.

    Raises InvalidInput for paths of another dimension.
    """
    axes, straight = _axes(axes), flag(straight, "straight")
    points: Any = found.points if isinstance(found, PathGeodesic | RadialGeodesic) else found
    if isinstance(found, RadialGeodesic):
        points = found.points(np.linspace(0, 1, 129))
    paths = as_points(points, name="found").detach().cpu().numpy()
    if paths.ndim < 2 or paths.shape[-1] != 2:
        raise InvalidInput(f"found has shape {paths.shape}; pass geodesics in the plane, or paths (..., m, 2)")
    with style.house_style():
        for path in paths.reshape(-1, *paths.shape[-2:]):
            if straight:
                axes.plot(*path[[0, -1]].T, ":", color="0.4", linewidth=0.9, zorder=5)
            axes.plot(*path.T, "-", color="white", linewidth=2.4, zorder=5)
            axes.plot(*path.T, "-", color=style.LINES[1][0], linewidth=1.3, zorder=6)
            axes.plot(*path[[0, -1]].T, "o", color="black", markersize=2.5, zorder=6)
        axes.set_aspect("equal")
    return axes


def training_curve(
    history: History,
    quantity: str = "log10_volume",
    *,
    layer: str | None = None,
    probe: str | None = None,
    axes: Any = None,
) -> Any:
    """Draw a recorded quantity against the step: its median over the points of a probe, and from 10 to 90 %.

    Args:
        history: `tracker.history`, or what `infgeo.tracking.load` returned.
        quantity, layer, probe: as for `History.quantity`; one number a point.
        axes: matplotlib Axes; None makes a figure.

    Raises InvalidInput for what was not recorded, or is not one number a point.
    """
    instance(history, "history", History, "a history of infgeo.tracking")
    values = history.quantity(quantity, layer, probe).astype(float)
    if values.ndim != 2 or not len(values):
        raise InvalidInput(f"quantity {quantity!r} has shape {values.shape}; draw what has one number a point (S, P)")
    axes = _axes(axes)
    low, middle, high = np.nanquantile(np.where(np.isfinite(values), values, np.nan), (0.1, 0.5, 0.9), axis=1)
    with style.house_style():
        colour, marker, dash = style.LINES[len(axes.lines) % len(style.LINES)]
        axes.fill_between(history.steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(history.steps, middle, marker=marker, linestyle=dash, color=colour, label=layer or quantity)
        axes.set(xlabel="step", ylabel=_LABELS.get(quantity, quantity))
    return axes
