"""The file from which an interrupted training run goes on: state dicts by torch.save, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from infgeo.arguments import positive_integer, shown
from infgeo.errors import InvalidInput
from infgeo.files import check_writable, file_path, taken_apart, write_whole
from infgeo.training.recipe import without_addresses
from infgeo.training.tasks import Task

_FORMAT = "infgeo training checkpoint 1"
_SECONDS = 60.0  # between two writings, where no number of steps is given


def architecture(model: nn.Module) -> list[str]:
    """Return the modules of a model, by name, type and settings, and the shapes and dtypes of its state: one a line."""
    modules = [
        f"{name or 'the model'}: {type(m).__qualname__}({without_addresses(m.extra_repr())})"
        for name, m in model.named_modules()
    ]
    tensors = [(name, t) for name, t in model.state_dict().items() if isinstance(t, torch.Tensor)]
    state = [f"{name}: {tuple(t.shape)} {t.dtype}" for name, t in tensors]
    return modules + state


def data_digest(task: Task) -> str:
    """Return the SHA-256 of the training points and labels."""
    digest = hashlib.sha256(repr((tuple(task.inputs.shape), str(task.inputs.dtype))).encode())
    for tensor in (task.inputs, task.labels):
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


class Checkpoint:
    """Writes the state of a run to `path` now and then, and reads it back. Without a path it does nothing."""

    def __init__(self, path: str | os.PathLike[str] | None, every: int | None) -> None:
        """Check that the file can be written; write every so many steps, or every minute."""
        self.every = None if every is None else positive_integer(every, "checkpoint_every")
        if path is None and every is not None:
            raise InvalidInput(f"checkpoint_every is {every}, without a checkpoint; name a file, or drop it")
        if path is not None:
            path = file_path(path, "checkpoint")
            check_writable(path)
        self.path, self._last, self._written = path, time.monotonic(), -1

    def due(self, step: int) -> bool:
        """Return whether the state after this step is to be written."""
        if self.path is None or step == self._written:
            return False
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self._last >= _SECONDS

    def save(self, step: int, run: Mapping[str, Any], lines: list[str], state: Mapping[str, Any]) -> None:
        """Write the state after `step`, with what identifies the run; raises InvalidInput where the disk is full."""
        if self.path is None or step == self._written:
            return
        buffer = io.BytesIO()
        torch.save({"format": _FORMAT, "run": dict(run), "architecture": lines, "state": dict(state)}, buffer)
        write_whole(self.path, buffer.getvalue())
        self._written, self._last = step, time.monotonic()

    def load(self, run: Mapping[str, Any], lines: list[str]) -> Any:
        """Return the state in the file, None where there is none.

        Raises InvalidInput for a damaged file, and for one of another architecture, recipe, task or seed; a file that
        is refused is left as it is.
        """
        if self.path is None or not Path(self.path).is_file():
            return None
        try:
            content = Path(self.path).read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read checkpoint {self.path}: {error.strerror or error}") from None
        if not content:
            return None  # an empty file that someone has made for us
        saved = _unpack(content, self.path)
        with taken_apart(self.path, "checkpoint"):
            _compare(saved["architecture"], lines, self.path)
            there = saved["run"]
            if differing := sorted(k for k in {*there, *run} if there.get(k) != run.get(k)):
                listed = "; ".join(f"{k} is {shown(there.get(k))} there, {run.get(k)!r} here" for k in differing)
                raise InvalidInput(
                    f"checkpoint {self.path} is of another run: {listed}; repeat the call that made it, or name another"
                    " file"
                )
            self._written = positive_integer(saved["state"]["step"], "the step", minimum=0)
            return saved["state"]


def _unpack(content: bytes, path: Any) -> Any:
    """Return what torch.save wrote, every part of it checked against its checksum."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            whole = archive.testzip() is None  # torch.load itself would take a flipped bit for a weight
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True) if whole else None
    except pickle.UnpicklingError:  # torch's message says how to run what is in the file
        raise InvalidInput(
            f"checkpoint {path} holds more than tensors and numbers, and is not loaded; name a checkpoint of infgeo"
        ) from None
    except Exception as error:  # what is in a file that anyone may have made raises errors of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(
            f"checkpoint {path} is damaged, truncated or no checkpoint ({reason}); restore it from a copy, remove it "
            "to start again, or name another file"
        ) from None
    if not whole:
        raise InvalidInput(f"checkpoint {path} is damaged; restore it from a copy, or remove it to start again")
    if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
        raise InvalidInput(f"checkpoint {path} is no training checkpoint of infgeo; name another file")
    return saved


def _compare(there: list[str], here: list[str], path: Any) -> None:
    if there == here:
        return
    lost, new = [line for line in there if line not in here], [line for line in here if line not in there]
    said = f"it has {lost[0]!r}" if lost else "it lacks a module"
    said += f", the model {'has ' + repr(new[0]) if new else 'lacks it'}"
    raise InvalidInput(
        f"checkpoint {path} is of another architecture: {said}; build the model that made it, or name another file"
    )
