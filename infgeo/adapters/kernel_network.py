"""What the adapters share: the network behind a kernel, made once for each activation and depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from types import NoneType
from typing import Any

import numpy as np

from infgeo.arguments import instance, one_of
from infgeo.errors import InvalidInput
from infgeo.numeric.source.scale_gradient import has_scale_gradient, scale_gradient
from infgeo.symbolic.networks.network import MLP

KINDS = {"nngp": "kernel", "ntk": "ntk"}  # with the name of the Gram matrix among the functions of `MLP.numeric`
SYMBOLS = {"weight_std": "sigma_w", "bias_std": "sigma_b"}  # of the scales


def network(activation: Any, depth: int, kind: str, parameters: Mapping[str, float] | None) -> MLP:
    """Return the network of a kernel with symbolic scales, its kind and its activation's parameters checked.

    A list of activations, one for each layer, has a depth of its own.
    """
    one_of(kind, "kind", KINDS)
    layers = tuple(activation) if isinstance(activation, (list, tuple)) else activation
    try:
        mlp = _network(layers, depth)
    except TypeError as error:
        raise InvalidInput(f"activation = {activation!r} must be a name, text, a SymPy expression or a list") from error
    if isinstance(layers, tuple) and depth not in (1, mlp.depth):
        raise InvalidInput(f"depth = {depth}, and activation lists {mlp.depth} layers: leave depth out")
    instance(parameters, "parameters", (Mapping, NoneType), "a mapping of names to values, or None")
    own = {symbol.name for symbol in mlp.parameters} - {"sigma_w", "sigma_b"}
    given = set(parameters or {})
    if own != given:
        raise InvalidInput(
            f"parameters = {dict(parameters or {})} must be those of the activation: {sorted(own) or 'none'}"
        )
    return mlp


@lru_cache(maxsize=64, typed=True)  # depth True or 1.0 is not 1
def _network(activation: Any, depth: int) -> MLP:
    return MLP(list(activation)) if isinstance(activation, tuple) else MLP(activation, depth=depth)


def gradient_by_scales(
    mlp: MLP, X: Any, Y: Any, values: Mapping[str, Any], names: Sequence[str], kind: str
) -> np.ndarray:
    """Return the derivatives of the Gram matrix of points (N, d) by scales, (len(names), N, M), or by several of one.

    In closed form (see `infgeo.numeric.source.scale_gradient`); of other networks by torch, forward.
    """
    if has_scale_gradient(mlp):
        return scale_gradient(mlp, X, Y, values, names, kind == "ntk")
    import torch

    points = [torch.from_numpy(Z) for Z in (X, Y) if Z is not None]

    def gram(name: str, scale: Any) -> Any:
        geometry = mlp.numeric(backend="torch", parameters={**values, name: scale})
        return getattr(geometry, KINDS[kind])(*points)

    found = []
    for name in names:
        scale = torch.tensor(values[name], dtype=torch.float64)
        for direction in torch.eye(scale.numel(), dtype=torch.float64).reshape(-1, *scale.shape):
            found.append(torch.func.jvp(partial(gram, name), (scale,), (direction,))[1].numpy())
    return np.stack(found)
