"""Checks of what users pass to a tracker. Every message names value and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from infgeo.arguments import items, positive_integer
from infgeo.errors import InvalidInput
from infgeo.finite.evaluation import refuse_unusable_weights
from infgeo.finite.inputs import optional_dtype
from infgeo.tracking.probes import Probe, points


def unwrapped(model: Any) -> Any:
    """Return the module that torch.compile, DataParallel or DistributedDataParallel wraps."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(model, nn.Module) and isinstance(model._modules.get("_orig_mod"), nn.Module):
            model = model._modules["_orig_mod"]
        else:
            return model


def architecture(model: nn.Module) -> list[list[Any]]:
    """Return names, shapes and dtypes of all parameters and buffers."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [[name, list(t.shape), str(t.dtype)] for name, t in tensors]


def checked_model(model: Any, dtype: Any) -> nn.Module:
    """Return the module that is measured, or raise InvalidInput for one that cannot be."""
    model = unwrapped(model)
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"model is {model!r}; pass a torch module")
    refuse_unusable_weights(model, optional_dtype(dtype))
    return model


def checked_probes(at: Any, input_range: Any) -> dict[str, Probe]:
    """Return the probes by name."""
    given = at if isinstance(at, Mapping) else None
    if given is not None and not given:
        raise InvalidInput("at is empty; pass a probe, an array of inputs, or several of these by name")
    found: dict[str, Probe] = {}
    for name, value in (given or {None: at}).items():
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
        low, high = (torch.as_tensor(v, dtype=torch.float64, device="cpu") for v in input_range)
        low, high = torch.broadcast_tensors(low, high)
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
    named = [layer.replace("_orig_mod.", "") if isinstance(layer, str) else layer for layer in layers]
    for layer in named:
        if layer is not None and not isinstance(layer, str):
            raise InvalidInput(f"features has {layer!r}; layers are named by words, and None is the output")
    return tuple(dict.fromkeys(named))
