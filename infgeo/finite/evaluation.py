"""Evaluate a torch module for differentiation: how torch is set meanwhile, and what is refused before.

Torch has fused kernels without derivative rules (attention), and rules whose own derivative is wrong: forward over
forward through `layer_norm` and `instance_norm` loses a term without an error (pytorch issues 196700, 198017). While
`derivable()` is entered, attention runs by its plain formula and norms by theirs, in torch operations.
"""

from __future__ import annotations

import inspect
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from infgeo.arguments import flag
from infgeo.errors import InvalidInput


def _normalised(x: torch.Tensor, axes: tuple[int, ...], eps: float) -> torch.Tensor:
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=axes, keepdim=True) + eps)


def _layer_norm(
    input: torch.Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> torch.Tensor:
    count = len(normalized_shape) if isinstance(normalized_shape, list | tuple | torch.Size) else 1
    y = _normalised(input, tuple(range(-count, 0)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _instance_norm(
    input: torch.Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    shape = (1, -1) + (1,) * (input.ndim - 2)
    if use_input_stats:
        y = _normalised(input, tuple(range(2, input.ndim)), eps)
    else:
        y = (input - running_mean.reshape(shape)) * torch.rsqrt(running_var.reshape(shape) + eps)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _batch_norm(
    input: torch.Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    if training or running_mean is None or running_var is None:
        return nn.functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    # one product and one sum with the input: torch's own derivative also sums over positions, for the parameters
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    shape = (1, -1) + (1,) * (input.ndim - 2)
    return input * scale.reshape(shape) + shift.reshape(shape)


_PLAIN: dict[Any, Callable[..., torch.Tensor]] = {
    nn.functional.batch_norm: _batch_norm,
    nn.functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    nn.functional.instance_norm: _instance_norm,
}


class _PlainNorms(TorchFunctionMode):
    """Write norms in operations whose derivatives are right, and cheap along many directions."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _PLAIN.get(func, func)(*args, **(kwargs or {}))


_GRADIENT_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
# Torch counts levels of forward mode, and keeps the settings below, for all threads together.
_ONE_THREAD_AT_A_TIME = threading.RLock()


def _renew_lock() -> None:
    """Give a forked process a lock of its own: the thread that held its parent's does not live there."""
    global _ONE_THREAD_AT_A_TIME
    _ONE_THREAD_AT_A_TIME = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def derivable(features: Any, freeze: bool = False) -> Iterator[None]:
    """Set torch so that features can be differentiated twice; with `freeze`, their modules are in eval mode meanwhile.

    Hooks on gradients rest meanwhile. The random state, the mode of every submodule and torch's settings are put back.
    Other threads wait.
    """
    modules = modules_behind(features)
    devices = sorted({t.device.index for module in modules for t in module.parameters() if t.is_cuda})
    with (
        _ONE_THREAD_AT_A_TIME,
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),  # which enables gradients
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        _PlainNorms(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".*performance drop because we have not yet implemented.*")
        fast = torch.backends.mha.get_fastpath_enabled()
        modes = [(part, part.training) for module in modules for part in module.modules()] if freeze else []
        # hooks on gradients are the training's: they say nothing about the function, and may count its backward passes
        hooks = [(p, n, getattr(p, n)) for m in modules for p in m.modules() for n in _GRADIENT_HOOKS if getattr(p, n)]
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            for submodule, _ in modes:
                submodule.training = False
            for submodule, name, given in hooks:
                setattr(submodule, name, type(given)())
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for submodule, mode in modes:
                submodule.training = mode
            for submodule, name, given in hooks:
                setattr(submodule, name, given)


def module_of(features: Any) -> nn.Module | None:
    """Return the module that `features` is, or whose method it is, also with arguments bound by functools.partial."""
    while isinstance(features, partial):
        features = features.func
    owner = features if isinstance(features, nn.Module) else getattr(features, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def modules_behind(features: Any) -> tuple[nn.Module, ...]:
    """Return the modules that a call of `features` can reach, as far as Python shows them.

    Itself, the owner of a method, what functools.partial binds, attributes of a callable object, and what a function
    names outside itself, through functions that are not torch's.
    """
    module = module_of(features)
    if module is not None:
        return (module,)
    found: list[nn.Module] = []
    queue, seen = [features], set[int]()
    while queue and len(seen) < 200:
        value = queue.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found.append(value)
        elif isinstance(value, partial):
            queue += [value.func, *value.args, *value.keywords.values()]
        elif inspect.ismethod(value):
            queue += [value.__func__, *getattr(value.__self__, "__dict__", {}).values()]
        elif inspect.isfunction(value) and not value.__module__.startswith("torch"):
            names = inspect.getclosurevars(value)
            queue += [*names.nonlocals.values(), *names.globals.values()]
            queue += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        elif isinstance(value, list | tuple):
            queue += value
        elif value is features:
            queue += [type(value).__call__, *getattr(value, "__dict__", {}).values()]
    return tuple(found)


def _depends_on_mode(module: nn.Module) -> str:
    """Return what this one module does in training mode and not in eval mode, or nothing."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "takes its statistics from the batch"
    if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats:
        return "updates its running statistics"
    if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
        return f"drops features at random (p = {module.p:g})"
    if isinstance(module, nn.RReLU) and module.lower != module.upper:
        return "draws its slopes at random"
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase) and module.dropout > 0:
        return f"drops features at random (dropout = {module.dropout:g})"
    return ""


def refuse_training_mode(features: Any, freeze: bool) -> None:
    """Raise InvalidInput for modules in training mode whose output is then random or depends on the batch."""
    for module in () if flag(freeze, "freeze") else modules_behind(features):
        for name, part in module.named_modules():
            if part.training and (what := _depends_on_mode(part)):
                where = f"{name!r} ({type(part).__name__})" if name else type(part).__name__
                raise InvalidInput(
                    f"features is in training mode, where {where} {what}; call features.eval() first, or pass "
                    "freeze=True to measure it in eval mode and leave its mode as it is"
                )


def refuse_unusable_weights(features: Any) -> None:
    """Raise InvalidInput for parameters or buffers that are not finite, or of a precision too low to differentiate."""
    for module in modules_behind(features):
        for name, parameter in module.named_parameters():
            _refuse_unusable("parameter", name, parameter)
        for name, buffer in module.named_buffers():
            _refuse_unusable("buffer", name, buffer)


def _refuse_unusable(kind: str, name: str, tensor: torch.Tensor) -> None:
    if nn.parameter.is_lazy(tensor):
        raise InvalidInput(f"{kind} {name!r} of features has no shape yet; call features(x) once before")
    if not tensor.dtype.is_floating_point:
        return
    if kind == "parameter" and tensor.dtype not in (torch.float32, torch.float64):
        raise InvalidInput(
            f"parameter {name!r} of features is {tensor.dtype}; its second derivatives would be noise: pass a copy in "
            "float64, copy.deepcopy(features).double()"
        )
    finite = torch.isfinite(tensor.detach())
    if not bool(finite.all()) and not (kind == "buffer" and _is_mask(tensor)):
        raise InvalidInput(
            f"{kind} {name!r} of features has {int((~finite).sum())} value(s) that are not finite, of "
            f"{tensor.numel()}; the training diverged, or the file was damaged: load weights that are finite"
        )


def _is_mask(tensor: torch.Tensor) -> bool:
    """Return whether infinities stand for what attention must not see: −inf and no NaN."""
    return bool((torch.isfinite(tensor) | torch.isneginf(tensor)).all())
