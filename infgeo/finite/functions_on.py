"""Functions of the inputs in a pulled-back metric: their Laplacian, at points or on a mesh, and their level sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import ArrayLike

from infgeo.arguments import shown
from infgeo.display import Displayed
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.geometry_at_points import Pullback
from infgeo.finite.output_metric import chord_squares
from infgeo.finite.path_energy import features_of
from infgeo.finite.pullback import pullback
from infgeo.finite.routes import reduced


@dataclass(frozen=True, repr=False)
class LevelSets(Displayed):
    """The level sets of a function through points (...), hypersurfaces, made by `level_sets`.

    Args:
        normal: (..., d), of length 1 in the metric, to where the function grows.
        principal_curvatures: (..., d − 1), descending; 1/a each on spheres of radius a around lower values.
    """

    normal: torch.Tensor
    principal_curvatures: torch.Tensor

    def _facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("mean_curvature", "gaussian_curvature")}

    @property
    def mean_curvature(self) -> torch.Tensor:
        """The mean of the principal curvatures (...): div n / (d − 1). For d = 2 the curvature of the curve."""
        return self.principal_curvatures.mean(dim=-1)

    @property
    def gaussian_curvature(self) -> torch.Tensor:
        """The product of the principal curvatures (...), of Gauss and Kronecker."""
        return self.principal_curvatures.prod(dim=-1)


def laplacian(function: Callable[..., Any], geometry: Pullback) -> torch.Tensor:
    """Return the Laplace-Beltrami operator of a function at the points of a pullback, (...).

    Δf = ∂_i(√g g^ij ∂_j f)/√g = g^ij (∂_i ∂_j f − Γ^k_ij ∂_k f), by torch's derivatives; below 0 where f has a maximum.

    Args:
        function: callable or module of the same points (t, on a slice), which gives one number for each, (...) or
            (..., 1).
        geometry: what `pullback` returns. For the flat Laplacian, of `torch.nn.Identity()`.

    Raises InvalidInput as `pullback` does for the function, SingularMetric where the metric has no full rank.

    >>> def sphere(u):
    ...     t, p = u.unbind(-1)
    ...     return torch.stack((t.sin() * p.cos(), t.sin() * p.sin(), t.cos()), -1)
    >>> f"{laplacian(lambda u: u[..., 0].cos(), pullback(sphere, [1.0, 0.5])):.12f}"  # −2 cos(1)
    '-1.080604611736'
    """
    _, bend, metric = _covariant(function, geometry)
    value = torch.linalg.solve_ex(metric, bend)[0].diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return value.reshape(geometry.christoffel.shape[:-3])


def level_sets(function: Callable[..., Any], geometry: Pullback) -> LevelSets:
    """Return normals and curvatures of the level sets of a function, such as a logit, at the points of a pullback.

    The principal curvatures are the eigenvalues of Hess f / |∇f| on the tangent space of the level set, both in the
    metric. Signs: positive on spheres around lower values, whichever way the features bend the space.

    Args:
        function: as for `laplacian`: one logit, or the difference of two, whose level 0 is the decision boundary.
        geometry: what `pullback` returns. In Euclidean input space, of `torch.nn.Identity()`.

    Raises SingularMetric where the gradient vanishes or the metric has no full rank, InvalidInput for d = 1.

    >>> radii = level_sets(lambda x: x.norm(dim=-1), pullback(torch.nn.Identity(), [[0.0, 3.0, 4.0]]))
    >>> [f"{value:.6f}" for value in radii.principal_curvatures[0]]
    ['0.200000', '0.200000']
    """
    slope, bend, metric = _covariant(function, geometry)
    if slope.shape[-1] == 1:
        raise InvalidInput("level sets of a function of one coordinate are points, without curvature")
    lower = torch.linalg.cholesky_ex(metric).L
    frame = torch.linalg.solve_triangular(lower, lower.new_ones(lower.shape[-1]).diag().expand_as(lower), upper=False)
    ahead = frame @ slope[..., None]
    length = ahead.norm(dim=(1, 2))
    if geometry.singular == "raise" and not bool((length > 0).all()):
        raise SingularMetric("the gradient of the function vanishes at some point, and it has no level set there")
    unit = ahead / length[:, None, None]
    tangent = torch.linalg.qr(torch.nan_to_num(unit), mode="complete")[0][..., 1:]
    shape = tangent.mT @ frame @ bend @ frame.mT @ tangent / length[:, None, None]
    known = torch.isfinite(shape).all(dim=-1).all(dim=-1, keepdim=True)
    values = torch.linalg.eigvalsh(torch.where(known[..., None], (shape + shape.mT) / 2, 0.0)).flip(-1)
    values = torch.where(known, values, torch.nan)
    (*batch, _, _, d) = geometry.christoffel.shape
    return LevelSets((frame.mT @ unit).reshape(*batch, d), values.reshape(*batch, d - 1))


def _covariant(function: Any, there: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ∂f (P, d), its covariant derivative (P, d, d), and the metric (P, d, d)."""
    if not isinstance(there, Pullback):
        raise InvalidInput(f"geometry is a {type(there).__name__}; pass what pullback(features, x) returns")
    if not callable(function):
        raise InvalidInput(f"function is {shown(function)}; pass a callable x -> one number for each point")
    axes = len(there.input_shape)

    def column(x: torch.Tensor) -> Any:
        value = function(x)
        return value[..., None] if isinstance(value, torch.Tensor) and value.ndim == x.ndim - axes else value

    one = pullback(column, there.x, input_shape=there.input_shape)
    if one.width != 1:
        raise InvalidInput(f"function gives {one.width} numbers for each point; pass one that gives 1, such as a logit")
    d, points = there.input_dim, there.x.reshape(-1, there.input_dim)
    gamma, metric = there.christoffel.reshape(-1, d, d, d), there.metric.reshape(-1, d, d)
    parts = reduced(one.source, points, True, lambda *both: [part[:, 0].double() for part in both], there.memory_budget)
    slope, bend = (torch.cat(part) for part in zip(*parts, strict=True))
    return slope, bend - torch.einsum("pkij,pk->pij", gamma, slope), metric


