"""What a training run is recognised by, so that a checkpoint of another one is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from infgeo.checkpoint_file import CheckpointFile
from infgeo.errors import InvalidInput
from infgeo.files import taken_apart
from infgeo.training.recipe import without_addresses
from infgeo.training.tasks import Task

SECONDS = 60.0  # between two writings, where no number of steps is given


def architecture(model: nn.Module) -> list[str]:
    """Return the modules of a model, by name, type and settings, and the shapes and dtypes of its state: one a line."""
    modules = [
        f"{name or 'the model'}: {type(m).__qualname__}({without_addresses(m.extra_repr())})"
        for name, m in model.named_modules()
    ]
    tensors = [(name, t) for name, t in model.state_dict().items() if isinstance(t, torch.Tensor)]
    return modules + [f"{name}: {tuple(t.shape)} {t.dtype}" for name, t in tensors]


def data_digest(task: Task) -> str:
    """Return the SHA-256 of the training points and labels."""
    digest = hashlib.sha256(repr((tuple(task.inputs.shape), str(task.inputs.dtype))).encode())
    for tensor in (task.inputs, task.labels):
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def saved_state(file: CheckpointFile, run: dict[str, Any], lines: list[str]) -> Any:
    """Return the state in the file, None where there is none.

    Raises InvalidInput for a damaged file, and for one of another architecture, recipe, task or seed; a file that is
    refused is left as it is.
    """
    saved = file.read()
    if saved is None:
        return None
    with taken_apart(str(file.path), "checkpoint"):
        _compare(saved["architecture"], lines, file.path)
        file.refuse_another(saved["run"], run)
        return saved["state"]


def _compare(there: list[str], here: list[str], path: Any) -> None:
    if there == here:
        return
    lost, new = [line for line in there if line not in here], [line for line in here if line not in there]
    said = f"it has {lost[0]!r}" if lost else "it lacks a module"
    said += f", the model {'has ' + repr(new[0]) if new else 'lacks it'}"
    raise InvalidInput(
        f"checkpoint {path} is of another architecture: {said}; build the model that made it, or name another file"
    )
