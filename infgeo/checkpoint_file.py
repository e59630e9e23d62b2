"""The file from which an interrupted run goes on: tensors and numbers by torch.save, written whole or not at all."""

import io
import os
import pickle
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from infgeo.arguments import positive_integer, shown
from infgeo.errors import InvalidInput
from infgeo.files import check_writable, file_path, taken_apart, write_whole


class CheckpointFile:
    """Writes the state of a run to `path` now and then, and reads it back. Without a path it does nothing.

    Args:
        path: of the file, or None.
        kind: of the run, "training" or "estimate": a file of another kind is refused.
        seconds: between two writings, where no number of steps is given.
        every: steps between two writings.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, kind: str, seconds: float, every: int | None = None
    ) -> None:
        self.every = None if every is None else positive_integer(every, "checkpoint_every")
        if path is None and every is not None:
            raise InvalidInput(f"checkpoint_every is {every}, without a checkpoint; name a file, or drop it")
        self.path = None if path is None else file_path(path, "checkpoint")
        if self.path is not None:
            check_writable(self.path)
        self.kind, self.seconds = kind, seconds
        self._last, self._written = time.monotonic(), -1

    def due(self, step: int) -> bool:
        """Return whether the state after this step is to be written."""
        if self.path is None or step == self._written:
            return False
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self._last >= self.seconds

    def save(self, step: int, run: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write the state after `step`, with what identifies the run; raises InvalidInput where the disk is full."""
        if self.path is None or step == self._written:
            return
        buffer = io.BytesIO()
        torch.save({"format": self._format, "run": dict(run), "state": {"step": step, **state}}, buffer)
        write_whole(self.path, buffer.getvalue())
        self._written, self._last = step, time.monotonic()

    def resume(self, run: Mapping[str, Any], take_up: Callable[[dict[str, Any]], None]) -> None:
        """Have `take_up` take up the state in the file, if there is one.

        Raises InvalidInput for a damaged file, or one of another run than `run`; it is left as it is.
        """
        if self.path is None or not Path(self.path).is_file():
            return
        try:
            content = Path(self.path).read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read checkpoint {self.path}: {error.strerror or error}") from None
        if not content:  # an empty file is one that someone has made for us
            return
        with taken_apart(self.path, "checkpoint"):
            saved = self._unpacked(content)
            there = saved["run"]
            if differing := [k for k in there | run if there.get(k) != run.get(k)]:
                listed = [f"{k} is {shown(there.get(k))} there, {shown(run.get(k))} here" for k in differing[:5]]
                more = f"; and {len(differing) - 5} more" if len(differing) > 5 else ""
                raise InvalidInput(
                    f"checkpoint {self.path} is of another run: {'; '.join(listed)}{more}; repeat the call that made"
                    " it, or name another file"
                )
            take_up(saved["state"])
            self._written = saved["state"]["step"]

    @property
    def _format(self) -> str:
        return f"infgeo {self.kind} checkpoint 1"

    def _unpacked(self, content: bytes) -> Any:
        """Return what torch.save wrote, every part of it checked against its checksum."""
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.testzip() is not None:  # torch.load itself would take a flipped bit for a weight
                raise ValueError("its checksum fails")
        try:
            saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # torch's message says how to run what is in the file
            raise InvalidInput(
                f"checkpoint {self.path} holds more than tensors and numbers, and is not loaded; name a checkpoint of"
                " infgeo"
            ) from None
        if not isinstance(saved, dict) or saved.get("format") != self._format:
            raise InvalidInput(f"checkpoint {self.path} is no {self.kind} checkpoint of infgeo; name another file")
        return saved
