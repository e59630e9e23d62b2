"""How near a log volume is to a function of |x|, and to laws: of infinite width, and of what training does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from infgeo.arguments import fraction, positive_integer, real_number, seed_integer
from infgeo.errors import InvalidInput
from infgeo.magnification.checks import log_values, points_array, varies
from infgeo.magnification.radial_regression import RadialFit, radii
from infgeo.report_text import Record

_BLOCK = 64  # resamples whose moments are held at once


@dataclass(frozen=True)
class Symmetry(Record):
    """The share of the variance of the log volume that |x| explains.

    `share` is adjusted for the parameters of the fit, `raw_share` is not; `low` and `high` bound the share at `level`
    (None without resampling), `spread` is the standard deviation about the fit, in the units of the log volume.
    `points` were used; `singular` had log volume -inf and `outside` lay beyond `within`: left out and counted.
    """

    share: float
    raw_share: float
    spread: float
    parameters: int
    points: int
    singular: int = 0
    outside: int = 0
    low: float | None = None
    high: float | None = None
    level: float | None = None

    def statistics(self) -> dict[str, float]:
        """Return what `over_seeds` sums up: the share."""
        return {"share": self.share}


def symmetry(
    points: ArrayLike,
    log_volume: ArrayLike,
    *,
    knots: int | None = None,
    within: float | None = None,
    resamples: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> Symmetry:
    """Return the share of the variance of the log volume over the points that |x| alone explains.

    share = 1 - (SSE / (N - p)) / (SST / (N - 1)) estimates eta^2 = Var(E[log volume | |x|]) / Var(log volume): 1 for a
    spherically symmetric metric, as at infinite width, and 0 where |x| tells nothing. SSE is the residual sum of
    squares of a cubic regression spline in |x| with p parameters (see `radial_regression.RadialFit`). The
    division by N - p takes away what p parameters explain of pure noise: the estimate may come out slightly below 0.

    Args:
        points: (N, d), or images (N, *shape); |x| is the Euclidean norm.
        log_volume: (N,), logarithms to any base.
        knots: number of inner knots; by default min(8, (N - 20) // 10). A law that oscillates in |x| wants more.
        within: take the points with |x| <= within alone, such as the inscribed disc of a square grid.
        resamples: bootstrap resamples of the points for an interval; 0 for none.
        level: confidence level of the interval.
        seed: of the resampling.

    Domain and limits: the interval, a basic bootstrap one of log(1 - share), is for points drawn independently. Points
    of a grid are no sample: there, take intervals over seeds (`over_seeds`). Points where the metric is singular (log
    volume -inf) are left out and counted.

    Raises InvalidInput for NaN and +inf, shapes that do not fit, fewer than 3 points or no more than p, and a constant
    log volume.

    Source: arXiv 2301.11375, section 3.1, where the volume of networks at initialisation is radial; the correlation
    ratio is Pearson's (1905), its adjustment Ezekiel's (1930).

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((500, 2))
        >>> r, angle = np.hypot(*x.T), np.arctan2(*x.T)
        >>> print(f"{symmetry(x, -np.log1p(r**2)).share:.4f}")
        1.0000
        >>> print(f"{symmetry(x, np.sin(2 * angle)).share:.4f}")
        0.0055
        >>> print(f"{symmetry(x, r + np.sin(2 * angle)).share:.2f}")
        0.49
    """
    x = points_array("points", points)
    y, kept = log_values("log_volume", log_volume, length=len(x))
    singular = int(len(y) - kept.sum())
    r = radii(x)
    outside = 0
    if within is not None:
        limit = real_number(within, "within")
        inside = r <= limit
        outside = int((kept & ~inside).sum())
        kept = kept & inside
        if kept.sum() < 3:
            raise InvalidInput(f"{kept.sum()} points have |x| <= within = {limit:g}; at least 3 are needed: take more")
    r, y = r[kept], y[kept]
    varies("log_volume", y)
    if knots is not None:
        knots = positive_integer(knots, "knots", minimum=0, maximum=1000)
    fit = RadialFit(r, knots)
    n, p = y.size, fit.parameters
    if n <= p:
        raise InvalidInput(f"{n} points for a fit of {p} parameters; pass more points or fewer knots")
    rest = fit.residual(y)
    unexplained = float(rest @ rest) / float(np.sum((y - y.mean()) ** 2))
    adjustment = (n - 1) / (n - p)
    interval: tuple[float | None, float | None] = (None, None)
    level = fraction(level, "level")
    resamples = positive_integer(resamples, "resamples", minimum=0, maximum=10**6)
    if resamples:
        interval = _interval(fit, y, rest, resamples, level, np.random.default_rng(seed_integer(seed, 63)))
    return Symmetry(
        share=1 - unexplained * adjustment,
        raw_share=1 - unexplained,
        spread=float(np.sqrt(rest @ rest / (n - p))),
        parameters=p,
        points=n,
        singular=singular,
        outside=outside,
        low=interval[0],
        high=interval[1],
        level=level if resamples else None,
    )


def _interval(
    fit: RadialFit, y: np.ndarray, rest: np.ndarray, resamples: int, level: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the basic bootstrap interval of the share, on the scale log(1 - share).

    A resample is a set of weights w on the points, and its fit a weighted one: SSE_w = sum w e^2 - c' G^-1 c with
    c = Q'We and G = Q'WQ for the residuals e and the basis Q of the whole, which does not cancel where e is small.
    """
    n, p = y.size, fit.parameters
    basis, centred = fit.basis, y - y.mean()
    outer = (basis[:, :, None] * basis[:, None, :]).reshape(n, p * p)
    ratios = []
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        w = rng.multinomial(n, np.full(n, 1 / n), size=count).astype(float)
        gram = (w @ outer).reshape(count, p, p)
        c = w @ (basis * rest[:, None])
        solved = np.einsum("bij,bj->bi", np.linalg.pinv(gram, hermitian=True), c)
        sse = w @ rest**2 - np.einsum("bi,bi->b", c, solved)
        sst = w @ centred**2 - (w @ centred) ** 2 / n
        # a fit goes through all of a resample that has no more points than it has parameters: nothing is unexplained
        proper = np.count_nonzero(w, axis=1) > p
        ratios.append(np.divide(np.maximum(sse, 0), sst, where=proper, out=np.zeros(count)))
    raw = float(rest @ rest) / float(centred @ centred)
    unexplained, adjustment = raw * (n - 1) / (n - p), (n - 1) / (n - p)
    if unexplained == 0:
        return 1.0, 1.0
    # the whole sample is the truth of the resamples: adjusted ratios scatter about the raw one of the whole
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.log(np.concatenate(ratios) * adjustment / raw)
        low, high = np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    if not np.isfinite([low, high]).all():
        raise InvalidInput(
            f"{n} points are too few to resample a fit of {p} parameters; pass resamples=0, or more points"
        )
    return float(1 - unexplained * np.exp(-low)), float(1 - unexplained * np.exp(-high))


@dataclass(frozen=True)
class Agreement(Record):
    """How near a log volume is to a law that has no free parameter.

    With the residual e = log volume - law: `r2` = 1 - mean(e^2) / Var(log volume), at most 1 and negative where the
    mean would do better than the law; `r2_shifted` = 1 - Var(e) / Var(log volume), that of the law with an additive
    constant; `offset` = mean(e); `spread` = the standard deviation of e (N - 1); offset and spread in the units of the
    logarithms. `singular` points had log volume -inf in either array: left out and counted.
    """

    r2: float
    r2_shifted: float
    offset: float
    spread: float
    points: int
    singular: int = 0

    def statistics(self) -> dict[str, float]:
        """Return what `over_seeds` sums up."""
        return {"r2": self.r2, "r2_shifted": self.r2_shifted, "offset": self.offset, "spread": self.spread}


def agreement(log_volume: ArrayLike, law: ArrayLike) -> Agreement:
    """Return how near the log volume of a network is to the law of infinite width, without a fit.

    r2 = 1 - mean((y - l)^2) / Var(y) for y = log volume and l = law; with an additive constant, r2_shifted = 1 -
    Var(y - l) / Var(y).

    Args:
        log_volume: (N,), of the network.
        law: (N,), to the same base: `infgeo.MLP(...).numeric(...).log_volume_element(points)` is natural.

    Domain and limits: the law has the network's own activation, depth and scales, or the comparison means nothing. At
    finite width n the log volume has a bias and a spread of its own, of orders 1/n and 1/sqrt(n), also untrained.

    Raises InvalidInput for NaN and +inf, arrays of different lengths, fewer than 3 points, and a constant log volume.

    Source: arXiv 2301.11375, section 3.1 and figure 1.

    Example:
        >>> import infgeo, numpy as np
        >>> x = np.linspace([0.0, 0.0], [2.0, 1.0], 50)
        >>> law = infgeo.MLP("erf").numeric(weight_std=1.0, bias_std=1.0).log_volume_element(x)
        >>> result = agreement(law + 0.25, law)
        >>> print(f"{result.r2:.3f} {result.r2_shifted:.3f} {result.offset:.2f}")
        0.721 1.000 0.25
    """
    y, kept = log_values("log_volume", log_volume)
    expected, law_kept = log_values("law", law, length=len(y))
    kept = kept & law_kept
    y, expected = y[kept], expected[kept]
    log_values("log_volume where the law is finite", y)
    varies("log_volume", y)
    rest, variance = y - expected, float(np.var(y))
    return Agreement(
        r2=1 - float(np.mean(rest**2)) / variance,
        r2_shifted=1 - float(np.var(rest)) / variance,
        offset=float(rest.mean()),
        spread=float(np.std(rest, ddof=1)),
        points=y.size,
        singular=int((~kept).sum()),
    )
