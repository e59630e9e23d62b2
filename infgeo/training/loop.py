"""The training loop: the same bits for the same seed, stopped cleanly at any moment, resumed where it stopped."""

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from infgeo.arguments import flag, function, items, positive_integer, real_number, seed_integer
from infgeo.checkpoint_file import CheckpointFile
from infgeo.display import Displayed
from infgeo.errors import InvalidInput, TrainingDiverged
from infgeo.finite.inputs import checked_device
from infgeo.finite.point_blocks import is_out_of_memory
from infgeo.interruption import Interruption
from infgeo.progress import progress_bar
from infgeo.training import guards
from infgeo.training.recipe import LOSSES, Recipe, plain, without_addresses
from infgeo.training.tasks import Task

Callback = Callable[[int, nn.Module], object]
Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]

_EVALUATED_AT_ONCE = 1024  # points
_SECONDS = 0.1  # between two reports of progress
_WRITTEN = 60.0  # seconds between two writings of a checkpoint, where no number of steps is given


@dataclass(frozen=True, repr=False)
class TrainingResult(Displayed):
    """What a training run came to.

    Attributes:
        steps: updates made, counted from the beginning, also where the run was resumed.
        epochs: complete passes over the data.
        losses: mean training loss of each complete epoch, as seen while stepping.
        accuracy: share of training points classified right at the end, in eval mode; None after an interruption, or
            where the model's outputs are not one number a class.
        test_accuracy: of the test points; None also where there are none.
        interrupted: whether Ctrl-C was pressed, or SIGTERM came: the caller is to stop, too.
    """

    steps: int
    epochs: int
    losses: tuple[float, ...] = field(repr=False)
    accuracy: float | None
    test_accuracy: float | None
    interrupted: bool


