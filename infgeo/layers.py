"""The layers that `infgeo.MLP` is made of: Dense, Residual, RMSNorm and LayerNorm."""

from infgeo.symbolic.networks.layers import Dense, LayerNorm, Residual, RMSNorm

__all__ = ["Dense", "LayerNorm", "RMSNorm", "Residual"]
