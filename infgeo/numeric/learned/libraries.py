"""The library of an array, NumPy or torch, which arrays of NumPy do not load."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def library(x: Any) -> Any:
    """Return torch for one of its tensors, else NumPy."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def like(x: Any, value: np.ndarray) -> Any:
    """Return an array of the library, format and device of another."""
    found = library(x)
    return value if found is np else found.as_tensor(value, dtype=x.dtype, device=x.device)
