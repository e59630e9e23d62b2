"""How far the geometries of two networks are apart at the same inputs, from their metrics, or from their kernels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from infgeo.arguments import items
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.magnification.checks import real_array, varies
from infgeo.report_text import Record


@dataclass(frozen=True, repr=False)
class Comparison(Record):
    """Two metrics g_1 and g_2 at N points.

    `log_ratios` (N, d), descending, are the logarithms of the eigenvalues of g_2^-1 g_1: of the squares of lengths in
    the first over those in the second, along the directions in which these are extreme. From them, at each point (N,),
    `log_volume_ratio` = sum/2 = log sqrt(det g_1/det g_2), `anisotropy` = (largest - least)/2, and `distances` =
    |log g_2^-1/2 g_1 g_2^-1/2|_F, affine-invariant: no coordinates matter.

    `distance` is the root mean square of the distances over the points; `scale_free_distance` the same for c g_1 with
    the constant c that makes it least, `shape_distance` with such a c at each point. Where there was a null, `p` has
    the share of its networks that are as far from the second one, or farther, the first among them, and `networks`
    counts them.
    """

    log_ratios: np.ndarray
    distance: float
    scale_free_distance: float
    shape_distance: float
    p: dict[str, float] | None = None
    networks: int = 0

    @property
    def log_volume_ratio(self) -> np.ndarray:
        """Log sqrt(det g_1/det g_2), (N,)."""
        return self.log_ratios.sum(-1) / 2

    @property
    def anisotropy(self) -> np.ndarray:
        """Log of the largest ratio of lengths over the least, (N,)."""
        return (self.log_ratios[:, 0] - self.log_ratios[:, -1]) / 2

    @property
    def distances(self) -> np.ndarray:
        """The affine-invariant distance of the metrics, (N,)."""
        return np.linalg.norm(self.log_ratios, axis=-1)

    def statistics(self) -> dict[str, float]:
        """Return what `over_seeds` sums up: distances, and means over the points."""
        means = {"log volume ratio": self.log_volume_ratio.mean(), "anisotropy": self.anisotropy.mean()}
        return {name: float(value) for name, value in means.items()} | _distances(self.log_ratios)

    def alternatives(self) -> dict[str, str | None]:
        """Return the side of the claim for each of `statistics`: only the volume has a sign."""
        return dict.fromkeys(self.statistics()) | {"log volume ratio": "two-sided"}


def compare(
    first: ArrayLike,
    second: ArrayLike,
    *,
    directions: ArrayLike | None = None,
    null: Sequence[ArrayLike] | None = None,
) -> Comparison:
    """Return how the metrics of two networks differ at the same inputs.

    Args:
        first, second: metrics (N, d, d), as of `infgeo.finite.pullback(network, x).metric`; of the infinitely wide
            network, `infgeo.MLP(...).numeric(...).metric(x)`; or of the same network before training.
        directions: (k, d), to compare slices x + span of these, where the metrics have no full rank.
        null: metrics (N, d, d) of other networks, as many as there are: drawn as the first would be if it had nothing
            to tell, such as at initialisation. p is exact where first and null are exchangeable: 1/(K + 1) at least.

    Domain and limits: log ratios have errors of about 1e-16 times the square root of the metrics' condition numbers,
    besides what the metrics have. Over several pairs of networks take `over_seeds` of the results.

    Raises InvalidInput for NaN, infinities and arrays that do not fit or are not symmetric, and SingularMetric where a
    metric has no full rank.

    Source: Pennec, Fillard & Ayache 2006, "A Riemannian framework for tensor computing", for the distance.

    Example:
        >>> import numpy as np
        >>> result = compare([np.diag([4.0, 1.0])], [np.diag([1.0, 1.0])])  # twice as long along one axis
        >>> print(np.exp(result.log_ratios), np.exp(result.log_volume_ratio))
        [[4. 1.]] [2.]
        >>> print(f"{result.distance:.4f} {result.shape_distance:.4f}")
        1.3863 0.9803
    """
    rows = None if directions is None else real_array("directions", directions, "(k, d)")
    roots = [_root(name, metric, rows) for name, metric in (("first", first), ("second", second))]
    log_ratios = _log_ratios(roots[0], roots[1])
    found = _distances(log_ratios)
    p = None
    others = () if null is None else items(null, "null", "metrics (N, d, d) of several networks")
    if null is not None:
        drawn = [_distances(_log_ratios(_root(f"null[{k}]", g, rows), roots[1])) for k, g in enumerate(others)]
        p = {name: float(np.mean([value <= one[name] for one in (found, *drawn)])) for name, value in found.items()}
    distance, scale_free, shape = found.values()
    return Comparison(log_ratios, distance, scale_free, shape, p, len(others))


def _root(name: str, metric: ArrayLike, rows: np.ndarray | None) -> np.ndarray:
    """Return the Cholesky factors (N, k, k) of metrics, on slices along rows (k, d) if there are any, checked."""
    g = real_array(name, metric, "(N, d, d)")
    if g.ndim != 3 or g.shape[1] != g.shape[2] or g.size == 0:
        raise InvalidInput(f"{name} has shape {g.shape}; pass the metric at N points, (N, d, d)")
    if np.abs(g - g.mT).max() > 1e-5 * np.abs(g).max():
        raise InvalidInput(f"{name} is not symmetric; pass metrics g = JᵀJ, (N, d, d)")
    if rows is not None:
        if rows.ndim != 2 or rows.shape[1] != g.shape[2]:
            raise InvalidInput(f"directions has shape {rows.shape}; pass (k, {g.shape[2]})")
        g = rows @ g @ rows.T
    squares = np.diagonal(g, axis1=1, axis2=2)
    lengths = np.sqrt(np.where(squares > 0, squares, 1.0))
    unit = g / lengths[:, :, None] / lengths[:, None, :]
    singular = np.linalg.eigvalsh(unit)[:, 0] <= 16 * g.shape[1] * np.finfo(float).eps
    if singular.any():
        raise SingularMetric(
            f"{name} has no full rank at {int(singular.sum())} of {len(g)} points, first at index "
            f"{int(singular.argmax())}: its ratios to another metric are 0 or infinite; leave such points out of all "
            "metrics, or pass directions=, fewer than the rank"
        )
    return lengths[:, :, None] * np.linalg.cholesky(unit)


def _log_ratios(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the logarithms (N, d), descending, of the eigenvalues of g_2^-1 g_1 from their Cholesky factors."""
    if first.shape != second.shape:
        raise InvalidInput(f"metrics have shapes {first.shape} and {second.shape}; pass both at the same points")
    return 2 * np.log(np.linalg.svd(np.linalg.solve(second, first), compute_uv=False))


