"""One layer on one probe: examined once, measured many times while the weights change."""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite.differentiate import Way
from infgeo.finite.feature_map import FeatureMap, Source, submodule
from infgeo.finite.geometry_at_points import Pullback
from infgeo.finite.point_blocks import in_blocks
from infgeo.finite.preflight import MOST_TOGETHER, examine, gives_the_same
from infgeo.finite.stack import Stack, as_stack
from infgeo.tracking.history import Column
from infgeo.tracking.probes import Probe

GEOMETRY = ("log10_volume", "spectrum", "ricci")
OUTPUT = ("predictions", "entropy")
QUANTITIES = GEOMETRY + OUTPUT
_NO_CHANCE = 800.0  # exp(-800) = 0
_ARRAYS = 16  # of the size of the largest one, in a forward pass


@dataclass(frozen=True)
class Settings:
    """What is measured, and how; see `GeometryTracker`."""

    quantities: tuple[str, ...] | None
    slices: bool
    dtype: torch.dtype | None
    memory_budget: int
    logits: Callable[[Any], torch.Tensor] | None
    batched: bool = True

    def asks(self, quantity: str) -> bool:
        """Return whether a quantity is recorded where it applies."""
        return self.quantities is None or quantity in self.quantities

    def feature_map(self, model: nn.Module, input_shape: tuple[int, ...], layer: str | None) -> FeatureMap:
        """Return the map that is measured."""
        options: dict[str, Any] = {"one_by_one": not self.batched, "dtype": self.dtype, "shape_given": True}
        return FeatureMap(model, input_shape, layer, freeze=True, **options)

    def where(self, model: nn.Module) -> dict[str, Any]:
        """Return dtype and device of the points: those of the parameters as they are now, unless a dtype is set."""
        none = torch.empty(0, dtype=torch.float64, device="cpu")
        parameter = next((p for p in model.parameters() if p.dtype.is_floating_point), none)
        return {"dtype": self.dtype or parameter.dtype, "device": parameter.device}


@contextmanager
def random_kept(model: nn.Module) -> Iterator[None]:
    """Keep the random states of torch, NumPy and Python while a user's code runs."""
    python, array = random.getstate(), numpy.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if any(p.is_cuda for p in model.parameters()) else ()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(array)  # noqa: NPY002


