"""`GeometryTracker`: records the geometry of a network while it trains, and leaves no trace in the training."""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from infgeo.arguments import flag, function, instance, items, positive_integer, real_number, words
from infgeo.errors import InvalidInput
from infgeo.finite.evaluation import plain_torch, refuse_unusable_weights
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, float_dtype
from infgeo.tracking import store
from infgeo.tracking.history import Column, History
from infgeo.tracking.measure import GEOMETRY, OUTPUT, QUANTITIES, Inputs, Output, Settings, Target, random_kept
from infgeo.tracking.probes import Probe, points

# Numbers: once an array of this size was freed, the C library keeps what records free, for the next record to take.
_KEPT = 2**22


class GeometryTracker:
    """Record the geometry that a network induces on its input space, at given points, while it trains.

    A callback, `tracker(step, model)`, for loops that number their steps; or in a loop of one's own

        with GeometryTracker(model, at=infgeo.tracking.grid((-1, 1))) as tracker:  # records step 0
            for x, y in batches:
                ...
                optimizer.step()
                tracker.step()                                                     # 1, 2, …

    Training with and without a tracker gives the same bits: parameters, buffers, gradients, the optimiser's state, the
    mode of every module and the random states of torch, NumPy and Python are as they were, whatever the network is.
    It is measured in eval mode. Forward hooks are part of the network and are called by the measurement too.

    What is recorded, float64, with logarithms that neither under- nor overflow:

        log10_volume  log₁₀ √det g of the metric of input space; on lines and planes (`slices`) of that of the slice,
                      the length or area element per unit of pixel space. −inf where the metric has no full rank.
                      With fewer features than coordinates: Σ log₁₀ σ_i of the nonzero singular values, and their
                      number as "rank".
        spectrum      the singular values of the Jacobian, square roots of the metric's eigenvalues, descending
        ricci         the Ricci scalar R (on spheres positive) of two-dimensional inputs and planes
        predictions   logits (float32), from which the history gives class and probabilities
        entropy       of softmax(logits), in nats; of sigmoid for a single logit

    Args:
        model: a module. A compiled or data-parallel one is measured as the module that it wraps.
        at: a `Probe` (`points`, `line`, `plane`, `grid` of `infgeo.tracking`), an array of inputs (P, *input_shape),
            or several of these by name.
        features: name of a layer as in model.named_modules(), or a list of such names; None is the output.
        every: record each step that it divides, or the steps in this list.
        quantities: names from the table above; None are all that apply (R in two dimensions only; asked for by name,
            also in more).
        path: file to record to; each record is in it when `record` returns. A file that exists is continued where
            model, probes, layers and quantities are the same (weights are not compared), and refused otherwise.
        slices: measure lines and planes as such, at the cost of one or two directions instead of d.
        memory_budget: bytes that intermediate arrays may take, about.
        time_budget, time_limit: share of the wall time, and seconds in all, that recording may take; records that would
            exceed it are skipped and counted (`skipped`).
        dtype: torch.float64 measures with weights in double precision whatever the network trains in.
        logits: a function of the model's output that returns the logits (B, C), where it does not return them itself:
            `torch.log` for probabilities, `lambda out: out[0]` for a tuple.
        input_range: (low, high), numbers or one for each channel: points and anchors outside are refused.
        batched: False calls the model on one point at a time; see `infgeo.finite.pullback`.

    Raises:
        InvalidInput: for layers that do not exist, points of the wrong shape, dtype or range, outputs that depend on
            other points of a batch, unknown quantities, a path that cannot be written or holds another run.

    If a record cannot be made or written while the training goes on (no memory, a full disk), one warning says so, and
    the training goes on: what was not written is kept and written with the next record. `record` raises instead.
    """

    def __init__(
        self,
        model: nn.Module,
        at: Any,
        features: str | Sequence[str | None] | None = None,
        every: int | Sequence[int] = 100,
        quantities: Sequence[str] | None = None,
        path: str | os.PathLike[str] | None = None,
        *,
        slices: bool = True,
        memory_budget: int = DEFAULT_MEMORY_BUDGET,
        time_budget: float | None = None,
        time_limit: float | None = None,
        dtype: torch.dtype | None = None,
        logits: Callable[[Any], torch.Tensor] | None = None,
        input_range: tuple[Any, Any] | None = None,
        batched: bool = True,
    ) -> None:
        self.model: nn.Module = unwrapped(instance(model, "model", nn.Module, "a torch module"))
        refuse_unusable_weights(self.model, None if dtype is None else float_dtype(dtype))
        self.probes = checked_probes(at, input_range)
        self.every = checked_every(every)
        self.layers = checked_layers(features)
        self.time_budget = None if time_budget is None else real_number(time_budget, "time_budget", 0.0, strict=True)
        self.time_limit = None if time_limit is None else real_number(time_limit, "time_limit", 0.0, strict=True)
        settings = Settings(
            None if quantities is None else words(quantities, "quantities", QUANTITIES),
            flag(slices, "slices"),
            dtype,
            positive_integer(memory_budget, "memory_budget"),
            function(logits, "logits", "a function of the model's output"),
            flag(batched, "batched"),
        )
        torch.empty(_KEPT, device="cpu")
        self._began, self._spent = time.monotonic(), 0.0
        self._costs: list[float] = []
        self.skipped = self._count = self._made = 0
        self._pending: list[bytes] = []  # not written yet; without a path, all of them
        with plain_torch(), random_kept(self.model):
            self._parts = self._examined(settings)
        self._columns: tuple[Column, ...] = tuple(column for part in self._parts for column in part.columns())
        if not self._columns:
            raise InvalidInput(f"quantities is {quantities!r}, of which none applies to these probes and layers")
        self._store: store.Store | None = None
        if path is not None:
            tensors = [*self.model.named_parameters(), *self.model.named_buffers()]
            shapes = [[name, list(t.shape), str(t.dtype)] for name, t in tensors]
            described = {"class": type(self.model).__name__, "parameters": shapes}
            head = store.header(
                described, self._columns, self.probes, slices=settings.slices, dtype=dtype and str(dtype)
            )
            self._store = store.Store(path, head, store.record_dtype(self._columns).itemsize)

    def __repr__(self) -> str:
        where = "memory" if self._store is None else str(self._store.path)
        return f"GeometryTracker(layers={self.layers}, probes={tuple(self.probes)}, {self._made} records to {where})"

    @property
    def history(self) -> History:
        """All that has been recorded, also to the file by earlier runs."""
        pending = list(self._pending)
        if self._store is None:
            return store.from_records(pending, self._columns, self.probes)
        return store.load(self._store.path, pending)

    def __call__(self, step: int, model: nn.Module | None = None) -> bool:
        """Record if `step` is due, and return whether it was recorded. `model`, if given, must be the tracker's."""
        step = positive_integer(step, "step", 0)
        if model is not None and unwrapped(model) is not self.model:
            raise InvalidInput(
                f"step {step} passes a {type(model).__name__} that is not the model of this tracker; make one of it"
            )
        if not (step % self.every == 0 if isinstance(self.every, int) else step in self.every):
            return False
        if self._beyond_budget():
            self.skipped += 1
            return False
        try:
            self.record(step)
        except Exception as error:
            self.skipped += 1
            said = str(error).splitlines()[0] if str(error) else ""
            warnings.warn(
                f"the tracker could not record step {step}, and the training goes on: {type(error).__name__}: {said}",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        return True

    def __enter__(self) -> "GeometryTracker":
        """Record step 0, if it is due."""
        self._count = 0
        self(0)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the tracker; an exception goes on its way."""
        self.close()

    def step(self) -> bool:
        """Count one step of the training, after it; record if due, and return whether it was recorded."""
        self._count += 1
        return self(self._count)

    def record(self, step: int) -> None:
        """Record now, as `step`, whatever `every` and the budgets say. Errors are raised."""
        step = positive_integer(step, "step", 0)
        began = time.monotonic()
        anew = self._made & (self._made - 1) == 0  # ways of differentiation are chosen again at 0, 1, 2, 4, … records
        for part in self._parts:
            part.inputs.logits = None  # of a record that failed half way
        with plain_torch():
            arrays = [array for part in self._parts for array in part.measure(anew)]
        cost = time.monotonic() - began
        head = (step, began - self._began, cost, self.skipped)
        self._pending.append(store.pack(self._columns, head, arrays))
        self._made += 1
        self._write()
        cost = time.monotonic() - began
        self._spent += cost
        self._costs = [*self._costs[-4:], cost]

    def close(self) -> None:
        """Write what is left and have the device keep it. Warns of records that were skipped or could not be written.

        The tracker can be used again.
        """
        self._write()
        if self._store is not None:
            self._store.close()
        if self.skipped:
            warnings.warn(
                f"the tracker left out {self.skipped} of {self.skipped + self._made} records (time budget "
                f"{self.time_budget}, time limit {self.time_limit}, or failed)",
                RuntimeWarning,
                stacklevel=2,
            )

    def _write(self) -> None:
        """Write what is pending; what cannot be written stays, and one warning says why."""
        if self._store is None:
            return
        try:
            while self._pending:
                self._store.append(self._pending[0])
                del self._pending[0]
        except (OSError, InvalidInput) as error:
            warnings.warn(
                f"{len(self._pending)} record(s) could not be written to {self._store.path} and are kept in memory: "
                f"{error}; the next record tries again, and tracker.history has all of them",
                RuntimeWarning,
                stacklevel=4,
            )

    def _beyond_budget(self) -> bool:
        if not self._costs:
            return False
        next_one = max(self._costs)
        after = self._spent + next_one
        if self.time_limit is not None and after > self.time_limit:
            return True
        elapsed = time.monotonic() - self._began + next_one
        return self.time_budget is not None and after > self.time_budget * elapsed

    def _examined(self, settings: Settings) -> list[Target | Output]:
        """Return what is measured: layers, and then the output, which may come with the geometry of a layer."""
        layers: list[Target] = []
        outputs: list[Output] = []
        for probe in self.probes.values():
            inputs = Inputs(probe, settings)
            asked = self.layers if any(map(settings.asks, GEOMETRY)) else ()
            targets = [Target(self.model, layer, inputs, settings) for layer in asked]
            layers += targets
            if any(map(settings.asks, OUTPUT)):
                largest = max([t.largest for t in targets], default=inputs.size)
                outputs.append(Output(self.model, inputs, settings, largest))
        return [*layers, *outputs]


def unwrapped(model: Any) -> Any:
    """Return the module that torch.compile, DataParallel or DistributedDataParallel wraps."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(model, nn.Module) and isinstance(model._modules.get("_orig_mod"), nn.Module):
            model = model._modules["_orig_mod"]
        else:
            return model


def checked_probes(at: Any, input_range: Any) -> dict[str, Probe]:
    """Return the probes by name."""
    given = at if isinstance(at, Mapping) else {None: at}
    if not given:
        raise InvalidInput("at is empty; pass a probe, an array of inputs, or several of these by name")
    found: dict[str, Probe] = {}
    for name, value in given.items():
        if name is not None and (not isinstance(name, str) or not name):
            raise InvalidInput(f"at has the key {name!r}; probes are named by words")
        probe = value if isinstance(value, Probe) else points(value)
        found[name or probe.name] = probe if name is None else replace(probe, name=name)
    if input_range is not None:
        for name, probe in found.items():
            _refuse_outside(name, probe, input_range)
    return found


def _refuse_outside(name: str, probe: Probe, input_range: Any) -> None:
    """Raise InvalidInput for points, or anchors of a line or plane, outside the range of the data."""
    try:
        ends = (torch.as_tensor(v, dtype=torch.float64, device="cpu") for v in input_range)
        low, high = torch.broadcast_tensors(*ends)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidInput(
            f"input_range is {input_range!r}; pass (low, high), numbers or one for each channel"
        ) from None
    if not bool((low < high).all()):
        raise InvalidInput(f"input_range is ({_said(low)}, {_said(high)}); pass low < high")
    x = probe.inputs if probe.anchors is None else probe.anchors
    low, high = (v.reshape(-1, *(1,) * (len(probe.input_shape) - 1)) if v.ndim == 1 else v for v in (low, high))
    slack = 1e-5 * (high - low)
    try:
        outside = (x < low - slack) | (x > high + slack)
    except RuntimeError:
        raise InvalidInput(
            f"input_range has {low.numel()} values for inputs of shape {probe.input_shape} of probe {name!r}; pass two "
            "numbers, or one for each channel"
        ) from None
    if bool(outside.any()):
        where = int(outside.flatten(1).any(dim=1).nonzero()[0])
        what = "point" if probe.anchors is None else "anchor"
        raise InvalidInput(
            f"{what} {where} of probe {name!r} has values from {float(x[where].min()):.4g} to "
            f"{float(x[where].max()):.4g}, outside input_range = ({_said(low)}, {_said(high)}); normalise inputs as "
            "the training data are"
        )


def _said(bound: torch.Tensor) -> str:
    return ", ".join(f"{v:.4g}" for v in bound.flatten().tolist())


def checked_every(every: Any) -> int | frozenset[int]:
    """Return the distance between records, or the steps of all of them."""
    if isinstance(every, int) or (hasattr(every, "__index__") and not getattr(every, "ndim", 0)):
        return positive_integer(every, "every")
    steps = items(every.tolist() if hasattr(every, "tolist") else every, "every")
    if not steps:
        raise InvalidInput("every is empty; pass a number of steps, or a list of steps")
    return frozenset(positive_integer(step, "every", 0) for step in steps)


def checked_layers(features: Any) -> tuple[str | None, ...]:
    """Return the names of layers, without the prefix of compiled modules."""
    layers = (features,) if features is None or isinstance(features, str) else features
    if not isinstance(layers, list | tuple) or not layers:
        raise InvalidInput(f"features is {features!r}; pass the name of a layer, a list of names, or None")
    for layer in layers:
        if layer is not None and not isinstance(layer, str):
            raise InvalidInput(f"features has {layer!r}; layers are named by words, and None is the output")
    return tuple(dict.fromkeys(layer and layer.replace("_orig_mod.", "") for layer in layers))
