"""Expected metrics: the mean of g over the members of an ensemble, or over samples of a stochastic map."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import ArrayLike

from infgeo.arguments import items, positive_integer
from infgeo.errors import InvalidInput
from infgeo.finite.pullback import pullback
from infgeo.finite.running_mean import Estimate, RunningMean


def expected_metric(
    features: Sequence[Callable[..., Any]] | Callable[[int], Callable[..., Any]],
    x: ArrayLike,
    *,
    samples: int | None = None,
    **options: Any,
) -> Estimate:
    """Return the mean of the metrics that several maps pull back to x, with its standard error.

    Of an ensemble, or of a stochastic decoder with its noise held fixed while it is differentiated. For x ↦ μ(x) +
    σ(x) ε with ε ~ N(0, I) the mean is J_μᵀ J_μ + J_σᵀ J_σ, in closed form, with R and geodesics: `output="expected"`
    of `pullback`, for features (μ, log σ).

    Args:
        features: a list of callables or modules, or a function of a seed 0, 1, ... that returns one.
        x: points (..., d), as for `pullback`, which describes the `options` (output, layer, input_shape, ...) too.
        samples: number of seeds, at least 2; left out for a list.

    Returns:
        An estimate with `.mean` and `.standard_error` (..., d, d), and `.samples`.

    Raises InvalidInput as `pullback` does for each map, and for fewer than two of them.

    Source: Arvanitidis, Hansen & Hauberg 2018, Latent space oddity; Tosi, Hauberg, Vellido & Lawrence 2014.

    >>> def stretched(seed):
    ...     return lambda x: (1.0 + seed) * x
    >>> found = expected_metric(stretched, [[0.0]], samples=3)  # the mean of 1, 4 and 9
    >>> f"{found.mean.item():.4f}", f"{found.standard_error.item():.4f}"
    ('4.6667', '2.3333')
    """
    remedy = "a list of at least two maps, or a function of a seed with samples=..."
    if isinstance(features, torch.nn.Module) and not isinstance(features, torch.nn.ModuleList):
        raise InvalidInput(f"features is one {type(features).__name__}; pass {remedy}")
    if callable(features) and not isinstance(features, torch.nn.ModuleList):
        if samples is None:
            raise InvalidInput("features is a function of a seed, and samples is left out; pass samples=...")
        count = positive_integer(samples, "samples", 2)
        maps: Any = (features(seed) for seed in range(count))
    else:
        maps = items(features, "features", remedy)
        if samples is not None or len(maps) < 2:
            raise InvalidInput(f"features has {len(maps)} maps and samples is {samples}; pass {remedy}")
    mean = RunningMean()
    for one in maps:
        mean.add(pullback(one, x, **options).metric[None])
    return mean.estimate()
