"""Functions that NumPy computes, as functions of tensors too: by their values and slopes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from infgeo.shorthand import loaded


def library_of(x: Any) -> Any:
    """Return NumPy, or torch where x is a tensor."""
    return np if isinstance(x, np.ndarray) else loaded("torch")


def numbers(x: Any) -> np.ndarray:
    """Return an array or a tensor as an array, without derivatives."""
    return x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()


def like(values: np.ndarray, x: Any) -> Any:
    """Return values as constants of the library of x."""
    return values if isinstance(x, np.ndarray) else x.new_tensor(values)


def with_slope(x: Any, value: np.ndarray, slope: Callable[[], np.ndarray]) -> Any:
    """Return values of a function at x, a tensor with this slope where x is one.

    It has a first derivative only: torch raises RuntimeError where a second one is asked for.
    """
    if isinstance(x, np.ndarray):
        return value
    return _function().apply(x, x.new_tensor(value), x.new_tensor(slope()))


@lru_cache(maxsize=1)
def _function() -> Any:
    torch = loaded("torch")

    class Slope(torch.autograd.Function):  # type: ignore[name-defined]
        @staticmethod
        def forward(_ctx: Any, _x: Any, slope: Any) -> Any:
            return slope.clone()

        @staticmethod
        def backward(_ctx: Any, *_gradients: Any) -> Any:
            raise RuntimeError("geodesics have first derivatives only: take differences of these for second ones")

    class WithSlope(torch.autograd.Function):  # type: ignore[name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any, value: Any, slope: Any) -> Any:
            ctx.save_for_backward(x, slope)
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * Slope.apply(*ctx.saved_tensors), None, None

    return WithSlope