class Inputs:
    """The inputs of a probe in the dtype and on the device of the model, in blocks of rows.

    `logits` (P, C) are those that came with the geometry of a layer: one pass over its units gives both.
    """

    def __init__(self, probe: Probe, settings: Settings) -> None:
        self.probe, self.settings = probe, settings
        self.size = math.prod(probe.input_shape)
        self.logits: torch.Tensor | None = None

    def first(self, count: int, **where: Any) -> torch.Tensor:
        """Return the first rows (B, d)."""
        return self.probe.inputs_at(self.probe.coordinates[:count]).flatten(1).to(**where)

    def blocks(self, rows: int | None = None, **where: Any) -> Iterator[torch.Tensor]:
        """Yield all rows (B, d), in blocks of at most `rows` that take a quarter of the memory budget."""
        rows = max(1, min(rows or len(self.probe), self.settings.memory_budget // (4 * 16 * self.size)))
        for coordinates in self.probe.coordinates.split(rows):
            yield self.probe.inputs_at(coordinates).flatten(1).to(**where)


class Target:
    """The geometry of one layer (None: the output) on one probe. Raises InvalidInput for what cannot be measured."""

    def __init__(self, model: nn.Module, layer: str | None, inputs: Inputs, settings: Settings) -> None:
        """Examine the layer at the first points of the probe."""
        self.model, self.layer, self.inputs, self.settings = model, layer, inputs, settings
        if layer is not None:
            submodule((model,), layer)
        probe = self.probe = inputs.probe
        self.sliced = probe.is_slice and settings.slices
        self.dimension = probe.coordinates.shape[1] if self.sliced else inputs.size
        self._map = settings.feature_map(model, probe.input_shape, layer)
        self._ways: tuple[Way | None, Way | None] = (None, None)
        self._seen = self._examined(self._stack())
        self.width = self._seen.width
        self._names = [column.quantity for column in self.columns()]

    @property
    def largest(self) -> int:
        """Size of the largest array of a forward pass at one point, as far as it is known."""
        return max(self.inputs.size, self.width, self._seen.largest)

    def columns(self) -> tuple[Column, ...]:
        """Return what `measure` gives, in order."""
        count, k, asks = len(self.probe), self.dimension, self.settings.asks
        columns: list[tuple[str, bool, tuple[int, ...], str]] = [
            ("log10_volume", asks("log10_volume"), (count,), "<f8"),
            ("rank", asks("log10_volume") and self.width < k, (count,), "<i4"),
            ("spectrum", asks("spectrum"), (count, min(self.width, k)), "<f8"),
            ("ricci", self.curved, (count,), "<f8"),
        ]
        return tuple(
            Column(name, self.layer, self.probe.name, shape, dtype) for name, asked, shape, dtype in columns if asked
        )

    @property
    def curved(self) -> bool:
        """Whether R is recorded: on surfaces, and on request in more dimensions, where the metric has full rank."""
        if self.width < self.dimension or not self.settings.asks("ricci"):
            return False
        return self.dimension == 2 or (self.dimension > 2 and self.settings.quantities is not None)

    def measure(self, anew: bool = False) -> list[numpy.ndarray]:
        """Return the columns at the weights as they are; `anew` chooses the ways of differentiation again."""
        if not self._names:
            return []
        where = self.settings.where(self.model)
        blocks: Iterable[torch.Tensor] = self.inputs.blocks(**where)
        if self.sliced:
            blocks = [(self.probe.coordinates * self.probe.scale).to(**where)]
        parts = []
        stack = self._stack()
        known = stack is not None and not anew and _alike(stack, self._seen.stack)
        with nullcontext() if known else random_kept(self.model):  # a known stack runs none of the user's code
            if known:
                self._seen = replace(self._seen, stack=stack)
            elif stack is not None or self._seen.stack is not None:  # hooks may have come or gone
                self._seen = self._examined(stack)
                stack = self._seen.stack
            weight, bias = (None if stack is None else self._readout(stack)) or (None, None)
            for x in blocks:
                source = replace(self._source(x, anew or self._ways[0] is None), readout=weight)
                anew = False
                geometry = Pullback(source, x, "nan", self.settings.memory_budget)
                parts.append(_quantities(geometry, self._names))
        if bias is not None and all("output" in part for part in parts):
            self.inputs.logits = torch.cat([part["output"] for part in parts]) + bias
        return [torch.cat([part[name] for part in parts]).cpu().numpy() for name in self._names]

    def _readout(self, stack: Stack) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return weight and bias of the model's last layer where it reads this one, and logits are still wanted."""
        wanted = self.settings.logits is None and self.inputs.logits is None and any(map(self.settings.asks, OUTPUT))
        if not wanted or stack.depth > 1:
            return None
        whole = as_stack(self.model, len(self.probe.input_shape), None, self.settings.dtype)
        return None if whole is None else whole.readout_after(stack)

    def _stack(self) -> Stack | None:
        stack = as_stack(self.model, len(self.probe.input_shape), self.layer, self.settings.dtype)
        return stack if stack is not None and stack.input_dim == self.inputs.size else None  # torch says what is wrong

    def _examined(self, stack: Stack | None) -> Source:
        count = max(2, MOST_TOGETHER // self.inputs.size) if stack is None else 2
        return examine(self._map, self.inputs.first(count, **self.settings.where(self.model)), stack)

    def _source(self, x: torch.Tensor, anew: bool) -> Source:
        source, probe = replace(self._seen, largest=self.largest), self.probe
        if self.sliced:
            assert probe.origin is not None and probe.directions is not None
            directions = probe.directions.flatten(1) / probe.scale[:, None]
            source = source.sliced(probe.origin.reshape(-1).to(x), directions.to(x))
        if source.stack is not None:
            return source
        if anew:
            with source.ready() as f:
                second = source.way(f, x, True) if self.curved and not source.flat else None
                self._ways = (source.way(f, x, False), second)
        return replace(source, ways=self._ways)


def _alike(stack: Stack, before: Stack | None) -> bool:
    """Return whether a stack has the layers of the one `before`, which gave the values of the model."""
    if before is None or len(stack.weights) != len(before.weights):
        return False
    here, there = ([(w.shape, w.dtype) for w in s.weights] + list(map(type, s.activations)) for s in (stack, before))
    return here == there


def _quantities(geometry: Pullback, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the quantities by name, and the "output" of a readout; in an order that takes the fewest passes."""
    found: dict[str, torch.Tensor] = {}
    if "ricci" in names:
        found["ricci"] = geometry.ricci_scalar
    if "spectrum" in names:
        found["spectrum"] = geometry.singular_values
    if geometry.width < geometry.input_dim:
        found["rank"], volume = geometry.rank, geometry.log_pseudo_volume
    else:
        volume = geometry.log_volume_element
    if geometry.output is not None:
        found["output"] = geometry.output
    return found | {"log10_volume": volume / math.log(10.0)}


class Output:
    """Logits and entropy of the model's output on one probe."""

    def __init__(self, model: nn.Module, inputs: Inputs, settings: Settings, largest: int) -> None:
        """Ask for the output at one point; `largest` is that of `Target`."""
        self.model, self.inputs, self.settings, self.largest = model, inputs, settings, largest
        self._map = settings.feature_map(model, inputs.probe.input_shape, None)
        try:
            self.classes = self._logits(inputs.first(1, **settings.where(model))).shape[1]
        except InvalidInput:
            raise
        except Exception as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InvalidInput(
                f"model fails on a batch of shape (1, {', '.join(map(str, inputs.probe.input_shape))}) of probe "
                f"{inputs.probe.name!r}: {said}; pass points of the shape that it takes"
            ) from error

    def columns(self) -> tuple[Column, ...]:
        """Return what `measure` gives, in order."""
        count, name = len(self.inputs.probe), self.inputs.probe.name
        logits = Column("logits", None, name, (count, self.classes), "<f4")
        columns = {"predictions": logits, "entropy": Column("entropy", None, name, (count,), "<f8")}
        return tuple(column for quantity, column in columns.items() if self.settings.asks(quantity))

    def measure(self, _anew: bool = False) -> list[numpy.ndarray]:
        """Return the columns at the weights as they are."""
        logits, self.inputs.logits = self.inputs.logits, None
        if logits is None:
            where = self.settings.where(self.model)
            rows = max(1, self.settings.memory_budget // (_ARRAYS * where["dtype"].itemsize * self.largest))
            blocks = self.inputs.blocks(rows if self.settings.batched else 1, **where)
            logits = torch.cat([part for x in blocks for part in in_blocks(self._logits, x, len(x))])
        logits = logits.cpu()
        found = {"logits": logits, "entropy": entropy(logits.double())}
        return [found[column.quantity].numpy() for column in self.columns()]

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, C) at x (B, d)."""
        with torch.no_grad(), random_kept(self.model):
            stack = as_stack(self.model, len(self.inputs.probe.input_shape), None, self.settings.dtype)
            if stack is not None and self.settings.logits is None and gives_the_same(stack, self._map, x[:1]):
                return stack(x)
            out = self._map.first_output(x)
            out = out if self.settings.logits is None else self.settings.logits(out)
        ok = isinstance(out, torch.Tensor) and out.dtype.is_floating_point and 1 <= out.ndim <= 2
        if not ok or out.shape[0] != len(x):
            got = f"of shape {tuple(out.shape)}" if isinstance(out, torch.Tensor) else f"a {type(out).__name__}"
            raise InvalidInput(
                f"the output for a batch of {len(x)} point(s) is {got}, and logits are real (B, classes) or (B,); pass "
                "logits=, a function of the output that returns them, or leave 'predictions' and 'entropy' out of "
                "quantities"
            )
        return out.reshape(len(x), -1)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy (P,) in nats of softmax(logits) (P, C), or of sigmoid for C = 1.

    H = log Z + Σ p_j (z_max − z_j), Z = Σ exp(z_j − z_max): all terms are positive, so no digit is lost where one class
    is nearly certain.
    """
    if logits.shape[1] <= 2:
        gap = logits[:, -1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
        gap = gap.abs().clamp(max=_NO_CHANCE)  # 0 · ∞ is 0 here
        other = torch.exp(-gap)
        return torch.log1p(other) + gap * other / (1 + other)
    top, index = logits.max(dim=1, keepdim=True)
    gap = top - logits
    others = torch.exp(-gap).scatter(1, index, 0.0)
    rest = others.sum(dim=1)
    weighted = torch.where(others == 0, 0.0, others * gap).sum(dim=1)
    value = torch.log1p(rest) + weighted / (1 + rest)
    return torch.where(torch.isfinite(top[:, 0]), value, torch.nan)
