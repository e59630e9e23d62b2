"""Self-supervised losses on two views of each image, Barlow Twins and SimCLR, with their projector heads."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from infgeo.arguments import flag, instance, positive_integer, positive_integers, real_number, seed_integer, shown
from infgeo.errors import InvalidInput
from infgeo.finite.inputs import float_dtype
from infgeo.training.activation_modules import activation_factory
from infgeo.training.guards import own_random_state
from infgeo.training.views import TwoViews

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class BarlowTwins:
    """The loss of Barlow Twins: the cross-correlation of the embeddings of two views should be the identity.

    L = Σ_i (1 − C_ii)² + λ Σ_i Σ_{j≠i} C_ij², with C_ij the correlation over the batch of coordinate i of the first
    embedding and j of the second: C = Z₁ᵀ Z₂ / N with each column of Z centred and divided by its standard deviation.

    Called on embeddings (N, m) twice, N >= 2; returns a scalar. It is a sum over m, not a mean.

    Args:
        redundancy: λ >= 0.
        epsilon: added to each variance, as `nn.BatchNorm1d` does; 0 gives the formula as printed, which is NaN where a
            coordinate is constant.

    Source: Zbontar, Jing, Misra, LeCun & Deny 2021, equations 1 and 2; λ = 0.005 as there and in arXiv 2301.11375.

    >>> z = torch.eye(4, dtype=torch.float64)[:, :2]
    >>> f"{BarlowTwins(epsilon=0.0)(z, z):.6f}"  # C_12 = −1/3, twice
    '0.001111'
    """

    redundancy: float = 0.005
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        real_number(self.redundancy, "redundancy", minimum=0.0)
        real_number(self.epsilon, "epsilon", minimum=0.0)

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the loss of embeddings (N, m) of two views."""
        _refuse_unpaired(first, second)
        correlation = self._scaled(first).mT @ self._scaled(second) / len(first)
        diagonal = torch.diagonal(correlation)
        off_diagonal = correlation.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + self.redundancy * off_diagonal

    def _scaled(self, z: torch.Tensor) -> torch.Tensor:
        centred = z - z.mean(dim=0)
        return centred * torch.rsqrt(centred.square().mean(dim=0) + self.epsilon)


@dataclass(frozen=True)
class SimCLR:
    """The loss of SimCLR, NT-Xent: each view should be nearer to the other view of its image than to all other views.

    L = −(1/2N) Σ_a log[exp(s_{a,a'}/T) / Σ_{b≠a} exp(s_{ab}/T)], with s the cosine similarity, a and b over the 2N
    views of a batch, and a' the other view of the image of a.

    Called on embeddings (N, m) twice, N >= 2; returns a scalar.

    Args:
        temperature: T > 0.

    Source: Chen, Kornblith, Norouzi & Hinton 2020, equation 1; T = 0.07 as in arXiv 2301.11375.

    >>> z = torch.eye(2, dtype=torch.float64)  # pairs agree, and different images are orthogonal: log(1 + 2/e)
    >>> f"{SimCLR(temperature=1.0)(z, z):.6f}"
    '0.551445'
    """

    temperature: float = 0.07

    def __post_init__(self) -> None:
        real_number(self.temperature, "temperature", minimum=0.0, strict=True)

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the loss of embeddings (N, m) of two views."""
        _refuse_unpaired(first, second)
        n = len(first)
        unit = nn.functional.normalize(torch.cat([first, second]))
        itself = torch.eye(2 * n, dtype=torch.bool, device=unit.device)
        logits = (unit @ unit.mT / self.temperature).masked_fill(itself, -torch.inf)
        partner = torch.arange(2 * n, device=unit.device).roll(n)
        return nn.functional.cross_entropy(logits, partner)


def _refuse_unpaired(first: torch.Tensor, second: torch.Tensor) -> None:
    if first.ndim != 2 or first.shape != second.shape or len(first) < 2:
        raise InvalidInput(
            f"the embeddings of two views have shapes {tuple(first.shape)} and {tuple(second.shape)}; pass (N, m) "
            "twice, of at least N = 2 images (a last batch of one image: drop it)"
        )


@dataclass(frozen=True)
class ContrastiveLoss:
    """A loss for `train(model, ..., loss=...)`: draws two views of each image and compares their embeddings.

    Args:
        objective: `BarlowTwins()`, `SimCLR()`, or any function of two embeddings (N, m).
        views: how views are drawn.
        separate: each view goes through the model by itself, so that norms over the batch see one view; else both go
            together, and norms see both.
    """

    objective: Objective
    views: TwoViews
    separate: bool = False

    def __post_init__(self) -> None:
        if not callable(self.objective):
            raise InvalidInput(f"objective is {shown(self.objective)}; pass a function of two embeddings (N, m)")
        if not callable(self.views):
            raise InvalidInput(f"views is {shown(self.views)}; pass an infgeo.training.TwoViews")

    def __call__(self, model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return the loss of images (N, C, H, W); `labels` are not looked at. Reads torch's global random state."""
        first, second = self.views(inputs)
        if self.separate:
            return self.objective(model(first), model(second))
        return self.objective(*model(torch.cat([first, second])).chunk(2))


class ContrastiveNetwork(nn.Module):
    """The map x -> projector(encoder(x)). After training the projector is dropped: measure `encoder`."""

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = instance(encoder, "encoder", nn.Module, "a torch module")
        self.projector = instance(projector, "projector", nn.Module, "a torch module")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (B, m)."""
        return self.projector(self.encoder(x).flatten(1))


def projector(
    width: int,
    hidden: int | tuple[int, ...] = (2048, 2048),
    embedding: int = 2048,
    *,
    activation: Any = "relu",
    norm: bool = True,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """Return a projector head: linear maps with a batch norm and an activation between them.

    Barlow Twins takes two hidden layers as wide as the embedding, with norms (the default, at the width used for small
    images); SimCLR one hidden layer as wide as the features, without: `projector(512, 512, 128, norm=False)`.

    Args:
        width: n, the features of the encoder.
        hidden: widths of the hidden layers.
        embedding: m, coordinates of the embedding.
        activation: as for `resnet34`.
        norm: whether batch norms follow the hidden linear maps, which then have no bias.
        seed: 0 <= seed < 2^32, of torch's default initialisation. No global random state is read or changed.
        dtype: torch.float32 or torch.float64.

    Source: Zbontar et al. 2021, section 2.2; Chen et al. 2020, section 2.1.

    >>> [type(part).__name__ for part in projector(64, 64, 32, norm=False)]
    ['Linear', 'ReLU', 'Linear']
    """
    inner = positive_integers([hidden] if isinstance(hidden, int) else hidden, "hidden")
    widths, norm, kind = [positive_integer(width, "width"), *inner], flag(norm, "norm"), float_dtype(dtype)
    make = activation_factory(activation)
    layers: list[nn.Module] = []
    with own_random_state(seed_integer(seed, 32), torch.device("cpu")), torch.device("cpu"):
        for before, after in pairwise(widths):
            layers.append(nn.Linear(before, after, bias=not norm, dtype=torch.float32))
            layers += [nn.BatchNorm1d(after, dtype=torch.float32)] * norm + [make()]
        last = positive_integer(embedding, "embedding")
        layers.append(nn.Linear(widths[-1], last, bias=not norm, dtype=torch.float32))
    return nn.Sequential(*layers).to(kind)
