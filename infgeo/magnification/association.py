"""Magnification as numbers: log volume against the distance to the decision boundary and the predictive entropy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from infgeo.arguments import fraction, positive_integer, real_number
from infgeo.display import Displayed
from infgeo.errors import InvalidInput
from infgeo.magnification.checks import grid_shape, log_values, points_array, varies, vector
from infgeo.magnification.null_models import Null, choose
from infgeo.magnification.radial_regression import RadialFit, radii
from infgeo.report_text import Record

_LEAST_OWN, _LEAST_OTHER = 1e-4, 1e-2  # the shares of variance that |x| must leave for a comparison at equal |x|
_ROUNDING = 1e-9


@dataclass(frozen=True, repr=False)
class Association(Displayed):
    """One measure of what the log volume has to do with a predictor.

    `value` is as measured, `at_equal_radius` with |x| held fixed: None without points, and where |x| leaves too little
    to compare. `p` and `p_at_equal_radius` are one-sided, `alternative` ("less" or "greater") the side of the claim.
    """

    value: float
    at_equal_radius: float | None
    p: float | None
    p_at_equal_radius: float | None
    alternative: str


@dataclass(frozen=True, repr=False)
class Magnification(Record):
    """What the log volume of one network has to do with its decision boundary.

    `distance` and `entropy` hold Spearman rank correlations, `band` the mean log10 volume of the points within
    `band_width` of the boundary less that of the rest, in decades. `null` names the test and `moves` how many moved
    copies the p-values are ranks among. `points` were used, `band_points` of them in the band; `singular` had log
    volume -inf: left out and counted.
    """

    distance: Association
    band: Association
    entropy: Association | None
    null: str
    moves: int
    band_width: float
    band_points: int
    points: int
    singular: int = 0

    def statistics(self) -> dict[str, float]:
        """Return what `over_seeds` sums up: all measures that are defined, by name."""
        values: dict[str, float] = {}
        for name in ("distance", "band", "entropy"):
            if (measure := getattr(self, name)) is not None:
                values |= {name: measure.value, f"{name} at equal radius": measure.at_equal_radius}
        return {name: value for name, value in values.items() if value is not None}

    def alternatives(self) -> dict[str, str]:
        """Return the side of the claim for each of `statistics`."""
        return {name: getattr(self, name.split()[0]).alternative for name in self.statistics()}


def magnification(
    log10_volume: ArrayLike,
    distance: ArrayLike,
    *,
    entropy: ArrayLike | None = None,
    points: ArrayLike | None = None,
    shape: tuple[int, ...] | None = None,
    band: float = 0.1,
    width: float | None = None,
    null: str | None = "auto",
    permutations: int = 999,
    seed: int = 0,
) -> Magnification:
    """Return how log volume goes with distance to the decision boundary and with predictive entropy, in one network.

    distance, entropy: Spearman's rank correlation of the log volume with either. band: mean log10 volume where distance
    <= width, less that of the rest. At equal |x|: the same with the regression on |x| (a spline, `RadialFit`) taken off
    both sides, for the ranks the partial correlation, and for the band the coefficient of its indicator beside a spline
    in |x|. The claim is distance < 0, entropy > 0 and band > 0, also at equal |x|: beyond what a radial law would give.

    Args:
        log10_volume: (P,), decimal logarithms; a natural one, as of `infgeo.finite.pullback`, divided by log(10).
        distance: (P,), >= 0, as of `DecisionBoundary.distance`.
        entropy: (P,), >= 0, of the predicted distribution, or None.
        points: (P, d), for the measures at equal |x|.
        shape: shape of the grid, (rows, columns), or (P,) of a line; None for scattered points.
        band: the share of points nearest to the boundary that the band holds, ties included.
        width: the width of the band instead, in the units of the distance.
        null: what the p-values compare with, see below; "auto" takes the first of them that applies; None for none.
        permutations: how many random ones, for null "permutations".
        seed: of the random permutations.

    The nulls move the log volume against the boundary; p is one-sided, and at least one over the number of moves.

    "rotations" (points of a rectangular grid of the plane around the origin): by whole degrees about the origin,
    mirrored or not, over the disc in the grid. It tests against fields with an isotropic distribution and any law in
    |x|, exactly but for interpolation (simulated: 3 to 7 % below 0.05); p is 1 for a radial volume.

    "shifts" (grids of any dimension, lines): all cyclic shifts. It tests against stationary fields, approximately, for
    a shift carries the edges inside: simulated fields that know nothing of the boundary give p <= 0.05 in 5 to 12 % of
    cases where they vary over less than a third of the grid, and in up to 23 % where over half of it.

    "permutations" (scattered points): whether log volume and distance are independent over independently drawn points.
    Smooth fields on a grid are not: there it is rejected in 18 to 68 % of the same cases, and says nothing.

    Over several networks prefer `over_seeds`, which needs none of these.

    Points where the metric is singular (log volume -inf) are left out and counted.

    Raises InvalidInput for NaN and +inf, negative distances and entropies, shapes that do not fit, fewer than 3 points,
    a constant array, and a band that holds all points or none.

    Source: arXiv 2301.11375, section 4: "training magnifies local areas near decision boundaries"; Spearman 1904.

    Example:
        >>> import numpy as np
        >>> x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-1, 1, 30), np.linspace(-1, 1, 30)))
        >>> distance = abs(y - 0.3)  # of the line y = 0.3
        >>> volume = -(x**2 + y**2) + 0.5 * np.exp(-((y - 0.3) ** 2) / 0.02) + 0.1 * np.sin(9 * x)
        >>> result = magnification(volume, distance, points=np.stack((x, y), axis=1), shape=(30, 30))
        >>> print(f"{result.distance.value:.2f} {result.distance.at_equal_radius:.2f} p = {result.distance.p:.3f}")
        -0.59 -0.57 p = 0.008
        >>> print(f"{result.band.at_equal_radius:.2f} decades within {result.band_width:.2f}, {result.null}")
        0.40 decades within 0.08, rotations
    """
    volume, kept = log_values("log10_volume", log10_volume)
    n = volume.size
    far = _nonnegative("distance", vector("distance", distance, n))
    spread = None if entropy is None else _nonnegative("entropy", vector("entropy", entropy, n))
    where = None if points is None else points_array("points", points)
    if where is not None and len(where) != n:
        raise InvalidInput(f"points has {len(where)} rows for {n} values of log10_volume; pass one point for each")
    if shape is not None:
        shape = grid_shape(shape, n)
    test = choose(null, where, shape, positive_integer(permutations, "permutations", maximum=10**7), seed)
    varies("log10_volume", volume[kept])
    near, edge = _band(far, kept, band, width)
    radius = None if where is None else radii(where)
    field = _Field(volume, kept, radius, test)
    return Magnification(
        distance=field.rank_correlation("distance", far, -1),
        band=field.difference(near),
        entropy=None if spread is None else field.rank_correlation("entropy", spread, 1),
        null="none" if test is None else test.name,
        moves=0 if test is None else test.moves,
        band_width=edge,
        band_points=int(near[kept].sum()),
        points=int(kept.sum()),
        singular=int((~kept).sum()),
    )


class _Field:
    """A log volume (P,), finite where `kept`, with what it is to be compared under."""

    def __init__(self, volume: np.ndarray, kept: np.ndarray, radius: np.ndarray | None, test: Null | None) -> None:
        self.volume, self.kept, self.test = volume, kept, test
        self.fit = None if radius is None else RadialFit(radius[kept])
        self.whole_fit = self.fit if radius is None or kept.all() else RadialFit(radius)
        self.radial = False
        if self.fit is not None:  # of the values: ranks of a radial law follow the shells of the grid, no spline does
            rest = self.fit.residual(volume[kept])
            self.radial = bool(rest @ rest <= _LEAST_OWN * kept.sum() * np.var(volume[kept]))

    def rank_correlation(self, name: str, predictor: np.ndarray, sign: int) -> Association:
        """Return Spearman's correlation and, at equal |x|, the partial correlation of the ranks."""
        varies(name, predictor[self.kept])
        return self._associate(predictor, sign, rankdata, _correlation)

    def difference(self, near: np.ndarray) -> Association:
        """Return the mean within the band less that of the rest and, at equal |x|, the coefficient of the band."""
        return self._associate(near.astype(float), 1, np.asarray, _slope)

    def _associate(self, predictor: np.ndarray, sign: int, scale: Callable, measure: Callable) -> Association:
        """Compare volume and predictor, both on a scale, at the points kept; the test moves one against the other."""
        own, other = (scale(values[self.kept]) for values in (self.volume, predictor))
        own, other, everywhere = own - own.mean(), other - other.mean(), scale(predictor)
        value, side = measure(own, other), "greater" if sign > 0 else "less"
        if self.fit is None or self.whole_fit is None or len(own) <= self.fit.parameters + 1:
            return Association(value, None, self._p(own, everywhere, sign), None, side)
        left, right = self.fit.residual(own), self.fit.residual(other)
        defined = right @ right > _LEAST_OTHER * (other @ other) and not (self.radial and measure is _correlation)
        at_equal = measure(left, right) if defined else None
        if self.test is not None and self.test.name == "rotations":
            # what is radial does not turn: it would but add the error of its interpolation
            p = p_at_equal = 1.0 if self.radial else self._p(left, everywhere, sign)
        else:
            p, p_at_equal = self._p(own, everywhere, sign), self._p(left, self.whole_fit.residual(everywhere), sign)
        return Association(value, at_equal, p, p_at_equal if defined else None, side)

    def _p(self, own: np.ndarray, everywhere: np.ndarray, sign: int) -> float | None:
        if self.test is None:
            return None
        a = np.zeros(len(self.kept))
        a[self.kept] = own
        return self.test.p(a, everywhere, self.kept, sign)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _slope(a: np.ndarray, b: np.ndarray) -> float:
    """Return the regression coefficient of a on b; for b a centred indicator the difference of two means."""
    return float(a @ b / (b @ b))


def _band(distance: np.ndarray, kept: np.ndarray, band: float, width: float | None) -> tuple[np.ndarray, float]:
    if width is None:
        edge = float(np.quantile(distance[kept], fraction(band, "band"), method="inverted_cdf"))
    else:
        edge = real_number(width, "width")
    near = distance <= edge
    if near[kept].all() or not near[kept].any():
        counted = "all" if near.any() else "none"
        raise InvalidInput(
            f"the band of width {edge:.6g} holds {counted} of {kept.sum()} points, whose distances lie between "
            f"{distance[kept].min():.6g} and {distance[kept].max():.6g}; pass another width or band"
        )
    return near, edge


def _nonnegative(name: str, values: np.ndarray) -> np.ndarray:
    """Return `values`, none below 0 by more than rounding."""
    below = values < -_ROUNDING
    if below.any():
        first = int(np.flatnonzero(below)[0])
        raise InvalidInput(
            f"{name}[{first}] = {values[first]:.6g} is negative ({below.sum()} are); it is >= 0 by definition"
        )
    return values
