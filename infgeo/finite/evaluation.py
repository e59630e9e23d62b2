"""Evaluate a torch module for differentiation: how torch is set meanwhile, and what is refused before.

All routes run `as_written()`, so that no setting of the caller changes what they compute. While `derivable()` is
entered, attention, norms and activations without good derivative rules run by their formulas, in torch operations.
"""

import inspect
import os
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from infgeo.arguments import flag
from infgeo.errors import InvalidInput
from infgeo.finite.plain import PlainOperations

_GRADIENT_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
# Torch counts levels of forward mode, and keeps the settings below, for all threads together.
_ONE_THREAD_AT_A_TIME = threading.RLock()


def _renew_lock() -> None:
    """Give a forked process a lock of its own: the thread that held its parent's does not live there."""
    global _ONE_THREAD_AT_A_TIME
    _ONE_THREAD_AT_A_TIME = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


Places = list[tuple[Any, str, Any]]  # an object, the name of an attribute, and a value for it
# Where torch keeps whether float32 may be computed in fewer bits (TF32, bfloat16), and the value for: it may not.
_PRODUCTS: Places = [(torch.backends.cuda.matmul, "allow_tf32", False)]
_CONVOLUTIONS: Places = [(torch.backends.cudnn, "allow_tf32", False)]
if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
    _PRODUCTS = [(library.matmul, "fp32_precision", "ieee") for library in (torch.backends.cuda, torch.backends.mkldnn)]
    _libraries = (torch.backends.cudnn, torch.backends.mkldnn)
    _CONVOLUTIONS = [(getattr(part, kind), "fp32_precision", "ieee") for part in _libraries for kind in ("conv", "rnn")]


@contextmanager
def changed(places: Places) -> Iterator[None]:
    """Give attributes of objects these values inside the block, and their own after it."""
    before = [getattr(owner, name) for owner, name, _ in places]
    try:
        for owner, name, value in places:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), given in zip(places, before, strict=True):
            setattr(owner, name, given)


_HOLDERS = (dict, OrderedDict, list, set)
# what torch keeps beside parameters, buffers and submodules, which a forward pass may make
_TORCHS = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}


@contextmanager
def kept(parts: Iterable[nn.Module]) -> Iterator[None]:
    """Put back, after the block, attributes of modules, and the lists, dicts and sets among them.

    A module may keep what it computes, or count its calls. Tensors of torch's transforms are of no use to other calls.
    torch's own modules keep nothing, but their hooks may.
    """
    held: list[Any] = []
    for part in parts:
        own = vars(part)
        if type(part).__module__.startswith("torch.nn.modules.") and not (
            own.get("_forward_pre_hooks") or own.get("_forward_hooks")
        ):
            continue
        held += [own, *(v for name, v in own.items() if type(v) in _HOLDERS and name not in _TORCHS)]
    before = [one.copy() for one in held]
    try:
        yield
    finally:
        for one, given in zip(held, before, strict=True):
            if isinstance(one, list):
                one[:] = given
                continue
            one.update(given)
            if len(one) > len(given):
                for extra in [key for key in one if key not in given]:
                    one.remove(extra) if isinstance(one, set) else one.pop(extra)