@plain_torch()
def mesh_laplacian(
    features: Callable[..., Any], vertices: ArrayLike, triangles: ArrayLike | None = None, **options: Any
) -> tuple[Any, numpy.ndarray]:
    """Return the Laplace-Beltrami operator on a mesh, Δu ≈ −S u / masses: S (V, V) of SciPy, sparse, and masses (V,).

    S has the cotangent weights of triangles whose sides are as long as chords in feature space, so that uᵀ S u is the
    integral of |∇u|² of a piecewise linear u, and masses are thirds of the areas around. Eigenvalues are those of
    S u = λ diag(masses) u. Sides that the mesh does not share are a boundary, with Neumann's condition.

    Args:
        features: as for `pullback`, whose `options` these are.
        vertices: V points (V, d): a grid of the plane, or a surface in more dimensions.
        triangles: (T, 3) numbers of vertices; None for Delaunay's of a plane, d = 2.

    Raises InvalidInput as `pullback`, and for triangles without area.

    Source: Pinkall & Polthier 1993, Computing discrete minimal surfaces and their conjugates; Meyer et al. 2003.

    >>> corners = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> stiffness, masses = mesh_laplacian(lambda x: 2 * x, corners)
    >>> f"{masses.sum():.6f}", stiffness.shape
    ('4.000000', (4, 4))
    """
    from scipy.sparse import coo_matrix
    from scipy.spatial import Delaunay

    there = pullback(features, vertices, **options)
    points = there.x.reshape(-1, there.input_dim)
    if triangles is None and (points.shape[1] != 2 or len(points) < 3):
        raise InvalidInput(
            f"triangles is None, and vertices are {tuple(points.shape)}; pass (T, 3), or a plane's points"
        )
    try:
        corners = numpy.asarray(Delaunay(points.cpu().numpy()).simplices if triangles is None else triangles)
    except Exception as error:  # Qhull's, and what NumPy makes no array of
        raise InvalidInput(f"triangles cannot be made ({str(error).splitlines()[0]}); pass (T, 3) integers") from None
    if corners.dtype.kind not in "iu" or corners.ndim != 2 or corners.shape[1] != 3 or not corners.size:
        raise InvalidInput(f"triangles has shape {corners.shape} of {corners.dtype}; pass (T, 3) integers")
    if corners.min() < 0 or corners.max() >= len(points):
        raise InvalidInput(f"triangles names vertices {corners.min()} to {corners.max()}; there are {len(points)}")
    rows = torch.as_tensor(corners.astype(numpy.int64), device=points.device)
    around = features_of(there.source, points[rows[:, [0, 1, 2, 0]]], there.memory_budget)
    # of the sides 01, 12, 20, each opposite to corner 2, 0, 1
    squares = chord_squares(there.source.form, around).cpu().numpy()
    a, b, c = numpy.sort(numpy.sqrt(squares), axis=1)[:, ::-1].T
    # Heron's formula in the order of Kahan, which keeps the digits of needles
    heron = (a + (b + c)) * (c - (a - b)) * (c + (a - b)) * (a + (b - c))
    if not (heron > 0).all():
        raise InvalidInput(f"{int((~(heron > 0)).sum())} triangle(s) have no area, or no features that are finite")
    area = numpy.sqrt(heron) / 4
    weight = (squares.sum(axis=1, keepdims=True) - 2 * squares) / (8 * area[:, None])  # cot/2 of the opposite corner
    first, second = corners, numpy.roll(corners, -1, axis=1)
    i, j = numpy.concatenate([first.ravel(), second.ravel()]), numpy.concatenate([second.ravel(), first.ravel()])
    off = coo_matrix((numpy.tile(weight.ravel(), 2), (i, j)), shape=(len(points),) * 2).tocsr()
    diagonal = numpy.asarray(off.sum(axis=1)).ravel()
    masses = numpy.bincount(corners.ravel(), numpy.repeat(area / 3, 3), len(points))
    number = numpy.arange(len(points))
    return coo_matrix((diagonal, (number, number))).tocsr() - off, masses
