"""The geometry of what a network predicts: its Fisher metric, as the flat metric of other features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from infgeo.arguments import one_of
from infgeo.errors import InvalidInput
from infgeo.finite.feature_map import Source
from infgeo.finite.output_metric import OutputMetric, gaussian_metric


def _on_sphere(logits: torch.Tensor) -> torch.Tensor:
    roots = 2 * (torch.log_softmax(logits, dim=-1) / 2).exp()
    # Where all probabilities but one vanish in the format, so does the metric, which is none: no number there.
    certain = (roots == 0).sum(-1, keepdim=True) == max(roots.shape[-1] - 1, 1)
    return torch.where(certain, torch.nan, roots)


_EMBEDDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "categorical": _on_sphere,
    "bernoulli": lambda logits: 2 * (logits / 2).exp().atan(),
    "poisson": lambda log_rates: 2 * (log_rates / 2).exp(),
    "hellinger": lambda logits: _on_sphere(logits) / 2,
    "expected": lambda outputs: torch.cat((outputs.chunk(2, -1)[0], outputs.chunk(2, -1)[1].exp()), -1),
}
OUTPUTS = ("euclidean", "fisher", "gaussian", *_EMBEDDINGS)
_IN_HALVES = ("gaussian", "expected")


class _Embedding(nn.Module):
    """Maps the outputs of a network to the features whose flat metric is their Fisher metric."""

    def __init__(self, family: str) -> None:
        super().__init__()
        self.family = family

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        return _EMBEDDINGS[self.family](outputs)


def fisher(features: Callable[..., Any], family: str = "categorical") -> Callable[..., Any]:
    """Return features whose flat metric is the Fisher metric of a network's predictions.

    g = Jᵀ h J with h = E[∂ log p(y) ∂ log p(y)ᵀ] by the outputs J differentiates. For these families h is the flat
    metric of other features, so that everything which takes features takes these: `pullback`, slices, geodesics.

        categorical   2 √softmax(f), of the last axis: a sphere of radius 2, R = (C − 1)(C − 2)/4 for C classes
        bernoulli     2 arctan e^{f/2} for each output f, a logit
        poisson       2 e^{f/2} for each output f, the logarithm of a rate

        hellinger     √softmax(f): the distance of Hellinger without its factor 1/√2, |√p − √q|; a quarter of the
                      Fisher metric, R = (C − 1)(C − 2)
        expected      (μ, σ) for outputs (μ, log σ): no Fisher metric, but the mean of JᵀJ over samples μ + σ ε of a
                      stochastic decoder, ε ~ N(0, I): J_μᵀ J_μ + J_σᵀ J_σ

    The rank is at most C − 1 for C classes. A Gaussian of varying scale has no such features: see `pullback`.

    Args:
        features: a callable or module that gives logits, or logarithms of rates: (..., C).
        family: "categorical", "bernoulli", "poisson", "hellinger" or "expected". For a Gaussian of fixed scale σ divide
            the features by σ.

    Returns:
        A module, where `features` is one (with the same weights), or a function.

    Raises InvalidInput for another family. Where all probabilities but one are less than numbers of the format
    (logits more than about 1,400 apart, in float32 180) features are NaN, which what measures them refuses.

    Source: Amari & Nagaoka 2000, Methods of information geometry, section 2; of "expected", Arvanitidis, Hansen &
    Hauberg 2018, Latent space oddity.

    >>> from infgeo.finite import pullback
    >>> def logits(x):  # all distributions of 4 classes
    ...     return torch.nn.functional.pad(x, (0, 1))
    >>> f"{pullback(fisher(logits), [0.3, -1.0, 0.5]).ricci_scalar:.12f}"
    '1.500000000000'
    """
    embedding = _Embedding(one_of(family, "family", tuple(_EMBEDDINGS)))
    if isinstance(features, nn.Module):
        return nn.Sequential(features, embedding).train(features.training)
    return lambda *arguments: embedding(features(*arguments))


def with_output(features: Callable[..., Any], output: str | OutputMetric, layer: str | None) -> Callable[..., Any]:
    """Return the features that `output` makes of a network's outputs, for `pullback`."""
    if callable(output):
        return features
    family = one_of(output, "output", OUTPUTS)
    if family == "euclidean" or not callable(features):
        return features
    if layer is not None:
        raise InvalidInput(f"output={output!r} is the metric of predictions, and layer={layer!r} is none: leave it out")
    return features if family == "gaussian" else fisher(features, "categorical" if family == "fisher" else family)


def measured_by(output: str | OutputMetric, source: Source) -> Source:
    """Return the source with the metric of its outputs, where that is not flat."""
    if output in _IN_HALVES and source.width % 2:
        raise InvalidInput(
            f"output={output!r} takes as many logarithms of scales as means, and features give {source.width} numbers"
        )
    if not callable(output) and output != "gaussian":
        return source
    form, largest = output if callable(output) else gaussian_metric, max(source.largest, source.width**2)
    return replace(source, form=form, flat=False, largest=largest)