@contextmanager
def _all_bits(places: Places) -> Iterator[None]:
    """Compute float32 in float32; other threads wait where that changes a setting."""
    if all(getattr(owner, name) in (full, "none") for owner, name, full in places):
        yield
        return
    with _ONE_THREAD_AT_A_TIME, changed(places):
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def plain_torch() -> Iterator[None]:
    """Compute `as_written`, on plain tensors: raise InvalidInput inside transforms of torch.func."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise InvalidInput(
            "the geometry is asked for inside a transform of torch.func (grad, jvp, vmap, ...), and has no derivatives "
            "and takes batches of points itself; call it outside, on plain tensors"
        )
    with as_written():
        yield


@contextmanager
def as_written() -> Iterator[None]:
    """Compute as the code and the weights say: without autocast, TF32 and compiled graphs."""
    with ExitStack() as stack:
        stack.enter_context(_all_bits(_PRODUCTS))
        for device in ("cpu", "cuda", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


@contextmanager
def derivable(features: Any, freeze: bool = False) -> Iterator[None]:
    """Set torch so that features can be differentiated twice; with `freeze`, their modules are in eval mode meanwhile.

    Hooks on gradients rest meanwhile. The random state, the mode of every submodule and torch's settings are put back.
    Other threads wait.
    """
    modules = modules_behind(features)
    devices = sorted({t.device.index for module in modules for t in module.parameters() if t.is_cuda})
    with (
        as_written(),
        _ONE_THREAD_AT_A_TIME,
        _all_bits(_CONVOLUTIONS),
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),  # which enables gradients
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        PlainOperations(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".*performance drop because we have not yet implemented.*")
        parts = [part for module in modules for part in module.modules()]
        places: Places = [(part, "training", False) for part in parts] if freeze else []
        # hooks on gradients are the training's: they say nothing about the function, and may count its backward passes
        places += [(p, n, type(getattr(p, n))()) for p in parts for n in _GRADIENT_HOOKS if getattr(p, n)]
        fast = torch.backends.mha.get_fastpath_enabled()
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            with changed(places):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def with_tensors(module: nn.Module) -> Callable[..., Any]:
    """Return the call (points, values by name) with other parameters and buffers, each wherever it stands.

    `torch.func.functional_call` with `tie_weights` does so too, but leaves a module that stands at two places with the
    others (torch 2.4 to 2.13).
    """
    names = {id(tensor): name for name, tensor in chain(module.named_parameters(), module.named_buffers())}
    places: dict[str, str] = {}
    for path, part in module.named_modules():
        own = part.named_parameters(path, False, False), part.named_buffers(path, False, False)
        places |= {place: names[id(tensor)] for place, tensor in chain(*own)}

    def call(points: Any, values: Mapping[str, torch.Tensor]) -> Any:
        spread = {place: values[name] for place, name in places.items() if name in values}
        return torch.func.functional_call(module, spread, (points,), tie_weights=False)

    return call


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
                    "freeze=True, where that is an argument, to measure it in eval mode and leave its mode as it is"
                )


def refuse_unusable_weights(features: Any, dtype: torch.dtype | None = None) -> None:
    """Raise InvalidInput for parameters and buffers without numbers, not finite, or too coarse, without a dtype."""
    for module in modules_behind(features):
        for kind, named in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
            for name, tensor in named:
                if why := _unusable(kind, tensor, dtype):
                    raise InvalidInput(f"{kind} {name!r} of features {why}")


def _unusable(kind: str, tensor: torch.Tensor, dtype: torch.dtype | None) -> str:
    """Return why a parameter or buffer cannot be used, and what to do, or nothing."""
    if nn.parameter.is_lazy(tensor):
        return "has no shape yet; call features(x) once before"
    if tensor.is_meta:
        return (
            "is on the meta device, which holds no numbers; move the module to a device with "
            "module.to_empty(device=...) and load its weights before"
        )
    if not tensor.dtype.is_floating_point:
        return ""
    if kind == "parameter" and tensor.dtype not in (torch.float32, torch.float64) and dtype is None:
        return (
            f"is {tensor.dtype}; its second derivatives would be noise: pass the module with dtype=torch.float64, "
            "which measures in double precision and leaves it as it is, or a copy, copy.deepcopy(module).double()"
        )
    bad = ~torch.isfinite(tensor.detach())
    if kind == "buffer" and not bool(tensor.isnan().any()):
        bad &= ~torch.isneginf(tensor)  # a mask: what attention must not see
    if not bool(bad.any()):
        return ""
    return (
        f"has {int(bad.sum())} value(s) that are not finite, of {tensor.numel()}; the training diverged, or the file "
        "was damaged: load weights that are finite"
    )
