"""Training against the law of order 1/n: what it did to the log volume, and what `infgeo.learned` says it does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from infgeo.arguments import positive_integer
from infgeo.errors import InvalidInput
from infgeo.magnification.checks import log_values, real_array, varies
from infgeo.magnification.symmetry import agreement
from infgeo.report_text import Record


@dataclass(frozen=True)
class Law(Record):
    """How the change of the log volume by training goes with the predicted one, over points.

    `correlation` is Pearson's; `slope` that of the regression of the change on the prediction, 1 where the law holds.
    Without a fit, with the residual e = change - prediction: `r2` = 1 - mean(e^2) / Var(change), negative where a
    constant would do better, and `r2_shifted` = 1 - Var(e) / Var(change), that of the law with an additive constant.
    `networks` were averaged over `points`; `singular` points had log volume -inf in a network: left out and counted.
    """

    correlation: float
    slope: float
    r2: float
    r2_shifted: float
    networks: int
    points: int
    singular: int = 0

    def statistics(self) -> dict[str, float]:
        """Return what `over_seeds` sums up."""
        return {name: getattr(self, name) for name in self.alternatives()}

    def alternatives(self) -> dict[str, str | None]:
        """Return the side of the claim for each of `statistics`; a share has none."""
        return {"correlation": "greater", "slope": "greater", "r2": None, "r2_shifted": None}


def law(log_volume: ArrayLike, before: ArrayLike, shift: ArrayLike, width: int) -> Law:
    """Return how the log volume of trained networks goes with the shift that is predicted for them.

    The law is change = shift/width in the mean over networks; one network differs from the mean by about as much. Pass
    several, which are averaged, and take intervals over independent groups of them with `over_seeds`.

    Args:
        log_volume: of one trained network (P,), or of several (N, P), natural logarithms, as of
            `infgeo.finite.pullback(...).log_volume_element`.
        before: the same before training, of the same shape.
        shift: (P,), `infgeo.learned(...).volume_shift(points)`: the coefficient of 1/n.
        width: n, the number of hidden units.

    Domain and limits: it fails where shift/width is not small, and each training has a law of its own: rule "posterior"
    belongs to noisy training with weight decay in equilibrium, "gradient_flow" to gradient descent with small steps for
    a time (rate times steps), "gradient_step" to one step from initialisation.

    Raises InvalidInput for NaN and +inf, arrays that do not fit, fewer than 3 points, a constant prediction or change.

    Example:
        >>> import infgeo, numpy as np
        >>> X, y = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([1.0, -1.0])
        >>> learned = infgeo.learned(infgeo.MLP("erf", weight_std=1, bias_std=1), X, y, noise_variance=0.1)
        >>> x = np.linspace([-2.0, 0.0], [2.0, 0.5], 50)
        >>> before = infgeo.MLP("erf").numeric(weight_std=1.0, bias_std=1.0).log_volume_element(x)
        >>> result = law(before + 0.9 * learned.volume_shift(x, width=100), before, learned.volume_shift(x), 100)
        >>> print(f"{result.correlation:.2f} {result.slope:.2f} {result.r2_shifted:.2f}")
        1.00 0.90 0.99
    """
    predicted, _ = log_values("shift", shift)
    predicted = predicted / positive_integer(width, "width")
    arrays = {"log_volume": log_volume, "before": before}
    after, first = (np.atleast_2d(real_array(name, v, "(P,) or (N, P)", finite=False)) for name, v in arrays.items())
    if after.shape != first.shape or after.shape[1:] != predicted.shape:
        raise InvalidInput(
            f"log_volume, before and shift have shapes {after.shape}, {first.shape} and {predicted.shape}; pass"
            " networks (N, P) or one (P,) before and after training, and one shift for each point"
        )
    for name, array in (("log_volume", after), ("before", first)):
        log_values(name, array.ravel())
    kept = np.isfinite(after).all(0) & np.isfinite(first).all(0) & np.isfinite(predicted)
    change = (after[:, kept] - first[:, kept]).mean(0)
    log_values("log_volume where it is finite", change)
    varies("shift", predicted[kept])
    found = agreement(change, predicted[kept])
    centred = predicted[kept] - predicted[kept].mean()
    slope = float(change @ centred / (centred @ centred))
    correlation = slope * float(np.std(centred) / np.std(change))
    return Law(correlation, slope, found.r2, found.r2_shifted, len(after), int(kept.sum()), int(kept.size - kept.sum()))
