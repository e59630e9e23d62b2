"""torch: what Gram matrices in blocks need of it. See `blocks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:  # In an emitted file these stand above.
    from infgeo.numeric.runtime.blocks import _gram_in_blocks
    from infgeo.numeric.runtime.common import InputError
    from infgeo.numeric.runtime.for_torch import _gram_of_all_pairs, _transformed


def _gram(
    X: torch.Tensor,
    Y: torch.Tensor | None,
    layers: Sequence[Any],
    scalars: tuple,
    wanted: str,
    out: Any = None,
    threads: int | None = None,
) -> Any:
    """Return the Gram matrix (N, M) of the kernel or the tangent kernel, or both for `wanted` = "both".

    In blocks where nobody asks for derivatives, else all pairs at once in operations that torch can differentiate.
    """
    threads = _thread_count(threads, X)
    numbers = [value for layer in layers for value in vars(layer).values()]
    if _differentiable([X, Y, *scalars, *numbers]):
        if out is not None:
            raise InputError("out is for results without derivatives: leave it out, or detach the points and scales")
        return _gram_of_all_pairs(X, Y, layers, scalars, wanted)
    X, Y = _detached(X).contiguous(), None if Y is None else _detached(Y).contiguous()
    if Y is not None and Y.shape == X.shape and bool((X == Y).all()):
        Y = None
    layers = [SimpleNamespace(**{name: _detached(value) for name, value in vars(layer).items()}) for layer in layers]
    shape = len(X), len(X if Y is None else Y)
    outs = _outputs(out, shape, X, 2 if wanted == "both" else 1, [X] if Y is None else [X, Y])
    with _quiet():
        _gram_in_blocks(X, Y, layers, tuple(map(_detached, scalars)), wanted, outs, threads)
    return outs if wanted == "both" else outs[0]


def _differentiable(values: list) -> bool:
    """Whether any of the values is a tensor whose derivatives somebody may want, or whose memory is not its own."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return torch.compiler.is_compiling() or any(
        type(tensor) not in (torch.Tensor, torch.nn.Parameter)
        or _transformed(tensor)
        or (tensor.requires_grad and torch.is_grad_enabled())
        or torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None
        for tensor in tensors
    )


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def _outputs(out: Any, shape: tuple, X: torch.Tensor, count: int, inputs: list) -> tuple:
    """Return the tensors to write to: `out`, checked, or new ones."""
    if out is None:
        return tuple(torch.empty(shape, dtype=X.dtype, device=X.device) for _ in range(count))
    try:
        outs = (out,) if count == 1 else tuple(out)
    except TypeError as error:
        raise InputError(f"out = {out!r} must be two tensors: (kernel, tangent kernel)") from error
    if len(outs) != count:
        raise InputError(f"out has {len(outs)} tensors, {count} are needed: (kernel, tangent kernel)")
    wanted = f"{X.dtype} {shape} on {X.device}"
    for tensor in outs:
        got = repr(type(tensor).__name__)
        if isinstance(tensor, torch.Tensor):
            got = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
        if got != wanted or tensor.layout != torch.strided:
            raise InputError(f"out is {got}, it must be a tensor of {wanted}: torch.empty({shape}, ...)")
        if tensor.requires_grad:
            raise InputError("out requires grad: pass a tensor without derivatives")
        if any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), shape, strict=True)):
            raise InputError("out is expanded, several elements are one number: pass a tensor of its own memory")
        if any(
            tensor.untyped_storage().data_ptr() == part.untyped_storage().data_ptr() for part in inputs if len(part)
        ):
            raise InputError("out shares memory with the points: pass another tensor")
    ends = sorted((tensor.data_ptr(), tensor.data_ptr() + _extent(tensor)) for tensor in outs if tensor.numel())
    if len(ends) == 2 and ends[1][0] < ends[0][1]:
        raise InputError("both tensors of out share memory: pass two")
    return outs


def _extent(tensor: torch.Tensor) -> int:
    """Return how many bytes lie between the first and the end of the last element."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _thread_count(threads: int | None, X: torch.Tensor) -> int:
    """Return `threads`, or torch's number of threads; 1 on devices, which work by themselves."""
    if threads is None:
        threads = torch.get_num_threads()
    elif isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads = {threads!r} must be a whole number >= 1, or None for torch's number")
    return threads if X.device.type == "cpu" else 1


def _coincident(X: torch.Tensor, Y: torch.Tensor | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the rows and the columns of each set of equal points (of more than one point for X with itself)."""
    Z = X if Y is None else torch.cat([X, Y])
    weights = torch.cos(torch.arange(1, X.shape[1] + 1, dtype=X.dtype, device=X.device))
    keys, order = torch.sort(Z @ weights)
    _, counts = torch.unique_consecutive(keys, return_counts=True)
    ends = torch.cumsum(counts, 0)
    for end, count in zip(ends[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
        members = order[end - count : end]
        while len(members) > 1:
            # Different points of equal key are told apart here.
            equal = (Z[members] == Z[members[0]]).all(dim=1)
            group, members = torch.sort(members[equal])[0], members[~equal]
            rows, columns = (group, group) if Y is None else (group[group < len(X)], group[group >= len(X)] - len(X))
            if len(rows) and len(columns) and len(group) > 1:
                yield rows, columns


def _side(like: torch.Tensor, threads: int) -> int:
    """Points on a side of a block; on a processor below the size from which torch shares one operation out."""
    return 180 if like.device.type == "cpu" else 2048


def _quiet() -> Any:
    return torch.no_grad()


def _wider(dtype: Any) -> Any:
    return torch.float64 if dtype == torch.float32 else None


def _cast(a: torch.Tensor, dtype: Any) -> torch.Tensor:
    return a.to(dtype)


def _contiguous(a: torch.Tensor) -> torch.Tensor:
    return a.contiguous()


def _empty(like: torch.Tensor, count: int) -> torch.Tensor:
    return torch.empty(count, dtype=like.dtype, device=like.device)


def _false(like: torch.Tensor, shape: tuple) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.bool, device=like.device)


def _one(like: torch.Tensor) -> torch.Tensor:
    return torch.ones((), dtype=like.dtype, device=like.device)


def _values(like: torch.Tensor, values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def _arange(like: torch.Tensor, count: int) -> torch.Tensor:
    return torch.arange(count, device=like.device)


def _true(mask: torch.Tensor) -> tuple:
    """Return the indices where a mask is true, a tensor for each axis."""
    return torch.nonzero(mask, as_tuple=True)


def _clip(a: torch.Tensor, low: float, high: float | None) -> None:
    torch.clamp(a, low, high, out=a)