def train(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    *,
    seed: int = 0,
    callbacks: Callback | Iterable[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    device: torch.device | str | None = None,
    progress: bool | Callable[[int, int], object] = False,
    loss: Loss | None = None,
) -> TrainingResult:
    """Train `model`, in place, on the training points of `task` by `recipe`.

    One machine, one seed, one recipe: the same bits, also where the run was interrupted and resumed. The order of the
    batches has a generator of its own; torch's global random state, from which dropout and augmentations draw, starts
    from `seed` within the run and is put back after it. Modules are in training mode while stepping and in their own
    mode afterwards.

    Args:
        model: torch module (B, *input_shape) -> (B, classes); on return it holds the trained weights.
        task: what to learn; dtype as the model's.
        recipe: the hyperparameters.
        seed: 0 <= seed < 2^63.
        callbacks: one function or several, called as callback(step, model): with step 0 before the first update (not
            where a run is resumed) and after every update, the model in training mode.
        checkpoint: a file to resume from, if it is there, and to write: every `checkpoint_every` steps (by default
            every minute), on Ctrl-C or SIGTERM, and at the end. Only `epochs` may differ from the run that wrote it.
        checkpoint_every: steps between two writings.
        device: where to train; the model is moved there and stays there. By default where the model is.
        progress: True for a bar on the terminal (with rich), or a function called as progress(steps done, steps).
        loss: function (model, inputs, labels) -> scalar of a batch, instead of the recipe's, such as one of two views.

    Returns:
        A `TrainingResult`. On Ctrl-C or SIGTERM the step is finished, the state saved, and `interrupted` is True; a
        second one interrupts a callback that takes long, which is called again when the run goes on, or else raises
        KeyboardInterrupt: what was saved before stays.

    Raises:
        InvalidInput: for arguments outside their domain, a device that is absent, points the model does not take, a
            checkpoint that is damaged, of another architecture, recipe, task or seed, or that cannot be written.
        TrainingDiverged: for a loss that is not finite; the model is as it was before that step.
    """
    if not isinstance(model, nn.Module) or not isinstance(task, Task) or not isinstance(recipe, Recipe):
        kinds = ", ".join(type(value).__name__ for value in (model, task, recipe))
        raise InvalidInput(f"train got ({kinds}); pass (torch.nn.Module, infgeo.training.Task, infgeo.training.Recipe)")
    seed = seed_integer(seed, 63)
    if progress is not None and not callable(progress):
        progress = flag(progress, "progress")
    function(loss, "loss", "a function (model, inputs, labels)")
    remedy = "functions (step, model), one or a list of them"
    called = (callbacks,) if callable(callbacks) else items(callbacks, "callbacks", remedy)
    if not all(map(callable, called)):
        raise InvalidInput(f"callbacks is {callbacks!r:.80}; pass {remedy}")
    if device is not None:
        model.to(checked_device(device))
    place, kind = _where(model)
    if task.inputs.dtype != kind:
        or_task = f"; or make the task with dtype={kind}" if kind in (torch.float32, torch.float64) else ""
        raise InvalidInput(
            f"the points of task {task.name!r} are {task.inputs.dtype}, the model's parameters {kind}; pass "
            f"model.to({task.inputs.dtype}){or_task}"
        )
    with Interruption() as interruption, torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        file = CheckpointFile(checkpoint, "training", _WRITTEN, checkpoint_every)
        run = _Run(model, task.to(place), recipe, seed, called, file, loss)
        stack.enter_context(guards.own_random_state(seed, place))
        stack.enter_context(guards.deterministic_kernels(place))
        if file.path is not None:
            file.resume(run.identity, run.take_up)
        report = progress if callable(progress) else stack.enter_context(progress_bar(task.name)) if progress else None
        with guards.training_mode(model):
            run.steps(interruption, report)
        run.optimizer.zero_grad()
        run.save()
        stopped = interruption.requested or not run.finished
        scores = (None, None) if stopped else run.scores()
        stopped = stopped or interruption.requested
    return TrainingResult(run.step, run.epoch, tuple(run.losses), *scores, interrupted=stopped)


def _shapes(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: (tuple(part.shape), part.dtype) for name, part in state.items() if torch.is_tensor(part)}


def _where(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return device and dtype of the model's parameters."""
    parameters = [p for p in model.parameters() if p.dtype.is_floating_point]
    places = {p.device for p in parameters}
    if len(places) > 1:
        raise InvalidInput(
            f"the model's parameters are on several devices, {', '.join(sorted(map(str, places)))}; use one"
        )
    if not parameters:
        raise InvalidInput("the model has no parameters: there is nothing to train")
    if parameters[0].device.type == "meta":
        raise InvalidInput(
            "the model is on the meta device, which holds no numbers; build it on another, or move it there with "
            "model.to_empty(device=...) and load its weights"
        )
    return parameters[0].device, parameters[0].dtype


@dataclass(eq=False)
class _Run:
    """The state of a run: everything that a checkpoint holds, and what is needed to go on."""

    model: nn.Module
    task: Task
    recipe: Recipe
    seed: int
    callbacks: tuple[Callback, ...]
    checkpoint: CheckpointFile
    own_loss: Loss | None
    step: int = 0
    epoch: int = 0
    batch: int = 0
    called_back: bool = False  # whether the callbacks were called after this step, to their end
    total: float = 0.0  # sum over the points of this epoch of their loss
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = self.task.inputs.device
        self.optimizer = self.recipe.make_optimizer(self.model)
        self.order = torch.Generator().manual_seed(self.seed)
        self.order_before = self.order.get_state()  # at the beginning of this epoch
        self.batch_size, self.batches = self.recipe.batches(len(self.task.inputs))

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.recipe.epochs

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint is recognised by: the settings, the modules of the model and the tensors of their state."""
        task = self.task
        run: dict[str, Any] = {
            f"architecture, {name or 'the model'}": f"{type(m).__qualname__}({without_addresses(m.extra_repr())})"
            for name, m in self.model.named_modules()
        }
        tensors = [(name, t) for name, t in self.model.state_dict().items() if isinstance(t, torch.Tensor)]
        run |= {f"architecture, {name}": f"{tuple(t.shape)} {t.dtype}" for name, t in tensors}
        digest = hashlib.sha256(repr((tuple(task.inputs.shape), str(task.inputs.dtype))).encode())
        for tensor in (task.inputs, task.labels):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        run |= {"task": task.name, "data": digest.hexdigest(), "seed": self.seed}
        run |= self.recipe.record() | {"own_loss": plain(self.own_loss)}
        del run["epochs"]  # a finished run may go on
        return run

    def save(self) -> None:
        """Write the checkpoint, if there is one to write and anything new."""
        if self.checkpoint.path is None:
            return
        numbers = ("epoch", "batch", "total", "losses", "called_back")
        state = {name: getattr(self, name) for name in numbers} | {
            "order": self.order_before,
            "random": guards.random_state(self.place),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        self.checkpoint.save(self.step, self.identity, state)

    def take_up(self, state: dict[str, Any]) -> None:
        """Take up a state, the model's last: it stays as it was where the state does not fit."""
        step, epoch, batch = (positive_integer(state[name], name, minimum=0) for name in ("step", "epoch", "batch"))
        if (epoch, batch) > (self.recipe.epochs, 0):
            raise InvalidInput(
                f"checkpoint {self.checkpoint.path} is of epoch {epoch}, and the recipe has "
                f"{self.recipe.epochs}; raise epochs, or name another file"
            )
        if _shapes(state["model"]) != _shapes(self.model.state_dict()):
            raise ValueError("the model's state has other shapes than the model")
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            if any(torch.is_tensor(v) and v.ndim and v.shape != parameter.shape for v in moments.values()):
                raise ValueError("the optimizer's state has other shapes than the model")
        self.step, self.epoch, self.batch = step, epoch, batch
        self.total = real_number(state["total"], "total")
        self.losses = [real_number(loss, "losses") for loss in state["losses"]]
        self.called_back = step > 0 and bool(state["called_back"])
        self.order.set_state(state["order"])
        self.order_before = state["order"]
        guards.set_random_state(state["random"], self.place)
        self.model.load_state_dict(state["model"])

    def steps(self, interruption: Interruption, progress: Callable[[int, int], object] | None) -> None:
        """Make updates until all epochs are done, or until an interruption; then the state is that after a step."""
        optimizer, augmentation = self.optimizer, self.recipe.augmentation
        every, reported = self.recipe.epochs * self.batches, 0.0
        if not self.called_back:
            self._call_back(interruption)
        while not self.finished and not interruption.requested:
            for inputs, labels in self._shuffled():
                if augmentation is not None:
                    inputs = augmentation(inputs)
                optimizer.zero_grad()
                value = self._loss(inputs, labels)
                value.backward()
                number = value.item()
                if not math.isfinite(number):
                    raise self._diverged(number)
                optimizer.step()
                self._advance(number, len(labels))
                self._call_back(interruption)
                if self.checkpoint.due(self.step):
                    self.save()
                if progress is not None and (self.finished or time.monotonic() - reported >= _SECONDS):
                    progress(self.step, every)
                    reported = time.monotonic()
                if interruption.requested:
                    break

    def _shuffled(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of this epoch that are left, in its random order."""
        self.order_before = self.order.get_state()
        size = self.batch_size
        order = torch.randperm(len(self.task.inputs), generator=self.order, device="cpu").to(self.place)
        for index in range(self.batch, self.batches):
            rows = order[index * size : (index + 1) * size]
            yield self.task.inputs[rows], self.task.labels[rows]

    def _advance(self, loss: float, points: int) -> None:
        """Count a step, and an epoch with its last step."""
        self.step, self.batch, self.total = self.step + 1, self.batch + 1, self.total + loss * points
        self.called_back = False
        if self.batch == self.batches:
            seen = self.batches * self.batch_size if self.recipe.drop_last else len(self.task.inputs)
            self.losses.append(self.total / seen)
            self.epoch, self.batch, self.total = self.epoch + 1, 0, 0.0
            self.order_before = self.order.get_state()

    def _call_back(self, interruption: Interruption) -> None:
        try:
            for callback in self.callbacks:
                callback(self.step, self.model)
            self.called_back = True
        except KeyboardInterrupt:  # the step is complete, so the state is one to save
            interruption.requested = True

    def _loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, with errors that say what does not fit."""
        if self.own_loss is not None:
            value = self.own_loss(self.model, inputs, labels)
            if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
                raise InvalidInput(
                    f"loss returned {value!r:.80}; it must return a scalar tensor that depends on the model"
                )
            return value
        try:
            logits = self.model(inputs)
        except (RuntimeError, ValueError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            remedy = f"build it for input shape {self.task.input_shape}, or pass task.flattened() to a perceptron"
            if len(inputs) == 1:
                remedy += "; or use another batch_size, or drop_last=True"
            raise InvalidInput(
                f"the model does not take the points of task {self.task.name!r}, {tuple(inputs.shape)} a batch: "
                f"{str(error).splitlines()[0]}; {remedy}"
            ) from error
        expected = (len(inputs), len(self.task.classes))
        if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
            given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise InvalidInput(
                f"the model returns {given} for a batch of task {self.task.name!r}; it must return {expected}, one "
                "number a class; or pass loss=function"
            )
        return LOSSES[self.recipe.loss](logits, labels)

    def _diverged(self, value: float) -> TrainingDiverged:
        saved = "" if self.checkpoint.path is None else f"; {self.checkpoint.path} holds what was saved before"
        return TrainingDiverged(
            f"the loss is {value} at step {self.step + 1} (epoch {self.epoch + 1}), with learning rate "
            f"{self.recipe.learning_rate:g}: use a smaller learning rate, or check the points and the initial weights"
            f"{saved}"
        )

    def scores(self) -> tuple[float | None, float | None]:
        """Return the shares of training and of test points that are classified right, in eval mode."""
        task = self.task
        with torch.no_grad(), guards.training_mode(self.model, False):
            return self._score(task.inputs, task.labels), self._score(task.test_inputs, task.test_labels)

    def _score(self, inputs: torch.Tensor, labels: torch.Tensor) -> float | None:
        right = 0
        for x, y in zip(inputs.split(_EVALUATED_AT_ONCE), labels.split(_EVALUATED_AT_ONCE), strict=True):
            logits = self.model(x)
            if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (len(x), len(self.task.classes)):
                return None
            right += int((logits.argmax(1) == y).sum())
        return right / len(labels) if len(labels) else None
