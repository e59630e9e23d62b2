"""Any callable or module, or a layer of one, as a map of flat points (B, d) to flat features (B, n).

A `Source` is such a map with what is known about it, on which the fastest route to its geometry depends.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite.differentiate import Flat, Way, choose
from infgeo.finite.evaluation import (
    derivable,
    kept,
    modules_behind,
    refuse_training_mode,
    refuse_unusable_weights,
    with_tensors,
)
from infgeo.finite.output_metric import OutputMetric
from infgeo.finite.stack import Stack


class _Reached(Exception):
    """The output of the layer is there: the rest of the forward pass is not needed."""


@dataclass(frozen=True)
class FeatureMap:
    """What is differentiated: `features` on points of `input_shape`, read at `layer` if one is named.

    `batched` says how it is called: on (B, *input_shape), or with `one_by_one` on batches of one point; or where it
    does not take that, on single points, by vmap or with `one_by_one` in a loop. `freeze` puts the module in eval mode
    while it is called. With a `dtype`, copies of parameters and buffers in that dtype stand in for those of the module.
    With a `precision`, the features are rounded to it: no more digits of them are known. `shape_given` says that the
    shape of a point is no guess.
    """

    features: Callable[..., Any]
    input_shape: tuple[int, ...]
    layer: str | None = None
    freeze: bool = False
    batched: bool = True
    one_by_one: bool = False
    dtype: torch.dtype | None = None
    precision: torch.dtype | None = None
    shape_given: bool = False

    @contextmanager
    def ready(self) -> Iterator[Flat]:
        """Give the map (B, d) -> (B, n); it may be called, also by torch's transforms, until the block is left."""
        with derivable(self.features, self.freeze), self.caller() as call:
            yield self.flattened(call)

    def flattened(self, call: Callable[[torch.Tensor], torch.Tensor]) -> Flat:
        """Return the map (B, d) -> (B, n) that calls what `caller` gives, on batches or on single points."""

        def flat(x: torch.Tensor) -> torch.Tensor:
            # a copy: features that work in place must not change the points
            points = x.reshape(x.shape[0], *self.input_shape).clone()
            if self.batched:
                out = torch.cat([call(point) for point in points.split(1)]) if self.one_by_one else call(points)
            elif self.one_by_one:
                out = torch.stack([call(point) for point in points])
            else:
                out = torch.func.vmap(call)(points)
            return out.flatten(1) if self.precision is None else out.flatten(1).to(self.precision)

        return flat

    def first_output(self, x: torch.Tensor) -> Any:
        """Return what the features, or the layer, return for the points x (B, d) as they are, unchecked."""
        points = x.reshape(x.shape[0], *self.input_shape).clone()
        with torch.no_grad(), derivable(self.features, self.freeze), self.caller(stop=False) as call:
            return call(points) if self.batched else call(points[0])

    @contextmanager
    def caller(self, stop: bool = True) -> Iterator[Callable[..., Any]]:
        """Give the features, or what the layer returns; `stop` leaves the forward pass there.

        Called with a second argument, a dict of parameters by name, they take the place of those of the module.
        """
        inner = self._without_side_effects()
        parts = [part for module in modules_behind(self.features) for part in module.modules()]

        def call(*arguments: Any) -> Any:
            with kept(parts):
                return inner(*arguments)

        if self.layer is None:
            yield call
            return
        outputs: list[Any] = []

        def listen(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs.append(output)
            if stop:
                raise _Reached

        def call_layer(*arguments: Any) -> Any:
            outputs.clear()
            try:
                call(*arguments)
            except _Reached:
                pass
            if len(outputs) != 1:
                times = "not called" if not outputs else f"called {len(outputs)} times"
                raise InvalidInput(
                    f"layer {self.layer!r} is {times} in one forward pass; name a module that is called once"
                )
            value = outputs.pop()
            return next(_real_tensors(value), value)

        handle = submodule(modules_behind(self.features), self.layer).register_forward_hook(listen)
        try:
            yield call_layer
        finally:
            handle.remove()

    def _without_side_effects(self) -> Callable[..., Any]:
        """Return the features with copies of the buffers, which a call might change.

        So of parameters that were made in inference mode: torch does not differentiate what is computed from them.
        """
        module = self.features
        if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
            return module
        copies = {name: b.detach().clone() for name, b in module.named_buffers()}
        copies |= {name: p.detach().clone() for name, p in module.named_parameters() if p.is_inference() or self.dtype}
        if self.dtype:
            copies = {name: t.to(self.dtype) if t.dtype.is_floating_point else t for name, t in copies.items()}

        changed = with_tensors(module)

        def call(points: torch.Tensor, weights: Mapping[str, torch.Tensor] | None = None) -> Any:
            values = {**copies, **(weights or {})}
            return changed(points, values) if values else module(points)

        return call


def _real_tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the real tensors in tuples, dicts and dataclasses, in order: modules put their output first."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        yield value
    elif isinstance(value, Mapping):
        yield from _real_tensors([*value.values()])
    elif is_dataclass(value):
        yield from _real_tensors([getattr(value, part.name) for part in fields(value)])
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _real_tensors(part)


@dataclass(frozen=True)
class Source:
    """A feature map that may be measured, or a slice of one.

    `width` is its number n of features, `largest` the size of the largest array of a forward pass at one point, in
    numbers. `stack` is one that gives what the features give. `flat` says that the features are linear off their kinks.
    `note` says of which precision they are, where it is not that of their dtype. `ways` are those that have been chosen
    for J, and for J with H, where it is measured many times. Where the stack has one layer, `readout` (C, n) is applied
    to the features, too. `plane` (d,), (k, d) are origin and directions of a slice. `form` is the metric of the
    outputs, where it is not flat.
    """

    feature_map: FeatureMap
    stack: Stack | None
    width: int
    largest: int
    flat: bool = False
    note: str = ""
    ways: tuple[Way | None, Way | None] = (None, None)
    readout: torch.Tensor | None = None
    plane: tuple[torch.Tensor, torch.Tensor] | None = None
    form: OutputMetric | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one point: (k,) on a slice."""
        return self.feature_map.input_shape if self.plane is None else (len(self.plane[1]),)

    def invertible(self, d: int) -> bool:
        """Return whether the features are coordinates of flat space wherever the metric has full rank: n = d."""
        return self.width == d and self.form is None

    @contextmanager
    def ready(self) -> Iterator[Flat]:
        """Give the map (B, d) -> (B, n), or (B, k) -> (B, n) on a slice, as `FeatureMap.ready`."""
        with self.feature_map.ready() as f:
            if self.plane is None:
                yield f
            else:
                origin, directions = self.plane
                yield lambda t: f(origin + t @ directions)

    def way(self, f: Flat, x: torch.Tensor, second: bool) -> Way:
        """Return the way to differentiate `f`, this map, at the points x."""
        # Batches of one point are for solvers that choose their steps. Autograd mostly does not see the choice, and
        # gives the derivatives of the solution, to the solver's tolerance: a relative error.
        slack = 0.01 if self.feature_map.batched and self.feature_map.one_by_one else 0.0
        return choose(f, x, second, self.largest, slack)

    def sliced(self, origin: torch.Tensor, directions: torch.Tensor) -> "Source":
        """Return the source on the slice t (B, k) -> origin + Σ t_a direction_a; origin (d,), directions (k, d)."""
        stack = None if self.stack is None else self.stack.sliced(origin, directions)
        largest = max(self.largest, math.prod(self.feature_map.input_shape))
        return replace(self, stack=stack, largest=largest, plane=(origin, directions))


def checked_features(features: Any, layer: str | None, freeze: bool, dtype: torch.dtype | None) -> None:
    """Raise InvalidInput for features, or a layer of them, that cannot be measured."""
    if not callable(features):
        raise InvalidInput(f"features is {features!r}; pass a callable or module x (..., d) -> (..., n)")
    modules = modules_behind(features)
    if layer is not None:
        submodule(modules, layer)
    refuse_training_mode(features, freeze)
    refuse_unusable_weights(features, dtype)
    if dtype is None or (isinstance(features, nn.Module) and not isinstance(features, torch.jit.ScriptModule)):
        return
    for module in modules:
        for name, parameter in module.named_parameters():
            if parameter.is_floating_point() and parameter.dtype != dtype:
                raise InvalidInput(
                    f"dtype is {dtype}, and features is a {type(features).__name__} that calls a "
                    f"{type(module).__name__} with parameter {name!r} in {parameter.dtype}, where no copy can stand "
                    f"in; let it call a copy, copy.deepcopy(module).to({dtype}), or pass the module itself"
                )


def submodule(modules: tuple[nn.Module, ...], name: str) -> nn.Module:
    """Return the submodule of this name in one of the modules, or raise InvalidInput with the names that are near."""
    if not isinstance(name, str):
        raise InvalidInput(f"layer is {name!r}; pass one name, and call pullback once for each of several layers")
    if not modules:
        raise InvalidInput(
            f"layer is {name!r}, but features is no torch module and shows none that it calls; pass the module, a "
            "function that names it, or drop layer"
        )
    found = [m.get_submodule(name) for m in modules if name and name in dict(m.named_modules(remove_duplicate=False))]
    if len({id(part) for part in found}) == 1:
        return found[0]
    if found:
        owners = " and ".join(type(m).__name__ for m in modules)
        raise InvalidInput(f"layer is {name!r}, which each of {owners} has; pass a function that names one of them")
    names = [n for m in modules for n, _ in m.named_modules() if n]
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    listed = near or names[:10]
    more = "" if near or len(names) <= 10 else f", ... ({len(names)} in all)"
    said = ("near ones: " if near else "it has ") + (", ".join(map(repr, listed)) or "no submodules") + more
    raise InvalidInput(f"layer is {name!r}, which features.named_modules() does not have; {said}")
