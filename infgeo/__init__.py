"""infgeo: the Riemannian geometry that neural networks induce on their input space.

Names are loaded on first use, so that `import infgeo` is cheap and loads neither torch nor SymPy.
"""

from __future__ import annotations

from typing import Any

from infgeo import errors
from infgeo.shorthand import loaded

__version__ = "0.1.0"

# Public name -> (module, attribute); attribute None stands for the module itself. A type checker reads __init__.pyi.
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "GeometryTracker": ("infgeo.tracking.tracker", "GeometryTracker"),
    "Kernel": ("infgeo.symbolic.kernels.kernel", "Kernel"),
    "MLP": ("infgeo.symbolic.networks.network", "MLP"),
    "Metric": ("infgeo.symbolic.geometry.any_metric", "Metric"),
    "NumericGeometry": ("infgeo.numeric.geometry", "NumericGeometry"),
    "RadialGeodesic": ("infgeo.numeric.geodesics.radial", "RadialGeodesic"),
    "RadialMetric": ("infgeo.symbolic.geometry.metric", "RadialMetric"),
    "activations": ("infgeo.activations", None),
    "analysis": ("infgeo.analysis", None),
    "emit": ("infgeo.numeric.emit", "emit"),
    "finite": ("infgeo.finite", None),
    "finite_width": ("infgeo.numeric.finite_width", "finite_width"),
    "kernels": ("infgeo.kernels", None),
    "layers": ("infgeo.layers", None),
    "learned": ("infgeo.numeric.learned.learned", "learned"),
    "magnification": ("infgeo.magnification", None),
    "pictures": ("infgeo.pictures", None),
    "reproduce": ("infgeo.reproduce", None),
    "symbols": ("infgeo.symbols", None),
    "testing": ("infgeo.testing", None),
    "tracking": ("infgeo.tracking", None),
    "training": ("infgeo.training", None),
    "validate": ("infgeo.validation", "validate"),
}

__all__ = ["__version__", "errors", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'infgeo' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value = loaded(*_PUBLIC[name])
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
