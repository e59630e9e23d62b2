"""Agreement of a network's log volume with the law of infinite width at the same points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from infgeo.magnification.checks import log_values, varies
from infgeo.report_text import Record


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
