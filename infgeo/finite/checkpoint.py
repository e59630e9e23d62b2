"""A file from which an interrupted run goes on: the state of its sums, with a digest, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from infgeo.errors import InvalidInput
from infgeo.files import check_writable, file_path, taken_apart, write_whole
from infgeo.finite.reduction import Reduction

_MAGIC = b"infgeo checkpoint 1\n"
_SECONDS = 10.0  # between two writings


def describe(reduction: Reduction, samples: int) -> dict[str, Any]:
    """Return what a run is identified by: a file of another run is refused."""
    task = reduction.task
    return {
        "network": repr(task.specification),
        "x": hashlib.sha256(repr(task.x.shape).encode() + task.x.tobytes()).hexdigest(),
        "width": task.width,
        "samples": samples,
        "sampler": task.sampler,
        "seed": task.seed,
        "quantities": list(task.quantities),
        "dtype": str(task.dtype),
        "bias_correction": task.bias_correction,
        "items": len(reduction.items),
    }


class Checkpoint:
    """Writes a reduction to `path` every few seconds, and reads it back. Without a path it does nothing."""

    def __init__(self, path: str | os.PathLike[str] | None, run: Mapping[str, Any]) -> None:
        """Check that the file can be written; `run` identifies the run."""
        self.path, self.run = path, dict(run)
        self._written, self._last = -1, time.monotonic()
        if path is not None:
            path = self.path = file_path(path, "checkpoint")
            check_writable(path)

    def load(self, reduction: Reduction) -> None:
        """Restore `reduction` if the file exists; raises InvalidInput for a damaged file, or one of another run.

        A file that is refused is left as it is.
        """
        if self.path is None or not Path(self.path).exists():
            return
        try:
            content = Path(self.path).read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read checkpoint {self.path}: {error.strerror or error}") from None
        if not content:
            return  # an empty file that someone has made for us
        if not content.startswith(_MAGIC[: len(content)]):
            raise InvalidInput(f"checkpoint {self.path} is not a checkpoint of infgeo; name another file")
        digest, payload = content[len(_MAGIC) :][:32], content[len(_MAGIC) + 32 :]
        if hashlib.sha256(payload).digest() != digest:
            raise InvalidInput(
                f"checkpoint {self.path} is damaged or truncated; restore it from a copy, or remove it to start again"
            )
        with taken_apart(self.path, "checkpoint"):
            with numpy.load(io.BytesIO(payload), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            header = json.loads(bytes(arrays.pop("header")).decode())
            if differing := sorted(k for k in self.run if header["run"].get(k) != self.run[k]):
                raise InvalidInput(
                    f"checkpoint {self.path} is of another run: {', '.join(differing)} differ; repeat the call that"
                    " made it, or name another file"
                )
            reduction.restore(header["done"], arrays)
        self._written = reduction.done

    def save(self, reduction: Reduction, now: bool = False) -> None:
        """Write the state, if some seconds have passed since the last time, or `now`, and if there is anything new."""
        due = now or time.monotonic() - self._last >= _SECONDS
        if self.path is None or not due or reduction.done == self._written:
            return
        header = json.dumps({"run": self.run, "done": reduction.done}).encode()
        buffer = io.BytesIO()
        arrays = reduction.state() | {"header": numpy.frombuffer(header, dtype=numpy.uint8)}
        numpy.savez(buffer, **arrays)
        payload = buffer.getvalue()
        write_whole(self.path, _MAGIC + hashlib.sha256(payload).digest() + payload)
        self._written, self._last = reduction.done, time.monotonic()
