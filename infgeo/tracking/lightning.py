"""`GeometryCallback`: the tracker as a callback of Lightning."""

from typing import Any

from infgeo.errors import MissingExtra
from infgeo.tracking.tracker import GeometryTracker

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError as error:
        raise MissingExtra("infgeo.tracking.lightning", "lightning") from error


class GeometryCallback(Callback):
    """Track the geometry of a LightningModule, or of a part of it: `Trainer(callbacks=[GeometryCallback(at=...)])`.

    Steps are the trainer's `global_step`: 0, or that of the checkpoint from which the training goes on, before the
    first batch, and then one for each step of the optimiser. The tracker is made when the training starts, on the
    device where the module then is. Only the process of rank 0 records.

    Args:
        at: as for `GeometryTracker`, which also describes the other options.
        module: name of the submodule that is the network; None is the LightningModule, as its `forward` has it.
        options: of `GeometryTracker`: features, every, quantities, path, …

    `tracker` is None before the training has started. Raises what `GeometryTracker` does, when the training starts.
    """

    def __init__(self, at: Any, *, module: str | None = None, **options: Any) -> None:
        super().__init__()
        self.at, self.module, self.options = at, module, options
        self.tracker: GeometryTracker | None = None
        self._last = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the tracker and record the first step."""
        if trainer.is_global_zero:
            network = pl_module if self.module is None else pl_module.get_submodule(self.module)
            self.tracker, self._last = GeometryTracker(network, at=self.at, **self.options), -1
            self._record(trainer)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Record a step of the optimiser; batches whose gradients are accumulated are none."""
        self._record(trainer)

    def on_train_end(self, *_: Any) -> None:
        """Close the tracker; what it has recorded stays."""
        if self.tracker is not None:
            self.tracker.close()

    on_exception = on_train_end

    def _record(self, trainer: Any) -> None:
        step = int(trainer.global_step)
        if self.tracker is not None and step != self._last:
            self._last = step
            self.tracker(step)
