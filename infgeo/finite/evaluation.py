"""Evaluate a torch module for differentiation: how torch is set meanwhile, and what is refused before.

Torch has fused kernels without derivative rules (attention), and rules whose own derivative is wrong: forward over
forward through `layer_norm` and `instance_norm` loses a term without an error (pytorch issues 196700, 198017). While
`derivable()` is entered, attention runs by its plain formula and these norms by theirs, in torch operations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

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


_PLAIN: dict[Any, Callable[..., torch.Tensor]] = {
    nn.functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    nn.functional.instance_norm: _instance_norm,
}


class _PlainNorms(TorchFunctionMode):
    """Write norms in operations whose second derivatives are right."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _PLAIN.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def derivable(module: nn.Module | None = None, freeze: bool = False) -> Iterator[None]:
    """Set torch so that features can be differentiated twice; with `freeze`, `module` is in eval mode meanwhile.

    The random state, the mode of every submodule and torch's settings are put back.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    modes = [(m, m.training) for m in module.modules()] if freeze and module is not None else []
    devices = sorted({t.device.index for t in module.parameters() if t.is_cuda}) if module is not None else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),  # which enables gradients
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        _PlainNorms(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=".*performance drop because we have not yet implemented.*")
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            for submodule, _ in modes:
                submodule.training = False
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for submodule, mode in modes:
                submodule.training = mode


def module_of(features: Any) -> nn.Module | None:
    """Return the module behind `features`: itself, or the one whose method it is."""
    owner = features if isinstance(features, nn.Module) else getattr(features, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


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


def refuse_training_mode(module: nn.Module | None, freeze: bool) -> None:
    """Raise InvalidInput for a module in training mode whose output is then random or depends on the batch."""
    if module is None or freeze:
        return
    for name, part in module.named_modules():
        if part.training and (what := _depends_on_mode(part)):
            where = f"{name!r} ({type(part).__name__})" if name else type(part).__name__
            raise InvalidInput(
                f"features is in training mode, where {where} {what}; call features.eval() first, or pass freeze=True "
                "to measure it in eval mode and leave its mode as it is"
            )


def refuse_unusable_weights(module: nn.Module | None) -> None:
    """Raise InvalidInput for parameters or buffers that are not finite, or of a precision too low to differentiate."""
    if module is None:
        return
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, tensor in tensors:
            if nn.parameter.is_lazy(tensor):
                raise InvalidInput(f"{kind} {name!r} of features has no shape yet; call features(x) once before")
            if not tensor.dtype.is_floating_point:
                continue
            if kind == "parameter" and tensor.dtype not in (torch.float32, torch.float64):
                raise InvalidInput(
                    f"parameter {name!r} of features is {tensor.dtype}; its second derivatives would be noise: pass "
                    "a copy in float64, copy.deepcopy(features).double()"
                )
            finite = torch.isfinite(tensor.detach())
            if not bool(finite.all()) and not (kind == "buffer" and _is_mask(tensor)):
                count = int((~finite).sum())
                raise InvalidInput(
                    f"{kind} {name!r} of features has {count} value(s) that are not finite, of {tensor.numel()}; "
                    "the training diverged, or the file was damaged: load weights that are finite"
                )


def _is_mask(tensor: torch.Tensor) -> bool:
    """Return whether infinities stand for what attention must not see: −inf and no NaN."""
    return bool((torch.isfinite(tensor) | torch.isneginf(tensor)).all())
