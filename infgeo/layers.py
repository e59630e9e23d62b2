"""The layers that `infgeo.MLP` is made of: Dense, Residual and RMSNorm."""

from infgeo.symbolic.networks.layers import (
    Dense,
    Residual,
    RMSNorm,
)

__all__ = [
    "Dense",
    "RMSNorm",
    "Residual",
]