def _distances(log_ratios: np.ndarray) -> dict[str, float]:
    """Return the distances of metric fields: as they are, up to a constant factor, and up to a factor at each point."""
    centred = log_ratios - log_ratios.mean(), log_ratios - log_ratios.mean(-1, keepdims=True)
    names = ("distance", "scale-free distance", "shape distance")
    return {
        name: float(np.sqrt(np.mean((part**2).sum(-1))))
        for name, part in zip(names, (log_ratios, *centred), strict=True)
    }


def kernel_angle(first: ArrayLike, second: ArrayLike) -> float:
    """Return the angle between two centred kernel matrices, arccos of their alignment (CKA).

    A distance of two representations, from 0 to pi/2, to which rotations and a scale of the features do not matter. It
    sees how inputs lie to each other, where `compare` sees the neighbourhood of each.

    Args:
        first, second: (N, N), kernels of two networks at the same points, such as of features or `infgeo.finite.ntk`.

    Raises InvalidInput for arrays that are not (N, N), NaN and infinities, and constant kernels.

    Source: Kornblith et al. 2019 for the alignment; Williams et al. 2021, "Generalized shape metrics on neural
    representations", for the angle.

    Example:
        >>> import numpy as np
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
        >>> turned = 3 * x @ np.array([[0.6, -0.8], [0.8, 0.6]])
        >>> print(f"{kernel_angle(x @ x.T, turned @ turned.T):.6f} {kernel_angle(x @ x.T, np.eye(3)):.6f}")
        0.000000 0.463648
    """
    unit = []
    for name, kernel in (("first", first), ("second", second)):
        k = real_array(name, kernel, "(N, N)")
        if k.ndim != 2 or k.shape[0] != k.shape[1] or len(k) < 2:
            raise InvalidInput(f"{name} has shape {k.shape}; pass a kernel at N >= 2 points, (N, N)")
        centred = k - k.mean(0) - k.mean(1, keepdims=True) + k.mean()
        varies(name, np.append(centred, 0.0))
        unit.append(centred / np.linalg.norm(centred))
    if unit[0].shape != unit[1].shape:
        raise InvalidInput(f"kernels have shapes {unit[0].shape} and {unit[1].shape}; pass both at the same points")
    # from the chord, which keeps its digits where the angle is small
    return float(2 * np.arcsin(min(1.0, float(np.linalg.norm(unit[0] - unit[1])) / 2)))
