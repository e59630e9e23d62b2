"""How a network is trained: the hyperparameters as a value, and the published settings as data."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from infgeo.arguments import flag, function, instance, one_of, positive_integer, real_number, shown
from infgeo.errors import InvalidInput

OPTIMIZERS = ("sgd", "adam")
# Of logits (B, C) and labels (B,).
LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "squared_error": lambda z, y: (z - functional.one_hot(y, z.shape[1]).to(z.dtype)).square().sum(1).mean(),
}


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training run.

    Args:
        optimizer: "sgd" or "adam", with torch's defaults for what is not named here.
        learning_rate: > 0.
        momentum: of "sgd", in [0, 1); Adam has betas of its own.
        weight_decay: >= 0, as torch adds it to the gradient.
        batch_size: None for all points at once, as for more than there are.
        epochs: passes over the training data, >= 1.
        drop_last: leave out the last batch of an epoch where it is smaller than the others.
        augmentation: None, or a callable batch -> batch that draws from torch's random state; within a run that state
            is the run's own.
        loss: "cross_entropy", or "squared_error" to the one-hot labels (summed over classes, averaged over points).

    Raises:
        InvalidInput: for a value outside its domain.

    >>> Recipe(learning_rate=0.1, momentum=0.9, batch_size=50, epochs=10).optimizer
    'sgd'
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int | None = None
    epochs: int = 1
    drop_last: bool = False
    augmentation: Callable[[torch.Tensor], torch.Tensor] | None = None
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        one_of(self.optimizer, "optimizer", OPTIMIZERS)
        if not isinstance(self.loss, str) or self.loss not in LOSSES:
            raise InvalidInput(
                f"loss is {shown(self.loss)}; available: {', '.join(LOSSES)}; pass others to train(..., loss=function)"
            )
        for name, strict in (("learning_rate", True), ("momentum", False), ("weight_decay", False)):
            object.__setattr__(self, name, real_number(getattr(self, name), name, minimum=0.0, strict=strict))
        if self.momentum >= 1.0:
            raise InvalidInput(f"momentum is {self.momentum}; it must be below 1")
        if self.momentum and self.optimizer == "adam":
            raise InvalidInput(f"momentum is {self.momentum} with optimizer 'adam', which has none; leave it 0")
        if self.batch_size is not None:
            object.__setattr__(self, "batch_size", positive_integer(self.batch_size, "batch_size"))
        object.__setattr__(self, "epochs", positive_integer(self.epochs, "epochs"))
        object.__setattr__(self, "drop_last", flag(self.drop_last, "drop_last"))
        function(self.augmentation, "augmentation", "a callable batch -> batch")

    def batches(self, points: int) -> tuple[int, int]:
        """Return the size of a batch and the number of batches in an epoch, of this many points."""
        size = min(self.batch_size or points, points)
        return size, points // size if self.drop_last else -(-points // size)

    def record(self) -> dict[str, Any]:
        """Return the values as plain data, a callable by its name: for records and checkpoints."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return torch's optimizer of the parameters that require gradients; InvalidInput where there are none."""
        instance(model, "model", nn.Module, "a torch module")
        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters:
            raise InvalidInput("the model has no parameter that requires a gradient: there is nothing to train")
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )


def plain(value: Any) -> Any:
    """Return a value that JSON and weights_only checkpoints can hold: a function's name, or what an object shows."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    named = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{named}" if named else without_addresses(repr(value))


def without_addresses(text: str) -> str:
    """Return `text` without the addresses of objects, which differ from one run to the next."""
    return re.sub(" at 0x[0-9a-f]+", "", text)


# The settings of arXiv 2301.11375 (appendix on experiments), and of its authors' published scripts for what the text
# leaves open. The losses and the two views of "barlow_twins" and "simclr" are those of `infgeo.training.contrastive`;
# CIFAR's augmentation (crop and flip) is passed by replacing `augmentation`.
RECIPES: dict[str, Recipe] = {
    "xor": Recipe(learning_rate=0.02, momentum=0.9, weight_decay=1e-4, epochs=2000),
    "sinusoid": Recipe(learning_rate=0.1, momentum=0.9, batch_size=50, epochs=10_000),
    "mnist": Recipe(optimizer="adam", learning_rate=1e-3, weight_decay=1e-4, batch_size=1000, epochs=200),
    "cifar10": Recipe(learning_rate=0.01, momentum=0.9, weight_decay=1e-4, batch_size=1024, epochs=200),
    "barlow_twins": Recipe(
        learning_rate=0.01, momentum=0.9, weight_decay=1e-4, batch_size=1024, epochs=1000, drop_last=True
    ),
    "simclr": Recipe(learning_rate=0.01, momentum=0.9, weight_decay=1e-4, batch_size=512, epochs=1000, drop_last=True),
}
