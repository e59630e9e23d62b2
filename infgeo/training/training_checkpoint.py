"""What a training run is recognised by, so that a checkpoint of another one is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from infgeo.training.recipe import Recipe, plain, without_addresses
from infgeo.training.tasks import Task

SECONDS = 60.0  # between two writings, where no number of steps is given


def identity(model: nn.Module, task: Task, recipe: Recipe, seed: int, loss: Any) -> dict[str, Any]:
    """Return the settings of a run but its epochs, and the modules of its model and the tensors of their state."""
    run: dict[str, Any] = {
        f"architecture, {name or 'the model'}": f"{type(m).__qualname__}({without_addresses(m.extra_repr())})"
        for name, m in model.named_modules()
    }
    tensors = [(name, t) for name, t in model.state_dict().items() if isinstance(t, torch.Tensor)]
    run |= {f"architecture, {name}": f"{tuple(t.shape)} {t.dtype}" for name, t in tensors}
    run |= {"task": task.name, "data": data_digest(task), "seed": seed} | recipe.record() | {"own_loss": plain(loss)}
    del run["epochs"]  # a finished run may go on
    return run


def data_digest(task: Task) -> str:
    """Return the SHA-256 of the training points and labels."""
    digest = hashlib.sha256(repr((tuple(task.inputs.shape), str(task.inputs.dtype))).encode())
    for tensor in (task.inputs, task.labels):
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
