"""The paper's figures, one command each: `infgeo reproduce NAME`, or `infgeo.reproduce.reproduce(NAME)`.

Picture, data and a record with every hyperparameter, seed, version and measured statistic.
"""

from typing import Any

from infgeo.reproduce.registry import FIGURES, Figure, listing

__all__ = ["FIGURES", "Figure", "Outcome", "listing", "reproduce"]


def __getattr__(name: str) -> Any:
    if name in ("Outcome", "reproduce"):  # with NumPy, torch and matplotlib: when they are asked for
        from infgeo.reproduce import run

        return getattr(run, name)
    raise AttributeError(f"module 'infgeo.reproduce' has no attribute {name!r}; it has {', '.join(__all__)}")
