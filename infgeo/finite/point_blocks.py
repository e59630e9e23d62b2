"""Work on blocks of points that fit a memory budget; a block that does not fit the machine is halved."""

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether torch had no memory: on an accelerator by its own type, on the CPU by what it says."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("not enough memory" in text or "can't allocate memory" in text)


def in_blocks(function: Callable[[torch.Tensor], Result], x: torch.Tensor, size: int) -> list[Result]:
    """Return `function` of consecutive blocks of at most `size` rows of x, halving the size when memory runs out."""
    results: list[Result] = []
    start, size = 0, max(1, min(size, x.shape[0]))
    while start < x.shape[0]:
        try:
            results.append(function(x[start : start + size]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                error.add_note("infgeo: memory ran out on a single point; there is no smaller block")
                raise
            failed = True  # the error holds the arrays of the failed block until the handler is left
        else:
            start, failed = start + size, False
        if failed:
            size //= 2
            if x.is_cuda:
                torch.cuda.empty_cache()
    return results
