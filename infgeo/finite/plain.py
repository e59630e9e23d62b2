"""Operations written in others, wherever torch has no rule, a slow one or a wrong one for their second derivatives.

Forward mode is the cheapest way to second derivatives. Torch 2.13 has no such rule for SiLU, Mish, GLU, hard sigmoid
(whose first derivative has 7 digits in float64, too) and distances, a slow one for the random slopes of RReLU, and
loses a term without an error in `layer_norm` and `instance_norm` (pytorch issues 196700, 198017); by parameters it has
none for weight norm, group norm and PReLU. The table below holds for modules, functions and methods in place.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def _normalised(x: torch.Tensor, axes: tuple[int, ...], eps: float) -> torch.Tensor:
    centred = x - x.mean(dim=axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=axes, keepdim=True) + eps)


def _layer_norm(
    input: torch.Tensor,
    normalized_shape: int | Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> torch.Tensor:
    count = len(normalized_shape) if isinstance(normalized_shape, list | tuple | torch.Size) else 1
    y = _normalised(input, tuple(range(-count, 0)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _instance_norm(
    input: torch.Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
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


def _group_norm(
    input: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> torch.Tensor:
    y = _normalised(input.flatten(1).unflatten(1, (num_groups, -1)), (2,), eps).reshape(input.shape)
    shape = (1, -1) + (1,) * (input.ndim - 2)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _prelu(input: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if input.dtype != weight.dtype:  # as torch does
        raise RuntimeError(f"prelu: input is {input.dtype}, weight {weight.dtype}")
    return torch.where(input > 0, input, input * weight.reshape(-1, *(1,) * (input.ndim - 2)))


def _batch_norm(
    input: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    if training or running_mean is None or running_var is None:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    # one product and one sum with the input: torch's own derivative also sums over positions, for the parameters
    scale = torch.rsqrt(running_var + eps)
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    shape = (1, -1) + (1,) * (input.ndim - 2)
    return input * scale.reshape(shape) + shift.reshape(shape)


def _in_place_too(formula: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return the formula as a function with torch's option `inplace`."""

    def function(input: torch.Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> torch.Tensor:
        if args and isinstance(args[-1], bool):  # by position, it stands last
            args, inplace = args[:-1], args[-1]
        if inplace:  # of a copy: autograd keeps what the formula is applied to
            return input.copy_(formula(input.clone(), *args, **kwargs))
        return formula(input, *args, **kwargs)

    return function


def _glu(input: torch.Tensor, dim: int = -1) -> torch.Tensor:
    value, gate = input.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _rrelu(
    input: torch.Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> torch.Tensor:
    if training:
        return functional.rrelu(input, lower, upper, training, inplace)
    return functional.leaky_relu(input, (lower + upper) / 2, inplace)


_native: Any = torch._C._nn
_FORMULAS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": lambda x: x * torch.sigmoid(x),
    "mish": lambda x: x * torch.tanh(functional.softplus(x)),
    "hardsigmoid": lambda x: functional.relu6(x + 3) / 6,
}
_PLAIN: dict[Any, Callable[..., torch.Tensor]] = {
    functional.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    functional.instance_norm: _instance_norm,
    **{getattr(functional, name): _in_place_too(formula) for name, formula in _FORMULAS.items()},
    **{getattr(_native, name): formula for name, formula in _FORMULAS.items()},
    functional.group_norm: _group_norm,
    torch.group_norm: _group_norm,
    torch._weight_norm: lambda v, g, dim=0: v * (g / torch.norm_except_dim(v, 2, dim)),
    torch.prelu: _prelu,
    functional.glu: _glu,
    _native.glu: _glu,
    functional.rrelu: _rrelu,
    torch.rrelu: _rrelu,
    torch.cdist: lambda x1, x2, p=2.0, compute_mode=None: torch.linalg.vector_norm(
        x1.unsqueeze(-2) - x2.unsqueeze(-3), ord=p, dim=-1
    ),
}


class PlainOperations(TorchFunctionMode):
    """Write the operations of the table in operations whose derivatives are right, and cheap along many directions."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _PLAIN.get(func, func)(*args, **(kwargs or {}))
