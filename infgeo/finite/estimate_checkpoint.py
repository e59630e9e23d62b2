"""The checkpoint of a Monte Carlo run: the state of its sums, and what the run is recognised by."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from infgeo.checkpoint_file import CheckpointFile
from infgeo.files import taken_apart
from infgeo.finite.reduction import Reduction

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
    """Writes the state of `reduction` to a file every few seconds, and restores it. Without a path it does nothing."""

    def __init__(self, path: str | os.PathLike[str] | None, reduction: Reduction, samples: int) -> None:
        self.file = CheckpointFile(path, "estimate", _SECONDS)
        self.reduction, self.run = reduction, describe(reduction, samples)

    def load(self) -> None:
        """Restore the state if the file exists; raises InvalidInput for a damaged file, or one of another run."""
        saved = self.file.read()
        if saved is None:
            return
        with taken_apart(str(self.file.path), "checkpoint"):
            self.file.refuse_another(saved["run"], self.run)
            self.reduction.restore(saved["state"]["step"], saved["state"])
        self.file.resumed(self.reduction.done)

    def save(self, now: bool = False) -> None:
        """Write the state, if some seconds have passed since the last time, or `now`, and if there is anything new."""
        if self.file.path is not None and (now or self.file.due(self.reduction.done)):
            self.file.save(self.reduction.done, self.run, self.reduction.state())
